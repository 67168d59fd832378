/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The list of arenas is where pymalloc.c finds it. In a program without symbols (up to 3.11) it is a static variable
 * without a name: the one word of the program's variables that leads to a list by which every known pool lies
 * in the arena that its head names.
 */
#include "runtime/heap/arenas.h"

#include <stdlib.h>

#include "attach/scope.h"
#include "runtime/heap/pymalloc.h"

#define PAGE        4096u
#define SAMPLES     64u
#define FIRST_COUNT 16u /* arenas that the list has room for at first: it doubles */

/* ---------------------------------------------------- a list without a name */

struct sample {
    uint64_t address;
    uint32_t arena;
};

/* Some of the pools that were found. */
static size_t take_samples(struct heap *heap, struct sample *samples)
{
    uint64_t pool_size = heap->layout.obmalloc.pool_size;
    size_t count = 0;

    for (size_t i = 0; i < heap->image->count && count < SAMPLES; i++) {
        const struct heap_range *range = &heap->image->ranges[i];

        for (uint64_t at = (range->start + pool_size - 1) & ~(pool_size - 1);
             at + pool_size <= range->start + range->size && count < SAMPLES; at += pool_size) {
            uint64_t page = (range->local + (at - range->start)) / PAGE;
            if (heap->pools[page / 8] >> page % 8 & 1)
                samples[count++] = (struct sample){at, heap_image_u32(heap->image, at + offsetof(struct pymalloc_header, arena))};
        }
    }
    return count;
}

static bool explains(struct heap *heap, uint64_t objects, const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t arena = heap_image_u64(heap->image, objects + (uint64_t)samples[i].arena * PYMALLOC_ARENA_OBJECT);

        if (!arena || samples[i].address - arena >= heap->layout.obmalloc.arena_size)
            return false;
    }
    return true;
}

static bool search_variables(struct heap *heap, const struct sample *samples, size_t count, struct pymalloc_list *list)
{
    uint32_t highest = 0;

    for (size_t i = 0; i < count; i++)
        highest = samples[i].arena > highest ? samples[i].arena : highest;
    for (size_t i = 0; i < heap->image->count; i++) {
        const struct heap_range *range = &heap->image->ranges[i];
        for (uint64_t at = 0; range->statics && at + 12 <= range->size; at += 8) {
            const unsigned char *word = heap->image->bytes + range->local + at;
            memcpy(&list->objects, word, sizeof(list->objects));
            if (!list->objects || list->objects % 16 || !explains(heap, list->objects, samples, count))
                continue;
            list->count = FIRST_COUNT;
            while (list->count <= highest && list->count < PYMALLOC_ARENAS_MAX)
                list->count *= 2;
            return true;
        }
    }
    return false;
}

static bool find_unnamed(struct pymalloc *work)
{
    struct sample samples[SAMPLES];
    size_t count = take_samples(work->heap, samples);

    return count && search_variables(work->heap, samples, count, &work->lists[0]);
}

/* ---------------------------------------------------------------- arenas */

static int compare_arenas(const void *a, const void *b)
{
    uint64_t one = ((const struct heap_arena *)a)->address, other = ((const struct heap_arena *)b)->address;

    return one < other ? -1 : one > other;
}

/* Those of a list that there are. They lie in memory that was copied, or not at all. */
static void add_list(struct heap_arenas *arenas, struct heap *heap, const struct pymalloc_list *list)
{
    uint64_t size = heap->layout.obmalloc.arena_size, pool = heap->layout.obmalloc.pool_size;

    for (uint32_t i = 0; i < list->count; i++) {
        uint64_t address = heap_image_u64(heap->image, list->objects + (uint64_t)i * PYMALLOC_ARENA_OBJECT);

        if (!address || address % PAGE || address + size < address)
            continue;
        uint64_t first = (address + pool - 1) & ~(pool - 1);
        arenas->list[arenas->count++] = (struct heap_arena){
            .address = address, .size = size, .pools = (uint32_t)((address + size - first) / pool)};
    }
}

static void drop_overlaps(struct heap_arenas *arenas)
{
    size_t kept = 0;

    qsort(arenas->list, arenas->count, sizeof(*arenas->list), compare_arenas);
    for (size_t i = 0; i < arenas->count; i++) {
        if (kept && arenas->list[i].address - arenas->list[kept - 1].address < arenas->list[i].size)
            continue;
        arenas->list[kept++] = arenas->list[i];
    }
    arenas->count = kept;
}

static struct error *find_list(struct heap_arenas *arenas, struct pymalloc *work)
{
    size_t most = 0;
    struct error *error = pymalloc_find_lists(work);

    if (error)
        return error;
    if (!work->list_count && work->heap->report.pools)
        work->list_count = find_unnamed(work);
    for (size_t i = 0; i < work->list_count; i++)
        most += work->lists[i].count;
    arenas->list = calloc(most + 1, sizeof(*arenas->list));
    if (!arenas->list)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the list of arenas");
    for (size_t i = 0; i < work->list_count; i++)
        add_list(arenas, work->heap, &work->lists[i]);
    drop_overlaps(arenas);
    arenas->found = arenas->count > 0;
    return NULL;
}

/* ----------------------------------------------------------------- pools */

/* What a pool's pages hold; those that the copy hasn't are zeros. */
static void read_pages(struct heap *heap, uint64_t address, unsigned char *bytes)
{
    for (uint32_t at = 0; at < heap->layout.obmalloc.pool_size; at += PAGE) {
        const unsigned char *page = heap_image_get(heap->image, address + at, PAGE);

        if (page)
            memcpy(bytes + at, page, PAGE);
        else
            memset(bytes + at, 0, PAGE);
    }
}

/* Describes the pool whose bytes these are; false: there is none with blocks in use. */
static bool read_pool(const struct pymalloc *work, uint64_t address, const unsigned char *bytes, bool *is_free,
                      struct heap_pool *pool, bool *torn)
{
    struct pymalloc_header header;

    memcpy(&header, bytes, sizeof(header));
    *torn = header.used && header.arena < PYMALLOC_ARENAS_MAX && header.size_class < PYMALLOC_CLASSES;
    if (!pymalloc_is_pool(work, address, &header))
        return false;
    uint32_t block = (header.size_class + 1) * PYMALLOC_ALIGNMENT;
    *pool = (struct heap_pool){.address = address,
                               .size = work->heap->layout.obmalloc.pool_size,
                               .first = address + PYMALLOC_HEADER,
                               .block = block,
                               .used = header.used,
                               .carved = (header.next_offset - PYMALLOC_HEADER) / block,
                               .is_free = is_free};
    pool->blocks = (uint32_t)(pool->size - PYMALLOC_HEADER) / block;
    uint32_t free_count = pymalloc_mark_free(bytes, address, &header, is_free);
    *torn = free_count == UINT32_MAX || free_count + header.used != pool->carved;
    return true;
}

struct pool_walk {
    const struct pymalloc *work;
    const struct heap_arenas *arenas;
    heap_pool_fn *fn;
    void *context;
    uint64_t torn;
};

static void walk_arena(struct pool_walk *walk, size_t number)
{
    struct heap *heap = walk->work->heap;
    const struct heap_arena *arena = &walk->arenas->list[number];
    uint64_t size = heap->layout.obmalloc.pool_size, at = (arena->address + size - 1) & ~(size - 1);
    unsigned char bytes[PYMALLOC_POOL_MAX];
    bool is_free[PYMALLOC_BLOCKS_MAX];

    for (; at + size <= arena->address + arena->size; at += size) {
        struct heap_pool pool;
        bool torn;

        if (!heap_image_get(heap->image, at, PYMALLOC_HEADER))
            continue;
        read_pages(heap, at, bytes);
        if (read_pool(walk->work, at, bytes, is_free, &pool, &torn)) {
            pool.arena = number;
            walk->fn(walk->context, &pool);
        }
        walk->torn += torn;
    }
}

static void walk_arenas(struct pool_walk *walk)
{
    for (size_t i = 0; i < walk->arenas->count && walk->work->heap->layout.obmalloc.pool_size <= PYMALLOC_POOL_MAX; i++)
        walk_arena(walk, i);
}

static void count_pool(void *context, const struct heap_pool *pool)
{
    struct heap_arenas *arenas = context;
    struct heap_arena *arena = &arenas->list[pool->arena];
    struct heap_size_class *class = &arenas->classes[pool->block / PYMALLOC_ALIGNMENT - 1];

    class->pools++;
    class->used += pool->used;
    class->free += pool->blocks - pool->used;
    arena->free_pools--;
    arena->used += pool->used;
    arena->used_bytes += (uint64_t)pool->used * pool->block;
}

/* ---------------------------------------------------------------- public */

struct error *heap_arenas_read(struct heap_arenas *arenas, struct heap *heap)
{
    struct pymalloc work = {.heap = heap};

    *arenas = (struct heap_arenas){.count = 0};
    struct error *error = find_list(arenas, &work);
    for (size_t i = 0; i < HEAP_SIZE_CLASSES; i++)
        arenas->classes[i].block = (i + 1) * HEAP_CLASS_STEP;
    for (size_t i = 0; i < arenas->count; i++)
        arenas->list[i].free_pools = arenas->list[i].pools;
    if (!error) {
        struct pool_walk walk = {&work, arenas, count_pool, arenas, 0};
        walk_arenas(&walk);
        arenas->torn = walk.torn;
    }
    free(work.lists);
    return error;
}

void heap_arenas_deinit(struct heap_arenas *arenas)
{
    free(arenas->list);
    *arenas = (struct heap_arenas){.count = 0};
}

void heap_arenas_visit(const struct heap_arenas *arenas, struct heap *heap, heap_pool_fn *fn, void *context)
{
    const struct pymalloc work = {.heap = heap};
    struct pool_walk walk = {&work, arenas, fn, context, 0};

    walk_arenas(&walk);
}

size_t heap_arenas_find(const struct heap_arenas *arenas, uint64_t address)
{
    size_t low = 0, high = arenas->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct heap_arena *arena = &arenas->list[middle];

        if (address < arena->address)
            high = middle;
        else if (address - arena->address >= arena->size)
            low = middle + 1;
        else
            return middle;
    }
    return arenas->count;
}
