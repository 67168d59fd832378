/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which references an object holds, and what each is called. A reader per kind of
 * builtin; for what is left, the words of the body that lead to objects. All of it
 * is bounded by the memory that there is, whatever the target's numbers say.
 */
#include "runtime/heap/internal.h"

/* _collectionsmodule.c and odictobject.c keep these to themselves; the same in every version. */
#define DEQUE_LEFT_BLOCK            24u
#define DEQUE_LEFT_INDEX            40u
#define DEQUE_BLOCK_ITEMS           64u
#define DEQUE_BLOCK_RIGHT           520u
#define ODICT_FIRST                 0u /* from the end of the dict on */
#define ODICT_INST_DICT             48u
#define ODICT_NODE_NEXT             16u
#define LRU_NEXT                    24u /* _functoolsmodule.c: prev, next, hash, key, result */
#define LRU_KEY                     40u
#define LRU_RESULT                  48u
#define ELEMENT_EXTRA               40u /* _elementtree.c: tag, text, tail, then attrib, length, allocated, children */
#define ELEMENT_LENGTH              8u
#define ELEMENT_CHILDREN            24u
#define TEE_COUNT                   24u /* itertoolsmodule.c: of an object's 57 places those in use */
#define TEE_ITEMS                   40u
#define TEE_ITEMS_MAX               57u
#define STATE_MAX                   (1u << 20)
#define FRAME_OWNED_BY_FRAME_OBJECT 2
#define TAG_MASK                    UINT64_C(3) /* of a stack reference, 3.14+ */
#define TAG_UNCOUNTED               UINT64_C(1)

struct reader {
    struct heap *heap;
    struct heap_image *image;
    const struct heap_layout *layout;
    struct heap_visitor *visitor;
};

static void emit(const struct reader *reader, struct heap_edge edge)
{
    edge.counted = true;
    if (edge.target)
        reader->visitor->edge(reader->visitor, &edge, false);
}

static void emit_label(const struct reader *reader, uint64_t target, const char *label)
{
    emit(reader, (struct heap_edge){.kind = HEAP_EDGE_FIELD, .target = target, .label = label});
}

/* A number of a target's, at most as many as we read of one object. */
static uint64_t bounded(const struct reader *reader, uint64_t count)
{
    return count < reader->heap->items_max ? count : reader->heap->items_max;
}

/* `count` references side by side. */
static void emit_items(const struct reader *reader, uint64_t items, uint64_t count, enum heap_edge_kind kind)
{
    count = bounded(reader, count);
    const unsigned char *bytes = heap_image_get(reader->image, items, count * 8);

    for (uint64_t i = 0; bytes && i < count; i++) {
        uint64_t target;
        memcpy(&target, bytes + i * 8, sizeof(target));
        emit(reader, (struct heap_edge){.kind = kind, .target = target, .number = i});
    }
}

static uint64_t ob_size(const struct reader *reader, uint64_t object)
{
    return heap_image_u64(reader->image, object + reader->layout->object.ob_size);
}

/* ----------------------------------------------------------- containers */

static void read_list(const struct reader *reader, uint64_t object)
{
    uint64_t items = heap_image_u64(reader->image, object + reader->layout->list.items);

    emit_items(reader, items, ob_size(reader, object), HEAP_EDGE_INDEX);
}

/* A struct sequence has more items than it shows: its type's members tell of them. */
static void read_tuple(const struct reader *reader, uint64_t object, const struct heap_type *type)
{
    uint64_t count = ob_size(reader, object);

    emit_items(reader, object + reader->layout->tuple.items, count > type->hidden_items ? count : type->hidden_items,
               HEAP_EDGE_INDEX);
}

static void read_set(const struct reader *reader, uint64_t object)
{
    uint64_t table = heap_image_u64(reader->image, object + reader->layout->set.table);
    uint64_t slots = bounded(reader, heap_image_u64(reader->image, object + reader->layout->set.mask) + 1);
    const unsigned char *bytes = heap_image_get(reader->image, table, slots * 16);

    for (uint64_t i = 0; bytes && i < slots; i++) {
        uint64_t entry[2]; /* key, hash: -1 stands for a deleted one */
        memcpy(entry, bytes + i * 16, sizeof(entry));
        if (entry[1] != UINT64_MAX)
            emit(reader, (struct heap_edge){.kind = HEAP_EDGE_ELEMENT, .target = entry[0], .number = i});
    }
}

/* A combined table: keys and values side by side. */
static void read_entries(const struct reader *reader, const struct heap_dict_keys *keys)
{
    uint64_t count = bounded(reader, keys->count);
    const unsigned char *bytes = heap_image_get(reader->image, keys->entries, count * keys->stride);

    for (uint64_t i = 0; bytes && i < count; i++, bytes += keys->stride) {
        uint64_t key, value;
        memcpy(&key, bytes + keys->key, sizeof(key));
        memcpy(&value, bytes + keys->value, sizeof(value));
        if (!value)
            continue;
        emit(reader, (struct heap_edge){.kind = HEAP_EDGE_KEY, .target = key, .number = i});
        emit(reader, (struct heap_edge){.kind = HEAP_EDGE_VALUE, .target = value, .name = key, .number = i});
    }
}

/* A split table's values, named by the keys that instances share. */
static void read_values(const struct reader *reader, const struct heap_dict_keys *keys, uint64_t values, uint64_t count,
                        enum heap_edge_kind kind, bool counted)
{
    count = bounded(reader, count);
    const unsigned char *bytes = heap_image_get(reader->image, values, count * 8);

    for (uint64_t i = 0; bytes && i < count; i++) {
        uint64_t value, name = 0;
        memcpy(&value, bytes + i * 8, sizeof(value));
        if (!value)
            continue;
        if (i < keys->count)
            name = heap_image_u64(reader->image, keys->entries + i * keys->stride + keys->key);
        struct heap_edge edge = {.kind = kind, .target = value, .name = name, .number = i, .counted = counted};
        reader->visitor->edge(reader->visitor, &edge, false);
    }
}

static void read_dict(const struct reader *reader, uint64_t object)
{
    uint64_t values = heap_image_u64(reader->image, object + reader->layout->dict.values);
    struct heap_dict_keys keys;

    if (!heap_read_dict_keys(reader->heap, heap_image_u64(reader->image, object + reader->layout->dict.keys), &keys))
        return;
    if (!values)
        read_entries(reader, &keys);
    else
        read_values(reader, &keys, values + reader->layout->dict_values.items, keys.count, HEAP_EDGE_VALUE, true);
}

static void read_deque(const struct reader *reader, uint64_t object)
{
    uint64_t block = heap_image_u64(reader->image, object + DEQUE_LEFT_BLOCK);
    uint64_t index = heap_image_u64(reader->image, object + DEQUE_LEFT_INDEX);
    uint64_t left = bounded(reader, ob_size(reader, object));

    for (uint64_t i = 0; i < left; i++, index++) {
        if (index >= DEQUE_BLOCK_ITEMS) {
            block = heap_image_u64(reader->image, block + DEQUE_BLOCK_RIGHT);
            index = 0;
        }
        if (!heap_image_get(reader->image, block, DEQUE_BLOCK_RIGHT + 8))
            return;
        uint64_t target = heap_image_u64(reader->image, block + 8 + index * 8);
        emit(reader, (struct heap_edge){.kind = HEAP_EDGE_INDEX, .target = target, .number = i});
    }
}

/* A dict, and a list of nodes that hold its keys once more in their order. */
static void read_ordered_dict(const struct reader *reader, uint64_t object)
{
    uint64_t rest = object + reader->layout->dict.size;
    uint64_t node = heap_image_u64(reader->image, rest + ODICT_FIRST);
    uint64_t left = bounded(reader, reader->image->size / 32);

    read_dict(reader, object);
    emit_label(reader, heap_image_u64(reader->image, rest + ODICT_INST_DICT), "__dict__");
    for (uint64_t i = 0; node && i < left && heap_image_get(reader->image, node, 32); i++) {
        emit(reader,
             (struct heap_edge){.kind = HEAP_EDGE_KEY, .target = heap_image_u64(reader->image, node), .number = i});
        node = heap_image_u64(reader->image, node + ODICT_NODE_NEXT);
    }
}

static void pass_type(const struct reader *reader, uint64_t object)
{
    struct heap_edge edge = {.kind = HEAP_EDGE_TYPE};

    edge.target = heap_image_u64(reader->image, object + reader->layout->object.type);
    reader->visitor->edge(reader->visitor, &edge, true);
}

/* functools.lru_cache: a ring of links, whose keys and results the collector is told of as if they were the cache's. */
static void read_lru_cache(const struct reader *reader, uint64_t object)
{
    uint64_t link = heap_image_u64(reader->image, object + LRU_NEXT);

    for (uint64_t left = bounded(reader, reader->image->size / 32); left && link != object; left--) {
        if (!heap_image_get(reader->image, link, LRU_RESULT + 8))
            return;
        for (uint64_t at = LRU_KEY; at <= LRU_RESULT; at += 8) {
            struct heap_edge edge = {.kind = HEAP_EDGE_FIELD, .label = at == LRU_KEY ? "key" : "result"};
            edge.target = heap_image_u64(reader->image, link + at);
            if (edge.target)
                reader->visitor->edge(reader->visitor, &edge, true);
        }
        if (reader->layout->minor >= 9) /* of the links themselves, which the collector doesn't track */
            pass_type(reader, link);
        link = heap_image_u64(reader->image, link + LRU_NEXT);
    }
}

/* An Element of ElementTree: text and tail may carry a flag in bit 0. */
static void read_element(const struct reader *reader, uint64_t object)
{
    uint64_t extra = heap_image_u64(reader->image, object + ELEMENT_EXTRA);

    emit_label(reader, heap_image_u64(reader->image, object + 16), "tag");
    emit_label(reader, heap_image_u64(reader->image, object + 24) & ~UINT64_C(1), "text");
    emit_label(reader, heap_image_u64(reader->image, object + 32) & ~UINT64_C(1), "tail");
    if (!extra || !heap_image_get(reader->image, extra, ELEMENT_CHILDREN + 8))
        return;
    emit_label(reader, heap_image_u64(reader->image, extra), "attrib");
    emit_items(reader, heap_image_u64(reader->image, extra + ELEMENT_CHILDREN),
               heap_image_u64(reader->image, extra + ELEMENT_LENGTH), HEAP_EDGE_INDEX);
}

/* What itertools.tee() has read ahead. Of the places behind nothing is written until it is needed. */
static void read_tee(const struct reader *reader, uint64_t object)
{
    uint64_t count = heap_image_u32(reader->image, object + TEE_COUNT);

    if (count <= TEE_ITEMS_MAX)
        emit_items(reader, object + TEE_ITEMS, count, HEAP_EDGE_INDEX);
}

static void read_ndarray(const struct reader *reader, uint64_t object)
{
    struct heap_ndarray array;

    if (heap_read_ndarray(reader->heap, object, &array) && array.of_objects)
        emit_items(reader, array.data, array.items, HEAP_EDGE_INDEX);
}

/* ---------------------------------------------------------------- types */

static void read_cached_keys(const struct reader *reader, uint64_t object)
{
    struct heap_dict_keys keys;
    uint64_t at = heap_image_u64(reader->image, object + reader->layout->type.ht_cached_keys);

    if (!at || !heap_read_dict_keys(reader->heap, at, &keys))
        return;
    for (uint64_t i = 0; i < bounded(reader, keys.count); i++)
        emit(reader,
             (struct heap_edge){.kind = HEAP_EDGE_KEY,
                                .target = heap_image_u64(reader->image, keys.entries + i * keys.stride + keys.key),
                                .number = i});
}

static void read_type_object(const struct reader *reader, uint64_t object)
{
    const struct heap_layout *layout = reader->layout;
    uint64_t flags = heap_image_u64(reader->image, object + layout->type.flags);

#define FIELD(member, name) emit_label(reader, heap_image_u64(reader->image, object + layout->type.member), name)
    FIELD(dict, "__dict__");
    FIELD(bases, "__bases__");
    FIELD(mro, "__mro__");
    FIELD(base, "__base__");
    FIELD(cache, "tp_cache");
    if (!(flags & TYPE_HEAPTYPE)) {
        if (layout->minor < 12)
            FIELD(subclasses, "__subclasses__");
        return;
    }
    FIELD(subclasses, "__subclasses__");
    FIELD(ht_name, "__name__");
    FIELD(ht_qualname, "__qualname__");
    FIELD(ht_slots, "__slots__");
    if (layout->type.ht_module != OFF_NONE)
        FIELD(ht_module, "ht_module");
#undef FIELD
    read_cached_keys(reader, object);
}

/* Bytes of a module's C state; 0 where it has none. */
static uint64_t state_size(const struct reader *reader, uint64_t object)
{
    const struct heap_layout *layout = reader->layout;

    if (layout->module.state_size != OFF_NONE)
        return heap_image_u64(reader->image, object + layout->module.state_size);
    uint64_t def = heap_image_u64(reader->image, object + layout->module.def);
    return def ? heap_image_u64(reader->image, def + layout->module.def_size) : 0;
}

static void read_module(const struct reader *reader, uint64_t object)
{
    uint64_t state = heap_image_u64(reader->image, object + reader->layout->module.state);
    uint64_t size = state_size(reader, object);
    const unsigned char *bytes =
        state % 8 || size > STATE_MAX ? NULL : heap_image_get(reader->image, state, size & ~UINT64_C(7));

    emit_label(reader, heap_image_u64(reader->image, object + reader->layout->module.dict), "__dict__");
    for (uint64_t at = 0; bytes && at + 8 <= size; at += 8) {
        struct heap_edge edge = {.kind = HEAP_EDGE_STATE, .number = at, .counted = true};
        memcpy(&edge.target, bytes + at, sizeof(edge.target));
        if (edge.target)
            reader->visitor->edge(reader->visitor, &edge, true);
    }
}

static void read_code(const struct reader *reader, uint64_t object)
{
    const struct heap_layout *layout = reader->layout;

    if (layout->code.cached == OFF_NONE)
        return;
    uint64_t cached = heap_image_u64(reader->image, object + layout->code.cached);
    if (layout->code.cached_count)
        emit_items(reader, cached, layout->code.cached_count, HEAP_EDGE_STACK);
    else
        emit_label(reader, cached, "co_code");
}

/* --------------------------------------------------------------- frames */

static uint64_t tuple_item(const struct reader *reader, uint64_t tuple, uint64_t index)
{
    return index < ob_size(reader, tuple)
               ? heap_image_u64(reader->image, tuple + reader->layout->tuple.items + index * 8)
               : 0;
}

/* The name of a frame's variable: variables, then cells, then free ones. */
static uint64_t variable_name(const struct reader *reader, uint64_t code, uint64_t index)
{
    const struct heap_layout *layout = reader->layout;

    if (layout->code.localsplusnames != OFF_NONE)
        return tuple_item(reader, heap_image_u64(reader->image, code + layout->code.localsplusnames), index);
    const uint32_t lists[] = {layout->code.varnames, layout->code.cellvars, layout->code.freevars};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        uint64_t names = heap_image_u64(reader->image, code + lists[i]);
        uint64_t count = names ? ob_size(reader, names) : 0;
        if (index < count)
            return tuple_item(reader, names, index);
        index -= count;
    }
    return 0;
}

static uint64_t variable_count(const struct reader *reader, uint64_t code)
{
    const struct heap_layout *layout = reader->layout;

    if (layout->code.nlocalsplus != OFF_NONE)
        return heap_image_u32(reader->image, code + layout->code.nlocalsplus);
    uint64_t count = heap_image_u32(reader->image, code + layout->code.nlocals);
    uint64_t cells = heap_image_u64(reader->image, code + layout->code.cellvars);
    uint64_t frees = heap_image_u64(reader->image, code + layout->code.freevars);
    return count + (cells ? ob_size(reader, cells) : 0) + (frees ? ob_size(reader, frees) : 0);
}

/* Variables and value stack: `count` words of which the first are the code's variables. */
static void read_variables(const struct reader *reader, uint64_t code, uint64_t words, uint64_t count,
                           uint64_t variables)
{
    bool tagged = reader->layout->minor >= 14;

    for (uint64_t i = 0; i < count && heap_image_get(reader->image, words + i * 8, 8); i++) {
        struct heap_edge edge = {
            .kind = i < variables ? HEAP_EDGE_LOCAL : HEAP_EDGE_STACK, .number = i, .counted = true};
        edge.target = heap_image_u64(reader->image, words + i * 8);
        if (tagged) {
            if ((edge.target & TAG_MASK) > TAG_UNCOUNTED) /* a number, no reference */
                continue;
            edge.counted = !(edge.target & TAG_UNCOUNTED);
            edge.target &= ~TAG_MASK;
        }
        if (edge.target && i < variables)
            edge.name = variable_name(reader, code, i);
        if (edge.target)
            reader->visitor->edge(reader->visitor, &edge, false);
    }
}

#define FRAME_WORDS_MAX 65536u

static void read_old_frame(const struct reader *reader, uint64_t object)
{
    const struct heap_layout *layout = reader->layout;
    uint64_t code = heap_image_u64(reader->image, object + layout->frame.code);
    uint64_t words = object + layout->frame.localsplus;
    uint64_t variables = variable_count(reader, code), count = variables;
    uint64_t stack = heap_image_u64(reader->image, object + layout->frame.valuestack);

    if (layout->frame.stacktop != OFF_NONE) {
        uint64_t top = heap_image_u64(reader->image, object + layout->frame.stacktop);
        if (top > stack)
            count += (top - stack) / 8;
    } else {
        int32_t depth = (int32_t)heap_image_u32(reader->image, object + layout->frame.stackdepth);
        count += depth > 0 ? (uint64_t)depth : 0;
    }
    if (stack == words + variables * 8 && count <= FRAME_WORDS_MAX)
        read_variables(reader, code, words, count, variables);
}

/* How many words of a frame of 3.11+ are in use. */
static uint64_t count_words(const struct reader *reader, uint64_t frame, uint64_t variables)
{
    const struct heap_layout *layout = reader->layout;
    uint64_t count = 0;

    if (layout->iframe.stackpointer != OFF_NONE) {
        uint64_t top = heap_image_u64(reader->image, frame + layout->iframe.stackpointer);
        uint64_t words = frame + layout->iframe.localsplus;
        count = top > words ? (top - words) / 8 : 0;
    } else {
        int32_t top = (int32_t)heap_image_u32(reader->image, frame + layout->iframe.stacktop);
        count = top > 0 ? (uint64_t)top : 0;
    }
    return count >= variables && count <= FRAME_WORDS_MAX ? count : variables;
}

static uint64_t untag(uint64_t word)
{
    return word & ~TAG_MASK;
}

/* A field that from 3.14 on may be a stack reference that isn't counted. */
static void emit_tagged(const struct reader *reader, uint64_t word, const char *label)
{
    struct heap_edge edge = {.kind = HEAP_EDGE_FIELD, .target = untag(word), .label = label};

    edge.counted = reader->layout->minor < 14 || !(word & TAG_UNCOUNTED);
    if (edge.target)
        reader->visitor->edge(reader->visitor, &edge, false);
}

static void read_iframe(const struct reader *reader, uint64_t frame)
{
    const struct heap_layout *layout = reader->layout;
    uint64_t executable = heap_image_u64(reader->image, frame + layout->iframe.code);
    uint64_t code = untag(executable);
    uint64_t variables = heap_image_u32(reader->image, code + layout->code.nlocalsplus);

    emit_tagged(reader, executable, "code");
    emit_tagged(reader, heap_image_u64(reader->image, frame + layout->iframe.function), "function");
    emit_label(reader, heap_image_u64(reader->image, frame + layout->iframe.locals), "f_locals");
    emit_label(reader, heap_image_u64(reader->image, frame + layout->iframe.frame_obj), "frame");
    if (variables <= FRAME_WORDS_MAX)
        read_variables(reader, code, frame + layout->iframe.localsplus, count_words(reader, frame, variables),
                       variables);
}

static void read_frame(const struct reader *reader, uint64_t object)
{
    const struct heap_layout *layout = reader->layout;

    if (layout->frame.frame == OFF_NONE) {
        read_old_frame(reader, object);
        return;
    }
    uint64_t frame = heap_image_u64(reader->image, object + layout->frame.frame);
    if (frame == object + layout->frame.data &&
        heap_image_u8(reader->image, frame + layout->iframe.owner) == FRAME_OWNED_BY_FRAME_OBJECT)
        read_iframe(reader, frame);
}

static void read_generator(const struct reader *reader, uint64_t object)
{
    const struct heap_layout *layout = reader->layout;

    if (layout->generator.iframe == OFF_NONE)
        return;
    int8_t state = (int8_t)heap_image_u8(reader->image, object + layout->generator.frame_state);
    if (state < (int8_t)layout->generator.frame_cleared)
        read_iframe(reader, object + layout->generator.iframe);
    else if (layout->minor >= 14) /* its code is all that is left */
        emit_tagged(reader, heap_image_u64(reader->image, object + layout->generator.iframe + layout->iframe.code),
                    "code");
}

void heap_read_iframe(struct heap *heap, uint64_t frame, struct heap_visitor *visitor)
{
    struct reader reader = {heap, heap->image, &heap->layout, visitor};

    read_iframe(&reader, frame);
}

/* -------------------------------------------------------------- any object */

/* The instance's own dict, where the type has a place for it. */
static void read_dict_word(const struct reader *reader, uint64_t object, const struct heap_type *type)
{
    int64_t offset = type->dictoffset;

    if (type->flags & TYPE_MANAGED_DICT && reader->layout->minor >= 11)
        return;
    if (offset < 0) /* counted from the end of the items */
        offset += (int64_t)(((uint64_t)type->basicsize +
                             heap_item_count(reader->heap, object, type) * (uint64_t)type->itemsize + 7) &
                            ~UINT64_C(7));
    if (offset > 0)
        emit_label(reader, heap_image_u64(reader->image, object + (uint64_t)offset), "__dict__");
}

static void read_attributes(const struct reader *reader, const struct heap_type *type, uint64_t values, uint64_t count,
                            bool counted)
{
    struct heap_dict_keys keys;
    uint64_t at = heap_image_u64(reader->image, type->address + reader->layout->type.ht_cached_keys);

    if (at && heap_read_dict_keys(reader->heap, at, &keys))
        read_values(reader, &keys, values + reader->layout->dict_values.items, count ? count : keys.count,
                    HEAP_EDGE_ATTRIBUTE, counted);
}

/*
 * The dict that the interpreter keeps before the object, or the values in its place:
 *   3.11   -32 values, -24 dict
 *   3.12   -24 dict, or values - 1
 *   3.13+  -24 dict; values behind the object, which such a dict may share
 */
static void read_managed_dict(const struct reader *reader, uint64_t object, const struct heap_type *type)
{
    const struct heap_layout *layout = reader->layout;
    uint64_t dict = heap_image_u64(reader->image, object - 24);
    uint64_t values = 0, capacity = 0;
    bool shared = false; /* the dict looks into the values, and counts as their holder */

    if (layout->minor == 11) {
        values = heap_image_u64(reader->image, object - 32);
    } else if (layout->minor == 12) {
        if (dict & 1) {
            values = dict + 1;
            dict = 0;
        }
    } else if (type->flags & TYPE_INLINE_VALUES) {
        values = object + (uint64_t)type->basicsize;
        capacity = heap_image_u8(reader->image, values + layout->dict_values.capacity);
        if (!capacity || !heap_image_u8(reader->image, values + layout->dict_values.valid))
            values = 0;
        shared = dict && heap_image_u64(reader->image, dict + layout->dict.values) == values;
    }
    emit_label(reader, dict, "__dict__");
    if (values)
        read_attributes(reader, type, values, capacity, !shared);
}

static void read_fields(const struct reader *reader, uint64_t object, const struct heap_type *type)
{
    const struct heap_field *field = reader->heap->fields + type->fields;
    const unsigned char *bytes = heap_image_get(reader->image, object, (uint64_t)type->basicsize);

    for (uint32_t i = 0; bytes && i < type->field_count; i++, field++) {
        struct heap_edge edge = {.kind = field->kind, .number = field->offset, .label = field->label, .counted = true};
        if (field->offset + 8 > type->basicsize)
            continue;
        memcpy(&edge.target, bytes + field->offset, sizeof(edge.target));
        if (edge.target)
            reader->visitor->edge(reader->visitor, &edge, true);
    }
}

/* The items of an object that no reader knows, where they are words. */
static void read_any_items(const struct reader *reader, uint64_t object, const struct heap_type *type)
{
    uint64_t count = type->itemsize == 8 ? heap_item_count(reader->heap, object, type) : 0;
    uint64_t items = object + (uint64_t)type->basicsize;
    count = bounded(reader, count);
    const unsigned char *bytes = heap_image_get(reader->image, items, count * 8);

    for (uint64_t i = 0; bytes && i < count; i++) {
        struct heap_edge edge = {.kind = HEAP_EDGE_INDEX, .number = i, .counted = true};
        memcpy(&edge.target, bytes + i * 8, sizeof(edge.target));
        if (edge.target)
            reader->visitor->edge(reader->visitor, &edge, true);
    }
}

static void read_body(const struct reader *reader, uint64_t object, const struct heap_type *type)
{
    switch (type->kind) {
    case KIND_LIST:
        read_list(reader, object);
        break;
    case KIND_TUPLE:
        read_tuple(reader, object, type);
        break;
    case KIND_DICT:
        read_dict(reader, object);
        break;
    case KIND_SET:
        read_set(reader, object);
        break;
    case KIND_TYPE:
        read_type_object(reader, object);
        break;
    case KIND_FRAME:
        read_frame(reader, object);
        break;
    case KIND_GENERATOR:
        read_generator(reader, object);
        break;
    case KIND_CODE:
        read_code(reader, object);
        break;
    case KIND_DEQUE:
        read_deque(reader, object);
        break;
    case KIND_ORDERED_DICT:
        read_ordered_dict(reader, object);
        break;
    case KIND_LRU_CACHE:
        read_lru_cache(reader, object);
        break;
    case KIND_ELEMENT:
        read_element(reader, object);
        break;
    case KIND_MODULE:
        read_module(reader, object);
        break;
    case KIND_NDARRAY:
        read_ndarray(reader, object);
        break;
    case KIND_TEE:
        read_tee(reader, object);
        break;
    case KIND_ANY:
        read_any_items(reader, object, type);
        break;
    default: /* nothing but the fields */
        break;
    }
}

void heap_read_object(struct heap *heap, uint64_t object, uint32_t number, struct heap_visitor *visitor)
{
    struct reader reader = {heap, heap->image, &heap->layout, visitor};
    const struct heap_type *type = &heap->types[number];

    if (type->flags & TYPE_HEAPTYPE)
        emit(&reader, (struct heap_edge){.kind = HEAP_EDGE_TYPE, .target = type->address});
    read_body(&reader, object, type);
    if (type->field_count)
        read_fields(&reader, object, type);
    if (type->dictoffset && type->kind != KIND_TYPE && type->kind != KIND_MODULE) /* whose readers have it */
        read_dict_word(&reader, object, type);
    if (type->flags & TYPE_MANAGED_DICT && heap->layout.minor >= 11)
        read_managed_dict(&reader, object, type);
}
