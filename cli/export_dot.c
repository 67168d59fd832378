/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is around some objects, as a picture: those that refer to them, step by step backwards, and those that they refer to,
 * step by step forwards. It stays small enough to be looked at: of each object only some neighbours are taken, nothing is looked
 * for behind a class, and it ends at so many objects.
 */
#include "cli/export.h"

#include <inttypes.h>
#include <stdlib.h>

#include "attach/scope.h"
#include "cli/heap_graph.h"
#include "cli/heap_pick.h"
#include "protocol/dot.h"

#define DOT_DEPTH      2
#define DOT_NODES_MAX  200u
#define DOT_FAN_MAX    16u /* neighbours of one object, in one direction */
#define DOT_CHOSEN_MAX 8u  /* of a type */
#define DOT_ROOTS_MAX  200u
#define DOT_VALUE_MAX  40

struct export_picture {
    struct export *export;
    struct graph graph;
    struct graph_sources reverse;
    uint64_t *has; /* a bit a node */
    uint32_t nodes[DOT_NODES_MAX];
    char *values[DOT_NODES_MAX]; /* or NULL */
    uint32_t count, chosen;      /* the first ones are those that were asked for */
    uint32_t limit;              /* so many may be taken by now */
    bool cut;
};

static bool dot_has(const struct export_picture *picture, uint32_t node)
{
    return picture->has[node / 64] >> node % 64 & 1;
}

/* False when there is no room for it. */
static bool dot_take(struct export_picture *picture, uint32_t node)
{
    if (dot_has(picture, node))
        return true;
    if (picture->count == picture->limit) {
        picture->cut = true;
        return false;
    }
    picture->has[node / 64] |= UINT64_C(1) << node % 64;
    picture->nodes[picture->count++] = node;
    return true;
}

/* ------------------------------------------------------------------ chosen */

static struct error *dot_choose(struct export_picture *picture)
{
    const struct heap_view *view = &picture->export->view;
    uint32_t count = heap_view_count(view);
    struct heap_pick pick;
    struct error *error = heap_pick_find(&pick, view, picture->export->options->export.of);

    for (uint32_t i = 0; !error && i < count && picture->count < DOT_CHOSEN_MAX; i++) {
        if (heap_pick_has(&pick, i))
            dot_take(picture, i);
    }
    heap_pick_deinit(&pick);
    picture->chosen = picture->count;
    return error;
}

/* ------------------------------------------------------------------- around */

static uint64_t dot_type_address(const struct heap_view *view, uint32_t type)
{
    return view->heap ? heap_get_type(view->heap, type).address : view->file.type_list[type].address;
}

/* Is it a class? All its instances, and what it takes from its bases, would be behind it. */
static bool dot_is_class(const struct heap_view *view, uint32_t node)
{
    uint64_t address = heap_view_node(view, node).address;
    uint32_t count = heap_view_type_count(view);

    for (uint32_t i = 0; i < count; i++) {
        if (dot_type_address(view, i) == address)
            return true;
    }
    return false;
}

static void dot_expand(struct export_picture *picture, uint32_t node, bool back)
{
    const struct graph *graph = &picture->graph;
    uint32_t begin = back ? picture->reverse.first[node] : graph->first[node];
    uint32_t end = back ? picture->reverse.first[node + 1] : graph->first[node + 1];

    if (end - begin > DOT_FAN_MAX) {
        picture->cut = true;
        end = begin + DOT_FAN_MAX;
    }
    for (uint32_t e = begin; e < end; e++) {
        if (!dot_take(picture, back ? picture->reverse.sources[e] : graph_target(graph, e)))
            return;
    }
}

/* Step by step from those that were asked for, in one direction. */
static void dot_walk(struct export_picture *picture, bool back)
{
    size_t depth = picture->export->options->depth ? picture->export->options->depth : DOT_DEPTH;
    uint32_t begin = 0, end = picture->chosen;

    for (size_t step = 0; step < depth && begin < end; step++) {
        uint32_t before = picture->count;
        for (uint32_t i = begin; i < end; i++) {
            if (i < picture->chosen || !dot_is_class(&picture->export->view, picture->nodes[i]))
                dot_expand(picture, picture->nodes[i], back);
        }
        begin = before;
        end = picture->count;
    }
}

/* ------------------------------------------------------------------ picture */

static uint32_t dot_index(const struct export_picture *picture, uint32_t node)
{
    uint32_t i = 0;

    while (i < picture->count && picture->nodes[i] != node)
        i++;
    return i;
}

static struct error *dot_take_value(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size,
                                    bool cut)
{
    struct export_picture *picture = context;
    int shown = size < DOT_VALUE_MAX ? (int)size : DOT_VALUE_MAX;

    if (!dot_has(picture, node) || kind == HEAP_VALUE_BYTES)
        return NULL;
    while (shown > 0 && (size_t)shown < size && ((unsigned char)text[shown] & 0xc0) == 0x80)
        shown--; /* no half of a character */
    char **value = &picture->values[dot_index(picture, node)];
    if (asprintf(value, "%.*s%s", shown, text, cut || (size_t)shown < size ? "..." : "") >= 0)
        return NULL;
    *value = NULL;
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the values");
}

static void dot_put_nodes(struct export_picture *picture)
{
    const struct heap_view *view = &picture->export->view;
    char text[640], size[24];

    for (uint32_t i = 0; i < picture->count; i++) {
        const struct heap_node node = heap_view_node(view, picture->nodes[i]);
        snprintf(text, sizeof(text), "%s%s%s\n0x%" PRIx64 "\n%s", heap_view_type_name(view, node.type),
                 picture->values[i] ? " " : "", picture->values[i] ? picture->values[i] : "", node.address,
                 cli_format_size(size, sizeof(size), node.size));
        dot_put_node(picture->export->file, i < picture->chosen ? DOT_CHOSEN : DOT_OBJECT, picture->nodes[i], text);
        picture->export->bytes += node.size;
    }
    picture->export->objects = picture->count;
}

static void dot_name_edge(const struct export_picture *picture, const struct export_edge *edge, char *text, size_t size)
{
    static const struct {
        const char *before, *after; /* before the number and after it, where there is no name */
    } kinds[] = {
        [HEAP_EDGE_TYPE] = {"__class__", NULL}, [HEAP_EDGE_FIELD] = {"+", ""},         [HEAP_EDGE_SLOT] = {"+", ""},
        [HEAP_EDGE_WORD] = {"+", ""},           [HEAP_EDGE_INDEX] = {"[", "]"},        [HEAP_EDGE_ELEMENT] = {"element", NULL},
        [HEAP_EDGE_KEY] = {"key ", ""},         [HEAP_EDGE_VALUE] = {"value ", ""},    [HEAP_EDGE_ATTRIBUTE] = {"attribute ", ""},
        [HEAP_EDGE_LOCAL] = {"local ", ""},     [HEAP_EDGE_STACK] = {"stack ", ""},    [HEAP_EDGE_STATE] = {"state+", ""},
    };
    char room[EXPORT_NAME_MAX];
    const char *name = export_edge_name(&picture->export->records, edge, room);

    if (name && edge->kind == HEAP_EDGE_VALUE)
        snprintf(text, size, "[%s]", name);
    else if (name)
        snprintf(text, size, edge->kind == HEAP_EDGE_LOCAL ? "%s" : ".%s", name);
    else if (kinds[edge->kind].after)
        snprintf(text, size, "%s%" PRIu64 "%s", kinds[edge->kind].before, edge->number, kinds[edge->kind].after);
    else
        snprintf(text, size, "%s", kinds[edge->kind].before);
}

static struct error *dot_take_edge(void *context, const struct export_edge *edge)
{
    struct export_picture *picture = context;
    char text[EXPORT_NAME_MAX + 8];

    if (!dot_has(picture, edge->from) || !dot_has(picture, edge->target))
        return NULL;
    dot_name_edge(picture, edge, text, sizeof(text));
    dot_put_edge(picture->export->file, false, edge->from, edge->target, text, !edge->counted);
    picture->export->edges++;
    return NULL;
}

static void dot_put_roots(struct export_picture *picture)
{
    static const char *const names[] = {
        [HEAP_ROOT_FRAME] = "frame",   [HEAP_ROOT_MODULE] = "modules",    [HEAP_ROOT_BUILTINS] = "builtins",
        [HEAP_ROOT_THREAD] = "thread", [HEAP_ROOT_INTERNED] = "interned", [HEAP_ROOT_INTERPRETER] = "interpreter",
        [HEAP_ROOT_STATIC] = "static", [HEAP_ROOT_OBJECT] = "static object",
    };
    uint64_t shown = 0; /* a bit for each kind */
    FILE *file = picture->export->file;

    for (size_t i = 0; i < picture->graph.root_count && picture->export->roots < DOT_ROOTS_MAX; i++) {
        const struct graph_root *root = &picture->graph.roots[i];
        if (!dot_has(picture, root->target))
            continue;
        if (!(shown >> root->kind & 1))
            dot_put_node(file, DOT_ROOT, root->kind, names[root->kind]);
        shown |= UINT64_C(1) << root->kind;
        dot_put_edge(file, true, root->kind, root->target, root->name ? root->name : "",
                     root->kind == HEAP_ROOT_INTERNED);
        picture->export->roots++;
    }
}

static struct error *dot_put_all(struct export_picture *picture)
{
    struct export_records *records = &picture->export->records;
    struct error *error = export_visit_values(records, dot_take_value, picture);
    char title[256];

    if (error)
        return error;
    snprintf(title, sizeof(title), "process %" PRIu64 ", %s, around %s%s", picture->export->view.origin.pid,
             picture->export->view.origin.time, picture->export->options->export.of,
             picture->cut ? "; not all that is there" : "");
    dot_begin(picture->export->file, title);
    dot_put_nodes(picture);
    if ((error = export_visit_edges(records, dot_take_edge, picture)))
        return error;
    dot_put_roots(picture);
    dot_end(picture->export->file);
    return NULL;
}

static struct error *dot_find(struct export_picture *picture)
{
    struct error *error = heap_graph_open(&picture->graph, &picture->export->view, picture->export->options);

    if (error || (error = graph_reverse(&picture->graph, &picture->reverse)))
        return error;
    picture->has = calloc(picture->graph.nodes.count / 64 + 1, sizeof(*picture->has));
    if (!picture->has)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the picture");
    if ((error = dot_choose(picture)))
        return error;
    dot_walk(picture, true);
    picture->limit = DOT_NODES_MAX;
    dot_walk(picture, false);
    return NULL;
}

struct error *export_dot(struct export *export)
{
    struct export_picture picture = {.export = export, .limit = DOT_NODES_MAX / 2};
    struct error *error = dot_find(&picture);

    if (!error)
        error = dot_put_all(&picture);
    if (!error && picture.cut)
        cli_note(export->options, "not all that is there: of an object %u neighbours, %u objects in all", DOT_FAN_MAX,
                 DOT_NODES_MAX);
    for (uint32_t i = 0; i < picture.count; i++)
        free(picture.values[i]);
    free(picture.has);
    graph_sources_deinit(&picture.reverse);
    graph_deinit(&picture.graph);
    return error;
}
