// SPDX-License-Identifier: GPL-3.0-or-later
// What Chrome's DevTools make of a .heapsnapshot: their own reader (chrome-devtools-frontend, bundled by esbuild) outside of a
// browser. Of each node, in their order: id, retained size, distance; of each class what its summary shows; what came and went from
// the first file to the last; and what the reader complained of.
//
// usage: node devtools.mjs NODE_MODULES ANSWER FILE...
import {createReadStream, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {pathToFileURL} from 'node:url';

const [modules, answer, ...files] = process.argv.slice(2);
const worker = path.resolve(modules, 'chrome-devtools-frontend', 'front_end', 'entrypoints', 'heap_snapshot_worker');

Promise.withResolvers ??= function() { // of node 22 and Chrome
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, {resolve, reject}));
  return made;
};

// Made when Chrome is built: which languages it speaks.
const locales = {
  name: 'locales',
  setup(build) {
    build.onResolve({filter: /\/locales\.js$/}, () => ({path: 'locales', namespace: 'made'}));
    build.onLoad({filter: /./, namespace: 'made'}, () => ({contents: `export const BUNDLED_LOCALES = ['en-US'], DEFAULT_LOCALE = 'en-US', LOCALES = ['en-US'],
        REMOTE_FETCH_PATTERN = '', LOCAL_FETCH_PATTERN = '';`}));
  },
};

async function reader() {
  const require = createRequire(path.resolve(modules, 'x.js'));
  const bundle = path.resolve(modules, '..', 'devtools-bundle.mjs');
  await require('esbuild').build({
    stdin: {contents: `export * from './HeapSnapshotLoader.js'; export * from './HeapSnapshot.js';`, resolveDir: worker},
    bundle: true, format: 'esm', platform: 'node', outfile: bundle, logLevel: 'error', plugins: [locales],
  });
  return import(pathToFileURL(bundle));
}

const {HeapSnapshotLoader, SecondaryInitManager} = await reader();
const said = [];
console.warn = (...words) => said.push(words.join(' '));
const dispatcher = {sendEvent: (name, data) => /Broken/.test(name) && said.push(data)};

async function open(path) {
  const loader = new HeapSnapshotLoader(dispatcher);
  for await (const chunk of createReadStream(path, {encoding: 'utf8', highWaterMark: 1 << 20}))
    loader.write(chunk);
  loader.close();
  const {port1, port2} = new MessageChannel();
  new SecondaryInitManager(port2);
  const snapshot = await loader.buildSnapshot(port1);
  port1.close();
  port2.close();
  return snapshot;
}

function describe(snapshot) {
  const nodes = [], node = snapshot.createNode(0);
  for (; node.nodeIndex < snapshot.nodes.length; node.nodeIndex += snapshot.nodeFieldCount)
    nodes.push([node.id(), node.retainedSize(), node.distance()]);
  const classes = Object.values(snapshot.aggregatesWithFilter({})).map(one => [one.name, one.count, one.self]);
  return {nodes, classes, total: snapshot.totalSize};
}

// As the view "Comparison" of two snapshots has it.
function compare(before, after) {
  const diff = after.calculateSnapshotDiff(0, before.aggregatesForDiff(after.interfaceDefinitions()));
  return Object.values(diff).map(one => [one.name, one.addedCount, one.removedCount]);
}

const snapshots = await Promise.all(files.map(open));
writeFileSync(answer, JSON.stringify({...describe(snapshots[0]), diff: compare(snapshots[0], snapshots.at(-1)), said}));
