/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A heap in formats that other programs read: each writes one file, from its beginning to its end. */
#ifndef SAFEPOINT_CLI_EXPORT_H
#define SAFEPOINT_CLI_EXPORT_H

#include "cli/export_records.h"

struct export {
    struct heap_view view;
    struct export_records records;
    const struct cli_options *options;
    FILE *file;    /* where it goes; its errors are looked at in the end */
    FILE *waiting; /* what comes late in the file waits here; empty at first */
    uint64_t objects, bytes, edges, roots, values; /* that were written */
};

/* For Chrome's DevTools and memlab; as lines of JSON; a part of it for Graphviz. ERROR_INTERRUPTED, ERROR_SYSTEM, ERROR_BAD_FILE;
 * ERROR_UNSUPPORTED of what the format can't hold; of a part, ERROR_USAGE when there is no such object. */
struct error *export_heapsnapshot(struct export *export) __attribute__((warn_unused_result));
struct error *export_jsonl(struct export *export) __attribute__((warn_unused_result));
struct error *export_dot(struct export *export) __attribute__((warn_unused_result));

#endif
