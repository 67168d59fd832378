/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory for arrays of a heap's size, in the system's large pages where it has them: a five-hundredth of the faults. free() ends it. */
#ifndef SAFEPOINT_ATTACH_LARGE_H
#define SAFEPOINT_ATTACH_LARGE_H

#include <stddef.h>

/* As malloc() and calloc(). */
void *large_malloc(size_t size) __attribute__((warn_unused_result, malloc));
void *large_calloc(size_t count, size_t size) __attribute__((warn_unused_result, malloc));

/* Asks for large pages for what was taken otherwise, before it is written to. */
void large_advise(void *array, size_t size);

#endif
