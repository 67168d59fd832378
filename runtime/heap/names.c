/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names for people: of types, and of edges. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/heap/internal.h"

uint32_t heap_type_count(const struct heap *heap)
{
    return heap->type_count;
}

struct heap_type_info heap_get_type(struct heap *heap, uint32_t number)
{
    const struct heap_type *type = &heap->types[number];

    return (struct heap_type_info){type->address, heap_find(heap, type->address), type->name, ""};
}
