/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/excess.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/heap/references.h"

static struct error *excess_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
}

/* ------------------------------------------------------------------- counting */

static void excess_add_node(struct excess_row *row, const struct heap_node *node, uint32_t excess, bool held)
{
    row->count++;
    row->bytes += node->size;
    if (!excess)
        return;
    row->objects++;
    row->excess += excess;
    row->unheld += !held;
    if (excess > row->example_excess) {
        row->example_excess = excess;
        row->example = node->address;
    }
}

static struct error *excess_add_lack(struct excess *excess, const struct heap_view *view, const struct heap_node *node,
                                     uint32_t number, uint32_t lack)
{
    if ((excess->lack_count & (excess->lack_count - 1)) == 0) { /* 0 or a power of two: the room is used up */
        size_t room = excess->lack_count ? excess->lack_count * 2 : 1;
        struct excess_lack *larger = reallocarray(excess->lacks, room, sizeof(*larger));
        if (!larger)
            return excess_out_of_memory();
        excess->lacks = larger;
    }
    char *name = strdup(heap_view_type_name(view, node->type));
    if (!name)
        return excess_out_of_memory();
    excess->lacks[excess->lack_count++] =
        (struct excess_lack){name, node->address, number, node->refcount, node->refcount + lack};
    return NULL;
}

static struct error *excess_sum(struct excess *excess, struct excess_row *sums, const struct heap_view *view,
                                const struct graph *graph, const struct references *references)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct heap_node node = graph_node(graph, i);
        struct references_balance balance = references_balance(references, i, &node);
        bool held = references->sure[i] || references->possible[i];

        excess_add_node(&sums[node.type], &node, balance.excess, held);
        if (balance.lack && view->origin.at_safe_point) { /* else a count may have been half changed */
            struct error *error = excess_add_lack(excess, view, &node, i, balance.lack);
            if (error)
                return error;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------ under-counts */

/* Fields that were found by their values, or that C code declares as members, may be borrowed: nobody is accused by them. */
static bool excess_is_sure(const struct heap_view *view, const struct heap_graph_edge *edge)
{
    if (edge->kind == HEAP_EDGE_FIELD && edge->number) /* a declared one has an offset */
        return !strcmp(heap_view_module_name(view, heap_view_node(view, edge->from).type), "builtins");
    return edge->kind != HEAP_EDGE_WORD && edge->kind != HEAP_EDGE_SLOT && edge->kind != HEAP_EDGE_STATE;
}

static int excess_compare_lack(const void *a, const void *b)
{
    uint32_t x = ((const struct excess_lack *)a)->node, y = ((const struct excess_lack *)b)->node;

    return x < y ? -1 : x > y;
}

static struct excess_lack *excess_find_lack(const struct excess *excess, uint32_t node)
{
    const struct excess_lack key = {.node = node};

    return bsearch(&key, excess->lacks, excess->lack_count, sizeof(key), excess_compare_lack);
}

struct excess_doubts {
    struct excess *excess;
    const struct heap_view *view;
};

static void excess_doubt(void *context, const struct heap_graph_edge *edge)
{
    struct excess_doubts *doubts = context;
    struct excess_lack *lack = edge->counted ? excess_find_lack(doubts->excess, edge->target) : NULL;

    if (lack && lack->found && !excess_is_sure(doubts->view, edge))
        lack->found--;
}

/* All that refer to one that lacks a reference, by rising number. */
static uint32_t *excess_list_holders(const struct excess *excess, const struct graph *graph, size_t *count)
{
    scoped_free uint64_t *suspects = calloc(graph->nodes.count / 64 + 1, sizeof(*suspects));
    uint32_t *holders = suspects ? malloc(((size_t)graph->nodes.count + 1) * sizeof(*holders)) : NULL;

    *count = 0;
    if (!holders)
        return NULL;
    for (size_t i = 0; i < excess->lack_count; i++)
        suspects[excess->lacks[i].node / 64] |= UINT64_C(1) << excess->lacks[i].node % 64;
    for (uint32_t from = 0; from < graph->nodes.count; from++) {
        bool holds = false;
        for (uint32_t e = graph->first[from]; e < graph->first[from + 1] && !holds; e++)
            holds = suspects[graph_target(graph, e) / 64] >> graph_target(graph, e) % 64 & 1;
        if (holds)
            holders[(*count)++] = from;
    }
    return holders;
}

/* Leaves those out that only a doubtful reference speaks against. */
static struct error *excess_confirm(struct excess *excess, struct heap_view *view, const struct graph *graph)
{
    size_t count, kept = 0;

    if (!excess->lack_count)
        return NULL;
    scoped_free uint32_t *holders = excess_list_holders(excess, graph, &count);
    if (!holders)
        return excess_out_of_memory();
    struct excess_doubts doubts = {excess, view};
    struct error *error = heap_graph_visit(view, holders, count, excess_doubt, &doubts);
    for (size_t i = 0; i < excess->lack_count; i++) {
        struct excess_lack *lack = &excess->lacks[i];
        if (lack->found > lack->refcount)
            excess->lacks[kept++] = *lack;
        else
            free(lack->name);
    }
    excess->lack_count = kept;
    return error;
}

/* -------------------------------------------------------------------- by name */

static int excess_compare_name(const void *a, const void *b)
{
    return strcmp(((const struct excess_row *)a)->name, ((const struct excess_row *)b)->name);
}

static void excess_merge_row(struct excess_row *row, struct excess_row *more)
{
    row->count += more->count;
    row->bytes += more->bytes;
    row->excess += more->excess;
    row->objects += more->objects;
    row->unheld += more->unheld;
    if (more->example_excess > row->example_excess) {
        row->example_excess = more->example_excess;
        row->example = more->example;
    }
    free(more->name);
}

static struct error *excess_name_rows(struct excess *excess, const struct excess_row *sums, const struct heap_view *view)
{
    uint32_t types = heap_view_type_count(view);

    excess->rows = calloc((size_t)types + 1, sizeof(*excess->rows));
    if (!excess->rows)
        return excess_out_of_memory();
    for (uint32_t i = 0; i < types; i++) {
        if (!sums[i].count)
            continue;
        struct excess_row *row = &excess->rows[excess->count];
        *row = sums[i];
        if (!(row->name = strdup(heap_view_type_name(view, i))))
            return excess_out_of_memory();
        excess->count++;
        excess->objects += row->objects;
        excess->total += row->excess;
    }
    return NULL;
}

static void excess_merge(struct excess *excess)
{
    size_t kept = 0;

    qsort(excess->rows, excess->count, sizeof(*excess->rows), excess_compare_name);
    for (size_t i = 0; i < excess->count; i++) {
        if (kept && !strcmp(excess->rows[kept - 1].name, excess->rows[i].name))
            excess_merge_row(&excess->rows[kept - 1], &excess->rows[i]);
        else
            excess->rows[kept++] = excess->rows[i];
    }
    excess->count = kept;
}

struct error *excess_count(struct excess *excess, struct heap_view *view, const struct graph *graph)
{
    scoped_free struct excess_row *sums = calloc((size_t)heap_view_type_count(view) + 1, sizeof(*sums));
    struct references references;

    *excess = (struct excess){.count = 0};
    if (!sums)
        return excess_out_of_memory();
    struct error *error = references_count(&references, graph);
    if (!error)
        error = excess_sum(excess, sums, view, graph, &references);
    references_deinit(&references);
    if (!error)
        error = excess_confirm(excess, view, graph);
    if (!error)
        error = excess_name_rows(excess, sums, view);
    if (!error)
        excess_merge(excess);
    return error;
}

void excess_deinit(struct excess *excess)
{
    for (size_t i = 0; i < excess->count; i++)
        free(excess->rows[i].name);
    for (size_t i = 0; i < excess->lack_count; i++)
        free(excess->lacks[i].name);
    free(excess->rows);
    free(excess->lacks);
    *excess = (struct excess){.count = 0};
}

const struct excess_row *excess_find(const struct excess *excess, const char *name)
{
    const struct excess_row key = {.name = (char *)name};

    return excess->count ? bsearch(&key, excess->rows, excess->count, sizeof(key), excess_compare_name) : NULL;
}
