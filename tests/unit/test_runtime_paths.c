/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shortest paths on thousands of small random graphs against all paths of each length; and which roots are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/heap/paths.h"

#define MOST_NODES 20u
#define MOST_SEEDS 4u
#define FAR        1000u
#define LONG_COUNT 1000000u

static uint32_t refcounts[MOST_NODES];

static struct heap_node make_node(const void *context, uint32_t number)
{
    (void)context;
    return (struct heap_node){.address = 16 * number, .refcount = number < MOST_NODES ? refcounts[number] : 1};
}

static void begin_graph(struct graph *graph, uint32_t count)
{
    const struct graph_nodes nodes = {NULL, count, make_node, NULL};

    assert_null(graph_init(graph, &nodes));
}

static uint32_t random_below(uint32_t bound)
{
    return (uint32_t)random() % bound;
}

struct naive {
    uint32_t count;
    bool edge[MOST_NODES][MOST_NODES];
    uint32_t distance[MOST_NODES];
};

static void make_random(struct graph *graph, struct naive *naive)
{
    *naive = (struct naive){.count = 1 + random_below(MOST_NODES)};
    begin_graph(graph, naive->count);
    for (uint32_t from = 0; from < naive->count; from++) {
        for (uint32_t left = random_below(4); left; left--) {
            uint32_t target = random_below(naive->count);
            bool counted = random_below(6) != 0;
            assert_null(graph_add_edge(graph, from, target, counted));
            naive->edge[from][target] |= counted;
        }
    }
    assert_null(graph_finish(graph));
}

/* The last may have the one before it as its parent. */
static size_t make_seeds(const struct naive *naive, struct paths_seed *seeds)
{
    size_t count = random_below(MOST_SEEDS + 1);
    uint32_t level = 0;

    for (size_t i = 0; i < count; i++) {
        level += random_below(3);
        seeds[i] = (struct paths_seed){random_below(naive->count), HEAP_NONE, (uint32_t)i, level};
    }
    if (count >= 2 && seeds[count - 1].node != seeds[count - 2].node && random_below(2)) {
        bool first = true;
        for (size_t i = 0; i + 1 < count; i++)
            first = first && seeds[i].node != seeds[count - 1].node;
        if (first)
            seeds[count - 1].parent = seeds[count - 2].node;
    }
    return count;
}

static void measure(struct naive *naive, const struct paths_seed *seeds, size_t count)
{
    for (uint32_t i = 0; i < naive->count; i++)
        naive->distance[i] = FAR;
    for (size_t i = 0; i < count; i++) {
        if (seeds[i].level < naive->distance[seeds[i].node])
            naive->distance[seeds[i].node] = seeds[i].level;
    }
    for (uint32_t round = 0; round < naive->count; round++) {
        for (uint32_t from = 0; from < naive->count; from++) {
            for (uint32_t to = 0; to < naive->count; to++) {
                if (naive->edge[from][to] && naive->distance[from] + 1 < naive->distance[to])
                    naive->distance[to] = naive->distance[from] + 1;
            }
        }
    }
}

static bool is_said(const struct paths_seed *seeds, size_t count, uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < count; i++) {
        if (seeds[i].node == to && seeds[i].parent == from)
            return true;
    }
    return false;
}

/* Each step is a reference or was said to be one, and no node comes twice. */
static void check_path(const struct naive *naive, const struct paths_seed *seeds, size_t count, const struct paths_path *path)
{
    for (size_t i = 0; i < path->count; i++) {
        assert_true(!i || naive->edge[path->nodes[i - 1]][path->nodes[i]] ||
                    is_said(seeds, count, path->nodes[i - 1], path->nodes[i]));
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(path->nodes[i], path->nodes[j]);
    }
    assert_int_equal(seeds[path->origin].node, path->nodes[0]);
    assert_int_equal(seeds[path->origin].parent, HEAP_NONE);
}

/* As far as the distance says: from where the search had it from a seed. */
static uint32_t length_of(const struct paths *paths, const struct paths_seed *seeds, uint32_t node)
{
    uint32_t length = 0;

    while (!(paths->parents[node] & PATHS_SEED)) {
        node = paths->parents[node];
        length++;
    }
    return length + seeds[paths->parents[node] & ~PATHS_SEED].level;
}

static void check_several(const struct naive *naive, const struct paths *paths, const struct paths_seed *seeds, size_t count,
                          uint32_t node)
{
    struct paths_path list[6], one;
    size_t found;

    assert_null(paths_get(paths, node, &one));
    assert_null(paths_get_several(paths, node, list, 6, &found));
    assert_true(found >= 1 && found <= 6 && list[0].count == one.count);
    for (size_t i = 0; i < found; i++) {
        check_path(naive, seeds, count, &list[i]);
        assert_int_equal(list[i].nodes[list[i].count - 1], node);
        for (size_t j = 0; j < i; j++)
            assert_true(list[i].count != list[j].count ||
                        memcmp(list[i].nodes, list[j].nodes, list[i].count * sizeof(*list[i].nodes)) != 0);
    }
    for (size_t i = 0; i < found; i++)
        free(list[i].nodes);
    free(one.nodes);
}

static void check_one(unsigned seed)
{
    struct graph graph;
    struct naive naive;
    struct paths_seed seeds[MOST_SEEDS];
    struct paths paths;

    srandom(seed);
    make_random(&graph, &naive);
    size_t count = make_seeds(&naive, seeds);
    measure(&naive, seeds, count);
    uint32_t until = random_below(3) ? HEAP_NONE : random_below(naive.count);
    assert_null(paths_find(&paths, &graph, seeds, count, until));
    for (uint32_t node = 0; node < naive.count; node++) {
        if (until != HEAP_NONE && node != until)
            continue;
        assert_int_equal(paths_is_reached(&paths, node), naive.distance[node] != FAR);
        if (!paths_is_reached(&paths, node))
            continue;
        assert_int_equal(length_of(&paths, seeds, node), naive.distance[node]);
        if (until == HEAP_NONE)
            check_several(&naive, &paths, seeds, count, node);
    }
    paths_deinit(&paths);
    graph_deinit(&graph);
}

static void random_graphs(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 20000; seed++)
        check_one(seed);
}

/* All ways by which a node is held come, one for each holder. */
static void all_holders(void **state)
{
    const struct paths_seed seeds[] = {{0, HEAP_NONE, 0, 0}};
    struct paths_path list[10];
    struct graph graph;
    struct paths paths;
    size_t count;

    (void)state;
    begin_graph(&graph, 7);
    for (uint32_t holder = 1; holder <= 5; holder++)
        assert_null(graph_add_edge(&graph, 0, holder, holder != 5));
    for (uint32_t holder = 1; holder <= 5; holder++)
        assert_null(graph_add_edge(&graph, holder, 6, true));
    assert_null(graph_finish(&graph));
    assert_null(paths_find(&paths, &graph, seeds, 1, HEAP_NONE));
    assert_null(paths_get_several(&paths, 6, list, 10, &count));
    assert_int_equal(count, 4); /* the fifth is held by a reference that isn't counted */
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].nodes[1], i + 1);
        free(list[i].nodes);
    }
    paths_deinit(&paths);
    graph_deinit(&graph);
}

/* A long list: its last link is as far as there are links, and is found without a walk of the list for each. */
static void long_list(void **state)
{
    const struct paths_seed seeds[] = {{0, HEAP_NONE, 0, 0}};
    struct paths_path list[3];
    struct graph graph;
    struct paths paths;
    size_t count;

    (void)state;
    begin_graph(&graph, LONG_COUNT);
    for (uint32_t i = 0; i + 1 < LONG_COUNT; i++)
        assert_null(graph_add_edge(&graph, i, i + 1, true));
    assert_null(graph_finish(&graph));
    assert_null(paths_find(&paths, &graph, seeds, 1, HEAP_NONE));
    assert_null(paths_get_several(&paths, LONG_COUNT - 1, list, 3, &count));
    assert_int_equal(count, 1);
    assert_int_equal(list[0].count, LONG_COUNT);
    free(list[0].nodes);
    paths_deinit(&paths);
    graph_deinit(&graph);
}

static void stale_roots(void **state)
{
    struct graph graph;

    (void)state;
    begin_graph(&graph, 3);
    assert_null(graph_add_edge(&graph, 0, 1, true));
    assert_null(graph_add_edge(&graph, 0, 2, true));
    assert_null(graph_add_edge(&graph, 1, 2, false));
    assert_null(graph_finish(&graph));
    refcounts[0] = 1, refcounts[1] = 2, refcounts[2] = 2;
    for (uint32_t target = 0; target < 3; target++)
        assert_null(graph_add_root(&graph, &(struct graph_root){.kind = HEAP_ROOT_STATIC, .target = target}));
    assert_null(graph_add_root(&graph, &(struct graph_root){.kind = HEAP_ROOT_FRAME, .target = 1}));
    assert_null(graph_check_roots(&graph));
    assert_false(graph.roots[0].stale);
    assert_true(graph.roots[1].stale); /* both of its references were found, one in the frame */
    assert_false(graph.roots[2].stale);
    assert_false(graph.roots[3].stale); /* a frame's is no guess */
    graph_deinit(&graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(all_holders),
        cmocka_unit_test(long_list),
        cmocka_unit_test(stale_roots),
    };

    return cmocka_run_group_tests_name("paths", tests, NULL, NULL);
}
