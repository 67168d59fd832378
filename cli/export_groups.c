/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Roots come interpreter by interpreter, thread by thread: the frames of a thread, from the innermost on, then the fields of
 * its state. The first root of a frame has its thread's number; frames of one number are of one thread, and the fields that
 * come next are its too.
 */
#include "cli/export_groups.h"

#include <stdlib.h>

#include "attach/scope.h"

static struct error *groups_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the groups of roots");
}

static struct export_group *groups_add(struct export_groups *groups, enum export_group_kind kind, uint64_t holder)
{
    if (groups->count + 1 >= groups->room) {
        uint32_t room = groups->room ? groups->room * 2 : 64;
        struct export_group *larger = reallocarray(groups->groups, room, sizeof(*larger));
        if (!larger)
            return NULL;
        groups->groups = larger;
        groups->room = room;
    }
    struct export_group *added = &groups->groups[groups->count++];
    *added = (struct export_group){.kind = kind, .parent = HEAP_NONE, .code = HEAP_NONE, .holder = holder};
    added[1] = (struct export_group){.kind = EXPORT_GROUP_SINGLE};
    return added;
}

/* Where the roots of a group of frames and its thread are while they are taken in. */
struct groups_reading {
    struct export_groups *groups;
    uint32_t frames; /* the first group of a frame that has no thread yet */
    uint64_t number; /* of the thread that these are of */
    uint64_t thread; /* whose fields came last */
};

/* All frames since the last thread are this one's. */
static bool groups_end_frames(struct groups_reading *reading, uint64_t thread)
{
    struct export_groups *groups = reading->groups;
    uint32_t first = reading->frames, end = groups->count;
    struct export_group *added = groups_add(groups, EXPORT_GROUP_THREAD, thread);

    if (!added)
        return false;
    added->number = ++groups->threads;
    added->frames = first;
    added->frame_count = end - first;
    for (uint32_t i = first; i < end; i++)
        groups->groups[i].parent = end;
    reading->frames = groups->count;
    reading->thread = thread;
    return true;
}

static bool groups_take_frame(struct groups_reading *reading, const struct graph_root *root)
{
    struct export_groups *groups = reading->groups;

    if (groups->count > reading->frames && groups->groups[groups->count - 1].holder == root->holder)
        return true;
    if (groups->count > reading->frames && reading->number != root->number && !groups_end_frames(reading, 0))
        return false; /* or was the last one a thread whose state has no reference? */
    reading->number = root->number;
    struct export_group *added = groups_add(groups, EXPORT_GROUP_FRAME, root->holder);
    if (!added)
        return false;
    added->number = ++groups->frames;
    added->code = root->code;
    return true;
}

/* The group of the next root, or HEAP_NONE when memory is out. */
static uint32_t groups_of_root(struct groups_reading *reading, const struct graph_root *root)
{
    static const enum export_group_kind kinds[] = {
        [HEAP_ROOT_MODULE] = EXPORT_GROUP_MODULES,          [HEAP_ROOT_BUILTINS] = EXPORT_GROUP_BUILTINS,
        [HEAP_ROOT_INTERPRETER] = EXPORT_GROUP_INTERPRETER, [HEAP_ROOT_INTERNED] = EXPORT_GROUP_INTERNED,
        [HEAP_ROOT_STATIC] = EXPORT_GROUP_STATICS,          [HEAP_ROOT_OBJECT] = EXPORT_GROUP_OBJECTS,
    };
    struct export_groups *groups = reading->groups;
    bool done = true;

    if (root->kind == HEAP_ROOT_FRAME)
        done = groups_take_frame(reading, root);
    else if (root->kind == HEAP_ROOT_THREAD && (groups->count > reading->frames || root->holder != reading->thread))
        done = groups_end_frames(reading, root->holder);
    else if (root->kind != HEAP_ROOT_THREAD) {
        if (groups->count > reading->frames) /* a thread whose state has no reference */
            done = groups_end_frames(reading, 0);
        return done ? (uint32_t)kinds[root->kind] : HEAP_NONE;
    }
    return done ? groups->count - 1 : HEAP_NONE;
}

/* Their roots side by side. */
static struct error *groups_sort(struct export_groups *groups, const struct graph *graph, const uint32_t *of_root)
{
    groups->order = malloc(graph->root_count * sizeof(*groups->order) + 1);
    if (!groups->order)
        return groups_out_of_memory();
    for (size_t i = 0; i < graph->root_count; i++)
        groups->groups[of_root[i] + 1].first++;
    for (uint32_t g = 0; g < groups->count; g++)
        groups->groups[g + 1].first += groups->groups[g].first;
    for (size_t i = graph->root_count; i-- > 0;) /* from the last on: `first` of the next group comes down to its own */
        groups->order[--groups->groups[of_root[i] + 1].first] = (uint32_t)i;
    for (uint32_t g = 0; g < groups->count; g++)
        groups->groups[g].first = groups->groups[g + 1].first;
    groups->groups[groups->count].first = (uint32_t)graph->root_count;
    return NULL;
}

struct error *export_groups_init(struct export_groups *groups, const struct graph *graph)
{
    scoped_free uint32_t *of_root = malloc(graph->root_count * sizeof(*of_root) + 1);
    struct groups_reading reading = {.groups = groups, .frames = EXPORT_GROUP_SINGLE};

    *groups = (struct export_groups){.count = 0};
    for (int kind = 0; kind < EXPORT_GROUP_SINGLE; kind++) {
        if (!groups_add(groups, (enum export_group_kind)kind, 0))
            return groups_out_of_memory();
    }
    for (size_t i = 0; of_root && i < graph->root_count; i++) {
        of_root[i] = groups_of_root(&reading, &graph->roots[i]);
        if (of_root[i] == HEAP_NONE)
            return groups_out_of_memory();
    }
    if (!of_root || (groups->count > reading.frames && !groups_end_frames(&reading, 0)))
        return groups_out_of_memory();
    return groups_sort(groups, graph, of_root);
}

void export_groups_deinit(struct export_groups *groups)
{
    free(groups->groups);
    free(groups->order);
    *groups = (struct export_groups){.count = 0};
}
