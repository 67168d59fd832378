/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The way to all objects: the blocks of the allocators that we know, and from each object in them the closure over
 * references and over the collector's lists, which finds what has a large block (malloc's) or none (statics).
 *
 *   find blocks     which pages hold them, by their headers alone
 *   walk blocks     each object becomes a node, and is followed at once: memory is read once.
 *                   A reference into such pages needs no look: the walk comes there, or was there
 *   walk the rest   lists, frames, threads, interpreters; and what references found in blocks that
 *                   isn't at a block's beginning
 *   put in order    nodes of the walk are by rising address; the others are put between them
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "runtime/heap/debug_layout.h"
#include "runtime/heap/internal.h"

static const struct heap_allocator *const allocators[] = {&heap_pymalloc};

/* A sound heap has fewer references than words; some are told of twice. Beyond that the target leads us in circles. */
#define WORK_PER_WORD   4
#define WORK_LEAST      (UINT64_C(1) << 20)
#define ITEMS_WHEN_CUT  64
#define PUSHED_PER_STEP 65536
#define LARGE_PAGE      (UINT64_C(1) << 21)

static struct error *out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, "give less of the heap with --max-memory", "out of memory for the heap's nodes");
}

/* ------------------------------------------------------------- services */

bool heap_step(struct heap *heap, const char *what, uint64_t done, uint64_t all)
{
    if (heap->progress && !heap->stopped)
        heap->stopped = heap->progress->step(heap->progress->context, what, done, all);
    return !heap->stopped;
}

void heap_retire(struct heap *heap, void *array)
{
    if (array)
        heap->retired[heap->retired_count++ % RETIRED_MAX] = array;
}

/* ----------------------------------------------------------------- nodes */

static bool grow(void *array, size_t count, size_t size)
{
    void *larger = realloc(*(void **)array, count * size);

    if (larger)
        *(void **)array = larger;
    return larger != NULL;
}

void heap_advise_large(void *array, size_t size)
{
    uintptr_t start = ((uintptr_t)array + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1);

    if (size >= 2 * LARGE_PAGE)
        (void)madvise((void *)start, size - LARGE_PAGE, MADV_HUGEPAGE);
}

/* Room for so many nodes. Memory that isn't used stays the system's. */
static bool reserve_nodes(struct heap *heap, uint64_t count)
{
    if (count >= HEAP_NONE || !grow(&heap->addresses, count + 1, sizeof(*heap->addresses)) ||
        !grow(&heap->sizes, count + 1, sizeof(*heap->sizes)) ||
        !grow(&heap->node_types, count + 1, sizeof(*heap->node_types)) ||
        !grow(&heap->refcounts, count + 1, sizeof(*heap->refcounts)) || !grow(&heap->flags, count + 1, 1))
        return false;
    heap_advise_large(heap->addresses, count * sizeof(*heap->addresses));
    heap_advise_large(heap->sizes, count * sizeof(*heap->sizes));
    heap_advise_large(heap->node_types, count * sizeof(*heap->node_types));
    heap_advise_large(heap->refcounts, count * sizeof(*heap->refcounts));
    heap->room = (uint32_t)count;
    return true;
}

static bool is_tracked(struct heap *heap, uint64_t address, uint32_t type)
{
    return heap_is_collected(heap, address, &heap->types[type]) &&
           heap_image_u64(heap->image, address - 16) & ~UINT64_C(3);
}

static void fill_node(struct heap *heap, uint32_t number, uint64_t address, const unsigned char *bytes, uint32_t type)
{
    struct heap_refcount refcount = heap_read_refcount(heap, bytes);
    uint64_t size = heap_size_of(heap, address, &heap->types[type]);
    bool tracked = is_tracked(heap, address, type);

    heap->addresses[number] = address;
    heap->node_types[number] = type;
    heap->refcounts[number] = refcount.count;
    heap->sizes[number] = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    heap->flags[number] = HEAP_GENERATION_NONE | (refcount.immortal ? NODE_IMMORTAL : 0) | (tracked ? NODE_TRACKED : 0);
    heap->report.bytes += size;
    heap->report.tracked += tracked;
}

static void move_node(struct heap *heap, uint32_t to, uint32_t from)
{
    heap->addresses[to] = heap->addresses[from];
    heap->node_types[to] = heap->node_types[from];
    heap->refcounts[to] = heap->refcounts[from];
    heap->sizes[to] = heap->sizes[from];
    heap->flags[to] = heap->flags[from];
}

/* --------------------------------------------------------------- closure */

static bool has_bit(const uint64_t *bits, uint32_t position)
{
    return bits[position / 64] >> position % 64 & 1;
}

static void set_bit(uint64_t *bits, uint32_t position)
{
    bits[position / 64] |= UINT64_C(1) << position % 64;
}

static void push(struct heap *heap, uint32_t position)
{
    if (heap->stack_count == heap->stack_room) {
        size_t room = heap->stack_room ? heap->stack_room * 2 : 4096;
        if (!grow(&heap->stack, room, sizeof(*heap->stack))) {
            heap->out_of_memory = true;
            return;
        }
        heap->stack_room = room;
    }
    heap->stack[heap->stack_count++] = position;
}

/* An object that no walk over blocks comes by, if it is one. */
static void add_late(struct heap *heap, uint64_t address, uint32_t position)
{
    if (heap_check_object(heap, address) == HEAP_NONE)
        return;
    set_bit(heap->late, position);
    push(heap, position);
}

/* Is a target an object that nothing had found? What lies in a block is the walk's, unless a reader is sure of it.
 * Most calls end at the bits of pages, which fit a cache: those of objects don't. */
static void follow_position(struct heap *heap, uint64_t target, uint32_t position, bool checked)
{
    if (heap->pools[position / 512 / 8] >> position / 512 % 8 & 1) {
        if (checked)
            return;
        if (!heap->blocks_read) {
            set_bit(heap->pending, position);
            return;
        }
    }
    if (!heap_has(heap, position) && !has_bit(heap->late, position))
        add_late(heap, target, position);
}

static void follow(struct heap *heap, uint64_t target, bool checked)
{
    uint32_t position = heap_image_position(heap->image, target);

    heap->work_left -= heap->work_left > 0;
    if (position != HEAP_NO_POSITION)
        follow_position(heap, target, position, checked);
}

static void follow_edge(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked)
{
    follow(visitor->context, edge->target, checked);
}

static void keep_edge(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked)
{
    struct heap *heap = visitor->context;
    uint32_t position = heap_image_position(heap->image, edge->target);

    heap->work_left -= heap->work_left > 0;
    if (position == HEAP_NO_POSITION)
        return;
    heap_kept_add(heap, position, edge->counted);
    follow_position(heap, edge->target, position, checked);
}

static void follow_sure(struct heap *heap, uint64_t object)
{
    follow(heap, object, false);
}

/* Its neighbours in the collector's list. Those in blocks have their heads where the walk looks for them. */
static void follow_links(struct heap *heap, uint64_t object)
{
    uint64_t next = heap_image_u64(heap->image, object - 16) & ~UINT64_C(3);

    if (!next)
        return;
    follow(heap, next + 16, true);
    if (!heap->report.collecting) /* which keeps counts there */
        follow(heap, (heap_image_u64(heap->image, object - 8) & ~UINT64_C(3)) + 16, true);
}

static void follow_object(struct heap *heap, uint64_t object, uint32_t type)
{
    struct heap_visitor visitor = {heap->kept.words ? keep_edge : follow_edge, heap};

    if (!heap->work_left && !heap->report.cut) {
        heap->report.cut = true;
        heap->items_max = ITEMS_WHEN_CUT;
    }
    if (!(heap->types[type].flags & TYPE_HEAPTYPE)) /* else a reference that is counted */
        follow(heap, heap->types[type].address, false);
    if (heap_is_collected(heap, object, &heap->types[type]))
        follow_links(heap, object);
    if (heap->kept.words)
        heap_kept_begin(heap, heap_image_position(heap->image, object));
    heap_read_object(heap, object, type, &visitor);
    if (heap->kept.words)
        heap_kept_end(heap);
}

static void follow_stack(struct heap *heap)
{
    uint64_t words = heap->image->size / 8, steps = 0;

    while (heap->stack_count && !heap->out_of_memory) {
        uint64_t object = heap_image_address(heap->image, heap->stack[--heap->stack_count]);
        uint32_t type = heap_type_at(heap, heap_image_u64(heap->image, object + heap->layout.object.type));
        if (type != HEAP_NONE)
            follow_object(heap, object, type);
        if (++steps % PUSHED_PER_STEP == 0) {
            uint64_t done = words * WORK_PER_WORD + WORK_LEAST - heap->work_left;
            if (!heap_step(heap, "following references", done < words ? done : words, words))
                return;
        }
    }
}

void heap_found(struct heap *heap, uint64_t address, const unsigned char *bytes, uint32_t type)
{
    if (heap->count == heap->room) /* more than the headers said */
        return;
    set_bit(heap->bits, (uint32_t)((uint64_t)(bytes - heap->image->bytes) / 8));
    fill_node(heap, heap->count++, address, bytes, type);
    follow_object(heap, address, type);
    follow_stack(heap);
}

static void follow_root(void *context, const struct heap_root *root)
{
    follow(context, root->target, true);
}

/* What references named in blocks' pages and the walk didn't find there. */
static void follow_pending(struct heap *heap)
{
    heap->blocks_read = true;
    for (uint64_t word = 0; word < heap->bit_words; word++)
        for (uint64_t bits = heap->pending[word] & ~heap->bits[word]; bits; bits &= bits - 1) {
            uint32_t position = (uint32_t)(word * 64 + (uint64_t)__builtin_ctzll(bits));
            follow(heap, heap_image_address(heap->image, position), false);
            follow_stack(heap);
        }
    free(heap->pending);
    heap->pending = NULL;
}

static void close_over(struct heap *heap)
{
    heap_visit_lists(heap, follow_sure);
    heap_read_roots(heap, follow_root, heap);
    follow_stack(heap);
    follow_pending(heap);
}

/* ----------------------------------------------------------------- order */

static void fill_late(struct heap *heap, uint32_t number, uint64_t address)
{
    const unsigned char *bytes = heap_image_get(heap->image, address, heap->layout.object.size);
    uint64_t type;

    memcpy(&type, bytes + heap->layout.object.type, sizeof(type));
    fill_node(heap, number, address, bytes, heap_type_at(heap, type));
}

/* Puts the late ones where they belong, from the last node on. */
static void merge_late(struct heap *heap, uint32_t late)
{
    uint32_t from = heap->count, to = from + late;
    size_t range = heap->image->count - 1;

    heap->count = to;
    for (uint64_t word = heap->bit_words; word-- > 0 && from < to;) {
        for (uint64_t bits = heap->bits[word] | heap->late[word]; bits;) {
            unsigned bit = 63 - (unsigned)__builtin_clzll(bits);
            uint64_t local = (word * 64 + bit) * 8;
            bits &= ~(UINT64_C(1) << bit);
            while (heap->image->ranges[range].local > local)
                range--;
            if (heap->late[word] >> bit & 1)
                fill_late(heap, --to, heap->image->ranges[range].start + (local - heap->image->ranges[range].local));
            else
                move_node(heap, --to, --from);
        }
    }
}

static struct error *number_nodes(struct heap *heap)
{
    uint32_t number = 0, late = 0;

    for (uint64_t word = 0; word < heap->bit_words; word++) {
        heap->late[word] &= ~heap->bits[word];
        late += (uint32_t)__builtin_popcountll(heap->late[word]);
    }
    heap->rank = malloc((heap->bit_words + 1) * sizeof(*heap->rank));
    if (!heap->rank || !reserve_nodes(heap, (uint64_t)heap->count + late))
        return out_of_memory();
    merge_late(heap, late);
    for (uint64_t word = 0; word < heap->bit_words; word++) {
        heap->bits[word] |= heap->late[word];
        heap->rank[word] = number;
        number += (uint32_t)__builtin_popcountll(heap->bits[word]);
    }
    free(heap->late);
    heap->late = NULL;
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
    heap->pending = calloc(heap->bit_words, sizeof(*heap->pending));
    heap->pools = calloc(heap->image->size / 4096 / 8 + 1, 1);
    return heap->bits && heap->late && heap->pending && heap->pools ? NULL : out_of_memory();
}

static struct error *enumerate(struct heap *heap)
{
    const size_t count = sizeof(allocators) / sizeof(allocators[0]);

    heap->report.allocator = "malloc";
    for (size_t i = 0; i < count; i++) {
        uint64_t before = heap->report.pools;
        struct error *error = allocators[i]->find(heap);
        if (error)
            return error;
        /* A handful of pools is what start-up leaves when PYTHONMALLOC chose another. */
        if (heap->report.pools > before + 8)
            heap->report.allocator = allocators[i]->name;
    }
    if (!reserve_nodes(heap, heap->blocks_most))
        return out_of_memory();
    for (size_t i = 0; i < count; i++)
        allocators[i]->enumerate(heap);
    return NULL;
}

/* What the table says; what the build's debug information says where there is none, or where the runtime had to be read by
 * that already. */
static struct error *find_layout(const struct runtime *runtime, struct heap_layout *layout)
{
    struct error *error = NULL, *told;

    if (!runtime->by_debug_info && !(error = heap_layout_find(runtime, layout)))
        return NULL;
    told = heap_debug_layout_find(runtime, layout);
    if (!told || !error) {
        error_destroy(error);
        return told;
    }
    error = error_with_hint(error, "%s", error_hint(told) ? error_hint(told) : error_message(told));
    error_destroy(told);
    return error;
}

/* Does the layout fit? Where types aren't found, nothing is. */
static struct error *find_types(struct heap *heap)
{
    struct error *error = heap_read_interpreters(heap);

    if (!error)
        error = heap_types_init(heap);
    heap->misfit = error && error_code(error) == ERROR_UNSUPPORTED;
    return error;
}

static struct error *build(struct heap *heap)
{
    struct error *error = take_memory(heap);

    if (!error)
        error = find_types(heap);
    if (!error)
        error = heap_check_lists(heap);
    if (!error && heap->keeps)
        heap_kept_init(heap);
    if (!error)
        error = enumerate(heap);
    if (!error && !heap->stopped)
        close_over(heap);
    if (!error && !heap->stopped)
        error = heap->out_of_memory ? out_of_memory() : number_nodes(heap);
    heap->report.missing_bytes = heap->image->missing;
    return error;
}

/* By a layout, which becomes the heap's; `misfit`: another may do better. */
static struct error *create_by(struct heap **created, const struct heap *parts, struct heap_layout *layout, bool *misfit)
{
    struct heap *heap = calloc(1, sizeof(*heap));

    *misfit = false;
    if (!heap) {
        heap_layout_deinit(layout);
        return out_of_memory();
    }
    *heap = *parts;
    heap->layout = *layout;
    struct error *error = build(heap);
    if (heap->stopped) { /* which is what it ended with */
        error_destroy(error);
        error = heap->stopped;
        heap_destroy(heap);
        return error;
    }
    if (error) {
        *misfit = heap->misfit;
        heap_destroy(heap);
        return error_context(error, "can't read the heap");
    }
    heap->progress = NULL; /* it was for this call */
    *created = heap;
    return NULL;
}

/* Again, by the debug information; `error` is that of the table, which it returns where there is none. */
static struct error *create_again(struct heap **created, const struct heap *parts, struct error *error)
{
    struct heap_layout layout;
    bool misfit;
    struct error *told = heap_debug_layout_find(parts->runtime, &layout);

    if (!told)
        told = create_by(created, parts, &layout, &misfit);
    error_destroy(*created ? error : told);
    return *created ? NULL : error;
}

struct error *heap_create(struct heap **created, const struct runtime *runtime, const struct memory *memory,
                          struct heap_image *image, bool references, const struct heap_progress *progress)
{
    const struct heap parts = {
        .runtime = runtime, .memory = memory, .image = image, .keeps = references, .progress = progress};
    struct heap_layout layout;
    bool misfit;
    struct error *error = find_layout(runtime, &layout);

    *created = NULL;
    if (error)
        return error_context(error, "can't read the heap");
    error = create_by(created, &parts, &layout, &misfit);
    return misfit && !runtime->by_debug_info ? create_again(created, &parts, error) : error;
}

struct error *heap_check_supported(const struct runtime *runtime)
{
    struct heap_layout layout = {.own_names = NULL};
    struct error *error = find_layout(runtime, &layout);

    heap_layout_deinit(&layout);
    return error;
}

void heap_use_memory(struct heap *heap, const struct memory *memory)
{
    heap->memory = memory;
}

void heap_destroy(struct heap *heap)
{
    if (!heap)
        return;
    heap_types_deinit(heap);
    heap_layout_deinit(&heap->layout);
    free(heap->interpreters);
    free(heap->bits);
    free(heap->late);
    free(heap->pending);
    free(heap->pools);
    free(heap->rank);
    free(heap->addresses);
    free(heap->sizes);
    free(heap->node_types);
    free(heap->refcounts);
    free(heap->flags);
    free(heap->stack);
    heap_kept_deinit(heap);
    for (size_t i = 0; i < RETIRED_MAX; i++)
        free(heap->retired[i]);
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
        .tracked = heap->flags[number] & NODE_TRACKED,
        .generation = heap->flags[number] & NODE_GENERATION,
    };
}

uint32_t heap_find(const struct heap *heap, uint64_t address)
{
    uint32_t position = heap_image_position(heap->image, address);

    return position == HEAP_NO_POSITION ? HEAP_NONE : heap_number_at(heap, position);
}

const uint32_t *heap_node_types(const struct heap *heap)
{
    return heap->node_types;
}

void heap_read_sizes(const struct heap *heap, uint64_t *sizes)
{
    for (uint32_t i = 0; i < heap->count; i++)
        sizes[i] = heap->sizes[i] < UINT32_MAX ? heap->sizes[i] : heap_get_node(heap, i).size;
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

struct target_call {
    struct heap *heap;
    heap_target_fn *fn;
    void *context;
};

static void pass_target(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked)
{
    struct target_call *call = visitor->context;
    uint32_t target = heap_find(call->heap, edge->target);

    (void)checked;
    if (target != HEAP_NONE)
        call->fn(call->context, target, edge->counted);
}

void heap_visit_targets(struct heap *heap, uint32_t number, heap_target_fn *fn, void *context)
{
    struct target_call call = {heap, fn, context};
    struct heap_visitor visitor = {pass_target, &call};

    heap_read_object(heap, heap->addresses[number], heap->node_types[number], &visitor);
}

void heap_visit_edges(struct heap *heap, uint32_t number, heap_edge_fn *fn, void *context)
{
    struct edge_call call = {heap, fn, context};
    struct heap_visitor visitor = {pass_on, &call};

    heap_read_object(heap, heap->addresses[number], heap->node_types[number], &visitor);
}
