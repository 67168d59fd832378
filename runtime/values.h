/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects of a process, read one by one from outside: their types, items and attributes, and what they look like as
 * a debugger shows them. No method of theirs runs.
 *
 * A process that runs can change or free what is read. Everything is checked for what it says of itself and bounded,
 * and what doesn't check out is shown as <?>, never followed.
 */
#ifndef SAFEPOINT_RUNTIME_VALUES_H
#define SAFEPOINT_RUNTIME_VALUES_H

#include <stdio.h>

#include "runtime/heap/layout.h"
#include "runtime/runtime.h"

struct value_type;

struct values {
    const struct runtime *runtime; /* not owned: best a view of one (view.h) */
    struct heap_layout layout;
    struct value_type **types; /* that were met; owned */
    size_t type_count;
};

/* ERROR_UNSUPPORTED, by name, where the objects of this version or build aren't known. */
struct error *values_init(struct values *values, const struct runtime *runtime) __attribute__((warn_unused_result));
void values_deinit(struct values *values);

/* The type of an object as people call it: "int", "app.models.Order"; NULL where it is no object. Owned by `values`. */
const char *values_type_name(struct values *values, struct address object);

/* A str as UTF-8, cut to the room; false where it is none. */
bool values_read_text(struct values *values, struct address object, char *text, size_t room);

/* An int that fits; false where it is none. */
bool values_read_int(struct values *values, struct address object, int64_t *number);

/* The value of a key, a str, in a dict; false where there is none. */
bool values_find_item(struct values *values, struct address dict, const char *key, struct address *value);

/* One of an object's own attributes (not of its type's); false where there is none. */
bool values_find_attribute(struct values *values, struct address object, const char *name, struct address *value);

/* Each item of a dict, until the function says false, or `bound` were told. */
typedef bool values_item_fn(void *context, struct address key, struct address value);
void values_visit_dict(struct values *values, struct address dict, size_t bound, values_item_fn *fn, void *context);

/* An item of a tuple; false where it has none of that index. */
bool values_tuple_item(struct values *values, struct address tuple, uint64_t index, struct address *item);
uint64_t values_tuple_count(struct values *values, struct address tuple);

/* Each bound variable of a frame (runtime/frames.h): arguments, locals, cells and what they hold, free variables; of a
 * class's body its names. A comprehension's, where it is inlined (3.12+), while it runs. */
typedef void values_variable_fn(void *context, const char *name, struct address value);
void values_visit_variables(struct values *values, struct address frame, struct address code, values_variable_fn *fn,
                            void *context);

/* Writes what an object looks like: some 200 characters at most. `contents`: also what strings and numbers hold; else
 * their type and length alone. */
void values_print(struct values *values, struct address object, bool contents, FILE *to);

/* The dict of a module that an interpreter has imported; false where it isn't there. */
bool values_find_module(struct values *values, struct address interpreter, const char *module, struct address *dict);

#endif
