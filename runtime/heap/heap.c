/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way to all objects: the blocks of the allocators that we know, the
 * collector's lists, and the closure over references, which finds what has a
 * large block (malloc's) or none (statics). Then every object is a node.
 */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/heap/internal.h"

static const struct heap_allocator *const allocators[] = {&heap_pymalloc};

/* A sound heap has fewer references than words; some are told of twice. Beyond that the target leads us in circles. */
#define WORK_PER_WORD  4
#define WORK_LEAST     (UINT64_C(1) << 20)
#define ITEMS_WHEN_CUT 64

static struct error *out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, "give less of the heap with --max-memory", "out of memory for the heap's nodes");
}

/* --------------------------------------------------------------- closure */

static void push(struct heap *heap, uint32_t position)
{
    if (heap->stack_count == heap->stack_room) {
        size_t room = heap->stack_room ? heap->stack_room * 2 : 4096;
        uint32_t *larger = realloc(heap->stack, room * sizeof(*larger));
        if (!larger) {
            heap->out_of_memory = true;
            return;
        }
        heap->stack = larger;
        heap->stack_room = room;
    }
    heap->stack[heap->stack_count++] = position;
}

/* Is a target that no list had an object? What lies in a pool is known by now, unless a reader is sure of it. */
static void follow(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked)
{
    struct heap *heap = visitor->context;
    uint32_t position = heap_image_position(heap->image, edge->target);

    heap->work_left -= heap->work_left > 0;
    if (position == HEAP_NO_POSITION || heap_has(heap, position) || heap->late[position / 64] >> position % 64 & 1)
        return;
    if (checked && heap->pools[position / 512 / 8] >> position / 512 % 8 & 1)
        return;
    if (heap_check_object(heap, edge->target) == HEAP_NONE)
        return;
    heap->late[position / 64] |= UINT64_C(1) << position % 64;
    push(heap, position);
}

static void follow_object(struct heap *heap, uint64_t object, struct heap_visitor *visitor)
{
    uint64_t type_at = heap_image_u64(heap->image, object + heap->layout.object.type);
    uint32_t type = heap_type_at(heap, type_at);
    struct heap_edge edge = {.kind = HEAP_EDGE_TYPE, .target = type_at};

    if (type == HEAP_NONE)
        return;
    if (!heap->work_left && !heap->report.cut) {
        heap->report.cut = true;
        heap->items_max = ITEMS_WHEN_CUT;
    }
    follow(visitor, &edge, false);
    heap_read_object(heap, object, type, visitor);
}

static void follow_stack(struct heap *heap, struct heap_visitor *visitor)
{
    while (heap->stack_count)
        follow_object(heap, heap_image_address(heap->image, heap->stack[--heap->stack_count]), visitor);
}

static void follow_root(void *context, const struct heap_root *root)
{
    struct heap_visitor *visitor = context;
    struct heap_edge edge = {.target = root->target};

    follow(visitor, &edge, true);
}

/* The objects of a range, by rising address. */
static void follow_range(struct heap *heap, const struct heap_range *range, struct heap_visitor *visitor)
{
    for (uint64_t word = range->local / 512; word < (range->local + range->size) / 512; word++)
        for (uint64_t bits = heap->bits[word]; bits; bits &= bits - 1) {
            uint64_t local = (word * 64 + (uint64_t)__builtin_ctzll(bits)) * 8;
            follow_object(heap, range->start + (local - range->local), visitor);
            follow_stack(heap, visitor);
        }
}

static void close_over(struct heap *heap)
{
    struct heap_visitor visitor = {follow, heap};

    for (size_t i = 0; i < heap->image->count && !heap->out_of_memory; i++)
        follow_range(heap, &heap->image->ranges[i], &visitor);
    heap_read_roots(heap, follow_root, &visitor);
    follow_stack(heap, &visitor);
    for (uint64_t word = 0; word < heap->bit_words; word++)
        heap->bits[word] |= heap->late[word];
}

/* ----------------------------------------------------------------- nodes */

static void fill_node(struct heap *heap, uint32_t number, uint64_t address)
{
    const unsigned char *bytes = heap_image_get(heap->image, address, heap->layout.object.size);
    struct heap_refcount refcount = heap_read_refcount(heap, bytes);
    uint64_t type_at;

    memcpy(&type_at, bytes + heap->layout.object.type, sizeof(type_at));
    uint32_t type = heap_type_at(heap, type_at);
    uint64_t size = heap_size_of(heap, address, &heap->types[type]);

    heap->addresses[number] = address;
    heap->node_types[number] = type;
    heap->refcounts[number] = refcount.count;
    heap->sizes[number] = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    heap->flags[number] = HEAP_GENERATION_NONE | (refcount.immortal ? NODE_IMMORTAL : 0);
    heap->report.bytes += size;
}

static void fill_range(struct heap *heap, const struct heap_range *range, uint32_t *number)
{
    for (uint64_t word = range->local / 512; word < (range->local + range->size) / 512; word++)
        for (uint64_t bits = heap->bits[word]; bits; bits &= bits - 1) {
            uint64_t local = (word * 64 + (uint64_t)__builtin_ctzll(bits)) * 8;
            fill_node(heap, (*number)++, range->start + (local - range->local));
        }
}

static struct error *number_nodes(struct heap *heap)
{
    uint32_t number = 0;

    free(heap->late);
    heap->late = NULL;
    heap->rank = malloc((heap->bit_words + 1) * sizeof(*heap->rank));
    if (!heap->rank)
        return out_of_memory();
    for (uint64_t word = 0; word < heap->bit_words; word++) {
        heap->rank[word] = heap->count;
        heap->count += (uint32_t)__builtin_popcountll(heap->bits[word]);
    }
    heap->addresses = malloc((heap->count + 1) * sizeof(*heap->addresses));
    heap->sizes = malloc((heap->count + 1) * sizeof(*heap->sizes));
    heap->node_types = malloc((heap->count + 1) * sizeof(*heap->node_types));
    heap->refcounts = malloc((heap->count + 1) * sizeof(*heap->refcounts));
    heap->flags = malloc(heap->count + 1);
    if (!heap->addresses || !heap->sizes || !heap->node_types || !heap->refcounts || !heap->flags)
        return out_of_memory();
    for (size_t i = 0; i < heap->image->count; i++)
        fill_range(heap, &heap->image->ranges[i], &number);
    heap->report.objects = heap->count;
    return NULL;
}

/* ------------------------------------------------------------------ heap */

static struct error *take_memory(struct heap *heap)
{
    heap->bit_words = heap->image->size / 512 + 1;
    heap->work_left = heap->image->size / 8 * WORK_PER_WORD + WORK_LEAST;
    heap->steps_left = heap->image->size / 8;
    heap->items_max = UINT32_MAX;
    heap->bits = calloc(heap->bit_words, sizeof(*heap->bits));
    heap->late = calloc(heap->bit_words, sizeof(*heap->late));
    heap->pools = calloc(heap->image->size / 4096 / 8 + 1, 1);
    return heap->bits && heap->late && heap->pools ? NULL : out_of_memory();
}

static struct error *enumerate(struct heap *heap)
{
    heap_read_collecting(heap);
    heap->report.allocator = "malloc";
    for (size_t i = 0; i < sizeof(allocators) / sizeof(allocators[0]); i++) {
        uint64_t before = heap->report.pools;
        struct error *error = allocators[i]->enumerate(heap);
        if (error)
            return error;
        /* A handful of pools is what start-up leaves when PYTHONMALLOC chose another. */
        if (heap->report.pools > before + 8)
            heap->report.allocator = allocators[i]->name;
    }
    return heap_add_tracked(heap);
}

static struct error *build(struct heap *heap)
{
    struct error *error = heap_layout_find(&heap->runtime->layout, heap->runtime->free_threaded, &heap->layout);

    if (!error)
        error = take_memory(heap);
    if (!error)
        error = heap_read_interpreters(heap);
    if (!error)
        error = heap_types_init(heap);
    if (!error)
        error = enumerate(heap);
    if (error)
        return error;
    close_over(heap);
    error = heap->out_of_memory ? out_of_memory() : number_nodes(heap);
    heap->report.missing_bytes = heap->image->missing;
    return error;
}

struct error *heap_create(struct heap **created, const struct runtime *runtime, const struct memory *memory,
                          struct heap_image *image)
{
    struct heap *heap = calloc(1, sizeof(*heap));

    *created = NULL;
    if (!heap)
        return out_of_memory();
    heap->runtime = runtime;
    heap->memory = memory;
    heap->image = image;
    struct error *error = build(heap);
    if (error) {
        heap_destroy(heap);
        return error_context(error, "can't read the heap");
    }
    *created = heap;
    return NULL;
}

void heap_destroy(struct heap *heap)
{
    if (!heap)
        return;
    heap_types_deinit(heap);
    free(heap->interpreters);
    free(heap->bits);
    free(heap->late);
    free(heap->pools);
    free(heap->rank);
    free(heap->addresses);
    free(heap->sizes);
    free(heap->node_types);
    free(heap->refcounts);
    free(heap->flags);
    free(heap->stack);
    free(heap);
}

const struct heap_report *heap_get_report(const struct heap *heap)
{
    return &heap->report;
}

uint32_t heap_count(const struct heap *heap)
{
    return heap->count;
}

struct heap_node heap_get_node(const struct heap *heap, uint32_t number)
{
    uint32_t type = heap->node_types[number];
    uint64_t size = heap->sizes[number];

    if (size == UINT32_MAX) /* too much for the array */
        size = heap_size_of((struct heap *)heap, heap->addresses[number], &heap->types[type]);
    return (struct heap_node){
        .address = heap->addresses[number],
        .type = type,
        .size = size,
        .refcount = heap->refcounts[number],
        .immortal = heap->flags[number] & NODE_IMMORTAL,
        .generation = heap->flags[number] & NODE_GENERATION,
    };
}

uint32_t heap_find(const struct heap *heap, uint64_t address)
{
    uint32_t position = heap_image_position(heap->image, address);

    if (position == HEAP_NO_POSITION || !heap_has(heap, position))
        return HEAP_NONE;
    uint64_t below = heap->bits[position / 64] & ((UINT64_C(1) << position % 64) - 1);
    return heap->rank[position / 64] + (uint32_t)__builtin_popcountll(below);
}

/* ----------------------------------------------------------------- edges */

struct edge_call {
    struct heap *heap;
    heap_edge_fn *fn;
    void *context;
};

static void pass_on(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked)
{
    struct edge_call *call = visitor->context;
    uint32_t position = heap_image_position(call->heap->image, edge->target);

    (void)checked;
    if (position != HEAP_NO_POSITION && heap_has(call->heap, position))
        call->fn(call->context, edge);
}

void heap_visit_edges(struct heap *heap, uint32_t number, heap_edge_fn *fn, void *context)
{
    struct edge_call call = {heap, fn, context};
    struct heap_visitor visitor = {pass_on, &call};

    heap_read_object(heap, heap->addresses[number], heap->node_types[number], &visitor);
}
