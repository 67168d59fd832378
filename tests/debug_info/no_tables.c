/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A safepoint that knows no version's layout, as ours doesn't know the next one's: these stand before the tables (ld --wrap). */
#include "runtime/heap/layout.h"

#include <stddef.h>

const struct layout *__wrap_layout_find_table(unsigned minor, bool debug_build);
const struct layout_supplement *__wrap_layout_find_supplement(unsigned minor, bool free_threaded);
extern const size_t __wrap_heap_layout_tables_count;

const size_t __wrap_heap_layout_tables_count = 0;

const struct layout *__wrap_layout_find_table(unsigned minor, bool debug_build)
{
    (void)minor, (void)debug_build;
    return NULL;
}

const struct layout_supplement *__wrap_layout_find_supplement(unsigned minor, bool free_threaded)
{
    (void)minor, (void)free_threaded;
    return NULL;
}
