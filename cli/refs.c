/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * refs: who refers to an object (or to those of a type), and to what it refers, by name. Many are grouped: by the type at the
 * other end and by what the reference is called, where places in a list and keys of a dict are all the same.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_pick.h"
#include "cli/heap_search.h"
#include "cli/table.h"

#define REFS_ROWS_SHOWN 30

/* References that are alike; or one. */
struct refs_row {
    uint32_t type;    /* of the other end */
    uint32_t example; /* a node there */
    char *name;
    uint64_t count, uncounted;
    uint64_t order; /* in which it was met first */
};

struct refs_side {
    struct refs_row *rows;
    size_t count, room;
    size_t *table; /* number + 1, by a hash of type and name */
    size_t table_size;
    uint64_t references;
    bool grouped;
};

struct refs {
    const struct cli_options *options;
    struct heap_view view;
    struct graph graph;
    struct heap_pick pick;
    struct refs_side in, out, roots;
    struct refs_side *filled; /* the one that is being read */
    bool out_of_memory;
};

static struct error *refs_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
}

/* ---------------------------------------------------------------- grouping */

static uint64_t refs_hash(uint32_t type, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ type;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

static size_t *refs_slot(struct refs_side *side, uint32_t type, const char *name)
{
    size_t at = refs_hash(type, name) % side->table_size;

    while (side->table[at]) {
        const struct refs_row *row = &side->rows[side->table[at] - 1];
        if (row->type == type && !strcmp(row->name, name))
            break;
        at = (at + 1) % side->table_size;
    }
    return &side->table[at];
}

static bool refs_grow(struct refs_side *side)
{
    size_t room = side->room ? side->room * 2 : 256;
    struct refs_row *rows = reallocarray(side->rows, room, sizeof(*rows));

    if (!rows)
        return false;
    side->rows = rows;
    side->room = room;
    free(side->table);
    side->table_size = room * 2;
    if (!(side->table = calloc(side->table_size, sizeof(*side->table))))
        return false;
    for (size_t i = 0; side->grouped && i < side->count; i++)
        *refs_slot(side, rows[i].type, rows[i].name) = i + 1;
    return true;
}

/* Adds a reference; takes the name over. */
static void refs_add(struct refs *refs, struct refs_side *side, uint32_t type, uint32_t example, char *name, bool counted)
{
    if (!name || (side->count == side->room && !refs_grow(side))) {
        refs->out_of_memory = true;
        free(name);
        return;
    }
    size_t *slot = side->grouped ? refs_slot(side, type, name) : NULL;
    side->references++;
    if (slot && *slot) {
        free(name);
        side->rows[*slot - 1].count++;
        side->rows[*slot - 1].uncounted += !counted;
        return;
    }
    if (slot)
        *slot = side->count + 1;
    side->rows[side->count] = (struct refs_row){type, example, name, 1, !counted, side->count};
    side->count++;
}

/* What is many times the same but for a place or a key. */
static char *refs_group_name(const struct heap_view *view, const struct heap_graph_edge *edge)
{
    if (edge->kind == HEAP_EDGE_INDEX || edge->kind == HEAP_EDGE_VALUE)
        return strdup("[...]");
    if (edge->kind == HEAP_EDGE_STACK)
        return strdup(".<stack>");
    return heap_edge_text(view, edge);
}

static void refs_take(void *context, const struct heap_graph_edge *edge)
{
    struct refs *refs = context;
    bool in = refs->filled == &refs->in;
    uint32_t other = in ? edge->from : edge->target;

    if (in && !heap_pick_has(&refs->pick, edge->target))
        return;
    refs_add(refs, refs->filled, heap_view_node(&refs->view, other).type, other,
             refs->filled->grouped ? refs_group_name(&refs->view, edge) : heap_edge_text(&refs->view, edge), edge->counted);
}

/* ------------------------------------------------------------------ asking */

static bool refs_is_holder(const struct refs *refs, uint32_t node)
{
    const struct graph *graph = &refs->graph;

    for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
        if (heap_pick_has(&refs->pick, graph_target(graph, e)))
            return true;
    }
    return false;
}

/* The nodes whose references are asked for, by rising number. */
static uint32_t *refs_list_nodes(const struct refs *refs, bool in, size_t *count)
{
    uint32_t *nodes = NULL, all = heap_view_count(&refs->view);

    for (int pass = 0; pass < 2; pass++) {
        *count = 0;
        for (uint32_t i = 0; i < all; i++) {
            if (!(in ? refs_is_holder(refs, i) : heap_pick_has(&refs->pick, i)))
                continue;
            if (pass)
                nodes[*count] = i;
            ++*count;
        }
        if (!pass && !(nodes = malloc(*count * sizeof(*nodes) + 1)))
            return NULL;
    }
    return nodes;
}

static size_t refs_shown(const struct refs *refs, const struct refs_side *side)
{
    size_t limit = refs->options->heap.limit                       ? refs->options->heap.limit
                   : refs->options->json || refs->options->verbose ? side->count
                                                                   : REFS_ROWS_SHOWN;
    return limit < side->count ? limit : side->count;
}

static int refs_compare(const void *a, const void *b)
{
    const struct refs_row *left = a, *right = b;

    if (left->count != right->count)
        return left->count > right->count ? -1 : 1;
    return left->order < right->order ? -1 : 1;
}

static uint64_t refs_count_edges(const struct refs *refs, const uint32_t *nodes, size_t count, bool in)
{
    const struct graph *graph = &refs->graph;
    uint64_t edges = 0;

    for (size_t i = 0; i < count; i++) {
        for (uint32_t e = graph->first[nodes[i]]; e < graph->first[nodes[i] + 1]; e++)
            edges += !in || heap_pick_has(&refs->pick, graph_target(graph, e));
    }
    return edges;
}

static struct error *refs_read_side(struct refs *refs, struct refs_side *side)
{
    bool in = side == &refs->in;
    size_t count;
    scoped_free uint32_t *nodes = refs_list_nodes(refs, in, &count);

    if (!nodes)
        return refs_out_of_memory();
    side->grouped = refs_count_edges(refs, nodes, count, in) > REFS_ROWS_SHOWN;
    refs->filled = side;
    struct error *error = heap_graph_visit(&refs->view, nodes, count, refs_take, refs);
    if (error || refs->out_of_memory)
        return error ? error : refs_out_of_memory();
    if (side->count)
        qsort(side->rows, side->count, sizeof(*side->rows), refs_compare);
    return NULL;
}

static char *refs_root_name(const struct graph_root *root)
{
    char *text = NULL;
    int length = root->name ? asprintf(&text, "%s %s", heap_root_kind_name(root->kind), root->name)
                            : asprintf(&text, "%s +%" PRIu64, heap_root_kind_name(root->kind), root->number);

    return length < 0 ? NULL : text;
}

static struct error *refs_read_roots(struct refs *refs)
{
    const struct graph *graph = &refs->graph;

    refs->roots.grouped = true;
    for (size_t i = 0; i < graph->root_count; i++) {
        const struct graph_root *root = &graph->roots[i];
        if (!root->stale && heap_pick_has(&refs->pick, root->target))
            refs_add(refs, &refs->roots, heap_view_node(&refs->view, root->target).type, root->target, refs_root_name(root),
                     root->kind != HEAP_ROOT_INTERNED);
    }
    if (refs->out_of_memory)
        return refs_out_of_memory();
    if (refs->roots.count)
        qsort(refs->roots.rows, refs->roots.count, sizeof(*refs->roots.rows), refs_compare);
    return NULL;
}

static bool refs_wants(const struct refs *refs, bool in)
{
    const struct cli_options *options = refs->options;

    return in ? options->sides.in || !options->sides.out : options->sides.out || !options->sides.in;
}

static struct error *refs_ask(struct refs *refs)
{
    struct error *error = heap_pick_find(&refs->pick, &refs->view, refs->options->words[1]);

    if (!error)
        error = heap_graph_open(&refs->graph, &refs->view, refs->options);
    if (!error)
        error = graph_check_roots(&refs->graph);
    if (!error && refs_wants(refs, true))
        error = refs_read_side(refs, &refs->in);
    if (!error && refs_wants(refs, true))
        error = refs_read_roots(refs);
    if (!error && refs_wants(refs, false))
        error = refs_read_side(refs, &refs->out);
    return error;
}

/* ---------------------------------------------------------------- printing */

static struct error *refs_print_side(const struct refs *refs, const struct refs_side *side, const char *name, const char *type)
{
    const struct table_column columns[] = {
        {"COUNT", TABLE_RIGHT}, {name, 0}, {type, TABLE_CUT}, {side->grouped ? "FOR EXAMPLE" : "ADDRESS", 0}, {NULL, 0}};
    struct table *table = table_create(refs->options, columns + !side->grouped); /* one by one: each is one */
    size_t shown = refs_shown(refs, side);

    for (size_t i = 0; i < shown; i++) {
        const struct refs_row *row = &side->rows[i];
        table_begin_row(table);
        if (side->grouped)
            table_count(table, row->count);
        table_format(table, row->uncounted == row->count ? "%s (not counted)" : "%s", row->name);
        table_cell(table, heap_view_type_name(&refs->view, row->type));
        table_format(table, "0x%" PRIx64, heap_view_node(&refs->view, row->example).address);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    if (!error && shown < side->count)
        cli_note(refs->options, "%zu more rows: -n NUMBER, or -v for all", side->count - shown);
    return error;
}

static void refs_print_title(const struct refs_side *side, const char *direction)
{
    char count[32];

    fprintf(cli_output, "\n%s %s%s\n", cli_format_count(count, sizeof(count), side->references), direction,
            side->references ? "" : ": none");
}

static struct error *refs_print(const struct refs *refs)
{
    char count[32], size[24];
    struct error *error = NULL;

    scoped_free char *name = cli_escape_line(refs->pick.name);

    if (!name)
        return refs_out_of_memory();
    if (refs->pick.types)
        fprintf(cli_output, "%s %s, %s\n", cli_format_count(count, sizeof(count), refs->pick.count), name,
                cli_format_size(size, sizeof(size), refs->pick.bytes));
    else
        fprintf(cli_output, "0x%" PRIx64 ", %s, %s, refcount %" PRIu32 "\n", heap_view_node(&refs->view, refs->pick.node).address,
                name, cli_format_size(size, sizeof(size), refs->pick.bytes),
                heap_view_node(&refs->view, refs->pick.node).refcount);
    if (refs_wants(refs, true)) {
        refs_print_title(&refs->in, "references to it in the heap");
        error = refs->in.count ? refs_print_side(refs, &refs->in, "AS", "OF A") : NULL;
        if (!error && refs->roots.count) {
            refs_print_title(&refs->roots, "from outside the heap");
            error = refs_print_side(refs, &refs->roots, "FROM", "TO A");
        }
    }
    if (!error && refs_wants(refs, false)) {
        refs_print_title(&refs->out, "references from it");
        error = refs->out.count ? refs_print_side(refs, &refs->out, "AS", "TO A") : NULL;
    }
    return error;
}

static void refs_json_side(const struct refs *refs, const struct refs_side *side, const char *name, struct json *json)
{
    size_t shown = refs_shown(refs, side);

    json_begin_object(json, name);
    json_unsigned(json, "references", side->references);
    json_boolean(json, "grouped", side->grouped);
    json_begin_array(json, "rows");
    for (size_t i = 0; i < shown; i++) {
        const struct refs_row *row = &side->rows[i];
        json_begin_object(json, NULL);
        json_string(json, "name", row->name);
        json_string(json, "type", heap_view_type_name(&refs->view, row->type));
        json_unsigned(json, "address", heap_view_node(&refs->view, row->example).address);
        json_unsigned(json, "count", row->count);
        json_unsigned(json, "uncounted", row->uncounted);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static void refs_print_json(const struct refs *refs, struct json *json)
{
    heap_view_json_pause(&refs->view, json);
    json_begin_object(json, "result");
    json_string(json, "of", refs->pick.name);
    json_unsigned(json, "objects", refs->pick.count);
    json_unsigned(json, "bytes", refs->pick.bytes);
    if (refs_wants(refs, true)) {
        refs_json_side(refs, &refs->in, "in", json);
        refs_json_side(refs, &refs->roots, "roots", json);
    }
    if (refs_wants(refs, false))
        refs_json_side(refs, &refs->out, "out", json);
    heap_view_json(&refs->view, json);
    json_end_object(json);
}

/* ------------------------------------------------------------------- run */

static void refs_deinit_side(struct refs_side *side)
{
    for (size_t i = 0; i < side->count; i++)
        free(side->rows[i].name);
    free(side->rows);
    free(side->table);
}

static void refs_deinit(struct refs *refs)
{
    refs_deinit_side(&refs->in);
    refs_deinit_side(&refs->out);
    refs_deinit_side(&refs->roots);
    graph_deinit(&refs->graph);
    heap_pick_deinit(&refs->pick);
    heap_view_close(&refs->view);
}

static struct error *refs_run(const struct cli_options *options, struct json *json)
{
    struct refs refs = {.options = options};
    struct error *error = heap_view_open_graph(&refs.view, options, json);

    if (error)
        return error;
    error = refs_ask(&refs);
    if (!error && options->json)
        refs_print_json(&refs, json);
    else if (!error)
        error = refs_print(&refs);
    if (!error)
        heap_view_note(&refs.view, options);
    refs_deinit(&refs);
    return error;
}

const struct cli_command cli_command_refs = {
    .name = "refs",
    .synopsis = "PID or FILE, ADDRESS or TYPE",
    .summary = "who refers to an object or to those of a type, and to what they refer: by name",
    .description = "ADDRESS as id() gives it, or 0x...; TYPE as `heap` lists it, or a pattern. --in: who refers to it; --out: to\n"
                   "what it refers; both without. More than 30 are grouped by type and name. Every reference that an object\n"
                   "holds is there, whether or not the garbage collector knows of it. FILE: a snapshot.",
    .example = "safepoint refs 4711 app.models.Order --in",
    .takes = CLI_TAKES_SIDES | CLI_TAKES_ROWS | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 2,
    .words_max = 2,
    .run = refs_run,
};
