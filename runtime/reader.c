/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/reader.h"

#include <stdio.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/objects.h"

#define POINTER         8u
#define READS_MAX       UINT64_C(200000000)
#define THREAD_FRAMES   UINT64_C(2000000)
#define TAG_MASK        UINT64_C(3) /* of a word in a frame, 3.14+ */
#define TAG_MINOR       14
#define BASES_MAX       64
#define NAME_MAX_BYTES  256
#define FRAME_WORDS_MAX 65536u
#define MEMBERS_MAX     256
/* PyMemberDef.type of a slot (structmember.h). */
#define MEMBER_OBJECT    6
#define MEMBER_OBJECT_EX 16
/* tp_flags. */
#define TYPE_INLINE_VALUES (UINT64_C(1) << 2) /* 3.13+ */
#define TYPE_MANAGED_DICT  (UINT64_C(1) << 4) /* 3.11+ */
#define TYPE_HEAPTYPE      (UINT64_C(1) << 9)
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

void reader_deinit(struct object_reader *reader)
{
    codes_deinit(&reader->codes);
    view_deinit(&reader->view);
}

void reader_forget(struct object_reader *reader)
{
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

void reader_full_type_name(struct object_reader *reader, uint64_t object, char *text, size_t size)
{
    uint64_t type = reader_type(reader, object);
    char name[NAME_MAX_BYTES], module[NAME_MAX_BYTES], qualified[NAME_MAX_BYTES];

    snprintf(text, size, "?");
    if (!read_type_name(reader, type, name, sizeof(name)))
        return;
    snprintf(text, size, "%s", name);
    if (strchr(name, '.') || !(reader_u64(reader, type + reader->layout.type.flags) & TYPE_HEAPTYPE))
        return;
    uint64_t dict = reader_u64(reader, type + reader->layout.type.dict);
    uint64_t ht_qualname = reader_u64(reader, type + reader->layout.type.ht_qualname);
    if (reader_text(reader, ht_qualname, qualified, sizeof(qualified)) &&
        reader_text(reader, reader_dict_get(reader, dict, "__module__"), module, sizeof(module)))
        snprintf(text, size, "%s.%s", module, qualified);
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

bool reader_int(struct object_reader *reader, uint64_t object, int64_t *value)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t digits;
    bool negative;

    *value = 0;
    if (!reader_is_derived(reader, object, "int"))
        return false;
    if (layout->integer.tag != OFF_NONE) {
        uint64_t tag = reader_u64(reader, object + layout->integer.tag);
        digits = tag >> 3;
        negative = (tag & 3) == 2;
    } else {
        int64_t size = (int64_t)reader_u64(reader, object + layout->object.ob_size);
        negative = size < 0;
        digits = (uint64_t)(negative ? -size : size);
    }
    if (digits > 2)
        return false;
    for (uint64_t i = 0; i < digits; i++)
        *value |= (int64_t)(reader_u32(reader, object + layout->integer.digits + i * 4) & 0x3fffffff) << (i * 30);
    *value = negative ? -*value : *value;
    return true;
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

/* The entries of a dict: keys and values by number. */
struct dict_entries {
    uint64_t keys, key_stride;
    uint64_t values, value_stride;
    uint64_t count;
};

/* Up to 3.10: dk_size slots of 1 to 8 bytes, then entries of hash, key, value. */
static bool find_old_entries(struct object_reader *reader, uint64_t keys, uint64_t *entries, uint64_t *room)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t size = reader_u64(reader, keys + layout->dict_keys.size);
    uint64_t width = size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= UINT32_MAX ? 4 : 8;

    *room = size;
    *entries = keys + layout->dict_keys.indices + size * width;
    return size && !(size & (size - 1)) && size <= READER_ITEMS_MAX * 2;
}

static bool find_new_entries(struct object_reader *reader, uint64_t keys, uint64_t *entries, uint64_t *room)
{
    const struct heap_layout *layout = &reader->layout;
    uint8_t log2_size = reader_u8(reader, keys + layout->dict_keys.log2_size);
    uint8_t log2_bytes = reader_u8(reader, keys + layout->dict_keys.log2_index_bytes);

    if (log2_size > 24 || log2_bytes > 27)
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
    return found->count <= room;
}

static bool find_dict_entries(struct object_reader *reader, uint64_t dict, struct dict_entries *found)
{
    const struct heap_layout *layout = &reader->layout;

    return reader_is_derived(reader, dict, "dict") &&
           find_entries(reader, reader_u64(reader, dict + layout->dict.keys),
                        reader_u64(reader, dict + layout->dict.values), found);
}

static uint64_t get_entry(struct object_reader *reader, const struct dict_entries *entries, const char *name)
{
    for (uint64_t i = 0; i < entries->count; i++) {
        uint64_t value = reader_u64(reader, entries->values + i * entries->value_stride);

        if (value && reader_equals(reader, reader_u64(reader, entries->keys + i * entries->key_stride), name))
            return value;
    }
    return 0;
}

uint64_t reader_dict_get(struct object_reader *reader, uint64_t dict, const char *name)
{
    struct dict_entries entries;

    return find_dict_entries(reader, dict, &entries) ? get_entry(reader, &entries, name) : 0;
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

    if (reader_is_derived(reader, object, "list"))
        return (struct words){reader_u64(reader, object + layout->list.items), POINTER,
                              reader_u64(reader, object + layout->object.ob_size), false};
    if (reader_is_derived(reader, object, "tuple"))
        return (struct words){object + layout->tuple.items, POINTER,
                              reader_u64(reader, object + layout->object.ob_size), false};
    if (reader_is_derived(reader, object, "set") || reader_is_derived(reader, object, "frozenset"))
        return (struct words){reader_u64(reader, object + layout->set.table), 16,
                              reader_u64(reader, object + layout->set.mask) + 1, true};
    if (find_dict_entries(reader, object, &entries))
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
static uint64_t get_inline(struct object_reader *reader, uint64_t type, uint64_t values, const char *name)
{
    struct dict_entries entries;
    uint64_t keys = reader_u64(reader, type + reader->layout.type.ht_cached_keys);

    return values && find_entries(reader, keys, values, &entries) ? get_entry(reader, &entries, name) : 0;
}

/* As read_managed_dict() of heap/readers.c has it. */
static uint64_t get_managed(struct object_reader *reader, uint64_t object, uint64_t type, uint64_t flags,
                            const char *name)
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
    } else if (flags & TYPE_INLINE_VALUES) {
        values = object + reader_u64(reader, type + layout->type.basicsize);
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
    const struct heap_layout *layout = &reader->layout;
    uint64_t type = reader_type(reader, object), found = 0;

    if (!type)
        return 0;
    uint64_t flags = reader_u64(reader, type + layout->type.flags);
    int64_t offset = (int64_t)reader_u64(reader, type + layout->type.dictoffset);
    if (flags & TYPE_MANAGED_DICT && layout->minor >= 11)
        found = get_managed(reader, object, type, flags, name);
    else if (offset > 0)
        found = reader_dict_get(reader, reader_u64(reader, object + (uint64_t)offset), name);
    return found ? found : get_slots(reader, object, type, name);
}

uint64_t reader_module_dict(struct object_reader *reader, uint64_t interpreter, const char *name)
{
    uint64_t modules = reader_u64(reader, interpreter + reader->layout.interpreter.modules);
    uint64_t module = reader_dict_get(reader, modules, name);

    return reader_is_derived(reader, module, "module") ? reader_u64(reader, module + reader->layout.module.dict) : 0;
}

/* A field that the layout has by its name. */
static uint64_t read_named(struct object_reader *reader, uint64_t object, const char *type, const char *field)
{
    for (const struct heap_name *name = reader->layout.names; name && name->type; name++) {
        if (!strcmp(name->type, type) && !strcmp(name->name, field))
            return reader_u64(reader, object + name->offset);
    }
    return 0;
}

uint64_t reader_function_name(struct object_reader *reader, uint64_t function)
{
    return reader_is(reader, function, "function") ? read_named(reader, function, "function", "__qualname__") : 0;
}

uint64_t reader_function_closure(struct object_reader *reader, uint64_t function)
{
    return reader_is(reader, function, "function") ? read_named(reader, function, "function", "__closure__") : 0;
}

/* ------------------------------------------------------------------ frames */

bool reader_first_frame(struct object_reader *reader, const struct thread_state *thread, struct frame *frame)
{
    struct address at;
    struct error *error = frames_find_first(&reader->view.runtime, thread->address, &at, NULL);

    *frame = (struct frame){.previous = at};
    if (!error)
        return reader_next_frame(reader, frame);
    error_destroy(error);
    reader->misses++;
    return false;
}

bool reader_next_frame(struct object_reader *reader, struct frame *frame)
{
    while (frame->previous.value && reader->frames_left) {
        struct error *error = frames_read(&reader->view.runtime, frame->previous, frame);

        reader->frames_left--;
        if (error) {
            error_destroy(error);
            reader->misses++;
            return false;
        }
        if (!frame->shim)
            return true;
    }
    return false;
}

uint64_t reader_untag(const struct object_reader *reader, uint64_t word)
{
    if (reader->layout.minor < TAG_MINOR)
        return word;
    return (word & TAG_MASK) > 1 ? 0 : word & ~TAG_MASK; /* 2 and 3 are numbers */
}

static uint64_t tuple_size(struct object_reader *reader, uint64_t tuple)
{
    uint64_t size = tuple ? reader_u64(reader, tuple + reader->layout.object.ob_size) : 0;

    return size <= FRAME_WORDS_MAX ? size : 0;
}

uint64_t reader_frame_words(struct object_reader *reader, const struct frame *frame, uint64_t *variables)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t code = frame->code.value;

    if (layout->code.nlocalsplus != OFF_NONE) {
        *variables = reader_u32(reader, code + layout->code.nlocalsplus);
    } else {
        *variables = tuple_size(reader, reader_u64(reader, code + layout->code.varnames));
        *variables += tuple_size(reader, reader_u64(reader, code + layout->code.cellvars));
        *variables += tuple_size(reader, reader_u64(reader, code + layout->code.freevars));
    }
    if (*variables > FRAME_WORDS_MAX)
        *variables = 0;
    return frame->at.value +
           (layout->iframe.localsplus != OFF_NONE ? layout->iframe.localsplus : layout->frame.localsplus);
}

/* The variable's place, from `start` on, in a tuple of names; UINT64_MAX: it isn't there. */
static uint64_t find_name(struct object_reader *reader, uint64_t names, const char *name)
{
    uint64_t count = tuple_size(reader, names);

    for (uint64_t i = 0; i < count; i++) {
        if (reader_equals(reader, reader_u64(reader, names + reader->layout.tuple.items + i * POINTER), name))
            return i;
    }
    return UINT64_MAX;
}

static uint64_t read_variable(struct object_reader *reader, uint64_t at)
{
    uint64_t value = reader_untag(reader, reader_u64(reader, at));

    return value && reader_is(reader, value, "cell") ? reader_field(reader, value, 0) : value;
}

uint64_t reader_local(struct object_reader *reader, const struct frame *frame, const char *name)
{
    const struct heap_layout *layout = &reader->layout;
    const uint32_t old[] = {layout->code.varnames, layout->code.cellvars, layout->code.freevars};
    const uint32_t new[] = {layout->code.localsplusnames};
    bool is_new = layout->code.localsplusnames != OFF_NONE;
    uint64_t variables, words = reader_frame_words(reader, frame, &variables), value = 0, before = 0;

    for (unsigned i = 0; i < (is_new ? 1 : 3) && !value; i++) {
        uint64_t names = reader_u64(reader, frame->code.value + (is_new ? new[i] : old[i]));
        uint64_t place = find_name(reader, names, name);

        if (place != UINT64_MAX && before + place < variables)
            value = read_variable(reader, words + (before + place) * POINTER);
        before += tuple_size(reader, names);
    }
    return value;
}

bool reader_describe_frame(struct object_reader *reader, const struct frame *frame, struct python_frame *text)
{
    const struct code *code;
    struct error *error = codes_find(&reader->codes, &reader->view.runtime, frame->code, &code);

    *text = (struct python_frame){0};
    if (error) {
        error_destroy(error);
        reader->misses++;
        return false;
    }
    snprintf(text->function, sizeof(text->function), "%s", code->function);
    snprintf(text->file, sizeof(text->file), "%s", code->file);
    text->line = code_find_line(&reader->view.runtime, code, frame->instruction);
    return true;
}

/* -------------------------------------------------------------- generators */

/* How a generator says what it is doing. The numbers of the frame states moved from version to version. */
struct generator_states {
    unsigned minor;
    int8_t suspended, awaiting, running; /* awaiting == suspended: the next instruction tells */
    unsigned depth;                      /* of what is awaited in the value stack: 1 is on top */
};

static const struct generator_states generator_states[] = {
    {11, -1, -1, 0, 1}, {12, -1, -1, 0, 1}, {13, -2, -1, 0, 1}, {14, -2, -1, 0, 1}, {15, 1, 2, 4, 2},
};

/* SUSPENDED_YIELD_FROM_LOCKED, free-threaded 3.15. */
#define AWAITING_LOCKED_15 3
#define YIELD_FROM         72 /* the opcode, 3.8 to 3.10 */
#define RESUME_AWAIT       2  /* from this argument of RESUME on it comes after an await, 3.11 and 3.12 */

static const struct generator_states *find_states(const struct object_reader *reader)
{
    for (size_t i = 0; i < sizeof(generator_states) / sizeof(generator_states[0]); i++) {
        if (generator_states[i].minor == reader->layout.minor)
            return &generator_states[i];
    }
    return NULL;
}

bool reader_is_generator(struct object_reader *reader, uint64_t object)
{
    return reader_is(reader, object, "coroutine") || reader_is(reader, object, "generator") ||
           reader_is(reader, object, "async_generator");
}

bool reader_generator_frame(struct object_reader *reader, uint64_t generator, struct frame *frame)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t at;

    *frame = (struct frame){0};
    if (layout->generator.iframe != OFF_NONE) {
        int8_t state = (int8_t)reader_u8(reader, generator + layout->generator.frame_state);
        if (state >= (int8_t)layout->generator.frame_cleared)
            return false;
        at = generator + layout->generator.iframe;
    } else {
        at = reader_u64(reader, generator + layout->generator.frame);
    }
    if (!at)
        return false;
    struct error *error = frames_read(&reader->view.runtime, address_of(at), frame);
    bool found = !error && !frame->shim;
    reader->misses += error != NULL;
    error_destroy(error);
    return found;
}

/* Up to 3.10: what is on top of a suspended frame's stack; 0 where it runs. */
static uint64_t old_stack_top(struct object_reader *reader, uint64_t frame)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t stack = reader_u64(reader, frame + layout->frame.valuestack), top;

    if (layout->frame.stacktop != OFF_NONE) {
        top = reader_u64(reader, frame + layout->frame.stacktop);
    } else {
        int32_t depth = (int32_t)reader_u32(reader, frame + layout->frame.stackdepth);
        top = depth > 0 ? stack + (uint64_t)depth * POINTER : 0;
    }
    return top > stack ? reader_u64(reader, top - POINTER) : 0;
}

/* 3.11+: what is `depth` from the top of a suspended frame's stack. */
static uint64_t new_stack_item(struct object_reader *reader, const struct frame *frame, unsigned depth)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t variables, words = reader_frame_words(reader, frame, &variables), top;

    if (layout->iframe.stackpointer != OFF_NONE)
        top = reader_u64(reader, frame->at.value + layout->iframe.stackpointer);
    else
        top = words + reader_u32(reader, frame->at.value + layout->iframe.stacktop) * (uint64_t)POINTER;
    if (top < words + (variables + depth) * POINTER || top > words + FRAME_WORDS_MAX * (uint64_t)POINTER)
        return 0;
    return reader_untag(reader, reader_u64(reader, top - depth * (uint64_t)POINTER));
}

/* Does the suspended frame's next instruction go on with an await? 3.8 to 3.12. */
static bool awaits_by_code(struct object_reader *reader, const struct frame *frame)
{
    const struct heap_layout *layout = &reader->layout;

    if (frame->instruction < 0)
        return false;
    if (layout->code.code != OFF_NONE) {
        uint64_t bytes = reader_u64(reader, frame->code.value + layout->code.code);
        uint64_t at = bytes + reader->view.runtime.layout.bytes.ob_sval + (uint64_t)frame->instruction + 2;
        return bytes && reader_u8(reader, at) == YIELD_FROM;
    }
    uint64_t at = frame->code.value + layout->code.adaptive + (uint64_t)frame->instruction + 2;
    return (reader_u8(reader, at + 1) & 3) >= RESUME_AWAIT;
}

bool reader_generator_runs(struct object_reader *reader, uint64_t generator)
{
    const struct heap_layout *layout = &reader->layout;
    const struct generator_states *states = find_states(reader);
    struct frame frame;

    if (states)
        return (int8_t)reader_u8(reader, generator + layout->generator.frame_state) == states->running;
    if (!reader_generator_frame(reader, generator, &frame))
        return false;
    if (layout->frame.stacktop != OFF_NONE)
        return frame.instruction >= 0 && !reader_u64(reader, frame.at.value + layout->frame.stacktop);
    return (int32_t)reader_u32(reader, frame.at.value + layout->frame.stackdepth) < 0;
}

uint64_t reader_generator_awaits(struct object_reader *reader, uint64_t generator)
{
    const struct heap_layout *layout = &reader->layout;
    const struct generator_states *states = find_states(reader);
    struct frame frame;

    if (!reader_generator_frame(reader, generator, &frame))
        return 0;
    if (!states)
        return awaits_by_code(reader, &frame) ? old_stack_top(reader, frame.at.value) : 0;
    int8_t state = (int8_t)reader_u8(reader, generator + layout->generator.frame_state);
    if (state != states->awaiting && !(layout->minor == 15 && state == AWAITING_LOCKED_15))
        return 0;
    if (states->awaiting == states->suspended && !awaits_by_code(reader, &frame))
        return 0;
    return new_stack_item(reader, &frame, states->depth);
}

bool reader_generator_name(struct object_reader *reader, uint64_t generator, char *text, size_t size)
{
    /* gi_qualname: in the same place of all three kinds. */
    return reader_text(reader, read_named(reader, generator, "coroutine", "__qualname__"), text, size);
}
