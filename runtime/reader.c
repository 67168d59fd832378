/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/objects.h"

#define POINTER         8u
#define READS_MAX       UINT64_C(200000000)
#define THREAD_FRAMES   UINT64_C(2000000)
#define BASES_MAX       64
#define METATYPES_MAX   8
#define TYPES_MAX       65536
#define INT_DIGITS      2 /* of 30 bits: an int of 60 */
#define DICT_LOG2_MAX   40
#define NAME_MAX_BYTES  256
#define MEMBERS_MAX     256
/* PyMemberDef.type of a slot (structmember.h). */
#define MEMBER_OBJECT    6
#define MEMBER_OBJECT_EX 16
/* tp_flags. */
#define TYPE_INLINE_VALUES (UINT64_C(1) << 2) /* 3.13+ */
#define TYPE_MANAGED_DICT  (UINT64_C(1) << 4) /* 3.11+ */
#define TYPE_HEAPTYPE      (UINT64_C(1) << 9)
#define TYPE_TYPE          OBJECT_TYPE
#define MANAGED_DICT       24 /* before the object; 3.11 has values at 32 */
#define MANAGED_VALUES_11  32

/* ------------------------------------------------------------------- begin */

struct error *reader_init(struct object_reader *reader, const struct runtime *runtime)
{
    *reader = (struct object_reader){.left = READS_MAX, .frames_left = THREAD_FRAMES};
    view_init(&reader->view, runtime);
    codes_init(&reader->codes);
    struct error *error = heap_layout_find(runtime, &reader->layout);
    reader->head = reader->layout.object.size;
    return error;
}

static void forget_types(struct object_reader *reader)
{
    for (size_t i = 0; i < reader->type_count; i++) {
        free(reader->types[i]->name);
        free(reader->types[i]);
    }
    free(reader->types);
    reader->types = NULL;
    reader->type_count = 0;
}

void reader_deinit(struct object_reader *reader)
{
    forget_types(reader);
    codes_deinit(&reader->codes);
    view_deinit(&reader->view);
}

void reader_forget(struct object_reader *reader)
{
    forget_types(reader);
    codes_deinit(&reader->codes);
    codes_init(&reader->codes);
    pages_forget(&reader->view.pages);
    reader->misses = 0;
    reader->left = READS_MAX;
    reader->frames_left = THREAD_FRAMES;
}

/* ------------------------------------------------------------------- words */

bool reader_bytes(struct object_reader *reader, uint64_t at, void *to, size_t size)
{
    struct error *error = NULL;

    memset(to, 0, size);
    if (!reader->left)
        return false;
    reader->left--;
    if (!(error = memory_read(&reader->view.pages.memory, address_of(at), to, size)))
        return true;
    error_destroy(error);
    reader->misses++;
    memset(to, 0, size);
    return false;
}

uint64_t reader_u64(struct object_reader *reader, uint64_t at)
{
    uint64_t value;

    reader_bytes(reader, at, &value, sizeof(value));
    return value;
}

uint32_t reader_u32(struct object_reader *reader, uint64_t at)
{
    uint32_t value;

    reader_bytes(reader, at, &value, sizeof(value));
    return value;
}

uint8_t reader_u8(struct object_reader *reader, uint64_t at)
{
    uint8_t value;

    reader_bytes(reader, at, &value, sizeof(value));
    return value;
}

uint64_t reader_field(struct object_reader *reader, uint64_t object, unsigned number)
{
    return object ? reader_u64(reader, object + reader->head + number * (uint64_t)POINTER) : 0;
}

/* ------------------------------------------------------------------- types */

uint64_t reader_type(struct object_reader *reader, uint64_t object)
{
    uint64_t type = object && object % POINTER == 0 ? reader_u64(reader, object + reader->layout.object.type) : 0;

    return type % POINTER == 0 ? type : 0;
}

static bool read_c_string(struct object_reader *reader, uint64_t at, char *text, size_t size)
{
    struct error *error = at ? memory_read_string(&reader->view.pages.memory, address_of(at), text, size) : NULL;

    if (at && !error)
        return true;
    error_destroy(error);
    reader->misses += at != 0;
    text[0] = '\0';
    return false;
}

static bool read_type_name(struct object_reader *reader, uint64_t type, char *text, size_t size)
{
    text[0] = '\0';
    return type && read_c_string(reader, reader_u64(reader, type + reader->layout.type.name), text, size);
}

bool reader_type_name(struct object_reader *reader, uint64_t object, char *text, size_t size)
{
    return read_type_name(reader, reader_type(reader, object), text, size);
}

bool reader_is(struct object_reader *reader, uint64_t object, const char *name)
{
    char text[NAME_MAX_BYTES];

    return reader_type_name(reader, object, text, sizeof(text)) && !strcmp(text, name);
}

bool reader_is_derived(struct object_reader *reader, uint64_t object, const char *name)
{
    uint64_t type = reader_type(reader, object);
    char text[NAME_MAX_BYTES];

    for (unsigned i = 0; type && type % POINTER == 0 && i < BASES_MAX; i++) {
        if (read_type_name(reader, type, text, sizeof(text)) && !strcmp(text, name))
            return true;
        type = reader_u64(reader, type + reader->layout.type.base);
    }
    return false;
}

/* Is it a type? Its own type is one, and so on, up to type itself. */
static bool is_type(struct object_reader *reader, uint64_t type)
{
    for (unsigned i = 0; i < METATYPES_MAX && type; i++) {
        uint64_t meta = reader_type(reader, type);

        if (!(reader_u64(reader, meta + reader->layout.type.flags) & TYPE_TYPE))
            return false;
        if (meta == type)
            return true;
        type = meta;
    }
    return false;
}

/* The module is in the dict of a class; a static type has it in its tp_name. */
static char *make_type_name(struct object_reader *reader, uint64_t type, uint64_t flags)
{
    char name[NAME_MAX_BYTES], module[NAME_MAX_BYTES] = "", *full;
    uint64_t dict = reader_u64(reader, type + reader->layout.type.dict);

    if (flags & TYPE_HEAPTYPE &&
        reader_text(reader, reader_u64(reader, type + reader->layout.type.ht_qualname), name, sizeof(name)))
        reader_text(reader, reader_dict_get(reader, dict, "__module__"), module, sizeof(module));
    else if (!read_type_name(reader, type, name, sizeof(name)) || !name[0])
        return NULL;
    if (!module[0] || !strcmp(module, "builtins"))
        return strdup(name);
    return asprintf(&full, "%s.%s", module, name) < 0 ? NULL : full;
}

static struct object_type *type_create(struct object_reader *reader, uint64_t address)
{
    const struct heap_layout *layout = &reader->layout;
    struct object_type *type = is_type(reader, address) ? calloc(1, sizeof(*type)) : NULL;

    if (!type)
        return NULL;
    type->address = address;
    type->flags = reader_u64(reader, address + layout->type.flags);
    type->basicsize = (int64_t)reader_u64(reader, address + layout->type.basicsize);
    type->dictoffset = (int64_t)reader_u64(reader, address + layout->type.dictoffset);
    return type;
}

static struct object_type *find_type(struct object_reader *reader, uint64_t address)
{
    for (size_t i = 0; address && i < reader->type_count; i++) {
        if (reader->types[i]->address == address)
            return reader->types[i];
    }
    if (!address || reader->type_count == TYPES_MAX)
        return NULL;
    struct object_type **larger = reallocarray(reader->types, reader->type_count + 1, sizeof(*larger));
    if (!larger)
        return NULL;
    reader->types = larger;
    struct object_type *type = type_create(reader, address);
    if (type)
        reader->types[reader->type_count++] = type;
    return type;
}

/* Its name last: to find it, dicts and strings are read. */
static const struct object_type *name_type(struct object_reader *reader, struct object_type *type)
{
    if (type && !type->name)
        type->name = make_type_name(reader, type->address, type->flags);
    return type && type->name ? type : NULL;
}

const struct object_type *reader_object_type(struct object_reader *reader, uint64_t object)
{
    return name_type(reader, find_type(reader, reader_type(reader, object)));
}

const struct object_type *reader_as_type(struct object_reader *reader, uint64_t object)
{
    return name_type(reader, find_type(reader, object % POINTER ? 0 : object));
}

bool reader_has_flag(struct object_reader *reader, uint64_t object, uint64_t flag)
{
    const struct object_type *type = find_type(reader, reader_type(reader, object));

    return type && type->flags & flag;
}

void reader_full_type_name(struct object_reader *reader, uint64_t object, char *text, size_t size)
{
    const struct object_type *type = reader_object_type(reader, object);

    snprintf(text, size, "%s", type ? type->name : "?");
}

uint32_t reader_find_field(const struct object_reader *reader, const char *type, const char *field)
{
    for (const struct heap_name *name = reader->layout.names; name && name->type; name++) {
        if (!strcmp(name->type, type) && !strcmp(name->name, field))
            return name->offset;
    }
    return OFF_NONE;
}

uint64_t reader_named_field(struct object_reader *reader, uint64_t object, const char *type, const char *field)
{
    uint32_t offset = reader_find_field(reader, type, field);

    return offset == OFF_NONE ? 0 : reader_u64(reader, object + offset);
}

/* ------------------------------------------------------------------ values */

bool reader_text(struct object_reader *reader, uint64_t object, char *text, size_t size)
{
    struct error *error = object_read_str(&reader->view.runtime, address_of(object), text, size);

    if (!error)
        return true;
    reader->misses += object != 0;
    error_destroy(error);
    text[0] = '\0';
    return false;
}

/* Names are ASCII, and lie right behind the head. */
bool reader_equals(struct object_reader *reader, uint64_t object, const char *text)
{
    const struct layout *layout = &reader->view.runtime.layout;
    size_t length = strlen(text);
    char bytes[NAME_MAX_BYTES];

    if (!object || object % POINTER || length > sizeof(bytes) ||
        reader_u64(reader, object + layout->unicode.length) != length ||
        !(reader_u32(reader, object + layout->unicode.state) >> layout->unicode.ascii_bit & 1))
        return false;
    return reader_bytes(reader, object + layout->unicode.ascii_size, bytes, length) && !memcmp(bytes, text, length);
}

uint64_t reader_int_digits(struct object_reader *reader, uint64_t object, bool *negative)
{
    const struct heap_layout *layout = &reader->layout;

    if (layout->integer.tag != OFF_NONE) {
        uint64_t tag = reader_u64(reader, object + layout->integer.tag);
        *negative = (tag & 3) == 2;
        return (tag & 3) == 1 ? 0 : tag >> 3;
    }
    int64_t size = (int64_t)reader_u64(reader, object + layout->object.ob_size);
    *negative = size < 0;
    return (uint64_t)(*negative ? -size : size);
}

bool reader_int(struct object_reader *reader, uint64_t object, int64_t *value)
{
    uint64_t missed = reader->misses;
    bool negative;

    *value = 0;
    if (!reader_has_flag(reader, object, OBJECT_LONG))
        return false;
    uint64_t digits = reader_int_digits(reader, object, &negative);
    if (digits > INT_DIGITS)
        return false;
    for (uint64_t i = 0; i < digits; i++)
        *value |= (int64_t)(reader_u32(reader, object + reader->layout.integer.digits + i * 4) & 0x3fffffff) << (i * 30);
    *value = negative ? -*value : *value;
    return reader->misses == missed;
}

bool reader_float(struct object_reader *reader, uint64_t object, double *value)
{
    int64_t whole;

    *value = 0;
    if (reader_is_derived(reader, object, "float"))
        return reader_bytes(reader, object + reader->head, value, sizeof(*value));
    if (!reader_int(reader, object, &whole))
        return false;
    *value = (double)whole;
    return true;
}

/* -------------------------------------------------------------- containers */

/* Up to 3.10: dk_size slots of 1 to 8 bytes, then entries of hash, key, value. */
static bool find_old_entries(struct object_reader *reader, uint64_t keys, uint64_t *entries, uint64_t *room)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t size = reader_u64(reader, keys + layout->dict_keys.size);
    uint64_t width = size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= UINT32_MAX ? 4 : 8;

    *room = size;
    *entries = keys + layout->dict_keys.indices + size * width;
    return size && !(size & (size - 1)) && size <= UINT64_C(1) << DICT_LOG2_MAX;
}

static bool find_new_entries(struct object_reader *reader, uint64_t keys, uint64_t *entries, uint64_t *room)
{
    const struct heap_layout *layout = &reader->layout;
    uint8_t log2_size = reader_u8(reader, keys + layout->dict_keys.log2_size);
    uint8_t log2_bytes = reader_u8(reader, keys + layout->dict_keys.log2_index_bytes);

    if (log2_size > DICT_LOG2_MAX || log2_bytes > DICT_LOG2_MAX + 3)
        return false;
    *room = UINT64_C(1) << log2_size;
    *entries = keys + layout->dict_keys.indices + (UINT64_C(1) << log2_bytes);
    return true;
}

/* `values`: of a split table, or 0. */
static bool find_entries(struct object_reader *reader, uint64_t keys, uint64_t values, struct dict_entries *found)
{
    const struct heap_layout *layout = &reader->layout;
    bool old = layout->dict_keys.size != OFF_NONE;
    uint64_t entries = 0, room = 0;

    *found = (struct dict_entries){0};
    if (!keys || keys % POINTER || !(old ? find_old_entries : find_new_entries)(reader, keys, &entries, &room))
        return false;
    bool general = old || !reader_u8(reader, keys + layout->dict_keys.kind);
    found->count = reader_u64(reader, keys + layout->dict_keys.nentries);
    found->key_stride = found->value_stride = general ? 24 : 16;
    found->keys = entries + (general ? 8 : 0);
    found->values = found->keys + POINTER;
    if (values) {
        found->values = values + layout->dict_values.items;
        found->value_stride = POINTER;
    }
    bool fits = found->count <= room;
    if (found->count > READER_ITEMS_MAX)
        found->count = READER_ITEMS_MAX;
    return fits;
}

bool reader_find_entries(struct object_reader *reader, uint64_t dict, struct dict_entries *found)
{
    const struct heap_layout *layout = &reader->layout;

    *found = (struct dict_entries){0};
    return reader_has_flag(reader, dict, OBJECT_DICT) &&
           find_entries(reader, reader_u64(reader, dict + layout->dict.keys),
                        reader_u64(reader, dict + layout->dict.values), found);
}

bool reader_entry(struct object_reader *reader, const struct dict_entries *entries, uint64_t index, uint64_t *key,
                  uint64_t *value)
{
    *value = reader_u64(reader, entries->values + index * entries->value_stride);
    *key = *value ? reader_u64(reader, entries->keys + index * entries->key_stride) : 0;
    return *key != 0;
}

static uint64_t get_entry(struct object_reader *reader, const struct dict_entries *entries, const char *name)
{
    uint64_t key, value;

    for (uint64_t i = 0; i < entries->count; i++) {
        if (reader_entry(reader, entries, i, &key, &value) && reader_equals(reader, key, name))
            return value;
    }
    return 0;
}

uint64_t reader_dict_get(struct object_reader *reader, uint64_t dict, const char *name)
{
    struct dict_entries entries;

    return reader_find_entries(reader, dict, &entries) ? get_entry(reader, &entries, name) : 0;
}

/* A run of words, a stride apart: those that aren't 0. */
struct words {
    uint64_t at, stride, count;
    bool hashed; /* of a set: {key, hash}, where the hash -1 stands for a deleted one */
};

static struct words find_words(struct object_reader *reader, uint64_t object)
{
    const struct heap_layout *layout = &reader->layout;
    struct dict_entries entries;

    if (reader_has_flag(reader, object, OBJECT_LIST))
        return (struct words){reader_u64(reader, object + layout->list.items), POINTER,
                              reader_u64(reader, object + layout->object.ob_size), false};
    if (reader_has_flag(reader, object, OBJECT_TUPLE))
        return (struct words){object + layout->tuple.items, POINTER,
                              reader_u64(reader, object + layout->object.ob_size), false};
    if (reader_is_derived(reader, object, "set") || reader_is_derived(reader, object, "frozenset"))
        return (struct words){reader_u64(reader, object + layout->set.table), 16,
                              reader_u64(reader, object + layout->set.mask) + 1, true};
    if (reader_find_entries(reader, object, &entries))
        return (struct words){entries.values, entries.value_stride, entries.count, false};
    return (struct words){0};
}

bool reader_items(struct object_reader *reader, uint64_t object, uint64_t **items, size_t *count)
{
    struct words words = find_words(reader, object);

    *items = NULL;
    *count = 0;
    if (!words.count || words.count > READER_ITEMS_MAX)
        return true;
    if (!(*items = calloc(words.count, sizeof(**items))))
        return false;
    for (uint64_t i = 0; i < words.count; i++) {
        uint64_t item = reader_u64(reader, words.at + i * words.stride);

        if (item && !(words.hashed && reader_u64(reader, words.at + i * words.stride + POINTER) == UINT64_MAX))
            (*items)[(*count)++] = item;
    }
    return true;
}

uint64_t reader_item(struct object_reader *reader, uint64_t object, uint64_t index)
{
    struct words words = find_words(reader, object);

    return !words.hashed && index < words.count ? reader_u64(reader, words.at + index * words.stride) : 0;
}

/* -------------------------------------------------------------- attributes */

/* In the values that the interpreter keeps in place of a dict; names are in the class's shared keys. */
static uint64_t get_inline(struct object_reader *reader, const struct object_type *type, uint64_t values, const char *name)
{
    struct dict_entries entries;
    uint64_t keys = reader_u64(reader, type->address + reader->layout.type.ht_cached_keys);

    return values && find_entries(reader, keys, values, &entries) ? get_entry(reader, &entries, name) : 0;
}

/* As read_managed_dict() of heap/readers.c has it. */
static uint64_t get_managed(struct object_reader *reader, uint64_t object, const struct object_type *type, const char *name)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t dict = reader_u64(reader, object - MANAGED_DICT), values = 0;

    if (layout->minor == 11) {
        values = reader_u64(reader, object - MANAGED_VALUES_11);
    } else if (layout->minor == 12) {
        if (dict & 1) {
            values = dict + 1;
            dict = 0;
        }
    } else if (type->flags & TYPE_INLINE_VALUES) {
        values = object + (uint64_t)type->basicsize;
        if (!reader_u8(reader, values + layout->dict_values.valid))
            values = 0;
    }
    uint64_t found = dict ? reader_dict_get(reader, dict, name) : 0;
    return found ? found : get_inline(reader, type, values, name);
}

/* Of one class: its __slots__. */
static uint64_t get_slot(struct object_reader *reader, uint64_t object, uint64_t type, const char *name)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t member = reader_u64(reader, type + layout->type.members);
    char text[NAME_MAX_BYTES];

    for (unsigned i = 0; member && i < MEMBERS_MAX; i++, member += layout->member.size) {
        uint32_t kind = reader_u32(reader, member + layout->member.type);
        if (!read_c_string(reader, reader_u64(reader, member), text, sizeof(text)))
            break;
        if ((kind == MEMBER_OBJECT || kind == MEMBER_OBJECT_EX) && !strcmp(text, name))
            return reader_u64(reader, object + reader_u64(reader, member + layout->member.offset));
    }
    return 0;
}

static uint64_t get_slots(struct object_reader *reader, uint64_t object, uint64_t type, const char *name)
{
    uint64_t found = 0;

    for (unsigned i = 0; type && !found && i < BASES_MAX; i++) {
        found = get_slot(reader, object, type, name);
        type = reader_u64(reader, type + reader->layout.type.base);
    }
    return found;
}

uint64_t reader_attribute(struct object_reader *reader, uint64_t object, const char *name)
{
    const struct object_type *type = find_type(reader, reader_type(reader, object));
    uint64_t found = 0;

    if (!type)
        return 0;
    if (type->flags & TYPE_MANAGED_DICT && reader->layout.minor >= 11)
        found = get_managed(reader, object, type, name);
    else if (type->dictoffset > 0)
        found = reader_dict_get(reader, reader_u64(reader, object + (uint64_t)type->dictoffset), name);
    return found ? found : get_slots(reader, object, type->address, name);
}

uint64_t reader_module_dict(struct object_reader *reader, uint64_t interpreter, const char *name)
{
    uint64_t modules = reader_u64(reader, interpreter + reader->layout.interpreter.modules);
    uint64_t module = reader_dict_get(reader, modules, name);

    return reader_is_derived(reader, module, "module") ? reader_u64(reader, module + reader->layout.module.dict) : 0;
}

uint64_t reader_function_name(struct object_reader *reader, uint64_t function)
{
    return reader_is(reader, function, "function") ? reader_named_field(reader, function, "function", "__qualname__") : 0;
}

uint64_t reader_function_closure(struct object_reader *reader, uint64_t function)
{
    return reader_is(reader, function, "function") ? reader_named_field(reader, function, "function", "__closure__") : 0;
}
