/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What references start from, in groups: the modules; the frames of each thread, each a group of its own within the
 * thread's; what the interpreter, libraries' variables, and the table of interned strings hold; and what nothing reaches.
 */
#ifndef SAFEPOINT_CLI_EXPORT_GROUPS_H
#define SAFEPOINT_CLI_EXPORT_GROUPS_H

#include "runtime/heap/graph.h"

enum export_group_kind {
    EXPORT_GROUP_MODULES, EXPORT_GROUP_BUILTINS, EXPORT_GROUP_INTERPRETER, EXPORT_GROUP_INTERNED, EXPORT_GROUP_STATICS,
    EXPORT_GROUP_OBJECTS, EXPORT_GROUP_UNREACHED, EXPORT_GROUP_SINGLE, /* one of each of those before */
    EXPORT_GROUP_THREAD = EXPORT_GROUP_SINGLE, EXPORT_GROUP_FRAME
};

struct export_group {
    enum export_group_kind kind;
    uint32_t number;     /* of a thread or frame, among all of them, from 1 on; else 0 */
    uint32_t parent;     /* of a frame: its thread's group; else HEAP_NONE */
    uint32_t code;       /* of a frame: its code's node, or HEAP_NONE */
    uint32_t frames, frame_count; /* of a thread: its first group, and how many */
    uint32_t first;      /* its roots: order[first] to order[next group's first - 1] */
    uint64_t holder;     /* address of the frame, or of the thread's state */
};

struct export_groups {
    struct export_group *groups; /* the single ones first; one more at the end, for its `first` */
    uint32_t count, room;
    uint32_t *order; /* numbers of the graph's roots */
    uint32_t threads, frames;
};

/* ERROR_SYSTEM. End it with export_groups_deinit() in any case. */
struct error *export_groups_init(struct export_groups *groups, const struct graph *graph)
    __attribute__((warn_unused_result));
void export_groups_deinit(struct export_groups *groups);

#endif
