/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A heap as Chrome's DevTools and memlab see one:
 *
 *   root -> (modules), (thread 1)... -> frame f... -> objects -> objects...
 *
 * Both work out for themselves who retains what. So that they find what `retained` says, a reference that keeps nothing is
 * weak here: one that isn't counted; one of what nobody but the table of interned strings, or nobody at all, holds, to what
 * somebody does.
 */
#include "cli/export.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/export_frames.h"
#include "cli/heap_graph.h"
#include "protocol/heapsnapshot.h"
#include "runtime/heap/dominators.h"

#define EXPORT_NODES_MAX (UINT32_MAX / 8)
#define EXPORT_NUMBER_ID (UINT64_C(1) << 63)

enum export_class { EXPORT_UNKNOWN, EXPORT_HELD, EXPORT_INTERNED, EXPORT_UNREACHED, EXPORT_CLASS = 3, EXPORT_FIRST = 4 };

struct export_heap {
    struct export *export;
    struct graph graph;
    struct export_groups groups;
    struct export_frames frames;
    uint8_t *classes; /* of each node: enum export_class, and is it a first one of what nothing reaches? */
    uint32_t firsts;
    uint32_t *type_kinds; /* of each type: enum heapsnapshot_node_type */
    uint32_t *type_names; /* strings */
    struct heapsnapshot out;
    uint32_t done; /* nodes that have been written */
};

/* ------------------------------------------------------------ who is held */

/* The class of a node by its dominator that is no object. */
static uint8_t export_class_of(const struct dominators *dominators, uint32_t holder)
{
    if (holder == dominators_unreachable(dominators))
        return EXPORT_UNREACHED;
    return holder == dominators_interned(dominators) ? EXPORT_INTERNED : EXPORT_HELD;
}

static void export_classify(struct export_heap *heap, const struct dominators *dominators)
{
    uint32_t count = heap->graph.nodes.count;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        while (at < count && !heap->classes[at])
            at = dominators->parents[at];
        uint8_t class = at < count ? heap->classes[at] & EXPORT_CLASS : export_class_of(dominators, at);
        for (at = i; at < count && !heap->classes[at]; at = dominators->parents[at])
            heap->classes[at] = class;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (dominators->parents[i] == dominators_unreachable(dominators)) {
            heap->classes[i] |= EXPORT_FIRST;
            heap->firsts++;
        }
    }
}

static struct error *export_find_classes(struct export_heap *heap)
{
    struct dominators dominators;
    struct error *error = dominators_find(&dominators, &heap->graph, NULL);

    heap->classes = calloc((size_t)heap->graph.nodes.count + 1, sizeof(*heap->classes));
    if (!error && !heap->classes)
        error = error_create(ERROR_SYSTEM, NULL, "out of memory for the objects");
    if (!error)
        export_classify(heap, &dominators);
    dominators_deinit(&dominators);
    return error;
}

/* ------------------------------------------------------------------- names */

static uint32_t export_text(struct export_heap *heap, const char *text)
{
    return strings_add(&heap->out.strings, text, strlen(text));
}

/* "+24": few texts, asked for often. */
static uint32_t export_numbered(struct export_heap *heap, const char *before, unsigned kind, uint64_t number)
{
    uint64_t id = EXPORT_NUMBER_ID | number << 4 | kind;
    uint32_t string = strings_find(&heap->out.strings, id);
    char text[64];

    if (string == STRINGS_NONE) {
        snprintf(text, sizeof(text), "%s%" PRIu64, before, number);
        string = export_text(heap, text);
        strings_keep(&heap->out.strings, id, string);
    }
    return string;
}

/* The string that an edge is called, or STRINGS_NONE. */
static uint32_t export_named(struct export_heap *heap, const struct export_edge *edge)
{
    struct strings *strings = &heap->out.strings;
    uint32_t string = strings_find(strings, edge->name_id);
    char text[EXPORT_NAME_MAX];

    if (string != STRINGS_NONE)
        return string;
    const char *name = export_edge_name(&heap->export->records, edge, text);
    if (!name)
        return STRINGS_NONE;
    string = export_text(heap, name);
    strings_keep(strings, edge->name_id, string);
    return string;
}

static uint32_t export_index(uint64_t number)
{
    return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

/* Edges of each kind: their type here, and what is said where they have no name. */
static const struct export_kind {
    enum heapsnapshot_edge_type type;
    bool named, indexed; /* by the object that names it; by its number */
    const char *text;    /* before the number; of those that have no number, all of it */
} export_kinds[] = {
    [HEAP_EDGE_TYPE] = {HEAPSNAPSHOT_INTERNAL, false, false, "__class__"},
    [HEAP_EDGE_FIELD] = {HEAPSNAPSHOT_PROPERTY, true, false, "+"},
    [HEAP_EDGE_SLOT] = {HEAPSNAPSHOT_PROPERTY, true, false, "+"},
    [HEAP_EDGE_WORD] = {HEAPSNAPSHOT_INTERNAL, false, false, "+"},
    [HEAP_EDGE_INDEX] = {HEAPSNAPSHOT_ELEMENT, false, true, NULL},
    [HEAP_EDGE_ELEMENT] = {HEAPSNAPSHOT_ELEMENT, false, true, NULL},
    [HEAP_EDGE_KEY] = {HEAPSNAPSHOT_INTERNAL, false, false, "key"},
    [HEAP_EDGE_VALUE] = {HEAPSNAPSHOT_PROPERTY, true, true, NULL},
    [HEAP_EDGE_ATTRIBUTE] = {HEAPSNAPSHOT_PROPERTY, true, false, "attribute "},
    [HEAP_EDGE_LOCAL] = {HEAPSNAPSHOT_CONTEXT, true, false, "local "},
    [HEAP_EDGE_STACK] = {HEAPSNAPSHOT_INTERNAL, false, false, "stack "},
    [HEAP_EDGE_STATE] = {HEAPSNAPSHOT_INTERNAL, false, false, "state+"},
};

static struct heapsnapshot_edge export_make_edge(struct export_heap *heap, const struct export_edge *edge)
{
    const struct export_kind *kind = &export_kinds[edge->kind];
    uint32_t string = kind->named ? export_named(heap, edge) : STRINGS_NONE;

    if (string != STRINGS_NONE)
        return (struct heapsnapshot_edge){.type = kind->type, .name = string};
    if (kind->indexed)
        return (struct heapsnapshot_edge){.type = HEAPSNAPSHOT_ELEMENT, .name = export_index(edge->number)};
    if (edge->kind == HEAP_EDGE_TYPE || edge->kind == HEAP_EDGE_KEY)
        return (struct heapsnapshot_edge){.type = kind->type, .name = export_text(heap, kind->text)};
    return (struct heapsnapshot_edge){.type = kind->type,
                                      .name = export_numbered(heap, kind->text, edge->kind, edge->number)};
}

/* ------------------------------------------------------------------- nodes */

static enum heapsnapshot_node_type export_type_kind(const char *name)
{
    static const struct {
        const char *name;
        enum heapsnapshot_node_type type;
    } kinds[] = {
        {"str", HEAPSNAPSHOT_STRING},       {"int", HEAPSNAPSHOT_NUMBER},
        {"float", HEAPSNAPSHOT_NUMBER},     {"complex", HEAPSNAPSHOT_NUMBER},
        {"bool", HEAPSNAPSHOT_NUMBER},      {"code", HEAPSNAPSHOT_CODE},
        {"function", HEAPSNAPSHOT_CLOSURE}, {"builtin_function_or_method", HEAPSNAPSHOT_CLOSURE},
        {"method", HEAPSNAPSHOT_CLOSURE},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!strcmp(name, kinds[i].name))
            return kinds[i].type;
    }
    return HEAPSNAPSHOT_OBJECT;
}

static struct error *export_read_types(struct export_heap *heap)
{
    const struct heap_view *view = &heap->export->view;
    uint32_t count = heap_view_type_count(view);

    heap->type_kinds = calloc((size_t)count + 1, sizeof(*heap->type_kinds));
    heap->type_names = calloc((size_t)count + 1, sizeof(*heap->type_names));
    if (!heap->type_kinds || !heap->type_names)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the types");
    for (uint32_t i = 0; i < count; i++) {
        const char *name = heap_view_type_name(view, i);
        heap->type_kinds[i] = export_type_kind(name);
        heap->type_names[i] = export_text(heap, name);
    }
    return NULL;
}

/* The next object, under its type's name or another. */
static struct error *export_put_object(struct export_heap *heap, uint32_t name)
{
    uint32_t number = heap->done++;
    const struct heap_node from = heap_view_node(&heap->export->view, number);
    struct heapsnapshot_node node = {
        .type = heap->type_kinds[from.type],
        .name = name == STRINGS_NONE ? heap->type_names[from.type] : name,
        .edges = heap->graph.first[number + 1] - heap->graph.first[number],
        .size = from.size,
    };
    struct error *error = heapsnapshot_id(&heap->out, from.address, &node.id);

    if (error)
        return error;
    heapsnapshot_put_node(&heap->out, &node);
    heap->export->bytes += from.size;
    return export_step(&heap->export->records, "writing objects", number);
}

/* All objects that come before this one. */
static struct error *export_put_objects(struct export_heap *heap, uint32_t end)
{
    struct error *error = NULL;

    while (heap->done < end && !error)
        error = export_put_object(heap, STRINGS_NONE);
    return error;
}

/* Strings and numbers are called what they are. */
static struct error *export_put_value(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size,
                                      bool cut)
{
    struct export_heap *heap = context;
    struct error *error = export_put_objects(heap, node);

    (void)cut;
    if (error || kind == HEAP_VALUE_BYTES || node < heap->done)
        return error;
    heap->export->values++;
    return export_put_object(heap, strings_add(&heap->out.strings, text, size));
}

static uint32_t export_group_edges(const struct export_heap *heap, uint32_t group)
{
    const struct export_group *at = &heap->groups.groups[group];

    return at->frame_count + at[1].first - at->first + (at->kind == EXPORT_GROUP_UNREACHED ? heap->firsts : 0);
}

static uint32_t export_root_edges(const struct export_heap *heap)
{
    return heap->groups.count - heap->groups.frames;
}

/* The root, then the groups. */
static void export_put_groups(struct export_heap *heap)
{
    struct heapsnapshot_node node = {.type = HEAPSNAPSHOT_SYNTHETIC, .id = 1, .edges = export_root_edges(heap)};
    char text[EXPORT_GROUP_NAME_MAX];

    node.name = export_text(heap, "");
    heapsnapshot_put_node(&heap->out, &node);
    for (uint32_t i = 0; i < heap->groups.count; i++) {
        export_name_group(&heap->frames, &heap->groups.groups[i], text);
        node.name = export_text(heap, text);
        node.id = i + 2;
        node.edges = export_group_edges(heap, i);
        heapsnapshot_put_node(&heap->out, &node);
    }
}

/* ------------------------------------------------------------------- edges */

static uint32_t export_place(const struct export_heap *heap, uint32_t node)
{
    return 1 + heap->groups.count + node;
}

static struct heapsnapshot_edge export_make_root(struct export_heap *heap, const struct graph_root *root, uint32_t index)
{
    switch (root->kind) {
    case HEAP_ROOT_FRAME:
        if (root->name)
            return (struct heapsnapshot_edge){.type = HEAPSNAPSHOT_CONTEXT, .name = export_text(heap, root->name)};
        return (struct heapsnapshot_edge){.type = HEAPSNAPSHOT_INTERNAL,
                                          .name = export_numbered(heap, "stack ", HEAP_EDGE_STACK, root->number)};
    case HEAP_ROOT_INTERPRETER:
    case HEAP_ROOT_THREAD:
    case HEAP_ROOT_BUILTINS:
    case HEAP_ROOT_MODULE:
        return (struct heapsnapshot_edge){.type = HEAPSNAPSHOT_INTERNAL,
                                          .name = export_numbered(heap, "+", HEAP_EDGE_WORD, root->number)};
    default:
        return (struct heapsnapshot_edge){.type = HEAPSNAPSHOT_ELEMENT, .name = index};
    }
}

static void export_put_root(struct export_heap *heap, const struct graph_root *root, uint32_t index)
{
    struct heapsnapshot_edge edge = export_make_root(heap, root, index);

    if (root->kind == HEAP_ROOT_INTERNED && (heap->classes[root->target] & EXPORT_CLASS) == EXPORT_HELD)
        edge = (struct heapsnapshot_edge){.type = HEAPSNAPSHOT_WEAK, .name = export_text(heap, "interned")};
    edge.target = export_place(heap, root->target);
    heapsnapshot_put_edge(&heap->out, &edge);
}

static void export_put_firsts(struct export_heap *heap)
{
    uint32_t index = 0;

    for (uint32_t i = 0; i < heap->graph.nodes.count; i++) {
        if (!(heap->classes[i] & EXPORT_FIRST))
            continue;
        const struct heapsnapshot_edge edge = {HEAPSNAPSHOT_ELEMENT, index++, export_place(heap, i)};
        heapsnapshot_put_edge(&heap->out, &edge);
    }
}

static void export_put_group_edges(struct export_heap *heap, const struct export_group *group)
{
    for (uint32_t i = 0; i < group->frame_count; i++) {
        const struct heapsnapshot_edge edge = {HEAPSNAPSHOT_ELEMENT, i, 1 + group->frames + i};
        heapsnapshot_put_edge(&heap->out, &edge);
    }
    for (uint32_t i = group->first; i < group[1].first; i++)
        export_put_root(heap, &heap->graph.roots[heap->groups.order[i]], i - group->first);
    if (group->kind == EXPORT_GROUP_UNREACHED)
        export_put_firsts(heap);
}

static void export_put_roots(struct export_heap *heap)
{
    uint32_t index = 0;

    for (uint32_t i = 0; i < heap->groups.count; i++) {
        const struct heapsnapshot_edge edge = {HEAPSNAPSHOT_ELEMENT, index, 1 + i};
        if (heap->groups.groups[i].kind == EXPORT_GROUP_FRAME)
            continue;
        heapsnapshot_put_edge(&heap->out, &edge);
        index++;
    }
    for (uint32_t i = 0; i < heap->groups.count; i++)
        export_put_group_edges(heap, &heap->groups.groups[i]);
}

static bool export_keeps(const struct export_heap *heap, const struct export_edge *edge)
{
    return edge->counted &&
           (heap->classes[edge->from] & EXPORT_CLASS) <= (heap->classes[edge->target] & EXPORT_CLASS);
}

static struct error *export_put_edge(void *context, const struct export_edge *from)
{
    struct export_heap *heap = context;
    struct heapsnapshot_edge edge = export_make_edge(heap, from);

    if (!export_keeps(heap, from)) {
        if (edge.type == HEAPSNAPSHOT_ELEMENT) /* a weak one has a name */
            edge.name = export_numbered(heap, "", HEAP_EDGE_INDEX, edge.name);
        edge.type = HEAPSNAPSHOT_WEAK;
    }
    edge.target = export_place(heap, from->target);
    heapsnapshot_put_edge(&heap->out, &edge);
    heap->export->edges++;
    return NULL;
}

/* --------------------------------------------------------------------- all */

static struct error *export_put_all(struct export_heap *heap)
{
    struct export_records *records = &heap->export->records;
    struct error *error = export_read_types(heap);

    if (error)
        return error;
    export_put_groups(heap);
    if ((error = export_visit_values(records, export_put_value, heap)) ||
        (error = export_put_objects(heap, heap->graph.nodes.count)))
        return error;
    export_put_roots(heap);
    error = export_visit_edges(records, export_put_edge, heap);
    return error ? error : heapsnapshot_finish(&heap->out);
}

static struct error *export_begin(struct export_heap *heap)
{
    uint64_t nodes = (uint64_t)heap->graph.nodes.count + heap->groups.count + 1;
    uint64_t edges = (uint64_t)heap->graph.edge_count + heap->graph.root_count + heap->groups.count + heap->firsts;

    if (nodes > EXPORT_NODES_MAX || edges > UINT32_MAX || heap->groups.count + 2 >= HEAPSNAPSHOT_OWN_IDS)
        return error_create(ERROR_UNSUPPORTED, "--format jsonl has no such bound",
                            "a .heapsnapshot can't number %" PRIu64 " objects and %" PRIu64 " references", nodes, edges);
    heapsnapshot_init(&heap->out, heap->export->file, heap->export->waiting, (uint32_t)nodes, (uint32_t)edges);
    return NULL;
}

struct error *export_heapsnapshot(struct export *export)
{
    struct export_heap heap = {.export = export};
    struct error *error = heap_graph_open(&heap.graph, &export->view, export->options);

    if (!error)
        error = export_find_classes(&heap);
    if (!error)
        error = export_groups_init(&heap.groups, &heap.graph);
    if (!error)
        error = export_frames_init(&heap.frames, &export->view, &heap.groups);
    if (!error && !(error = export_begin(&heap)))
        error = export_put_all(&heap);
    export->objects = heap.graph.nodes.count;
    export->roots = heap.graph.root_count;
    heapsnapshot_deinit(&heap.out);
    export_frames_deinit(&heap.frames);
    export_groups_deinit(&heap.groups);
    free(heap.classes);
    free(heap.type_kinds);
    free(heap.type_names);
    graph_deinit(&heap.graph);
    return error;
}
