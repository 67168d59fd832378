/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Semi-NCA (Georgiadis, Tarjan): objects are numbered in the order of a depth-first search from the roots; from the last to the
 * first each gets its semidominator, by way of a forest whose paths are compressed; then, from the first to the last, the
 * nearest ancestor that isn't above it is its dominator.
 *
 * What refers to nothing and has one reference hangs on its holder, whoever that is: half of a heap (its strings and numbers) gets
 * no number.
 *
 * All arrays are by that number, but for two. A number says more than who came first: what the table of interned strings alone
 * holds comes behind what others hold, what nothing reaches behind both, and what comes behind keeps nothing that came before.
 */
#include "runtime/heap/dominators.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

#define CLASS_COUNT 3 /* held; held by the table of interned strings; not held */

struct work {
    const struct graph *graph;
    const uint32_t *of_root; /* the group of each root */
    uint32_t group_count; /* with that of the table of interned strings, the last */
    uint32_t all; /* objects, groups, what nothing reaches, and the whole */
    uint32_t numbered; /* of those, the ones that get numbers */
    uint64_t *single; /* a bit an object: it refers to nothing, and one reference leads to it */

    uint32_t *numbers; /* by object: HEAP_NONE before it is met */
    uint32_t *objects; /* which one it is; groups among them */
    uint32_t *parents; /* in the tree of the search; at last in that of dominators */
    uint32_t *cursors; /* the next reference that is to be followed; later the semidominator */
    uint64_t *room; /* for the next two; at last for what is retained */
    uint32_t *ancestors, *labels;
    uint32_t used;
    uint32_t ends[CLASS_COUNT]; /* behind the last number of each class */

    uint32_t *first, *holders; /* those that refer to number n, but for its parent: from first[n] to first[n + 1] - 1 */
};

static struct error *out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for who keeps what");
}

/* ----------------------------------------------------------- what only hangs */

static bool is_single(const struct work *work, uint32_t object)
{
    return work->single[object / 64] >> object % 64 & 1;
}

/* Which objects have one reference that counts: `again` gets those that have more, or that a root names. */
static void mark_held(const struct graph *graph, uint64_t *held, uint64_t *again)
{
    for (size_t e = 0; e < graph->edge_count; e++) {
        uint32_t target = graph_target(graph, (uint32_t)e);
        uint64_t bit = (uint64_t)graph_is_counted(graph, (uint32_t)e) << target % 64;
        again[target / 64] |= held[target / 64] & bit;
        held[target / 64] |= bit;
    }
    for (size_t i = 0; i < graph->root_count; i++)
        again[graph->roots[i].target / 64] |= UINT64_C(1) << graph->roots[i].target % 64;
}

static struct error *find_singles(struct work *work)
{
    const struct graph *graph = work->graph;
    size_t words = graph->nodes.count / 64 + 1;
    scoped_free uint64_t *again = calloc(words, sizeof(*again));

    work->single = calloc(words, sizeof(*work->single));
    if (!again || !work->single)
        return out_of_memory();
    mark_held(graph, work->single, again);
    for (uint32_t object = 0; object < graph->nodes.count; object++)
        again[object / 64] |= (uint64_t)(graph->first[object] < graph->first[object + 1]) << object % 64;
    for (size_t i = 0; i < words; i++) {
        work->single[i] &= ~again[i];
        work->numbered -= (uint32_t)__builtin_popcountll(work->single[i]);
    }
    return NULL;
}

/* Each of them gets its holder in place of a number. */
static void hang_singles(struct work *work)
{
    const struct graph *graph = work->graph;

    for (uint32_t object = 0; object < graph->nodes.count; object++) {
        for (uint32_t e = graph->first[object]; e < graph->first[object + 1]; e++) {
            if (is_single(work, graph_target(graph, e)) && graph_is_counted(graph, e))
                work->numbers[graph_target(graph, e)] = object;
        }
    }
}

/* -------------------------------------------------------------- the search */

static uint32_t take_number(struct work *work, uint32_t object, uint32_t parent)
{
    uint32_t number = work->used++;

    work->numbers[object] = number;
    work->objects[number] = object;
    work->parents[number] = parent;
    if (object < work->graph->nodes.count)
        work->cursors[number] = work->graph->first[object];
    return number;
}

#define FETCH_AHEAD 16 /* edges: so far ahead is a target's number fetched */

static void fetch_number(const struct work *work, uint32_t edge)
{
    if (edge + FETCH_AHEAD < work->graph->edge_count)
        __builtin_prefetch(&work->numbers[graph_target(work->graph, edge + FETCH_AHEAD)]);
}

/* The next object that this one refers to and that nobody met yet; or HEAP_NONE. */
static uint32_t next_unmet(struct work *work, uint32_t number)
{
    const struct graph *graph = work->graph;
    uint32_t end = graph->first[work->objects[number] + 1];

    for (uint32_t edge = work->cursors[number]; edge < end; edge++) {
        uint32_t target = graph_target(graph, edge);
        fetch_number(work, edge);
        if (is_single(work, target) || work->numbers[target] != HEAP_NONE || !graph_is_counted(graph, edge))
            continue;
        work->cursors[number] = edge + 1;
        return target;
    }
    work->cursors[number] = end;
    return HEAP_NONE;
}

/* Numbers all that can be reached from an object; `finished`, where it isn't NULL, takes them as they are left. */
static void search(struct work *work, uint32_t object, uint32_t parent, uint32_t **finished)
{
    if (work->numbers[object] != HEAP_NONE)
        return;
    uint32_t at = take_number(work, object, parent);

    while (at != parent) {
        uint32_t target = next_unmet(work, at);
        if (target != HEAP_NONE) {
            at = take_number(work, target, at);
            continue;
        }
        if (finished)
            *(*finished)++ = work->objects[at];
        at = work->parents[at];
    }
}

static uint32_t group_of(const struct work *work, size_t root)
{
    return work->graph->roots[root].kind == HEAP_ROOT_INTERNED ? work->group_count - 1 : work->of_root[root];
}

/* The groups' roots side by side: those of group g in list[first[g]] to list[first[g + 1] - 1]. */
static void sort_roots(const struct work *work, uint32_t *first, uint32_t *list)
{
    const struct graph *graph = work->graph;

    memset(first, 0, (work->group_count + 2) * sizeof(*first));
    for (size_t i = 0; i < graph->root_count; i++)
        first[group_of(work, i) + 2] += !graph->roots[i].stale;
    for (uint32_t g = 0; g < work->group_count; g++)
        first[g + 2] += first[g + 1];
    for (size_t i = 0; i < graph->root_count; i++) {
        if (!graph->roots[i].stale)
            list[first[group_of(work, i) + 1]++] = graph->roots[i].target;
    }
}

/* The table of interned strings comes last: what it leads to then is what nothing else leads to. */
static struct error *search_roots(struct work *work)
{
    scoped_free uint32_t *first = malloc((work->group_count + 2) * sizeof(*first));
    scoped_free uint32_t *list = malloc(work->graph->root_count * sizeof(*list) + 1);

    if (!first || !list)
        return out_of_memory();
    sort_roots(work, first, list);
    for (uint32_t g = 0; g < work->group_count; g++) {
        work->ends[0] = work->used; /* behind the last group but one */
        uint32_t number = take_number(work, work->graph->nodes.count + g, 0);
        for (uint32_t i = first[g]; i < first[g + 1]; i++)
            search(work, list[i], number, NULL);
    }
    work->ends[1] = work->used;
    return NULL;
}

/*
 * What nothing reaches: a first search leaves those last that lead to most, and such a one begins the second, so that of
 * each cycle to which nothing leads one object is a beginning, and nothing else is.
 */
static struct error *search_rest(struct work *work)
{
    uint32_t group = take_number(work, work->graph->nodes.count + work->group_count, 0);
    uint32_t begun = work->used, count = work->graph->nodes.count;
    scoped_free uint32_t *order = malloc((size_t)(work->numbered - begun) * sizeof(*order) + 1);
    uint32_t *end = order;

    if (!order)
        return out_of_memory();
    for (uint32_t object = 0; object < count; object++) {
        if (!is_single(work, object))
            search(work, object, group, &end);
    }
    while (work->used > begun)
        work->numbers[work->objects[--work->used]] = HEAP_NONE;
    while (end > order)
        search(work, *--end, group, NULL);
    work->ends[CLASS_COUNT - 1] = work->used;
    return NULL;
}

/* ----------------------------------------------------------- who refers to it */

/* Does this one's holding say more of it than that its parent holds it? */
static bool is_told(const struct work *work, uint32_t from, uint32_t number)
{
    const uint32_t *end = work->ends;

    if (work->parents[number] == from || from == number)
        return false;
    while (number >= *end)
        end++;
    return from < *end;
}

/* Calls for every reference that counts, of objects and of groups: holders are counted, or taken down. */
static void pass_holders(struct work *work, bool take)
{
    const struct graph *graph = work->graph;
    uint32_t *next = work->first + 1;

    for (uint32_t object = 0; object < graph->nodes.count; object++) {
        uint32_t from = work->numbers[object];
        for (uint32_t e = graph->first[object]; e < graph->first[object + 1]; e++) {
            uint32_t target = graph_target(graph, e), number;
            fetch_number(work, e);
            if (is_single(work, target) || !graph_is_counted(graph, e) ||
                !is_told(work, from, number = work->numbers[target]))
                continue;
            if (take)
                work->holders[next[number]++] = from;
            else
                next[number + 1]++;
        }
    }
    for (size_t i = 0; i < graph->root_count; i++) {
        uint32_t number = work->numbers[graph->roots[i].target];
        uint32_t from = work->numbers[graph->nodes.count + group_of(work, i)];
        if (graph->roots[i].stale || !is_told(work, from, number))
            continue;
        if (take)
            work->holders[next[number]++] = from;
        else
            next[number + 1]++;
    }
}

static struct error *find_holders(struct work *work)
{
    work->first = calloc((size_t)work->numbered + 2, sizeof(*work->first));
    if (!work->first)
        return out_of_memory();
    pass_holders(work, false);
    for (uint32_t i = 1; i <= work->numbered; i++)
        work->first[i + 1] += work->first[i];
    work->holders = malloc((size_t)work->first[work->numbered + 1] * sizeof(*work->holders) + 1);
    if (!work->holders)
        return out_of_memory();
    pass_holders(work, true);
    return NULL;
}

/* --------------------------------------------------------------- dominators */

/*
 * The least semidominator on the path from a number up to those that aren't linked yet (below `linked`). The path's pointers
 * are turned round on the way up, so that no stack is needed, and all lead to its end after the way down.
 */
static uint32_t evaluate(struct work *work, uint32_t number, uint32_t linked)
{
    uint32_t below = HEAP_NONE, at = number;

    if (number < linked)
        return number;
    while (work->ancestors[at] >= linked) {
        uint32_t above = work->ancestors[at];
        work->ancestors[at] = below;
        below = at;
        at = above;
    }
    uint32_t end = work->ancestors[at], least = work->labels[at];
    while (below != HEAP_NONE) {
        uint32_t next = work->ancestors[below];
        if (work->labels[below] > least)
            work->labels[below] = least;
        least = work->labels[below];
        work->ancestors[below] = end;
        below = next;
    }
    return least;
}

static void find_semidominators(struct work *work, uint32_t *semi)
{
    for (uint32_t number = work->used - 1; number > 0; number--) {
        uint32_t least = work->parents[number];
        for (uint32_t h = work->first[number]; h < work->first[number + 1]; h++) {
            uint32_t one = evaluate(work, work->holders[h], number + 1);
            least = one < least ? one : least;
        }
        semi[number] = work->labels[number] = least;
    }
}

static struct error *find_parents(struct work *work)
{
    size_t bytes = (size_t)work->numbered * sizeof(*work->ancestors);
    uint32_t *semi = work->cursors;

    if (!(work->room = malloc((size_t)work->all * sizeof(*work->room))))
        return out_of_memory();
    work->ancestors = (uint32_t *)work->room;
    work->labels = work->ancestors + work->numbered;
    memcpy(work->ancestors, work->parents, bytes);
    find_semidominators(work, semi);
    for (uint32_t number = 1; number < work->used; number++) {
        uint32_t at = work->parents[number];
        while (at > semi[number])
            at = work->parents[at];
        work->parents[number] = at;
    }
    return NULL;
}

/* ------------------------------------------------------------------- answer */

/* From the last to the first: what hangs below a number has been added to it before its turn comes; singles before all. */
static void sum_retained(struct dominators *dominators, struct work *work)
{
    uint32_t node_count = work->graph->nodes.count;
    uint64_t *retained = dominators->retained = work->room;

    work->room = NULL;
    graph_read_sizes(work->graph, retained);
    memset(retained + node_count, 0, (work->all - node_count) * sizeof(*retained));
    for (uint32_t object = 0; object < node_count; object++) {
        if (is_single(work, object))
            retained[work->numbers[object]] += retained[object];
    }
    for (uint32_t number = work->used; number-- > 1;)
        retained[work->objects[work->parents[number]]] += retained[work->objects[number]];
}

/* The array of numbers becomes that of parents. */
static void hand_over_parents(struct dominators *dominators, struct work *work)
{
    uint32_t whole = work->objects[0];

    for (uint32_t object = 0; object < work->all; object++) {
        uint32_t number = work->numbers[object];
        if (object < work->graph->nodes.count && is_single(work, object))
            continue;
        work->numbers[object] = number == HEAP_NONE ? whole : work->objects[work->parents[number]];
    }
    work->numbers[whole] = HEAP_NONE;
    dominators->parents = work->numbers;
    work->numbers = NULL;
}

static struct error *work_init(struct work *work, const struct graph *graph, const struct dominators_groups *groups)
{
    uint32_t all = graph->nodes.count + groups->count + 3;

    *work = (struct work){.graph = graph, .of_root = groups->of_root, .group_count = groups->count + 1, .all = all, .numbered = all};
    struct error *error = find_singles(work);
    if (error)
        return error;
    size_t bytes = (size_t)work->numbered * sizeof(*work->numbers);
    work->numbers = malloc((size_t)all * sizeof(*work->numbers));
    work->objects = malloc(bytes);
    work->parents = malloc(bytes);
    work->cursors = malloc(bytes);
    if (!work->numbers || !work->objects || !work->parents || !work->cursors)
        return out_of_memory();
    memset(work->numbers, 0xff, (size_t)all * sizeof(*work->numbers));
    take_number(work, all - 1, 0);
    return NULL;
}

static void work_free_holders(struct work *work)
{
    free(work->first);
    free(work->holders);
    free(work->cursors);
    work->first = work->holders = work->cursors = NULL;
}

static void work_deinit(struct work *work)
{
    work_free_holders(work);
    free(work->single);
    free(work->room);
    free(work->numbers);
    free(work->objects);
    free(work->parents);
}

static struct error *find(struct dominators *dominators, struct work *work)
{
    struct error *error = search_roots(work);

    if (!error)
        error = search_rest(work);
    if (!error)
        error = find_holders(work);
    if (!error)
        error = find_parents(work);
    work_free_holders(work);
    if (error)
        return error;
    hang_singles(work);
    sum_retained(dominators, work);
    hand_over_parents(dominators, work);
    return NULL;
}

static uint32_t *group_by_kind(const struct graph *graph)
{
    uint32_t *of_root = malloc(graph->root_count * sizeof(*of_root) + 1);

    for (size_t i = 0; of_root && i < graph->root_count; i++)
        of_root[i] = graph->roots[i].kind;
    return of_root;
}

struct error *dominators_find(struct dominators *dominators, const struct graph *graph,
                              const struct dominators_groups *groups)
{
    scoped_free uint32_t *by_kind = groups ? NULL : group_by_kind(graph);
    const struct dominators_groups kinds = {by_kind, HEAP_ROOT_OBJECT + 1};
    struct work work;

    if (!groups && !by_kind)
        return out_of_memory();
    groups = groups ? groups : &kinds;
    *dominators = (struct dominators){.node_count = graph->nodes.count, .group_count = groups->count};
    struct error *error = work_init(&work, graph, groups);
    if (!error)
        error = find(dominators, &work);
    work_deinit(&work);
    return error;
}

void dominators_deinit(struct dominators *dominators)
{
    free(dominators->parents);
    free(dominators->retained);
    *dominators = (struct dominators){.node_count = 0};
}

/* ------------------------------------------------------------ the tree downwards */

struct error *dominators_tree_init(struct dominators_tree *tree, const struct dominators *dominators)
{
    uint32_t all = dominators_whole(dominators) + 1;
    size_t bytes = (size_t)all * sizeof(*tree->first);

    *tree = (struct dominators_tree){malloc(bytes), malloc(bytes)};
    if (!tree->first || !tree->next)
        return out_of_memory();
    memset(tree->first, 0xff, bytes);
    for (uint32_t number = all - 1; number-- > 0;) { /* the whole is nobody's child */
        uint32_t parent = dominators->parents[number];
        tree->next[number] = tree->first[parent];
        tree->first[parent] = number;
    }
    return NULL;
}

void dominators_tree_deinit(struct dominators_tree *tree)
{
    free(tree->first);
    free(tree->next);
    *tree = (struct dominators_tree){NULL, NULL};
}

struct error *dominators_sum_classes(const struct dominators *dominators, const struct dominators_tree *tree,
                                     uint32_t (*class_of)(const void *context, uint32_t node), const void *context,
                                     uint64_t *sums, uint32_t count)
{
    scoped_free uint32_t *above = calloc((size_t)count + 1, sizeof(*above)); /* how many of each class are above this one */
    uint32_t whole = dominators_whole(dominators), at = tree->first[whole];

    if (!above)
        return out_of_memory();
    memset(sums, 0, count * sizeof(*sums));
    while (at != whole) {
        uint32_t class = at < dominators->node_count ? class_of(context, at) : HEAP_NONE;
        if (class != HEAP_NONE && !above[class]++)
            sums[class] += dominators->retained[at];
        if (tree->first[at] != HEAP_NONE) {
            at = tree->first[at];
            continue;
        }
        for (;;) { /* up, until there is one beside */
            class = at < dominators->node_count ? class_of(context, at) : HEAP_NONE;
            if (class != HEAP_NONE)
                above[class]--;
            if (tree->next[at] != HEAP_NONE) {
                at = tree->next[at];
                break;
            }
            if ((at = dominators->parents[at]) == whole)
                break;
        }
    }
    return NULL;
}
