/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to runtime/heap: the rows as tools/heap_tables.sh wrote them. */
#ifndef SAFEPOINT_RUNTIME_HEAP_LAYOUT_TABLES_H
#define SAFEPOINT_RUNTIME_HEAP_LAYOUT_TABLES_H

#include <stddef.h>

#include "runtime/heap/layout.h"

extern const struct heap_layout heap_layout_tables[];
extern const size_t heap_layout_tables_count;

#define HEAP_ANY_PATCH (-1)

/* What a patch level, or any debug build, has elsewhere than the row of its version. */
struct heap_layout_variant {
    unsigned minor;
    int patch;        /* HEAP_ANY_PATCH: any */
    bool debug_build; /* of those alone */
    size_t field;     /* in struct heap_layout */
    uint32_t value;
};
extern const struct heap_layout_variant heap_layout_variants[];
extern const size_t heap_layout_variants_count;

#endif
