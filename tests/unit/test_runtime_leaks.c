/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * References, cyclic garbage and what is new, each against its definition, on thousands of small random graphs: nodes that
 * the collector tracks or not, immortal, frozen, with references that don't count and ones that it isn't told of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/heap/compare.h"
#include "runtime/heap/cycles.h"
#include "runtime/heap/references.h"

#define MOST       20u
#define EDGES_MOST 128u
#define ROOTS_MOST 8u
#define ROUNDS     20000
#define LONG_COUNT 500000u

static struct heap_node nodes[MOST];
static struct edge {
    uint32_t from, target;
    bool counted, untold;
} edges[EDGES_MOST];
static struct graph_root roots[ROOTS_MOST];
static uint32_t node_count, edge_count, root_count;

static uint32_t random_below(uint32_t bound)
{
    return (uint32_t)random() % bound;
}

static struct heap_node get_node(const void *context, uint32_t number)
{
    (void)context;
    return nodes[number];
}

static void make_edges(void)
{
    uint32_t density = 1 + random_below(4);

    edge_count = 0;
    for (uint32_t from = 0; from < node_count; from++) {
        for (uint32_t left = random_below(density + 1); left && edge_count < EDGES_MOST; left--) {
            bool untold = random_below(16) == 0;
            edges[edge_count++] = (struct edge){from, random_below(node_count), random_below(8) != 0, untold};
        }
    }
}

static void make_roots(void)
{
    static const enum heap_root_kind kinds[] = {HEAP_ROOT_FRAME, HEAP_ROOT_STATIC, HEAP_ROOT_OBJECT, HEAP_ROOT_INTERNED,
                                                HEAP_ROOT_FRAME};

    root_count = random_below(ROOTS_MOST);
    for (uint32_t i = 0; i < root_count; i++) {
        enum heap_root_kind kind = kinds[random_below(5)];
        roots[i] = (struct graph_root){
            .kind = kind, .target = random_below(node_count), .counted = kind == HEAP_ROOT_FRAME && random_below(3)};
    }
}

/* Refcounts are what is there, and now and then one more or less. */
static void make_nodes(void)
{
    for (uint32_t i = 0; i < node_count; i++) {
        uint32_t kind = random_below(16), refcount = random_below(4) ? 0 : random_below(3);
        for (uint32_t e = 0; e < edge_count; e++)
            refcount += edges[e].target == i && edges[e].counted;
        nodes[i] = (struct heap_node){
            .address = 4096 + 16 * i,
            .size = 1 + i,
            .refcount = refcount ? refcount : 1,
            .immortal = kind == 0,
            .tracked = kind != 1 && kind != 2,
            .generation = kind == 3 ? HEAP_GENERATION_PERMANENT : (uint8_t)(kind % 3),
        };
    }
}

static void make_graph(struct graph *graph)
{
    const struct graph_nodes all = {NULL, node_count, get_node, NULL};

    assert_null(graph_init(graph, &all));
    for (uint32_t e = 0; e < edge_count; e++)
        assert_null(graph_add_edge(graph, edges[e].from, edges[e].target, edges[e].counted));
    assert_null(graph_finish(graph));
    for (uint32_t i = 0; i < root_count; i++)
        assert_null(graph_add_root(graph, &roots[i]));
}

static void make_random(struct graph *graph)
{
    node_count = 1 + random_below(MOST);
    make_edges();
    make_roots();
    make_nodes();
    make_graph(graph);
}

/* -------------------------------------------------------------- references */

static bool is_target_of(uint32_t node, enum heap_root_kind kind)
{
    for (uint32_t i = 0; i < root_count; i++) {
        if (roots[i].kind == kind && roots[i].target == node)
            return true;
    }
    return false;
}

static void count_naively(uint32_t node, uint64_t *sure, uint64_t *possible)
{
    *sure = *possible = 0;
    for (uint32_t e = 0; e < edge_count; e++) {
        if (edges[e].target != node || !edges[e].counted || is_target_of(edges[e].from, HEAP_ROOT_INTERNED))
            continue;
        *(is_target_of(edges[e].from, HEAP_ROOT_OBJECT) ? possible : sure) += 1;
    }
    for (uint32_t i = 0; i < root_count; i++) {
        if (roots[i].target != node || roots[i].kind == HEAP_ROOT_OBJECT)
            continue;
        *sure += roots[i].counted;
        *possible += !roots[i].counted && roots[i].kind != HEAP_ROOT_FRAME;
    }
}

static void test_references(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct references references;
        struct graph graph;
        make_random(&graph);
        assert_null(references_count(&references, &graph));
        for (uint32_t i = 0; i < node_count; i++) {
            struct references_balance balance = references_balance(&references, i, &nodes[i]);
            uint64_t sure, possible, refcount = nodes[i].refcount;
            count_naively(i, &sure, &possible);
            bool mortal = !nodes[i].immortal;
            assert_int_equal(balance.excess, mortal && refcount > sure + possible ? refcount - sure - possible : 0);
            assert_int_equal(balance.lack, mortal && refcount < sure ? sure - refcount : 0);
        }
        references_deinit(&references);
        graph_deinit(&graph);
    }
}

/* ------------------------------------------------------------------ cycles */

static bool is_collected(uint32_t node)
{
    return nodes[node].tracked && !nodes[node].immortal && nodes[node].generation != HEAP_GENERATION_PERMANENT;
}

/* What lives: held from outside, or by what lives and is looked at. */
static void find_living(bool *living)
{
    bool changed = true;

    for (uint32_t i = 0; i < node_count; i++) {
        uint32_t inside = 0;
        for (uint32_t e = 0; e < edge_count; e++)
            inside += edges[e].target == i && edges[e].counted && !edges[e].untold && is_collected(edges[e].from);
        living[i] = !is_collected(i) || nodes[i].refcount > inside;
    }
    while (changed) {
        changed = false;
        for (uint32_t e = 0; e < edge_count; e++) {
            if (!edges[e].untold && is_collected(edges[e].from) && living[edges[e].from] && !living[edges[e].target])
                changed = living[edges[e].target] = true;
        }
    }
}

/* Who reaches whom, among garbage. */
static void find_reach(const bool *living, bool reach[MOST][MOST])
{
    memset(reach, 0, sizeof(bool) * MOST * MOST);
    for (uint32_t e = 0; e < edge_count; e++)
        reach[edges[e].from][edges[e].target] |= !living[edges[e].from] && !living[edges[e].target];
    for (uint32_t k = 0; k < node_count; k++) {
        for (uint32_t i = 0; i < node_count; i++) {
            for (uint32_t j = 0; j < node_count; j++)
                reach[i][j] |= reach[i][k] && reach[k][j];
        }
    }
}

static void check_components(const struct cycles *cycles, const bool *living)
{
    bool reach[MOST][MOST];
    uint32_t component[MOST];

    find_reach(living, reach);
    for (uint32_t c = 0; c < cycles->component_count; c++) {
        assert_true(cycles->first[c] < cycles->first[c + 1]);
        for (uint32_t i = cycles->first[c]; i < cycles->first[c + 1]; i++)
            component[cycles->members[i]] = c;
    }
    assert_int_equal(cycles->first[cycles->component_count], cycles->member_count);
    for (uint32_t i = 0; i < node_count; i++) {
        for (uint32_t j = 0; j < node_count; j++) {
            if (i == j || living[i] || living[j])
                continue;
            assert_int_equal(component[i] == component[j], reach[i][j] && reach[j][i]);
            assert_true(!reach[i][j] || component[i] >= component[j]);
        }
    }
}

/* What isn't tracked and is left without a reference, when garbage and what went before gives up its own. */
static void check_others(const struct cycles *cycles, const bool *living)
{
    uint32_t counts[MOST], count = 0, listed = 0;
    bool gone[MOST] = {false}, changed = true;

    while (changed) {
        changed = false;
        for (uint32_t i = 0; i < node_count; i++)
            counts[i] = nodes[i].refcount;
        for (uint32_t e = 0; e < edge_count; e++) {
            uint32_t target = edges[e].target;
            if ((!living[edges[e].from] || gone[edges[e].from]) && edges[e].counted && counts[target])
                counts[target]--;
        }
        for (uint32_t i = 0; i < node_count; i++) {
            if (!nodes[i].tracked && !nodes[i].immortal && !counts[i] && !gone[i])
                changed = gone[i] = true;
        }
    }
    for (uint32_t i = 0; i < node_count; i++)
        count += gone[i];
    for (uint32_t i = 0; i < cycles->other_count; i++)
        listed += gone[cycles->others[i]];
    assert_int_equal(cycles->other_count, count);
    assert_int_equal(listed, count);
}

static void test_cycles(void **state)
{
    uint32_t found = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct cycles_untold untold[EDGES_MOST];
        struct cycles_rule rule = {.untold = untold};
        struct cycles cycles;
        struct graph graph;
        bool living[MOST];
        make_random(&graph);
        for (uint32_t from = 0; from < MOST; from++) { /* by rising from and target; all between the same two */
            for (uint32_t target = 0; target < MOST; target++) {
                bool any = false;
                for (uint32_t e = 0; e < edge_count; e++)
                    any |= edges[e].from == from && edges[e].target == target && edges[e].untold;
                for (uint32_t e = 0; e < edge_count; e++)
                    edges[e].untold |= any && edges[e].from == from && edges[e].target == target;
                if (any)
                    untold[rule.untold_count++] = (struct cycles_untold){from, target};
            }
        }
        assert_null(cycles_find(&cycles, &graph, &rule));
        find_living(living);
        for (uint32_t i = 0; i < node_count; i++)
            assert_int_equal(cycles_is_garbage(&cycles, i), !living[i]);
        check_components(&cycles, living);
        check_others(&cycles, living);
        found += cycles.component_count;
        cycles_deinit(&cycles);
        graph_deinit(&graph);
    }
    assert_true(found > ROUNDS / 4);
}

static struct heap_node make_long(const void *context, uint32_t number)
{
    (void)context;
    return (struct heap_node){.address = 16 * (uint64_t)number, .refcount = 1, .tracked = true};
}

/* A ring of so many that no recursion would do. */
static void test_long_ring(void **state)
{
    const struct graph_nodes all = {NULL, LONG_COUNT, make_long, NULL};
    const struct cycles_rule rule = {.untold = NULL};
    struct cycles cycles;
    struct graph graph;

    (void)state;
    assert_null(graph_init(&graph, &all));
    for (uint32_t i = 0; i < LONG_COUNT; i++)
        assert_null(graph_add_edge(&graph, i, (i + 1) % LONG_COUNT, true));
    assert_null(graph_finish(&graph));
    assert_null(cycles_find(&cycles, &graph, &rule));
    assert_int_equal(cycles.component_count, 1);
    assert_int_equal(cycles.member_count, LONG_COUNT);
    assert_int_equal(cycles.members[LONG_COUNT - 1], LONG_COUNT - 1);
    cycles_deinit(&cycles);
    graph_deinit(&graph);
}

/* ----------------------------------------------------------------- compare */

static void make_look(struct compare_look *look)
{
    uint32_t count = 0;

    assert_null(compare_look_init(look, MOST));
    for (uint32_t i = 0; i < MOST; i++) {
        if (random_below(4) == 0)
            continue;
        look->addresses[count] = 4096 + 16 * i;
        look->types[count] = random_below(3);
        look->sizes[count] = 1 + random_below(2);
        look->prints[count] = random_below(3);
        look->generations[count++] = (uint8_t)(random_below(5) ? random_below(4) : HEAP_GENERATION_NONE);
    }
    look->count = count;
}

static enum compare_state compare_naively(const struct compare_look *before, const struct compare_look *after, uint32_t b,
                                          const bool *fixed)
{
    for (uint32_t a = 0; a < before->count; a++) {
        if (before->addresses[a] != after->addresses[b] || before->types[a] != after->types[b])
            continue;
        if (before->generations[a] < 3 && after->generations[b] < before->generations[a])
            return COMPARE_NEW;
        bool told = before->prints[a] && after->prints[b], other = told && before->prints[a] != after->prints[b];
        if (other && fixed[after->types[b]])
            return COMPARE_NEW;
        if (other || before->sizes[a] != after->sizes[b])
            return COMPARE_CHANGED;
        return told ? COMPARE_SAME : COMPARE_BLANK;
    }
    return COMPARE_NEW;
}

static void test_compare(void **state)
{
    const bool fixed[] = {false, true, false};

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct compare_look before, after;
        struct compare compare;
        uint32_t counts[COMPARE_STATES] = {0}, gone = 0;
        make_look(&before);
        make_look(&after);
        assert_null(compare_find(&compare, &before, &after, fixed));
        for (uint32_t b = 0; b < after.count; b++) {
            assert_int_equal(compare.states[b], compare_naively(&before, &after, b, fixed));
            counts[compare.states[b]]++;
        }
        assert_memory_equal(counts, compare.counts, sizeof(counts));
        for (uint32_t a = 0; a < before.count; a++)
            gone += compare_is_gone(&compare, a);
        assert_int_equal(before.count - gone, after.count - counts[COMPARE_NEW]);
        compare_deinit(&compare);
        compare_look_deinit(&before);
        compare_look_deinit(&after);
    }
}

/* How many references a new object is away from what was there, or from a root; and who that may be. */
static void check_keepers(const struct compare *compare, const struct compare_keepers *keepers)
{
    bool held[MOST] = {false}, changed = true;

    for (uint32_t i = 0; i < root_count; i++)
        held[roots[i].target] |= roots[i].kind != HEAP_ROOT_INTERNED && roots[i].kind != HEAP_ROOT_OBJECT;
    while (changed) {
        changed = false;
        for (uint32_t e = 0; e < edge_count; e++) {
            uint32_t from = edges[e].from, target = edges[e].target;
            bool keeps = compare->states[from] == COMPARE_NEW ? held[from] : !is_target_of(from, HEAP_ROOT_INTERNED);
            if (edges[e].counted && keeps && !held[target])
                changed = held[target] = true;
        }
    }
    for (uint32_t i = 0; i < node_count; i++) {
        uint32_t entry = keepers->entries[i];
        assert_int_equal(entry != HEAP_NONE, compare->states[i] == COMPARE_NEW && held[i]);
        if (entry == HEAP_NONE)
            continue;
        uint32_t holder = keepers->holders[entry];
        bool direct = holder & COMPARE_ROOT && roots[holder & ~COMPARE_ROOT].target == entry;
        for (uint32_t e = 0; e < edge_count; e++)
            direct |= edges[e].from == holder && edges[e].target == entry && edges[e].counted;
        assert_true(direct);
        assert_true(holder & COMPARE_ROOT || compare->states[holder] != COMPARE_NEW);
        assert_int_equal(keepers->entries[entry], entry);
    }
}

static void test_keepers(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct compare compare = {.states = malloc(MOST)};
        struct compare_keepers keepers;
        struct graph graph;
        make_random(&graph);
        for (uint32_t i = 0; i < node_count; i++)
            compare.counts[compare.states[i] = random_below(3) ? COMPARE_NEW : COMPARE_SAME]++;
        assert_null(compare_find_keepers(&keepers, &graph, &compare));
        check_keepers(&compare, &keepers);
        compare_keepers_deinit(&keepers);
        compare_deinit(&compare);
        graph_deinit(&graph);
    }
}

/* Of two that hold the same, the one that holds more new ones itself is told of. */
static void test_greater_keeper(void **state)
{
    struct compare compare = {.states = calloc(6, 1), .counts = {[COMPARE_NEW] = 4}};
    struct compare_keepers keepers;
    struct graph graph;

    (void)state;
    node_count = 6;
    root_count = edge_count = 0;
    edges[edge_count++] = (struct edge){0, 2, true, false};
    for (uint32_t i = 2; i < 5; i++)
        edges[edge_count++] = (struct edge){1, i, true, false};
    edges[edge_count++] = (struct edge){3, 5, true, false};
    make_nodes();
    make_graph(&graph);
    for (uint32_t i = 2; i < 6; i++)
        compare.states[i] = COMPARE_NEW;
    assert_null(compare_find_keepers(&keepers, &graph, &compare));
    for (uint32_t i = 2; i < 5; i++) {
        assert_int_equal(keepers.entries[i], i);
        assert_int_equal(keepers.holders[i], 1);
    }
    assert_int_equal(keepers.entries[5], 3);
    compare_keepers_deinit(&keepers);
    compare_deinit(&compare);
    graph_deinit(&graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references), cmocka_unit_test(test_cycles),  cmocka_unit_test(test_long_ring),
        cmocka_unit_test(test_compare),    cmocka_unit_test(test_keepers), cmocka_unit_test(test_greater_keeper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
