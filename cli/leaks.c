/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * leaks: references that nobody accounts for, by what grows of them; references that the refcount hasn't in; and cyclic
 * garbage that waits for the collector.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/excess.h"
#include "cli/garbage.h"
#include "cli/period.h"
#include "cli/table.h"

#define LEAKS_ROWS_SHOWN 15
#define LEAKS_LACKS_SHOWN 20
/* Of one type, references more that nobody accounts for: fewer come and go with what C code is at just then. */
#define LEAKS_GROWTH_LEAST 10

struct leaks_growth {
    const struct excess_row *row;
    int64_t growth;
};

struct leaks_answer {
    bool refs, cycles, grown; /* asked for; there were two looks */
    bool interrupted;         /* the second came early */
    double seconds;           /* between the looks; 0: not known */
    struct excess before, after;
    struct leaks_growth *types; /* chosen and sorted */
    size_t type_count;
    struct garbage garbage;
};

/* ------------------------------------------------------------------- looks */

static struct error *leaks_look(struct heap_view *view, const struct cli_options *options, struct excess *excess,
                                struct garbage *garbage)
{
    struct graph graph;
    struct error *error = heap_graph_open(&graph, view, options);

    if (!error && excess)
        error = excess_count(excess, view, &graph);
    if (!error && garbage)
        error = garbage_find(garbage, view, &graph);
    graph_deinit(&graph);
    return error;
}

/* The look before the one that is told of; nothing is printed. */
static struct error *leaks_look_before(struct leaks_answer *answer, const struct cli_options *options,
                                       struct heap_origin *origin)
{
    struct heap_view view;
    struct error *error = heap_view_open_graph(&view, options, NULL);

    if (error)
        return error;
    *origin = view.origin;
    error = leaks_look(&view, options, &answer->before, NULL);
    heap_view_close(&view);
    return error;
}

static struct error *leaks_look_first(struct leaks_answer *answer, const struct cli_options *options,
                                      struct heap_origin *origin)
{
    double start = period_now();
    struct error *error = leaks_look_before(answer, options, origin);

    if (error || !options->period.for_ms)
        return error;
    error = period_wait((pid_t)origin->pid, start + (double)options->period.for_ms / 1e3, &answer->interrupted);
    answer->seconds = period_now() - start;
    return error;
}

static struct error *leaks_check_same(const struct heap_origin *before, const struct heap_origin *after)
{
    if (before->pid == after->pid && before->start_time == after->start_time)
        return NULL;
    return error_create(ERROR_USAGE, NULL, "two looks at one process are needed: these are of process %" PRIu64 " and %" PRIu64,
                        before->pid, after->pid);
}

/* ---------------------------------------------------------------- choosing */

static int leaks_compare_growth(const void *a, const void *b)
{
    const struct leaks_growth *x = a, *y = b;

    if (x->growth != y->growth)
        return x->growth < y->growth ? 1 : -1;
    return strcmp(x->row->name, y->row->name);
}

static struct error *leaks_choose(struct leaks_answer *answer)
{
    answer->types = calloc(answer->after.count + 1, sizeof(*answer->types));
    if (!answer->types)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the answer");
    for (size_t i = 0; i < answer->after.count; i++) {
        const struct excess_row *row = &answer->after.rows[i];
        const struct excess_row *before = answer->grown ? excess_find(&answer->before, row->name) : NULL;
        int64_t growth = (int64_t)row->excess - (int64_t)(before ? before->excess : 0);
        if (growth)
            answer->types[answer->type_count++] = (struct leaks_growth){row, growth};
    }
    qsort(answer->types, answer->type_count, sizeof(*answer->types), leaks_compare_growth);
    return NULL;
}

static bool leaks_found(const struct leaks_answer *answer)
{
    return answer->after.lack_count || answer->garbage.objects ||
           (answer->grown && answer->type_count && answer->types[0].growth >= LEAKS_GROWTH_LEAST);
}

static size_t leaks_shown(size_t count, const struct cli_options *options)
{
    size_t limit = options->heap.limit                 ? options->heap.limit
                   : options->json || options->verbose ? count
                                                       : LEAKS_ROWS_SHOWN;
    return limit < count ? limit : count;
}

/* ------------------------------------------------------------- as a person */

static void leaks_print_lacks(const struct leaks_answer *answer)
{
    const struct excess *excess = &answer->after;

    if (!excess->lack_count)
        return;
    fprintf(cli_output,
            "A CRASH TO COME: %zu object%s held by more references than %s refcount has. When it gets to 0, memory that is\n"
            "still in use will be freed: some C code gives up references that it doesn't have.\n\n",
            excess->lack_count, excess->lack_count == 1 ? " is" : "s are", excess->lack_count == 1 ? "its" : "their");
    for (size_t i = 0; i < excess->lack_count && i < LEAKS_LACKS_SHOWN; i++) {
        const struct excess_lack *lack = &excess->lacks[i];
        fprintf(cli_output, "  %s at 0x%" PRIx64 ": refcount %u, references found %u\n", lack->name, lack->address,
                lack->refcount, lack->found);
    }
    if (excess->lack_count > LEAKS_LACKS_SHOWN)
        fprintf(cli_output, "  and %zu more\n", excess->lack_count - LEAKS_LACKS_SHOWN);
    fputc('\n', cli_output);
}

static struct error *leaks_print_refs(const struct leaks_answer *answer, const struct cli_options *options)
{
    const struct table_column columns[] = {
        {answer->grown ? "GROWTH" : "EXCESS", TABLE_RIGHT},
        {answer->grown ? "EXCESS" : "MOST", TABLE_RIGHT},
        {"OBJECTS", TABLE_RIGHT},
        {"UNHELD", TABLE_RIGHT},
        {"EXAMPLE", 0},
        {"TYPE", TABLE_CUT},
        {NULL, 0},
    };
    size_t shown = leaks_shown(answer->type_count, options);
    struct table *table = table_create(options, columns);
    char count[32], excess[32];

    fprintf(cli_output, "References that nobody accounts for: %s, to %s objects%s\n\n",
            cli_format_count(excess, sizeof(excess), answer->after.total),
            cli_format_count(count, sizeof(count), answer->after.objects),
            answer->grown ? "; what grew of them" : "");
    for (size_t i = 0; i < shown; i++) {
        const struct excess_row *row = answer->types[i].row;
        table_begin_row(table);
        table_format(table, answer->grown ? "%+" PRId64 : "%" PRId64, answer->types[i].growth);
        table_count(table, answer->grown ? row->excess : row->example_excess);
        table_count(table, row->objects);
        table_count(table, row->unheld);
        table_format(table, "0x%" PRIx64, row->example);
        table_cell(table, row->name);
    }
    struct error *error = shown ? table_print(table) : NULL;
    table_destroy(table);
    if (!shown)
        fputs("  nothing\n", cli_output);
    if (!error && shown < answer->type_count)
        cli_note(options, "%zu more types: -n NUMBER, or -v for all", answer->type_count - shown);
    return error;
}

static int leaks_compare_garbage(const void *a, const void *b)
{
    const struct garbage_row *x = a, *y = b;

    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->name, y->name);
}

static int leaks_compare_group(const void *a, const void *b)
{
    const struct garbage_group *x = a, *y = b;

    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : strcmp(x->makeup, y->makeup);
}

static struct error *leaks_print_garbage_types(const struct garbage *garbage, const struct cli_options *options)
{
    const struct table_column columns[] = {
        {"OBJECTS", TABLE_RIGHT}, {"BYTES", TABLE_RIGHT}, {"__DEL__", TABLE_RIGHT}, {"CALLBACKS", TABLE_RIGHT},
        {"EXAMPLE", 0},           {"TYPE", TABLE_CUT},    {NULL, 0},
    };
    size_t shown = leaks_shown(garbage->row_count, options);
    struct table *table = table_create(options, columns);

    for (size_t i = 0; i < shown; i++) {
        const struct garbage_row *row = &garbage->rows[i];
        table_begin_row(table);
        table_count(table, row->objects);
        table_size(table, row->bytes);
        table_count(table, row->finalizers);
        if (garbage->callbacks_known)
            table_count(table, row->callbacks);
        else
            table_cell(table, "?");
        table_format(table, "0x%" PRIx64, row->example);
        table_cell(table, row->name);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    if (!error && shown < garbage->row_count)
        cli_note(options, "%zu more types: -n NUMBER, or -v for all", garbage->row_count - shown);
    return error;
}

static struct error *leaks_print_groups(const struct garbage *garbage, const struct cli_options *options)
{
    const struct table_column columns[] = {
        {"CYCLES", TABLE_RIGHT}, {"OBJECTS", TABLE_RIGHT}, {"BYTES", TABLE_RIGHT},
        {"EXAMPLE", 0},          {"MADE OF", TABLE_CUT},   {NULL, 0},
    };
    size_t shown = leaks_shown(garbage->group_count, options);
    struct table *table = table_create(options, columns);

    for (size_t i = 0; i < shown; i++) {
        const struct garbage_group *group = &garbage->groups[i];
        table_begin_row(table);
        table_count(table, group->components);
        table_count(table, group->objects);
        table_size(table, group->bytes);
        table_format(table, "0x%" PRIx64, group->example);
        table_cell(table, group->makeup);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    if (!error && shown < garbage->group_count)
        cli_note(options, "%zu more kinds of cycle: -n NUMBER, or -v for all", garbage->group_count - shown);
    return error;
}

static struct error *leaks_print_cycles(const struct garbage *garbage, const struct cli_options *options)
{
    char objects[32], bytes[24], cycles[32], others[32], size[24];

    if (!garbage->objects) {
        fputs("No cyclic garbage waits for the collector\n", cli_output);
        return NULL;
    }
    fprintf(cli_output, "Cyclic garbage that waits for the collector: %s objects, %s, in %s cycles and what hangs on them\n",
            cli_format_count(objects, sizeof(objects), garbage->objects),
            cli_format_size(bytes, sizeof(bytes), garbage->bytes),
            cli_format_count(cycles, sizeof(cycles), garbage->components));
    fprintf(cli_output, "gc.collect() would free it, and %s of %s objects more that it doesn't track",
            cli_format_size(size, sizeof(size), garbage->other_bytes),
            cli_format_count(others, sizeof(others), garbage->other_objects));
    if (garbage->finalizers)
        fprintf(cli_output, ", if no __del__ (%" PRIu64 " would run) brings some back", garbage->finalizers);
    fputs("\n\n", cli_output);
    struct error *error = leaks_print_garbage_types(garbage, options);
    if (error)
        return error;
    fputc('\n', cli_output);
    return leaks_print_groups(garbage, options);
}

static struct error *leaks_print(const struct leaks_answer *answer, const struct cli_options *options)
{
    struct error *error = NULL;

    leaks_print_lacks(answer);
    if (answer->refs)
        error = leaks_print_refs(answer, options);
    if (!error && answer->refs && answer->cycles)
        fputc('\n', cli_output);
    if (!error && answer->cycles)
        error = leaks_print_cycles(&answer->garbage, options);
    if (!error && answer->refs && !answer->grown)
        cli_note(options, "one look: C code and its variables rightly hold some of these; a leak grows: --for 60s");
    return error;
}

/* ----------------------------------------------------------------- as JSON */

static void leaks_json_address(struct json *json, const char *name, uint64_t address)
{
    char text[24];

    snprintf(text, sizeof(text), "0x%" PRIx64, address);
    json_string(json, name, text);
}

static void leaks_json_refs(const struct leaks_answer *answer, const struct cli_options *options, struct json *json)
{
    json_begin_object(json, "refs");
    json_unsigned(json, "excess", answer->after.total);
    json_unsigned(json, "objects", answer->after.objects);
    json_boolean(json, "grown", answer->grown);
    json_decimal(json, "seconds", answer->seconds);
    json_boolean(json, "interrupted", answer->interrupted);
    json_begin_array(json, "under_counts");
    for (size_t i = 0; i < answer->after.lack_count; i++) {
        const struct excess_lack *lack = &answer->after.lacks[i];
        json_begin_object(json, NULL);
        json_string(json, "type", lack->name);
        leaks_json_address(json, "address", lack->address);
        json_unsigned(json, "refcount", lack->refcount);
        json_unsigned(json, "found", lack->found);
        json_end_object(json);
    }
    json_end_array(json);
    json_begin_array(json, "types");
    for (size_t i = 0; i < leaks_shown(answer->type_count, options); i++) {
        const struct excess_row *row = answer->types[i].row;
        json_begin_object(json, NULL);
        json_string(json, "type", row->name);
        if (answer->grown)
            json_integer(json, "growth", answer->types[i].growth);
        else
            json_null(json, "growth");
        json_unsigned(json, "excess", row->excess);
        json_unsigned(json, "objects", row->objects);
        json_unsigned(json, "unheld", row->unheld);
        json_unsigned(json, "count", row->count);
        leaks_json_address(json, "example", row->example);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static void leaks_json_callbacks(const struct garbage *garbage, uint64_t callbacks, struct json *json)
{
    if (garbage->callbacks_known)
        json_unsigned(json, "callbacks", callbacks);
    else
        json_null(json, "callbacks");
}

static void leaks_json_garbage_types(const struct garbage *garbage, const struct cli_options *options, struct json *json)
{
    json_begin_array(json, "types");
    for (size_t i = 0; i < leaks_shown(garbage->row_count, options); i++) {
        const struct garbage_row *row = &garbage->rows[i];
        json_begin_object(json, NULL);
        json_string(json, "type", row->name);
        json_unsigned(json, "objects", row->objects);
        json_unsigned(json, "bytes", row->bytes);
        json_unsigned(json, "finalizers", row->finalizers);
        leaks_json_callbacks(garbage, row->callbacks, json);
        leaks_json_address(json, "example", row->example);
        json_end_object(json);
    }
    json_end_array(json);
}

static void leaks_json_groups(const struct garbage *garbage, const struct cli_options *options, struct json *json)
{
    json_begin_array(json, "kinds");
    for (size_t i = 0; i < leaks_shown(garbage->group_count, options); i++) {
        const struct garbage_group *group = &garbage->groups[i];
        json_begin_object(json, NULL);
        json_string(json, "made_of", group->makeup);
        json_unsigned(json, "cycles", group->components);
        json_unsigned(json, "objects", group->objects);
        json_unsigned(json, "bytes", group->bytes);
        json_unsigned(json, "finalizers", group->finalizers);
        leaks_json_callbacks(garbage, group->callbacks, json);
        leaks_json_address(json, "example", group->example);
        json_end_object(json);
    }
    json_end_array(json);
}

static void leaks_json_cycles(const struct garbage *garbage, const struct cli_options *options, struct json *json)
{
    json_begin_object(json, "cycles");
    json_unsigned(json, "objects", garbage->objects);
    json_unsigned(json, "bytes", garbage->bytes);
    json_unsigned(json, "other_objects", garbage->other_objects);
    json_unsigned(json, "other_bytes", garbage->other_bytes);
    json_unsigned(json, "cycles", garbage->components);
    json_unsigned(json, "in_cycles", garbage->cyclic);
    json_unsigned(json, "finalizers", garbage->finalizers);
    leaks_json_callbacks(garbage, garbage->callbacks, json);
    leaks_json_garbage_types(garbage, options, json);
    leaks_json_groups(garbage, options, json);
    json_end_object(json);
}

static void leaks_print_json(const struct leaks_answer *answer, const struct heap_view *view,
                             const struct cli_options *options, struct json *json)
{
    heap_view_json_pause(view, json);
    json_begin_object(json, "result");
    json_boolean(json, "found", leaks_found(answer));
    if (answer->refs)
        leaks_json_refs(answer, options, json);
    if (answer->cycles)
        leaks_json_cycles(&answer->garbage, options, json);
    heap_view_json(view, json);
    json_end_object(json);
}

/* --------------------------------------------------------------------- run */

static struct error *leaks_check(const struct cli_options *options)
{
    bool two = options->count == 2 || options->period.for_ms;

    if (two && options->leaks.cycles && !options->leaks.refs)
        return error_create(ERROR_USAGE, NULL, "leaks --cycles takes one look: without --for, and one TARGET");
    if (options->period.for_ms && (options->count == 2 || heap_view_is_file(options)))
        return error_create(ERROR_USAGE, NULL, "leaks --for looks at a process twice: it takes a process id alone");
    return NULL;
}

static struct error *leaks_answer_view(struct leaks_answer *answer, struct heap_view *view, const struct cli_options *options,
                                       struct json *json)
{
    struct error *error = leaks_look(view, options, answer->refs ? &answer->after : NULL,
                                     answer->cycles ? &answer->garbage : NULL);

    if (error || (error = leaks_choose(answer)))
        return error;
    if (answer->garbage.row_count)
        qsort(answer->garbage.rows, answer->garbage.row_count, sizeof(*answer->garbage.rows), leaks_compare_garbage);
    if (answer->garbage.group_count)
        qsort(answer->garbage.groups, answer->garbage.group_count, sizeof(*answer->garbage.groups), leaks_compare_group);
    if (options->json)
        leaks_print_json(answer, view, options, json);
    else
        error = leaks_print(answer, options);
    if (!error)
        heap_view_note(view, options);
    if (options->leaks.exit_code && leaks_found(answer))
        cli_finding = true;
    return error;
}

static struct error *leaks_ask(struct leaks_answer *answer, const struct cli_options *options, struct json *json)
{
    struct cli_options last = *options;
    struct heap_origin before = {.pid = 0};
    struct heap_view view;
    struct error *error = answer->grown ? leaks_look_first(answer, options, &before) : NULL;

    if (error)
        return error;
    last.words += options->count - 1;
    if ((error = heap_view_open_graph(&view, &last, json)))
        return error;
    if (answer->grown)
        error = leaks_check_same(&before, &view.origin);
    if (!error)
        error = leaks_answer_view(answer, &view, options, json);
    heap_view_close(&view);
    return error;
}

static struct error *leaks_run(const struct cli_options *options, struct json *json)
{
    struct leaks_answer answer = {
        .refs = options->leaks.refs || !options->leaks.cycles,
        .cycles = options->leaks.cycles || !options->leaks.refs,
        .grown = options->count == 2 || options->period.for_ms,
    };
    struct error *error = leaks_check(options);

    if (!error)
        error = leaks_ask(&answer, options, json);
    free(answer.types);
    excess_deinit(&answer.before);
    excess_deinit(&answer.after);
    garbage_deinit(&answer.garbage);
    return error;
}

const struct cli_command cli_command_leaks = {
    .name = "leaks",
    .synopsis = "PID or FILE, or FILE FILE",
    .summary = "references that nobody accounts for, and cyclic garbage that waits",
    .description =
        "--refs: of each type, references that are in refcounts and that no object, frame or variable holds. C code that\n"
        "forgets a DECREF is named by its type, when they grow between two looks: --for 60s, or two snapshots. First of\n"
        "all, objects with more references than their refcount has: a crash to come.\n"
        "--cycles: what gc.collect() would free, by the collector's own rule, in cycles. Without either, both.",
    .example = "safepoint leaks 4711 --refs --for 60s",
    .takes = CLI_TAKES_LEAKS | CLI_TAKES_FOR | CLI_TAKES_ROWS | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 2,
    .run = leaks_run,
};
