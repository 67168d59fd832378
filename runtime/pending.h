/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the main thread's queue of pending calls is in _PyRuntime, 3.12+: no
 * debug offset says it, and it moves between patch levels and build kinds.
 */
#ifndef SAFEPOINT_RUNTIME_PENDING_H
#define SAFEPOINT_RUNTIME_PENDING_H

#include "runtime/layout.h"

/* How much of _PyRuntime pending_search() looks at, from its start on. */
#define PENDING_SEARCH_SIZE (128u << 10)

/* Searches the first bytes of _PyRuntime. The offset from its start, or OFF_NONE
 * where none or more than one place looks like the queue. 3.12, whose queue has
 * little to recognize it by, is searched near its table's place alone. */
uint32_t pending_search(const struct layout *layout, const void *bytes, size_t size);

#endif
