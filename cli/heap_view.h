/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The heap of a target as the commands that look at it open it, wherever its memory comes from. */
#ifndef SAFEPOINT_CLI_HEAP_VIEW_H
#define SAFEPOINT_CLI_HEAP_VIEW_H

#include "cli/heap_file.h"
#include "cli/session.h"
#include "runtime/heap/heap.h"

struct heap_view;

/* What a command wants besides the objects. */
struct heap_view_hooks {
    /* Called while the process is frozen (view->freeze), before its memory is copied. NULL: nothing. */
    struct error *(*frozen)(struct heap_view *view, void *context);
    void *context;
    bool references;   /* heap_graph_open() will be asked for: they are kept when they are first found */
    bool memory_alone; /* is of use too where the objects can't be found: view->heap is NULL, view->no_objects says why */
};

struct heap_view {
    struct heap_origin origin; /* whose it is, how it was had */

    /* Of a process, or a core (session.process.core): */
    struct session session;
    struct freeze freeze; /* ended when the objects in it have been found */
    bool live, frozen;    /* it is a process, or a core; its freeze is still there */
    uint64_t unstored;    /* bytes that a core hasn't */
    struct heap_image image;
    struct heap *heap; /* NULL: of a file */
    double copied_s, read_s;
    const struct heap_view_hooks *hooks; /* NULL: none */
    struct error *no_objects;

    struct heap_file file;
};

/* Does the first word name a file, and not a process? */
bool heap_view_is_file(const struct cli_options *options);

/* Opens the target of a command's first word. A process's memory is frozen as the options ask for, and the objects in it are
 * found; it runs as ever then. A core is its own freeze. Of a snapshot nodes and types are read. With --json, and a `json`, the
 * target is printed too, also before most errors. ERROR_INTERRUPTED by a signal to us; session_freeze()'s; heap_file_read()'s. The view must not be moved. */
struct error *heap_view_open(struct heap_view *view, const struct cli_options *options, struct json *json)
    __attribute__((warn_unused_result));
void heap_view_close(struct heap_view *view);
/* The same, for one whose graph will be asked for (heap_graph_open()): that is faster then. */
struct error *heap_view_open_graph(struct heap_view *view, const struct cli_options *options, struct json *json)
    __attribute__((warn_unused_result));
/* The same, with hooks, which must outlive the view. */
struct error *heap_view_open_with(struct heap_view *view, const struct cli_options *options, struct json *json,
                                  const struct heap_view_hooks *hooks) __attribute__((warn_unused_result));

/* The nodes, and of each type its names. A process's generations are to be asked for (heap_read_generations()). */
uint32_t heap_view_count(const struct heap_view *view);
struct heap_node heap_view_node(const struct heap_view *view, uint32_t number);
/* Of each node its type. */
const uint32_t *heap_view_types(const struct heap_view *view);
uint32_t heap_view_type_count(const struct heap_view *view);
const char *heap_view_type_name(const struct heap_view *view, uint32_t number);
const char *heap_view_module_name(const struct heap_view *view, uint32_t number);

/* What the answer says of how it was had: notes; "pause_us" before the result, and fields of it. */
void heap_view_note(const struct heap_view *view, const struct cli_options *options);
void heap_view_json_pause(const struct heap_view *view, struct json *json);
void heap_view_json(const struct heap_view *view, struct json *json);

#endif
