/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who holds an object, as Python would write it: `app.cache._memo['u:7'].orders[3]`, or `local rows of Worker.run
 * (app/worker.py:88, thread Worker-3)`. What Python can't write stands in angle brackets: `.<element>`.
 *
 * Modules and variables of frames are where a search starts; what only the interpreter's own structures lead to comes after
 * what both of them lead to in a few steps more.
 */
#ifndef SAFEPOINT_CLI_HEAP_SEARCH_H
#define SAFEPOINT_CLI_HEAP_SEARCH_H

#include "cli/heap_graph.h"
#include "runtime/heap/paths.h"

struct heap_search {
    struct heap_view *view;    /* neither is owned; both outlive it */
    const struct graph *graph;
    struct paths_seed *seeds;  /* whose origin is the number of a root of the graph */
    size_t seed_count;
    struct paths paths;
};

/* Searches a view's graph until a node is reached, or all that can be (HEAP_NONE). End it with heap_search_close() in any case. */
struct error *heap_search_open(struct heap_search *search, struct heap_view *view, const struct graph *graph,
                               uint32_t until) __attribute__((warn_unused_result));
void heap_search_close(struct heap_search *search);

/* A step of a path: how it is written behind the one before, and what it leads to. */
struct heap_step {
    char *text;
    uint32_t node;
    char *of; /* after heap_name_steps(): a function's name, of a frame or generator its function's, of a cell its variable's; or NULL */
};

struct heap_named_path {
    const struct graph_root *root;
    char *expression; /* the whole of it */
    struct heap_step *steps;
    size_t count;
    char *function, *file, *thread; /* of a frame, where they could be told; or NULL */
    int line;                       /* 0: not known */
};

/* Names paths of this search. Ask for all in one go: of a file this reads it again. The names are to be given back with
 * heap_named_paths_deinit() in any case. */
struct error *heap_name_paths(struct heap_search *search, const struct paths_path *paths, size_t count,
                              struct heap_named_path *named) __attribute__((warn_unused_result));
void heap_named_paths_deinit(struct heap_named_path *named, size_t count);

/* As a sentence: the expression, and of a frame "local EXPRESSION of FUNCTION (FILE:LINE, thread NAME)". free() it; NULL: out of
 * memory. */
char *heap_describe_path(const struct heap_named_path *named);

/* Fills in function, file, line and thread of those that start at a running frame (heap_name_paths() does). Of a file that has no
 * values the function is called by the path to it. */
struct error *heap_name_frames(struct heap_search *search, struct heap_named_path *named, size_t count)
    __attribute__((warn_unused_result));

/* Fills in what steps that Python leaves without a name are of. Nothing of a file that has no values. */
struct error *heap_name_steps(struct heap_search *search, struct heap_named_path *named)
    __attribute__((warn_unused_result));

/* "module", "frame", ... */
const char *heap_root_kind_name(enum heap_root_kind kind);

/* What a reference is called behind its holder: ".name", "[3]", "['key']", ".<element>". `holder`: its type's name. free() it; NULL: out of memory. */
char *heap_edge_text(const struct heap_view *view, const struct heap_graph_edge *edge);

#endif
