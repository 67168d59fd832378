/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Looks at heaps, of which little is kept, and what changed between two of them by type. */
#include "cli/growth.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

#define GROWTH_VALUE_ROOM 64 /* of a value so much tells it from another */

static struct error *growth_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory to compare two heaps");
}

static uint64_t growth_hash(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

/* ------------------------------------------------------------------- types */

static bool growth_is_fixed(const char *name)
{
    static const char *const fixed[] = {"tuple", "str", "bytes", "int", "float", "complex", "frozenset"};

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (!strcmp(name, fixed[i]))
            return true;
    }
    return false;
}

static uint32_t growth_slot(const struct growth_types *types, const char *name)
{
    uint32_t mask = types->room * 2 - 1, at = (uint32_t)growth_hash(name, strlen(name)) & mask;

    while (types->table[at] && strcmp(types->names[types->table[at] - 1], name) != 0)
        at = (at + 1) & mask;
    return at;
}

static bool growth_grow_types(struct growth_types *types)
{
    uint32_t room = types->room ? types->room * 2 : 4096;
    char **names = reallocarray(types->names, room, sizeof(*names));

    if (names)
        types->names = names;
    bool *fixed = reallocarray(types->fixed, room, sizeof(*fixed));
    if (fixed)
        types->fixed = fixed;
    uint32_t *table = calloc((size_t)room * 2, sizeof(*table));
    if (!names || !fixed || !table) {
        free(table);
        return false;
    }
    free(types->table);
    types->table = table;
    types->room = room;
    for (uint32_t i = 0; i < types->count; i++)
        types->table[growth_slot(types, types->names[i])] = i + 1;
    return true;
}

/* The number of a name, made where there is none; HEAP_NONE: out of memory. */
static uint32_t growth_add_type(struct growth_types *types, const char *name)
{
    if (types->count == types->room && !growth_grow_types(types))
        return HEAP_NONE;
    uint32_t slot = growth_slot(types, name);
    if (!types->table[slot]) {
        if (!(types->names[types->count] = strdup(name)))
            return HEAP_NONE;
        types->fixed[types->count] = growth_is_fixed(name);
        types->table[slot] = ++types->count;
    }
    return types->table[slot] - 1;
}

void growth_types_deinit(struct growth_types *types)
{
    for (uint32_t i = 0; i < types->count; i++)
        free(types->names[i]);
    free(types->names);
    free(types->fixed);
    free(types->table);
    *types = (struct growth_types){.count = 0};
}

/* ------------------------------------------------------------------- looks */

static struct error *growth_take_nodes(struct growth_look *look, struct growth_types *types, const struct heap_view *view)
{
    uint32_t count = heap_view_count(view), type_count = heap_view_type_count(view);
    scoped_free uint32_t *numbers = malloc(((size_t)type_count + 1) * sizeof(*numbers));

    if (!numbers)
        return growth_out_of_memory();
    for (uint32_t i = 0; i < type_count; i++) {
        numbers[i] = growth_add_type(types, heap_view_type_name(view, i));
        if (numbers[i] == HEAP_NONE)
            return growth_out_of_memory();
    }
    struct error *error = compare_look_init(&look->look, count);
    for (uint32_t i = 0; i < count && !error; i++) {
        struct heap_node node = heap_view_node(view, i);
        look->look.addresses[i] = node.address;
        look->look.types[i] = numbers[node.type];
        look->look.sizes[i] = node.size < UINT32_MAX ? (uint32_t)node.size : UINT32_MAX;
        look->look.generations[i] = node.generation;
        look->bytes += node.size;
    }
    return error;
}

static void growth_take_value(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size, bool cut)
{
    struct compare_look *look = context;

    (void)kind;
    (void)cut;
    look->prints[node] = (uint32_t)growth_hash(text, size < GROWTH_VALUE_ROOM ? size : GROWTH_VALUE_ROOM) | 1;
}

/* Strings and numbers have no references: their values tell them from others. */
static struct error *growth_take_values(struct growth_look *look, struct heap_view *view)
{
    uint32_t count = look->look.count;
    char text[GROWTH_VALUE_ROOM];

    look->values = view->heap || view->origin.values;
    if (!view->heap) {
        scoped_free uint32_t *nodes = malloc(((size_t)count + 1) * sizeof(*nodes));
        if (!nodes)
            return growth_out_of_memory();
        for (uint32_t i = 0; i < count; i++)
            nodes[i] = i;
        return look->values ? heap_graph_values(view, nodes, count, growth_take_value, &look->look) : NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t size;
        bool cut;
        if (heap_read_value(view->heap, i, text, sizeof(text), &size, &cut) != HEAP_VALUE_NONE)
            growth_take_value(&look->look, i, HEAP_VALUE_NONE, text, size, cut);
    }
    return NULL;
}

struct error *growth_look_first(struct growth_look *look, struct growth_types *types, const struct cli_options *options)
{
    struct graph graph = {.edge_count = 0};
    struct heap_view view;
    struct error *error = heap_view_open_graph(&view, options, NULL);

    if (error)
        return error;
    error = growth_look_take(look, types, &view, &graph, options);
    graph_deinit(&graph);
    heap_view_close(&view);
    return error;
}

struct error *growth_look_count(struct growth_look *look, struct growth_types *types, const struct heap_view *view)
{
    *look = (struct growth_look){.origin = view->origin};
    return growth_take_nodes(look, types, view);
}

struct error *growth_look_take(struct growth_look *look, struct growth_types *types, struct heap_view *view,
                               struct graph *graph, const struct cli_options *options)
{
    *look = (struct growth_look){.origin = view->origin};
    if (view->heap)
        heap_read_generations(view->heap);
    struct error *error = heap_graph_open(graph, view, options);
    if (error || (error = excess_count(&look->excess, view, graph)) || (error = growth_take_nodes(look, types, view)))
        return error;
    compare_look_print(&look->look, graph);
    return growth_take_values(look, view);
}

void growth_look_deinit(struct growth_look *look)
{
    compare_look_deinit(&look->look);
    excess_deinit(&look->excess);
}

/* ----------------------------------------------------------------- by type */

static int growth_compare_row(const void *a, const void *b)
{
    const struct growth_row *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->type < y->type ? -1 : x->type > y->type;
}

static uint64_t growth_excess(const struct excess *excess, const char *name)
{
    const struct excess_row *row = excess_find(excess, name);

    return row ? row->excess : 0;
}

static void growth_add_before(struct growth *growth, struct growth_row *rows, const struct compare_look *look,
                              const struct compare *compare)
{
    for (uint32_t i = 0; i < look->count; i++) {
        struct growth_row *row = &rows[look->types[i]];
        row->count--;
        row->bytes -= look->sizes[i];
        if (!compare_is_gone(compare, i))
            continue;
        row->gone_count++;
        row->gone_bytes += look->sizes[i];
        growth->gone_objects++;
        growth->gone_bytes += look->sizes[i];
    }
}

static void growth_add_age(struct growth *growth, const struct heap_node *node)
{
    unsigned age = node->generation == HEAP_GENERATION_NONE ? (node->tracked ? 4 : 5) : node->generation;

    growth->ages[age < GROWTH_AGES ? age : 4]++;
}

static void growth_add_after(struct growth *growth, struct growth_row *rows, const struct compare_look *look,
                             const struct compare *compare, const struct heap_view *view)
{
    for (uint32_t i = 0; i < look->count; i++) {
        struct growth_row *row = &rows[look->types[i]];
        row->count++;
        row->bytes += look->sizes[i];
        row->all_count++;
        row->all_bytes += look->sizes[i];
        if (compare->states[i] != COMPARE_NEW)
            continue;
        struct heap_node node = heap_view_node(view, i);
        row->new_count++;
        row->new_bytes += look->sizes[i];
        growth->new_objects++;
        growth->new_bytes += look->sizes[i];
        growth_add_age(growth, &node);
    }
}

static struct error *growth_make_rows(struct growth *growth, const struct growth_types *types, const struct growth_look *before,
                                      const struct growth_look *after, const struct compare *compare,
                                      const struct heap_view *view)
{
    struct growth_row *rows = growth->rows = calloc((size_t)types->count + 1, sizeof(*rows));

    if (!rows)
        return growth_out_of_memory();
    growth_add_before(growth, rows, &before->look, compare);
    growth_add_after(growth, rows, &after->look, compare, view);
    for (uint32_t i = 0; i < types->count; i++) {
        struct growth_row *row = &rows[i];
        row->type = i;
        row->excess = (int64_t)growth_excess(&after->excess, types->names[i]) -
                      (int64_t)growth_excess(&before->excess, types->names[i]);
        if (row->new_count || row->gone_count || row->bytes || row->excess)
            rows[growth->row_count++] = *row;
    }
    qsort(rows, growth->row_count, sizeof(*rows), growth_compare_row);
    return NULL;
}

/* Once they have been compared, who keeps what is asked of the later look's types and sizes alone. */
static void growth_forget(struct growth_look *before, struct growth_look *after)
{
    uint32_t count = before->look.count;

    compare_look_deinit(&before->look);
    before->look.count = count;
    free(after->look.addresses);
    free(after->look.prints);
    free(after->look.generations);
    after->look.addresses = NULL;
    after->look.prints = NULL;
    after->look.generations = NULL;
}

struct error *growth_find(struct growth *growth, const struct growth_types *types, struct growth_look *before,
                          struct growth_look *after, struct heap_view *view, const struct graph *graph, size_t most)
{
    struct compare compare;

    *growth = (struct growth){.values = before->values && after->values};
    struct error *error = compare_find(&compare, &before->look, &after->look, types->fixed);
    if (!error) {
        growth->same = compare.counts[COMPARE_SAME];
        growth->changed = compare.counts[COMPARE_CHANGED];
        growth->blank = compare.counts[COMPARE_BLANK];
        error = growth_make_rows(growth, types, before, after, &compare, view);
        growth_forget(before, after);
    }
    if (!error)
        error = growth_find_keepers(growth, types, after, &compare, view, graph, most);
    compare_deinit(&compare);
    return error;
}

void growth_deinit(struct growth *growth)
{
    for (size_t i = 0; i < growth->keeper_count; i++) {
        free(growth->keepers[i].where);
        free(growth->keepers[i].holder);
    }
    free(growth->keepers);
    free(growth->rows);
    *growth = (struct growth){.row_count = 0};
}
