/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/large.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LARGE_PAGE ((size_t)1 << 21)

void large_advise(void *array, size_t size)
{
    uintptr_t start = ((uintptr_t)array + LARGE_PAGE - 1) & ~(uintptr_t)(LARGE_PAGE - 1);

    if (array && size >= 2 * LARGE_PAGE)
        (void)madvise((void *)start, size - LARGE_PAGE, MADV_HUGEPAGE);
}

void *large_malloc(size_t size)
{
    void *array = malloc(size);

    large_advise(array, size);
    return array;
}

void *large_calloc(size_t count, size_t size)
{
    void *array = calloc(count, size);

    large_advise(array, count * size);
    return array;
}
