/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * _Py_DebugOffsets: what a CPython of 3.13 and later says of its own
 * structures, at the start of _PyRuntime. Pure functions on bytes.
 *
 *   +0   char cookie[8]        "xdebugpy"
 *   +8   uint64_t version      PY_VERSION_HEX
 *   +16  uint64_t free_threaded
 *   +24  uint64_t fields...    a list of its own in each minor version
 */
#ifndef SAFEPOINT_RUNTIME_DEBUG_OFFSETS_H
#define SAFEPOINT_RUNTIME_DEBUG_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attach/error.h"
#include "runtime/layout.h"

#define DEBUG_OFFSETS_COOKIE "xdebugpy" /* 8 bytes, no NUL */
#define DEBUG_OFFSETS_HEAD   24         /* cookie, version, free_threaded */
#define DEBUG_OFFSETS_MAX    1024       /* no version's are longer */

/* Reads cookie, version and free_threaded. False when the cookie isn't there. */
bool debug_offsets_decode_head(const void *bytes, size_t size, uint32_t *version, bool *free_threaded);

/* Decodes the fields into a whole layout (with what our supplement adds).
 * Every field, also those that we don't use, must lie aligned inside its
 * structure; ERROR_UNSUPPORTED names the first that doesn't. The list of
 * fields is that of the version in the head; an alpha or beta may still have
 * the list of the version before, which is tried second. `layout` is whole on success
 * and untouched otherwise. */
struct error *debug_offsets_decode(const void *bytes, size_t size, struct layout *layout)
    __attribute__((warn_unused_result));

#endif
