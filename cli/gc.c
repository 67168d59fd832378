/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gc: the garbage collector, as its own numbers have it. All of it is read; nothing is run or stopped. */
#include <stdlib.h>

#include "attach/scope.h"
#include "cli/session.h"
#include "cli/table.h"
#include "runtime/gc.h"

static const char *const gc_generation_names[GC_GENERATIONS] = {"0 (young)", "1 (middle)", "2 (old)"};

static void gc_print_field(const char *name, const char *text)
{
    fprintf(cli_output, "%-12s%s\n", name, text);
}

static void gc_print_summary(const struct gc_state *state)
{
    char text[96], count[32];

    gc_print_field("enabled", state->enabled ? "yes" : "no: nothing is collected by itself");
    gc_print_field("collecting", state->collecting ? "yes, at this moment" : "no");
    if (state->frozen < 0)
        gc_print_field("frozen", "unknown: the list changes");
    else
        gc_print_field("frozen", (snprintf(text, sizeof(text), "%s%s objects", state->frozen_more ? "more than " : "",
                                           cli_format_count(count, sizeof(count), (uint64_t)state->frozen)), text));
    if (state->garbage >= 0)
        gc_print_field("gc.garbage", (snprintf(text, sizeof(text), "%s objects",
                                               cli_format_count(count, sizeof(count), (uint64_t)state->garbage)), text));
    if (state->debug)
        gc_print_field("debug", (snprintf(text, sizeof(text), "%#x", state->debug), text));
    if (state->long_lived > 0) {
        char pending[32];
        snprintf(text, sizeof(text), "%s objects at the last full collection, %s since",
                 cli_format_count(count, sizeof(count), (uint64_t)state->long_lived),
                 cli_format_count(pending, sizeof(pending), (uint64_t)state->long_lived_pending));
        gc_print_field("long-lived", text);
    }
}

static void gc_print_generation(struct table *table, const struct gc_generation *generation, const char *name)
{
    table_begin_row(table);
    table_cell(table, name);
    table_format(table, "%lld", (long long)generation->count);
    table_format(table, "%lld", (long long)generation->threshold);
    table_count(table, (uint64_t)generation->collections);
    table_count(table, (uint64_t)generation->collected);
    table_count(table, (uint64_t)generation->uncollectable);
    if (generation->seconds < 0)
        table_cell(table, "-");
    else
        table_format(table, "%.3f s", generation->seconds);
}

static struct error *gc_print_state(const struct cli_options *options, const struct gc_state *state)
{
    static const struct table_column columns[] = {
        {"GENERATION", 0},          {"COUNT", TABLE_RIGHT},         {"THRESHOLD", TABLE_RIGHT}, {"COLLECTIONS", TABLE_RIGHT},
        {"COLLECTED", TABLE_RIGHT}, {"UNCOLLECTABLE", TABLE_RIGHT}, {"TIME", TABLE_RIGHT},      {NULL, 0},
    };
    struct table *table = table_create(options, columns);

    gc_print_summary(state);
    putc('\n', cli_output);
    for (size_t i = 0; i < GC_GENERATIONS; i++)
        gc_print_generation(table, &state->generations[i], gc_generation_names[i]);
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static struct error *gc_print_text(const struct cli_options *options, const struct gc_state *states, size_t count)
{
    struct error *error = NULL;

    for (size_t i = count; !error && i--;) {
        if (count > 1)
            fprintf(cli_output, "%sinterpreter %lld\n", i + 1 < count ? "\n" : "", (long long)states[i].interpreter);
        error = gc_print_state(options, &states[i]);
    }
    return error;
}

/* ----------------------------------------------------------------------- JSON */

/* What isn't known is null. */
static void gc_json_count(struct json *json, const char *name, int64_t value)
{
    if (value < 0)
        json_null(json, name);
    else
        json_integer(json, name, value);
}

static void gc_json_generation(struct json *json, const struct gc_generation *generation)
{
    json_begin_object(json, NULL);
    json_integer(json, "count", generation->count);
    json_integer(json, "threshold", generation->threshold);
    json_integer(json, "collections", generation->collections);
    json_integer(json, "collected", generation->collected);
    json_integer(json, "uncollectable", generation->uncollectable);
    gc_json_count(json, "candidates", generation->candidates);
    gc_json_count(json, "time_us", generation->seconds < 0 ? -1 : (int64_t)(generation->seconds * 1e6));
    json_end_object(json);
}

static void gc_json_state(struct json *json, const struct gc_state *state)
{
    json_begin_object(json, NULL);
    json_integer(json, "interpreter", state->interpreter);
    json_boolean(json, "enabled", state->enabled);
    json_boolean(json, "collecting", state->collecting);
    json_integer(json, "debug", state->debug);
    gc_json_count(json, "frozen", state->frozen);
    json_boolean(json, "frozen_more", state->frozen_more);
    gc_json_count(json, "garbage", state->garbage);
    json_integer(json, "long_lived", state->long_lived);
    json_integer(json, "long_lived_pending", state->long_lived_pending);
    json_begin_array(json, "generations");
    for (size_t i = 0; i < GC_GENERATIONS; i++)
        gc_json_generation(json, &state->generations[i]);
    json_end_array(json);
    json_end_object(json);
}

static void gc_print_json(struct json *json, const struct gc_state *states, size_t count)
{
    json_begin_object(json, "result");
    json_begin_array(json, "interpreters");
    for (size_t i = count; i--;)
        gc_json_state(json, &states[i]);
    json_end_array(json);
    json_end_object(json);
}

static struct error *gc_show(const struct session *session, const struct cli_options *options, struct json *json)
{
    scoped_free struct gc_state *states = NULL;
    size_t count;
    struct error *error = gc_read(&session->runtime, &states, &count);

    if (!error)
        error = process_check(&session->process);
    if (error)
        return error;
    if (!options->json)
        return gc_print_text(options, states, count);
    session_json_target(json, session);
    gc_print_json(json, states, count);
    return NULL;
}

static struct error *gc_run(const struct cli_options *options, struct json *json)
{
    struct session session;
    struct error *error = session_open_target(&session, options);

    if (error)
        return error;
    error = session_explain_error(&session.process, gc_show(&session, options, json));
    session_close(&session);
    return error;
}

const struct cli_command cli_command_gc = {
    .name = "gc",
    .synopsis = "PID or CORE",
    .summary = "the garbage collector: on or off, collecting now, generations, thresholds, what it has collected",
    .description = "Everything is read from outside: nothing is stopped, and no collection is begun.",
    .example = "safepoint gc 4711",
    .takes = CLI_TAKES_CORE,
    .words_min = 1,
    .words_max = 1,
    .run = gc_run,
};
