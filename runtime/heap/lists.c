/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The collector's lists: rings of heads, each right before its object.
 *
 *   generation: |next|prev|        object: |next|prev|refcount|type|...
 *
 * Where they are is believed only when the ring links both ways; where the table is
 * off, the four heads side by side are searched for nearby.
 */
#include <stdlib.h>

#include "runtime/heap/internal.h"

#define GENERATIONS      4 /* 0, 1, 2, permanent */
#define HEAD             16u
#define INTERPRETERS_MAX 1024
#define SEARCH           1024u
#define POINTER          (~UINT64_C(3))

struct error *heap_read_interpreters(struct heap *heap)
{
    const struct layout *layout = &heap->runtime->layout;
    uint64_t at = heap_image_u64(heap->image, heap->runtime->address.value + layout->runtime.interpreters_head);

    heap->interpreters = calloc(INTERPRETERS_MAX, sizeof(*heap->interpreters));
    if (!heap->interpreters)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the list of interpreters");
    for (; at && heap->interpreter_count < INTERPRETERS_MAX; heap->interpreter_count++) {
        heap->interpreters[heap->interpreter_count].address = at;
        at = heap_image_u64(heap->image, at + layout->interpreter.next);
    }
    if (!heap->interpreter_count)
        return error_create(ERROR_UNSUPPORTED, NULL, "no interpreter is in the memory that was read");
    return NULL;
}

static bool is_head(struct heap *heap, uint64_t head)
{
    uint64_t next = heap_image_u64(heap->image, head), previous = heap_image_u64(heap->image, head + 8);

    return next && previous && next % 4 == 0 && (heap_image_u64(heap->image, next + 8) & POINTER) == (head & POINTER) &&
           (heap_image_u64(heap->image, previous & POINTER) & POINTER) == (head & POINTER);
}

static uint64_t head_of(const struct heap *heap, uint64_t first, unsigned generation)
{
    return first + (generation == HEAP_GENERATION_PERMANENT ? heap->layout.interpreter.permanent_after
                                                            : generation * heap->layout.interpreter.generation_stride);
}

/* Generations 0 to 2 are side by side; permanent_generation follows, with or without a pointer in between. */
static bool are_heads(struct heap *heap, uint64_t first)
{
    uint32_t stride = heap->layout.interpreter.generation_stride;

    if (!is_head(heap, first) || !is_head(heap, first + stride) || !is_head(heap, first + 2 * stride))
        return false;
    if (is_head(heap, first + heap->layout.interpreter.permanent_after))
        return true;
    for (uint32_t after = 3 * stride; after <= 4 * stride; after += 4)
        if (is_head(heap, first + after)) {
            heap->layout.interpreter.collecting += after - heap->layout.interpreter.permanent_after;
            heap->layout.interpreter.permanent_after = after;
            return true;
        }
    return false;
}

/* The lists of a process that runs change while they are copied, the youngest most: two that are sound will do, where
 * the table has them. */
static bool are_torn_heads(struct heap *heap, uint64_t first)
{
    unsigned sound = 0;

    for (unsigned g = 0; g < GENERATIONS; g++) {
        uint64_t head = head_of(heap, first, g);
        sound += is_head(heap, head);
        if (!heap_image_get(heap->image, heap_image_u64(heap->image, head) & POINTER, HEAD))
            return false;
    }
    return sound >= 2;
}

/* Generation 0's head for an interpreter; 0 where there is none. Heads may lie on any 4 bytes. */
static uint64_t find_heads(struct heap *heap, uint64_t interpreter)
{
    uint64_t base = heap->layout.minor == 8 ? heap->runtime->address.value : interpreter;
    uint64_t place = base + heap->layout.interpreter.generations;

    for (uint64_t off = 0; off <= SEARCH; off += 4) {
        if (are_heads(heap, place + off))
            return place + off;
        if (off && are_heads(heap, place - off))
            return place - off;
    }
    return are_torn_heads(heap, place) ? place : 0;
}

/* False: it is no object, and the list ends there. */
typedef bool tracked_fn(struct heap *heap, uint64_t object, unsigned generation);

/* Walks one list, over torn links too as long as they lead to objects; false when there were such. */
static bool walk_list(struct heap *heap, uint64_t head, unsigned generation, tracked_fn *fn)
{
    uint64_t previous = head;
    bool sound = true;

    for (uint64_t at = heap_image_u64(heap->image, head) & POINTER; at != head; heap->steps_left--) {
        const unsigned char *bytes = at % 8 ? NULL : heap_image_get(heap->image, at, HEAD + 8);
        uint64_t links[2];
        if (!heap->steps_left || !bytes)
            return false;
        memcpy(links, bytes, sizeof(links));
        if ((links[1] & POINTER) != (previous & POINTER))
            sound = false;
        if (!fn(heap, at + HEAD, generation))
            return false;
        previous = at;
        at = links[0] & POINTER;
        if (at == (head & POINTER))
            return sound;
    }
    return sound;
}

/* The lists of generations from `youngest` on; how many were broken. */
static uint64_t walk_all(struct heap *heap, unsigned youngest, tracked_fn *fn)
{
    uint64_t broken = 0;

    heap->steps_left = heap->image->size / 8;
    size_t count = heap->layout.minor == 8 ? 1 : heap->interpreter_count;

    for (size_t i = 0; i < count; i++) {
        uint64_t first = find_heads(heap, heap->interpreters[i].address);
        if (!first) {
            broken += GENERATIONS;
            continue;
        }
        for (unsigned g = youngest; g < GENERATIONS; g++)
            broken += !walk_list(heap, head_of(heap, first, g), g, fn);
    }
    return broken;
}

static bool mark_generation(struct heap *heap, uint64_t object, unsigned generation)
{
    uint32_t node = heap_find(heap, object);

    if (node == HEAP_NONE)
        return false;
    heap->flags[node] = (uint8_t)((heap->flags[node] & ~NODE_GENERATION) | generation);
    return true;
}

struct error *heap_check_lists(struct heap *heap)
{
    size_t found = 0;

    for (size_t i = 0; i < heap->interpreter_count; i++) {
        uint64_t first = find_heads(heap, heap->interpreters[i].address);
        uint32_t after = heap->layout.interpreter.collecting - heap->layout.interpreter.generations;
        if (first && heap_image_u32(heap->image, first + after) == 1)
            heap->report.collecting = true;
        found += first != 0;
    }
    if (!found && !heap->image->missing)
        return error_create(ERROR_UNSUPPORTED, "a build whose layout we don't know; please report it",
                            "the collector's lists are not where %s has them, nor near", heap->layout.origin);
    return NULL;
}

void heap_visit_lists(struct heap *heap, void (*fn)(struct heap *heap, uint64_t object))
{
    size_t count = heap->layout.minor == 8 ? 1 : heap->interpreter_count;

    for (size_t i = 0; i < count; i++) {
        uint64_t first = find_heads(heap, heap->interpreters[i].address);
        if (!first)
            heap->report.broken_lists += GENERATIONS;
        for (unsigned g = 0; first && g < GENERATIONS; g++) {
            uint64_t head = head_of(heap, first, g);
            fn(heap, (heap_image_u64(heap->image, head) & POINTER) + HEAD);
            fn(heap, (heap_image_u64(heap->image, head + 8) & POINTER) + HEAD);
        }
    }
}

void heap_read_generations(struct heap *heap)
{
    heap->report.broken_lists = walk_all(heap, 0, mark_generation);
}

void heap_read_permanent(struct heap *heap)
{
    (void)walk_all(heap, HEAP_GENERATION_PERMANENT, mark_generation);
}
