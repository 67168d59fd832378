/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/task_tree.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

/* A walk over all edges, depth first: where it is in each task on its way. */
struct walk {
    struct task_tree *tree;
    unsigned char *colours;
    size_t *path, *next; /* tasks on the way, and for each task its next child to look at */
    size_t depth;
};

enum { COLOUR_NEW, COLOUR_ON_PATH, COLOUR_DONE };

/* Two passes: one counts each task's children (two places further on), the other puts them in. */
static void fill_children(struct task_tree *tree, const struct tasks *tasks, bool fill)
{
    for (size_t i = 0; i < tasks->count; i++) {
        for (size_t j = 0; j < tasks->items[i].awaiter_count; j++) {
            size_t parent = tasks_find(tasks, tasks->items[i].awaited_by[j]);
            if (parent == SIZE_MAX)
                continue;
            if (fill)
                tree->children[tree->first[parent + 1]++] = i;
            else
                tree->first[parent + 2]++;
        }
    }
}

/* first[t + 1] runs from where t's children begin to where they end while they are filled in. */
static struct error *build_children(struct task_tree *tree, const struct tasks *tasks)
{
    size_t edges = 0;

    for (size_t i = 0; i < tasks->count; i++)
        edges += tasks->items[i].awaiter_count;
    tree->first = calloc(tree->count + 2, sizeof(*tree->first));
    tree->children = calloc(edges + 1, sizeof(*tree->children));
    if (!tree->first || !tree->children)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tree of tasks");
    fill_children(tree, tasks, false);
    for (size_t i = 1; i < tree->count + 2; i++)
        tree->first[i] += tree->first[i - 1];
    fill_children(tree, tasks, true);
    return NULL;
}

/* The way from `task`, which is on it, to its end is a circle. */
static void add_circle(struct walk *walk, size_t task)
{
    struct task_tree *tree = walk->tree;
    size_t start = walk->depth, end = tree->circle_first[tree->circle_count];

    while (start > 0 && walk->path[start - 1] != task)
        start--;
    start -= start > 0;
    /* Each circle ends a way that is on no other: together they are no longer than all tasks, or they are left out. */
    if (tree->circle_count == tree->count || end + walk->depth - start > tree->count)
        return;
    memcpy(tree->circles + end, walk->path + start, (walk->depth - start) * sizeof(*tree->circles));
    tree->circle_first[++tree->circle_count] = end + walk->depth - start;
}

static void step(struct walk *walk)
{
    struct task_tree *tree = walk->tree;
    size_t task = walk->path[walk->depth - 1];

    size_t at = walk->next[task]++, end = tree->first[task + 1];
    if (at > end || (at == end && tree->holders[task] == SIZE_MAX)) {
        walk->colours[task] = COLOUR_DONE;
        walk->depth--;
        return;
    }
    size_t child = at == end ? tree->holders[task] : tree->children[at];
    if (walk->colours[child] == COLOUR_ON_PATH)
        add_circle(walk, child);
    if (walk->colours[child] != COLOUR_NEW)
        return;
    walk->colours[child] = COLOUR_ON_PATH;
    walk->path[walk->depth++] = child;
}

static void walk_from(struct walk *walk, size_t root)
{
    if (walk->colours[root] != COLOUR_NEW)
        return;
    walk->colours[root] = COLOUR_ON_PATH;
    walk->path[walk->depth++] = root;
    while (walk->depth)
        step(walk);
}

static bool has_parent(const struct tasks *tasks, size_t task)
{
    for (size_t i = 0; i < tasks->items[task].awaiter_count; i++) {
        if (tasks_find(tasks, tasks->items[task].awaited_by[i]) != SIZE_MAX)
            return true;
    }
    return false;
}

static struct error *walk_all(struct task_tree *tree, const struct tasks *tasks)
{
    scoped_free unsigned char *colours = calloc(tree->count + 1, 1);
    scoped_free size_t *path = calloc(tree->count + 1, sizeof(*path));
    scoped_free size_t *next = calloc(tree->count + 1, sizeof(*next));
    struct walk walk = {.tree = tree, .colours = colours, .path = path, .next = next};

    if (!colours || !path || !next)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tree of tasks");
    memcpy(next, tree->first, tree->count * sizeof(*next));
    for (size_t i = 0; i < tree->count; i++) {
        if (has_parent(tasks, i))
            continue;
        tree->roots[tree->root_count++] = i;
        walk_from(&walk, i);
    }
    for (size_t i = 0; i < tree->count; i++) { /* circles that nobody else awaits */
        if (colours[i] != COLOUR_NEW)
            continue;
        tree->roots[tree->root_count++] = i;
        walk_from(&walk, i);
    }
    return NULL;
}

struct error *task_tree_init(struct task_tree *tree, const struct tasks *tasks)
{
    *tree = (struct task_tree){.count = tasks->count};
    tree->roots = calloc(tree->count + 1, sizeof(*tree->roots));
    tree->circles = calloc(tree->count + 1, sizeof(*tree->circles));
    tree->circle_first = calloc(tree->count + 2, sizeof(*tree->circle_first));
    tree->holders = calloc(tree->count + 1, sizeof(*tree->holders));
    if (!tree->holders || !tree->roots || !tree->circles || !tree->circle_first)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the tree of tasks");
    for (size_t i = 0; i < tree->count; i++)
        tree->holders[i] = tasks->items[i].wait.holder ? tasks_find(tasks, tasks->items[i].wait.holder) : SIZE_MAX;
    struct error *error = build_children(tree, tasks);
    return error ? error : walk_all(tree, tasks);
}

void task_tree_deinit(struct task_tree *tree)
{
    free(tree->first);
    free(tree->children);
    free(tree->roots);
    free(tree->circles);
    free(tree->circle_first);
    free(tree->holders);
    *tree = (struct task_tree){0};
}
