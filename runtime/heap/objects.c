/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is an object, and the set of those that were found: one bit per position.
 * An object has a type that is one, a reference count that a live object can
 * have, and all of its bytes in readable memory.
 */
#include <stdlib.h>

#include "runtime/heap/internal.h"

#define ITEMS_MAX (INT64_C(1) << 40)

static int64_t load_i64(const unsigned char *from)
{
    int64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static uint64_t int_digits(struct heap *heap, uint64_t object)
{
    if (heap->layout.integer.tag == OFF_NONE) {
        int64_t size = (int64_t)heap_image_u64(heap->image, object + heap->layout.object.ob_size);
        return size < 0 ? -(uint64_t)size : (uint64_t)size;
    }
    return heap_image_u64(heap->image, object + heap->layout.integer.tag) >> 3;
}

/* 3.11+: a generator's or frame's items are the frame's variables and value stack; it has no ob_size. */
static uint64_t frame_items(struct heap *heap, uint64_t frame)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t code = heap_image_u64(heap->image, frame + layout->iframe.code) & ~UINT64_C(3);

    return (uint64_t)heap_image_u32(heap->image, code + layout->code.nlocalsplus) +
           heap_image_u32(heap->image, code + layout->code.stacksize);
}

uint64_t heap_item_count(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    if (!type->itemsize)
        return 0;
    if (type->kind == KIND_INT)
        return int_digits(heap, object);
    if (heap->layout.generator.iframe != OFF_NONE && type->kind == KIND_GENERATOR)
        return frame_items(heap, object + heap->layout.generator.iframe);
    if (heap->layout.frame.frame != OFF_NONE && type->kind == KIND_FRAME)
        return frame_items(heap, heap_image_u64(heap->image, object + heap->layout.frame.frame));
    int64_t size = (int64_t)heap_image_u64(heap->image, object + heap->layout.object.ob_size);
    return size < 0 ? -(uint64_t)size : (uint64_t)size;
}

/* A compact str: head and text in one. */
static uint64_t str_extent(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;
    uint32_t state = heap_image_u32(heap->image, object + layout->unicode.state);
    uint64_t length = heap_image_u64(heap->image, object + layout->unicode.length);
    uint32_t kind = state >> heap->runtime->layout.unicode.kind_bit & 7;

    if (length > (uint64_t)ITEMS_MAX)
        return UINT64_MAX;
    if (!(state >> heap->runtime->layout.unicode.compact_bit & 1))
        return (uint64_t)type->basicsize;
    if (state >> heap->runtime->layout.unicode.ascii_bit & 1)
        return layout->unicode.ascii_size + length + 1;
    return layout->unicode.compact_size + (length + 1) * (kind ? kind : 1);
}

uint64_t heap_extent(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    if (type->kind == KIND_STR)
        return str_extent(heap, object, type);
    if (type->kind == KIND_TYPE && !(heap_image_u64(heap->image, object + heap->layout.type.flags) & TYPE_HEAPTYPE))
        return heap->layout.type.size; /* a static one */
    if (type->kind == KIND_GENERATOR || (type->kind == KIND_FRAME && heap->layout.frame.frame != OFF_NONE))
        return (uint64_t)type->basicsize;
    uint64_t items = heap_item_count(heap, object, type);
    if (items > (uint64_t)ITEMS_MAX)
        return UINT64_MAX;
    return (uint64_t)type->basicsize + items * (uint64_t)type->itemsize;
}

/* A free list links its objects through their first word: it then leads to what looks like an object.
 * A list's block of items that begins with an object and a type is told from an object by the same. */
static bool is_link(struct heap *heap, const unsigned char *object)
{
    uint64_t word = (uint64_t)load_i64(object + heap->layout.object.refcount);

    if (word < 4096 || word % 8 || !heap_image_get(heap->image, word, 16))
        return false;
    return heap_type_at(heap, heap_image_u64(heap->image, word + heap->layout.object.type)) != HEAP_NONE;
}

/* The collector's head before a tracked object is a link of its list, before another one 0 but for two flags. */
static bool is_head_sane(struct heap *heap, uint64_t object)
{
    uint64_t head = object - 16;
    uint64_t next = heap_image_u64(heap->image, head) & ~UINT64_C(3);

    if (heap->report.collecting)
        return true;
    if (!next)
        return !(heap_image_u64(heap->image, head + 8) & ~UINT64_C(3));
    return (heap_image_u64(heap->image, next + 8) & ~UINT64_C(3)) == head;
}

bool heap_is_collected(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    return type->flags & TYPE_HAVE_GC &&
           (type->kind != KIND_TYPE || heap_image_u64(heap->image, object + heap->layout.type.flags) & TYPE_HEAPTYPE);
}

bool heap_check_body(struct heap *heap, uint64_t address, const unsigned char *bytes, uint32_t type, uint64_t room)
{
    if (is_link(heap, bytes))
        return false;
    bool is_gc = heap->types[type].flags & TYPE_HAVE_GC && heap->types[type].kind != KIND_TYPE;
    if (is_gc && !is_head_sane(heap, address))
        return false;
    uint64_t extent = heap_extent(heap, address, &heap->types[type]);
    return extent <= room && heap_image_get(heap->image, address, extent);
}

uint32_t heap_check_object(struct heap *heap, uint64_t address)
{
    const unsigned char *bytes = address % 8 ? NULL : heap_image_get(heap->image, address, heap->layout.object.size);

    if (!bytes || !heap_read_refcount(heap, bytes).alive)
        return HEAP_NONE;
    uint64_t type_at = (uint64_t)load_i64(bytes + heap->layout.object.type);
    uint32_t number = heap_type_at(heap, type_at);
    return number != HEAP_NONE && heap_check_body(heap, address, bytes, number, UINT64_MAX) ? number : HEAP_NONE;
}
