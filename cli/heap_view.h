/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The heap of a target as the commands that look at it open it, wherever its memory comes from. */
#ifndef SAFEPOINT_CLI_HEAP_VIEW_H
#define SAFEPOINT_CLI_HEAP_VIEW_H

#include "cli/session.h"
#include "runtime/heap/heap.h"

/* Where a heap's memory is read: the process itself, or a copy of it that stands still. */
struct heap_source {
    const struct memory *memory;
    pid_t pid;         /* whose mappings say what is there */
    bool running;      /* it changes while it is read: what is torn is left out */
    const char *taken; /* how, for the answer: "running" */
};

struct heap_view {
    struct heap_source source;
    struct heap_image image;
    struct heap *heap;
    double copied_s, read_s;
};

/* Copies a source's memory and finds the objects in it. The session outlives the view; the source's memory must be
 * there until the view is closed. ERROR_INTERRUPTED by a signal to us. */
struct error *heap_view_open(struct heap_view *view, const struct session *session, const struct heap_source *source,
                             const struct cli_options *options) __attribute__((warn_unused_result));
void heap_view_close(struct heap_view *view);

/* The process as it runs. */
struct heap_source heap_source_running(const struct session *session);

#endif
