/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/heap: the rows as tools/heap_tables.sh wrote them. */
#ifndef SAFEPOINT_RUNTIME_HEAP_LAYOUT_TABLES_H
#define SAFEPOINT_RUNTIME_HEAP_LAYOUT_TABLES_H

#include <stddef.h>

#include "runtime/heap/layout.h"

extern const struct heap_layout heap_layout_tables[];
extern const size_t heap_layout_tables_count;

#endif
