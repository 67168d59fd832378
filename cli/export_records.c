/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/export_records.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT_VALUE_MAX 4096
#define EXPORT_NODES_PER_STEP 16384u

/* Kinds of name in an id, beside what makes the name: an address, or a number. */
enum { EXPORT_ID_LABEL, EXPORT_ID_KEY, EXPORT_ID_NAME, EXPORT_ID_KINDS };

struct error *export_step(struct export_records *records, const char *what, uint32_t node)
{
    if (node % EXPORT_NODES_PER_STEP)
        return NULL;
    return cli_progress_step(&records->line, what, node, heap_view_count(records->view));
}

static struct error *export_records_step(void *context, const char *what, uint64_t done, uint64_t all)
{
    return cli_progress_step(context, what, done, all);
}

/* ------------------------------------------------------------- namespaces */

static struct error *export_mark_record(void *context, const struct snapshot_edge *edge)
{
    struct export_records *records = context;

    if (edge->kind == SNAPSHOT_EDGE_FIELD && heap_namespaces_by_field(edge->name))
        heap_namespaces_mark(&records->namespaces, edge->target);
    return export_step(records, "looking for names", edge->from);
}

static struct error *export_mark_root(void *context, const struct snapshot_root *root)
{
    struct export_records *records = context;

    if (heap_namespaces_by_root((enum heap_root_kind)root->kind))
        heap_namespaces_mark(&records->namespaces, root->target);
    return NULL;
}

/* A snapshot without values has no names that may not be told. */
static struct error *export_find_namespaces(struct export_records *records)
{
    struct heap_view *view = records->view;
    const struct heap_progress progress = {export_records_step, &records->line};
    const struct snapshot_events events = {.context = records, .edge = export_mark_record, .root = export_mark_root};

    if (records->values || (!view->heap && !view->origin.values))
        return NULL;
    if (view->heap)
        return heap_namespaces_find(&records->namespaces, view->heap, &progress);
    struct error *error = heap_namespaces_init(&records->namespaces, heap_view_count(view));
    return error ? error : heap_file_read_again(&view->file, &events);
}

struct error *export_records_init(struct export_records *records, struct heap_view *view, const struct cli_options *options)
{
    *records = (struct export_records){.view = view, .values = options->values};
    cli_progress_begin(&records->line, options);
    if (options->values && !view->heap && !view->origin.values)
        return error_create(ERROR_USAGE, "take the snapshot with --values", "%s has no values", options->words[0]);
    return export_find_namespaces(records);
}

void export_records_deinit(struct export_records *records)
{
    cli_progress_end(&records->line);
    heap_namespaces_deinit(&records->namespaces);
}

/* ------------------------------------------------------------------ edges */

struct export_visit {
    struct export_records *records;
    export_edge_fn *edge;
    export_value_fn *value;
    void *context;
    uint32_t from;
    uint64_t places; /* values of a dict that have come */
    struct error *error; /* the first */
};

static uint64_t export_name_id(const struct export_records *records, uint32_t from, const struct heap_edge *edge)
{
    if (edge->label)
        return (uint64_t)(uintptr_t)edge->label * EXPORT_ID_KINDS + EXPORT_ID_LABEL;
    if (!edge->name)
        return 0;
    if (edge->kind != HEAP_EDGE_VALUE)
        return edge->name * EXPORT_ID_KINDS + EXPORT_ID_NAME;
    if (!records->values && !heap_namespaces_tell(&records->namespaces, records->view->heap, from, edge))
        return 0;
    return edge->name * EXPORT_ID_KINDS + EXPORT_ID_KEY;
}

const char *export_edge_name(const struct export_records *records, const struct export_edge *edge, char *text)
{
    struct heap *heap = records->view->heap;

    if (!edge->name_id)
        return edge->name;
    if (edge->edge->label)
        return edge->edge->label;
    if (edge->kind != HEAP_EDGE_VALUE)
        return heap_read_name(heap, edge->edge->name, text, EXPORT_NAME_MAX) ? text : NULL;
    heap_format_key(heap, edge->edge->name, text, EXPORT_NAME_MAX);
    return text;
}

static void export_pass_edge(void *context, const struct heap_edge *from)
{
    struct export_visit *visit = context;
    struct heap *heap = visit->records->view->heap;
    bool value = from->kind == HEAP_EDGE_VALUE;
    const struct export_edge edge = {.from = visit->from,
                                     .target = heap_find(heap, from->target),
                                     .kind = from->kind,
                                     .counted = from->counted,
                                     .number = from->number,
                                     .key = value && from->name ? heap_find(heap, from->name) : HEAP_NONE,
                                     .name_id = export_name_id(visit->records, visit->from, from),
                                     .edge = from};

    if (!visit->error && edge.target != HEAP_NONE)
        visit->error = visit->edge(visit->context, &edge);
}

static struct error *export_visit_heap(struct export_visit *visit)
{
    uint32_t count = heap_view_count(visit->records->view);

    for (visit->from = 0; visit->from < count && !visit->error; visit->from++) {
        heap_visit_edges(visit->records->view->heap, visit->from, export_pass_edge, visit);
        if (!visit->error)
            visit->error = export_step(visit->records, "writing references", visit->from);
    }
    return visit->error;
}

static bool export_may_tell(const struct export_records *records, const struct snapshot_edge *edge)
{
    return records->values || edge->kind != SNAPSHOT_EDGE_VALUE || !records->namespaces.bits ||
           (heap_namespaces_has(&records->namespaces, edge->from) && edge->name && edge->name[0] == '\'');
}

static struct error *export_pass_record(void *context, const struct snapshot_edge *from)
{
    struct export_visit *visit = context;
    bool value = from->kind == SNAPSHOT_EDGE_VALUE;

    if (from->from != visit->from) {
        struct error *error = export_step(visit->records, "writing references", from->from);
        if (error)
            return error;
        visit->from = from->from;
        visit->places = 0;
    }
    const struct export_edge edge = {.from = from->from,
                                     .target = from->target,
                                     .kind = (enum heap_edge_kind)from->kind,
                                     .counted = from->counted,
                                     .number = value ? visit->places++ : from->number,
                                     .key = value && from->number ? (uint32_t)(from->number - 1) : HEAP_NONE,
                                     .name = export_may_tell(visit->records, from) ? from->name : NULL};
    return visit->edge(visit->context, &edge);
}

struct error *export_visit_edges(struct export_records *records, export_edge_fn *fn, void *context)
{
    struct export_visit visit = {.records = records, .edge = fn, .context = context};
    const struct snapshot_events events = {.context = &visit, .edge = export_pass_record};

    if (records->view->heap)
        return export_visit_heap(&visit);
    return heap_file_read_again(&records->view->file, &events);
}

/* ----------------------------------------------------------------- values */

static struct error *export_pass_value(void *context, const struct snapshot_value *value)
{
    const struct export_visit *visit = context;

    return visit->value(visit->context, value->node, (enum heap_value_kind)value->kind, value->text, value->size, value->cut);
}

static struct error *export_visit_heap_values(const struct export_visit *visit)
{
    struct heap *heap = visit->records->view->heap;
    uint32_t count = heap_count(heap);
    char text[EXPORT_VALUE_MAX];
    struct error *error = NULL;

    for (uint32_t i = 0; i < count && !error; i++) {
        size_t size;
        bool cut;
        enum heap_value_kind kind = heap_read_value(heap, i, text, sizeof(text), &size, &cut);
        if (kind != HEAP_VALUE_NONE)
            error = visit->value(visit->context, i, kind, text, size, cut);
    }
    return error;
}

struct error *export_visit_values(struct export_records *records, export_value_fn *fn, void *context)
{
    struct export_visit visit = {.records = records, .value = fn, .context = context};
    const struct snapshot_events events = {.context = &visit, .value = export_pass_value};

    if (!records->values)
        return NULL;
    return records->view->heap ? export_visit_heap_values(&visit) : heap_file_read_again(&records->view->file, &events);
}
