/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The heap of a target as the commands that look at it open it, wherever its memory comes from. */
#ifndef SAFEPOINT_CLI_HEAP_VIEW_H
#define SAFEPOINT_CLI_HEAP_VIEW_H

#include "cli/session.h"
#include "runtime/heap/heap.h"

struct heap_view {
    struct session session;
    struct freeze freeze; /* how the memory was had; ended when the objects in it have been found */
    bool frozen;          /* it is held still */
    struct heap_image image;
    struct heap *heap;
    double copied_s, read_s;
};

/* Opens the process of a command's first word, freezes its memory as the options ask for, and finds the objects in it; the
 * process runs as ever then. With --json its target is printed too, also before most errors. ERROR_INTERRUPTED by a
 * signal to us; and session_freeze()'s. The view must not be moved. */
struct error *heap_view_open(struct heap_view *view, const struct cli_options *options, struct json *json)
    __attribute__((warn_unused_result));
void heap_view_close(struct heap_view *view);

/* What the answer says of how it was had: notes; "pause_us" before the result, and fields of it. */
void heap_view_note(const struct heap_view *view, const struct cli_options *options);
void heap_view_json_pause(const struct heap_view *view, struct json *json);
void heap_view_json(const struct heap_view *view, struct json *json);

#endif
