/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/objects.h"

#define TYPE_MANAGED_DICT  (UINT64_C(1) << 4) /* 3.11+ */
#define TYPE_INLINE_VALUES (UINT64_C(1) << 2) /* 3.13+ */
#define TYPE_HEAPTYPE      (UINT64_C(1) << 9)
#define TYPE_LONG          (UINT64_C(1) << 24)
#define TYPE_LIST          (UINT64_C(1) << 25)
#define TYPE_TUPLE         (UINT64_C(1) << 26)
#define TYPE_UNICODE       (UINT64_C(1) << 28)
#define TYPE_DICT          (UINT64_C(1) << 29)
#define TYPE_TYPE          (UINT64_C(1) << 31)

#define NAME_SIZE     256
#define TYPES_MAX     65536
#define ITEMS_MAX     UINT64_C(1000000) /* of one object: more are not looked at */
#define SHOWN_ITEMS   5
#define SHOWN_TEXT    64
#define SHOWN_DEPTH   2
#define SHOWN_MAX     200
#define DIGIT_BITS    30
#define INT_DIGITS    2 /* of an int that is shown in full: 60 bits */
#define SPLIT_KEYS    2
#define SLOTS_MAX     4096 /* variables of a frame */
/* PyCodeObject.co_flags, code.h (3.8 to 3.10) and cpython/code.h, the same in all of them, and a bit of it. */
#define OLD_CODE_FLAGS 36
#define CODE_FLAGS     48
#define CODE_OPTIMIZED 1
/* As much of an object as is looked at before it is shown. */
#define READ_MAX 256

/* Of co_localspluskinds, internal/pycore_code.h, 3.11+. */
#define KIND_CELL 0x40
#define KIND_FREE 0x80

struct value_type {
    uint64_t address;
    char *name;
    uint64_t flags;
    int64_t basicsize, itemsize, dictoffset;
};

/* ------------------------------------------------------------------ memory */

static bool get(const struct values *values, uint64_t at, void *to, size_t size)
{
    struct error *error = memory_read(&values->runtime->process->memory, address_of(at), to, size);

    error_destroy(error);
    if (error)
        memset(to, 0, size);
    return !error;
}

/* 0 where there is no memory. */
static uint64_t get_u64(const struct values *values, uint64_t at)
{
    uint64_t value;

    get(values, at, &value, sizeof(value));
    return value;
}

static uint32_t get_u32(const struct values *values, uint64_t at)
{
    uint32_t value;

    get(values, at, &value, sizeof(value));
    return value;
}

static uint8_t get_u8(const struct values *values, uint64_t at)
{
    uint8_t value;

    get(values, at, &value, sizeof(value));
    return value;
}

/* ------------------------------------------------------------------- types */

struct error *values_init(struct values *values, const struct runtime *runtime)
{
    *values = (struct values){.runtime = runtime};
    return heap_layout_find(runtime, &values->layout);
}

void values_deinit(struct values *values)
{
    for (size_t i = 0; i < values->type_count; i++) {
        free(values->types[i]->name);
        free(values->types[i]);
    }
    free(values->types);
    *values = (struct values){0};
}

/* Is it a type? Its own type's is, and so on, up to type itself. */
static bool is_type(const struct values *values, uint64_t type)
{
    for (unsigned i = 0; i < 8 && type && type % 8 == 0; i++) {
        uint64_t meta = get_u64(values, type + values->layout.object.type);
        if (!(get_u64(values, meta + values->layout.type.flags) & TYPE_TYPE))
            return false;
        if (meta == type)
            return true;
        type = meta;
    }
    return false;
}

static bool read_tp_name(const struct values *values, uint64_t type, char *name, size_t room)
{
    uint64_t at = get_u64(values, type + values->layout.type.name);
    struct error *error = memory_read_string(&values->runtime->process->memory, address_of(at), name, room);

    error_destroy(error);
    return !error && name[0];
}

static bool read_str(const struct values *values, uint64_t object, char *text, size_t room)
{
    struct error *error = object_read_str(values->runtime, address_of(object), text, room);

    error_destroy(error);
    if (error)
        text[0] = '\0';
    return !error;
}

static uint64_t find_in_dict(const struct values *values, uint64_t dict, const char *wanted);

/* "app.models.Order": the module is in a heap type's dict; a static one has it in its tp_name. */
static char *make_type_name(const struct values *values, uint64_t type, uint64_t flags)
{
    char name[NAME_SIZE], module[NAME_SIZE] = "", *full;

    if (flags & TYPE_HEAPTYPE && read_str(values, get_u64(values, type + values->layout.type.ht_qualname), name, sizeof(name))) {
        uint64_t dict = get_u64(values, type + values->layout.type.dict);
        uint64_t found = dict ? find_in_dict(values, dict, "__module__") : 0;
        if (found)
            read_str(values, found, module, sizeof(module));
    } else if (!read_tp_name(values, type, name, sizeof(name))) {
        return NULL;
    }
    if (!module[0] || !strcmp(module, "builtins"))
        return strdup(name);
    return asprintf(&full, "%s.%s", module, name) < 0 ? NULL : full;
}

static struct value_type *type_create(const struct values *values, uint64_t address)
{
    const struct heap_layout *layout = &values->layout;
    struct value_type *type = is_type(values, address) ? calloc(1, sizeof(*type)) : NULL;

    if (!type)
        return NULL;
    type->address = address;
    type->flags = get_u64(values, address + layout->type.flags);
    type->basicsize = (int64_t)get_u64(values, address + layout->type.basicsize);
    type->itemsize = (int64_t)get_u64(values, address + layout->type.itemsize);
    type->dictoffset = (int64_t)get_u64(values, address + layout->type.dictoffset);
    if (!(type->name = make_type_name(values, address, type->flags))) {
        free(type);
        return NULL;
    }
    return type;
}

/* NULL: it is no object. */
static const struct value_type *type_of(struct values *values, uint64_t object)
{
    uint64_t address = object && object % 8 == 0 ? get_u64(values, object + values->layout.object.type) : 0;

    if (!address)
        return NULL;
    for (size_t i = 0; i < values->type_count; i++) {
        if (values->types[i]->address == address)
            return values->types[i];
    }
    if (values->type_count == TYPES_MAX)
        return NULL;
    struct value_type **larger = reallocarray(values->types, values->type_count + 1, sizeof(*larger));
    if (!larger)
        return NULL;
    values->types = larger;
    struct value_type *type = type_create(values, address);
    if (type)
        values->types[values->type_count++] = type;
    return type;
}

const char *values_type_name(struct values *values, struct address object)
{
    const struct value_type *type = type_of(values, object.value);

    return type ? type->name : NULL;
}

static bool has_flag(struct values *values, uint64_t object, uint64_t flag)
{
    const struct value_type *type = type_of(values, object);

    return type && type->flags & flag;
}

/* Where a builtin type keeps a field, by the table of names; OFF_NONE: not in this version. */
static uint32_t find_field(const struct values *values, const char *type, const char *name)
{
    for (const struct heap_name *at = values->layout.names; at->type; at++) {
        if (!strcmp(at->type, type) && !strcmp(at->name, name))
            return at->offset;
    }
    return OFF_NONE;
}

/* --------------------------------------------------------------------- dicts */

/* Where a dict's keys and values are: side by side, or (split) the values elsewhere. */
struct dict_items {
    uint64_t entries, stride, key, value, count;
    uint64_t values; /* 0: side by side */
};

/* Up to 3.10: dk_size slots of 1 to 8 bytes, then entries of hash, key, value. */
static bool find_old_keys(const struct values *values, uint64_t keys, struct dict_items *items)
{
    const struct heap_layout *layout = &values->layout;
    uint64_t size = get_u64(values, keys + layout->dict_keys.size);
    uint64_t width = size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= UINT32_MAX ? 4 : 8;

    if (!size || size & (size - 1) || size > UINT64_C(1) << 40)
        return false;
    *items = (struct dict_items){.stride = 24, .key = 8, .value = 16};
    items->count = get_u64(values, keys + layout->dict_keys.nentries);
    items->entries = keys + layout->dict_keys.indices + size * width;
    return items->count <= size;
}

static bool find_new_keys(const struct values *values, uint64_t keys, struct dict_items *items)
{
    const struct heap_layout *layout = &values->layout;
    uint8_t log2_size = get_u8(values, keys + layout->dict_keys.log2_size);
    uint8_t log2_bytes = get_u8(values, keys + layout->dict_keys.log2_index_bytes);
    uint8_t kind = get_u8(values, keys + layout->dict_keys.kind);

    if (log2_size > 40 || log2_bytes > 43 || kind > SPLIT_KEYS)
        return false;
    *items = (struct dict_items){.stride = kind ? 16 : 24, .key = kind ? 0 : 8, .value = kind ? 8 : 16};
    items->count = get_u64(values, keys + layout->dict_keys.nentries);
    items->entries = keys + layout->dict_keys.indices + (UINT64_C(1) << log2_bytes);
    return items->count <= UINT64_C(1) << log2_size;
}

static bool find_keys(const struct values *values, uint64_t keys, struct dict_items *items)
{
    bool found = keys && keys % 8 == 0 &&
                 (values->layout.dict_keys.size != OFF_NONE ? find_old_keys(values, keys, items)
                                                            : find_new_keys(values, keys, items));
    if (found && items->count > ITEMS_MAX)
        items->count = ITEMS_MAX;
    return found;
}

static bool find_items(const struct values *values, uint64_t dict, struct dict_items *items)
{
    uint64_t split = get_u64(values, dict + values->layout.dict.values);

    if (!find_keys(values, get_u64(values, dict + values->layout.dict.keys), items))
        return false;
    items->values = split ? split + values->layout.dict_values.items : 0;
    return true;
}

/* False: a slot without a value. */
static bool get_item(const struct values *values, const struct dict_items *items, uint64_t index, uint64_t *key,
                     uint64_t *value)
{
    uint64_t entry = items->entries + index * items->stride;

    *key = get_u64(values, entry + items->key);
    *value = items->values ? get_u64(values, items->values + index * 8) : get_u64(values, entry + items->value);
    return *key && *value;
}

static uint64_t find_among(const struct values *values, const struct dict_items *items, const char *wanted)
{
    char text[NAME_SIZE];
    uint64_t key, value;

    for (uint64_t i = 0; i < items->count; i++) {
        if (get_item(values, items, i, &key, &value) && read_str(values, key, text, sizeof(text)) && !strcmp(text, wanted))
            return value;
    }
    return 0;
}

static uint64_t find_in_dict(const struct values *values, uint64_t dict, const char *wanted)
{
    struct dict_items items;

    return find_items(values, dict, &items) ? find_among(values, &items, wanted) : 0;
}

bool values_find_item(struct values *values, struct address dict, const char *key, struct address *value)
{
    *value = address_of(has_flag(values, dict.value, TYPE_DICT) ? find_in_dict(values, dict.value, key) : 0);
    return value->value != 0;
}

void values_visit_dict(struct values *values, struct address dict, size_t bound, values_item_fn *fn, void *context)
{
    struct dict_items items;
    uint64_t key, value;

    if (!has_flag(values, dict.value, TYPE_DICT) || !find_items(values, dict.value, &items))
        return;
    for (uint64_t i = 0; i < items.count && bound; i++) {
        if (!get_item(values, &items, i, &key, &value))
            continue;
        if (!fn(context, address_of(key), address_of(value)))
            return;
        bound--;
    }
}

/* ---------------------------------------------------------------- attributes */

/* The values that stand in an instance for a dict, with the keys that its type's instances share. */
static bool find_shared(const struct values *values, const struct value_type *type, uint64_t at, struct dict_items *items)
{
    if (!at || !find_keys(values, get_u64(values, type->address + values->layout.type.ht_cached_keys), items))
        return false;
    items->values = at + values->layout.dict_values.items;
    return true;
}

/*
 * What the interpreter keeps before the object (3.11+):
 *   3.11   -32 values, -24 dict
 *   3.12   -24 dict, or values - 1
 *   3.13+  -24 dict; values behind the object, valid as long as they say so
 */
static bool find_managed(const struct values *values, const struct value_type *type, uint64_t object,
                         struct dict_items *items)
{
    uint64_t dict = get_u64(values, object - 24), at = 0;

    if (values->layout.minor == 11)
        at = get_u64(values, object - 32);
    else if (values->layout.minor == 12 && dict & 1)
        at = dict + 1;
    else if (values->layout.minor >= 13 && type->flags & TYPE_INLINE_VALUES)
        at = object + (uint64_t)type->basicsize;
    if (at && values->layout.minor >= 13 && !get_u8(values, at + values->layout.dict_values.valid))
        at = 0;
    if (at)
        return find_shared(values, type, at, items);
    return dict && dict % 8 == 0 && find_items(values, dict, items);
}

static bool find_own_dict(const struct values *values, const struct value_type *type, uint64_t object,
                          struct dict_items *items)
{
    if (type->flags & TYPE_MANAGED_DICT && values->layout.minor >= 11)
        return find_managed(values, type, object, items);
    if (type->dictoffset <= 0)
        return false;
    uint64_t dict = get_u64(values, object + (uint64_t)type->dictoffset);
    return dict && dict % 8 == 0 && find_items(values, dict, items);
}

bool values_find_attribute(struct values *values, struct address object, const char *name, struct address *value)
{
    const struct value_type *type = type_of(values, object.value);
    struct dict_items items;

    *value = ADDRESS_NULL;
    if (type && find_own_dict(values, type, object.value, &items))
        value->value = find_among(values, &items, name);
    return value->value != 0;
}

bool values_find_module(struct values *values, struct address interpreter, const char *module, struct address *dict)
{
    uint64_t modules = get_u64(values, interpreter.value + values->layout.interpreter.modules);
    struct address found;

    if (!values_find_item(values, address_of(modules), module, &found))
        return false;
    *dict = address_of(get_u64(values, found.value + values->layout.module.dict));
    return has_flag(values, dict->value, TYPE_DICT);
}

/* -------------------------------------------------------------- plain values */

bool values_read_text(struct values *values, struct address object, char *text, size_t room)
{
    text[0] = '\0';
    return has_flag(values, object.value, TYPE_UNICODE) && read_str(values, object.value, text, room);
}

/* How many digits an int has, and its sign. */
static uint64_t count_digits(const struct values *values, uint64_t object, bool *negative)
{
    if (values->layout.integer.tag != OFF_NONE) {
        uint64_t tag = get_u64(values, object + values->layout.integer.tag);
        *negative = (tag & 3) == 2;
        return (tag & 3) == 1 ? 0 : tag >> 3;
    }
    int64_t size = (int64_t)get_u64(values, object + values->layout.object.ob_size);
    *negative = size < 0;
    return (uint64_t)(size < 0 ? -size : size);
}

static uint64_t get_digits(const struct values *values, uint64_t object, uint64_t count)
{
    uint64_t at = object + values->layout.integer.digits, value = 0;

    for (uint64_t i = 0; i < count && i < INT_DIGITS; i++)
        value |= (uint64_t)get_u32(values, at + i * 4) << (i * DIGIT_BITS);
    return value;
}

bool values_read_int(struct values *values, struct address object, int64_t *number)
{
    bool negative;

    if (!has_flag(values, object.value, TYPE_LONG))
        return false;
    uint64_t digits = count_digits(values, object.value, &negative);
    *number = (int64_t)get_digits(values, object.value, digits);
    if (negative)
        *number = -*number;
    return digits <= INT_DIGITS;
}

uint64_t values_tuple_count(struct values *values, struct address tuple)
{
    uint64_t count = 0;

    if (has_flag(values, tuple.value, TYPE_TUPLE))
        count = get_u64(values, tuple.value + values->layout.object.ob_size);
    return count < ITEMS_MAX ? count : ITEMS_MAX;
}

bool values_tuple_item(struct values *values, struct address tuple, uint64_t index, struct address *item)
{
    if (index >= values_tuple_count(values, tuple))
        return false;
    *item = address_of(get_u64(values, tuple.value + values->layout.tuple.items + index * 8));
    return item->value != 0;
}

/* -------------------------------------------------------------------- frames */

struct variables {
    struct values *values;
    values_variable_fn *fn;
    void *context;
};

static void tell_variable(const struct variables *variables, uint64_t name, uint64_t value)
{
    char text[NAME_SIZE];

    if (value && read_str(variables->values, name, text, sizeof(text)))
        variables->fn(variables->context, text, address_of(value));
}

/* What a cell holds; the object itself where it is none. */
static uint64_t open_cell(struct values *values, uint64_t object)
{
    const struct value_type *type = type_of(values, object);

    if (!type || strcmp(type->name, "cell"))
        return object;
    return get_u64(values, object + values->layout.object.size);
}

/* The names of a tuple stand for the slots from *slot on. `kinds`: a byte for each, 0: all are of the same. */
static void tell_slots(const struct variables *variables, uint64_t names, uint64_t *slot, uint64_t kinds, bool cells)
{
    uint64_t count = values_tuple_count(variables->values, address_of(names));
    struct address name;

    for (uint64_t i = 0; i < count && i < SLOTS_MAX; i++, *slot += 8) {
        if (kinds)
            cells = get_u8(variables->values, kinds + i) & (KIND_CELL | KIND_FREE);
        uint64_t value = get_u64(variables->values, *slot);

        /* 3.14+: a tagged number is the eval loop's own, other tags are of its bookkeeping. */
        value = (value & 3) == 3 ? 0 : value & ~UINT64_C(3);
        if (values_tuple_item(variables->values, address_of(names), i, &name))
            tell_variable(variables, name.value, cells ? open_cell(variables->values, value) : value);
    }
}

static void tell_old_frame(const struct variables *variables, uint64_t frame, uint64_t code)
{
    const struct heap_layout *layout = &variables->values->layout;
    uint64_t slot = frame + layout->frame.localsplus;

    tell_slots(variables, get_u64(variables->values, code + layout->code.varnames), &slot, 0, false);
    tell_slots(variables, get_u64(variables->values, code + layout->code.cellvars), &slot, 0, true);
    tell_slots(variables, get_u64(variables->values, code + layout->code.freevars), &slot, 0, true);
}

static bool tell_item(void *context, struct address key, struct address value)
{
    tell_variable(context, key.value, value.value);
    return true;
}

/* The dict that a class's body fills; a module's is its globals, and no frame's own. */
static void tell_namespace(struct variables *variables, uint64_t frame, uint64_t code)
{
    struct values *values = variables->values;
    bool old = values->layout.minor < 11;
    uint32_t locals = old ? find_field(values, "frame", "f_locals") : values->layout.iframe.locals;
    uint32_t globals = old ? find_field(values, "frame", "f_globals") : values->layout.iframe.globals;
    uint64_t dict = get_u64(values, frame + locals) & ~UINT64_C(3);

    if (get_u32(values, code + (old ? OLD_CODE_FLAGS : CODE_FLAGS)) & CODE_OPTIMIZED)
        return;
    if (dict && dict != (get_u64(values, frame + globals) & ~UINT64_C(3)))
        values_visit_dict(values, address_of(dict), SLOTS_MAX, tell_item, variables);
}

void values_visit_variables(struct values *values, struct address frame, struct address code, values_variable_fn *fn,
                            void *context)
{
    struct variables variables = {values, fn, context};
    uint64_t slot = frame.value + values->layout.iframe.localsplus;
    uint32_t kinds = find_field(values, "code", "co_localspluskinds");

    if (values->layout.minor < 11)
        tell_old_frame(&variables, frame.value, code.value);
    else
        tell_slots(&variables, get_u64(values, code.value + values->layout.code.localsplusnames), &slot,
                   get_u64(values, code.value + kinds) + values->runtime->layout.bytes.ob_sval, false);
    tell_namespace(&variables, frame.value, code.value);
}

/* ------------------------------------------------------------------- showing */

struct printing {
    struct values *values;
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
    uint64_t length = get_u64(printing->values, object + printing->values->runtime->layout.unicode.length);
    char text[SHOWN_TEXT * 4 + 1];

    if (!printing->contents) {
        fprintf(printing->to, "<str of %" PRIu64 ">", length);
    } else if (!read_str(printing->values, object, text, length > SHOWN_TEXT ? SHOWN_TEXT : sizeof(text))) {
        fputs("<?>", printing->to);
    } else {
        print_quoted(printing->to, text, strlen(text));
        if (length > SHOWN_TEXT)
            fprintf(printing->to, "... of %" PRIu64, length);
    }
}

static void print_bytes(const struct printing *printing, uint64_t object)
{
    uint64_t length = get_u64(printing->values, object + printing->values->runtime->layout.bytes.ob_size);
    uint64_t at = object + printing->values->runtime->layout.bytes.ob_sval;
    uint64_t shown = length < SHOWN_TEXT ? length : SHOWN_TEXT;

    if (!printing->contents) {
        fprintf(printing->to, "<bytes of %" PRIu64 ">", length);
        return;
    }
    fputs("b'", printing->to);
    for (uint64_t i = 0; i < shown; i++) {
        uint8_t byte = get_u8(printing->values, at + i);
        if (byte < ' ' || byte > '~' || byte == '\'' || byte == '\\')
            fprintf(printing->to, "\\x%02x", byte);
        else
            putc(byte, printing->to);
    }
    fputs(shown < length ? "'..." : "'", printing->to);
}

static void print_int(const struct printing *printing, uint64_t object)
{
    const struct values *values = printing->values;
    bool negative;
    uint64_t digits = count_digits(values, object, &negative);
    uint32_t bytes[INT_DIGITS];

    if (!printing->contents)
        fputs("<int>", printing->to);
    else if (digits <= INT_DIGITS && !get(values, object + values->layout.integer.digits, bytes, digits * sizeof(*bytes)))
        fputs("<?>", printing->to);
    else if (digits <= INT_DIGITS)
        fprintf(printing->to, "%s%" PRIu64, negative ? "-" : "", get_digits(printing->values, object, digits));
    else
        fprintf(printing->to, "<int of %" PRIu64 " bits%s>", digits * DIGIT_BITS, negative ? ", negative" : "");
}

static void print_float(const struct printing *printing, uint64_t object)
{
    uint64_t bits = get_u64(printing->values, object + printing->values->layout.object.size);
    double value;

    memcpy(&value, &bits, sizeof(value));
    if (printing->contents)
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
        print_object(printing, get_u64(printing->values, items + i * 8), depth + 1);
    }
    if (count > SHOWN_ITEMS)
        fprintf(printing->to, ", ... %" PRIu64 " in all", count);
    else if (count == 1 && ends[0] == '(')
        putc(',', printing->to);
    putc(ends[1], printing->to);
}

static void print_list(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct heap_layout *layout = &printing->values->layout;

    print_sequence(printing, get_u64(printing->values, object + layout->list.items),
                   get_u64(printing->values, object + layout->object.ob_size), "[]", depth);
}

static void print_tuple(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct heap_layout *layout = &printing->values->layout;

    print_sequence(printing, object + layout->tuple.items,
                   get_u64(printing->values, object + layout->object.ob_size), "()", depth);
}

static void print_dict(const struct printing *printing, uint64_t object, unsigned depth)
{
    uint64_t used = get_u64(printing->values, object + printing->values->layout.dict.used), key, value, shown = 0;
    struct dict_items items;

    if (!find_items(printing->values, object, &items)) {
        fputs("<?>", printing->to);
        return;
    }
    putc('{', printing->to);
    for (uint64_t i = 0; i < items.count && shown < SHOWN_ITEMS && !is_full(printing); i++) {
        if (!get_item(printing->values, &items, i, &key, &value))
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

static void print_set(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct heap_layout *layout = &printing->values->layout;
    uint64_t table = get_u64(printing->values, object + layout->set.table), shown = 0;
    uint64_t slots = get_u64(printing->values, object + layout->set.mask) + 1;
    uint64_t used = get_u64(printing->values, object + layout->set.mask - 8);

    if (!used) {
        fputs("set()", printing->to);
        return;
    }
    putc('{', printing->to);
    for (uint64_t i = 0; i < slots && i < ITEMS_MAX && shown < SHOWN_ITEMS && !is_full(printing); i++) {
        uint64_t key = get_u64(printing->values, table + i * 16), hash = get_u64(printing->values, table + i * 16 + 8);
        if (!key || hash == UINT64_MAX)
            continue;
        if (shown++)
            fputs(", ", printing->to);
        print_object(printing, key, depth + 1);
    }
    if (used > shown)
        fprintf(printing->to, ", ... %" PRIu64 " in all", used);
    putc('}', printing->to);
}

/* What has a name of its own is called by it. */
static bool print_named(const struct printing *printing, const struct value_type *type, uint64_t object)
{
    static const char *const named[][2] = {{"function", "__qualname__"}, {"module", "__name__"}};
    char name[NAME_SIZE];

    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        uint32_t offset = strcmp(type->name, named[i][0]) ? OFF_NONE
                                                          : find_field(printing->values, named[i][0], named[i][1]);
        if (offset != OFF_NONE && read_str(printing->values, get_u64(printing->values, object + offset), name, sizeof(name))) {
            fprintf(printing->to, "<%s %s>", type->name, name);
            return true;
        }
    }
    return false;
}

static void print_class(const struct printing *printing, uint64_t object)
{
    uint64_t flags = get_u64(printing->values, object + printing->values->layout.type.flags);
    scoped_free char *name = is_type(printing->values, object) ? make_type_name(printing->values, object, flags) : NULL;

    fprintf(printing->to, "<class %s>", name ? name : "?");
}

static void print_any(const struct printing *printing, const struct value_type *type, uint64_t object)
{
    if (type->flags & TYPE_TYPE)
        print_class(printing, object);
    else if (!print_named(printing, type, object))
        fprintf(printing->to, "<%s at 0x%" PRIx64 ">", type->name, object);
}

static void print_container(const struct printing *printing, const struct value_type *type, uint64_t object,
                            unsigned depth)
{
    bool own = strcmp(type->name, "list") && strcmp(type->name, "tuple") && strcmp(type->name, "dict") &&
               strcmp(type->name, "set") && strcmp(type->name, "frozenset");

    /* A subclass by its name; what lies deeper than anybody reads by its kind. */
    if (own || depth >= SHOWN_DEPTH)
        print_any(printing, type, object);
    else if (type->flags & TYPE_LIST)
        print_list(printing, object, depth);
    else if (type->flags & TYPE_TUPLE)
        print_tuple(printing, object, depth);
    else if (type->flags & TYPE_DICT)
        print_dict(printing, object, depth);
    else
        print_set(printing, object, depth);
}

/* What can't be read would be shown as 0 or empty. */
static bool is_readable(const struct values *values, uint64_t object, int64_t size)
{
    unsigned char bytes[READ_MAX];

    return size > 0 && get(values, object, bytes, size < READ_MAX ? (size_t)size : READ_MAX);
}

static void print_object(const struct printing *printing, uint64_t object, unsigned depth)
{
    const struct value_type *type = type_of(printing->values, object);

    if (!type || !is_readable(printing->values, object, type->basicsize))
        fputs("<?>", printing->to);
    else if (!strcmp(type->name, "NoneType"))
        fputs("None", printing->to);
    else if (!strcmp(type->name, "bool"))
        fputs(get_digits(printing->values, object, 1) ? "True" : "False", printing->to);
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

void values_print(struct values *values, struct address object, bool contents, FILE *to)
{
    struct printing printing = {values, to, contents, ftell(to)};

    print_object(&printing, object.value, 0);
}
