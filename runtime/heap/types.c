/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A type is a type when its own types lead to PyType_Type. Everything else about
 * an object hangs on that, so that it is checked once and kept: found types in a
 * hash table, the last answers (yes and no) in a small cache before it.
 */
#include <stdlib.h>

#include "runtime/heap/internal.h"

#define NAME_MAX_    512
#define CHAIN_MAX    16
#define BASES_MAX    100
#define MEMBERS_MAX  1024
#define FIELDS_MAX   (1u << 22) /* of all types */
#define TYPE_SIZE_OF 16         /* a reference count and a type: the least that an object has */

static int64_t load_i64(const unsigned char *from)
{
    int64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static uint64_t load_u64(const unsigned char *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* -------------------------------------------------------------- checks */

static bool is_name(const char *name)
{
    size_t length = 0;

    for (; name[length]; length++)
        if ((unsigned char)name[length] < ' ' || name[length] == 127)
            return false;
    return length > 0;
}

/* tp_name, from the image or the file's constants. NULL when it is no text. */
static char *read_name(struct heap *heap, uint64_t address)
{
    char name[NAME_MAX_];
    const unsigned char *bytes = address ? heap_image_get(heap->image, address, 1) : NULL;

    if (!address)
        return NULL;
    if (bytes) {
        const struct heap_range *range = heap->image->last;
        uint64_t left = range->size - (address - range->start);
        size_t room = left < sizeof(name) - 1 ? (size_t)left : sizeof(name) - 1;
        memcpy(name, bytes, room);
        name[room] = '\0';
    } else {
        struct error *error = memory_read_string(heap->memory, address_of(address), name, sizeof(name));
        if (error) {
            error_destroy(error);
            return NULL;
        }
    }
    return is_name(name) ? strdup(name) : NULL;
}

/* Do the types of the type lead to PyType_Type? */
static bool leads_to_type(struct heap *heap, uint64_t type)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t meta = heap_image_u64(heap->image, type + layout->object.type);

    for (int i = 0; i < CHAIN_MAX; i++) {
        if (meta == heap->type_type)
            return true;
        const unsigned char *bytes = meta % 8 ? NULL : heap_image_get(heap->image, meta, layout->type.size);
        if (!bytes || !(load_u64(bytes + layout->type.flags) & TYPE_TYPE_SUBCLASS))
            return false;
        meta = load_u64(bytes + layout->object.type);
    }
    return false;
}

/* Up to 3.8 some static types of builtin modules never get ready: no type of their own. */
static bool is_unready_static(struct heap *heap, const unsigned char *bytes)
{
    return heap->layout.minor <= 9 && heap->image->last->statics && !load_u64(bytes + heap->layout.object.type) &&
           load_u64(bytes + heap->layout.object.refcount) >= 1 &&
           load_u64(bytes + heap->layout.object.refcount) < 1 << 24;
}

static bool is_type(struct heap *heap, uint64_t address)
{
    const struct heap_layout *layout = &heap->layout;
    const unsigned char *bytes = address % 8 ? NULL : heap_image_get(heap->image, address, layout->type.size);

    if (!bytes || !heap_read_refcount(heap, bytes).alive)
        return false;
    int64_t basicsize = load_i64(bytes + layout->type.basicsize);
    int64_t itemsize = load_i64(bytes + layout->type.itemsize);
    if (basicsize < TYPE_SIZE_OF || basicsize > 1 << 28 || itemsize < 0 || itemsize > 1 << 20)
        return false;
    return is_unready_static(heap, bytes) || leads_to_type(heap, address);
}

/* -------------------------------------------------------------- fields */

static bool add_field(struct heap *heap, uint32_t offset, enum heap_edge_kind kind, const char *label)
{
    if (heap->field_count == FIELDS_MAX)
        return false;
    if (heap->field_count == heap->field_room) {
        uint32_t room = heap->field_room ? heap->field_room * 2 : 4096;
        struct heap_field *larger = malloc(room * sizeof(*larger));
        if (!larger) {
            heap->out_of_memory = true;
            return false;
        }
        if (heap->fields)
            memcpy(larger, heap->fields, heap->field_count * sizeof(*larger));
        heap_retire(heap, heap->fields);
        heap->fields = larger;
        heap->field_room = room;
    }
    heap->fields[heap->field_count++] = (struct heap_field){offset, (uint8_t)kind, false, label};
    return true;
}

bool heap_read(struct heap *heap, uint64_t address, void *to, size_t size)
{
    const unsigned char *bytes = heap_image_get(heap->image, address, size);

    if (bytes) {
        memcpy(to, bytes, size);
        return true;
    }
    struct error *error = memory_read(heap->memory, address_of(address), to, size);
    error_destroy(error);
    return !error;
}

/* The type's unnamed word at an offset, or NULL: its words are its last fields, by rising offset. */
static struct heap_field *find_word(struct heap *heap, const struct heap_type *type, int64_t offset)
{
    uint32_t low = type->first_word, high = type->fields + type->field_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (heap->fields[middle].offset == offset)
            return heap->fields[middle].kind == HEAP_EDGE_WORD ? &heap->fields[middle] : NULL;
        if (heap->fields[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void label_field(struct heap *heap, const struct heap_type *type, int64_t offset, uint64_t name,
                        enum heap_edge_kind kind)
{
    struct heap_field *field = find_word(heap, type, offset);
    char *label = field ? read_name(heap, name) : NULL;

    if (!label)
        return;
    field->kind = (uint8_t)kind;
    field->label = label;
    field->owned = true;
}

static uint32_t hidden_items(const struct heap_type *type, uint32_t items)
{
    return items > type->hidden_items ? items : type->hidden_items;
}

/* Names words of an instance after the members that the type declares (tp_members):
 * for Python classes these are __slots__. */
static void label_members(struct heap *heap, struct heap_type *type, const unsigned char *bytes, bool slots, int *left)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t member = load_u64(bytes + layout->type.members);
    unsigned char row[64];

    for (; member && *left > 0; --*left, member += layout->member.size) {
        if (layout->member.size > sizeof(row) || !heap_read(heap, member, row, layout->member.size) || !load_u64(row))
            return;
        int32_t kind;
        memcpy(&kind, row + layout->member.type, sizeof(kind));
        int64_t offset = load_i64(row + layout->member.offset);
        if (kind != 6 && kind != 16) /* T_OBJECT, T_OBJECT_EX */
            continue;
        if (type->kind == KIND_TUPLE && offset >= layout->tuple.items && offset < 8192)
            type->hidden_items = hidden_items(type, (uint32_t)(offset - layout->tuple.items) / 8 + 1);
        label_field(heap, type, offset, load_u64(row), slots ? HEAP_EDGE_SLOT : HEAP_EDGE_FIELD);
    }
}

static void label_from_bases(struct heap *heap, struct heap_type *type)
{
    uint64_t at = type->address;
    int left = MEMBERS_MAX;

    for (int i = 0; at && i < BASES_MAX; i++) {
        const unsigned char *bytes = heap_image_get(heap->image, at, heap->layout.type.size);
        if (!bytes)
            return;
        bool slots = load_u64(bytes + heap->layout.type.flags) & TYPE_HEAPTYPE;
        uint64_t base = load_u64(bytes + heap->layout.type.base);
        label_members(heap, type, bytes, slots, &left);
        at = base;
    }
}

static bool is_special_word(const struct heap_type *type, int64_t offset)
{
    return (type->dictoffset > 0 && offset == type->dictoffset) ||
           (type->weaklistoffset > 0 && offset == type->weaklistoffset);
}

/* The words from where the builtin part ends (for KIND_ANY: from the object's head on). */
static void compile_words(struct heap *heap, struct heap_type *type)
{
    bool all = type->kind == KIND_ANY || type->kind == KIND_NDARRAY;
    uint32_t from = all ? heap->layout.object.size : type->solid_size;

    if (type->kind == KIND_LRU_CACHE) /* its first words are the ring's root, whose links aren't counted */
        from = heap->layout.object.size + 16;
    if (type->kind == KIND_ANY && type->itemsize)
        from = heap->layout.object.ob_size + 8;
    /* A dict that is counted from the end lies behind the items: of the body there is a word less. */
    bool managed = heap->layout.minor >= 11 && type->flags & TYPE_MANAGED_DICT;
    int64_t end = type->basicsize - (type->dictoffset < 0 && !managed ? 8 : 0);
    for (uint32_t at = (from + 7) & ~7u; at + 8 <= end && at < 1 << 16; at += 8) {
        if (is_special_word(type, at))
            continue;
        const char *label = type->known ? heap_find_name(&heap->layout, type->known->name, at) : NULL;
        if (!add_field(heap, at, label ? HEAP_EDGE_FIELD : HEAP_EDGE_WORD, label))
            return;
    }
}

static void compile_fields(struct heap *heap, struct heap_type *type)
{
    struct heap_field field;

    type->fields = heap->field_count;
    if (type->kind != KIND_ANY && type->known) {
        size_t at = 0;
        while (heap_next_name(&heap->layout, type->known->name, &at, &field))
            if (!is_special_word(type, field.offset))
                add_field(heap, field.offset, HEAP_EDGE_FIELD, field.label);
    }
    type->first_word = heap->field_count;
    compile_words(heap, type);
    type->field_count = heap->field_count - type->fields;
    label_from_bases(heap, type);
}

/* --------------------------------------------------------------- types */

/* The nearest base (or itself) that a reader knows. */
static void find_kind(struct heap *heap, struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t at = type->address;

    type->kind = KIND_ANY;
    for (int i = 0; at && i < BASES_MAX; i++) {
        const unsigned char *bytes = heap_image_get(heap->image, at, layout->type.size);
        if (!bytes)
            return;
        bool is_static = !(load_u64(bytes + layout->type.flags) & TYPE_HEAPTYPE);
        int64_t basicsize = load_i64(bytes + layout->type.basicsize);
        uint64_t base = load_u64(bytes + layout->type.base), name_at = load_u64(bytes + layout->type.name);
        char *name = read_name(heap, name_at);
        const struct heap_known_type *known = name ? heap_find_known_type(name, is_static) : NULL;
        free(name);
        if (known) {
            type->known = known;
            type->kind = known->kind;
            type->solid_size = (uint32_t)basicsize;
            return;
        }
        at = base;
    }
}

static uint32_t find_prefix(const struct heap *heap, const struct heap_type *type)
{
    uint64_t before = heap->layout.minor == 11   ? TYPE_MANAGED_DICT
                      : heap->layout.minor >= 12 ? TYPE_MANAGED_DICT | TYPE_MANAGED_WEAKREF
                                                 : 0;

    return (type->flags & TYPE_HAVE_GC ? 16 : 0) + (type->flags & before ? 16 : 0);
}

static bool read_type(struct heap *heap, uint64_t address, struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;

    if (!is_type(heap, address))
        return false;
    const unsigned char *bytes = heap_image_get(heap->image, address, layout->type.size);
    *type = (struct heap_type){.address = address};
    type->flags = load_u64(bytes + layout->type.flags);
    type->base = load_u64(bytes + layout->type.base);
    type->basicsize = load_i64(bytes + layout->type.basicsize);
    type->itemsize = load_i64(bytes + layout->type.itemsize);
    type->dictoffset = load_i64(bytes + layout->type.dictoffset);
    type->weaklistoffset = load_i64(bytes + layout->type.weaklistoffset);
    type->prefix = find_prefix(heap, type);
    type->name = read_name(heap, load_u64(bytes + layout->type.name));
    return type->name != NULL;
}

static void table_put(struct heap *heap, uint32_t number)
{
    uint32_t mask = heap->type_table_size - 1;
    uint32_t at = heap_hash_address(heap->types[number].address) & mask;

    while (heap->type_table[at])
        at = (at + 1) & mask;
    heap->type_table[at] = number + 1;
}

static bool table_grow(struct heap *heap)
{
    uint32_t size = heap->type_table_size ? heap->type_table_size * 2 : 4096;
    uint32_t *table = calloc(size, sizeof(*table));
    struct heap_type *types = malloc(size / 2 * sizeof(*types));

    if (!table || !types) {
        free(table);
        free(types);
        return false;
    }
    if (heap->types)
        memcpy(types, heap->types, heap->type_count * sizeof(*types));
    heap_retire(heap, heap->types);
    heap->types = types;
    free(heap->type_table);
    heap->type_table = table;
    heap->type_table_size = size;
    heap->type_room = size / 2;
    for (uint32_t i = 0; i < heap->type_count; i++)
        table_put(heap, i);
    return true;
}

static uint32_t table_find(const struct heap *heap, uint64_t address)
{
    uint32_t mask = heap->type_table_size - 1;

    for (uint32_t at = heap_hash_address(address) & mask; heap->type_table[at]; at = (at + 1) & mask)
        if (heap->types[heap->type_table[at] - 1].address == address)
            return heap->type_table[at] - 1;
    return HEAP_NONE;
}

static uint32_t add_type(struct heap *heap, uint64_t address)
{
    struct heap_type type;

    if (!read_type(heap, address, &type))
        return HEAP_NONE;
    if (heap->type_count == heap->type_room && !table_grow(heap)) {
        heap->out_of_memory = true;
        free(type.name);
        return HEAP_NONE;
    }
    find_kind(heap, &type);
    compile_fields(heap, &type);
    heap->types[heap->type_count] = type;
    table_put(heap, heap->type_count);
    return heap->type_count++;
}

uint32_t heap_type_search(struct heap *heap, uint64_t address)
{
    uint32_t slot = heap_hash_address(address) % HEAP_TYPE_CACHE;
    uint32_t number = table_find(heap, address);
    if (number == HEAP_NONE)
        number = add_type(heap, address);
    heap->type_cache[slot].address = address;
    heap->type_cache[slot].number = number;
    return number;
}

static bool is_of_itself(struct heap *heap, uint64_t address)
{
    return address % 8 == 0 && heap_image_u64(heap->image, address + heap->layout.object.type) == address;
}

/* Without symbols: the one static type that is its own type is `type`. */
static uint64_t search_type_type(struct heap *heap)
{
    for (size_t i = 0; i < heap->image->count; i++) {
        const struct heap_range *range = &heap->image->ranges[i];
        uint64_t end = range->start + range->size;
        for (uint64_t at = range->start; range->statics && at + heap->layout.type.size <= end; at += 8) {
            if (!is_of_itself(heap, at))
                continue;
            char *name = read_name(heap, heap_image_u64(heap->image, at + heap->layout.type.name));
            bool found = name && !strcmp(name, "type");
            free(name);
            if (found)
                return at;
        }
    }
    return 0;
}

static struct error *find_type_type(struct heap *heap)
{
    struct image_range range;

    if (heap->runtime->image && image_find_symbol(heap->runtime->image, "PyType_Type", &range) &&
        is_of_itself(heap, range.start.value))
        heap->type_type = range.start.value;
    else
        heap->type_type = search_type_type(heap);
    if (!heap->type_type)
        return error_create(ERROR_UNSUPPORTED, NULL, "PyType_Type isn't in the memory that was read");
    return NULL;
}

struct error *heap_types_init(struct heap *heap)
{
    heap->type_cache = calloc(HEAP_TYPE_CACHE, sizeof(*heap->type_cache));
    if (!heap->type_cache || !table_grow(heap))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the table of types");
    for (uint32_t i = 0; i < HEAP_TYPE_CACHE; i++)
        heap->type_cache[i].number = HEAP_NONE;
    struct error *error = find_type_type(heap);
    if (error)
        return error;
    if (heap_type_at(heap, heap->type_type) == HEAP_NONE)
        return error_create(ERROR_UNSUPPORTED, "a build whose layout we don't know; please report it",
                            "PyType_Type does not look like a type by %s", heap->layout.origin);
    return NULL;
}

void heap_types_deinit(struct heap *heap)
{
    for (uint32_t i = 0; i < heap->field_count; i++)
        if (heap->fields[i].owned)
            free((char *)heap->fields[i].label);
    for (uint32_t i = 0; i < heap->type_count; i++) {
        free(heap->types[i].name);
        free(heap->types[i].module);
        free(heap->types[i].full);
    }
    free(heap->types);
    free(heap->fields);
    free(heap->type_table);
    free(heap->type_cache);
}
