/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * heap: all live objects of a process by type, module, size or generation. No Python code
 * runs in the target; its memory is frozen at a safe point and read here (runtime/heap/).
 */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_view.h"
#include "cli/table.h"

#define HEAP_ROWS_SHOWN   30
#define HEAP_SIZE_CLASSES 64

struct heap_row {
    const char *name;
    uint64_t count, tracked, bytes, refs, immortal;
};

struct heap_answer {
    struct heap_row *rows; /* chosen and sorted */
    size_t count;
    struct heap_row total;
    char size_names[HEAP_SIZE_CLASSES][24];
};

/* -------------------------------------------------------------- grouping */

/* The row of a name among those of `used`, made where there is none. Names are few: found by a hash. */
struct heap_groups {
    struct heap_row *rows;
    size_t *table; /* number + 1 */
    size_t used, table_size;
};

static size_t heap_hash_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 32);
}

static struct heap_row *heap_group(struct heap_groups *groups, const char *name)
{
    size_t at = heap_hash_name(name) % groups->table_size;

    while (groups->table[at]) {
        struct heap_row *row = &groups->rows[groups->table[at] - 1];
        if (!strcmp(row->name, name))
            return row;
        at = (at + 1) % groups->table_size;
    }
    groups->rows[groups->used].name = name;
    groups->table[at] = groups->used + 1;
    return &groups->rows[groups->used++];
}

static void heap_add_row(struct heap_row *to, const struct heap_row *more)
{
    to->count += more->count;
    to->tracked += more->tracked;
    to->bytes += more->bytes;
    to->refs += more->refs;
    to->immortal += more->immortal;
}

static void heap_add_node(struct heap_row *row, const struct heap_node *node)
{
    row->count++;
    row->tracked += node->tracked;
    row->bytes += node->size;
    if (node->immortal)
        row->immortal++;
    else
        row->refs += node->refcount;
}

#define HEAP_GENERATION_UNKNOWN 4 /* tracked, but in no list that could be walked */

static unsigned heap_generation(const struct heap_node *node)
{
    return node->generation == HEAP_GENERATION_NONE && node->tracked ? HEAP_GENERATION_UNKNOWN : node->generation;
}

/* Sums by number: of the type, the size's class, the generation. */
static void heap_sum(const struct heap_view *view, enum cli_heap_by by, struct heap_row *sums)
{
    uint32_t count = heap_view_count(view);

    for (uint32_t i = 0; i < count; i++) {
        struct heap_node node = heap_view_node(view, i);
        unsigned class = 0;

        while (by == CLI_HEAP_BY_SIZE && class + 1 < HEAP_SIZE_CLASSES && node.size > UINT64_C(1) << class)
            class ++;
        heap_add_node(&sums[by == CLI_HEAP_BY_SIZE         ? class
                            : by == CLI_HEAP_BY_GENERATION ? heap_generation(&node)
                                                           : node.type],
                      &node);
    }
}

static const char *heap_generation_name(uint32_t generation)
{
    static const char *const names[] = {"0", "1", "2", "permanent", "unknown"};

    return generation <= HEAP_GENERATION_UNKNOWN ? names[generation] : "not tracked";
}

static const char *heap_size_name(struct heap_answer *answer, uint32_t class)
{
    char *name = answer->size_names[class], size[24];

    snprintf(name, sizeof(answer->size_names[class]), "<= %s",
             cli_format_size(size, sizeof(size), UINT64_C(1) << class));
    return name;
}

static const char *heap_name(const struct heap_view *view, struct heap_answer *answer, enum cli_heap_by by,
                             uint32_t number)
{
    switch (by) {
    case CLI_HEAP_BY_MODULE:
        return heap_view_module_name(view, number);
    case CLI_HEAP_BY_SIZE:
        return heap_size_name(answer, number);
    case CLI_HEAP_BY_GENERATION:
        return heap_generation_name(number);
    case CLI_HEAP_BY_TYPE:
    case CLI_HEAP_BY_ROOT: /* not for this command */
        break;
    }
    return heap_view_type_name(view, number);
}

/* -------------------------------------------------------------- choosing */

static int heap_compare_number(uint64_t a, uint64_t b)
{
    return a < b ? 1 : a > b ? -1 : 0;
}

static int heap_by_name(const void *a, const void *b)
{
    return strcmp(((const struct heap_row *)a)->name, ((const struct heap_row *)b)->name);
}

#define HEAP_ORDER(field)                                                                                          \
    static int heap_by_##field(const void *a, const void *b)                                                       \
    {                                                                                                              \
        int order = heap_compare_number(((const struct heap_row *)a)->field, ((const struct heap_row *)b)->field); \
        return order ? order : heap_by_name(a, b);                                                                 \
    }
HEAP_ORDER(bytes)
HEAP_ORDER(count)
HEAP_ORDER(refs)

static int (*const heap_orders[])(const void *, const void *) = {heap_by_bytes, heap_by_count, heap_by_refs,
                                                                 heap_by_name};

static bool heap_is_chosen(const struct heap_row *row, const struct cli_options *options)
{
    return row->count && row->bytes >= options->heap.min &&
           (!options->heap.match || !fnmatch(options->heap.match, row->name, 0));
}

static void heap_choose(struct heap_answer *answer, const struct heap_groups *groups, const struct cli_options *options)
{
    for (size_t i = 0; i < groups->used; i++) {
        if (heap_is_chosen(&groups->rows[i], options))
            groups->rows[answer->count++] = groups->rows[i];
    }
    answer->rows = groups->rows;
    qsort(answer->rows, answer->count, sizeof(*answer->rows), heap_orders[options->heap.sort]);
}

static struct error *heap_ask(struct heap_answer *answer, const struct heap_view *view, const struct cli_options *options)
{
    enum cli_heap_by by = options->heap.by;
    size_t most = by == CLI_HEAP_BY_SIZE         ? HEAP_SIZE_CLASSES
                  : by == CLI_HEAP_BY_GENERATION ? HEAP_GENERATION_NONE + 1
                                                 : heap_view_type_count(view);
    scoped_free struct heap_row *sums = calloc(most, sizeof(*sums));
    scoped_free size_t *table = calloc(most * 2 + 1, sizeof(*table));
    struct heap_groups groups = {
        .rows = calloc(most, sizeof(*groups.rows)), .table = table, .table_size = most * 2 + 1};

    answer->rows = groups.rows;
    if (!sums || !table || !groups.rows)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the histogram");
    if (by == CLI_HEAP_BY_GENERATION && view->heap)
        heap_read_generations(view->heap);
    heap_sum(view, by, sums);
    for (uint32_t i = 0; i < most; i++) {
        if (!sums[i].count)
            continue;
        heap_add_row(&answer->total, &sums[i]);
        heap_add_row(heap_group(&groups, heap_name(view, answer, by, i)), &sums[i]);
    }
    heap_choose(answer, &groups, options);
    return NULL;
}

/* -------------------------------------------------------------- printing */

static const char *const heap_titles[] = {"TYPE", "MODULE", "SIZE", "GENERATION"};
static const char *const heap_lists[] = {"types", "modules", "sizes", "generations"};
static const char *const heap_keys[] = {"type", "module", "size", "generation"};

static size_t heap_shown(const struct heap_answer *answer, const struct cli_options *options)
{
    size_t limit = options->heap.limit                 ? options->heap.limit
                   : options->json || options->verbose ? answer->count
                                                       : HEAP_ROWS_SHOWN;
    return limit < answer->count ? limit : answer->count;
}

static struct error *heap_print(const struct heap_answer *answer, const struct cli_options *options)
{
    const struct table_column columns[] = {
        {"COUNT", TABLE_RIGHT},
        {"BYTES", TABLE_RIGHT},
        {"SHARE", TABLE_RIGHT},
        {"REFS", TABLE_RIGHT},
        {heap_titles[options->heap.by], TABLE_CUT},
        {NULL, 0},
    };
    size_t shown = heap_shown(answer, options);
    struct table *table = table_create(options, columns);
    char count[32], size[24];

    fprintf(cli_output, "%s objects, %s\n\n", cli_format_count(count, sizeof(count), answer->total.count),
            cli_format_size(size, sizeof(size), answer->total.bytes));
    for (size_t i = 0; i < shown; i++) {
        const struct heap_row *row = &answer->rows[i];
        table_begin_row(table);
        table_count(table, row->count);
        table_size(table, row->bytes);
        table_format(table, "%.1f%%",
                     answer->total.bytes ? 100.0 * (double)row->bytes / (double)answer->total.bytes : 0.0);
        table_count(table, row->refs);
        table_cell(table, row->name);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    if (!error && shown < answer->count)
        cli_note(options, "%zu more rows: -n NUMBER, or -v for all", answer->count - shown);
    return error;
}

static void heap_print_json(const struct heap_answer *answer, const struct heap_view *view,
                            const struct cli_options *options, struct json *json)
{
    heap_view_json_pause(view, json);
    json_begin_object(json, "result");
    json_unsigned(json, "objects", answer->total.count);
    json_unsigned(json, "tracked", answer->total.tracked);
    json_unsigned(json, "bytes", answer->total.bytes);
    json_unsigned(json, "refs", answer->total.refs);
    json_unsigned(json, "immortal", answer->total.immortal);
    heap_view_json(view, json);
    json_begin_array(json, heap_lists[options->heap.by]);
    for (size_t i = 0; i < heap_shown(answer, options); i++) {
        const struct heap_row *row = &answer->rows[i];
        json_begin_object(json, NULL);
        json_string(json, heap_keys[options->heap.by], row->name);
        json_unsigned(json, "count", row->count);
        json_unsigned(json, "tracked", row->tracked);
        json_unsigned(json, "bytes", row->bytes);
        json_unsigned(json, "refs", row->refs);
        json_unsigned(json, "immortal", row->immortal);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

/* ------------------------------------------------------------------- run */

static struct error *heap_run(const struct cli_options *options, struct json *json)
{
    struct heap_answer answer = {.count = 0};
    struct heap_view view;
    struct error *error;

    if (options->heap.by == CLI_HEAP_BY_ROOT)
        return error_create(ERROR_USAGE, "safepoint retained --by root", "heap --by root: its words are type, module, size, generation");
    if ((error = heap_view_open(&view, options, json)))
        return error;
    error = heap_ask(&answer, &view, options);
    if (!error && options->json)
        heap_print_json(&answer, &view, options, json);
    else if (!error)
        error = heap_print(&answer, options);
    if (!error)
        heap_view_note(&view, options);
    heap_view_close(&view);
    free(answer.rows);
    return error;
}

const struct cli_command cli_command_heap = {
    .name = "heap",
    .synopsis = "PID or FILE",
    .summary = "all live objects: count, bytes and references by type, module, size or generation",
    .description = "Every object, whether or not the garbage collector tracks it, read from outside: BYTES as\n"
                   "sys.getsizeof() counts them (a __sizeof__ written in Python is not run), REFS the sum of the\n"
                   "refcounts without immortals. The 30 largest rows; all with -v or --json. The process is held\n"
                   "for milliseconds at its safe point, and goes on while its memory of that instant is read. FILE: a snapshot or a core.",
    .example = "safepoint heap 4711 --match 'app.*' --sort count",
    .takes = CLI_TAKES_HEAP | CLI_TAKES_ROWS | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = heap_run,
};
