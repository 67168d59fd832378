/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The few Python objects that we read one by one: types' names, strings, bytes. */
#ifndef SAFEPOINT_RUNTIME_OBJECTS_H
#define SAFEPOINT_RUNTIME_OBJECTS_H

#include "runtime/runtime.h"

/* Is the object's type called `name` ("code", "str")? False, without an error, where
 * the object or its type can't be read: a torn or dead object is no code object. */
bool object_has_type(const struct runtime *runtime, struct address object, const char *name);

/* Reads a str as UTF-8, cut at a whole character where the buffer ends.
 * ERROR_BUSY when what is there is no str (torn, or freed meanwhile). The text
 * is the target's: NULs and lone surrogates become '?', control characters stay. */
struct error *object_read_str(const struct runtime *runtime, struct address object, char *buffer, size_t size)
    __attribute__((warn_unused_result));

/* Reads a bytes object of at most `limit` bytes; free() it. ERROR_BUSY as above. */
struct error *object_read_bytes(const struct runtime *runtime, struct address object, size_t limit, uint8_t **bytes,
                                size_t *size) __attribute__((warn_unused_result));

#endif
