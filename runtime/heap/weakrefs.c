/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whom a weak reference watches. It is no reference of its object, so not among the edges. */
#include "runtime/heap/internal.h"

bool heap_is_weakref_type(struct heap *heap, uint32_t number)
{
    const struct heap_known_type *known = heap->types[number].known;

    return known && (!strncmp(known->name, "weakref", 7) || !strncmp(known->name, "weakproxy", 9) ||
                     !strncmp(known->name, "weakcallableproxy", 17));
}

uint32_t heap_read_watched(struct heap *heap, uint32_t number)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t callback = heap_image_u64(heap->image, heap->addresses[number] + layout->weakref.callback);

    if (!callback)
        return HEAP_NONE;
    return heap_find(heap, heap_image_u64(heap->image, heap->addresses[number] + layout->weakref.object));
}
