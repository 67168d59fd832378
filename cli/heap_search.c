/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a search for holders starts. The names are heap_name.c's. */
#include "cli/heap_search.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

#define SEARCH_LEVELS 6

static struct error *search_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the search");
}

const char *heap_root_kind_name(enum heap_root_kind kind)
{
    static const char *const names[] = {
        [HEAP_ROOT_FRAME] = "frame",     [HEAP_ROOT_MODULE] = "module",     [HEAP_ROOT_BUILTINS] = "builtins",
        [HEAP_ROOT_THREAD] = "thread",   [HEAP_ROOT_INTERPRETER] = "interpreter", [HEAP_ROOT_INTERNED] = "interned",
        [HEAP_ROOT_STATIC] = "variable", [HEAP_ROOT_OBJECT] = "static object",
    };

    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

/* As if so many references led to what the root holds. Nothing searches from the table of interned strings, which keeps nothing. */
static unsigned search_level(const struct graph *graph, const struct graph_root *root)
{
    switch (root->kind) {
    case HEAP_ROOT_MODULE:
        return 0;
    case HEAP_ROOT_BUILTINS:
        return 1;
    case HEAP_ROOT_FRAME:
        if (graph_node(graph, root->target).address == root->holder) /* up to 3.10: an object whose variables come next */
            return 0;
        if (!root->name)
            return 2;
        if (!strcmp(root->name, "code") || !strcmp(root->name, "function"))
            return 3;
        return 1;
    case HEAP_ROOT_THREAD:
        return 3;
    case HEAP_ROOT_INTERPRETER:
    case HEAP_ROOT_STATIC:
        return 4;
    case HEAP_ROOT_OBJECT:
        return 5;
    case HEAP_ROOT_INTERNED:
        break;
    }
    return SEARCH_LEVELS;
}

static bool search_is(const struct heap_search *search, uint32_t node, const char *type)
{
    return !strcmp(heap_view_type_name(search->view, graph_node(search->graph, node).type), type);
}

static void search_add(struct heap_search *search, uint32_t node, uint32_t parent, uint32_t root, unsigned level)
{
    search->seeds[search->seed_count++] = (struct paths_seed){node, parent, root, level};
}

/* sys.modules: its modules, and of each the dict, are as near as it is itself. */
static void search_add_modules(struct heap_search *search, uint32_t root)
{
    const struct graph *graph = search->graph;
    uint32_t modules = graph->roots[root].target;

    search_add(search, modules, HEAP_NONE, root, 0);
    for (uint32_t e = graph->first[modules]; e < graph->first[modules + 1]; e++) {
        uint32_t module = graph_target(graph, e);
        if (!search_is(search, module, "module"))
            continue;
        search_add(search, module, modules, root, 0);
        for (uint32_t f = graph->first[module]; f < graph->first[module + 1]; f++) {
            if (search_is(search, graph_target(graph, f), "dict")) {
                search_add(search, graph_target(graph, f), module, root, 0);
                break;
            }
        }
    }
}

static size_t search_most_seeds(const struct graph *graph)
{
    size_t most = graph->root_count;

    for (size_t i = 0; i < graph->root_count; i++) {
        uint32_t node = graph->roots[i].target;
        if (graph->roots[i].kind == HEAP_ROOT_MODULE)
            most += 2 * (size_t)(graph->first[node + 1] - graph->first[node]);
    }
    return most;
}

static struct error *search_find_seeds(struct heap_search *search)
{
    const struct graph *graph = search->graph;

    search->seeds = malloc(search_most_seeds(graph) * sizeof(*search->seeds) + 1);
    if (!search->seeds)
        return search_out_of_memory();
    for (uint32_t i = 0; i < graph->root_count; i++) {
        if (graph->roots[i].kind == HEAP_ROOT_MODULE)
            search_add_modules(search, i);
    }
    for (unsigned level = 0; level < SEARCH_LEVELS; level++) {
        for (uint32_t i = 0; i < graph->root_count; i++) {
            const struct graph_root *root = &graph->roots[i];
            if (root->kind != HEAP_ROOT_MODULE && !root->stale && search_level(graph, root) == level)
                search_add(search, root->target, HEAP_NONE, i, level);
        }
    }
    return NULL;
}

struct error *heap_search_open(struct heap_search *search, struct heap_view *view, const struct graph *graph,
                               uint32_t until)
{
    *search = (struct heap_search){.view = view, .graph = graph};
    struct error *error = search_find_seeds(search);

    return error ? error : paths_find(&search->paths, graph, search->seeds, search->seed_count, until);
}

void heap_search_close(struct heap_search *search)
{
    paths_deinit(&search->paths);
    free(search->seeds);
    search->seeds = NULL;
}
