/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Breadth first from all seeds at once, level by level; then other ways by which the nodes of a path are held. */
#include "runtime/heap/paths.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

static struct error *out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the paths");
}

/* --------------------------------------------------------------- the search */

static void reach(struct paths *paths, uint32_t node, uint32_t parent)
{
    if (paths->parents[node] != HEAP_NONE)
        return;
    paths->parents[node] = parent;
    paths->order[paths->reached++] = node;
}

#define FETCH_AHEAD 16 /* nodes, or references: so far ahead is memory asked for that will be looked at */

/* Of nodes whose turn comes soon: where their references are, and of those that come sooner the references. */
static void fetch_next(const struct paths *paths, uint32_t done)
{
    const struct graph *graph = paths->graph;

    if (done + 2 * FETCH_AHEAD < paths->reached)
        __builtin_prefetch(&graph->first[paths->order[done + 2 * FETCH_AHEAD]]);
    if (done + FETCH_AHEAD < paths->reached)
        __builtin_prefetch(&graph->targets[graph->first[paths->order[done + FETCH_AHEAD]]]);
}

static void reach_targets(struct paths *paths, uint32_t node)
{
    const struct graph *graph = paths->graph;

    for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
        if (e + FETCH_AHEAD < graph->edge_count)
            __builtin_prefetch(&paths->parents[graph_target(graph, e + FETCH_AHEAD)]);
        if (graph_is_counted(graph, e))
            reach(paths, graph_target(graph, e), node);
    }
}

static struct error *end_level(struct paths *paths)
{
    if (paths->level_count == paths->level_room) {
        uint32_t room = paths->level_room ? paths->level_room * 2 : 64;
        uint32_t *larger = reallocarray(paths->level_ends, room, sizeof(*larger));
        if (!larger)
            return out_of_memory();
        paths->level_ends = larger;
        paths->level_room = room;
    }
    paths->level_ends[paths->level_count++] = paths->reached;
    return NULL;
}

struct error *paths_find(struct paths *paths, const struct graph *graph, const struct paths_seed *seeds, size_t count,
                         uint32_t until)
{
    size_t bytes = (size_t)graph->nodes.count * sizeof(*paths->parents), seed = 0;
    struct error *error = NULL;

    *paths = (struct paths){.graph = graph, .seeds = seeds, .parents = malloc(bytes + 1), .order = malloc(bytes + 1)};
    if (!paths->parents || !paths->order)
        return out_of_memory();
    memset(paths->parents, 0xff, bytes);
    for (uint32_t level = 0, done = 0; !error; level++) {
        uint32_t end = paths->reached;
        while (done < end) {
            fetch_next(paths, done);
            reach_targets(paths, paths->order[done++]);
        }
        for (; seed < count && seeds[seed].level <= level; seed++)
            reach(paths, seeds[seed].node, PATHS_SEED | (uint32_t)seed);
        error = end_level(paths);
        if ((done == paths->reached && seed == count) || (until != HEAP_NONE && paths_is_reached(paths, until)))
            break;
    }
    return error;
}

void paths_deinit(struct paths *paths)
{
    free(paths->parents);
    free(paths->order);
    free(paths->level_ends);
    *paths = (struct paths){.reached = 0};
}

/* -------------------------------------------------------------- one path */

uint32_t paths_parent(const struct paths *paths, uint32_t node)
{
    uint32_t parent = paths->parents[node];

    return parent & PATHS_SEED ? paths->seeds[parent & ~PATHS_SEED].parent : parent;
}

/* The path to `node`, with room for `more` nodes behind it. */
static struct error *get(const struct paths *paths, uint32_t node, size_t more, struct paths_path *path)
{
    size_t count = 0;
    uint32_t first = node;

    for (uint32_t at = node; at != HEAP_NONE; at = paths_parent(paths, at)) {
        first = at;
        count++;
    }
    *path = (struct paths_path){.origin = paths->seeds[paths->parents[first] & ~PATHS_SEED].origin,
                                .nodes = malloc((count + more) * sizeof(*path->nodes)),
                                .count = count};
    if (!path->nodes)
        return out_of_memory();
    for (uint32_t at = node; at != HEAP_NONE; at = paths_parent(paths, at))
        path->nodes[--count] = at;
    return NULL;
}

struct error *paths_get(const struct paths *paths, uint32_t node, struct paths_path *path)
{
    return get(paths, node, 0, path);
}

/* ------------------------------------------------------------- more of them */

#define DETOUR_END 64 /* so many nodes before the object are where another way may come in */

/* Another holder of the shortest path's node at `place`, which makes a path of this length. */
struct detour {
    uint32_t holder, length;
    size_t place;
};

struct detours {
    const struct paths_path *path; /* the shortest */
    uint64_t *on_path;             /* a bit a node: those from `begin` on */
    size_t begin;                  /* where the search had a choice */
    struct detour *list;           /* by rising length */
    size_t count, most;
};

static bool is_on_path(const struct detours *detours, uint32_t node)
{
    return detours->on_path[node / 64] >> node % 64 & 1;
}

static size_t find_place(const struct detours *detours, uint32_t node)
{
    size_t place = detours->path->count;

    while (detours->path->nodes[--place] != node)
        continue;
    return place;
}

/* Holders come by rising distance; the list keeps the shortest, and of those the ones that leave the path latest. */
static void add_detour(struct detours *detours, uint32_t holder, uint32_t level, uint32_t node)
{
    size_t place = find_place(detours, node), at = detours->count;
    uint32_t length = level + 1 + (uint32_t)(detours->path->count - place);

    if (place && detours->path->nodes[place - 1] == holder)
        return;
    for (; at > 0; at--) {
        const struct detour *before = &detours->list[at - 1];
        if (before->holder == holder && before->place == place)
            return;
        if (before->length < length || (before->length == length && before->place >= place))
            break;
    }
    if (at == detours->most)
        return;
    if (detours->count < detours->most)
        detours->count++;
    memmove(detours->list + at + 1, detours->list + at, (detours->count - 1 - at) * sizeof(*detours->list));
    detours->list[at] = (struct detour){holder, length, place};
}

static void find_detours(const struct paths *paths, struct detours *detours)
{
    const struct graph *graph = paths->graph;
    uint32_t level = 0;

    for (uint32_t i = 0; i < paths->reached; i++) {
        uint32_t node = paths->order[i];
        while (i >= paths->level_ends[level])
            level++;
        for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
            if (is_on_path(detours, graph_target(graph, e)) && graph_is_counted(graph, e))
                add_detour(detours, node, level, graph_target(graph, e));
        }
    }
}

/* Nothing is given of a detour that comes by one of the nodes that lie behind it. */
static struct error *take_detour(const struct paths *paths, const struct detours *detours, const struct detour *detour,
                                 struct paths_path *path)
{
    size_t tail = detours->path->count - detour->place;
    struct error *error = get(paths, detour->holder, tail, path);

    for (size_t i = 0; !error && i < path->count; i++) {
        if (is_on_path(detours, path->nodes[i]) && find_place(detours, path->nodes[i]) >= detour->place) {
            free(path->nodes);
            path->nodes = NULL;
            return NULL;
        }
    }
    if (error)
        return error;
    memcpy(path->nodes + path->count, detours->path->nodes + detour->place, tail * sizeof(*path->nodes));
    path->count += tail;
    return NULL;
}

/* From the first node on that the search itself came to: what holds a seed was said to it. Of a long path only the end. */
static size_t find_begin(const struct paths *paths, const struct paths_path *path)
{
    size_t begin = path->count > DETOUR_END ? path->count - DETOUR_END : 0;

    while (begin < path->count && paths->parents[path->nodes[begin]] & PATHS_SEED)
        begin++;
    return begin;
}

static struct error *get_others(const struct paths *paths, struct detours *detours, struct paths_path *list, size_t most,
                                size_t *count)
{
    const struct paths_path *path = detours->path;

    detours->begin = find_begin(paths, path);
    for (size_t i = detours->begin; i < path->count; i++)
        detours->on_path[path->nodes[i] / 64] |= UINT64_C(1) << path->nodes[i] % 64;
    find_detours(paths, detours);
    for (size_t i = 0; i < detours->count && *count < most; i++) {
        struct error *error = take_detour(paths, detours, &detours->list[i], &list[*count]);
        if (error)
            return error;
        *count += list[*count].nodes != NULL;
    }
    return NULL;
}

#define SPARE_DETOURS 64 /* some lead round in a circle */

struct error *paths_get_several(const struct paths *paths, uint32_t node, struct paths_path *list, size_t most,
                                size_t *count)
{
    struct error *error = paths_get(paths, node, &list[0]);

    *count = !error;
    if (error || most < 2)
        return error;
    scoped_free uint64_t *on_path = calloc(paths->graph->nodes.count / 64 + 1, sizeof(*on_path));
    scoped_free struct detour *room = calloc(most + SPARE_DETOURS, sizeof(*room));
    if (!on_path || !room)
        return out_of_memory();
    struct detours detours = {.path = &list[0], .on_path = on_path, .list = room, .most = most + SPARE_DETOURS};
    return get_others(paths, &detours, list, most, count);
}
