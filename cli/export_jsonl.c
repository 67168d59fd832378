/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A heap as lines of JSON: what the heap's records say, and who retains what. */
#include "cli/export.h"

#include <stdlib.h>
#include <string.h>

#include "cli/heap_graph.h"
#include "protocol/jsonl.h"
#include "runtime/heap/dominators.h"

struct export_lines {
    struct export *export;
    struct graph graph;
    struct dominators dominators;
    struct json out;
    uint32_t done; /* objects that have been written */
};

static uint64_t export_address(const struct export_lines *lines, uint32_t node)
{
    return node < lines->graph.nodes.count ? heap_view_node(&lines->export->view, node).address : 0;
}

/* ------------------------------------------------------------- heap, types */

static void export_put_heap(struct export_lines *lines)
{
    const struct heap_origin *origin = &lines->export->view.origin;
    struct json *out = &lines->out;

    jsonl_begin_heap(out, lines->export->file);
    json_unsigned(out, "pid", origin->pid);
    json_unsigned(out, "start_time", origin->start_time);
    json_string(out, "python", origin->python);
    json_boolean(out, "free_threaded", origin->free_threaded);
    json_boolean(out, "debug", origin->debug);
    json_string(out, "host", origin->host);
    json_string(out, "time", origin->time);
    json_unsigned(out, "objects", lines->graph.nodes.count);
    json_unsigned(out, "references", lines->graph.edge_count);
    json_unsigned(out, "roots", lines->graph.root_count);
    json_boolean(out, "values", lines->export->records.values);
    heap_view_json(&lines->export->view, out);
    jsonl_end(out);
}

static void export_put_types(struct export_lines *lines)
{
    const struct heap_view *view = &lines->export->view;
    uint32_t count = heap_view_type_count(view);

    for (uint32_t i = 0; i < count; i++)
        jsonl_put_type(&lines->out, heap_view_type_name(view, i), heap_view_module_name(view, i));
}

/* ----------------------------------------------------------------- objects */

static struct error *export_put_object(struct export_lines *lines, struct jsonl_object *object)
{
    const struct heap_view *view = &lines->export->view;
    uint32_t number = lines->done++;
    const struct heap_node node = heap_view_node(view, number);

    object->address = node.address;
    object->size = node.size;
    object->type = heap_view_type_name(view, node.type);
    object->refcount = node.refcount;
    object->immortal = node.immortal;
    object->tracked = node.tracked;
    object->generation = node.generation == HEAP_GENERATION_NONE ? -1 : node.generation;
    object->retained = lines->dominators.retained[number];
    object->dominator = export_address(lines, lines->dominators.parents[number]);
    jsonl_put_object(&lines->out, object);
    lines->export->bytes += node.size;
    return export_step(&lines->export->records, "writing objects", number);
}

/* All that come before this one. */
static struct error *export_put_objects(struct export_lines *lines, uint32_t end)
{
    struct error *error = NULL;

    while (lines->done < end && !error) {
        struct jsonl_object object = {.value = NULL};
        error = export_put_object(lines, &object);
    }
    return error;
}

static struct error *export_put_value(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size,
                                      bool cut)
{
    struct export_lines *lines = context;
    struct jsonl_object object = {.value = text, .value_size = size, .cut = cut, .bytes = kind == HEAP_VALUE_BYTES};
    struct error *error = export_put_objects(lines, node);

    if (error || node < lines->done)
        return error;
    lines->export->values++;
    return export_put_object(lines, &object);
}

/* -------------------------------------------------------- references, roots */

static struct error *export_put_reference(void *context, const struct export_edge *edge)
{
    static const struct {
        const char *name;
        bool numbered;
    } kinds[] = {
        [HEAP_EDGE_TYPE] = {"type", false},           [HEAP_EDGE_FIELD] = {"field", false},
        [HEAP_EDGE_SLOT] = {"slot", false},           [HEAP_EDGE_WORD] = {"word", true},
        [HEAP_EDGE_INDEX] = {"index", true},          [HEAP_EDGE_ELEMENT] = {"element", false},
        [HEAP_EDGE_KEY] = {"key", true},              [HEAP_EDGE_VALUE] = {"value", true},
        [HEAP_EDGE_ATTRIBUTE] = {"attribute", false}, [HEAP_EDGE_LOCAL] = {"local", true},
        [HEAP_EDGE_STACK] = {"stack", true},          [HEAP_EDGE_STATE] = {"state", true},
    };
    struct export_lines *lines = context;
    char text[EXPORT_NAME_MAX];
    const struct jsonl_reference reference = {
        .from = export_address(lines, edge->from),
        .to = export_address(lines, edge->target),
        .edge = kinds[edge->kind].name,
        .name = export_edge_name(&lines->export->records, edge, text),
        .number = kinds[edge->kind].numbered ? edge->number : JSONL_NO_NUMBER,
        .key = export_address(lines, edge->key),
        .counted = edge->counted,
    };

    jsonl_put_reference(&lines->out, &reference);
    lines->export->edges++;
    return NULL;
}

static void export_put_roots(struct export_lines *lines)
{
    static const char *const kinds[] = {
        [HEAP_ROOT_FRAME] = "frame",       [HEAP_ROOT_MODULE] = "modules", [HEAP_ROOT_BUILTINS] = "builtins",
        [HEAP_ROOT_INTERPRETER] = "interpreter", [HEAP_ROOT_THREAD] = "thread",  [HEAP_ROOT_INTERNED] = "interned",
        [HEAP_ROOT_STATIC] = "static",     [HEAP_ROOT_OBJECT] = "object",
    };

    for (size_t i = 0; i < lines->graph.root_count; i++) {
        const struct graph_root *from = &lines->graph.roots[i];
        const struct jsonl_root root = {.to = export_address(lines, from->target),
                                        .holder = from->holder,
                                        .code = export_address(lines, from->code),
                                        .root = kinds[from->kind],
                                        .name = from->name,
                                        .number = from->number};
        jsonl_put_root(&lines->out, &root);
    }
}

/* --------------------------------------------------------------------- all */

static struct error *export_put_all(struct export_lines *lines)
{
    struct export_records *records = &lines->export->records;
    struct error *error;

    export_put_heap(lines);
    export_put_types(lines);
    if ((error = export_visit_values(records, export_put_value, lines)) ||
        (error = export_put_objects(lines, lines->graph.nodes.count)))
        return error;
    error = export_visit_edges(records, export_put_reference, lines);
    if (!error)
        export_put_roots(lines);
    return error;
}

struct error *export_jsonl(struct export *export)
{
    struct export_lines lines = {.export = export};
    struct error *error = heap_graph_open(&lines.graph, &export->view, export->options);

    if (!error)
        error = dominators_find(&lines.dominators, &lines.graph, NULL);
    if (!error && export->view.heap)
        heap_read_generations(export->view.heap);
    if (!error)
        error = export_put_all(&lines);
    export->objects = lines.graph.nodes.count;
    export->roots = lines.graph.root_count;
    dominators_deinit(&lines.dominators);
    graph_deinit(&lines.graph);
    return error;
}
