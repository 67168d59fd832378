/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A heap layout out of a build's own debug information (runtime/debug_layout.h). */
#ifndef SAFEPOINT_RUNTIME_HEAP_DEBUG_LAYOUT_H
#define SAFEPOINT_RUNTIME_HEAP_DEBUG_LAYOUT_H

#include "runtime/debug_layout.h"
#include "runtime/heap/layout.h"

extern const struct layout_field heap_debug_fields[];
extern const size_t heap_debug_field_count;

/* The whole layout. End it with heap_layout_deinit(). ERROR_UNSUPPORTED as debug_layout_fill(), and for free-threaded
 * builds. */
struct error *heap_debug_layout_find(const struct runtime *runtime, struct heap_layout *layout)
    __attribute__((warn_unused_result));

#endif
