/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/heap_namespaces.h"

#include <stdlib.h>
#include <string.h>

#define NAMESPACES_NODES_PER_STEP 65536u

struct namespaces_search {
    struct heap_namespaces *namespaces;
    struct heap *heap;
};

struct error *heap_namespaces_init(struct heap_namespaces *namespaces, uint32_t count)
{
    namespaces->bits = calloc(count / 64 + 1, sizeof(*namespaces->bits));
    return namespaces->bits ? NULL : error_create(ERROR_SYSTEM, NULL, "out of memory for the names");
}

void heap_namespaces_mark(struct heap_namespaces *namespaces, uint32_t node)
{
    namespaces->bits[node / 64] |= UINT64_C(1) << node % 64;
}

bool heap_namespaces_by_field(const char *label)
{
    static const char *const labels[] = {"__dict__", "__globals__", "f_globals", "f_locals"};

    for (size_t i = 0; label && i < sizeof(labels) / sizeof(labels[0]); i++) {
        if (!strcmp(label, labels[i]))
            return true;
    }
    return false;
}

bool heap_namespaces_by_root(enum heap_root_kind kind)
{
    return kind == HEAP_ROOT_MODULE || kind == HEAP_ROOT_BUILTINS;
}

static void namespaces_mark_object(const struct namespaces_search *search, uint64_t address)
{
    uint32_t node = heap_find(search->heap, address);

    if (node != HEAP_NONE)
        heap_namespaces_mark(search->namespaces, node);
}

static void namespaces_mark_edge(void *context, const struct heap_edge *edge)
{
    if (edge->kind == HEAP_EDGE_FIELD && heap_namespaces_by_field(edge->label))
        namespaces_mark_object(context, edge->target);
}

static void namespaces_mark_root(void *context, const struct heap_root *root)
{
    if (heap_namespaces_by_root(root->kind))
        namespaces_mark_object(context, root->target);
}

struct error *heap_namespaces_find(struct heap_namespaces *namespaces, struct heap *heap,
                                   const struct heap_progress *progress)
{
    struct namespaces_search search = {namespaces, heap};
    uint32_t count = heap_count(heap);
    struct error *error = heap_namespaces_init(namespaces, count);

    if (error)
        return error;
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
    return heap_namespaces_has(namespaces, from) && heap_read_name(heap, edge->name, first, sizeof(first));
}
