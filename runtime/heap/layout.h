/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the fields of CPython's objects and allocator are, as data: rows that
 * tools/heap_offsets.c computes from each version's headers, used by what reads
 * a heap and by nothing else.
 *
 * Layouts move inside a minor version too. A row is a claim: heap_layout_find()
 * lays over it what the process says of itself (runtime/layout.h), and who uses a
 * part of it checks that part against the structure: lists of the collector must
 * link both ways, pools must agree with their arenas, types must lead to type.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_LAYOUT_H
#define SAFEPOINT_RUNTIME_HEAP_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "attach/error.h"
#include "runtime/runtime.h"

/* A field that holds a reference: what an edge through it is called. The offset is from the object. */
struct heap_name {
    const char *type; /* tp_name */
    const char *name;
    uint32_t offset;
};

/* The members are named after CPython's; OFF_NONE (runtime/layout.h): not in this version. */
struct heap_layout {
    const char *origin;
    unsigned minor;
    bool debug_build, free_threaded;
    const struct heap_name *names; /* ended by a NULL type */
    struct heap_name *own_names;   /* the same where they are no table's; NULL */

    struct {                        /* PyInterpreterState (3.8: generations and collecting count from _PyRuntime) */
        uint32_t generations;       /* gc.generations[0], the other two follow generation_stride apart */
        uint32_t generation_stride; /* sizeof(struct gc_generation) */
        uint32_t permanent_after;   /* from generations[0] to permanent_generation */
        uint32_t collecting;
        uint32_t modules;
        uint32_t sysdict;
        uint32_t builtins;
        uint32_t obmalloc; /* 3.12+: its obmalloc state */
    } interpreter;

    struct {               /* struct _obmalloc_state and what is the same in the file-static one before 3.12 */
        uint32_t indirect; /* 3.13+: interpreter.obmalloc is a pointer */
        uint32_t arenas;   /* struct arena_object * */
        uint32_t maxarenas;
        uint32_t arena_size; /* bytes */
        uint32_t pool_size;  /* bytes */
    } obmalloc;

    struct { /* PyThreadState */
        uint32_t datastack_chunk;
    } thread_state;

    struct { /* PyObject, PyVarObject */
        uint32_t size;
        uint32_t refcount;
        uint32_t type;
        uint32_t ob_size;
    } object;

    struct { /* PyTypeObject, PyHeapTypeObject */
        uint32_t size;
        uint32_t name;
        uint32_t basicsize;
        uint32_t itemsize;
        uint32_t flags;
        uint32_t is_gc; /* tp_is_gc */
        uint32_t members;
        uint32_t base;
        uint32_t dict;
        uint32_t dictoffset;
        uint32_t bases;
        uint32_t mro;
        uint32_t cache;
        uint32_t subclasses;
        uint32_t weaklist;
        uint32_t weaklistoffset;
        uint32_t heap_size;
        uint32_t ht_name;
        uint32_t ht_slots;
        uint32_t ht_qualname;
        uint32_t ht_cached_keys;
        uint32_t ht_module;
    } type;

    struct { /* PyMemberDef */
        uint32_t size;
        uint32_t type;
        uint32_t offset;
    } member;

    struct { /* PyListObject */
        uint32_t items;
        uint32_t allocated;
    } list;

    struct { /* PyTupleObject */
        uint32_t items;
    } tuple;

    struct { /* PySetObject */
        uint32_t mask;
        uint32_t table;
        uint32_t smalltable;
        uint32_t size;
    } set;

    struct { /* PyDictObject */
        uint32_t used;
        uint32_t keys;
        uint32_t values;
        uint32_t size;
    } dict;

    struct { /* PyDictKeysObject */
        uint32_t size;
        uint32_t log2_size; /* 3.11+: uint8_t */
        uint32_t log2_index_bytes;
        uint32_t kind; /* uint8_t: 0 general, 1 unicode, 2 split */
        uint32_t refcount;
        uint32_t usable;
        uint32_t nentries;
        uint32_t indices;
    } dict_keys;

    struct { /* PyDictValues */
        uint32_t items;
        uint32_t capacity; /* 3.13+: uint8_t, as the two that follow */
        uint32_t embedded;
        uint32_t valid;
    } dict_values;

    struct { /* PyLongObject */
        uint32_t digits;
        uint32_t tag; /* lv_tag, 3.12+ */
    } integer;

    struct { /* PyByteArrayObject */
        uint32_t alloc;
    } bytearray;

    struct { /* PyASCIIObject, PyCompactUnicodeObject, PyUnicodeObject */
        uint32_t length;
        uint32_t state;
        uint32_t utf8_length;
        uint32_t utf8;
        uint32_t wstr; /* up to 3.11 */
        uint32_t wstr_length;
        uint32_t data;
        uint32_t ascii_size;
        uint32_t compact_size;
    } unicode;

    struct { /* PyCodeObject */
        uint32_t size;
        uint32_t consts;
        uint32_t name;
        uint32_t stacksize;
        uint32_t weaklist;
        uint32_t nlocals;
        uint32_t varnames;
        uint32_t cellvars;
        uint32_t freevars;
        uint32_t cell2arg; /* up to 3.10, as the three that follow */
        uint32_t code;
        uint32_t opcache;
        uint32_t opcache_size; /* unsigned char */
        uint32_t nlocalsplus;
        uint32_t localsplusnames;
        uint32_t adaptive; /* co_code_adaptive, 3.11+ */
        uint32_t extra;
        uint32_t cached;       /* 3.11: co_code as it was asked for; 3.12+: pointer to cached_count of such objects */
        uint32_t cached_count; /* 0: `cached` is the object itself */
    } code;

    struct { /* PyFrameObject */
        uint32_t back;
        uint32_t code;
        uint32_t localsplus;
        uint32_t valuestack;
        uint32_t stacktop;   /* 3.8, 3.9: PyObject **; in iframe, up to 3.13: int */
        uint32_t stackdepth; /* 3.10: int */
        uint32_t data;
        uint32_t frame;
    } frame;

    struct { /* _PyInterpreterFrame, 3.11+ */
        uint32_t code;
        uint32_t function;
        uint32_t previous;
        uint32_t globals;
        uint32_t builtins;
        uint32_t locals;
        uint32_t frame_obj;
        uint32_t stacktop;     /* 3.8, 3.9: PyObject **; in iframe, up to 3.13: int */
        uint32_t stackpointer; /* 3.14+ */
        uint32_t owner;        /* char */
        uint32_t localsplus;
    } iframe;

    struct { /* PyGenObject, and coroutines and asynchronous generators */
        uint32_t frame;
        uint32_t iframe; /* the _PyInterpreterFrame itself, 3.11+ */
        uint32_t frame_state;
        uint32_t exc_value;
        uint32_t exc_previous;
        uint32_t frame_cleared; /* FRAME_CLEARED: from this state on it has no frame */
    } generator;

    struct { /* PyModuleObject */
        uint32_t dict;
        uint32_t state;
        uint32_t name;
        uint32_t def;        /* up to 3.14: PyModuleDef * */
        uint32_t state_size; /* 3.15+ */
        uint32_t def_size;   /* PyModuleDef.m_size */
    } module;

    struct { /* PyWeakReference */
        uint32_t object;
        uint32_t callback;
    } weakref;
};

/* The row for a version and build, with what the process says of itself laid over it.
 * ERROR_UNSUPPORTED, by name, where there is none, or where the two differ in what only the row can say. */
struct error *heap_layout_find(const struct runtime *runtime, struct heap_layout *layout)
    __attribute__((warn_unused_result));

/* Of one that was made for a build (heap/debug_layout.h); of a table's it does nothing. */
void heap_layout_deinit(struct heap_layout *layout);

#endif
