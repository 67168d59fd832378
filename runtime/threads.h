/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside runtime/: what find.c and threads.c share. */
#ifndef SAFEPOINT_RUNTIME_THREADS_H
#define SAFEPOINT_RUNTIME_THREADS_H

#include "runtime/runtime.h"

/* The main thread's queue of pending calls (struct _pending_calls). */
struct error *runtime_find_pending(const struct runtime *runtime, struct address *queue)
    __attribute__((warn_unused_result));

#endif
