/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * mem: where a process's memory goes, to the last page of its RSS, and what that says. Read from outside; with --trim
 * one function runs in it, malloc_trim(0).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/mem_account.h"
#include "cli/mem_verdict.h"
#include "cli/table.h"

#define MEM_PINS_SHOWN 5

struct mem_answer {
    struct mem_account account;
    char verdict[1024];
    bool trimmed;
    struct trim trim;
    uint64_t before, after; /* the RSS right before and after it was trimmed */
};

/* ---------------------------------------------------------------- printing */

static struct error *mem_print_parts(const struct mem_account *account, const struct cli_options *options)
{
    const struct table_column columns[] = {{"RESIDENT", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"WHAT", TABLE_CUT}, {NULL, 0}};
    struct table *table = table_create(options, columns);
    uint64_t rss = account->residency.resident;
    char size[24];

    fprintf(cli_output, "%s are resident\n\n", cli_format_size(size, sizeof(size), rss));
    for (int i = 0; i < MEM_PARTS; i++) {
        if (!account->resident[i])
            continue;
        table_begin_row(table);
        table_size(table, account->resident[i]);
        table_format(table, "%.1f%%", rss ? 100.0 * (double)account->resident[i] / (double)rss : 0.0);
        table_cell(table, mem_part_name((enum mem_part)i));
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static struct error *mem_print_pins(const struct mem_account *account, const struct cli_options *options)
{
    const struct table_column columns[] = {
        {"OBJECTS", TABLE_RIGHT}, {"IN ARENAS", TABLE_RIGHT}, {"ALONE IN", TABLE_RIGHT}, {"PINS", TABLE_CUT}, {NULL, 0}};
    size_t shown = options->verbose || account->pin_count < MEM_PINS_SHOWN ? account->pin_count : MEM_PINS_SHOWN;
    struct table *table = table_create(options, columns);
    char size[24];

    fprintf(cli_output, "\n%" PRIu64 " of %zu arenas, %s, are nearly empty: what keeps them\n\n", account->sparse_arenas,
            account->arenas.count, cli_format_size(size, sizeof(size), account->sparse_resident));
    for (size_t i = 0; i < shown; i++) {
        const struct mem_pin *pin = &account->pins[i];
        table_begin_row(table);
        table_count(table, pin->objects);
        table_count(table, pin->arenas);
        table_count(table, pin->alone);
        table_cell(table, pin->type);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static struct error *mem_print_classes(const struct mem_account *account, const struct cli_options *options)
{
    const struct table_column columns[] = {{"BLOCK", TABLE_RIGHT}, {"POOLS", TABLE_RIGHT}, {"IN USE", TABLE_RIGHT},
                                           {"FREE", TABLE_RIGHT},  {"BYTES", TABLE_RIGHT}, {"FREE BYTES", TABLE_RIGHT},
                                           {NULL, 0}};
    struct table *table = table_create(options, columns);

    fprintf(cli_output, "\npymalloc by size class, %zu arenas\n\n", account->arenas.count);
    for (size_t i = 0; i < HEAP_SIZE_CLASSES; i++) {
        const struct heap_size_class *class = &account->arenas.classes[i];
        if (!class->pools)
            continue;
        table_begin_row(table);
        table_count(table, class->block);
        table_count(table, class->pools);
        table_count(table, class->used);
        table_count(table, class->free);
        table_size(table, class->used * class->block);
        table_size(table, class->free * class->block);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static struct error *mem_print_malloc(const struct mem_account *account, const struct cli_options *options)
{
    const struct table_column columns[] = {{"ARENA", 0},           {"THREADS", TABLE_RIGHT}, {"RESIDENT", TABLE_RIGHT},
                                           {"FREE", TABLE_RIGHT},  {"IN USE", TABLE_RIGHT},  {"IN CACHES", TABLE_RIGHT},
                                           {"IN BINS", TABLE_RIGHT}, {"AT THE TOP", TABLE_RIGHT}, {"", 0}, {NULL, 0}};
    struct table *table = table_create(options, columns);

    fprintf(cli_output, "\nmalloc of %s\n\n", account->allocator);
    for (size_t i = 0; i < account->glibc.arena_count; i++) {
        const struct glibc_arena *arena = &account->glibc.arenas[i];
        table_begin_row(table);
        table_format(table, i ? "0x%" PRIx64 : "main", arena->address);
        table_count(table, arena->threads);
        table_size(table, account->per_arena[i].resident);
        table_size(table, account->per_arena[i].resident_free);
        table_size(table, arena->bytes[GLIBC_USED]);
        table_size(table, arena->bytes[GLIBC_TCACHE] + arena->bytes[GLIBC_FAST]);
        table_size(table, arena->bytes[GLIBC_FREE]);
        table_size(table, arena->bytes[GLIBC_TOP]);
        table_cell(table, arena->sound ? "" : "not all readable");
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static struct error *mem_print_stacks(const struct mem_account *account, const struct cli_options *options)
{
    const struct table_column columns[] = {{"THREAD", TABLE_RIGHT}, {"STACK", TABLE_RIGHT}, {"", 0}, {NULL, 0}};
    struct table *table = table_create(options, columns);

    fprintf(cli_output, "\nstacks\n\n");
    for (size_t i = 0; i < account->stack_count; i++) {
        const struct mem_stack *stack = &account->stacks[i];
        table_begin_row(table);
        table_format(table, "%d", stack->tid);
        if (stack->end)
            table_size(table, stack->resident);
        else
            table_cell(table, "?");
        table_cell(table, stack->main ? "main" : "");
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static uint64_t mem_returned(const struct mem_answer *answer)
{
    return answer->before > answer->after ? answer->before - answer->after : 0;
}

static void mem_print_trim(const struct mem_answer *answer)
{
    char back[24], before[24], after[24];

    fprintf(cli_output, "malloc_trim(0) gave back %s in %.1f ms, on thread %d: %s resident before, %s after.\n",
            cli_format_size(back, sizeof(back), mem_returned(answer)), (double)answer->trim.took_ns / 1e6, answer->trim.tid,
            cli_format_size(before, sizeof(before), answer->before), cli_format_size(after, sizeof(after), answer->after));
}

static struct error *mem_print(const struct mem_answer *answer, const struct cli_options *options)
{
    const struct mem_account *account = &answer->account;
    struct error *error = mem_print_parts(account, options);

    if (!error && account->pin_count && (options->verbose || mem_is_pinned(account)))
        error = mem_print_pins(account, options);
    if (!error && options->verbose && account->arenas.count)
        error = mem_print_classes(account, options);
    if (!error && options->verbose && account->glibc.arena_count)
        error = mem_print_malloc(account, options);
    if (!error && options->verbose)
        error = mem_print_stacks(account, options);
    if (!error)
        fprintf(cli_output, "\n%s\n", answer->verdict);
    if (!error && answer->trimmed)
        mem_print_trim(answer);
    return error;
}

/* -------------------------------------------------------------------- JSON */

static void mem_json_parts(const struct mem_account *account, struct json *json)
{
    json_begin_object(json, "parts");
    for (int i = 0; i < MEM_PARTS; i++)
        json_unsigned(json, mem_part_key((enum mem_part)i), account->resident[i]);
    json_end_object(json);
}

static void mem_json_pymalloc(const struct mem_account *account, struct json *json)
{
    json_begin_object(json, "pymalloc");
    json_unsigned(json, "arenas", account->arenas.count);
    json_unsigned(json, "arena_bytes", account->arenas.count ? account->arenas.list[0].size : 0);
    json_unsigned(json, "torn_pools", account->arenas.torn);
    json_unsigned(json, "sparse_arenas", account->sparse_arenas);
    json_unsigned(json, "sparse_resident_bytes", account->sparse_resident);
    json_unsigned(json, "sparse_used_bytes", account->sparse_used);
    json_begin_array(json, "classes");
    for (size_t i = 0; i < HEAP_SIZE_CLASSES; i++) {
        const struct heap_size_class *class = &account->arenas.classes[i];
        if (!class->pools)
            continue;
        json_begin_object(json, NULL);
        json_unsigned(json, "block", class->block);
        json_unsigned(json, "pools", class->pools);
        json_unsigned(json, "used", class->used);
        json_unsigned(json, "free", class->free);
        json_end_object(json);
    }
    json_end_array(json);
    json_begin_array(json, "pins");
    for (size_t i = 0; i < account->pin_count; i++) {
        json_begin_object(json, NULL);
        json_string(json, "type", account->pins[i].type);
        json_unsigned(json, "objects", account->pins[i].objects);
        json_unsigned(json, "bytes", account->pins[i].bytes);
        json_unsigned(json, "arenas", account->pins[i].arenas);
        json_unsigned(json, "alone", account->pins[i].alone);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static void mem_json_arena(const struct mem_account *account, size_t number, struct json *json)
{
    const struct glibc_arena *arena = &account->glibc.arenas[number];
    static const char *const states[GLIBC_STATES] = {"used", "tcache", "fastbin", "free", "top"};

    json_begin_object(json, NULL);
    json_unsigned(json, "address", arena->address);
    json_boolean(json, "main", number == 0);
    json_unsigned(json, "threads", arena->threads);
    json_unsigned(json, "system_bytes", arena->system_bytes);
    json_unsigned(json, "resident_bytes", account->per_arena[number].resident);
    json_unsigned(json, "resident_free_bytes", account->per_arena[number].resident_free);
    json_boolean(json, "sound", arena->sound);
    for (int i = 0; i < GLIBC_STATES; i++) {
        json_begin_object(json, states[i]);
        json_unsigned(json, "count", arena->count[i]);
        json_unsigned(json, "bytes", arena->bytes[i]);
        json_end_object(json);
    }
    json_end_object(json);
}

static void mem_json_malloc(const struct mem_account *account, struct json *json)
{
    json_begin_object(json, "malloc");
    json_string(json, "allocator", account->allocator);
    json_string(json, "path", account->allocator_path[0] ? account->allocator_path : NULL);
    json_boolean(json, "readable", account->glibc.arena_count != 0);
    json_string(json, "why_not", account->no_glibc ? error_message(account->no_glibc) : NULL);
    json_unsigned(json, "trimmable_bytes", account->trimmable);
    json_unsigned(json, "mapped_blocks", account->mapped_blocks);
    json_begin_array(json, "arenas");
    for (size_t i = 0; i < account->glibc.arena_count; i++)
        mem_json_arena(account, i, json);
    json_end_array(json);
    json_end_object(json);
}

static void mem_json_stacks(const struct mem_account *account, struct json *json)
{
    json_begin_array(json, "stacks");
    for (size_t i = 0; i < account->stack_count; i++) {
        const struct mem_stack *stack = &account->stacks[i];
        json_begin_object(json, NULL);
        json_unsigned(json, "tid", (uint64_t)stack->tid);
        json_boolean(json, "main", stack->main);
        json_boolean(json, "found", stack->end != 0);
        json_unsigned(json, "resident_bytes", stack->resident);
        json_end_object(json);
    }
    json_end_array(json);
}

static void mem_json_trim(const struct mem_answer *answer, struct json *json)
{
    json_begin_object(json, "trim");
    json_unsigned(json, "before_bytes", answer->before);
    json_unsigned(json, "after_bytes", answer->after);
    json_unsigned(json, "returned_bytes", mem_returned(answer));
    json_unsigned(json, "thread", (uint64_t)answer->trim.tid);
    json_decimal(json, "took_us", (double)answer->trim.took_ns / 1e3);
    json_end_object(json);
}

static void mem_print_json(const struct mem_answer *answer, const struct heap_view *view, struct json *json)
{
    const struct mem_account *account = &answer->account;

    heap_view_json_pause(view, json);
    json_begin_object(json, "result");
    json_unsigned(json, "resident_bytes", account->residency.resident);
    json_unsigned(json, "swapped_bytes", account->residency.swapped);
    json_string(json, "verdict", answer->verdict);
    mem_json_parts(account, json);
    json_unsigned(json, "objects", view->heap ? heap_get_report(view->heap)->objects : 0);
    json_unsigned(json, "object_bytes", view->heap ? heap_get_report(view->heap)->bytes : 0);
    json_string(json, "no_objects", view->no_objects ? error_message(view->no_objects) : NULL);
    mem_json_pymalloc(account, json);
    mem_json_malloc(account, json);
    mem_json_stacks(account, json);
    if (answer->trimmed)
        mem_json_trim(answer, json);
    heap_view_json(view, json);
    json_end_object(json);
}

/* --------------------------------------------------------------------- run */

static struct error *mem_freeze(struct heap_view *view, void *context)
{
    return mem_account_freeze(context, view);
}

static struct error *mem_read_rss(const struct heap_view *view, uint64_t *bytes)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *error = process_read_file(view->session.process.pid, "smaps_rollup", &text, &length);
    const char *value = error ? NULL : process_status_field(text, "Rss");

    *bytes = value ? strtoull(value, NULL, 10) * 1024 : 0;
    return error;
}

static struct error *mem_trim(struct mem_answer *answer, struct heap_view *view, const struct cli_options *options)
{
    const struct mem_account *account = &answer->account;

    if (strcmp(account->allocator, "glibc") != 0)
        return error_create(ERROR_UNSUPPORTED, "malloc_trim() is glibc's", "the malloc of process %d is not glibc's: %s",
                            view->session.process.pid, account->allocator);
    struct error *error = mem_read_rss(view, &answer->before);
    if (!error)
        error = session_trim(&view->session, options, &answer->trim);
    if (!error)
        error = mem_read_rss(view, &answer->after);
    answer->trimmed = !error;
    return error;
}

static struct error *mem_ask(struct mem_answer *answer, struct heap_view *view, const struct cli_options *options)
{
    struct error *error = mem_account_read(&answer->account, view);

    if (error)
        return error;
    mem_judge(&answer->account, view, options->words[0], answer->verdict, sizeof(answer->verdict));
    return options->trim ? mem_trim(answer, view, options) : NULL;
}

static struct error *mem_check_file(const struct cli_options *options)
{
    if (!heap_view_is_file(options))
        return NULL;
    if (access(options->words[0], F_OK) < 0)
        return error_create_errno(ERROR_USAGE, errno, "can't open %s", options->words[0]);
    return error_create(ERROR_USAGE, "of the objects in a snapshot: safepoint heap FILE",
                        "%s is a file, and has a process's objects, not its memory", options->words[0]);
}

static struct error *mem_run(const struct cli_options *options, struct json *json)
{
    struct mem_answer answer = {.trimmed = false};
    const struct heap_view_hooks hooks = {.frozen = mem_freeze, .context = &answer.account, .memory_alone = true};
    struct heap_view view;
    struct error *error = mem_check_file(options);

    if (error)
        return error;
    error = heap_view_open_with(&view, options, json, &hooks);
    if (!error) {
        error = mem_ask(&answer, &view, options);
        if (!error && options->json)
            mem_print_json(&answer, &view, json);
        else if (!error)
            error = mem_print(&answer, options);
        if (!error)
            heap_view_note(&view, options);
        heap_view_close(&view);
    }
    mem_account_deinit(&answer.account);
    return error;
}

const struct cli_command cli_command_mem = {
    .name = "mem",
    .synopsis = "PID",
    .summary = "where its memory goes, to the last page of the RSS, and what that says",
    .description = "What is in use and what is kept free by pymalloc and by malloc, mappings, files, stacks, the\n"
                   "interpreter itself: parts whose sum is the RSS. Then a sentence on the largest. With -v also the\n"
                   "size classes, malloc's arenas, and each thread's stack. --trim has the process give back what its\n"
                   "malloc keeps free: the one part that runs code in it, malloc_trim(0) at its safe point.",
    .example = "safepoint mem 4711 -v",
    .takes = CLI_TAKES_FREEZE | CLI_TAKES_WAIT | CLI_TAKES_TRIM,
    .words_min = 1,
    .words_max = 1,
    .run = mem_run,
};
