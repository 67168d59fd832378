/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/heap_namespaces.h"

#include <stdlib.h>
#include <string.h>

#define NAMESPACES_NODES_PER_STEP 65536u

struct namespaces_search {
    struct heap_namespaces *namespaces;
    struct heap *heap;
};

static void namespaces_mark(const struct namespaces_search *search, uint64_t address)
{
    uint32_t node = heap_find(search->heap, address);

    if (node != HEAP_NONE)
        search->namespaces->bits[node / 64] |= UINT64_C(1) << node % 64;
}

static void namespaces_mark_edge(void *context, const struct heap_edge *edge)
{
    static const char *const labels[] = {"__dict__", "__globals__", "f_globals", "f_locals"};

    for (size_t i = 0; edge->kind == HEAP_EDGE_FIELD && i < sizeof(labels) / sizeof(labels[0]); i++) {
        if (edge->label && !strcmp(edge->label, labels[i]))
            namespaces_mark(context, edge->target);
    }
}

static void namespaces_mark_root(void *context, const struct heap_root *root)
{
    if (root->kind == HEAP_ROOT_MODULE || root->kind == HEAP_ROOT_BUILTINS)
        namespaces_mark(context, root->target);
}

struct error *heap_namespaces_find(struct heap_namespaces *namespaces, struct heap *heap,
                                   const struct heap_progress *progress)
{
    struct namespaces_search search = {namespaces, heap};
    uint32_t count = heap_count(heap);
    struct error *error = NULL;

    namespaces->bits = calloc(count / 64 + 1, sizeof(*namespaces->bits));
    if (!namespaces->bits)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the names");
    heap_visit_roots(heap, namespaces_mark_root, &search);
    for (uint32_t i = 0; i < count && !error; i++) {
        heap_visit_edges(heap, i, namespaces_mark_edge, &search);
        if (progress && i % NAMESPACES_NODES_PER_STEP == 0)
            error = progress->step(progress->context, "looking for names", i, count);
    }
    return error;
}

void heap_namespaces_deinit(struct heap_namespaces *namespaces)
{
    free(namespaces->bits);
    namespaces->bits = NULL;
}

bool heap_namespaces_tell(const struct heap_namespaces *namespaces, struct heap *heap, uint32_t from,
                          const struct heap_edge *edge)
{
    char first[8];

    if (edge->kind != HEAP_EDGE_VALUE)
        return true;
    return (namespaces->bits[from / 64] >> from % 64 & 1) && heap_read_name(heap, edge->name, first, sizeof(first));
}
