/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Python objects of a running process, one by one: attributes, dicts, sets, what a name in a frame stands for.
 *
 * The process changes meanwhile. So nothing here is an error: what can't be read, or isn't what it should be, is
 * absent (0, false), `reader->misses` counts it, and every length is bounded. Who builds an answer of these pieces
 * checks that they fit together, and begins anew with reader_forget() where they don't.
 *
 * An object is its address; 0 is none.
 */
#ifndef SAFEPOINT_RUNTIME_READER_H
#define SAFEPOINT_RUNTIME_READER_H

#include "runtime/codes.h"
#include "runtime/frames.h"
#include "runtime/heap/layout.h"
#include "runtime/view.h"

/* A type that was met, checked to be one. */
struct object_type {
    uint64_t address;
    char *name;     /* as people call it: "int", "app.models.Order" */
    uint64_t flags; /* tp_flags */
    int64_t basicsize, dictoffset;
};

/* tp_flags of the builtin types and all that is derived from them: object.h, the same in all versions. */
#define OBJECT_LONG  (UINT64_C(1) << 24)
#define OBJECT_LIST  (UINT64_C(1) << 25)
#define OBJECT_TUPLE (UINT64_C(1) << 26)
#define OBJECT_STR   (UINT64_C(1) << 28)
#define OBJECT_DICT  (UINT64_C(1) << 29)
#define OBJECT_TYPE  (UINT64_C(1) << 31)

struct object_reader {
    struct view view;
    struct codes codes;
    struct object_type **types; /* that were met; owned */
    size_t type_count;
    struct heap_layout layout;
    uint64_t head;        /* bytes of an object before its own first field */
    uint64_t misses;      /* reads that failed */
    uint64_t left;        /* reads that may still be done: a process must not decide how long we work */
    uint64_t frames_left; /* likewise, frames of threads */
};

/* `runtime` must outlive it; `reader` must not be moved. ERROR_UNSUPPORTED, by name, where the objects of this version
 * aren't known. End it with reader_deinit() in any case. */
struct error *reader_init(struct object_reader *reader, const struct runtime *runtime)
    __attribute__((warn_unused_result));
void reader_deinit(struct object_reader *reader);

/* What was read so far is forgotten. */
void reader_forget(struct object_reader *reader);

/* Words; 0 where they can't be read. */
uint64_t reader_u64(struct object_reader *reader, uint64_t at);
uint32_t reader_u32(struct object_reader *reader, uint64_t at);
uint8_t reader_u8(struct object_reader *reader, uint64_t at);

/* So many bytes; false, and zeros, where they can't be read. */
bool reader_bytes(struct object_reader *reader, uint64_t at, void *to, size_t size);

/* The object's n-th field of 8 bytes behind its head: as C's small types have them. */
uint64_t reader_field(struct object_reader *reader, uint64_t object, unsigned number);

/* -------------------------------------------------------------------- types */

/* The type, and its tp_name: "code", "_asyncio.Task", for a class of Python's the bare name. */
uint64_t reader_type(struct object_reader *reader, uint64_t object);
bool reader_type_name(struct object_reader *reader, uint64_t object, char *text, size_t size);

/* Is the object's type, or one that it is derived from, called this (tp_name)? */
bool reader_is(struct object_reader *reader, uint64_t object, const char *name);
bool reader_is_derived(struct object_reader *reader, uint64_t object, const char *name);

/* The object's type, and a type itself; NULL where it is none. Owned by the reader, until it forgets. */
const struct object_type *reader_object_type(struct object_reader *reader, uint64_t object);
const struct object_type *reader_as_type(struct object_reader *reader, uint64_t object);

/* Is it of such a type (OBJECT_...), or of one derived from it? */
bool reader_has_flag(struct object_reader *reader, uint64_t object, uint64_t flag);

/* Its type in full: "asyncio.locks.Lock"; "?" where it can't be told. */
void reader_full_type_name(struct object_reader *reader, uint64_t object, char *text, size_t size);

/* Where a builtin type keeps a field, by its name in Python, and what it has there; OFF_NONE, 0: not in this version. */
uint32_t reader_find_field(const struct object_reader *reader, const char *type, const char *field);
uint64_t reader_named_field(struct object_reader *reader, uint64_t object, const char *type, const char *field);

/* ------------------------------------------------------------------- values */

/* A str as UTF-8, cut to the room; is it this one, in ASCII? */
bool reader_text(struct object_reader *reader, uint64_t object, char *text, size_t size);
bool reader_equals(struct object_reader *reader, uint64_t object, const char *text);
/* How many digits of 30 bits an int has, and its sign; nothing is checked. */
uint64_t reader_int_digits(struct object_reader *reader, uint64_t object, bool *negative);
/* An int of at most 60 bits; a float, or an int as one. */
bool reader_int(struct object_reader *reader, uint64_t object, int64_t *value);
bool reader_float(struct object_reader *reader, uint64_t object, double *value);

/* --------------------------------------------------------------- containers */

#define READER_ITEMS_MAX 1000000u

/* The items of a list, tuple, set, frozenset, or the values of a dict, as they stand; free() them. Of anything else
 * none. False: memory is out. */
bool reader_items(struct object_reader *reader, uint64_t object, uint64_t **items, size_t *count);

/* One item of a tuple or list. */
uint64_t reader_item(struct object_reader *reader, uint64_t object, uint64_t index);

/* The entries of a dict: keys and values by number. */
struct dict_entries {
    uint64_t keys, key_stride;
    uint64_t values, value_stride;
    uint64_t count;
};

/* Of a dict, or one derived from it, READER_ITEMS_MAX at most; false of anything else. Then each by its number: false where there is none. */
bool reader_find_entries(struct object_reader *reader, uint64_t dict, struct dict_entries *entries);
bool reader_entry(struct object_reader *reader, const struct dict_entries *entries, uint64_t index, uint64_t *key,
                  uint64_t *value);

/* What a dict has under a str, or 0. */
uint64_t reader_dict_get(struct object_reader *reader, uint64_t dict, const char *name);

/* An attribute of the object's own (its dict, or a slot); not its class's. */
uint64_t reader_attribute(struct object_reader *reader, uint64_t object, const char *name);

/* A module of an interpreter's sys.modules: its dict, or 0. */
uint64_t reader_module_dict(struct object_reader *reader, uint64_t interpreter, const char *name);

/* Of a function of Python's: its __qualname__, and its __closure__ (a tuple of cells, or 0). 0 of anything else. */
uint64_t reader_function_name(struct object_reader *reader, uint64_t function);
uint64_t reader_function_closure(struct object_reader *reader, uint64_t function);

/* ------------------------------------------------------------------- frames */

/* A chain of frames that is longer is one that changed under our hands, and leads in circles. */
#define READER_DEPTH_MAX 50000u

/* A thread's innermost frame of Python's, and the next outer one; false: there is none (any more). */
bool reader_first_frame(struct object_reader *reader, const struct thread_state *thread, struct frame *frame);
bool reader_next_frame(struct object_reader *reader, struct frame *frame);

/* What a name stands for in a frame, cells looked into; 0 where it stands for nothing. */
uint64_t reader_local(struct object_reader *reader, const struct frame *frame, const char *name);

/* Each bound variable of a frame: arguments, locals, cells and what they hold, free variables; of a class's body its
 * names. A comprehension's, where it is inlined (3.12+), while it runs. Of the frame, `at` and `code` are looked at. */
typedef void reader_variable_fn(void *context, const char *name, uint64_t value);
void reader_visit_variables(struct object_reader *reader, const struct frame *frame, reader_variable_fn *fn, void *context);

/* Where the words of a frame begin (variables, then its value stack), and how many variables there are. */
uint64_t reader_frame_words(struct object_reader *reader, const struct frame *frame, uint64_t *variables);

/* What a word of a frame refers to. */
uint64_t reader_untag(const struct object_reader *reader, uint64_t word);

/* Function, file and line of a frame; false where there is no code any more. */
bool reader_describe_frame(struct object_reader *reader, const struct frame *frame, struct python_frame *text);

/* Does its file end so, and is the last part of its function's qualified name this? A NULL function: any. */
bool reader_frame_is(const struct python_frame *frame, const char *file, const char *function);

/* A generator, coroutine or asynchronous generator: its frame (false: it has none, or not any more). */
bool reader_generator_frame(struct object_reader *reader, uint64_t generator, struct frame *frame);

/* Is it one of these three? */
bool reader_is_generator(struct object_reader *reader, uint64_t object);

/* Is it running (or running what it awaits)? */
bool reader_generator_runs(struct object_reader *reader, uint64_t generator);

/* What a suspended one awaits (cr_await, gi_yieldfrom): 0 where it doesn't. */
uint64_t reader_generator_awaits(struct object_reader *reader, uint64_t generator);

/* Its __qualname__. */
bool reader_generator_name(struct object_reader *reader, uint64_t generator, char *text, size_t size);

#endif
