/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside runtime/heap: the heap, its types, and what its parts ask of each other. */
#ifndef SAFEPOINT_RUNTIME_HEAP_INTERNAL_H
#define SAFEPOINT_RUNTIME_HEAP_INTERNAL_H

#include "runtime/heap/heap.h"
#include "runtime/heap/layout.h"

/* Flags of a type, tp_flags. */
#define TYPE_INLINE_VALUES   (UINT64_C(1) << 2) /* 3.13+ */
#define TYPE_MANAGED_WEAKREF (UINT64_C(1) << 3) /* 3.12+ */
#define TYPE_MANAGED_DICT    (UINT64_C(1) << 4) /* 3.11+ */
#define TYPE_HEAPTYPE        (UINT64_C(1) << 9)
#define TYPE_HAVE_GC         (UINT64_C(1) << 14)
#define TYPE_TUPLE_SUBCLASS  (UINT64_C(1) << 26)
#define TYPE_TYPE_SUBCLASS   (UINT64_C(1) << 31)

/* Which reader knows an object's references, and which its size (readers.c, sizes.c). */
enum heap_kind {
    KIND_ANY, /* the words of its body that are references */
    KIND_PLAIN,
    KIND_NAMED, /* its named fields and nothing else */
    KIND_LIST,
    KIND_TUPLE,
    KIND_DICT,
    KIND_SET,
    KIND_TYPE,
    KIND_FRAME,
    KIND_GENERATOR,
    KIND_CODE,
    KIND_DEQUE,
    KIND_ORDERED_DICT,
    KIND_MODULE,
    KIND_LRU_CACHE,
    KIND_STR,
    KIND_INT,
    KIND_BYTEARRAY,
    KIND_ELEMENT,
    KIND_NDARRAY,
    KIND_TEE,
};

/* A field of a type's instances that may hold a reference. */
struct heap_field {
    uint32_t offset;
    uint8_t kind;      /* enum heap_edge_kind: FIELD, SLOT, WORD */
    bool owned;        /* the label is ours to free */
    const char *label; /* NULL for WORD */
};

struct heap_type {
    uint64_t address;
    uint64_t flags;
    uint64_t base;
    int64_t basicsize, itemsize, dictoffset, weaklistoffset;
    enum heap_kind kind;
    uint32_t solid_size;                      /* basicsize of the builtin that `kind` is about */
    uint32_t hidden_items;                    /* of a struct sequence: all of its items */
    uint32_t prefix;                          /* bytes before the object in its block */
    uint32_t fields, field_count, first_word; /* in the heap's; from first_word on those by offset */
    char *name;                               /* tp_name */
    char *module;                             /* NULL until it is asked for */
    char *full;                               /* the qualified name, likewise */
    const struct heap_known_type *known;
};

/* A builtin type that a reader knows. */
struct heap_known_type {
    const char *name; /* tp_name */
    enum heap_kind kind;
    uint64_t (*size)(struct heap *heap, uint64_t object, const struct heap_type *type); /* NULL: the general rule */
};

struct heap_interpreter {
    uint64_t address;
};

#define RETIRED_MAX 64

/* References in the order in which the walk found them: kept.c. */
struct heap_kept {
    uint32_t *words; /* NULL: none are kept */
    uint64_t used, room;
    uint64_t begun; /* where the last node's begin */
    struct heap_kept_part {
        uint64_t first, end; /* words; the end is known once they have their numbers */
    } * parts;
    size_t part_count;
    bool full; /* there was no room for all of them */
};

struct heap {
    const struct runtime *runtime;
    const struct memory *memory;
    struct heap_image *image;
    struct heap_layout layout;
    struct heap_report report;
    uint64_t type_type; /* PyType_Type */

    struct heap_interpreter *interpreters;
    size_t interpreter_count;

    struct heap_type *types;
    uint32_t type_count, type_room;
    uint32_t *type_table; /* open addressing: number + 1 */
    uint32_t type_table_size;
    struct {
        uint64_t address;
        uint32_t number; /* HEAP_NONE: no type */
    } * type_cache;      /* the last answers, by a hash of the address */
    struct heap_field *fields;
    uint32_t field_count, field_room;

    uint64_t *bits;    /* one per position: an object starts there */
    uint64_t *late;    /* the same, of those that are in no allocator's blocks, or not at their beginning */
    uint64_t *pending; /* the same, in pages of blocks: a reference leads there */
    uint32_t *rank;    /* nodes before each word of bits */
    uint8_t *pools;    /* one bit per 4096 bytes of the image: inside a pool */
    uint64_t bit_words;
    uint64_t blocks_most; /* at most so many objects are in blocks */
    bool blocks_read;     /* all blocks have been looked at */

    uint32_t count, room; /* nodes, and how many the arrays can have */
    uint64_t *addresses;
    uint32_t *sizes, *node_types, *refcounts;
    uint8_t *flags; /* generation, NODE_IMMORTAL */

    bool keeps; /* references are wanted */
    struct heap_kept kept;
    uint32_t *stack; /* positions whose references are still to be followed */
    size_t stack_count, stack_room;
    bool misfit; /* the layout is not this build's */
    bool out_of_memory;
    void *retired[RETIRED_MAX]; /* arrays that were outgrown: whoever reads an object may be looking at them */
    size_t retired_count;

    const struct heap_progress *progress; /* or NULL */
    struct error *stopped;                /* what it ended our work with */

    /* Bounds on work, which a target's memory must not decide. */
    uint64_t work_left;  /* references that may still be followed */
    uint64_t steps_left; /* along the collector's lists */
    uint64_t items_max;  /* of one object that are read */
};

#define NODE_GENERATION 7
#define NODE_IMMORTAL   8
#define NODE_TRACKED    16

/* What an object's head says of its life. */
struct heap_refcount {
    uint32_t count;
    bool immortal, alive;
};

/* 3.14+: 32 bits of count, 16 of overflow, 16 of flags. A free list links through these words from 3.13 on. */
static inline struct heap_refcount heap_split_refcount(uint64_t word)
{
    uint32_t count = (uint32_t)word;
    bool immortal = count >= UINT32_C(1) << 31;

    return (struct heap_refcount){count, immortal, count && !(word >> 32 & 0xffff)};
}

static inline struct heap_refcount heap_read_refcount(struct heap *heap, const unsigned char *object)
{
    unsigned minor = heap->layout.minor;
    uint64_t word;

    memcpy(&word, object + heap->layout.object.refcount, sizeof(word));
    if (minor >= 14)
        return heap_split_refcount(word);
    if (minor >= 12) /* immortal by the sign of the low half */
        return (struct heap_refcount){(uint32_t)word, (int32_t)word < 0, word && word <= UINT32_MAX};
    return (struct heap_refcount){word > UINT32_MAX ? UINT32_MAX : (uint32_t)word,
                                  minor == 11 && word >= 999999900 && word <= 1100000000,
                                  word && word < UINT64_C(1) << 40};
}

/* types.c */

#define HEAP_TYPE_CACHE 8192u

static inline uint32_t heap_hash_address(uint64_t address)
{
    return (uint32_t)((address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40);
}

/* The same as heap_type_at(), when the last answers don't tell. */
uint32_t heap_type_search(struct heap *heap, uint64_t address);

/* The number of the type at an address, or HEAP_NONE when that is no type. */
static inline uint32_t heap_type_at(struct heap *heap, uint64_t address)
{
    uint32_t slot = heap_hash_address(address) % HEAP_TYPE_CACHE;

    return heap->type_cache[slot].address == address ? heap->type_cache[slot].number : heap_type_search(heap, address);
}

/* From the image, or where it has none from memory. False when neither can. */
bool heap_read(struct heap *heap, uint64_t address, void *to, size_t size);
struct error *heap_types_init(struct heap *heap) __attribute__((warn_unused_result));
void heap_types_deinit(struct heap *heap);

/* known.c */
const struct heap_known_type *heap_find_known_type(const char *name, bool is_static);
/* What a field of a known type is called, or NULL. */
const char *heap_find_name(const struct heap_layout *layout, const char *type, uint32_t offset);
/* The next named field of a type from `*at` on (0 at first); false at the end. */
bool heap_next_name(const struct heap_layout *layout, const char *type, size_t *at, struct heap_field *field);

/* objects.c */

/* Is there a live object? Its type's number, or HEAP_NONE. */
uint32_t heap_check_object(struct heap *heap, uint64_t address);
/* The rest of that question, for a type that is known and a refcount that is alive: `room` bytes are there for it. */
bool heap_check_body(struct heap *heap, uint64_t address, const unsigned char *bytes, uint32_t type, uint64_t room);
/* Has it a head of the collector before it? */
bool heap_is_collected(struct heap *heap, uint64_t object, const struct heap_type *type);
static inline bool heap_has(const struct heap *heap, uint32_t position)
{
    return heap->bits[position / 64] >> position % 64 & 1;
}

/* Bits that are set; without an instruction for it, which not every processor has, the compiler's is a call. */
static inline uint32_t heap_count_bits(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
}

/* The number of the node at a position, or HEAP_NONE: once nodes have numbers. */
static inline uint32_t heap_number_at(const struct heap *heap, uint32_t position)
{
    uint64_t word = heap->bits[position / 64];

    if (!(word >> position % 64 & 1))
        return HEAP_NONE;
    return heap->rank[position / 64] + heap_count_bits(word & ((UINT64_C(1) << position % 64) - 1));
}

/* Bytes that the object takes from its address on, at least. */
uint64_t heap_extent(struct heap *heap, uint64_t object, const struct heap_type *type);
uint64_t heap_item_count(struct heap *heap, uint64_t object, const struct heap_type *type);

/* A backend: an allocator whose blocks it lists. */
struct heap_allocator {
    const char *name;
    /* Marks the pages of its blocks (heap->pools) and adds to blocks_most how many objects they can have. */
    struct error *(*find)(struct heap *heap);
    /* Calls heap_found() for every live object in its blocks, by rising address. */
    void (*enumerate)(struct heap *heap);
};
extern const struct heap_allocator heap_pymalloc;

/* heap.c */

/* Takes an object of a block in, and what it alone leads to. */
void heap_found(struct heap *heap, uint64_t address, const unsigned char *bytes, uint32_t type);
/* Tells of progress; false: the work is to end. */
bool heap_step(struct heap *heap, const char *what, uint64_t done, uint64_t all);
/* Large arrays in large pages: a tenth of the faults. */
void heap_advise_large(void *array, size_t size);
/* Keeps an outgrown array until the end. */
void heap_retire(struct heap *heap, void *array);

/* kept.c: the references of the walk, node after node. Without memory for them none are kept. */
void heap_kept_init(struct heap *heap);
void heap_kept_deinit(struct heap *heap);
void heap_kept_begin(struct heap *heap, uint32_t position);
void heap_kept_add(struct heap *heap, uint32_t position, bool counted);
void heap_kept_end(struct heap *heap);

/* lists.c: the collector's lists */

struct error *heap_read_interpreters(struct heap *heap) __attribute__((warn_unused_result));
/* Are the lists where they should be, and is a collection under way? Before anything looks at the collector's
 * heads. ERROR_UNSUPPORTED when no list is found. */
struct error *heap_check_lists(struct heap *heap) __attribute__((warn_unused_result));
/* Calls back for the first and the last object of each list; the others are led to by their heads. */
void heap_visit_lists(struct heap *heap, void (*fn)(struct heap *heap, uint64_t object));

/* readers.c */

/* Calls back for every reference of an object, of a known type, whether or not its target is an object.
 * `checked` edges come from words that may be anything. */
struct heap_visitor {
    void (*edge)(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked);
    void *context;
};
void heap_read_object(struct heap *heap, uint64_t object, uint32_t type, struct heap_visitor *visitor);
/* A frame of 3.11+. */
void heap_read_iframe(struct heap *heap, uint64_t frame, struct heap_visitor *visitor);

/* roots.c: frames, threads and interpreters; targets may be anything */
void heap_read_roots(struct heap *heap, heap_root_fn *fn, void *context);

/* names.c: one code point in at most 4 bytes; what isn't one is '?' */
size_t heap_put_utf8(char *to, uint32_t code);
/* names.c: the text of a str, where it is compact */
struct heap_text {
    uint64_t start, length;
    unsigned kind; /* bytes of a code point */
};
bool heap_find_text(struct heap *heap, uint64_t object, struct heap_text *text);
uint32_t heap_text_code(struct heap *heap, const struct heap_text *text, uint64_t index);

/* ndarray.c: numpy's arrays */
struct heap_ndarray {
    uint64_t data;
    uint64_t items;    /* 0 where it owns none */
    uint64_t itemsize; /* 0 where it can't be told */
    uint32_t dimensions;
    bool of_objects; /* the items are references */
};
bool heap_read_ndarray(struct heap *heap, uint64_t object, struct heap_ndarray *array);

/* sizes.c: what readers need of dicts too */
struct heap_dict_keys {
    uint64_t entries; /* address of the first */
    uint64_t count;   /* of entries used */
    uint32_t stride, key, value;
    uint64_t bytes; /* of the whole keys object */
    bool general;   /* keys of any type */
};
bool heap_read_dict_keys(struct heap *heap, uint64_t keys, struct heap_dict_keys *out);

/* sizes.c */
uint64_t heap_size_of(struct heap *heap, uint64_t object, const struct heap_type *type);
/* Knows the sizes of the types that known.c names. */
typedef uint64_t heap_size_fn(struct heap *heap, uint64_t object, const struct heap_type *type);
heap_size_fn heap_size_of_int, heap_size_of_str, heap_size_of_list, heap_size_of_dict, heap_size_of_set,
    heap_size_of_bytearray, heap_size_of_type, heap_size_of_code, heap_size_of_frame, heap_size_of_generator,
    heap_size_of_deque, heap_size_of_ordered_dict, heap_size_of_tuple, heap_size_of_array, heap_size_of_struct,
    heap_size_of_element, heap_size_of_buffered, heap_size_of_ndarray;

#endif
