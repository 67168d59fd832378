/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/values.h"

#include <inttypes.h>
#include <string.h>

#define NAME_SIZE   256
#define SHOWN_ITEMS 5
#define SHOWN_TEXT  64
#define SHOWN_DEPTH 2
#define SHOWN_MAX   200
#define DIGIT_BITS  30
#define READ_MAX    256 /* as much of an object as is looked at before it is shown */

struct printing {
    struct object_reader *reader;
    FILE *to;
    bool contents;
    long begin;
};

static void print_object(const struct printing *printing, uint64_t object, unsigned depth);

static bool is_full(const struct printing *printing)
{
    return ftell(printing->to) - printing->begin >= SHOWN_MAX;
}

/* As repr() has it, control characters made visible; UTF-8 stays. */
static void print_quoted(FILE *to, const char *text, size_t size)
{
    putc('\'', to);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '\n')
            fputs("\\n", to);
        else if (c == '\t')
            fputs("\\t", to);
        else if (c == '\r')
            fputs("\\r", to);
        else if (c == '\\' || c == '\'')
            fprintf(to, "\\%c", c);
        else if (c < ' ' || c == 127)
            fprintf(to, "\\x%02x", c);
        else
            putc(c, to);
    }
    putc('\'', to);
}

static void print_str(const struct printing *printing, uint64_t object)
{
    uint64_t length = reader_u64(printing->reader, object + printing->reader->view.runtime.layout.unicode.length);
    char text[SHOWN_TEXT * 4 + 1];

    if (!printing->contents) {
        fprintf(printing->to, "<str of %" PRIu64 ">", length);
    } else if (!reader_text(printing->reader, object, text, length > SHOWN_TEXT ? SHOWN_TEXT : sizeof(text))) {
        fputs("<?>", printing->to);
    } else {
        print_quoted(printing->to, text, strlen(text));
        if (length > SHOWN_TEXT)
            fprintf(printing->to, "... of %" PRIu64, length);
    }
}

static void print_bytes(const struct printing *printing, uint64_t object)
{
    uint64_t length = reader_u64(printing->reader, object + printing->reader->view.runtime.layout.bytes.ob_size);
    uint64_t at = object + printing->reader->view.runtime.layout.bytes.ob_sval;
    uint64_t shown = length < SHOWN_TEXT ? length : SHOWN_TEXT;

    if (!printing->contents) {
        fprintf(printing->to, "<bytes of %" PRIu64 ">", length);
        return;
    }
    fputs("b'", printing->to);
    for (uint64_t i = 0; i < shown; i++) {
        uint8_t byte = reader_u8(printing->reader, at + i);
        if (byte < ' ' || byte > '~' || byte == '\'' || byte == '\\')
            fprintf(printing->to, "\\x%02x", byte);
        else
            putc(byte, printing->to);
    }
    fputs(shown < length ? "'..." : "'", printing->to);
}

static void print_int(const struct printing *printing, uint64_t object)
{
    uint64_t missed = printing->reader->misses;
    int64_t value;
    bool negative;

    if (!printing->contents) {
        fputs("<int>", printing->to);
    } else if (reader_int(printing->reader, object, &value)) {
        fprintf(printing->to, "%" PRId64, value);
    } else if (printing->reader->misses > missed) {
        fputs("<?>", printing->to);
    } else {
        uint64_t digits = reader_int_digits(printing->reader, object, &negative), bits = (digits - 1) * DIGIT_BITS;
        uint64_t top = object + printing->reader->layout.integer.digits + (digits - 1) * sizeof(uint32_t);
        for (uint32_t digit = reader_u32(printing->reader, top); digit; digit >>= 1)
            bits++;
        fprintf(printing->to, "<int of %" PRIu64 " bits%s>", bits, negative ? ", negative" : "");
    }
}

static void print_float(const struct printing *printing, uint64_t object)
{
    double value;

    if (printing->contents && reader_float(printing->reader, object, &value))
        fprintf(printing->to, "%.12g", value);
    else
        fputs("<float>", printing->to);
}

static void print_sequence(const struct printing *printing, uint64_t items, uint64_t count, const char *ends,
                           unsigned depth)
{
    putc(ends[0], printing->to);
    for (uint64_t i = 0; i < count && i < SHOWN_ITEMS && !is_full(printing); i++) {
        if (i)
            fputs(", ", printing->to);
        print_object(printing, reader_u64(printing->reader, items + i * 8), depth + 1);
    }
    if (count > SHOWN_ITEMS)
        fprintf(printing->to, ", ... %" PRIu64 " in all", count);
    else if (count == 1 && ends[0] == '(')
        putc(',', printing->to);
    putc(ends[1], printing->to);
}

static void print_list(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct heap_layout *layout = &printing->reader->layout;

    print_sequence(printing, reader_u64(printing->reader, object + layout->list.items),
                   reader_u64(printing->reader, object + layout->object.ob_size), "[]", depth);
}

static void print_tuple(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct heap_layout *layout = &printing->reader->layout;

    print_sequence(printing, object + layout->tuple.items,
                   reader_u64(printing->reader, object + layout->object.ob_size), "()", depth);
}

static void print_dict(const struct printing *printing, uint64_t object, unsigned depth)
{
    uint64_t used = reader_u64(printing->reader, object + printing->reader->layout.dict.used), key, value, shown = 0;
    struct dict_entries entries;

    if (!reader_find_entries(printing->reader, object, &entries)) {
        fputs("<?>", printing->to);
        return;
    }
    putc('{', printing->to);
    for (uint64_t i = 0; i < entries.count && shown < SHOWN_ITEMS && !is_full(printing); i++) {
        if (!reader_entry(printing->reader, &entries, i, &key, &value))
            continue;
        if (shown++)
            fputs(", ", printing->to);
        print_object(printing, key, depth + 1);
        fputs(": ", printing->to);
        print_object(printing, value, depth + 1);
    }
    if (used > shown)
        fprintf(printing->to, "%s... %" PRIu64 " in all", shown ? ", " : "", used);
    putc('}', printing->to);
}

static void print_set(const struct printing *printing, uint64_t object, unsigned depth, bool frozen)
{
    const struct heap_layout *layout = &printing->reader->layout;
    uint64_t table = reader_u64(printing->reader, object + layout->set.table), shown = 0;
    uint64_t slots = reader_u64(printing->reader, object + layout->set.mask) + 1;
    uint64_t used = reader_u64(printing->reader, object + layout->set.mask - 8);

    if (!used) {
        fputs(frozen ? "frozenset()" : "set()", printing->to);
        return;
    }
    fputs(frozen ? "frozenset({" : "{", printing->to);
    for (uint64_t i = 0; i < slots && i < READER_ITEMS_MAX && shown < SHOWN_ITEMS && !is_full(printing); i++) {
        uint64_t key = reader_u64(printing->reader, table + i * 16), hash = reader_u64(printing->reader, table + i * 16 + 8);
        if (!key || hash == UINT64_MAX)
            continue;
        if (shown++)
            fputs(", ", printing->to);
        print_object(printing, key, depth + 1);
    }
    if (used > shown)
        fprintf(printing->to, ", ... %" PRIu64 " in all", used);
    fputs(frozen ? "})" : "}", printing->to);
}

/* What has a name of its own is called by it. */
static bool print_named(const struct printing *printing, const struct object_type *type, uint64_t object)
{
    static const char *const named[][2] = {{"function", "__qualname__"}, {"module", "__name__"}};
    char name[NAME_SIZE];

    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        if (!strcmp(type->name, named[i][0]) &&
            reader_text(printing->reader, reader_named_field(printing->reader, object, named[i][0], named[i][1]), name,
                        sizeof(name))) {
            fprintf(printing->to, "<%s %s>", type->name, name);
            return true;
        }
    }
    return false;
}

static void print_class(const struct printing *printing, uint64_t object)
{
    const struct object_type *type = reader_as_type(printing->reader, object);

    fprintf(printing->to, "<class %s>", type ? type->name : "?");
}

static void print_any(const struct printing *printing, const struct object_type *type, uint64_t object)
{
    if (type->flags & OBJECT_TYPE)
        print_class(printing, object);
    else if (!print_named(printing, type, object))
        fprintf(printing->to, "<%s at 0x%" PRIx64 ">", type->name, object);
}

static void print_container(const struct printing *printing, const struct object_type *type, uint64_t object,
                            unsigned depth)
{
    bool own = strcmp(type->name, "list") && strcmp(type->name, "tuple") && strcmp(type->name, "dict") &&
               strcmp(type->name, "set") && strcmp(type->name, "frozenset");

    /* A subclass by its name; what lies deeper than anybody reads by its kind. */
    if (own || depth >= SHOWN_DEPTH)
        print_any(printing, type, object);
    else if (type->flags & OBJECT_LIST)
        print_list(printing, object, depth);
    else if (type->flags & OBJECT_TUPLE)
        print_tuple(printing, object, depth);
    else if (type->flags & OBJECT_DICT)
        print_dict(printing, object, depth);
    else
        print_set(printing, object, depth, !strcmp(type->name, "frozenset"));
}

/* What can't be read would be shown as 0 or empty. */
static bool is_readable(struct object_reader *reader, uint64_t object, const struct object_type *type)
{
    unsigned char bytes[READ_MAX];
    size_t size = type->basicsize > 0 && type->basicsize < READ_MAX ? (size_t)type->basicsize : READ_MAX;

    return reader_bytes(reader, object, bytes, size);
}

static void print_object(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct object_type *type = reader_object_type(printing->reader, object);
    int64_t truth;

    if (!type || !is_readable(printing->reader, object, type))
        fputs("<?>", printing->to);
    else if (!strcmp(type->name, "NoneType"))
        fputs("None", printing->to);
    else if (!strcmp(type->name, "bool"))
        fputs(reader_int(printing->reader, object, &truth) && truth ? "True" : "False", printing->to);
    else if (!strcmp(type->name, "ellipsis"))
        fputs("Ellipsis", printing->to);
    else if (!strcmp(type->name, "float"))
        print_float(printing, object);
    else if (!strcmp(type->name, "int"))
        print_int(printing, object);
    else if (!strcmp(type->name, "str"))
        print_str(printing, object);
    else if (!strcmp(type->name, "bytes"))
        print_bytes(printing, object);
    else
        print_container(printing, type, object, depth);
}

void values_print(struct object_reader *reader, uint64_t object, bool contents, FILE *to)
{
    struct printing printing = {reader, to, contents, ftell(to)};

    print_object(&printing, object, 0);
}
