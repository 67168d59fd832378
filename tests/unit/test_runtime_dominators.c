/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Dominators against their definition: x dominates y when y can't be reached without x. On thousands of small random graphs
 * with roots, references that don't count, a table of interned strings, and parts that nothing reaches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/heap/dominators.h"

#define MOST_NODES  24u
#define MOST        (MOST_NODES + 8u)
#define LONG_COUNT  1000000u

/* ------------------------------------------------------------------ a graph */

static struct heap_node make_node(const void *context, uint32_t number)
{
    (void)context;
    return (struct heap_node){.address = 16 * number, .size = 1 + number * number % 7};
}

static void begin_graph(struct graph *graph, uint32_t count)
{
    const struct graph_nodes nodes = {NULL, count, make_node, NULL};

    assert_null(graph_init(graph, &nodes));
}

static void add_root(struct graph *graph, enum heap_root_kind kind, uint32_t target, bool stale)
{
    const struct graph_root root = {.kind = kind, .target = target, .code = HEAP_NONE, .stale = stale};

    assert_null(graph_add_root(graph, &root));
}

/* The same graph as a matrix, with the groups and the whole among the nodes. */
struct naive {
    uint32_t count, interned, unreachable, whole, all;
    bool edge[MOST][MOST];
    uint8_t class[MOST];
    bool root[MOST][MOST]; /* of groups, that of the table among them */
};

static uint32_t random_below(uint32_t bound)
{
    return (uint32_t)random() % bound;
}

static void make_random(struct graph *graph, struct naive *naive, uint32_t *groups, uint32_t group_count)
{
    uint32_t count = 1 + random_below(MOST_NODES), roots = random_below(5), density = 1 + random_below(3);

    *naive = (struct naive){.count = count, .interned = count + group_count, .unreachable = count + group_count + 1, .whole = count + group_count + 2};
    naive->all = naive->whole + 1;
    begin_graph(graph, count);
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t left = random_below(density + 2); left; left--) {
            uint32_t target = random_below(count);
            bool counted = random_below(8) != 0;
            assert_null(graph_add_edge(graph, from, target, counted));
            naive->edge[from][target] |= counted;
        }
    }
    assert_null(graph_finish(graph));
    for (uint32_t i = 0; i < roots; i++) {
        uint32_t target = random_below(count);
        bool last_resort = random_below(4) == 0, stale = random_below(6) == 0;
        groups[i] = random_below(group_count);
        add_root(graph, last_resort ? HEAP_ROOT_INTERNED : HEAP_ROOT_STATIC, target, stale);
        naive->root[last_resort ? naive->interned : count + groups[i]][target] |= !stale;
    }
}

/* --------------------------------------------------------------- the naive way */

static void reach(const struct naive *naive, uint32_t from, uint32_t without, bool *seen)
{
    if (seen[from] || from == without)
        return;
    seen[from] = true;
    for (uint32_t to = 0; to < naive->all; to++) {
        if (naive->edge[from][to])
            reach(naive, to, without, seen);
    }
}

/* What these groups' roots reach that isn't taken yet becomes of this class, and keeps nothing that came before. */
static void take_class(struct naive *naive, uint8_t class, uint32_t group, uint32_t end)
{
    bool seen[MOST] = {false};

    for (; group < end; group++) {
        naive->edge[naive->whole][group] = true;
        for (uint32_t to = 0; to < naive->count; to++) {
            if (naive->root[group][to] && !naive->class[to]) {
                naive->edge[group][to] = true;
                reach(naive, to, HEAP_NONE, seen);
            }
        }
    }
    for (uint32_t node = 0; node < naive->count; node++) {
        if (seen[node] && !naive->class[node])
            naive->class[node] = class;
    }
}

/* Of each cycle to which no other unreachable one leads, the answer has chosen one object: exactly one. */
static void take_beginnings(struct naive *naive, const struct dominators *answer)
{
    bool reaches[MOST][MOST] = {{false}};

    for (uint32_t node = 0; node < naive->count; node++)
        reach(naive, node, HEAP_NONE, reaches[node]);
    naive->edge[naive->whole][naive->unreachable] = true;
    for (uint32_t node = 0; node < naive->count; node++) {
        uint32_t chosen = 0;
        bool is_source = !naive->class[node];
        for (uint32_t other = 0; other < naive->count; other++) {
            if (naive->class[other] || !reaches[other][node])
                continue;
            is_source = is_source && reaches[node][other];
            chosen += answer->parents[other] == naive->unreachable;
        }
        if (!is_source)
            continue;
        assert_int_equal(chosen, 1);
        naive->edge[naive->unreachable][node] = answer->parents[node] == naive->unreachable;
    }
}

static void cut_between_classes(struct naive *naive)
{
    for (uint32_t from = 0; from < naive->count; from++) {
        for (uint32_t to = 0; to < naive->count; to++) {
            uint8_t left = naive->class[from] ? naive->class[from] : 3, right = naive->class[to] ? naive->class[to] : 3;
            if (left > right)
                naive->edge[from][to] = false;
        }
    }
}

static void check(const struct naive *naive, const struct dominators *answer)
{
    bool without[MOST][MOST] = {{false}};
    uint64_t retained[MOST] = {0}, heap = 0;

    for (uint32_t x = 0; x < naive->whole; x++)
        reach(naive, naive->whole, x, without[x]);
    for (uint32_t y = 0; y < naive->count; y++) {
        uint32_t size = (uint32_t)make_node(NULL, y).size, dominated = 0, above = 0;
        heap += size;
        for (uint32_t x = 0; x < naive->whole; x++) {
            dominated += !without[x][y];
            retained[x] += without[x][y] ? 0 : size;
        }
        for (uint32_t at = y; at != naive->whole; at = answer->parents[at]) {
            assert_true(at < naive->whole);
            assert_false(without[at][y]);
            above++;
        }
        assert_int_equal(above, dominated);
    }
    for (uint32_t x = 0; x < naive->count; x++)
        assert_int_equal(answer->retained[x], retained[x]);
    assert_int_equal(answer->retained[naive->whole], heap);
}

static uint32_t class_of(const void *context, uint32_t node)
{
    (void)context;
    return node % 4 ? node % 4 : HEAP_NONE;
}

/* Together the objects of a class retain each object that one of them dominates, once. */
static void check_classes(const struct naive *naive, const struct dominators *answer)
{
    struct dominators_tree tree;
    uint64_t sums[4];

    assert_null(dominators_tree_init(&tree, answer));
    assert_null(dominators_sum_classes(answer, &tree, class_of, NULL, sums, 4));
    for (uint32_t class = 1; class < 4; class++) {
        uint64_t retained = 0;
        for (uint32_t y = 0; y < naive->count; y++) {
            bool held = false;
            for (uint32_t at = y; at < naive->count; at = answer->parents[at])
                held = held || class_of(NULL, at) == class;
            retained += held ? make_node(NULL, y).size : 0;
        }
        assert_int_equal(sums[class], retained);
    }
    dominators_tree_deinit(&tree);
}

static void check_one(unsigned seed)
{
    uint32_t groups[8], group_count = 1 + seed % 3;
    struct graph graph;
    struct naive naive;
    struct dominators answer;

    srandom(seed);
    make_random(&graph, &naive, groups, group_count);
    assert_null(dominators_find(&answer, &graph, &(struct dominators_groups){groups, group_count}));
    assert_int_equal(dominators_whole(&answer), naive.whole);
    take_class(&naive, 1, naive.count, naive.interned);
    take_class(&naive, 2, naive.interned, naive.unreachable);
    take_beginnings(&naive, &answer);
    cut_between_classes(&naive);
    check(&naive, &answer);
    check_classes(&naive, &answer);
    dominators_deinit(&answer);
    graph_deinit(&graph);
}

static void random_graphs(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 20000; seed++)
        check_one(seed);
}

/* ------------------------------------------------------------------- big ones */

/* A list of links that all refer to one more: neither deep recursion nor a walk of the whole list for each. */
static void long_list(void **state)
{
    struct graph graph;
    struct dominators answer;

    (void)state;
    begin_graph(&graph, LONG_COUNT + 1);
    for (uint32_t i = 0; i < LONG_COUNT; i++) {
        assert_null(graph_add_edge(&graph, i, LONG_COUNT, true));
        if (i + 1 < LONG_COUNT)
            assert_null(graph_add_edge(&graph, i, i + 1, true));
    }
    assert_null(graph_finish(&graph));
    add_root(&graph, HEAP_ROOT_MODULE, 0, false);
    assert_null(dominators_find(&answer, &graph, NULL));
    assert_int_equal(answer.parents[0], dominators_group(&answer, HEAP_ROOT_MODULE));
    assert_int_equal(answer.parents[LONG_COUNT], 0);
    assert_int_equal(answer.parents[LONG_COUNT - 1], LONG_COUNT - 2);
    assert_int_equal(answer.retained[0], answer.retained[dominators_whole(&answer)]);
    dominators_deinit(&answer);
    graph_deinit(&graph);
}

static void empty_heap(void **state)
{
    struct graph graph;
    struct dominators answer;

    (void)state;
    begin_graph(&graph, 0);
    assert_null(graph_finish(&graph));
    assert_null(dominators_find(&answer, &graph, NULL));
    assert_int_equal(answer.retained[dominators_whole(&answer)], 0);
    dominators_deinit(&answer);
    graph_deinit(&graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(long_list),
        cmocka_unit_test(empty_heap),
    };

    return cmocka_run_group_tests_name("dominators", tests, NULL, NULL);
}
