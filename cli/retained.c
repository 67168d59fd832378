/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * retained: what would be freed if an object went: itself, and all that can't be reached without it. The biggest, or the tree of
 * dominators unfolded; or together by type, by module (what its names keep), by where references start.
 */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_search.h"
#include "cli/table.h"
#include "runtime/heap/dominators.h"

#define RETAINED_ROWS_SHOWN 30
#define RETAINED_KEPT_SHOWN 5 /* of what an object keeps, when the tree is unfolded */
#define RETAINED_DEPTH_MAX  20
#define RETAINED_NAMED_MOST 1000
#define RETAINED_KINDS      (HEAP_ROOT_OBJECT + 1)

struct retained_row {
    uint32_t number; /* of the dominators; HEAP_NONE of a sum */
    uint32_t depth;
    uint64_t retained, shallow, count;
    char *name; /* of a sum; of an object how Python writes it, or NULL */
};

struct retained {
    const struct cli_options *options;
    struct heap_view view;
    struct graph graph;
    struct dominators dominators;
    struct dominators_tree tree;
    uint32_t *group_of_root;
    uint32_t group_count; /* the kinds of roots, and behind them the frames of each thread */
    uint64_t *group_state; /* of each thread's group: a root of its frames */

    struct retained_row *rows;
    size_t count, room;
};

static struct error *retained_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for what is retained");
}

/* ------------------------------------------------------------------- groups */

/* Frames come thread by thread; the first root of each has the thread's number. */
static struct error *retained_find_groups(struct retained *retained)
{
    const struct graph *graph = &retained->graph;
    uint64_t thread = 0, frame = 0;

    retained->group_of_root = malloc(graph->root_count * sizeof(*retained->group_of_root) + 1);
    retained->group_state = malloc((graph->root_count + 1) * sizeof(*retained->group_state));
    if (!retained->group_of_root || !retained->group_state)
        return retained_out_of_memory();
    retained->group_count = RETAINED_KINDS;
    for (size_t i = 0; i < graph->root_count; i++) {
        const struct graph_root *root = &graph->roots[i];
        retained->group_of_root[i] = root->kind;
        if (root->kind != HEAP_ROOT_FRAME)
            continue;
        if (root->holder != frame && (root->number != thread || retained->group_count == RETAINED_KINDS)) {
            retained->group_state[retained->group_count++ - RETAINED_KINDS] = i;
            thread = root->number;
        }
        frame = root->holder;
        retained->group_of_root[i] = retained->group_count - 1;
    }
    return NULL;
}

static struct error *retained_name_thread(struct retained *retained, uint32_t group, char **name)
{
    struct heap_search search = {.view = &retained->view, .graph = &retained->graph};
    struct heap_named_path named = {.root = &retained->graph.roots[retained->group_state[group - RETAINED_KINDS]]};
    struct error *error = heap_name_frames(&search, &named, 1);
    int length = 0;

    if (!error)
        length = named.thread ? asprintf(name, "frames of thread %s", named.thread)
                              : asprintf(name, "frames of a thread");
    heap_named_paths_deinit(&named, 1);
    if (length < 0) {
        *name = NULL;
        return retained_out_of_memory();
    }
    return error;
}

static const char *retained_kind_name(uint32_t kind)
{
    static const char *const names[RETAINED_KINDS] = {
        [HEAP_ROOT_FRAME] = "frames",
        [HEAP_ROOT_MODULE] = "sys.modules",
        [HEAP_ROOT_BUILTINS] = "builtins and sys",
        [HEAP_ROOT_INTERPRETER] = "the interpreter",
        [HEAP_ROOT_THREAD] = "states of threads",
        [HEAP_ROOT_INTERNED] = "the table of interned strings",
        [HEAP_ROOT_STATIC] = "variables of libraries",
        [HEAP_ROOT_OBJECT] = "static objects",
    };

    return names[kind];
}

/* Of what isn't an object. */
static struct error *retained_name_number(struct retained *retained, uint32_t number, char **name)
{
    const struct dominators *dominators = &retained->dominators;
    uint32_t group = number - dominators->node_count;
    const char *known = number == dominators_whole(dominators)         ? "several of these"
                        : number == dominators_unreachable(dominators) ? "(unreachable)"
                        : number == dominators_interned(dominators)    ? "(interned strings that nothing else holds)"
                        : group < RETAINED_KINDS                       ? retained_kind_name(group)
                                                                       : NULL;

    if (!known)
        return retained_name_thread(retained, group, name);
    *name = strdup(known);
    return *name ? NULL : retained_out_of_memory();
}

/* --------------------------------------------------------------------- rows */

static struct retained_row *retained_add(struct retained *retained, uint32_t number, uint32_t depth)
{
    if (retained->count == retained->room) {
        size_t room = retained->room ? retained->room * 2 : 64;
        struct retained_row *larger = reallocarray(retained->rows, room, sizeof(*larger));
        if (!larger)
            return NULL;
        retained->rows = larger;
        retained->room = room;
    }
    struct retained_row *row = &retained->rows[retained->count++];
    *row = (struct retained_row){.number = number, .depth = depth, .count = 1};
    if (number != HEAP_NONE)
        row->retained = retained->dominators.retained[number];
    if (number < retained->dominators.node_count)
        row->shallow = heap_view_node(&retained->view, number).size;
    return row;
}

static size_t retained_limit(const struct retained *retained, size_t most)
{
    const struct cli_options *options = retained->options;

    return options->heap.limit ? options->heap.limit : options->verbose ? most : RETAINED_ROWS_SHOWN;
}

static int retained_compare(const void *a, const void *b)
{
    const struct retained_row *left = a, *right = b;

    if (left->retained != right->retained)
        return left->retained > right->retained ? -1 : 1;
    return left->number < right->number ? -1 : left->number > right->number;
}

static bool retained_is_chosen(const struct retained *retained, uint64_t bytes, const char *name)
{
    const struct cli_options *options = retained->options;

    return bytes >= options->heap.min && (!options->heap.match || !fnmatch(options->heap.match, name, 0));
}

static void retained_sort_rows(struct retained *retained)
{
    if (retained->count)
        qsort(retained->rows, retained->count, sizeof(*retained->rows), retained_compare);
}

static void retained_cut_rows(struct retained *retained, size_t limit)
{
    while (retained->count > limit)
        free(retained->rows[--retained->count].name);
}

/* ------------------------------------------------------------- the biggest */

/* The `most` biggest of those that were offered, the smallest of them on top. */
struct retained_biggest {
    const struct retained *retained;
    uint32_t *heap;
    size_t count, most;
};

/* Of two that retain the same the one with the lower number is the bigger. */
static bool retained_is_less(const struct retained_biggest *biggest, uint32_t left, uint32_t right)
{
    const uint64_t *bytes = biggest->retained->dominators.retained;

    return bytes[left] != bytes[right] ? bytes[left] < bytes[right] : left > right;
}

static void retained_sink(struct retained_biggest *biggest, size_t at)
{
    uint32_t *heap = biggest->heap;

    for (;;) {
        size_t least = at, left = 2 * at + 1, right = left + 1;
        if (left < biggest->count && retained_is_less(biggest, heap[left], heap[least]))
            least = left;
        if (right < biggest->count && retained_is_less(biggest, heap[right], heap[least]))
            least = right;
        if (least == at)
            return;
        uint32_t other = heap[at];
        heap[at] = heap[least];
        heap[least] = other;
        at = least;
    }
}

static void retained_offer(struct retained_biggest *biggest, uint32_t number)
{
    if (biggest->count < biggest->most) {
        biggest->heap[biggest->count++] = number;
        for (size_t at = biggest->count / 2; biggest->count == biggest->most && at-- > 0;)
            retained_sink(biggest, at);
        return;
    }
    if (!biggest->most || !retained_is_less(biggest, biggest->heap[0], number))
        return;
    biggest->heap[0] = number;
    retained_sink(biggest, 0);
}

static bool retained_is_object_chosen(const struct retained *retained, uint32_t number)
{
    if (!retained->options->heap.match)
        return retained->dominators.retained[number] >= retained->options->heap.min;
    return retained_is_chosen(retained, retained->dominators.retained[number],
                              heap_view_type_name(&retained->view, heap_view_node(&retained->view, number).type));
}

static struct error *retained_list_biggest(struct retained *retained)
{
    uint32_t count = retained->dominators.node_count;
    size_t most = retained_limit(retained, count);
    struct retained_biggest biggest = {.retained = retained, .most = most < count ? most : count};
    scoped_free uint32_t *heap = biggest.heap = malloc(biggest.most * sizeof(*heap) + 1);

    if (!heap)
        return retained_out_of_memory();
    for (uint32_t i = 0; i < count; i++) {
        if (retained_is_object_chosen(retained, i))
            retained_offer(&biggest, i);
    }
    for (size_t i = 0; i < biggest.count; i++) {
        if (!retained_add(retained, heap[i], 0))
            return retained_out_of_memory();
    }
    retained_sort_rows(retained);
    return NULL;
}

/* ------------------------------------------------------------------ unfolded */

/* What hangs directly below the whole and below the groups of roots, the biggest; or what an object keeps. */
static void retained_offer_children(struct retained_biggest *biggest, uint32_t parent)
{
    const struct retained *retained = biggest->retained;

    for (uint32_t at = retained->tree.first[parent]; at != HEAP_NONE; at = retained->tree.next[at]) {
        if (at >= retained->dominators.node_count)
            retained_offer_children(biggest, at); /* once: groups hang below the whole alone */
        else if (retained->dominators.retained[at] >= retained->options->heap.min)
            retained_offer(biggest, at);
    }
}

static struct error *retained_unfold(struct retained *retained, uint32_t parent, uint32_t depth)
{
    size_t most = depth ? RETAINED_KEPT_SHOWN : retained_limit(retained, retained->dominators.node_count);
    struct retained_biggest biggest = {.retained = retained, .most = most};
    scoped_free uint32_t *heap = biggest.heap = malloc(most * sizeof(*heap) + 1);
    struct error *error = NULL;

    if (!heap)
        return retained_out_of_memory();
    retained_offer_children(&biggest, parent);
    size_t first = retained->count;
    for (size_t i = 0; i < biggest.count; i++) {
        if (!retained_add(retained, heap[i], depth))
            return retained_out_of_memory();
    }
    /* They are taken out again, and put back one by one with what they keep behind them. */
    if (biggest.count)
        qsort(retained->rows + first, biggest.count, sizeof(*retained->rows), retained_compare);
    for (size_t i = 0; i < biggest.count; i++)
        heap[i] = retained->rows[first + i].number;
    retained->count = first;
    for (size_t i = 0; i < biggest.count && !error; i++) {
        if (!retained_add(retained, heap[i], depth))
            return retained_out_of_memory();
        if (depth + 1 < retained->options->depth)
            error = retained_unfold(retained, heap[i], depth + 1);
    }
    return error;
}

/* -------------------------------------------------------------------- names */

/* The one object that has a name without a path. */
static struct error *retained_name_table(const struct retained *retained, struct retained_row *row)
{
    const struct graph *graph = &retained->graph;

    for (size_t i = 0; i < graph->root_count; i++) {
        if (graph->roots[i].kind != HEAP_ROOT_INTERNED || graph->roots[i].target != row->number)
            continue;
        row->name = strdup("<interned strings>");
        return row->name ? NULL : retained_out_of_memory();
    }
    return NULL;
}

/* What nothing reaches has no path, and no name; nor have those of more rows than anybody reads. */
static struct error *retained_name_objects(struct retained *retained)
{
    scoped_free struct paths_path *paths = calloc(retained->count + 1, sizeof(*paths));
    scoped_free struct heap_named_path *named = calloc(retained->count + 1, sizeof(*named));
    scoped_free size_t *rows = calloc(retained->count + 1, sizeof(*rows));
    struct heap_search search;
    size_t count = 0;

    if (!paths || !named || !rows)
        return retained_out_of_memory();
    struct error *error = heap_search_open(&search, &retained->view, &retained->graph, HEAP_NONE);
    for (size_t i = 0; i < retained->count && count < RETAINED_NAMED_MOST && !error; i++) {
        if (!paths_is_reached(&search.paths, retained->rows[i].number)) {
            error = retained_name_table(retained, &retained->rows[i]);
            continue;
        }
        rows[count] = i;
        if (!(error = paths_get(&search.paths, retained->rows[i].number, &paths[count])))
            count++;
    }
    if (!error)
        error = heap_name_paths(&search, paths, count, named);
    for (size_t i = 0; i < count; i++) {
        if (!error)
            retained->rows[rows[i]].name = heap_describe_path(&named[i]);
        free(paths[i].nodes);
    }
    heap_named_paths_deinit(named, count);
    heap_search_close(&search);
    return error;
}

/* ------------------------------------------------------------------ by type */

/* Types of one name are one: the first of them. */
struct retained_types {
    const struct heap_view *view;
    uint32_t *first; /* by type */
};

struct retained_type_name {
    const char *name;
    uint32_t type;
};

static int retained_compare_names(const void *a, const void *b)
{
    const struct retained_type_name *left = a, *right = b;
    int order = strcmp(left->name, right->name);

    return order ? order : left->type < right->type ? -1 : 1;
}

static uint32_t *retained_join_types(const struct heap_view *view)
{
    uint32_t count = heap_view_type_count(view);
    scoped_free struct retained_type_name *names = malloc((count + 1) * sizeof(*names));
    uint32_t *first = malloc((count + 1) * sizeof(*first));

    if (!names || !first) {
        free(first);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        names[i] = (struct retained_type_name){heap_view_type_name(view, i), i};
    qsort(names, count, sizeof(*names), retained_compare_names);
    for (uint32_t i = 0; i < count; i++) {
        bool same = i > 0 && !strcmp(names[i].name, names[i - 1].name);
        first[names[i].type] = same ? first[names[i - 1].type] : names[i].type;
    }
    return first;
}

static uint32_t retained_type_of(const void *context, uint32_t node)
{
    const struct retained_types *types = context;

    return types->first[heap_view_types(types->view)[node]];
}

static struct error *retained_list_types(struct retained *retained)
{
    uint32_t types = heap_view_type_count(&retained->view);
    scoped_free uint64_t *sums = calloc(types + 1, sizeof(*sums)), *counts = calloc(types + 1, sizeof(*counts)),
                         *bytes = calloc(types + 1, sizeof(*bytes));

    scoped_free uint32_t *joined = retained_join_types(&retained->view);
    const struct retained_types context = {&retained->view, joined};

    if (!sums || !counts || !bytes || !joined)
        return retained_out_of_memory();
    for (uint32_t i = 0; i < retained->dominators.node_count; i++) {
        struct heap_node node = heap_view_node(&retained->view, i);
        counts[joined[node.type]]++;
        bytes[joined[node.type]] += node.size;
    }
    struct error *error =
        dominators_sum_classes(&retained->dominators, &retained->tree, retained_type_of, &context, sums, types);
    for (uint32_t i = 0; i < types && !error; i++) {
        const char *name = heap_view_type_name(&retained->view, i);
        if (!counts[i] || !retained_is_chosen(retained, sums[i], name))
            continue;
        struct retained_row *row = retained_add(retained, HEAP_NONE, 0);
        if (!row || !(row->name = strdup(name)))
            return retained_out_of_memory();
        row->retained = sums[i];
        row->shallow = bytes[i];
        row->count = counts[i];
    }
    retained_sort_rows(retained);
    return error;
}

/* ---------------------------------------------------------------- by module */

struct retained_modules {
    struct retained *retained;
    bool out_of_memory;
};

/* Is the one above the other, in the tree? */
static bool retained_dominates(const struct retained *retained, uint32_t above, uint32_t below)
{
    uint32_t at = below;

    while (at != HEAP_NONE && at != above)
        at = retained->dominators.parents[at];
    return at == above;
}

static bool retained_is(const struct retained *retained, uint32_t node, const char *type)
{
    return !strcmp(heap_view_type_name(&retained->view, heap_view_node(&retained->view, node).type), type);
}

/* A module and its dict, which functions hold too: together. */
static void retained_add_module(void *context, const struct heap_graph_edge *edge)
{
    struct retained_modules *modules = context;
    struct retained *retained = modules->retained;
    const struct graph *graph = &retained->graph;
    uint32_t module = edge->target;

    if (edge->kind != HEAP_EDGE_VALUE || !retained_is(retained, module, "module"))
        return;
    struct retained_row *row = retained_add(retained, module, 0);
    modules->out_of_memory |= !row || !(row->name = strdup(edge->name ? edge->name : "?"));
    for (uint32_t e = graph->first[module]; row && e < graph->first[module + 1]; e++) {
        uint32_t dict = graph_target(graph, e);
        if (!retained_is(retained, dict, "dict"))
            continue;
        if (!retained_dominates(retained, module, dict))
            row->retained += retained->dominators.retained[dict];
        row->shallow += heap_view_node(&retained->view, dict).size;
        return;
    }
}

/* 'app' -> app; those of the same module, but for the first, and those that aren't asked for go. */
static void retained_tidy_modules(struct retained *retained)
{
    size_t kept = 0;

    for (size_t i = 0; i < retained->count; i++) {
        struct retained_row row = retained->rows[i];
        size_t length = strlen(row.name);
        bool again = kept && retained->rows[kept - 1].number == row.number;

        if (length >= 2 && row.name[0] == '\'') {
            memmove(row.name, row.name + 1, length - 2);
            row.name[length - 2] = '\0';
        }
        if (again || !retained_is_chosen(retained, row.retained, row.name))
            free(row.name);
        else
            retained->rows[kept++] = row;
    }
    retained->count = kept;
}

static struct error *retained_list_modules(struct retained *retained)
{
    const struct graph *graph = &retained->graph;
    struct retained_modules modules = {.retained = retained};
    struct error *error = NULL;

    for (size_t i = 0; i < graph->root_count && !error; i++) {
        if (graph->roots[i].kind == HEAP_ROOT_MODULE)
            error = heap_graph_visit(&retained->view, &graph->roots[i].target, 1, retained_add_module, &modules);
    }
    if (modules.out_of_memory)
        return error ? error : retained_out_of_memory();
    retained_sort_rows(retained);
    retained_tidy_modules(retained);
    return error;
}

/* ------------------------------------------------------------------ by root */

/* What hangs directly below the whole, and is no group, is held by several of them. */
static uint64_t retained_count_shared(const struct retained *retained)
{
    const struct dominators *dominators = &retained->dominators;
    uint64_t bytes = 0;

    for (uint32_t at = retained->tree.first[dominators_whole(dominators)]; at != HEAP_NONE; at = retained->tree.next[at])
        bytes += at < dominators->node_count ? dominators->retained[at] : 0;
    return bytes;
}

static struct error *retained_list_roots(struct retained *retained)
{
    const struct dominators *dominators = &retained->dominators;
    struct error *error = NULL;

    for (uint32_t number = dominators->node_count; number <= dominators_whole(dominators) && !error; number++) {
        uint64_t bytes = number == dominators_whole(dominators) ? retained_count_shared(retained) : dominators->retained[number];
        char *name = NULL;
        if (!bytes || (error = retained_name_number(retained, number, &name)))
            continue;
        struct retained_row *row = retained_is_chosen(retained, bytes, name) ? retained_add(retained, HEAP_NONE, 0) : NULL;
        if (!row) {
            free(name);
            continue;
        }
        row->name = name;
        row->retained = bytes;
    }
    retained_sort_rows(retained);
    return error;
}

/* ------------------------------------------------------------------- asking */

static struct error *retained_check(const struct cli_options *options)
{
    bool sums = options->heap.by_said;

    if (sums && (options->heap.by == CLI_HEAP_BY_SIZE || options->heap.by == CLI_HEAP_BY_GENERATION))
        return error_create(ERROR_USAGE, NULL, "retained --by: its words are type, module, root");
    if (options->heap.sort != CLI_HEAP_SORT_BYTES)
        return error_create(ERROR_USAGE, NULL, "retained sorts by what is retained: it takes no --sort");
    if (options->depth > RETAINED_DEPTH_MAX || (options->depth && sums))
        return error_create(ERROR_USAGE, NULL, "--depth: at most %d, and of objects alone", RETAINED_DEPTH_MAX);
    return NULL;
}

static struct error *retained_list(struct retained *retained)
{
    const struct cli_options *options = retained->options;
    struct error *error;

    if (!options->heap.by_said) {
        error = options->depth ? retained_unfold(retained, dominators_whole(&retained->dominators), 0)
                               : retained_list_biggest(retained);
        return error ? error : retained_name_objects(retained);
    }
    if (options->heap.by == CLI_HEAP_BY_ROOT)
        return retained_list_roots(retained);
    error = options->heap.by == CLI_HEAP_BY_MODULE ? retained_list_modules(retained) : retained_list_types(retained);
    if (!error && !(options->json && !options->heap.limit))
        retained_cut_rows(retained, retained_limit(retained, retained->count));
    return error;
}

static struct error *retained_ask(struct retained *retained)
{
    struct error *error = heap_graph_open(&retained->graph, &retained->view, retained->options);

    if (!error)
        error = graph_check_roots(&retained->graph);
    if (!error)
        error = retained_find_groups(retained);
    const struct dominators_groups groups = {retained->group_of_root, retained->group_count};
    if (!error)
        error = dominators_find(&retained->dominators, &retained->graph, &groups);
    if (!error && (retained->options->heap.by_said || retained->options->depth))
        error = dominators_tree_init(&retained->tree, &retained->dominators);
    return error ? error : retained_list(retained);
}

/* ----------------------------------------------------------------- printing */

static uint64_t retained_of(const struct retained *retained, uint32_t number)
{
    return retained->dominators.retained[number];
}

static void retained_print_title(const struct retained *retained)
{
    const struct dominators *dominators = &retained->dominators;
    uint64_t unreachable = retained_of(retained, dominators_unreachable(dominators));
    char count[32], size[24], lost[24];

    fprintf(cli_output, "%s objects, %s; %s of them are reached by nothing\n\n",
            cli_format_count(count, sizeof(count), dominators->node_count),
            cli_format_size(size, sizeof(size), retained_of(retained, dominators_whole(dominators))),
            cli_format_size(lost, sizeof(lost), unreachable));
}

static void retained_fill_object(const struct retained *retained, struct table *table, const struct retained_row *row)
{
    struct heap_node node = heap_view_node(&retained->view, row->number);

    table_size(table, row->shallow);
    table_format(table, "%*s%s", (int)row->depth * 2, "", heap_view_type_name(&retained->view, node.type));
    if (row->name)
        table_cell(table, row->name);
    else
        table_format(table, "0x%" PRIx64, node.address);
}

static struct error *retained_print(const struct retained *retained)
{
    static const struct table_column objects[] = {{"RETAINED", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"SHALLOW", TABLE_RIGHT},
                                                  {"TYPE", 0},               {"WHAT", TABLE_CUT},    {NULL, 0}};
    static const struct table_column types[] = {{"RETAINED", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"SHALLOW", TABLE_RIGHT},
                                                {"COUNT", TABLE_RIGHT},    {"TYPE", TABLE_CUT},    {NULL, 0}};
    static const struct table_column modules[] = {{"RETAINED", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"MODULE", TABLE_CUT}, {NULL, 0}};
    static const struct table_column roots[] = {{"RETAINED", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"HELD BY", TABLE_CUT}, {NULL, 0}};
    const struct cli_options *options = retained->options;
    bool by_type = options->heap.by_said && options->heap.by == CLI_HEAP_BY_TYPE;
    double all = (double)retained_of(retained, dominators_whole(&retained->dominators));
    struct table *table = table_create(options, !options->heap.by_said                    ? objects
                                                : by_type                                 ? types
                                                : options->heap.by == CLI_HEAP_BY_MODULE ? modules
                                                                                          : roots);

    retained_print_title(retained);
    for (size_t i = 0; i < retained->count; i++) {
        const struct retained_row *row = &retained->rows[i];
        table_begin_row(table);
        table_size(table, row->retained);
        table_format(table, "%.1f%%", all > 0 ? 100.0 * (double)row->retained / all : 0.0);
        if (!options->heap.by_said) {
            retained_fill_object(retained, table, row);
            continue;
        }
        if (by_type) {
            table_size(table, row->shallow);
            table_count(table, row->count);
        }
        table_cell(table, row->name);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static void retained_json_object(const struct retained *retained, const struct retained_row *row, struct json *json)
{
    struct heap_node node = heap_view_node(&retained->view, row->number);

    json_unsigned(json, "address", node.address);
    json_string(json, "type", heap_view_type_name(&retained->view, node.type));
    json_string(json, "path", row->name);
}

/* Rows of the tree come before what they keep; gives the number of the next one that is no deeper. */
static size_t retained_json_rows(const struct retained *retained, size_t at, uint32_t depth, struct json *json)
{
    const struct cli_options *options = retained->options;

    while (at < retained->count && retained->rows[at].depth == depth) {
        const struct retained_row *row = &retained->rows[at++];
        json_begin_object(json, NULL);
        if (!options->heap.by_said)
            retained_json_object(retained, row, json);
        else
            json_string(json, "name", row->name);
        json_unsigned(json, "retained", row->retained);
        if (options->heap.by != CLI_HEAP_BY_ROOT)
            json_unsigned(json, "bytes", row->shallow);
        json_unsigned(json, "count", row->count);
        if (depth + 1 < options->depth) {
            json_begin_array(json, "keeps");
            at = retained_json_rows(retained, at, depth + 1, json);
            json_end_array(json);
        }
        json_end_object(json);
    }
    return at;
}

static void retained_print_json(const struct retained *retained, struct json *json)
{
    static const char *const lists[] = {
        [CLI_HEAP_BY_TYPE] = "types", [CLI_HEAP_BY_MODULE] = "modules", [CLI_HEAP_BY_ROOT] = "roots"};
    const struct dominators *dominators = &retained->dominators;

    heap_view_json_pause(&retained->view, json);
    json_begin_object(json, "result");
    json_unsigned(json, "count", dominators->node_count);
    json_unsigned(json, "bytes", retained_of(retained, dominators_whole(dominators)));
    json_unsigned(json, "unreachable", retained_of(retained, dominators_unreachable(dominators)));
    json_unsigned(json, "interned", retained_of(retained, dominators_interned(dominators)));
    heap_view_json(&retained->view, json);
    json_begin_array(json, retained->options->heap.by_said ? lists[retained->options->heap.by] : "objects");
    retained_json_rows(retained, 0, 0, json);
    json_end_array(json);
    json_end_object(json);
}

/* -------------------------------------------------------------------- run */

static void retained_deinit(struct retained *retained)
{
    retained_cut_rows(retained, 0);
    free(retained->rows);
    free(retained->group_of_root);
    free(retained->group_state);
    dominators_tree_deinit(&retained->tree);
    dominators_deinit(&retained->dominators);
    graph_deinit(&retained->graph);
    heap_view_close(&retained->view);
}

static struct error *retained_run(const struct cli_options *options, struct json *json)
{
    struct retained retained = {.options = options};
    struct error *error = retained_check(options);

    if (error || (error = heap_view_open_graph(&retained.view, options, json)))
        return error;
    error = retained_ask(&retained);
    if (!error && options->json)
        retained_print_json(&retained, json);
    else if (!error)
        error = retained_print(&retained);
    if (!error)
        heap_view_note(&retained.view, options);
    retained_deinit(&retained);
    return error;
}

const struct cli_command cli_command_retained = {
    .name = "retained",
    .synopsis = "PID or FILE",
    .summary = "who keeps most: what would be freed if an object went; by type, module or root",
    .description = "RETAINED is what would go with it: itself, and all that can't be reached without it; SHALLOW it alone.\n"
                   "The 30 biggest objects, or with -n so many; --depth 3 unfolds what each keeps. --by type: of all of\n"
                   "a type together; module: what its names keep; root: where references start. FILE: a snapshot.",
    .example = "safepoint retained 4711 --depth 3",
    .takes = CLI_TAKES_HEAP | CLI_TAKES_ROWS | CLI_TAKES_DEPTH | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = retained_run,
};
