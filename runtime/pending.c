/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * 3.13+, struct _pending_calls:          3.12:
 *   +0    handling_thread                  +0    busy 0 or 1
 *   +8    mutex       byte, 0 to 3         +8    lock, a pointer
 *   +12   npending    0 to max             +16   calls_to_do 0 or 1
 *   +16   max         32: the mark         +20   async_exc 0 or 1
 *   +20   maxloop     0                    +24   calls[32] {func, arg}
 *   +24   calls[300] {func, arg, flags}    +536  first, last: 0 to 31
 *   +7224 first, next: 0 to 299
 * An interpreter's own queue has max 300 and maxloop 100: no confusion.
 */
#include "runtime/pending.h"

#include <string.h>

#define MAX_OF_MAIN   32
#define NEIGHBOURHOOD 1024
#define USER_END      (UINT64_C(1) << 47)

static uint32_t load_u32(const unsigned char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t load_u64(const unsigned char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static bool is_pointer_or_null(uint64_t value)
{
    return value < USER_END;
}

/* Every waiting entry has a function, and their number is npending. */
static bool check_entries(const struct layout *layout, const unsigned char *queue)
{
    uint32_t first = load_u32(queue + layout->pending.first);
    uint32_t last = load_u32(queue + layout->pending.last);
    uint32_t used = layout->pending.max == OFF_NONE ? layout->pending.capacity : MAX_OF_MAIN;

    if (first >= layout->pending.capacity || last >= layout->pending.capacity)
        return false;
    for (uint32_t i = first, steps = 0; i != last; i = (i + 1) % layout->pending.capacity, steps++) {
        uint64_t func = load_u64(queue + layout->pending.calls + (size_t)i * layout->pending.entry_size);

        if (steps > used || !func || !is_pointer_or_null(func))
            return false;
    }
    return true;
}

static bool looks_like_queue(const struct layout *layout, const unsigned char *queue)
{
    uint32_t to_do = load_u32(queue + layout->pending.calls_to_do);

    if (layout->pending.max != OFF_NONE)
        return load_u32(queue + layout->pending.max) == MAX_OF_MAIN && load_u32(queue + layout->pending.max + 4) == 0 &&
               queue[layout->pending.mutex] <= 3 && to_do <= MAX_OF_MAIN && is_pointer_or_null(load_u64(queue)) &&
               check_entries(layout, queue);
    uint64_t lock = load_u64(queue + layout->pending.lock);
    return load_u32(queue) <= 1 && lock >= 4096 && lock % 8 == 0 && is_pointer_or_null(lock) && to_do <= 1 &&
           load_u32(queue + layout->pending.calls_to_do + 4) <= 1 && check_entries(layout, queue);
}

static uint32_t search_range(const struct layout *layout, const unsigned char *bytes, size_t from, size_t to)
{
    uint32_t found = OFF_NONE;

    for (size_t at = from; at <= to; at += 8) {
        if (!looks_like_queue(layout, bytes + at))
            continue;
        if (found != OFF_NONE)
            return OFF_NONE;
        found = (uint32_t)at;
    }
    return found;
}

uint32_t pending_search(const struct layout *layout, const void *bytes, size_t size)
{
    size_t queue_size = layout->pending.last + 4;
    uint32_t place = layout->runtime.pending;

    if (size < queue_size)
        return OFF_NONE;
    size_t last = size - queue_size;
    if (layout->pending.max != OFF_NONE)
        return search_range(layout, bytes, (layout->runtime.finalizing + 7u) & ~7u, last);
    if (place == OFF_NONE)
        return OFF_NONE;
    if (place <= last && looks_like_queue(layout, (const unsigned char *)bytes + place))
        return place;
    size_t from = place > NEIGHBOURHOOD ? place - NEIGHBOURHOOD : 0;
    return search_range(layout, bytes, from, place + NEIGHBOURHOOD < last ? place + NEIGHBOURHOOD : last);
}
