/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What strings and numbers are: read only when it is asked for. */
#include <inttypes.h>
#include <stdio.h>

#include "runtime/heap/internal.h"

#define DIGIT_BITS 30 /* of an int; 15 in builds that nobody makes any more */
#define BYTES_DATA 16 /* from ob_size: ob_size, ob_shash */

static enum heap_value_kind read_text(struct heap *heap, uint64_t object, char *text, size_t room, size_t *size, bool *cut)
{
    struct heap_text from;

    if (!heap_find_text(heap, object, &from))
        return HEAP_VALUE_NONE;
    uint64_t i = 0;
    for (*size = 0; i < from.length && *size + 4 <= room; i++)
        *size += heap_put_utf8(text + *size, heap_text_code(heap, &from, i));
    *cut = i < from.length;
    return HEAP_VALUE_STR;
}

static bool is_negative(struct heap *heap, uint64_t object)
{
    if (heap->layout.integer.tag != OFF_NONE)
        return (heap_image_u64(heap->image, object + heap->layout.integer.tag) & 3) == 2;
    return (int64_t)heap_image_u64(heap->image, object + heap->layout.object.ob_size) < 0;
}

/* Bits from `from` on, of digits that are the lowest first. */
static unsigned hex_digit(struct heap *heap, uint64_t digits, uint64_t count, uint64_t from)
{
    uint64_t value = heap_image_u32(heap->image, digits + from / DIGIT_BITS * 4);

    if (from / DIGIT_BITS + 1 < count)
        value |= (uint64_t)heap_image_u32(heap->image, digits + (from / DIGIT_BITS + 1) * 4) << DIGIT_BITS;
    return (unsigned)(value >> from % DIGIT_BITS & 15);
}

static enum heap_value_kind read_int(struct heap *heap, uint64_t object, uint64_t count, char *text, size_t room,
                                     size_t *size, bool *cut)
{
    uint64_t digits = object + heap->layout.integer.digits;
    const char *sign = is_negative(heap, object) ? "-" : "";
    bool leading = true;

    if (count <= 2) {
        uint64_t low = count > 0 ? heap_image_u32(heap->image, digits) : 0;
        uint64_t high = count > 1 ? heap_image_u32(heap->image, digits + 4) : 0;
        *size = (size_t)snprintf(text, room, "%s%" PRIu64, sign, low | high << DIGIT_BITS);
        return HEAP_VALUE_INT;
    }
    *size = (size_t)snprintf(text, room, "%s0x", sign);
    uint64_t nibbles = (count * DIGIT_BITS + 3) / 4;
    for (; nibbles && *size < room; nibbles--) {
        unsigned digit = hex_digit(heap, digits, count, (nibbles - 1) * 4);
        leading = leading && !digit;
        if (!leading)
            text[(*size)++] = "0123456789abcdef"[digit];
    }
    *cut = nibbles > 0;
    return HEAP_VALUE_INT;
}

static enum heap_value_kind read_float(struct heap *heap, uint64_t object, char *text, size_t room, size_t *size)
{
    uint64_t bits = heap_image_u64(heap->image, object + heap->layout.object.size);
    double value;

    memcpy(&value, &bits, sizeof(value));
    *size = (size_t)snprintf(text, room, "%.17g", value);
    return HEAP_VALUE_FLOAT;
}

static enum heap_value_kind read_bytes(struct heap *heap, uint64_t object, char *text, size_t room, size_t *size, bool *cut)
{
    uint64_t at = object + heap->layout.object.ob_size;
    uint64_t length = heap_image_u64(heap->image, at);
    uint64_t part = length < room ? length : room;
    const unsigned char *bytes = heap_image_get(heap->image, at + BYTES_DATA, part);

    if (!bytes)
        return HEAP_VALUE_NONE;
    memcpy(text, bytes, part);
    *size = part;
    *cut = part < length;
    return HEAP_VALUE_BYTES;
}

enum heap_value_kind heap_read_value(struct heap *heap, uint32_t number, char *text, size_t room, size_t *size, bool *cut)
{
    const struct heap_type *type = &heap->types[heap->node_types[number]];
    uint64_t object = heap->addresses[number];

    *cut = false;
    if (!type->known || room < 64)
        return HEAP_VALUE_NONE;
    if (type->kind == KIND_STR)
        return read_text(heap, object, text, room, size, cut);
    if (type->kind == KIND_INT)
        return read_int(heap, object, heap_item_count(heap, object, type), text, room, size, cut);
    if (!strcmp(type->known->name, "float"))
        return read_float(heap, object, text, room, size);
    if (!strcmp(type->known->name, "bytes"))
        return read_bytes(heap, object, text, room, size, cut);
    return HEAP_VALUE_NONE;
}
