/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CPython's own allocator of small blocks: arenas, cut into pools, cut into
 * blocks of one size.
 *
 *   pool (4 or 16 KiB, aligned)
 *   |header 48|block|block|block|...|block| never used yet |
 *             ^ in use, or in the list that begins at freeblock
 *                                         ^ nextoffset
 *
 * Pools are found by their headers: all of its fields depend on one another, so
 * that nothing else looks like one. Where the list of arenas is found too, a pool
 * must lie in the arena that its header names.
 *
 * A block in use holds an object when at the place that the object's own type
 * asks for (behind the collector's head, and the words for managed dicts) there is
 * one that fits the block. With debug hooks a block begins with its size and a
 * mark.
 *
 *   |size, big-endian 8|'o' 1|0xfd 7|object or head|0xfd 8|
 */
#include <stdlib.h>

#include "runtime/heap/pymalloc.h"

#define PAGE           4096u
#define POOLS_PER_STEP 1024u
#define HOOK           16u /* bytes of the debug hooks before a block's data */

/* --------------------------------------------------------------- arenas */

static bool is_arena_list(struct heap *heap, const struct pymalloc_list *list)
{
    uint32_t live = 0;

    if (list->count < 1 || list->count > PYMALLOC_ARENAS_MAX || list->objects % 8 ||
        !heap_image_get(heap->image, list->objects, (uint64_t)list->count * PYMALLOC_ARENA_OBJECT))
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        uint64_t address = heap_image_u64(heap->image, list->objects + (uint64_t)i * PYMALLOC_ARENA_OBJECT);
        if (!address)
            continue;
        if (address % PAGE)
            return false;
        live++;
    }
    return live > 0;
}

static bool read_arena_list(struct heap *heap, uint64_t arenas, uint64_t maxarenas, struct pymalloc_list *list)
{
    list->objects = heap_image_u64(heap->image, arenas);
    list->count = heap_image_u32(heap->image, maxarenas);
    return list->objects && is_arena_list(heap, list);
}

/* Up to 3.11: static variables, which have names unless the file was stripped. */
static bool find_arenas_by_symbol(struct heap *heap, struct pymalloc_list *list)
{
    struct image_range arenas, maxarenas;

    return heap->runtime->image && image_find_symbol(heap->runtime->image, "arenas", &arenas) &&
           image_find_symbol(heap->runtime->image, "maxarenas", &maxarenas) &&
           read_arena_list(heap, arenas.start.value, maxarenas.start.value, list);
}

static bool find_arenas_at(struct heap *heap, uint64_t state, struct pymalloc_list *list)
{
    const struct heap_layout *layout = &heap->layout;

    if (layout->obmalloc.indirect)
        state = heap_image_u64(heap->image, state);
    return state && read_arena_list(heap, state + layout->obmalloc.arenas, state + layout->obmalloc.maxarenas, list);
}

/* 3.12+: in the interpreter, at the table's place or (another patch level or build kind) near it. */
static bool find_arenas_in(struct heap *heap, uint64_t interpreter, struct pymalloc_list *list)
{
    uint64_t place = interpreter + heap->layout.interpreter.obmalloc;

    for (uint64_t off = 0; off <= 512; off += 8)
        if (find_arenas_at(heap, place + off, list) || find_arenas_at(heap, place - off, list))
            return true;
    return false;
}

struct error *pymalloc_find_lists(struct pymalloc *work)
{
    struct heap *heap = work->heap;

    work->lists = calloc(heap->interpreter_count + 1, sizeof(*work->lists));
    if (!work->lists)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the list of arenas");
    if (heap->layout.interpreter.obmalloc == OFF_NONE) {
        work->list_count = find_arenas_by_symbol(heap, &work->lists[0]);
        return NULL;
    }
    for (size_t i = 0; i < heap->interpreter_count; i++)
        if (find_arenas_in(heap, heap->interpreters[i].address, &work->lists[work->list_count]))
            work->list_count++;
    return NULL;
}

static bool lies_in_arena(const struct pymalloc *work, uint64_t pool, uint32_t arena)
{
    for (size_t i = 0; i < work->list_count; i++) {
        const struct pymalloc_list *list = &work->lists[i];
        if (arena >= list->count)
            continue;
        uint64_t start = heap_image_u64(work->heap->image, list->objects + (uint64_t)arena * PYMALLOC_ARENA_OBJECT);
        if (start && pool - start < work->heap->layout.obmalloc.arena_size)
            return true;
    }
    return work->list_count == 0 && arena < PYMALLOC_ARENAS_MAX;
}

/* ---------------------------------------------------------------- pools */

bool pymalloc_is_pool(const struct pymalloc *work, uint64_t address, const struct pymalloc_header *header)
{
    uint32_t pool_size = work->heap->layout.obmalloc.pool_size;
    uint32_t size = (header->size_class + 1) * PYMALLOC_ALIGNMENT;

    if (header->size_class >= PYMALLOC_CLASSES || header->max_next_offset != pool_size - size || !header->used)
        return false;
    if (header->next_offset < PYMALLOC_HEADER + size || header->next_offset > pool_size ||
        (header->next_offset - PYMALLOC_HEADER) % size || header->used > (header->next_offset - PYMALLOC_HEADER) / size)
        return false;
    return (!header->freeblock || header->freeblock - address < pool_size) &&
           lies_in_arena(work, address, header->arena);
}

uint32_t pymalloc_mark_free(const unsigned char *pool, uint64_t address, const struct pymalloc_header *header,
                            bool *is_free)
{
    uint32_t size = (header->size_class + 1) * PYMALLOC_ALIGNMENT;
    uint32_t blocks = (header->next_offset - PYMALLOC_HEADER) / size, count = 0;

    memset(is_free, 0, blocks * sizeof(*is_free));
    for (uint64_t at = header->freeblock; at; count++) {
        uint64_t offset = at - address;
        if (offset < PYMALLOC_HEADER || offset >= header->next_offset || (offset - PYMALLOC_HEADER) % size || count >= blocks ||
            is_free[(offset - PYMALLOC_HEADER) / size])
            return UINT32_MAX;
        is_free[(offset - PYMALLOC_HEADER) / size] = true;
        memcpy(&at, pool + offset, sizeof(at));
    }
    return count;
}

/* The debug hooks' mark: where the data begins, and how much of it there is. False when the block has none. */
static bool read_hook(const unsigned char *block, uint32_t size, uint64_t *data_size)
{
    static const unsigned char mark[7] = {0xfd, 0xfd, 0xfd, 0xfd, 0xfd, 0xfd, 0xfd};
    uint64_t value = 0;

    if (size < 2 * HOOK || memcmp(block + 9, mark, sizeof(mark)) != 0 ||
        (block[8] != 'o' && block[8] != 'm' && block[8] != 'r'))
        return false;
    for (int i = 0; i < 8; i++)
        value = value << 8 | block[i];
    *data_size = value;
    return value <= size - HOOK;
}

/* Adds the object in a block's data, if there is one. */
static void add_from_block(struct heap *heap, const unsigned char *data, uint64_t address, uint64_t size)
{
    for (uint64_t prefix = 0; prefix <= 32 && prefix + 16 <= size; prefix += 16) {
        const unsigned char *bytes = data + prefix;
        uint64_t type;
        /* A link or a head before the object is no refcount: most are told by that. */
        if (!heap_read_refcount(heap, bytes).alive)
            continue;
        memcpy(&type, bytes + heap->layout.object.type, sizeof(type));
        uint32_t number = heap_type_at(heap, type);
        if (number == HEAP_NONE || heap->types[number].prefix != prefix ||
            !heap_check_body(heap, address + prefix, bytes, number, size - prefix))
            continue;
        heap_found(heap, address + prefix, bytes, number);
        return;
    }
}

static void read_pool(struct heap *heap, const unsigned char *pool, uint64_t address, const struct pymalloc_header *header)
{
    bool is_free[PYMALLOC_BLOCKS_MAX];
    uint32_t size = (header->size_class + 1) * PYMALLOC_ALIGNMENT;
    uint32_t blocks = (header->next_offset - PYMALLOC_HEADER) / size;
    uint32_t free_count = pymalloc_mark_free(pool, address, header, is_free);

    if (free_count == UINT32_MAX || free_count + header->used != blocks)
        heap->report.torn_pools++;
    for (uint32_t i = 0; i < blocks; i++) {
        uint64_t offset = PYMALLOC_HEADER + (uint64_t)i * size, data = size;
        if (is_free[i])
            continue;
        if (read_hook(pool + offset, size, &data))
            add_from_block(heap, pool + offset + HOOK, address + offset + HOOK, data);
        else
            add_from_block(heap, pool + offset, address + offset, size);
    }
}

static void mark_pool(struct heap *heap, uint64_t local)
{
    for (uint64_t at = local / PAGE; at < (local + heap->layout.obmalloc.pool_size) / PAGE; at++)
        heap->pools[at / 8] |= (uint8_t)(1u << at % 8);
}

/* The whole pools that a range may have: from *first on, so many. */
static uint64_t count_pools(const struct heap *heap, const struct heap_range *range, uint64_t *first)
{
    uint64_t pool_size = heap->layout.obmalloc.pool_size, end = range->start + range->size;

    *first = (range->start + pool_size - 1) & ~(pool_size - 1);
    return *first < end ? (end - *first) / pool_size : 0;
}

static void find_in_range(struct pymalloc *work, const struct heap_range *range)
{
    struct heap *heap = work->heap;
    uint64_t at, count = count_pools(heap, range, &at);
    struct pymalloc_header header;

    for (; count; count--, at += heap->layout.obmalloc.pool_size) {
        uint64_t local = range->local + (at - range->start);
        memcpy(&header, heap->image->bytes + local, sizeof(header));
        if (!pymalloc_is_pool(work, at, &header))
            continue;
        mark_pool(heap, local);
        heap->report.pools++;
        heap->blocks_most += (header.next_offset - PYMALLOC_HEADER) / ((header.size_class + 1) * PYMALLOC_ALIGNMENT);
    }
}

static struct error *find_pymalloc(struct heap *heap)
{
    struct pymalloc work = {.heap = heap};
    struct error *error = pymalloc_find_lists(&work);

    for (size_t i = 0; i < heap->image->count && !error; i++)
        find_in_range(&work, &heap->image->ranges[i]);
    free(work.lists);
    return error;
}

static void read_range(struct heap *heap, const struct heap_range *range)
{
    uint64_t at, count = count_pools(heap, range, &at);
    struct pymalloc_header header;

    for (; count && !heap->out_of_memory; count--, at += heap->layout.obmalloc.pool_size) {
        uint64_t local = range->local + (at - range->start);
        if (!(heap->pools[local / PAGE / 8] >> local / PAGE % 8 & 1))
            continue;
        if (count % POOLS_PER_STEP == 0 && !heap_step(heap, "reading objects", local, heap->image->size))
            return;
        memcpy(&header, heap->image->bytes + local, sizeof(header));
        read_pool(heap, heap->image->bytes + local, at, &header);
    }
}

static void enumerate_pymalloc(struct heap *heap)
{
    for (size_t i = 0; i < heap->image->count && !heap->stopped; i++)
        read_range(heap, &heap->image->ranges[i]);
}

const struct heap_allocator heap_pymalloc = {"pymalloc", find_pymalloc, enumerate_pymalloc};
