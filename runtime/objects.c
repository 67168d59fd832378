/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/objects.h"

#include <string.h>

#include "attach/scope.h"

/* A str is read in pieces of this size. */
#define PIECE 1024
/* Longer strings are nonsense where we read them; a sane bound on ob_size. */
#define STR_LENGTH_MAX (UINT64_C(1) << 40)

static const struct memory *runtime_memory(const struct runtime *runtime)
{
    return &runtime->process->memory;
}

bool object_has_type(const struct runtime *runtime, struct address object, const char *name)
{
    const struct layout *layout = &runtime->layout;
    struct address type, text;
    char buffer[32];
    struct error *error;

    if (!object.value || object.value % 8)
        return false;
    error = memory_read_address(runtime_memory(runtime), address_add(object, layout->object.ob_type), &type);
    if (!error)
        error = memory_read_address(runtime_memory(runtime), address_add(type, layout->type.tp_name), &text);
    if (!error)
        error = memory_read_string(runtime_memory(runtime), text, buffer, sizeof(buffer));
    bool same = !error && !strcmp(buffer, name);
    error_destroy(error);
    return same;
}

/* ------------------------------------------------------------------- str */

/* Appends a code point as UTF-8; false when it doesn't fit whole. */
static bool append_utf8(char *buffer, size_t size, size_t *length, uint32_t point)
{
    unsigned char bytes[4];
    size_t count;

    if (!point || (point >= 0xd800 && point <= 0xdfff) || point > 0x10ffff)
        point = '?';
    if (point < 0x80) {
        bytes[0] = (unsigned char)point;
        count = 1;
    } else if (point < 0x800) {
        bytes[0] = (unsigned char)(0xc0 | point >> 6);
        bytes[1] = (unsigned char)(0x80 | (point & 63));
        count = 2;
    } else if (point < 0x10000) {
        bytes[0] = (unsigned char)(0xe0 | point >> 12);
        bytes[1] = (unsigned char)(0x80 | (point >> 6 & 63));
        bytes[2] = (unsigned char)(0x80 | (point & 63));
        count = 3;
    } else {
        bytes[0] = (unsigned char)(0xf0 | point >> 18);
        bytes[1] = (unsigned char)(0x80 | (point >> 12 & 63));
        bytes[2] = (unsigned char)(0x80 | (point >> 6 & 63));
        bytes[3] = (unsigned char)(0x80 | (point & 63));
        count = 4;
    }
    if (*length + count + 1 > size)
        return false;
    memcpy(buffer + *length, bytes, count);
    *length += count;
    return true;
}

static uint32_t load_point(const unsigned char *bytes, unsigned kind)
{
    uint16_t two;
    uint32_t four;

    if (kind == 1)
        return *bytes;
    if (kind == 2) {
        memcpy(&two, bytes, sizeof(two));
        return two;
    }
    memcpy(&four, bytes, sizeof(four));
    return four;
}

/* Reads `length` code points of `kind` bytes each, as many as fit. */
static struct error *read_points(const struct memory *memory, struct address text, uint64_t length, unsigned kind,
                                 char *buffer, size_t size)
{
    unsigned char piece[PIECE];
    size_t written = 0;

    buffer[0] = '\0';
    for (uint64_t done = 0; done < length;) {
        size_t count = length - done < PIECE / kind ? (size_t)(length - done) : PIECE / kind;
        struct error *error = memory_read(memory, address_add(text, done * kind), piece, count * kind);

        if (error)
            return error;
        for (size_t i = 0; i < count; i++) {
            bool fits = append_utf8(buffer, size, &written, load_point(piece + i * kind, kind));
            buffer[written] = '\0';
            if (!fits)
                return NULL;
        }
        done += count;
    }
    return NULL;
}

struct error *object_read_str(const struct runtime *runtime, struct address object, char *buffer, size_t size)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = runtime_memory(runtime);
    uint64_t length;
    uint32_t state;
    struct error *error;

    if (!object_has_type(runtime, object, "str"))
        return error_create(ERROR_BUSY, "the process is changing; try again", "no str at %#llx",
                            (unsigned long long)object.value);
    if ((error = memory_read_u64(memory, address_add(object, layout->unicode.length), &length)) ||
        (error = memory_read_u32(memory, address_add(object, layout->unicode.state), &state)))
        return error;
    unsigned kind = state >> layout->unicode.kind_bit & 7;
    bool compact = state >> layout->unicode.compact_bit & 1;
    bool ascii = state >> layout->unicode.ascii_bit & 1;
    if (!compact || (kind != 1 && kind != 2 && kind != 4) || length > STR_LENGTH_MAX)
        return error_create(ERROR_BUSY, "the process is changing; try again", "the str at %#llx makes no sense",
                            (unsigned long long)object.value);
    uint32_t head = ascii ? layout->unicode.ascii_size : layout->unicode.compact_size;
    return read_points(memory, address_add(object, head), length, kind, buffer, size);
}

/* ----------------------------------------------------------------- bytes */

struct error *object_read_bytes(const struct runtime *runtime, struct address object, size_t limit, uint8_t **bytes,
                                size_t *size)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = runtime_memory(runtime);
    scoped_free uint8_t *buffer = NULL;
    uint64_t length;
    struct error *error;

    if (!object_has_type(runtime, object, "bytes"))
        return error_create(ERROR_BUSY, "the process is changing; try again", "no bytes object at %#llx",
                            (unsigned long long)object.value);
    if ((error = memory_read_u64(memory, address_add(object, layout->bytes.ob_size), &length)))
        return error;
    if (length > limit)
        return error_create(ERROR_BUSY, "the process is changing; try again",
                            "the bytes object at %#llx has %llu bytes, more than %zu", (unsigned long long)object.value,
                            (unsigned long long)length, limit);
    if (!(buffer = malloc(length + 1)))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for %llu bytes", (unsigned long long)length);
    if ((error = memory_read(memory, address_add(object, layout->bytes.ob_sval), buffer, length)))
        return error;
    *size = (size_t)length;
    *bytes = scope_take_pointer(&buffer);
    return NULL;
}
