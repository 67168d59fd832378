/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 *   waiting   a bit a node: the collector looks at it, and nothing outside leads to it as far as is known
 *   counts    of those: references from outside, once the others' are taken away; later the numbers that Tarjan's
 *             algorithm gives. Of all others their refcounts, from which those of garbage are taken away
 */
#include "runtime/heap/cycles.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

struct cycles_work {
    const struct graph *graph;
    const struct cycles_rule *rule;
    uint64_t *waiting;
    uint32_t *counts;
    uint32_t *stack;
    size_t stack_count, stack_room;
    bool out_of_memory;
};

static struct error *cycles_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the cycles");
}

static bool cycles_has(const uint64_t *bits, uint32_t node)
{
    return bits[node / 64] >> node % 64 & 1;
}

static void cycles_set(uint64_t *bits, uint32_t node)
{
    bits[node / 64] |= UINT64_C(1) << node % 64;
}

static void cycles_clear(uint64_t *bits, uint32_t node)
{
    bits[node / 64] &= ~(UINT64_C(1) << node % 64);
}

static void cycles_push(struct cycles_work *work, uint32_t node)
{
    if (work->stack_count == work->stack_room) {
        size_t room = work->stack_room ? work->stack_room * 2 : 4096;
        uint32_t *larger = reallocarray(work->stack, room, sizeof(*larger));
        if (!larger) {
            work->out_of_memory = true;
            return;
        }
        work->stack = larger;
        work->stack_room = room;
    }
    work->stack[work->stack_count++] = node;
}

/* ----------------------------------------------------- what is told of */

static int cycles_compare_untold(const void *a, const void *b)
{
    const struct cycles_untold *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->target < y->target ? -1 : x->target > y->target;
}

static bool cycles_is_untold(const struct cycles_rule *rule, uint32_t from, uint32_t target)
{
    const struct cycles_untold key = {from, target};

    return rule->untold_count &&
           bsearch(&key, rule->untold, rule->untold_count, sizeof(key), cycles_compare_untold) != NULL;
}

/* ---------------------------------------------------------- the subtraction */

static void cycles_begin(struct cycles_work *work)
{
    for (uint32_t i = 0; i < work->graph->nodes.count; i++) {
        struct heap_node node = graph_node(work->graph, i);
        work->counts[i] = node.refcount;
        if (node.tracked && !node.immortal && node.generation != HEAP_GENERATION_PERMANENT)
            cycles_set(work->waiting, i);
    }
}

static void cycles_subtract_node(struct cycles_work *work, uint32_t from)
{
    const struct graph *graph = work->graph;

    for (uint32_t e = graph->first[from]; e < graph->first[from + 1]; e++) {
        uint32_t target = graph_target(graph, e);
        if (graph_is_counted(graph, e) && cycles_has(work->waiting, target) && work->counts[target] &&
            !cycles_is_untold(work->rule, from, target))
            work->counts[target]--;
    }
}

static void cycles_reach_from(struct cycles_work *work, uint32_t from)
{
    const struct graph *graph = work->graph;

    for (uint32_t e = graph->first[from]; e < graph->first[from + 1]; e++) {
        uint32_t target = graph_target(graph, e);
        if (cycles_has(work->waiting, target) && !cycles_is_untold(work->rule, from, target)) {
            cycles_clear(work->waiting, target);
            cycles_push(work, target);
        }
    }
}

/* What is held from outside lives, and all that it leads to; what still waits then is garbage. */
static void cycles_reach(struct cycles_work *work)
{
    for (uint32_t i = 0; i < work->graph->nodes.count && !work->out_of_memory; i++) {
        if (!cycles_has(work->waiting, i) || !work->counts[i])
            continue;
        cycles_clear(work->waiting, i);
        cycles_push(work, i);
        while (work->stack_count && !work->out_of_memory)
            cycles_reach_from(work, work->stack[--work->stack_count]);
    }
}

/* -------------------------------------------------------------- components */

/*
 * Tarjan's algorithm without recursion. For each node that was entered: `order`, when (from 1 on; 0: not yet), and `low`,
 * the earliest that is known to be reached from it; a finished one's order is CYCLES_DONE.
 */
#define CYCLES_DONE UINT32_MAX

struct cycles_visit {
    uint32_t index, edge; /* of a garbage node; the edge that is next */
};

struct cycles_tarjan {
    struct cycles_work *work;
    struct cycles *cycles;
    const uint32_t *nodes; /* garbage, by rising number; work->counts has the way back */
    uint32_t *order, *low, *open;
    struct cycles_visit *path;
    uint32_t path_count, open_count, entered, done;
};

static int cycles_compare_node(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void cycles_enter(struct cycles_tarjan *tarjan, uint32_t index)
{
    tarjan->order[index] = tarjan->low[index] = ++tarjan->entered;
    tarjan->open[tarjan->open_count++] = index;
    tarjan->path[tarjan->path_count++] = (struct cycles_visit){index, tarjan->work->graph->first[tarjan->nodes[index]]};
}

/* All that was opened since it is one component with it. */
static void cycles_finish_component(struct cycles_tarjan *tarjan, uint32_t root)
{
    struct cycles *cycles = tarjan->cycles;
    uint32_t begin = tarjan->done, index;

    do {
        index = tarjan->open[--tarjan->open_count];
        tarjan->order[index] = CYCLES_DONE;
        cycles->members[tarjan->done++] = tarjan->nodes[index];
    } while (index != root);
    qsort(cycles->members + begin, tarjan->done - begin, sizeof(*cycles->members), cycles_compare_node);
    cycles->first[++cycles->component_count] = tarjan->done;
}

/* Goes on with the last node of the path: along an edge, or back. */
static void cycles_step(struct cycles_tarjan *tarjan)
{
    const struct graph *graph = tarjan->work->graph;
    struct cycles_visit *visit = &tarjan->path[tarjan->path_count - 1];
    uint32_t index = visit->index, end = graph->first[tarjan->nodes[index] + 1];

    while (visit->edge < end) {
        uint32_t target = graph_target(graph, visit->edge++);
        if (!cycles_has(tarjan->cycles->garbage, target))
            continue;
        uint32_t other = tarjan->work->counts[target];
        if (!tarjan->order[other]) {
            cycles_enter(tarjan, other);
            return;
        }
        if (tarjan->order[other] != CYCLES_DONE && tarjan->order[other] < tarjan->low[index])
            tarjan->low[index] = tarjan->order[other];
    }
    if (tarjan->low[index] == tarjan->order[index])
        cycles_finish_component(tarjan, index);
    if (--tarjan->path_count) {
        uint32_t before = tarjan->path[tarjan->path_count - 1].index;
        if (tarjan->order[index] != CYCLES_DONE && tarjan->low[index] < tarjan->low[before])
            tarjan->low[before] = tarjan->low[index];
    }
}

static struct error *cycles_find_components(struct cycles_work *work, struct cycles *cycles, const uint32_t *nodes)
{
    size_t room = (size_t)cycles->member_count + 1;
    scoped_free uint32_t *order = calloc(room, sizeof(*order)), *low = malloc(room * sizeof(*low)),
                         *open = malloc(room * sizeof(*open));
    scoped_free struct cycles_visit *path = malloc(room * sizeof(*path));
    struct cycles_tarjan tarjan = {
        .work = work, .cycles = cycles, .nodes = nodes, .order = order, .low = low, .open = open, .path = path};

    if (!order || !low || !open || !path)
        return cycles_out_of_memory();
    for (uint32_t i = 0; i < cycles->member_count; i++)
        work->counts[nodes[i]] = i;
    for (uint32_t i = 0; i < cycles->member_count; i++) {
        if (!order[i])
            cycles_enter(&tarjan, i);
        while (tarjan.path_count)
            cycles_step(&tarjan);
    }
    return NULL;
}

/* ----------------------------------------------------------------- the rest */

static uint32_t *cycles_list(const struct cycles *cycles, uint32_t nodes)
{
    uint32_t *list = malloc(((size_t)cycles->member_count + 1) * sizeof(*list)), count = 0;

    for (uint32_t word = 0; list && word < nodes / 64 + 1; word++) {
        for (uint64_t bits = cycles->garbage[word]; bits; bits &= bits - 1)
            list[count++] = word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return list;
}

static void cycles_release_node(struct cycles_work *work, const uint64_t *tracked, uint32_t from)
{
    const struct graph *graph = work->graph;

    for (uint32_t e = graph->first[from]; e < graph->first[from + 1]; e++) {
        uint32_t target = graph_target(graph, e);
        if (graph_is_counted(graph, e) && !cycles_has(tracked, target) && work->counts[target] &&
            --work->counts[target] == 0)
            cycles_push(work, target);
    }
}

/* What has no reference left when the garbage has gone. Of tracked objects none: such ones are garbage, or live. */
static struct error *cycles_release(struct cycles_work *work, struct cycles *cycles, const uint64_t *kept)
{
    for (uint32_t i = 0; i < cycles->member_count; i++)
        cycles_release_node(work, kept, cycles->members[i]);
    for (size_t i = 0; i < work->stack_count && !work->out_of_memory; i++)
        cycles_release_node(work, kept, work->stack[i]);
    cycles->others = work->stack;
    cycles->other_count = (uint32_t)work->stack_count;
    work->stack = NULL;
    if (cycles->other_count)
        qsort(cycles->others, cycles->other_count, sizeof(*cycles->others), cycles_compare_node);
    return work->out_of_memory ? cycles_out_of_memory() : NULL;
}

/* What can't be released by counting: all that the collector tracks, and immortals. */
static uint64_t *cycles_find_kept(const struct graph *graph)
{
    uint64_t *kept = calloc(graph->nodes.count / 64 + 1, sizeof(*kept));

    for (uint32_t i = 0; kept && i < graph->nodes.count; i++) {
        struct heap_node node = graph_node(graph, i);
        if (node.tracked || node.immortal)
            cycles_set(kept, i);
    }
    return kept;
}

static struct error *cycles_order(struct cycles_work *work, struct cycles *cycles)
{
    uint32_t count = work->graph->nodes.count;

    cycles->garbage = work->waiting;
    work->waiting = NULL;
    for (uint32_t word = 0; word < count / 64 + 1; word++)
        cycles->member_count += (uint32_t)__builtin_popcountll(cycles->garbage[word]);
    cycles->members = malloc(((size_t)cycles->member_count + 1) * sizeof(*cycles->members));
    cycles->first = calloc((size_t)cycles->member_count + 2, sizeof(*cycles->first));
    scoped_free uint32_t *nodes = cycles_list(cycles, count);
    if (!cycles->members || !cycles->first || !nodes)
        return cycles_out_of_memory();
    if (!cycles->member_count)
        return NULL;
    struct error *error = cycles_find_components(work, cycles, nodes);
    if (error)
        return error;
    scoped_free uint64_t *kept = cycles_find_kept(work->graph);
    return kept ? cycles_release(work, cycles, kept) : cycles_out_of_memory();
}

struct error *cycles_find(struct cycles *cycles, const struct graph *graph, const struct cycles_rule *rule)
{
    uint32_t count = graph->nodes.count;
    scoped_free uint64_t *waiting = calloc(count / 64 + 1, sizeof(*waiting));
    scoped_free uint32_t *counts = malloc(((size_t)count + 1) * sizeof(*counts));
    struct cycles_work work = {.graph = graph, .rule = rule, .waiting = waiting, .counts = counts};

    *cycles = (struct cycles){.member_count = 0};
    if (!waiting || !counts)
        return cycles_out_of_memory();
    cycles_begin(&work);
    for (uint32_t i = 0; i < count; i++) {
        if (cycles_has(waiting, i))
            cycles_subtract_node(&work, i);
    }
    cycles_reach(&work);
    struct error *error = work.out_of_memory ? cycles_out_of_memory() : cycles_order(&work, cycles);
    if (!work.waiting)
        waiting = NULL; /* cycles has it */
    free(work.stack);
    return error;
}

void cycles_deinit(struct cycles *cycles)
{
    free(cycles->members);
    free(cycles->first);
    free(cycles->others);
    free(cycles->garbage);
    *cycles = (struct cycles){.member_count = 0};
}
