/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Options: each a row of one table, with what it does with its value. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/help.h"

struct option_row {
    const char *name; /* --name; of a letter alone NULL */
    char letter;      /* or 0 */
    bool has_value;
    int takes; /* its group; 0: every command takes it */
    struct error *(*take)(struct cli_options *options, const struct option_row *row, const char *value);
    size_t offset;            /* of what it fills in */
    const char *const *words; /* of one with a choice, ended by NULL: the first is `least` */
    int least;
};

/* ------------------------------------------------------------------- values */

static char *option_field(struct cli_options *options, const struct option_row *row)
{
    return (char *)options + row->offset;
}

static struct error *option_flag(struct cli_options *options, const struct option_row *row, const char *value)
{
    const bool on = true;

    (void)value;
    memcpy(option_field(options, row), &on, sizeof(on));
    return NULL;
}

static struct error *option_text(struct cli_options *options, const struct option_row *row, const char *value)
{
    memcpy(option_field(options, row), &value, sizeof(value));
    return NULL;
}

/* One of a few words, into an enum. */
static struct error *option_choice(struct cli_options *options, const struct option_row *row, const char *value)
{
    for (int i = 0; row->words[i]; i++) {
        const int choice = i + row->least;
        if (strcmp(value, row->words[i]) != 0)
            continue;
        memcpy(option_field(options, row), &choice, sizeof(choice));
        return NULL;
    }
    return error_create(ERROR_USAGE, "see: safepoint --help", "--%s %s: not one of its words", row->name, value);
}

static bool option_number(const char *value, int64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoll(value, &end, 10);
    return value[0] && value[strspn(value, "0123456789")] == '\0' && !*end && !errno;
}

static struct error *option_count(struct cli_options *options, const struct option_row *row, const char *value)
{
    int64_t number;

    if (!option_number(value, &number) || number < 1)
        return error_create(ERROR_USAGE, NULL, "%s%s %s is no number %s", row->name ? "--" : "-", row->name ? row->name : "n",
                            value, row->name ? "of steps" : "of rows");
    const size_t count = (size_t)number;
    memcpy(option_field(options, row), &count, sizeof(count));
    return NULL;
}

static struct error *option_size(struct cli_options *options, const struct option_row *row, const char *value)
{
    uint64_t bytes;

    if (!cli_parse_size(value, &bytes))
        return error_create(ERROR_USAGE, "4096, 64K, 10M, 2G", "--%s %s is no size", row->name, value);
    memcpy(option_field(options, row), &bytes, sizeof(bytes));
    return NULL;
}

static struct error *option_time(struct cli_options *options, const struct option_row *row, const char *value)
{
    int64_t milliseconds;

    if (!cli_parse_duration(value, &milliseconds))
        return error_create(ERROR_USAGE, "500ms, 10s, 5m", "--%s %s is no duration", row->name, value);
    memcpy(option_field(options, row), &milliseconds, sizeof(milliseconds));
    return NULL;
}

static struct error *option_period(struct cli_options *options, const struct option_row *row, const char *value)
{
    int64_t milliseconds;

    if (cli_parse_duration(value, &milliseconds) && milliseconds == 0)
        return error_create(ERROR_USAGE, "500ms, 10s, 5m", "--%s %s is no duration", row->name, value);
    return option_time(options, row, value);
}

/* ------------------------------------------------- those with a rule of their own */

static struct error *option_thread(struct cli_options *options, const struct option_row *row, const char *value)
{
    int64_t tid = 0;

    (void)row;
    options->stack.one = true;
    options->fresh = !strcmp(value, "new");
    if (!strcmp(value, "main"))
        options->choice.kind = INJECT_THREAD_MAIN;
    else if (options->fresh || !strcmp(value, "any"))
        options->choice.kind = INJECT_THREAD_ANY;
    else
        options->choice.kind = INJECT_THREAD_ID;
    if (options->choice.kind != INJECT_THREAD_ID || (option_number(value, &tid) && tid > 0 && tid <= INT_MAX)) {
        options->choice.tid = (pid_t)tid;
        return NULL;
    }
    return error_create(ERROR_USAGE, "--thread main, any, new, or a thread's id as `safepoint info PID` lists them",
                        "--thread %s is no thread", value);
}

static struct error *option_interp(struct cli_options *options, const struct option_row *row, const char *value)
{
    (void)row;
    if (option_number(value, &options->choice.interpreter))
        return NULL;
    return error_create(ERROR_USAGE, "safepoint info PID lists the interpreters", "--interp %s is no interpreter's id",
                        value);
}

static struct error *option_no_wake(struct cli_options *options, const struct option_row *row, const char *value)
{
    (void)row, (void)value;
    options->wake = INJECT_WAKE_NEVER;
    return NULL;
}

static struct error *option_by(struct cli_options *options, const struct option_row *row, const char *value)
{
    options->heap.by_said = true;
    return option_choice(options, row, value);
}

static struct error *option_version(struct cli_options *options, const struct option_row *row, const char *value)
{
    (void)options, (void)row, (void)value;
    help_print_version();
    exit(0);
}

/* -------------------------------------------------------------------- table */

static const char *const option_bys[] = {"type", "module", "size", "generation", "root", NULL};
static const char *const option_sorts[] = {"bytes", "count", "refs", "name", NULL};
static const char *const option_formats[] = {"heapsnapshot", "jsonl", "dot", NULL};
static const char *const option_channels[] = {"auto", "passed", "directory", NULL};
static const char *const option_wakes[] = {"auto", "never", "force", NULL};
static const char *const option_colors[] = {"auto", "always", "never", NULL};
/* Choices are filled in as ints. */
_Static_assert(sizeof(enum cli_heap_by) == sizeof(int) && sizeof(enum inject_wake_mode) == sizeof(int) &&
                   sizeof(enum cli_color) == sizeof(int) && sizeof(enum cli_channel) == sizeof(int) &&
                   sizeof(enum cli_format) == sizeof(int) && sizeof(enum cli_heap_sort) == sizeof(int),
               "an enum is as large as an int");

#define AT(member) offsetof(struct cli_options, member)
static const struct option_row option_rows[] = {
    {"thread", 0, true, CLI_TAKES_THREAD, option_thread, 0, NULL, 0},
    {"interp", 0, true, CLI_TAKES_REQUEST, option_interp, 0, NULL, 0},
    {"channel", 0, true, CLI_TAKES_REQUEST, option_choice, AT(channel), option_channels, 0},
    {NULL, 'c', true, CLI_TAKES_CODE, option_text, AT(code), NULL, 0},
    {NULL, 'e', true, CLI_TAKES_CODE, option_text, AT(expression), NULL, 0},
    {"timeout", 0, true, CLI_TAKES_WAIT, option_time, AT(timeout_ms), NULL, 0},
    {"no-wake", 0, false, CLI_TAKES_WAIT, option_no_wake, 0, NULL, 0},
    {"wake", 0, true, CLI_TAKES_WAIT, option_choice, AT(wake), option_wakes, 0},
    {"by", 0, true, CLI_TAKES_HEAP, option_by, AT(heap.by), option_bys, 0},
    {"sort", 0, true, CLI_TAKES_HEAP, option_choice, AT(heap.sort), option_sorts, 0},
    {"min", 0, true, CLI_TAKES_HEAP, option_size, AT(heap.min), NULL, 0},
    {"match", 0, true, CLI_TAKES_HEAP, option_text, AT(heap.match), NULL, 0},
    {NULL, 'n', true, CLI_TAKES_ROWS, option_count, AT(heap.limit), NULL, 0},
    {"no-pause", 0, false, CLI_TAKES_FREEZE, option_flag, AT(freeze.no_pause), NULL, 0},
    {"no-fork", 0, false, CLI_TAKES_FREEZE, option_flag, AT(freeze.no_fork), NULL, 0},
    {"max-memory", 0, true, CLI_TAKES_FREEZE, option_size, AT(freeze.max_memory), NULL, 0},
    {"values", 0, false, CLI_TAKES_VALUES, option_flag, AT(values), NULL, 0},
    {"trim", 0, false, CLI_TAKES_TRIM, option_flag, AT(trim), NULL, 0},
    {"in", 0, false, CLI_TAKES_SIDES, option_flag, AT(sides.in), NULL, 0},
    {"out", 0, false, CLI_TAKES_SIDES, option_flag, AT(sides.out), NULL, 0},
    {"depth", 0, true, CLI_TAKES_DEPTH, option_count, AT(depth), NULL, 0},
    {"refs", 0, false, CLI_TAKES_LEAKS, option_flag, AT(leaks.refs), NULL, 0},
    {"cycles", 0, false, CLI_TAKES_LEAKS, option_flag, AT(leaks.cycles), NULL, 0},
    {"exit-code", 0, false, CLI_TAKES_LEAKS, option_flag, AT(leaks.exit_code), NULL, 0},
    {"for", 0, true, CLI_TAKES_FOR, option_period, AT(period.for_ms), NULL, 0},
    {"every", 0, true, CLI_TAKES_EVERY, option_period, AT(period.every_ms), NULL, 0},
    {"format", 0, true, CLI_TAKES_EXPORT, option_choice, AT(export.format), option_formats, CLI_FORMAT_HEAPSNAPSHOT},
    {"of", 0, true, CLI_TAKES_EXPORT, option_text, AT(export.of), NULL, 0},
    {"locals", 0, false, CLI_TAKES_STACK, option_flag, AT(stack.locals), NULL, 0},
    {"native", 0, false, CLI_TAKES_STACK, option_flag, AT(stack.native), NULL, 0},
    {"stop", 0, false, CLI_TAKES_STOP, option_flag, AT(stack.hold), NULL, 0},
    {"group", 0, false, CLI_TAKES_TASKS, option_flag, AT(tasks.group), NULL, 0},
    {"all", 0, false, CLI_TAKES_TASKS, option_flag, AT(tasks.all), NULL, 0},
    {"exe", 0, true, CLI_TAKES_CORE, option_text, AT(core.program), NULL, 0},
    {"root", 0, true, CLI_TAKES_CORE, option_text, AT(core.root), NULL, 0},
    {"debuginfod", 0, false, 0, option_flag, AT(debuginfod), NULL, 0},
    {"json", 0, false, 0, option_flag, AT(json), NULL, 0},
    {"output", 'o', true, 0, option_text, AT(output_path), NULL, 0},
    {"color", 0, true, 0, option_choice, AT(color), option_colors, 0},
    {"quiet", 'q', false, 0, option_flag, AT(quiet), NULL, 0},
    {"verbose", 'v', false, 0, option_flag, AT(verbose), NULL, 0},
    {"help", 0, false, 0, option_flag, AT(help), NULL, 0},
    {"version", 0, false, 0, option_version, 0, NULL, 0},
};
#define OPTION_COUNT (sizeof(option_rows) / sizeof(option_rows[0]))
#define OPTION_FIRST 256 /* what getopt_long() returns for the first row; letters are below */

const char *cli_option_name(size_t i)
{
    return i < OPTION_COUNT ? option_rows[i].name ? option_rows[i].name : "" : NULL;
}

/* ------------------------------------------------------------------ parsing */

static const struct option_row *option_find(int found)
{
    if (found >= OPTION_FIRST)
        return &option_rows[found - OPTION_FIRST];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (option_rows[i].letter && option_rows[i].letter == found)
            return &option_rows[i];
    }
    return NULL;
}

/* What getopt_long() wants to know: the rows with a name, the letters. */
static void option_describe(struct option *names, char *letters)
{
    *letters++ = ':';
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (row->name)
            *names++ = (struct option){row->name, row->has_value ? required_argument : no_argument, NULL, OPTION_FIRST + (int)i};
        if (row->letter)
            *letters++ = row->letter;
        if (row->letter && row->has_value)
            *letters++ = ':';
    }
    *names = (struct option){NULL, 0, NULL, 0};
    *letters = '\0';
}

struct error *cli_parse_options(struct cli_options *options, int argc, char **argv, int *taken)
{
    struct option names[OPTION_COUNT + 1];
    char letters[2 * OPTION_COUNT + 2];
    int found;

    *taken = 0;
    opterr = 0;
    option_describe(names, letters);
    while ((found = getopt_long(argc, argv, letters, names, NULL)) != -1) {
        const struct option_row *row = option_find(found);
        if (!row)
            return error_create(ERROR_USAGE, "see: safepoint --help",
                                "an option that safepoint doesn't know, or without its value: %s", argv[optind - 1]);
        *taken |= row->takes;
        struct error *error = row->take(options, row, optarg);
        if (error)
            return error;
    }
    options->words = argv + optind;
    options->count = argc - optind;
    return NULL;
}


const char *cli_group_names(int group)
{
    for (const struct cli_group *each = cli_groups; each->takes; each++) {
        if (group & each->takes)
            return each->names;
    }
    return "";
}
