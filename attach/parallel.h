/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Computation that is cut into parts, on all processors: each thread takes the next part until none is left. The caller's is one of
 * them, and alone does what no helper could be had for. Nothing is stopped, traced or printed from a helper, and signals go elsewhere.
 */
#ifndef SAFEPOINT_ATTACH_PARALLEL_H
#define SAFEPOINT_ATTACH_PARALLEL_H

#include <stddef.h>

#include "attach/error.h"

/* Does one part, perhaps while others are done. An error ends the work: parts that nobody began are left. */
typedef struct error *parallel_fn(void *context, size_t part);

/* Does parts 0 to count - 1, begun in their order. The first error that there was. */
struct error *parallel_run(size_t count, parallel_fn *fn, void *context) __attribute__((warn_unused_result));

#endif
