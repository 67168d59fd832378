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
                                     uint32_t lack)
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
        (struct excess_lack){name, node->address, node->refcount, node->refcount + lack};
    excess->lack_total += lack;
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
        if (balance.lack) {
            struct error *error = excess_add_lack(excess, view, &node, balance.lack);
            if (error)
                return error;
        }
    }
    return NULL;
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
