/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * stats: what the target itself reports at its safe point (inject/agent/stats.py,
 * which describes the lines). They are a target's: bounded, and checked word by word.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/agents.h"
#include "cli/exception.h"
#include "cli/session.h"
#include "cli/table.h"

#define STATS_TEXT_MAX (32u << 20)
#define STATS_TYPES_MAX (1u << 18)
#define STATS_BUCKETS 64
#define STATS_GENERATIONS_MAX 16
#define STATS_TYPES_SHOWN 30
#define STATS_NAME "<safepoint stats>"

struct stats_type {
    const char *name;
    uint64_t count, bytes, refs, immortal, unsized;
    const char *buckets; /* "0:12,3:1", checked */
};

struct stats_generation {
    int64_t threshold, count; /* -1: not in this version */
    uint64_t collections, collected, uncollectable;
};

/* Numbers by name; what the version doesn't have stays unknown. */
enum stats_number {
    STATS_BLOCKS, STATS_ENABLED, STATS_DEBUG, STATS_GARBAGE, STATS_FROZEN, STATS_MODULES, STATS_THREADS, STATS_INTERNED,
    STATS_TOTAL_REFCOUNT, STATS_NUMBERS
};
static const char *const stats_number_names[STATS_NUMBERS] = {
    "allocated_blocks", "enabled", "debug", "garbage", "frozen", "modules", "threads", "interned", "total_refcount",
};

struct stats {
    struct exception exception;
    FILE *stream; /* what the script prints */
    char *text;
    size_t text_size;
    struct stats_type *types, total;
    size_t type_count;
    struct stats_generation generations[STATS_GENERATIONS_MAX];
    size_t generation_count;
    uint64_t numbers[STATS_NUMBERS];
    bool known[STATS_NUMBERS], ended;
    uint64_t buckets[STATS_BUCKETS];
};

/* ----------------------------------------------------------------- parsing */

static bool stats_word(char **at, const char **word)
{
    *word = *at;
    char *end = strchr(*at, ' ');
    if (!**at || !end)
        return false;
    *end = '\0';
    *at = end + 1;
    return true;
}

static bool stats_parse_u64(const char *word, uint64_t *value)
{
    char *end;

    if (*word < '0' || *word > '9' || strlen(word) > 19)
        return false;
    *value = strtoull(word, &end, 10);
    return !*end;
}

static bool stats_take_u64(char **at, uint64_t *value)
{
    const char *word;

    return stats_word(at, &word) && stats_parse_u64(word, value);
}

static bool stats_take_i64(char **at, int64_t *value)
{
    const char *word;
    uint64_t number;

    if (!stats_word(at, &word))
        return false;
    if (!strcmp(word, "-1")) {
        *value = -1;
        return true;
    }
    if (!stats_parse_u64(word, &number) || number > INT64_MAX)
        return false;
    *value = (int64_t)number;
    return true;
}

/* "0:12,3:1", rising: calls `visit` for each. */
static bool stats_walk_buckets(const char *text, void (*visit)(void *context, unsigned bucket, uint64_t count),
                               void *context)
{
    long last = -1;

    if (!strcmp(text, "-"))
        return true;
    for (;;) {
        char *end;
        unsigned long bucket = strtoul(text, &end, 10);
        if (end == text || *end != ':' || bucket >= STATS_BUCKETS || (long)bucket <= last)
            return false;
        last = (long)bucket;
        text = end + 1;
        uint64_t count = strtoull(text, &end, 10);
        if (end == text || (*end && *end != ','))
            return false;
        visit(context, (unsigned)bucket, count);
        if (!*end)
            return true;
        text = end + 1;
    }
}

static void stats_add_bucket(void *context, unsigned bucket, uint64_t count)
{
    struct stats *stats = context;

    stats->buckets[bucket] += count;
}

static bool stats_parse_type(struct stats *stats, char *at)
{
    struct stats_type type;

    if (!stats_take_u64(&at, &type.count) || !stats_take_u64(&at, &type.bytes) || !stats_take_u64(&at, &type.refs) ||
        !stats_take_u64(&at, &type.immortal) || !stats_take_u64(&at, &type.unsized) ||
        !stats_word(&at, &type.buckets) || type.immortal > type.count ||
        !stats_walk_buckets(type.buckets, stats_add_bucket, stats))
        return false;
    type.name = at;
    stats->types[stats->type_count++] = type;
    stats->total.count += type.count;
    stats->total.bytes += type.bytes;
    stats->total.refs += type.refs;
    stats->total.immortal += type.immortal;
    stats->total.unsized += type.unsized;
    return true;
}

static bool stats_parse_generation(struct stats *stats, char *at)
{
    struct stats_generation generation;
    uint64_t index;

    if (!stats_take_u64(&at, &index) || index != stats->generation_count || index >= STATS_GENERATIONS_MAX ||
        !stats_take_i64(&at, &generation.threshold) || !stats_take_i64(&at, &generation.count) ||
        !stats_take_u64(&at, &generation.collections) || !stats_take_u64(&at, &generation.collected) ||
        !stats_parse_u64(at, &generation.uncollectable))
        return false;
    stats->generations[stats->generation_count++] = generation;
    return true;
}

static bool stats_parse_number(struct stats *stats, char *at)
{
    const char *name;

    if (!stats_word(&at, &name))
        return false;
    for (int i = 0; i < STATS_NUMBERS; i++) {
        if (!strcmp(name, stats_number_names[i])) {
            stats->known[i] = stats_parse_u64(at, &stats->numbers[i]);
            return true;
        }
    }
    return false;
}

static bool stats_parse_line(struct stats *stats, char *line)
{
    if (!strcmp(line, "end"))
        return stats->ended = true;
    if (!line[0] || line[1] != ' ' || stats->ended)
        return false;
    switch (line[0]) {
    case 't':
        return stats_parse_type(stats, line + 2);
    case 'g':
        return stats_parse_generation(stats, line + 2);
    case 'n':
        return stats_parse_number(stats, line + 2);
    default:
        return false;
    }
}

static int stats_compare(const void *a, const void *b)
{
    const struct stats_type *left = a, *right = b;

    if (left->bytes != right->bytes)
        return left->bytes < right->bytes ? 1 : -1;
    return strcmp(left->name, right->name);
}

static struct error *stats_parse(struct stats *stats)
{
    size_t lines = 1;

    for (size_t i = 0; i < stats->text_size; i++)
        lines += stats->text[i] == '\n';
    if (lines > STATS_TYPES_MAX)
        return error_create(ERROR_PROTOCOL, NULL, "the target's statistics have %zu lines", lines);
    stats->types = calloc(lines, sizeof(*stats->types));
    if (!stats->types)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the statistics");
    for (char *line = stats->text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (!stats_parse_line(stats, line))
            return error_create(ERROR_PROTOCOL, "is something else in the target writing to sys.stdout?",
                                "a line of the target's statistics makes no sense");
    }
    if (!stats->ended)
        return error_create(ERROR_PROTOCOL, NULL, "the target's statistics end in the middle");
    qsort(stats->types, stats->type_count, sizeof(*stats->types), stats_compare);
    return NULL;
}

/* ----------------------------------------------------------------- request */

static struct error *stats_frame(void *context, const struct wire_frame *frame)
{
    struct stats *stats = context;

    if (frame->kind != WIRE_OUTPUT)
        return exception_frame(&stats->exception, frame);
    if ((size_t)ftell(stats->stream) + frame->size > STATS_TEXT_MAX)
        return error_create(ERROR_PROTOCOL, NULL, "the target's statistics don't end");
    if (fwrite(frame->payload, 1, frame->size, stats->stream) != frame->size)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the statistics");
    return NULL;
}

static struct error *stats_explain_end(struct stats *stats, const struct session_outcome *outcome)
{
    exception_finish(&stats->exception);
    if (outcome->raised)
        return error_create(ERROR_SCRIPT, "its collector may be replaced or patched; safepoint exec shows more",
                            "counting raised %s: %s in the target", stats->exception.type, stats->exception.message);
    if (outcome->exited)
        return error_create(ERROR_SCRIPT, NULL, "counting ended by SystemExit in the target");
    return NULL;
}

static struct error *stats_ask(struct stats *stats, struct session *session, const struct cli_options *options,
                               struct session_outcome *outcome)
{
    const struct session_script script = {.mode = SESSION_SCRIPT, .name = STATS_NAME, .code = agent_stats_source,
                                          .size = strlen(agent_stats_source), .argv0 = STATS_NAME};
    const struct session_events events = {stats, stats_frame};

    exception_init(&stats->exception, STATS_NAME, script.code, script.size);
    stats->stream = open_memstream(&stats->text, &stats->text_size);
    if (!stats->stream)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the statistics");
    struct error *error = session_run(session, options, &script, &events, outcome);
    if (fflush(stats->stream) != 0 && !error)
        error = error_create(ERROR_SYSTEM, NULL, "out of memory for the statistics");
    if (!error)
        error = stats_explain_end(stats, outcome);
    return error ? error : stats_parse(stats);
}

static void stats_deinit(struct stats *stats)
{
    exception_deinit(&stats->exception);
    if (stats->stream)
        fclose(stats->stream);
    free(stats->text);
    free(stats->types);
}

/* -------------------------------------------------------------------- text */

static void stats_print_number(const char *name, const struct stats *stats, enum stats_number number, const char *more)
{
    char text[32];

    if (stats->known[number])
        fprintf(cli_output, "%-18s%s%s\n", name, cli_format_count(text, sizeof(text), stats->numbers[number]), more);
}

static void stats_print_summary(const struct stats *stats, const struct session *session)
{
    const struct stats_type *total = &stats->total;
    char count[32], bytes[32], refs[32];

    fprintf(cli_output, "process %d: CPython %s\n", session->process.pid, session->runtime.version);
    fprintf(cli_output, "%-18s%s, %s, %s references to them", "tracked objects",
            cli_format_count(count, sizeof(count), total->count), cli_format_size(bytes, sizeof(bytes), total->bytes),
            cli_format_count(refs, sizeof(refs), total->refs));
    if (total->immortal)
        fprintf(cli_output, "; %s immortal", cli_format_count(count, sizeof(count), total->immortal));
    if (total->unsized)
        fprintf(cli_output, "; %s without a size", cli_format_count(count, sizeof(count), total->unsized));
    putc('\n', cli_output);
    fprintf(cli_output, "%-18s%zu\n", "types", stats->type_count);
    stats_print_number("allocated blocks", stats, STATS_BLOCKS, "");
    stats_print_number("interned strings", stats, STATS_INTERNED, "");
    stats_print_number("total refcount", stats, STATS_TOTAL_REFCOUNT, "");
    stats_print_number("modules", stats, STATS_MODULES, "");
    stats_print_number("threads", stats, STATS_THREADS, "");
    fprintf(cli_output, "%-18s%s", "collector",
            !stats->known[STATS_ENABLED] ? "?" : stats->numbers[STATS_ENABLED] ? "enabled" : "disabled");
    if (stats->known[STATS_DEBUG] && stats->numbers[STATS_DEBUG])
        fprintf(cli_output, ", debug flags 0x%" PRIx64, stats->numbers[STATS_DEBUG]);
    putc('\n', cli_output);
    stats_print_number("gc.garbage", stats, STATS_GARBAGE, "");
    stats_print_number("frozen", stats, STATS_FROZEN, "");
}

static void stats_number_or_dash(struct table *table, int64_t value)
{
    if (value < 0)
        table_cell(table, "-");
    else
        table_count(table, (uint64_t)value);
}

static struct error *stats_print_generations(const struct stats *stats, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"GENERATION", TABLE_RIGHT}, {"COUNT", TABLE_RIGHT}, {"THRESHOLD", TABLE_RIGHT}, {"COLLECTIONS", TABLE_RIGHT},
        {"COLLECTED", TABLE_RIGHT}, {"UNCOLLECTABLE", TABLE_RIGHT}, {NULL, 0},
    };
    struct table *table = table_create(options, columns);

    putc('\n', cli_output);
    for (size_t i = 0; i < stats->generation_count; i++) {
        const struct stats_generation *generation = &stats->generations[i];

        table_begin_row(table);
        table_format(table, "%zu", i);
        stats_number_or_dash(table, generation->count);
        stats_number_or_dash(table, generation->threshold);
        table_count(table, generation->collections);
        table_count(table, generation->collected);
        table_count(table, generation->uncollectable);
    }
    struct error *error = stats->generation_count ? table_print(table) : NULL;
    table_destroy(table);
    return error;
}

static void stats_format_bucket(char *text, size_t room, unsigned bucket)
{
    uint64_t low = bucket ? (UINT64_C(1) << (bucket - 1)) + 1 : 1, high = UINT64_C(1) << bucket;

    if (low == high)
        snprintf(text, room, "%" PRIu64, low);
    else
        snprintf(text, room, "%" PRIu64 "-%" PRIu64, low, high);
}

static struct error *stats_print_refcounts(const struct stats *stats, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"REFCOUNT", TABLE_RIGHT}, {"OBJECTS", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {NULL, 0},
    };
    struct table *table = table_create(options, columns);
    char text[48];

    putc('\n', cli_output);
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        if (!stats->buckets[i])
            continue;
        stats_format_bucket(text, sizeof(text), i);
        table_begin_row(table);
        table_cell(table, text);
        table_count(table, stats->buckets[i]);
        table_format(table, "%.1f%%", 100.0 * (double)stats->buckets[i] / (double)stats->total.count);
    }
    struct error *error = table_print(table);
    table_destroy(table);
    return error;
}

static void stats_print_type(struct table *table, const struct stats *stats, const struct stats_type *type)
{
    uint64_t mortal = type->count - type->immortal;

    table_begin_row(table);
    table_count(table, type->count);
    table_size(table, type->bytes);
    table_format(table, "%.1f%%", stats->total.bytes ? 100.0 * (double)type->bytes / (double)stats->total.bytes : 0.0);
    table_count(table, type->refs);
    if (mortal)
        table_format(table, "%.1f", (double)type->refs / (double)mortal);
    else
        table_cell(table, "-");
    if (type->immortal)
        table_count(table, type->immortal);
    else
        table_cell(table, "-");
    table_cell(table, type->name);
}

static struct error *stats_print_types(const struct stats *stats, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"COUNT", TABLE_RIGHT}, {"BYTES", TABLE_RIGHT}, {"SHARE", TABLE_RIGHT}, {"REFS", TABLE_RIGHT},
        {"MEAN-REFS", TABLE_RIGHT}, {"IMMORTAL", TABLE_RIGHT}, {"TYPE", TABLE_CUT}, {NULL, 0},
    };
    struct table *table = table_create(options, columns);
    size_t shown = options->verbose || stats->type_count < STATS_TYPES_SHOWN ? stats->type_count : STATS_TYPES_SHOWN;

    putc('\n', cli_output);
    for (size_t i = 0; i < shown; i++)
        stats_print_type(table, stats, &stats->types[i]);
    struct error *error = shown ? table_print(table) : NULL;
    table_destroy(table);
    if (!error && shown < stats->type_count)
        cli_note(options, "%zu more types: -v, or --json", stats->type_count - shown);
    return error;
}

static struct error *stats_print(const struct stats *stats, const struct session *session,
                                 const struct cli_options *options, const struct session_outcome *outcome)
{
    struct error *error;

    stats_print_summary(stats, session);
    if ((error = stats_print_types(stats, options)) || (error = stats_print_refcounts(stats, options)) ||
        (error = stats_print_generations(stats, options)))
        return error;
    fflush(cli_output);
    cli_note(options, "thread %d, answered after %.2f ms, pause %.0f us", outcome->thread,
             (double)outcome->waited_ns / 1e6, (double)outcome->pause_ns / 1e3);
    return NULL;
}

/* -------------------------------------------------------------------- JSON */

static void stats_json_bucket(void *context, unsigned bucket, uint64_t count)
{
    struct json *json = context;

    json_begin_object(json, NULL);
    json_unsigned(json, "up_to", UINT64_C(1) << bucket);
    json_unsigned(json, "objects", count);
    json_end_object(json);
}

static void stats_json_type(struct json *json, const struct stats_type *type)
{
    json_begin_object(json, NULL);
    json_string(json, "type", type->name);
    json_unsigned(json, "count", type->count);
    json_unsigned(json, "bytes", type->bytes);
    json_unsigned(json, "refs", type->refs);
    json_unsigned(json, "immortal", type->immortal);
    json_unsigned(json, "unsized", type->unsized);
    json_begin_array(json, "refcounts");
    stats_walk_buckets(type->buckets, stats_json_bucket, json);
    json_end_array(json);
    json_end_object(json);
}

static void stats_json_number(struct json *json, const char *name, int64_t value)
{
    if (value < 0)
        json_null(json, name);
    else
        json_integer(json, name, value);
}

static void stats_json_known(struct json *json, const struct stats *stats, enum stats_number number)
{
    if (stats->known[number])
        json_unsigned(json, stats_number_names[number], stats->numbers[number]);
    else
        json_null(json, stats_number_names[number]);
}

static void stats_json_gc(struct json *json, const struct stats *stats)
{
    json_begin_object(json, "gc");
    json_boolean(json, "enabled", stats->numbers[STATS_ENABLED] != 0);
    stats_json_known(json, stats, STATS_DEBUG);
    stats_json_known(json, stats, STATS_GARBAGE);
    stats_json_known(json, stats, STATS_FROZEN);
    json_begin_array(json, "generations");
    for (size_t i = 0; i < stats->generation_count; i++) {
        const struct stats_generation *generation = &stats->generations[i];

        json_begin_object(json, NULL);
        stats_json_number(json, "threshold", generation->threshold);
        stats_json_number(json, "count", generation->count);
        json_unsigned(json, "collections", generation->collections);
        json_unsigned(json, "collected", generation->collected);
        json_unsigned(json, "uncollectable", generation->uncollectable);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static void stats_print_json(const struct stats *stats, struct json *json, const struct session_outcome *outcome)
{
    json_decimal(json, "pause_us", (double)outcome->pause_ns / 1000);
    json_begin_object(json, "result");
    json_unsigned(json, "objects", stats->total.count);
    json_unsigned(json, "bytes", stats->total.bytes);
    json_unsigned(json, "refs", stats->total.refs);
    json_unsigned(json, "immortal", stats->total.immortal);
    json_unsigned(json, "unsized", stats->total.unsized);
    stats_json_known(json, stats, STATS_BLOCKS);
    stats_json_known(json, stats, STATS_INTERNED);
    stats_json_known(json, stats, STATS_TOTAL_REFCOUNT);
    stats_json_known(json, stats, STATS_MODULES);
    stats_json_known(json, stats, STATS_THREADS);
    json_begin_array(json, "refcounts");
    for (unsigned i = 0; i < STATS_BUCKETS; i++) {
        if (stats->buckets[i])
            stats_json_bucket(json, i, stats->buckets[i]);
    }
    json_end_array(json);
    stats_json_gc(json, stats);
    json_begin_array(json, "types");
    for (size_t i = 0; i < stats->type_count; i++)
        stats_json_type(json, &stats->types[i]);
    json_end_array(json);
    json_end_object(json);
}

/* --------------------------------------------------------------------- run */

static struct error *stats_run(const struct cli_options *options, struct json *json)
{
    struct session session;
    struct session_outcome outcome = {0};
    struct stats stats = {0};
    pid_t pid;
    struct error *error = cli_parse_pid(options->words[0], &pid);

    if (error || (error = session_open(&session, pid)))
        return error;
    error = stats_ask(&stats, &session, options, &outcome);
    if (options->json) {
        session_json_target(json, &session);
        if (!error)
            stats_print_json(&stats, json, &outcome);
    } else if (!error) {
        error = stats_print(&stats, &session, options, &outcome);
    }
    stats_deinit(&stats);
    session_close(&session);
    return error;
}

const struct cli_command cli_command_stats = {
    .name = "stats",
    .synopsis = "PID",
    .summary = "heap, refcount and collector statistics, by the target itself",
    .description =
        "What the garbage collector tracks, by type: COUNT, BYTES (as sys.getsizeof; a __sizeof__\n"
        "written in Python is not run), REFS (the sum of their refcounts, without immortals). What the\n"
        "counting itself adds is taken off. The 30 largest types; all with -v or --json.",
    .example = "safepoint stats 4711",
    .runs_code = true,
    .takes = CLI_TAKES_REQUEST | CLI_TAKES_THREAD | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = stats_run,
};
