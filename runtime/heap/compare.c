/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/heap/compare.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

static struct error *compare_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory to compare two heaps");
}

/* ------------------------------------------------------------------- looks */

struct error *compare_look_init(struct compare_look *look, uint32_t count)
{
    size_t room = (size_t)count + 1;

    *look = (struct compare_look){
        .count = count,
        .addresses = malloc(room * sizeof(*look->addresses)),
        .types = malloc(room * sizeof(*look->types)),
        .sizes = malloc(room * sizeof(*look->sizes)),
        .prints = calloc(room, sizeof(*look->prints)),
        .generations = malloc(room),
    };
    return look->addresses && look->types && look->sizes && look->prints && look->generations ? NULL
                                                                                              : compare_out_of_memory();
}

void compare_look_deinit(struct compare_look *look)
{
    free(look->addresses);
    free(look->types);
    free(look->sizes);
    free(look->prints);
    free(look->generations);
    *look = (struct compare_look){.count = 0};
}

void compare_look_print(struct compare_look *look, const struct graph *graph)
{
    for (uint32_t i = 0; i < look->count; i++) {
        uint64_t hash = 0;
        for (uint32_t e = graph->first[i]; e < graph->first[i + 1]; e++) {
            hash = (hash ^ look->addresses[graph_target(graph, e)]) * UINT64_C(0x9e3779b97f4a7c15);
            hash ^= hash >> 31;
        }
        if (graph->first[i] < graph->first[i + 1])
            look->prints[i] = (uint32_t)hash | 1;
    }
}

/* ------------------------------------------------------------- one by one */

/* Old objects don't get young again; those of the permanent generation may come back to the oldest. */
static bool compare_is_younger(uint8_t before, uint8_t after)
{
    return before != HEAP_GENERATION_NONE && after != HEAP_GENERATION_NONE && after < before &&
           before != HEAP_GENERATION_PERMANENT;
}

static enum compare_state compare_one(const struct compare_look *before, uint32_t a, const struct compare_look *after,
                                      uint32_t b, const bool *fixed)
{
    uint32_t print = before->prints[a];

    if (before->types[a] != after->types[b] || compare_is_younger(before->generations[a], after->generations[b]))
        return COMPARE_NEW;
    if (print && after->prints[b] && print != after->prints[b])
        return fixed[after->types[b]] ? COMPARE_NEW : COMPARE_CHANGED;
    if (before->sizes[a] != after->sizes[b])
        return COMPARE_CHANGED;
    return print && after->prints[b] ? COMPARE_SAME : COMPARE_BLANK;
}

struct error *compare_find(struct compare *compare, const struct compare_look *before, const struct compare_look *after,
                           const bool *fixed)
{
    uint32_t a = 0;

    *compare = (struct compare){malloc((size_t)after->count + 1), calloc(before->count / 64 + 1, sizeof(uint64_t)), {0}};
    if (!compare->states || !compare->gone)
        return compare_out_of_memory();
    memset(compare->gone, 0xff, (before->count / 64 + 1) * sizeof(uint64_t));
    for (uint32_t b = 0; b < after->count; b++) {
        enum compare_state state = COMPARE_NEW;
        while (a < before->count && before->addresses[a] < after->addresses[b])
            a++;
        if (a < before->count && before->addresses[a] == after->addresses[b])
            state = compare_one(before, a, after, b, fixed);
        if (state != COMPARE_NEW)
            compare->gone[a / 64] &= ~(UINT64_C(1) << a % 64);
        compare->states[b] = (uint8_t)state;
        compare->counts[state]++;
    }
    return NULL;
}

void compare_deinit(struct compare *compare)
{
    free(compare->states);
    free(compare->gone);
    *compare = (struct compare){.states = NULL};
}

/* ----------------------------------------------------------------- keepers */

/* One an interpreter has; of more the rest may hold. */
#define COMPARE_TABLES_MAX 16

struct compare_holder {
    uint32_t node, count; /* of new objects that it refers to */
};

struct compare_search {
    const struct graph *graph;
    const struct compare *compare;
    struct compare_keepers *keepers;
    uint32_t *queue;
    uint32_t first, end;
    uint32_t tables[COMPARE_TABLES_MAX]; /* of interned strings */
    size_t table_count;
};

static bool compare_is_free(const struct compare_search *search, uint32_t node)
{
    return search->compare->states[node] == COMPARE_NEW && search->keepers->entries[node] == HEAP_NONE;
}

static void compare_enter(struct compare_search *search, uint32_t node, uint32_t entry, uint32_t holder)
{
    search->keepers->entries[node] = entry;
    if (node == entry)
        search->keepers->holders[node] = holder;
    search->queue[search->end++] = node;
}

static void compare_spread(struct compare_search *search)
{
    const struct graph *graph = search->graph;

    while (search->first < search->end) {
        uint32_t from = search->queue[search->first++];
        for (uint32_t e = graph->first[from]; e < graph->first[from + 1]; e++) {
            uint32_t target = graph_target(graph, e);
            if (graph_is_counted(graph, e) && compare_is_free(search, target))
                compare_enter(search, target, search->keepers->entries[from], HEAP_NONE);
        }
    }
}

static bool compare_is_table(const struct compare_search *search, uint32_t node)
{
    for (size_t i = 0; i < search->table_count; i++) {
        if (search->tables[i] == node)
            return true;
    }
    return false;
}

static void compare_find_tables(struct compare_search *search)
{
    for (size_t i = 0; i < search->graph->root_count && search->table_count < COMPARE_TABLES_MAX; i++) {
        const struct graph_root *root = &search->graph->roots[i];
        if (root->kind == HEAP_ROOT_INTERNED && !compare_is_table(search, root->target))
            search->tables[search->table_count++] = root->target;
    }
}

static uint32_t compare_count_new(const struct compare_search *search, uint32_t node)
{
    const struct graph *graph = search->graph;
    uint32_t count = 0;

    for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++)
        count += graph_is_counted(graph, e) && search->compare->states[graph_target(graph, e)] == COMPARE_NEW;
    return count;
}

static int compare_order_holders(const void *a, const void *b)
{
    const struct compare_holder *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->node < y->node ? -1 : x->node > y->node;
}

/* All that were there before and hold what is new, the greatest first. */
static struct error *compare_list_holders(const struct compare_search *search, struct compare_holder **list, size_t *count)
{
    size_t room = 0;

    for (uint32_t i = 0; i < search->graph->nodes.count; i++) {
        uint32_t held = search->compare->states[i] == COMPARE_NEW ? 0 : compare_count_new(search, i);
        if (!held || compare_is_table(search, i))
            continue;
        if (*count == room) {
            room = room ? room * 2 : 1024;
            struct compare_holder *larger = reallocarray(*list, room, sizeof(*larger));
            if (!larger)
                return compare_out_of_memory();
            *list = larger;
        }
        (*list)[(*count)++] = (struct compare_holder){i, held};
    }
    if (*count)
        qsort(*list, *count, sizeof(**list), compare_order_holders);
    return NULL;
}

static void compare_enter_roots(struct compare_search *search, bool frames)
{
    for (uint32_t i = 0; i < search->graph->root_count; i++) {
        const struct graph_root *root = &search->graph->roots[i];
        if (!root->stale && root->kind != HEAP_ROOT_INTERNED && root->kind != HEAP_ROOT_OBJECT &&
            (root->kind == HEAP_ROOT_FRAME) == frames && compare_is_free(search, root->target))
            compare_enter(search, root->target, root->target, COMPARE_ROOT | i);
    }
}

static struct error *compare_search_all(struct compare_search *search)
{
    scoped_free struct compare_holder *holders = NULL;
    size_t count = 0;
    struct error *error = compare_list_holders(search, &holders, &count);

    if (error)
        return error;
    for (size_t i = 0; i < count; i++) {
        const struct graph *graph = search->graph;
        uint32_t node = holders[i].node;
        for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
            uint32_t target = graph_target(graph, e);
            if (graph_is_counted(graph, e) && compare_is_free(search, target))
                compare_enter(search, target, target, node);
        }
    }
    compare_enter_roots(search, true);
    compare_spread(search);
    compare_enter_roots(search, false); /* words of states and variables may be left from before */
    compare_spread(search);
    return NULL;
}

struct error *compare_find_keepers(struct compare_keepers *keepers, const struct graph *graph, const struct compare *compare)
{
    size_t room = (size_t)graph->nodes.count + 1;
    scoped_free uint32_t *queue = malloc(((size_t)compare->counts[COMPARE_NEW] + 1) * sizeof(*queue));
    struct compare_search search = {.graph = graph, .compare = compare, .keepers = keepers, .queue = queue};

    *keepers = (struct compare_keepers){malloc(room * sizeof(uint32_t)), malloc(room * sizeof(uint32_t))};
    if (!queue || !keepers->entries || !keepers->holders)
        return compare_out_of_memory();
    memset(keepers->entries, 0xff, room * sizeof(uint32_t));
    memset(keepers->holders, 0xff, room * sizeof(uint32_t));
    compare_find_tables(&search);
    return compare_search_all(&search);
}

void compare_keepers_deinit(struct compare_keepers *keepers)
{
    free(keepers->entries);
    free(keepers->holders);
    *keepers = (struct compare_keepers){NULL, NULL};
}
