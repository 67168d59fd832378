/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names for people: of types, and of edges. A type's module is in its __dict__
 * (heap types) or in tp_name before the last dot (static ones).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/heap/internal.h"
#include "runtime/objects.h"

#define TEXT_MAX 256

static bool is_str(struct heap *heap, uint64_t object)
{
    uint32_t type = object ? heap_check_object(heap, object) : HEAP_NONE;

    return type != HEAP_NONE && heap->types[type].kind == KIND_STR;
}

bool heap_find_text(struct heap *heap, uint64_t object, struct heap_text *text)
{
    const struct layout *layout = &heap->runtime->layout;

    if (!is_str(heap, object))
        return false;
    uint32_t state = heap_image_u32(heap->image, object + layout->unicode.state);
    bool ascii = state >> layout->unicode.ascii_bit & 1;

    text->length = heap_image_u64(heap->image, object + layout->unicode.length);
    text->kind = state >> layout->unicode.kind_bit & 7;
    text->start = object + (ascii ? layout->unicode.ascii_size : layout->unicode.compact_size);
    return (state >> layout->unicode.compact_bit & 1) && (text->kind == 1 || text->kind == 2 || text->kind == 4);
}

uint32_t heap_text_code(struct heap *heap, const struct heap_text *text, uint64_t index)
{
    uint64_t at = text->start + index * text->kind;

    if (text->kind == 4)
        return heap_image_u32(heap->image, at);
    if (text->kind == 2)
        return heap_image_u8(heap->image, at) | (uint32_t)heap_image_u8(heap->image, at + 1) << 8;
    return heap_image_u8(heap->image, at);
}

bool heap_read_name(struct heap *heap, uint64_t object, char *text, size_t size)
{
    struct heap_text from;
    size_t used = 0;

    text[0] = '\0';
    if (!heap_find_text(heap, object, &from))
        return false;
    for (uint64_t i = 0; i < from.length && used + 5 < size; i++) {
        uint32_t code = heap_text_code(heap, &from, i);
        used += heap_put_utf8(text + used, code < ' ' || code == 127 ? '?' : code);
    }
    text[used] = '\0';
    return true;
}

size_t heap_put_utf8(char *to, uint32_t code)
{
    unsigned char *out = (unsigned char *)to;

    if ((code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
        code = '?';
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xc0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xe0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 63));
        out[2] = (unsigned char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 63));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 63));
    out[3] = (unsigned char)(0x80 | (code & 63));
    return 4;
}

/* ---------------------------------------------------------------- types */

uint32_t heap_type_count(const struct heap *heap)
{
    return heap->type_count;
}

/* The value of a key of a type's __dict__; 0 where there is none. */
static uint64_t dict_value(struct heap *heap, uint64_t dict, const char *wanted)
{
    struct heap_dict_keys keys;
    char text[TEXT_MAX];

    if (!heap_read_dict_keys(heap, heap_image_u64(heap->image, dict + heap->layout.dict.keys), &keys))
        return 0;
    for (uint64_t i = 0; i < keys.count; i++) {
        uint64_t entry = keys.entries + i * keys.stride;
        if (heap_read_name(heap, heap_image_u64(heap->image, entry + keys.key), text, sizeof(text)) && !strcmp(text, wanted))
            return heap_image_u64(heap->image, entry + keys.value);
    }
    return 0;
}

static void name_heap_type(struct heap *heap, const struct heap_type *type, char *module, char *name, size_t size)
{
    uint64_t dict = heap_image_u64(heap->image, type->address + heap->layout.type.dict);

    if (dict)
        heap_read_name(heap, dict_value(heap, dict, "__module__"), module, size);
    heap_read_name(heap, heap_image_u64(heap->image, type->address + heap->layout.type.ht_qualname), name, size);
}

/* "collections.deque", "dict". */
static void name_from_tp_name(const struct heap_type *type, char *module, char *name, size_t size)
{
    const char *dot = strrchr(type->name, '.');

    if (!*name)
        snprintf(name, size, "%s", dot ? dot + 1 : type->name);
    if (!*module)
        snprintf(module, size, "%.*s", dot ? (int)(dot - type->name) : 8, dot ? type->name : "builtins");
}

static void name_type(struct heap *heap, struct heap_type *type)
{
    char module[TEXT_MAX] = "", name[TEXT_MAX] = "", full[2 * TEXT_MAX + 2];

    if (type->flags & TYPE_HEAPTYPE)
        name_heap_type(heap, type, module, name, sizeof(name));
    name_from_tp_name(type, module, name, sizeof(name));
    snprintf(full, sizeof(full), "%s%s%s", strcmp(module, "builtins") ? module : "",
             strcmp(module, "builtins") ? "." : "", name);
    type->module = strdup(module);
    type->full = strdup(full);
}

struct heap_type_info heap_get_type(struct heap *heap, uint32_t number)
{
    struct heap_type *type = &heap->types[number];

    if (!type->full)
        name_type(heap, type);
    return (struct heap_type_info){type->address, heap_find(heap, type->address), type->full ? type->full : type->name,
                                   type->module ? type->module : ""};
}

/* ---------------------------------------------------------------- edges */

static bool format_int(struct heap *heap, uint64_t object, char *text, size_t size)
{
    uint32_t number = heap_find(heap, object);
    char value[TEXT_MAX];
    size_t length;
    bool cut;

    if (number == HEAP_NONE || heap_read_value(heap, number, value, sizeof(value), &length, &cut) != HEAP_VALUE_INT || cut)
        return false;
    snprintf(text, size, "%.*s", (int)length, value);
    return true;
}

void heap_format_key(struct heap *heap, uint64_t object, char *text, size_t size)
{
    char value[TEXT_MAX];
    uint32_t type = heap_check_object(heap, object);

    if (type == HEAP_NONE)
        snprintf(text, size, "?");
    else if (heap_read_name(heap, object, value, sizeof(value)))
        snprintf(text, size, "'%s'", value);
    else if (heap->types[type].kind == KIND_INT && format_int(heap, object, text, size))
        return;
    else
        snprintf(text, size, "<%s at 0x%" PRIx64 ">", heap_get_type(heap, type).name, object);
}

void heap_format_edge(struct heap *heap, const struct heap_edge *edge, char *text, size_t size)
{
    char key[TEXT_MAX + 8] = "";

    switch (edge->kind) {
    case HEAP_EDGE_TYPE:
        snprintf(text, size, ".__class__");
        break;
    case HEAP_EDGE_FIELD:
    case HEAP_EDGE_SLOT:
        snprintf(text, size, ".%s", edge->label);
        break;
    case HEAP_EDGE_WORD:
        snprintf(text, size, "+%" PRIu64, edge->number);
        break;
    case HEAP_EDGE_INDEX:
        snprintf(text, size, "[%" PRIu64 "]", edge->number);
        break;
    case HEAP_EDGE_ELEMENT:
        snprintf(text, size, "{element}");
        break;
    case HEAP_EDGE_KEY:
        snprintf(text, size, "{key}");
        break;
    case HEAP_EDGE_VALUE:
        heap_format_key(heap, edge->name, key, sizeof(key));
        snprintf(text, size, "[%s]", key);
        break;
    case HEAP_EDGE_ATTRIBUTE:
    case HEAP_EDGE_LOCAL:
        if (!heap_read_name(heap, edge->name, key, sizeof(key)))
            snprintf(key, sizeof(key), "%" PRIu64, edge->number);
        snprintf(text, size, edge->kind == HEAP_EDGE_LOCAL ? " local %s" : ".%s", key);
        break;
    case HEAP_EDGE_STACK:
        snprintf(text, size, " stack %" PRIu64, edge->number);
        break;
    case HEAP_EDGE_STATE:
        snprintf(text, size, " state+%" PRIu64, edge->number);
        break;
    }
}
