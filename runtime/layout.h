/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the fields of CPython's structures are, as data.
 *
 * Up to 3.12 a layout is a row of layout_tables.c, computed by
 * tools/layout_offsets.c from the headers of that version. From 3.13 on most of
 * it is what the process says of itself (_Py_DebugOffsets, debug_offsets.c),
 * and a small row adds what that doesn't say. Either way it is checked against
 * the process's memory before it is used (find.c).
 *
 * The members are named after CPython's structures and fields. Where they are
 * declared, in CPython's Include/ (and what was compiled):
 *
 *   runtime, pending, gil      internal/pycore_pystate.h (3.8), pycore_runtime.h, pycore_ceval_state.h (3.12),
 *                              pycore_gil.h, pycore_runtime_structs.h (3.14+)
 *   interpreter                internal/pycore_pystate.h (3.8), pycore_interp.h, pycore_interp_structs.h (3.14+)
 *   thread_state, cframe       cpython/pystate.h
 *   frame                      frameobject.h (3.8), cpython/frameobject.h (3.9, 3.10)
 *   interpreter_frame          internal/pycore_frame.h (3.11-3.13), pycore_interpframe_structs.h (3.14+)
 *   code, unicode, bytes...    code.h, cpython/code.h, cpython/unicodeobject.h, cpython/bytesobject.h, object.h
 *
 * from 3.8.18, 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0, 3.13.18, 3.14.10, 3.15.2.
 */
#ifndef SAFEPOINT_RUNTIME_LAYOUT_H
#define SAFEPOINT_RUNTIME_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A field that this version doesn't have. Never 0: that is where fields are. */
#define OFF_NONE UINT32_MAX

/* The versions that we know: 3.LAYOUT_MINOR_FIRST to 3.LAYOUT_MINOR_LAST. */
#define LAYOUT_MINOR_FIRST 8
#define LAYOUT_MINOR_LAST  15
/* The first whose process describes itself. */
#define LAYOUT_MINOR_DEBUG_OFFSETS 13
#define LAYOUT_SUPPORTED           "CPython 3.8 to 3.15"

/* The bits of a thread state's eval_breaker, 3.13+. */
#define EVAL_BREAKER_SIGNALS_PENDING (UINT64_C(1) << 1)
#define EVAL_BREAKER_CALLS_TO_DO     (UINT64_C(1) << 2)
#define EVAL_BREAKER_ASYNC_EXCEPTION (UINT64_C(1) << 3)
#define EVAL_BREAKER_PLEASE_STOP     (UINT64_C(1) << 5)

/* How a code object says which line an instruction belongs to (lines.h). */
enum line_format {
    LINES_LNOTAB,    /* 3.8, 3.9: co_lnotab */
    LINES_LINETABLE, /* 3.10: co_linetable, PEP 626 */
    LINES_LOCATIONS, /* 3.11+: the location table */
};

struct layout {
    const char *origin; /* "the table for 3.11", "the debug offsets of 3.14" */
    unsigned minor;     /* of the version whose layout this is */
    bool debug_build;   /* the row is of a --with-pydebug build */
    enum line_format line_format;

    struct { /* _PyRuntimeState, from _PyRuntime on */
        uint32_t size;
        uint32_t interpreters_head;
        uint32_t interpreters_main;
        uint32_t main_thread;  /* unsigned long: pthread_self() */
        uint32_t finalizing;   /* PyThreadState * */
        uint32_t initialized;  /* int */
        uint32_t gil;          /* 3.8-3.11: the struct itself */
        uint32_t pending;      /* 3.8 ceval.pending; 3.12+ ceval.pending_mainthread (found by search, or OFF_NONE) */
        uint32_t eval_breaker; /* 3.8: int */
    } runtime;

    struct { /* PyInterpreterState */
        uint32_t size;
        uint32_t next;
        uint32_t id; /* int64_t */
        uint32_t threads_head;
        uint32_t threads_main;        /* 3.13+: the thread state that runs __main__ */
        uint32_t ceval_gil;           /* 3.12+: pointer to its GIL */
        uint32_t pending;             /* 3.9-3.11: ceval.pending */
        uint32_t eval_breaker;        /* 3.9-3.12: int */
        uint32_t config_remote_debug; /* 3.14+: int */
    } interpreter;

    struct {                  /* struct _gil_runtime_state */
        uint32_t locked;      /* int; -1 before start */
        uint32_t last_holder; /* PyThreadState * */
        uint32_t enabled;     /* free-threaded: int */
    } gil;

    struct { /* PyThreadState */
        uint32_t size;
        uint32_t next;
        uint32_t interp;
        uint32_t thread_id;               /* unsigned long: pthread_self() */
        uint32_t native_thread_id;        /* 3.11+: unsigned long */
        uint32_t async_exc;               /* PyObject *; right before thread_id in every version */
        uint32_t eval_breaker;            /* 3.13+: uintptr_t */
        uint32_t remote_debugger_support; /* 3.14+: the struct itself */
        uint32_t frame;                   /* 3.8-3.10: PyFrameObject * */
        uint32_t cframe;                  /* 3.11, 3.12: struct cframe * */
        uint32_t current_frame;           /* 3.13+: _PyInterpreterFrame * */
    } thread_state;

    struct {
        uint32_t current_frame; /* 3.11, 3.12 */
    } cframe;

    struct {                   /* 3.14+: _PyRemoteDebuggerSupport, from its own start */
        uint32_t pending_call; /* int */
        uint32_t script_path;  /* char[script_path_size] */
        uint32_t script_path_size;
    } debugger_support;

    struct {                  /* struct _pending_calls, from its own start */
        uint32_t finishing;   /* 3.8: int, no more are taken */
        uint32_t lock;        /* 3.8-3.12: sem_t *, value 1 when free */
        uint32_t mutex;       /* 3.13+: PyMutex, bit 0 when locked */
        uint32_t calls_to_do; /* int: 3.8-3.12 a flag, 3.13+ npending, their number */
        uint32_t max;         /* 3.13+: int */
        uint32_t first;       /* int: index of the oldest entry */
        uint32_t last;        /* int: index of the next free entry */
        uint32_t calls;       /* entry: func, arg; 3.13+ flags too */
        uint32_t entry_size;
        uint32_t capacity; /* entries in calls; from 3.13 on `max` of them are used */
    } pending;

    struct { /* PyFrameObject, 3.8-3.10 */
        uint32_t f_code;
        uint32_t f_lasti;    /* int */
        uint32_t lasti_unit; /* bytes: 1, 3.10 2 */
    } frame;

    struct { /* _PyInterpreterFrame, 3.11+ */
        uint32_t size;
        uint32_t previous;
        uint32_t executable; /* f_code, 3.13+ f_executable; 3.14+ with tag bits */
        uint32_t instr_ptr;  /* prev_instr up to 3.12 */
        uint32_t owner;      /* char */
        uint32_t owner_shim; /* from this value of owner on a frame is no Python function's, 3.12+ */
        uint32_t tlbc_index; /* free-threaded 3.14+: int32_t */
    } interpreter_frame;

    struct { /* PyCodeObject */
        uint32_t size;
        uint32_t filename;
        uint32_t name;
        uint32_t qualname; /* 3.11+ */
        uint32_t firstlineno;
        uint32_t linetable;        /* co_lnotab up to 3.9 */
        uint32_t co_code_adaptive; /* 3.11+: the instructions themselves */
        uint32_t co_tlbc;          /* free-threaded 3.14+: {ssize_t size; char *entries[]} * */
    } code;

    struct {
        uint32_t ob_type;
    } object;
    struct {
        uint32_t tp_name; /* char * */
    } type;
    struct {
        uint32_t ob_size;
        uint32_t ob_sval;
    } bytes;
    struct { /* PyASCIIObject, PyCompactUnicodeObject */
        uint32_t length;
        uint32_t state;    /* 32 bits of flags, of which: */
        uint32_t kind_bit; /* three bits: bytes per code point */
        uint32_t compact_bit;
        uint32_t ascii_bit;
        uint32_t ascii_size;   /* where the text of an ASCII string starts */
        uint32_t compact_size; /* and that of the others */
    } unicode;

    struct { /* 3.13+: what the debug offsets say of objects, over the rows of heap/layout_tables.c */
        uint32_t gc;      /* in the interpreter: struct _gc_runtime_state */
        uint32_t modules; /* in the interpreter: imports.modules */
        uint32_t sysdict;
        uint32_t builtins;
        uint32_t type_flags;
        uint32_t tuple_items;
        uint32_t list_items;
        uint32_t set_mask; /* 3.14+, as set_table */
        uint32_t set_table;
        uint32_t dict_keys;
        uint32_t dict_values;
        uint32_t int_tag;
        uint32_t int_digits;
        uint32_t code_localsplusnames;
        uint32_t frame_localsplus;
        uint32_t frame_stackpointer;    /* 3.14+ */
        uint32_t generator_frame;       /* 3.14+: gi_iframe */
        uint32_t generator_frame_state; /* 3.14+ */
    } heap;
};

/* What _Py_DebugOffsets doesn't say, for 3.13+. Distances are between fields
 * that are declared side by side. */
struct layout_supplement {
    unsigned minor;
    bool free_threaded;
    uint32_t debug_offsets_size; /* sizeof(_Py_DebugOffsets) */
    uint32_t initialized_before_finalizing;
    uint32_t main_after_head; /* interpreters.main */
    uint32_t main_thread_after_head;
    uint32_t async_exc_before_thread_id;
    uint32_t eval_breaker;        /* 3.13 alone: later ones say it */
    uint32_t compact_after_ascii; /* sizeof(PyCompactUnicodeObject) - sizeof(PyASCIIObject) */
    uint32_t owner_shim;
    uint32_t kind_bit, compact_bit, ascii_bit;
};

/* The row for 3.MINOR (8 to 12), NULL when there is none. */
const struct layout *layout_find_table(unsigned minor, bool debug_build);

/* The row for 3.MINOR (13 and up), NULL when there is none. */
const struct layout_supplement *layout_find_supplement(unsigned minor, bool free_threaded);

/* Every offset OFF_NONE. */
void layout_init(struct layout *layout);

/* Takes over the supplement and the pending queue's layout of 3.13+. */
void layout_apply_supplement(struct layout *layout, const struct layout_supplement *row);

#endif
