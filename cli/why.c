/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * why: the shortest path from where references start to an object, named as Python would write it. Of a type, the path of
 * one that stands for most: paths are alike when they begin at the same variable and lead through the same types.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_pick.h"
#include "cli/heap_search.h"

#define WHY_PATHS_MOST 1000
#define WHY_STEPS_SHOWN 40

/* What holds the object, when no root that we know of does. */
enum why_verdict { WHY_HELD, WHY_INTERNED, WHY_IMMORTAL, WHY_OUTSIDE, WHY_GARBAGE };

struct why {
    const struct cli_options *options;
    struct heap_view view;
    struct graph graph;
    struct heap_search search;
    struct heap_pick pick;

    uint32_t node;        /* the object, or the sample */
    uint64_t alike;       /* of a type: how many are held like it */
    uint64_t unreached;   /* of a type: how many nothing reaches */
    struct paths_path *paths;
    struct heap_named_path *named;
    size_t count;

    enum why_verdict verdict;
    uint64_t found; /* references to the object that were found in the heap */
    struct paths_seed *outside; /* objects with references that weren't found */
    size_t outside_count;
    uint32_t holder; /* the one of them that leads to the object */
};

static struct error *why_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the paths");
}

/* ---------------------------------------------------------- one for many */

/* How many of a type have paths of each shape. */
struct why_shapes {
    const struct why *why;
    uint32_t *shapes; /* by node; 0: not known yet */
    uint32_t *stack;  /* nodes on the way to one whose shape is known */
    size_t room;
    struct why_shape {
        uint32_t shape, first; /* node */
        uint64_t count;
    } * table; /* open addressing; count 0: free */
    size_t used, size;
};

static uint32_t why_mix(uint32_t shape, uint32_t more)
{
    uint64_t hash = ((uint64_t)shape << 32 | more) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)(hash >> 32) | 1;
}

static uint32_t why_parent(const struct why_shapes *shapes, uint32_t node)
{
    return node == HEAP_NONE ? HEAP_NONE : paths_parent(&shapes->why->search.paths, node);
}

static uint32_t why_type(const struct why_shapes *shapes, uint32_t node)
{
    return heap_view_types(&shapes->why->view)[node];
}

/* Does it hold variables: a module's dict, a frame? */
static bool why_is_scope(const struct why_shapes *shapes, uint32_t node)
{
    uint32_t seed = shapes->why->search.paths.parents[node];

    return seed & PATHS_SEED && shapes->why->search.seeds[seed & ~PATHS_SEED].level == 0;
}

/*
 * Of a node whose parent's is known. Variables are told apart, and what is behind them by types; a chain (links of a list,
 * a tree's nodes, with or without their dicts between them) has one shape however long it is.
 */
static uint32_t why_shape_of(const struct why_shapes *shapes, uint32_t node)
{
    uint32_t parent = why_parent(shapes, node), before = why_parent(shapes, parent), type = why_type(shapes, node);

    if (parent == HEAP_NONE)
        return why_mix(1, node);
    if (why_is_scope(shapes, parent))
        return why_mix(shapes->shapes[parent], node);
    if (why_type(shapes, parent) == type)
        return shapes->shapes[parent];
    if (before != HEAP_NONE && !why_is_scope(shapes, before) && why_type(shapes, before) == type)
        return shapes->shapes[before];
    return why_mix(shapes->shapes[parent], type);
}

static bool why_push(struct why_shapes *shapes, size_t count, uint32_t node)
{
    if (count == shapes->room) {
        size_t room = shapes->room ? shapes->room * 2 : 256;
        uint32_t *larger = reallocarray(shapes->stack, room, sizeof(*larger));
        if (!larger)
            return false;
        shapes->stack = larger;
        shapes->room = room;
    }
    shapes->stack[count] = node;
    return true;
}

static bool why_find_shape(struct why_shapes *shapes, uint32_t node)
{
    size_t count = 0;

    for (uint32_t at = node; at != HEAP_NONE && !shapes->shapes[at]; at = why_parent(shapes, at)) {
        if (!why_push(shapes, count++, at))
            return false;
    }
    while (count > 0) {
        uint32_t at = shapes->stack[--count];
        shapes->shapes[at] = why_shape_of(shapes, at);
    }
    return true;
}

static struct why_shape *why_slot(struct why_shape *table, size_t size, uint32_t shape)
{
    size_t at = shape % size;

    while (table[at].count && table[at].shape != shape)
        at = (at + 1) % size;
    return &table[at];
}

static bool why_grow(struct why_shapes *shapes)
{
    size_t size = shapes->size ? shapes->size * 2 : 1024;
    struct why_shape *table = calloc(size, sizeof(*table));

    for (size_t i = 0; table && i < shapes->size; i++) {
        if (shapes->table[i].count)
            *why_slot(table, size, shapes->table[i].shape) = shapes->table[i];
    }
    if (!table)
        return false;
    free(shapes->table);
    shapes->table = table;
    shapes->size = size;
    return true;
}

static bool why_count(struct why_shapes *shapes, uint32_t node)
{
    if (!why_find_shape(shapes, node) || (shapes->used * 2 >= shapes->size && !why_grow(shapes)))
        return false;
    struct why_shape *slot = why_slot(shapes->table, shapes->size, shapes->shapes[node]);
    if (!slot->count) {
        *slot = (struct why_shape){shapes->shapes[node], node, 0};
        shapes->used++;
    }
    slot->count++;
    return true;
}

/* The nearest are met first: the first of a shape is the nearest of it. */
static struct error *why_count_all(struct why *why, struct why_shapes *shapes)
{
    const struct paths *paths = &why->search.paths;

    why->unreached = why->pick.count;
    for (uint32_t i = 0; i < paths->reached; i++) {
        uint32_t node = paths->order[i];
        if (!heap_pick_has(&why->pick, node))
            continue;
        if (!why_count(shapes, node))
            return why_out_of_memory();
        why->unreached--;
    }
    return NULL;
}

static uint32_t why_first_unreached(const struct why *why)
{
    for (uint32_t i = 0; i < heap_view_count(&why->view); i++) {
        if (heap_pick_has(&why->pick, i) && !paths_is_reached(&why->search.paths, i))
            return i;
    }
    return HEAP_NONE;
}

/* The sample: of the commonest shape, or of what nothing reaches where that is more. */
static struct error *why_choose(struct why *why)
{
    struct why_shapes shapes = {.why = why, .shapes = calloc(heap_view_count(&why->view), sizeof(uint32_t))};
    struct error *error = shapes.shapes ? why_count_all(why, &shapes) : why_out_of_memory();
    const struct paths *paths = &why->search.paths;

    for (size_t i = 0; i < shapes.size && !error; i++) {
        const struct why_shape *shape = &shapes.table[i];
        if (shape->count > why->alike || (shape->count == why->alike && shape->count && shape->first < why->node)) {
            why->alike = shape->count;
            why->node = shape->first;
        }
    }
    if (!error && why->unreached > why->alike && paths->reached < heap_view_count(&why->view)) {
        why->alike = why->unreached;
        why->node = why_first_unreached(why);
    }
    free(shapes.shapes);
    free(shapes.stack);
    free(shapes.table);
    return error;
}

/* ---------------------------------------------------------- what nothing reaches */

static bool why_is_interned(const struct why *why)
{
    const struct graph *graph = &why->graph;

    for (size_t i = 0; i < graph->root_count; i++) {
        uint32_t table = graph->roots[i].target;
        if (graph->roots[i].kind != HEAP_ROOT_INTERNED)
            continue;
        if (table == why->node)
            return true;
        for (uint32_t e = graph->first[table]; e < graph->first[table + 1]; e++) {
            if (graph_target(graph, e) == why->node)
                return true;
        }
    }
    return false;
}

/* References to each node that nothing reaches: those that were found. */
static uint32_t *why_count_found(const struct why *why)
{
    const struct graph *graph = &why->graph;
    uint32_t *found = calloc((size_t)graph->nodes.count + 1, sizeof(*found));

    for (uint32_t node = 0; found && node < graph->nodes.count; node++) {
        if (paths_is_reached(&why->search.paths, node))
            continue;
        for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++)
            found[graph_target(graph, e)] += graph_is_counted(graph, e);
    }
    return found;
}

/* Searches once more, from what has references that aren't in the heap: is the object held by those? */
static struct error *why_search_outside(struct why *why, const uint32_t *found)
{
    const struct graph *graph = &why->graph;
    struct paths paths;

    for (int pass = 0; pass < 2; pass++) {
        size_t count = 0;
        for (uint32_t node = 0; node < graph->nodes.count; node++) {
            struct heap_node one = graph_node(graph, node);
            if (paths_is_reached(&why->search.paths, node) || (!one.immortal && one.refcount <= found[node]))
                continue;
            if (pass)
                why->outside[count] = (struct paths_seed){.node = node, .parent = HEAP_NONE};
            count++;
        }
        why->outside_count = count;
        if (!pass && !(why->outside = malloc(count * sizeof(*why->outside) + 1)))
            return why_out_of_memory();
    }
    struct error *error = paths_find(&paths, graph, why->outside, why->outside_count, why->node);
    if (!error && paths_is_reached(&paths, why->node)) {
        why->verdict = WHY_OUTSIDE;
        for (uint32_t at = why->node; at != HEAP_NONE; at = paths_parent(&paths, at))
            why->holder = at;
    }
    paths_deinit(&paths);
    return error;
}

static struct error *why_explain(struct why *why)
{
    scoped_free uint32_t *found = why_count_found(why);

    if (!found)
        return why_out_of_memory();
    why->found = found[why->node];
    why->verdict = why_is_interned(why)                             ? WHY_INTERNED
                   : graph_node(&why->graph, why->node).immortal ? WHY_IMMORTAL
                                                                 : WHY_GARBAGE;
    return why->verdict == WHY_GARBAGE ? why_search_outside(why, found) : NULL;
}

/* ---------------------------------------------------------------- asking */

static size_t why_most(const struct why *why)
{
    size_t limit = why->options->heap.limit ? why->options->heap.limit : 1;

    return limit < WHY_PATHS_MOST ? limit : WHY_PATHS_MOST;
}

static struct error *why_find_paths(struct why *why)
{
    size_t most = why_most(why);

    if (!paths_is_reached(&why->search.paths, why->node))
        return why_explain(why);
    why->paths = calloc(most, sizeof(*why->paths));
    why->named = calloc(most, sizeof(*why->named));
    if (!why->paths || !why->named)
        return why_out_of_memory();
    struct error *error = paths_get_several(&why->search.paths, why->node, why->paths, most, &why->count);
    if (!error)
        error = heap_name_paths(&why->search, why->paths, why->count, why->named);
    for (size_t i = 0; i < why->count && !error; i++)
        error = heap_name_steps(&why->search, &why->named[i]);
    return error;
}

static struct error *why_ask(struct why *why)
{
    struct error *error = heap_pick_find(&why->pick, &why->view, why->options->words[1]);

    if (error || (error = heap_graph_open(&why->graph, &why->view, why->options)) ||
        (error = graph_check_roots(&why->graph)))
        return error;
    why->node = why->pick.node;
    error = heap_search_open(&why->search, &why->view, &why->graph, why_most(why) == 1 ? why->node : HEAP_NONE);
    if (!error && why->pick.types)
        error = why_choose(why);
    return error ? error : why_find_paths(why);
}

/* -------------------------------------------------------------- printing */

static const char *why_type_name(const struct why *why, uint32_t node)
{
    return heap_view_type_name(&why->view, heap_view_node(&why->view, node).type);
}

/* A text of the target's. */
static void why_put(const char *text, int width)
{
    scoped_free char *escaped = cli_escape_line(text);

    fprintf(cli_output, "%-*s", width, escaped ? escaped : "?");
}

static void why_print_step(const struct why *why, const struct heap_step *step)
{
    struct heap_node node = heap_view_node(&why->view, step->node);
    char size[24];

    fputs("    ", cli_output);
    why_put(step->text, 32);
    fprintf(cli_output, " 0x%" PRIx64 "  ", node.address);
    why_put(heap_view_type_name(&why->view, node.type), 0);
    if (step->of) {
        putc(' ', cli_output);
        why_put(step->of, 0);
    }
    fprintf(cli_output, ", %s\n", cli_format_size(size, sizeof(size), node.size));
}

static void why_print_path(const struct why *why, const struct heap_named_path *named)
{
    scoped_free char *text = heap_describe_path(named);

    why_put(text ? text : named->expression, 0);
    putc('\n', cli_output);
    for (size_t i = 0; i < named->count; i++) {
        if (named->count > WHY_STEPS_SHOWN && !why->options->verbose && i == WHY_STEPS_SHOWN / 2) {
            fprintf(cli_output, "    ... %zu more, with -v ...\n", named->count - WHY_STEPS_SHOWN);
            i += named->count - WHY_STEPS_SHOWN;
        }
        why_print_step(why, &named->steps[i]);
    }
}

static void why_print_unreached(const struct why *why)
{
    struct heap_node node = heap_view_node(&why->view, why->node);
    struct heap_node holder = heap_view_node(&why->view, why->holder);

    switch (why->verdict) {
    case WHY_INTERNED:
        fprintf(cli_output, "held by the table of interned strings alone\n");
        break;
    case WHY_IMMORTAL:
        fprintf(cli_output, "immortal: it is never freed, whoever holds it\n");
        break;
    case WHY_OUTSIDE:
        if (why->holder == why->node)
            fprintf(cli_output, "held by nobody in the heap: a reference from C (refcount %" PRIu32 ", found %" PRIu64 ")\n",
                    node.refcount, why->found);
        else
            fprintf(cli_output, "held by 0x%" PRIx64 ", which is held by nobody in the heap: a reference from C\n",
                    holder.address);
        break;
    default:
        fprintf(cli_output, "held by nobody in the heap: cyclic garbage (refcount %" PRIu32 ", found %" PRIu64 ")\n",
                node.refcount, why->found);
        break;
    }
}

static void why_print(const struct why *why)
{
    struct heap_node node = heap_view_node(&why->view, why->node);
    char count[32], alike[32], size[24];

    if (why->pick.types) {
        fprintf(cli_output, "%s ", cli_format_count(count, sizeof(count), why->pick.count));
        why_put(why->pick.name, 0);
        fprintf(cli_output, ", %s; %s of them are held like this one:\n\n",
                cli_format_size(size, sizeof(size), why->pick.bytes), cli_format_count(alike, sizeof(alike), why->alike));
    }
    if (!why->count) {
        fprintf(cli_output, "0x%" PRIx64 ", ", node.address);
        why_put(why_type_name(why, why->node), 0);
        fputs(", ", cli_output);
        why_print_unreached(why);
    }
    for (size_t i = 0; i < why->count; i++) {
        fputs(i ? "\n" : "", cli_output);
        why_print_path(why, &why->named[i]);
    }
    if (why->pick.types && why->unreached && why->count)
        fprintf(cli_output, "\n%s of them are reached by nothing\n", cli_format_count(count, sizeof(count), why->unreached));
}

/* ------------------------------------------------------------------ JSON */

static void why_json_node(const struct why *why, uint32_t number, struct json *json)
{
    struct heap_node node = heap_view_node(&why->view, number);

    json_unsigned(json, "address", node.address);
    json_string(json, "type", heap_view_type_name(&why->view, node.type));
    json_unsigned(json, "bytes", node.size);
    json_unsigned(json, "refcount", node.refcount);
    json_boolean(json, "immortal", node.immortal);
}

static void why_json_path(const struct why *why, const struct heap_named_path *named, struct json *json)
{
    scoped_free char *text = heap_describe_path(named);

    json_begin_object(json, NULL);
    json_string(json, "root", heap_root_kind_name(named->root->kind));
    json_string(json, "text", text);
    json_string(json, "expression", named->expression);
    json_string(json, "function", named->function);
    json_string(json, "file", named->file);
    json_unsigned(json, "line", (uint64_t)named->line);
    json_string(json, "thread", named->thread);
    json_begin_array(json, "steps");
    for (size_t i = 0; i < named->count; i++) {
        json_begin_object(json, NULL);
        json_string(json, "name", named->steps[i].text);
        json_string(json, "of", named->steps[i].of);
        why_json_node(why, named->steps[i].node, json);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static void why_print_json(const struct why *why, struct json *json)
{
    static const char *const verdicts[] = {"held", "interned", "immortal", "outside", "garbage"};

    heap_view_json_pause(&why->view, json);
    json_begin_object(json, "result");
    json_string(json, "of", why->pick.name);
    json_unsigned(json, "objects", why->pick.count);
    json_unsigned(json, "bytes", why->pick.bytes);
    json_unsigned(json, "alike", why->pick.types ? why->alike : 1);
    json_unsigned(json, "unreached", why->pick.types ? why->unreached : !why->count);
    json_begin_object(json, "object");
    why_json_node(why, why->node, json);
    json_end_object(json);
    json_string(json, "verdict", verdicts[why->verdict]);
    json_begin_array(json, "paths");
    for (size_t i = 0; i < why->count; i++)
        why_json_path(why, &why->named[i], json);
    json_end_array(json);
    if (why->verdict == WHY_OUTSIDE) {
        json_begin_object(json, "holder");
        why_json_node(why, why->holder, json);
        json_end_object(json);
    }
    heap_view_json(&why->view, json);
    json_end_object(json);
}

/* ------------------------------------------------------------------- run */

static void why_deinit(struct why *why)
{
    if (why->named)
        heap_named_paths_deinit(why->named, why->count);
    for (size_t i = 0; i < why->count; i++)
        free(why->paths[i].nodes);
    free(why->paths);
    free(why->named);
    free(why->outside);
    heap_search_close(&why->search);
    graph_deinit(&why->graph);
    heap_pick_deinit(&why->pick);
    heap_view_close(&why->view);
}

static struct error *why_run(const struct cli_options *options, struct json *json)
{
    struct why why = {.options = options};
    struct error *error = heap_view_open_graph(&why.view, options, json);

    if (error)
        return error;
    error = why_ask(&why);
    if (!error && options->json)
        why_print_json(&why, json);
    else if (!error)
        why_print(&why);
    if (!error)
        heap_view_note(&why.view, options);
    why_deinit(&why);
    return error;
}

const struct cli_command cli_command_why = {
    .name = "why",
    .synopsis = "PID or FILE, ADDRESS or TYPE",
    .summary = "who keeps an object, or most objects of a type: the shortest path to it, as Python would write it",
    .description = "ADDRESS as id() gives it, or 0x...; TYPE as `heap` lists it, or a pattern. A path starts at a module or at\n"
                   "a variable of a running frame; weak references keep nothing. -n: so many paths, which come to it in\n"
                   "different ways. The process is held for milliseconds; no Python code runs in it. FILE: a snapshot.",
    .example = "safepoint why 4711 app.models.Order",
    .takes = CLI_TAKES_ROWS | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 2,
    .words_max = 2,
    .run = why_run,
};
