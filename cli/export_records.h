/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A heap as an export goes through it: all references with their names, all values; of a process as of a snapshot. */
#ifndef SAFEPOINT_CLI_EXPORT_RECORDS_H
#define SAFEPOINT_CLI_EXPORT_RECORDS_H

#include "cli/heap_namespaces.h"
#include "cli/heap_view.h"
#include "cli/progress.h"

#define EXPORT_NAME_MAX 512

struct export_records {
    struct heap_view *view;
    bool values; /* what strings and numbers are may be told, and all keys of dicts */
    struct cli_progress line;
    struct heap_namespaces namespaces; /* where they may not */
};

/* Of an open view, which must outlive it. ERROR_USAGE of a snapshot without values that should have them; ERROR_INTERRUPTED,
 * ERROR_SYSTEM, ERROR_BAD_FILE. End it with export_records_deinit() in any case. */
struct error *export_records_init(struct export_records *records, struct heap_view *view, const struct cli_options *options)
    __attribute__((warn_unused_result));
void export_records_deinit(struct export_records *records);

/* A reference; texts end with the call. */
struct export_edge {
    uint32_t from, target; /* nodes */
    enum heap_edge_kind kind;
    bool counted;
    uint64_t number;  /* index, offset, place */
    uint32_t key;     /* of a VALUE: the key's node, or HEAP_NONE */
    uint64_t name_id; /* not 0: names of one id are the same, and export_edge_name() reads them */
    const char *name; /* its name, where there is one and it has no id */
    const struct heap_edge *edge; /* of a process; or NULL */
};

/* What an edge is called, of a VALUE the key as Python writes it; or NULL: it has no name, or one that may not be told.
 * `text` (EXPORT_NAME_MAX) may be used for it. */
const char *export_edge_name(const struct export_records *records, const struct export_edge *edge, char *text);

/* Calls back for all references to objects of the heap, by rising `from`, in the graph's order. An error ends it and is its. */
typedef struct error *export_edge_fn(void *context, const struct export_edge *edge);
struct error *export_visit_edges(struct export_records *records, export_edge_fn *fn, void *context)
    __attribute__((warn_unused_result));

/* Calls back for all strings and numbers, by rising node; for none where values may not be told. */
typedef struct error *export_value_fn(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size,
                                      bool cut);
struct error *export_visit_values(struct export_records *records, export_value_fn *fn, void *context)
    __attribute__((warn_unused_result));

/* Tells of progress, every now and then. ERROR_INTERRUPTED. */
struct error *export_step(struct export_records *records, const char *what, uint32_t node)
    __attribute__((warn_unused_result));

#endif
