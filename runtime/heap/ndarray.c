/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * numpy.ndarray, of numpy 1 and 2: its items are in a block of its own, and may be
 * references, of which the collector is not told.
 */
#include "runtime/heap/internal.h"

/* PyArrayObject_fields, and PyArray_Descr.type_num, which both have in the same place. */
#define ARRAY_DATA       16u
#define ARRAY_DIMENSIONS 24u /* int */
#define ARRAY_SHAPE      32u
#define ARRAY_STRIDES    40u
#define ARRAY_DTYPE      56u
#define ARRAY_FLAGS      64u /* int */
#define DTYPE_NUMBER     28u /* int */
#define DIMENSIONS_MAX   64u
#define C_CONTIGUOUS     1u
#define F_CONTIGUOUS     2u
#define OWNS_DATA        4u
#define NUMBER_OBJECT    17u
#define ITEMS_MAX        (UINT64_C(1) << 40)

bool heap_read_ndarray(struct heap *heap, uint64_t object, struct heap_ndarray *array)
{
    uint32_t flags = heap_image_u32(heap->image, object + ARRAY_FLAGS);
    uint64_t shape = heap_image_u64(heap->image, object + ARRAY_SHAPE);
    uint64_t strides = heap_image_u64(heap->image, object + ARRAY_STRIDES);
    uint64_t dtype = heap_image_u64(heap->image, object + ARRAY_DTYPE);

    *array = (struct heap_ndarray){.data = heap_image_u64(heap->image, object + ARRAY_DATA)};
    array->dimensions = heap_image_u32(heap->image, object + ARRAY_DIMENSIONS);
    if (array->dimensions > DIMENSIONS_MAX)
        return false;
    if (!array->dimensions || !(flags & OWNS_DATA) || !(flags & (C_CONTIGUOUS | F_CONTIGUOUS)))
        return true;
    array->items = 1;
    for (uint32_t i = 0; i < array->dimensions && array->items < ITEMS_MAX; i++)
        array->items *= heap_image_u64(heap->image, shape + i * 8);
    /* The step of the dimension that varies fastest is an item's size. */
    uint32_t fastest = flags & C_CONTIGUOUS ? array->dimensions - 1 : 0;
    array->itemsize = heap_image_u64(heap->image, strides + fastest * 8);
    array->of_objects = heap_image_u32(heap->image, dtype + DTYPE_NUMBER) == NUMBER_OBJECT && array->itemsize == 8;
    return array->items < ITEMS_MAX && array->itemsize < ITEMS_MAX;
}

uint64_t heap_size_of_ndarray(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    struct heap_ndarray array;
    uint64_t size = (uint64_t)type->basicsize;

    if (heap_read_ndarray(heap, object, &array))
        size += (uint64_t)array.dimensions * 16 + array.items * array.itemsize;
    return size;
}
