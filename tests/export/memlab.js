// SPDX-License-Identifier: GPL-3.0-or-later
// What memlab makes of a .heapsnapshot: of each node, in their order, its id, its dominator's, its retained size, its type
// and name.
//
// usage: node memlab.js NODE_MODULES FILE ANSWER
'use strict';
const fs = require('fs');
const path = require('path');

const core = path.resolve(process.argv[2], '@memlab', 'core', 'dist');
const parser = require(path.join(core, 'lib', 'HeapParser')).default;
const TraceFinder = require(path.join(core, 'paths', 'TraceFinder')).default;

async function main(file) {
  const snapshot = await parser.parse(file, {});
  new TraceFinder().calculateAllNodesRetainedSizes(snapshot);
  const lines = [];
  snapshot.nodes.forEach(node => {
    lines.push(JSON.stringify([node.id, node.dominatorNode.id, node.retainedSize, node.type, node.name]));
  });
  fs.writeFileSync(process.argv[4], lines.join('\n') + '\n');
}

main(process.argv[3]);
