/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The collector's rule is computed (runtime/heap/cycles.h); here it is asked with what a version or a type is special in,
 * and its answer gets names.
 */
#include "cli/garbage.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

#define GARBAGE_TYPES_SHOWN 4
#define GARBAGE_NAME_MAX    512

/* Strings as keys of a class's dict, as a reference is called by them. */
#define GARBAGE_FINALIZER "'__del__'"

struct garbage_work {
    struct garbage *garbage;
    struct heap_view *view;
    const struct graph *graph;
    struct cycles cycles;
    uint32_t type_count;
    uint32_t *type_nodes; /* by type: its node, or HEAP_NONE */
    uint64_t *classes;    /* a bit a node: it is a type */
    uint64_t *watched;    /* a bit a node: a callback will be called */
    bool *finalized;      /* by type: it has a __del__ */
    struct cycles_untold *untold;
    size_t untold_count;
};

static struct error *garbage_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the garbage");
}

static bool garbage_has(const uint64_t *bits, uint32_t node)
{
    return bits[node / 64] >> node % 64 & 1;
}

static void garbage_set(uint64_t *bits, uint32_t node)
{
    bits[node / 64] |= UINT64_C(1) << node % 64;
}

/* ---------------------------------------------------------------- classes */

static uint32_t garbage_find_node(const struct heap_view *view, uint64_t address)
{
    uint32_t low = 0, high = heap_view_count(view);

    if (view->heap)
        return heap_find(view->heap, address);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (view->file.addresses[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < heap_view_count(view) && view->file.addresses[low] == address ? low : HEAP_NONE;
}

static uint64_t garbage_type_address(const struct heap_view *view, uint32_t type)
{
    return view->heap ? heap_get_type(view->heap, type).address : view->file.type_list[type].address;
}

static bool garbage_is_called(const struct garbage_work *work, uint32_t node, const char *name)
{
    return !strcmp(heap_view_type_name(work->view, graph_node(work->graph, node).type), name);
}

/* Does a class have another in its __mro__? */
static bool garbage_inherits(const struct garbage_work *work, uint32_t class, uint32_t base)
{
    const struct graph *graph = work->graph;

    for (uint32_t e = graph->first[class]; e < graph->first[class + 1]; e++) {
        uint32_t target = graph_target(graph, e);
        for (uint32_t i = graph->first[target]; garbage_is_called(work, target, "tuple") && i < graph->first[target + 1]; i++) {
            if (graph_target(graph, i) == base)
                return true;
        }
    }
    return false;
}

/* Classes are the instances of `type` and of what inherits from it. */
static struct error *garbage_find_classes(struct garbage_work *work)
{
    scoped_free bool *metatypes = calloc((size_t)work->type_count + 1, sizeof(*metatypes));
    uint32_t type_type = HEAP_NONE;

    if (!metatypes)
        return garbage_out_of_memory();
    for (uint32_t i = 0; i < work->type_count; i++) {
        work->type_nodes[i] = garbage_find_node(work->view, garbage_type_address(work->view, i));
        if (!strcmp(heap_view_type_name(work->view, i), "type"))
            type_type = work->type_nodes[i];
    }
    for (uint32_t i = 0; i < work->type_count; i++)
        metatypes[i] = work->type_nodes[i] != HEAP_NONE && type_type != HEAP_NONE &&
                       (work->type_nodes[i] == type_type || garbage_inherits(work, work->type_nodes[i], type_type));
    for (uint32_t i = 0; i < work->graph->nodes.count; i++) {
        if (metatypes[graph_node(work->graph, i).type])
            garbage_set(work->classes, i);
    }
    return NULL;
}

/* ----------------------------------------------- what types don't tell of */

struct garbage_untold {
    struct garbage_work *work;
    size_t room;
    bool out_of_memory;
};

static void garbage_add_untold(struct garbage_untold *untold, uint32_t from, uint32_t target)
{
    struct garbage_work *work = untold->work;

    if (work->untold_count == untold->room) {
        size_t room = untold->room ? untold->room * 2 : 64;
        struct cycles_untold *larger = reallocarray(work->untold, room, sizeof(*larger));
        if (!larger) {
            untold->out_of_memory = true;
            return;
        }
        work->untold = larger;
        untold->room = room;
    }
    work->untold[work->untold_count++] = (struct cycles_untold){from, target};
}

/* type_traverse() passes over these. */
static void garbage_take_untold(void *context, const struct heap_graph_edge *edge)
{
    if (edge->kind == HEAP_EDGE_FIELD && edge->name &&
        (!strcmp(edge->name, "__subclasses__") || !strcmp(edge->name, "__slots__")))
        garbage_add_untold(context, edge->from, edge->target);
}

/* A threading.local has a callback of its own that it doesn't tell of. */
static void garbage_take_local(struct garbage_untold *untold, uint32_t node)
{
    const struct graph *graph = untold->work->graph;

    for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
        uint32_t target = graph_target(graph, e);
        if (garbage_is_called(untold->work, target, "builtin_function_or_method"))
            garbage_add_untold(untold, node, target);
    }
}

static int garbage_compare_untold(const void *a, const void *b)
{
    const struct cycles_untold *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->target < y->target ? -1 : x->target > y->target;
}

static int garbage_compare_node(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Of what seems to be garbage: others' edges decide nothing. */
static struct error *garbage_find_untold(struct garbage_work *work)
{
    scoped_free uint32_t *nodes = malloc(((size_t)work->cycles.member_count + 1) * sizeof(*nodes));
    struct garbage_untold untold = {.work = work};
    size_t count = 0;

    if (!nodes)
        return garbage_out_of_memory();
    for (uint32_t i = 0; i < work->cycles.member_count; i++) {
        uint32_t node = work->cycles.members[i];
        if (garbage_has(work->classes, node))
            nodes[count++] = node;
        else if (garbage_is_called(work, node, "_thread._local"))
            garbage_take_local(&untold, node);
    }
    qsort(nodes, count, sizeof(*nodes), garbage_compare_node);
    struct error *error = heap_graph_visit(work->view, nodes, count, garbage_take_untold, &untold);
    if (work->untold_count)
        qsort(work->untold, work->untold_count, sizeof(*work->untold), garbage_compare_untold);
    return !error && untold.out_of_memory ? garbage_out_of_memory() : error;
}

/* ------------------------------------------------------------------ cycles */

static struct error *garbage_find_cycles(struct garbage_work *work)
{
    struct cycles_rule rule = {.untold = NULL};
    struct error *error = cycles_find(&work->cycles, work->graph, &rule);

    if (error || !work->cycles.member_count || (error = garbage_find_classes(work)) ||
        (error = garbage_find_untold(work)) || !work->untold_count)
        return error;
    rule.untold = work->untold;
    rule.untold_count = work->untold_count;
    cycles_deinit(&work->cycles);
    return cycles_find(&work->cycles, work->graph, &rule);
}

/* -------------------------------------------------------------- finalizers */

struct garbage_names {
    const uint32_t *dicts;
    bool *found;
    size_t count;
};

static void garbage_take_name(void *context, const struct heap_graph_edge *edge)
{
    struct garbage_names *names = context;

    if (edge->kind != HEAP_EDGE_VALUE || !edge->name || strcmp(edge->name, GARBAGE_FINALIZER))
        return;
    const uint32_t *dict = bsearch(&edge->from, names->dicts, names->count, sizeof(*names->dicts), garbage_compare_node);
    if (dict)
        names->found[dict - names->dicts] = true;
}

/* What a class refers to: whether a dict of its, or of one in a tuple of its (__mro__), is among those found. */
static bool garbage_class_has(const struct garbage_work *work, const struct garbage_names *names, uint32_t class, bool deep)
{
    const struct graph *graph = work->graph;

    for (uint32_t e = graph->first[class]; e < graph->first[class + 1]; e++) {
        uint32_t target = graph_target(graph, e);
        const uint32_t *dict = bsearch(&target, names->dicts, names->count, sizeof(target), garbage_compare_node);
        if (dict && names->found[dict - names->dicts])
            return true;
        if (!deep || !garbage_is_called(work, target, "tuple"))
            continue;
        for (uint32_t i = graph->first[target]; i < graph->first[target + 1]; i++) {
            uint32_t other = graph_target(graph, i);
            if (garbage_has(work->classes, other) && other != class && garbage_class_has(work, names, other, false))
                return true;
        }
    }
    return false;
}

/* The dicts of all classes: a bit a node. */
static void garbage_mark_dicts(const struct garbage_work *work, uint64_t *dicts)
{
    const struct graph *graph = work->graph;

    for (uint32_t class = 0; class < graph->nodes.count; class++) {
        if (!garbage_has(work->classes, class))
            continue;
        for (uint32_t e = graph->first[class]; e < graph->first[class + 1]; e++) {
            uint32_t target = graph_target(graph, e);
            if (garbage_is_called(work, target, "dict"))
                garbage_set(dicts, target);
        }
    }
}

static struct error *garbage_find_finalized(struct garbage_work *work, const bool *used)
{
    uint32_t words = work->graph->nodes.count / 64 + 1;
    scoped_free uint64_t *bits = calloc(words, sizeof(*bits));
    struct garbage_names names = {.count = 0};

    if (!bits)
        return garbage_out_of_memory();
    garbage_mark_dicts(work, bits);
    for (uint32_t i = 0; i < words; i++)
        names.count += (size_t)__builtin_popcountll(bits[i]);
    scoped_free uint32_t *dicts = malloc((names.count + 1) * sizeof(*dicts));
    scoped_free bool *found = calloc(names.count + 1, sizeof(*found));
    if (!dicts || !found)
        return garbage_out_of_memory();
    size_t next = 0;
    for (uint32_t i = 0; i < words; i++) {
        for (uint64_t rest = bits[i]; rest; rest &= rest - 1)
            dicts[next++] = i * 64 + (uint32_t)__builtin_ctzll(rest);
    }
    names.dicts = dicts;
    names.found = found;
    struct error *error = heap_graph_visit(work->view, dicts, names.count, garbage_take_name, &names);
    for (uint32_t i = 0; !error && i < work->type_count; i++) {
        uint32_t class = work->type_nodes[i];
        work->finalized[i] = used[i] && class != HEAP_NONE && garbage_class_has(work, &names, class, true);
    }
    return error;
}

/* --------------------------------------------------------------- callbacks */

/* The callback of a weak reference that is garbage itself is not called. */
static void garbage_find_watched(struct garbage_work *work)
{
    struct heap *heap = work->view->heap;

    work->garbage->callbacks_known = heap != NULL;
    for (uint32_t i = 0; heap && i < work->graph->nodes.count; i++) {
        struct heap_node node = graph_node(work->graph, i);
        if (!heap_is_weakref_type(heap, node.type) || cycles_is_garbage(&work->cycles, i))
            continue;
        uint32_t watched = heap_read_watched(heap, i);
        if (watched != HEAP_NONE && cycles_is_garbage(&work->cycles, watched))
            garbage_set(work->watched, watched);
    }
}

/* ---------------------------------------------------------------- by type */

static int garbage_compare_row(const void *a, const void *b)
{
    return strcmp(((const struct garbage_row *)a)->name, ((const struct garbage_row *)b)->name);
}

static void garbage_add_member(struct garbage_work *work, struct garbage_row *sums, uint32_t number)
{
    struct heap_node node = graph_node(work->graph, number);
    struct garbage_row *row = &sums[node.type];

    if (!row->objects++)
        row->example = node.address;
    row->bytes += node.size;
    row->finalizers += work->finalized[node.type];
    row->callbacks += garbage_has(work->watched, number);
}

static void garbage_merge_rows(struct garbage *garbage)
{
    size_t kept = 0;

    qsort(garbage->rows, garbage->row_count, sizeof(*garbage->rows), garbage_compare_row);
    for (size_t i = 0; i < garbage->row_count; i++) {
        struct garbage_row *row = &garbage->rows[i], *before = kept ? &garbage->rows[kept - 1] : NULL;
        if (before && !strcmp(before->name, row->name)) {
            before->objects += row->objects;
            before->bytes += row->bytes;
            before->finalizers += row->finalizers;
            before->callbacks += row->callbacks;
            free(row->name);
        } else
            garbage->rows[kept++] = *row;
    }
    garbage->row_count = kept;
}

static struct error *garbage_make_rows(struct garbage_work *work)
{
    struct garbage *garbage = work->garbage;
    scoped_free struct garbage_row *sums = calloc((size_t)work->type_count + 1, sizeof(*sums));

    garbage->rows = calloc((size_t)work->type_count + 1, sizeof(*garbage->rows));
    if (!sums || !garbage->rows)
        return garbage_out_of_memory();
    for (uint32_t i = 0; i < work->cycles.member_count; i++)
        garbage_add_member(work, sums, work->cycles.members[i]);
    for (uint32_t i = 0; i < work->type_count; i++) {
        if (!sums[i].objects)
            continue;
        sums[i].name = strdup(heap_view_type_name(work->view, i));
        if (!sums[i].name)
            return garbage_out_of_memory();
        garbage->rows[garbage->row_count++] = sums[i];
        garbage->objects += sums[i].objects;
        garbage->bytes += sums[i].bytes;
        garbage->finalizers += sums[i].finalizers;
        garbage->callbacks += sums[i].callbacks;
    }
    garbage_merge_rows(garbage);
    for (uint32_t i = 0; i < work->cycles.other_count; i++)
        garbage->other_bytes += graph_node(work->graph, work->cycles.others[i]).size;
    garbage->other_objects = work->cycles.other_count;
    return NULL;
}

/* ------------------------------------------------------------- components */

struct garbage_part {
    uint32_t type, count;
};

struct garbage_groups {
    struct garbage_work *work;
    struct garbage_part *parts; /* of the component at hand: of each type how many */
    uint32_t part_count;
    uint32_t *types;  /* of its members */
    uint32_t *table;  /* of groups, by hash: number + 1 */
    uint64_t *hashes; /* of each group */
    size_t table_size, room;
};

static int garbage_compare_part(const void *a, const void *b)
{
    const struct garbage_part *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->type < y->type ? -1 : x->type > y->type;
}

static uint64_t garbage_take_apart(struct garbage_groups *groups, const uint32_t *members, uint32_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (uint32_t i = 0; i < count; i++)
        groups->types[i] = graph_node(groups->work->graph, members[i]).type;
    qsort(groups->types, count, sizeof(*groups->types), garbage_compare_node);
    groups->part_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i && groups->types[i] == groups->types[i - 1])
            groups->parts[groups->part_count - 1].count++;
        else
            groups->parts[groups->part_count++] = (struct garbage_part){groups->types[i], 1};
    }
    qsort(groups->parts, groups->part_count, sizeof(*groups->parts), garbage_compare_part);
    for (uint32_t i = 0; i < groups->part_count; i++) {
        uint64_t part = (uint64_t)groups->parts[i].type << 32 | groups->parts[i].count;
        hash = (hash ^ part) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

static char *garbage_describe(const struct garbage_groups *groups)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    for (uint32_t i = 0; i < groups->part_count && i < GARBAGE_TYPES_SHOWN; i++) {
        fprintf(stream, "%s%s", i ? ", " : "", heap_view_type_name(groups->work->view, groups->parts[i].type));
        if (groups->parts[i].count > 1)
            fprintf(stream, " x%u", groups->parts[i].count);
    }
    if (groups->part_count > GARBAGE_TYPES_SHOWN)
        fprintf(stream, ", %u more types", groups->part_count - GARBAGE_TYPES_SHOWN);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static bool garbage_grow_groups(struct garbage_groups *groups)
{
    struct garbage *garbage = groups->work->garbage;

    if (garbage->group_count < groups->room)
        return true;
    size_t room = groups->room ? groups->room * 2 : 64, size = room * 2;
    struct garbage_group *larger = reallocarray(garbage->groups, room, sizeof(*larger));
    if (!larger)
        return false;
    garbage->groups = larger;
    uint64_t *hashes = reallocarray(groups->hashes, room, sizeof(*hashes));
    if (!hashes)
        return false;
    groups->hashes = hashes;
    uint32_t *table = calloc(size, sizeof(*table));
    if (!table)
        return false;
    free(groups->table);
    groups->table = table;
    groups->table_size = size;
    groups->room = room;
    for (uint32_t i = 0; i < garbage->group_count; i++) {
        size_t at = hashes[i] % size;
        while (table[at])
            at = (at + 1) % size;
        table[at] = i + 1;
    }
    return true;
}

/* The group of a hash, made where there is none. NULL: out of memory. */
static struct garbage_group *garbage_find_group(struct garbage_groups *groups, uint64_t hash)
{
    struct garbage *garbage = groups->work->garbage;

    if (!garbage_grow_groups(groups))
        return NULL;
    size_t at = hash % groups->table_size;
    while (groups->table[at] && groups->hashes[groups->table[at] - 1] != hash)
        at = (at + 1) % groups->table_size;
    if (groups->table[at])
        return &garbage->groups[groups->table[at] - 1];
    struct garbage_group *group = &garbage->groups[garbage->group_count];
    *group = (struct garbage_group){.makeup = garbage_describe(groups)};
    if (!group->makeup)
        return NULL;
    groups->hashes[garbage->group_count] = hash;
    groups->table[at] = (uint32_t)++garbage->group_count;
    return group;
}

/* More than one object, or one that refers to itself. */
static bool garbage_is_cyclic(const struct graph *graph, const uint32_t *members, uint32_t count)
{
    for (uint32_t e = graph->first[members[0]]; count == 1 && e < graph->first[members[0] + 1]; e++) {
        if (graph_target(graph, e) == members[0])
            return true;
    }
    return count > 1;
}

static bool garbage_add_component(struct garbage_groups *groups, const uint32_t *members, uint32_t count)
{
    struct garbage_work *work = groups->work;
    struct garbage_group *group = garbage_find_group(groups, garbage_take_apart(groups, members, count));

    if (!group)
        return false;
    if (!group->components++)
        group->example = graph_node(work->graph, members[0]).address;
    group->objects += count;
    for (uint32_t i = 0; i < count; i++) {
        struct heap_node node = graph_node(work->graph, members[i]);
        group->bytes += node.size;
        group->finalizers += work->finalized[node.type];
        group->callbacks += garbage_has(work->watched, members[i]);
    }
    work->garbage->components++;
    work->garbage->cyclic += count;
    return true;
}

static struct error *garbage_make_groups(struct garbage_work *work)
{
    const struct cycles *cycles = &work->cycles;
    scoped_free struct garbage_part *parts = malloc(((size_t)cycles->member_count + 1) * sizeof(*parts));
    scoped_free uint32_t *types = malloc(((size_t)cycles->member_count + 1) * sizeof(*types));
    struct garbage_groups groups = {.work = work, .parts = parts, .types = types};
    bool done = parts && types;

    for (uint32_t i = 0; done && i < cycles->component_count; i++) {
        const uint32_t *members = cycles->members + cycles->first[i];
        uint32_t count = cycles->first[i + 1] - cycles->first[i];
        if (garbage_is_cyclic(work->graph, members, count))
            done = garbage_add_component(&groups, members, count);
    }
    free(groups.table);
    free(groups.hashes);
    return done ? NULL : garbage_out_of_memory();
}

/* ---------------------------------------------------------------- public */

static struct error *garbage_name(struct garbage_work *work)
{
    scoped_free bool *used = calloc((size_t)work->type_count + 1, sizeof(*used));

    if (!used)
        return garbage_out_of_memory();
    for (uint32_t i = 0; i < work->cycles.member_count; i++)
        used[graph_node(work->graph, work->cycles.members[i]).type] = true;
    struct error *error = garbage_find_finalized(work, used);
    if (error)
        return error;
    garbage_find_watched(work);
    error = garbage_make_rows(work);
    return error ? error : garbage_make_groups(work);
}

struct error *garbage_find(struct garbage *garbage, struct heap_view *view, const struct graph *graph)
{
    uint32_t types = heap_view_type_count(view), words = graph->nodes.count / 64 + 1;
    scoped_free uint32_t *type_nodes = malloc(((size_t)types + 1) * sizeof(*type_nodes));
    scoped_free uint64_t *classes = calloc(words, sizeof(*classes)), *watched = calloc(words, sizeof(*watched));
    scoped_free bool *finalized = calloc((size_t)types + 1, sizeof(*finalized));
    struct garbage_work work = {.garbage = garbage,
                                .view = view,
                                .graph = graph,
                                .type_count = types,
                                .type_nodes = type_nodes,
                                .classes = classes,
                                .watched = watched,
                                .finalized = finalized};

    *garbage = (struct garbage){.callbacks_known = view->heap != NULL};
    if (!type_nodes || !classes || !watched || !finalized)
        return garbage_out_of_memory();
    if (view->heap)
        heap_read_permanent(view->heap); /* what the collector doesn't look at */
    struct error *error = garbage_find_cycles(&work);
    if (!error && work.cycles.member_count)
        error = garbage_name(&work);
    cycles_deinit(&work.cycles);
    free(work.untold);
    return error;
}

void garbage_deinit(struct garbage *garbage)
{
    for (size_t i = 0; i < garbage->row_count; i++)
        free(garbage->rows[i].name);
    for (size_t i = 0; i < garbage->group_count; i++)
        free(garbage->groups[i].makeup);
    free(garbage->rows);
    free(garbage->groups);
    *garbage = (struct garbage){.row_count = 0};
}
