/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What sys.getsizeof() says: the type's __sizeof__, plus what stands before the
 * object. The general rule is basicsize + items; builtins add what they own
 * elsewhere. A __sizeof__ that is written in Python is not known here.
 */
#include "runtime/heap/internal.h"

#define POINTER       8u
#define BYTES_HEAD    33u /* of an empty bytes object */
#define OPCACHE_ENTRY 32u
#define DEQUE_BLOCK   528u
#define DEQUE_ITEMS   64u
#define DEQUE_LEFT    40u
#define DEQUE_RIGHT   48u
/* arraymodule.c, _struct.c, _elementtree.c: the same in every version. */
#define ARRAY_ALLOCATED    32u
#define ARRAY_DESCRIPTION  40u /* {char typecode; int itemsize;...} */
#define STRUCT_CODES       32u
#define STRUCT_CODE        32u
#define BUFFERED_BUFFER    56u
#define BUFFERED_SIZE      120u
#define ELEMENT_EXTRA      40u
#define ELEMENT_EXTRA_SIZE 64u
#define ELEMENT_ALLOCATED  16u
#define ELEMENT_CHILDREN   24u
#define ODICT_NODE         32u
#define ODICT_FASTSIZE     24u
#define SHARED_SPLIT       2 /* dk_kind */

static uint64_t ob_size(struct heap *heap, uint64_t object)
{
    return heap_image_u64(heap->image, object + heap->layout.object.ob_size);
}

static uint64_t general(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    return (uint64_t)type->basicsize + heap_item_count(heap, object, type) * (uint64_t)type->itemsize;
}

/* ----------------------------------------------------------- dict keys */

/* Up to 3.10: dk_size slots of 1 to 8 bytes, then entries of hash, key, value for two thirds of them. */
static bool read_old_keys(struct heap *heap, uint64_t keys, struct heap_dict_keys *out)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t size = heap_image_u64(heap->image, keys + layout->dict_keys.size);
    uint64_t width = size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= UINT32_MAX ? 4 : 8;

    if (!size || size & (size - 1) || size > UINT64_C(1) << 40)
        return false;
    *out = (struct heap_dict_keys){.stride = 24, .key = 8, .value = 16, .general = true};
    out->count = heap_image_u64(heap->image, keys + layout->dict_keys.nentries);
    out->entries = keys + layout->dict_keys.indices + size * width;
    out->bytes = layout->dict_keys.indices + size * width + (size << 1) / 3 * 24;
    return out->count <= size;
}

static bool read_new_keys(struct heap *heap, uint64_t keys, struct heap_dict_keys *out)
{
    const struct heap_layout *layout = &heap->layout;
    uint8_t log2_size = heap_image_u8(heap->image, keys + layout->dict_keys.log2_size);
    uint8_t log2_bytes = heap_image_u8(heap->image, keys + layout->dict_keys.log2_index_bytes);
    uint8_t kind = heap_image_u8(heap->image, keys + layout->dict_keys.kind);

    if (log2_size > 40 || log2_bytes > 43 || kind > SHARED_SPLIT)
        return false;
    *out = (struct heap_dict_keys){
        .stride = kind ? 16 : 24, .key = kind ? 0 : 8, .value = kind ? 8 : 16, .general = !kind};
    out->count = heap_image_u64(heap->image, keys + layout->dict_keys.nentries);
    out->entries = keys + layout->dict_keys.indices + (UINT64_C(1) << log2_bytes);
    out->bytes =
        layout->dict_keys.indices + (UINT64_C(1) << log2_bytes) + (UINT64_C(1) << log2_size << 1) / 3 * out->stride;
    return out->count <= UINT64_C(1) << log2_size;
}

bool heap_read_dict_keys(struct heap *heap, uint64_t keys, struct heap_dict_keys *out)
{
    if (!heap_image_get(heap->image, keys, heap->layout.dict_keys.indices))
        return false;
    bool known =
        heap->layout.dict_keys.size != OFF_NONE ? read_old_keys(heap, keys, out) : read_new_keys(heap, keys, out);
    return known && heap_image_get(heap->image, out->entries, out->count * out->stride);
}

/* ----------------------------------------------------------- containers */

uint64_t heap_size_of_int(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t digits = heap_item_count(heap, object, type);

    if (heap->layout.minor >= 11 && !digits)
        digits = 1;
    return heap->layout.integer.digits + digits * 4;
}

uint64_t heap_size_of_str(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;
    uint32_t state = heap_image_u32(heap->image, object + layout->unicode.state);
    uint64_t length = heap_image_u64(heap->image, object + layout->unicode.length);
    bool compact = state >> heap->runtime->layout.unicode.compact_bit & 1;
    bool ascii = state >> heap->runtime->layout.unicode.ascii_bit & 1;
    uint64_t size = heap_extent(heap, object, type), text = object + layout->unicode.ascii_size;

    if (!compact) {
        uint64_t data = heap_image_u64(heap->image, object + layout->unicode.data);
        size = layout->unicode.data + POINTER;
        if (data)
            size += (length + 1) * (state >> heap->runtime->layout.unicode.kind_bit & 7);
    } else if (!ascii) {
        text = object + layout->unicode.compact_size;
    }
    uint64_t utf8 = compact && ascii ? 0 : heap_image_u64(heap->image, object + layout->unicode.utf8);
    uint64_t data = compact ? text : heap_image_u64(heap->image, object + layout->unicode.data);
    if (utf8 && utf8 != data)
        size += heap_image_u64(heap->image, object + layout->unicode.utf8_length) + 1;
    if (layout->unicode.wstr == OFF_NONE)
        return size;
    uint64_t wide = heap_image_u64(heap->image, object + layout->unicode.wstr);
    if (wide && wide != data)
        size +=
            ((compact && ascii ? length : heap_image_u64(heap->image, object + layout->unicode.wstr_length)) + 1) * 4;
    return size;
}

uint64_t heap_size_of_tuple(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    return general(heap, object, type);
}

uint64_t heap_size_of_list(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    return (uint64_t)type->basicsize + heap_image_u64(heap->image, object + heap->layout.list.allocated) * POINTER;
}

uint64_t heap_size_of_bytearray(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t bytes = heap_image_u64(heap->image, object + heap->layout.bytearray.alloc);

    if (heap->layout.minor >= 15 && bytes) /* in a bytes object, with its head and end */
        bytes += BYTES_HEAD;
    return (uint64_t)type->basicsize + bytes;
}

uint64_t heap_size_of_set(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t table = heap_image_u64(heap->image, object + heap->layout.set.table);
    uint64_t slots = heap_image_u64(heap->image, object + heap->layout.set.mask) + 1;

    return (uint64_t)type->basicsize + (table == object + heap->layout.set.smalltable ? 0 : slots * 16);
}

/* Shared keys are nobody's: only a keys object with one holder counts. */
uint64_t heap_size_of_dict(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t keys_at = heap_image_u64(heap->image, object + layout->dict.keys);
    uint64_t values = heap_image_u64(heap->image, object + layout->dict.values);
    uint64_t size = (uint64_t)type->basicsize;
    struct heap_dict_keys keys;

    if (!heap_read_dict_keys(heap, keys_at, &keys))
        return size;
    if (values) {
        uint64_t slots = keys.count + heap_image_u64(heap->image, keys_at + layout->dict_keys.usable);
        size += slots * POINTER;
    }
    if (heap_image_u64(heap->image, keys_at + layout->dict_keys.refcount) == 1)
        size += keys.bytes;
    return size;
}

uint64_t heap_size_of_deque(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t left = heap_image_u64(heap->image, object + DEQUE_LEFT);
    uint64_t blocks = (left + ob_size(heap, object) + DEQUE_ITEMS - 1) / DEQUE_ITEMS;

    return (uint64_t)type->basicsize + blocks * DEQUE_BLOCK;
}

uint64_t heap_size_of_ordered_dict(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t fast = heap_image_u64(heap->image, object + heap->layout.dict.size + ODICT_FASTSIZE);
    uint64_t used = heap_image_u64(heap->image, object + heap->layout.dict.used);

    return heap_size_of_dict(heap, object, type) + fast * POINTER + used * ODICT_NODE;
}

/* -------------------------------------------------------------- modules */

/* array.array: items elsewhere, as many as there is room for. */
uint64_t heap_size_of_array(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t description = heap_image_u64(heap->image, object + ARRAY_DESCRIPTION);
    uint64_t size = (uint64_t)type->basicsize;
    uint32_t width = 0;

    if (heap_read(heap, description + 4, &width, sizeof(width)) && width <= 16)
        size += heap_image_u64(heap->image, object + ARRAY_ALLOCATED) * width;
    return size;
}

/* struct.Struct: an entry per item of the format, and one that ends them. */
uint64_t heap_size_of_struct(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t codes = heap_image_u64(heap->image, object + STRUCT_CODES);
    uint64_t count = 1;

    while (heap_image_u64(heap->image, codes + (count - 1) * STRUCT_CODE) && count < 1 << 20)
        count++;
    return (uint64_t)type->basicsize + (codes ? count * STRUCT_CODE : 0);
}

/* bufferedio.c: readers and writers with the buffer that they own. */
uint64_t heap_size_of_buffered(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    bool owns = heap_image_u64(heap->image, object + BUFFERED_BUFFER) != 0;

    return (uint64_t)type->basicsize + (owns ? heap_image_u64(heap->image, object + BUFFERED_SIZE) : 0);
}

/* ElementTree's: attributes and children are in a block of their own. */
uint64_t heap_size_of_element(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    uint64_t extra = heap_image_u64(heap->image, object + ELEMENT_EXTRA);
    uint64_t size = (uint64_t)type->basicsize;

    if (extra)
        size += ELEMENT_EXTRA_SIZE;
    if (extra && heap_image_u64(heap->image, extra + ELEMENT_CHILDREN) != extra + ELEMENT_CHILDREN + POINTER)
        size += heap_image_u64(heap->image, extra + ELEMENT_ALLOCATED) * POINTER;
    return size;
}

/* ------------------------------------------------------- types and code */

uint64_t heap_size_of_type(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t keys_at = heap_image_u64(heap->image, object + layout->type.ht_cached_keys);
    uint64_t size = layout->type.heap_size;
    struct heap_dict_keys keys;

    (void)type;
    if (!(heap_image_u64(heap->image, object + layout->type.flags) & TYPE_HEAPTYPE))
        return layout->type.size;
    if (keys_at && heap_read_dict_keys(heap, keys_at, &keys))
        size += keys.bytes;
    return size;
}

/* Up to 3.10: the cells that are arguments, and caches for opcodes that ran often. */
static uint64_t size_of_old_code(struct heap *heap, uint64_t object)
{
    const struct heap_layout *layout = &heap->layout;
    uint64_t cells = heap_image_u64(heap->image, object + layout->code.cellvars);
    uint64_t size = layout->code.size;

    if (heap_image_u64(heap->image, object + layout->code.cell2arg) && cells)
        size += ob_size(heap, cells) * POINTER;
    if (heap_image_u64(heap->image, object + layout->code.opcache))
        size += ob_size(heap, heap_image_u64(heap->image, object + layout->code.code)) / 2 +
                (uint64_t)heap_image_u8(heap->image, object + layout->code.opcache_size) * OPCACHE_ENTRY;
    return size;
}

uint64_t heap_size_of_code(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    if (heap->layout.minor <= 10)
        return size_of_old_code(heap, object);
    return (general(heap, object, type) + POINTER - 1) & ~UINT64_C(7);
}

uint64_t heap_size_of_frame(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    const struct heap_layout *layout = &heap->layout;

    if (layout->frame.code == OFF_NONE)
        return general(heap, object, type);
    uint64_t code = heap_image_u64(heap->image, object + layout->frame.code);
    uint64_t words = heap_image_u32(heap->image, code + layout->code.nlocals) +
                     (uint64_t)heap_image_u32(heap->image, code + layout->code.stacksize);
    uint64_t cells = heap_image_u64(heap->image, code + layout->code.cellvars);
    uint64_t frees = heap_image_u64(heap->image, code + layout->code.freevars);
    words += (cells ? ob_size(heap, cells) : 0) + (frees ? ob_size(heap, frees) : 0);
    return (uint64_t)type->basicsize + (words - 1) * POINTER; /* one word is in basicsize */
}

uint64_t heap_size_of_generator(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    return general(heap, object, type);
}

/* ------------------------------------------------------------------ all */

/* 3.11 and 3.12 count static types as if the collector's head stood before them. */
static bool is_collected(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    if (!(type->flags & TYPE_HAVE_GC))
        return false;
    return heap->layout.minor == 11 || heap->layout.minor == 12 || type->kind != KIND_TYPE ||
           heap_image_u64(heap->image, object + heap->layout.type.flags) & TYPE_HEAPTYPE;
}

uint64_t heap_size_of(struct heap *heap, uint64_t object, const struct heap_type *type)
{
    heap_size_fn *known = type->known ? type->known->size : NULL;
    uint64_t size = known ? known(heap, object, type) : general(heap, object, type);
    uint64_t before = heap->layout.minor == 11   ? TYPE_MANAGED_DICT
                      : heap->layout.minor >= 12 ? TYPE_MANAGED_DICT | TYPE_MANAGED_WEAKREF
                                                 : 0;

    return size + (is_collected(heap, object, type) ? 16 : 0) + (type->flags & before ? 16 : 0);
}
