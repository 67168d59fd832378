/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Arguments, dispatch, the envelope of --json, and the exit status. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "attach/debug_info.h"
#include "cli/cli.h"
#include "cli/help.h"

#define MAIN_TIMEOUT_MS 10000
#define MAIN_FOUND      1 /* the exit status of a finding */

enum {
    OPTION_THREAD = 256,
    OPTION_INTERP,
    OPTION_TIMEOUT,
    OPTION_NO_WAKE,
    OPTION_WAKE,
    OPTION_CHANNEL,
    OPTION_JSON,
    OPTION_COLOR,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_BY,
    OPTION_SORT,
    OPTION_MIN,
    OPTION_MATCH,
    OPTION_MAX_MEMORY,
    OPTION_NO_PAUSE,
    OPTION_NO_FORK,
    OPTION_VALUES,
    OPTION_TRIM,
    OPTION_IN,
    OPTION_OUT,
    OPTION_DEPTH,
    OPTION_LOCALS,
    OPTION_NATIVE,
    OPTION_STOP,
    OPTION_REFS,
    OPTION_CYCLES,
    OPTION_EXIT_CODE,
    OPTION_FOR,
    OPTION_EVERY,
    OPTION_FORMAT,
    OPTION_OF,
    OPTION_GROUP,
    OPTION_ALL,
};

enum { OPTION_EXE = 500, OPTION_ROOT, OPTION_DEBUGINFOD };

static const struct option main_options[] = {
    {"exe", required_argument, NULL, OPTION_EXE},
    {"root", required_argument, NULL, OPTION_ROOT},
    {"debuginfod", no_argument, NULL, OPTION_DEBUGINFOD},
    {"thread", required_argument, NULL, OPTION_THREAD},
    {"interp", required_argument, NULL, OPTION_INTERP},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"no-wake", no_argument, NULL, OPTION_NO_WAKE},
    {"wake", required_argument, NULL, OPTION_WAKE},
    {"channel", required_argument, NULL, OPTION_CHANNEL},
    {"by", required_argument, NULL, OPTION_BY},
    {"sort", required_argument, NULL, OPTION_SORT},
    {"min", required_argument, NULL, OPTION_MIN},
    {"match", required_argument, NULL, OPTION_MATCH},
    {"max-memory", required_argument, NULL, OPTION_MAX_MEMORY},
    {"no-pause", no_argument, NULL, OPTION_NO_PAUSE},
    {"no-fork", no_argument, NULL, OPTION_NO_FORK},
    {"values", no_argument, NULL, OPTION_VALUES},
    {"trim", no_argument, NULL, OPTION_TRIM},
    {"in", no_argument, NULL, OPTION_IN},
    {"out", no_argument, NULL, OPTION_OUT},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"locals", no_argument, NULL, OPTION_LOCALS},
    {"native", no_argument, NULL, OPTION_NATIVE},
    {"stop", no_argument, NULL, OPTION_STOP},
    {"refs", no_argument, NULL, OPTION_REFS},
    {"cycles", no_argument, NULL, OPTION_CYCLES},
    {"exit-code", no_argument, NULL, OPTION_EXIT_CODE},
    {"for", required_argument, NULL, OPTION_FOR},
    {"every", required_argument, NULL, OPTION_EVERY},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"of", required_argument, NULL, OPTION_OF},
    {"group", no_argument, NULL, OPTION_GROUP},
    {"all", no_argument, NULL, OPTION_ALL},
    {"json", no_argument, NULL, OPTION_JSON},
    {"color", required_argument, NULL, OPTION_COLOR},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"output", required_argument, NULL, 'o'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

const char *cli_option_name(size_t i)
{
    return i < sizeof(main_options) / sizeof(main_options[0]) ? main_options[i].name : NULL;
}

/* --option WORD of a few words: its index, or -1. */
static int main_choose(const char *word, const char *const *choices)
{
    for (int i = 0; choices[i]; i++) {
        if (!strcmp(word, choices[i]))
            return i;
    }
    return -1;
}

static struct error *main_choice(const char *option, const char *word, const char *const *choices, int *choice)
{
    *choice = main_choose(word, choices);
    if (*choice < 0)
        return error_create(ERROR_USAGE, "see: safepoint --help", "--%s %s: not one of its words", option, word);
    return NULL;
}

/* A number: of a process (as the first word: `info`) or of a thread. */
static bool main_is_target(const char *word)
{
    return word[0] && word[strspn(word, "0123456789")] == '\0';
}

static bool main_take_number(const char *value, int64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoll(value, &end, 10);
    return main_is_target(value) && !*end && !errno;
}

static struct error *main_take_size(const char *option, const char *value, uint64_t *bytes)
{
    if (cli_parse_size(value, bytes))
        return NULL;
    return error_create(ERROR_USAGE, "4096, 64K, 10M, 2G", "--%s %s is no size", option, value);
}

/* The options of heap. */
static struct error *main_take_heap_option(struct cli_options *options, int option, const char *value)
{
    static const char *const by[] = {"type", "module", "size", "generation", "root", NULL};
    static const char *const sorts[] = {"bytes", "count", "refs", "name", NULL};
    struct error *error;
    int64_t number;
    int choice;

    switch (option) {
    case OPTION_BY:
        options->heap.by_said = true;
        if (!(error = main_choice("by", value, by, &choice)))
            options->heap.by = (enum cli_heap_by)choice;
        return error;
    case OPTION_SORT:
        if (!(error = main_choice("sort", value, sorts, &choice)))
            options->heap.sort = (enum cli_heap_sort)choice;
        return error;
    case OPTION_MIN:
        return main_take_size("min", value, &options->heap.min);
    case OPTION_MATCH:
        options->heap.match = value;
        return NULL;
    default: /* -n */
        if (main_take_number(value, &number) && number > 0) {
            options->heap.limit = (size_t)number;
            return NULL;
        }
        return error_create(ERROR_USAGE, NULL, "-n %s is no number of rows", value);
    }
}

static struct error *main_take_depth(struct cli_options *options, const char *value)
{
    int64_t number;

    if (!main_take_number(value, &number) || number < 1)
        return error_create(ERROR_USAGE, NULL, "--depth %s is no number of steps", value);
    options->depth = (size_t)number;
    return NULL;
}

/* Those of commands that read the memory of a process. */
static struct error *main_take_freeze_option(struct cli_options *options, int option, const char *value)
{
    if (option == OPTION_MAX_MEMORY)
        return main_take_size("max-memory", value, &options->freeze.max_memory);
    *(option == OPTION_NO_FORK ? &options->freeze.no_fork : &options->freeze.no_pause) = true;
    return NULL;
}

static bool *main_leaks_flag(struct cli_options *options, int option)
{
    return option == OPTION_REFS     ? &options->leaks.refs
           : option == OPTION_CYCLES ? &options->leaks.cycles
                                     : &options->leaks.exit_code;
}

static struct error *main_take_duration(const char *option, const char *value, int64_t *milliseconds)
{
    if (cli_parse_duration(value, milliseconds) && *milliseconds > 0)
        return NULL;
    return error_create(ERROR_USAGE, "500ms, 10s, 5m", "--%s %s is no duration", option, value);
}

/* The options of export. */
static struct error *main_take_export_option(struct cli_options *options, int option, const char *value)
{
    static const char *const formats[] = {"heapsnapshot", "jsonl", "dot", NULL};
    struct error *error;
    int choice;

    if (option == OPTION_OF) {
        options->export.of = value;
        return NULL;
    }
    if (!(error = main_choice("format", value, formats, &choice)))
        options->export.format = (enum cli_format)(choice + CLI_FORMAT_HEAPSNAPSHOT);
    return error;
}

static struct error *main_take_thread(struct cli_options *options, const char *value)
{
    int64_t tid = 0;

    options->fresh = !strcmp(value, "new");
    if (!strcmp(value, "main"))
        options->choice.kind = INJECT_THREAD_MAIN;
    else if (options->fresh || !strcmp(value, "any"))
        options->choice.kind = INJECT_THREAD_ANY;
    else
        options->choice.kind = INJECT_THREAD_ID;
    if (options->choice.kind != INJECT_THREAD_ID || (main_take_number(value, &tid) && tid > 0 && tid <= INT_MAX)) {
        options->choice.tid = (pid_t)tid;
        return NULL;
    }
    return error_create(ERROR_USAGE, "--thread main, any, new, or a thread's id as `safepoint info PID` lists them",
                        "--thread %s is no thread", value);
}

/* Those of stack. */
static void main_take_stack_option(struct cli_options *options, int option)
{
    options->stack.locals |= option == OPTION_LOCALS;
    options->stack.native |= option == OPTION_NATIVE;
    options->stack.hold |= option == OPTION_STOP;
}

static struct error *main_take_option(struct cli_options *options, int option, const char *value, int *seen)
{
    static const char *const channels[] = {"auto", "passed", "directory", NULL};
    static const char *const wakes[] = {"auto", "never", "force", NULL};
    static const char *const colors[] = {"auto", "always", "never", NULL};
    struct error *error = NULL;
    int choice;

    switch (option) {
    case OPTION_THREAD:
        *seen |= CLI_TAKES_THREAD;
        options->stack.one = true;
        return main_take_thread(options, value);
    case OPTION_INTERP:
        *seen |= CLI_TAKES_REQUEST;
        if (main_take_number(value, &options->choice.interpreter))
            return NULL;
        return error_create(ERROR_USAGE, "safepoint info PID lists the interpreters",
                            "--interp %s is no interpreter's id", value);
    case OPTION_TIMEOUT:
        *seen |= CLI_TAKES_WAIT;
        if (cli_parse_duration(value, &options->timeout_ms))
            return NULL;
        return error_create(ERROR_USAGE, "500ms, 10s, 5m", "--timeout %s is no duration", value);
    case OPTION_NO_WAKE:
        *seen |= CLI_TAKES_WAIT;
        options->wake = INJECT_WAKE_NEVER;
        return NULL;
    case OPTION_WAKE:
        *seen |= CLI_TAKES_WAIT;
        if (!(error = main_choice("wake", value, wakes, &choice)))
            options->wake = (enum inject_wake_mode)choice;
        return error;
    case OPTION_CHANNEL:
        *seen |= CLI_TAKES_REQUEST;
        if (!(error = main_choice("channel", value, channels, &choice)))
            options->channel = (enum cli_channel)choice;
        return error;
    case OPTION_BY:
    case OPTION_SORT:
    case OPTION_MIN:
    case OPTION_MATCH:
        *seen |= CLI_TAKES_HEAP;
        return main_take_heap_option(options, option, value);
    case 'n':
        *seen |= CLI_TAKES_ROWS;
        return main_take_heap_option(options, option, value);
    case OPTION_REFS:
    case OPTION_CYCLES:
    case OPTION_EXIT_CODE:
        *seen |= CLI_TAKES_LEAKS;
        *main_leaks_flag(options, option) = true;
        return NULL;
    case OPTION_FOR:
        *seen |= CLI_TAKES_FOR;
        return main_take_duration("for", value, &options->period.for_ms);
    case OPTION_EVERY:
        *seen |= CLI_TAKES_EVERY;
        return main_take_duration("every", value, &options->period.every_ms);
    case OPTION_IN:
    case OPTION_OUT:
        *seen |= CLI_TAKES_SIDES;
        *(option == OPTION_IN ? &options->sides.in : &options->sides.out) = true;
        return NULL;
    case OPTION_DEPTH:
        *seen |= CLI_TAKES_DEPTH;
        return main_take_depth(options, value);
    case OPTION_MAX_MEMORY:
    case OPTION_NO_PAUSE:
    case OPTION_NO_FORK:
        *seen |= CLI_TAKES_FREEZE;
        return main_take_freeze_option(options, option, value);
    case OPTION_EXE:
    case OPTION_ROOT:
        *seen |= CLI_TAKES_CORE;
        *(option == OPTION_EXE ? &options->core.program : &options->core.root) = value;
        return NULL;
    case OPTION_DEBUGINFOD:
        options->debuginfod = true;
        return NULL;
    case OPTION_VALUES:
        *seen |= CLI_TAKES_VALUES;
        options->values = true;
        return NULL;
    case OPTION_TRIM:
        *seen |= CLI_TAKES_TRIM;
        options->trim = true;
        return NULL;
    case OPTION_GROUP:
    case OPTION_ALL:
        *seen |= CLI_TAKES_TASKS;
        *(option == OPTION_GROUP ? &options->tasks.group : &options->tasks.all) = true;
        return NULL;
    case OPTION_LOCALS:
    case OPTION_NATIVE:
    case OPTION_STOP:
        *seen |= option == OPTION_STOP ? CLI_TAKES_STOP : CLI_TAKES_STACK;
        main_take_stack_option(options, option);
        return NULL;
    case OPTION_FORMAT:
    case OPTION_OF:
        *seen |= CLI_TAKES_EXPORT;
        return main_take_export_option(options, option, value);
    case OPTION_COLOR:
        if (!(error = main_choice("color", value, colors, &choice)))
            options->color = (enum cli_color)choice;
        return error;
    case OPTION_JSON:
        options->json = true;
        return NULL;
    case OPTION_HELP:
        options->help = true;
        return NULL;
    case 'o':
        options->output_path = value;
        return NULL;
    case 'q':
        options->quiet = true;
        return NULL;
    case 'v':
        options->verbose = true;
        return NULL;
    case 'c':
        *seen |= CLI_TAKES_CODE;
        options->code = value;
        return NULL;
    case 'e':
        *seen |= CLI_TAKES_CODE;
        options->expression = value;
        return NULL;
    case OPTION_VERSION:
        help_print_version();
        exit(0);
    default:
        return error_create(ERROR_USAGE, "see: safepoint --help", "an option that safepoint doesn't know, or without "
                            "its value: %s", value ? value : "?");
    }
}

/* How many letters must be put in, left out or changed to make one word the other. */
static unsigned main_distance(const char *a, const char *b)
{
    unsigned row[32], length = (unsigned)strlen(b);

    if (length >= 32)
        return UINT_MAX;
    for (unsigned i = 0; i <= length; i++)
        row[i] = i;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= length; j++) {
            unsigned changed = diagonal + (a[i - 1] != b[j - 1]);
            unsigned moved = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

            diagonal = row[j];
            row[j] = changed < moved ? changed : moved;
        }
    }
    return row[length];
}

static struct error *main_unknown_command(const char *word)
{
    const struct cli_command *nearest = NULL;
    unsigned least = 3;
    struct error *error = error_create(ERROR_USAGE, "the commands: safepoint --help", "%s is no command of safepoint's",
                                       word);

    for (size_t i = 0; cli_commands[i]; i++) {
        unsigned distance = main_distance(word, cli_commands[i]->name);

        if (distance < least) {
            least = distance;
            nearest = cli_commands[i];
        }
    }
    return nearest ? error_with_hint(error, "did you mean %s? All commands: safepoint --help", nearest->name) : error;
}

/* `safepoint FILE`: a core or a snapshot. */
static bool main_is_file(const char *word)
{
    struct stat st;

    return stat(word, &st) == 0 && S_ISREG(st.st_mode);
}

static struct error *main_find_command(struct cli_options *options)
{
    if (options->count == 0) {
        options->command = &cli_command_help;
        return options->help ? NULL
                             : error_create(ERROR_USAGE, "safepoint --help; or the Python processes here: safepoint ps",
                                            "no command was given");
    }
    if (main_is_target(options->words[0])) {
        options->command = &cli_command_info;
        return NULL;
    }
    options->command = cli_find_command(options->words[0]);
    if (!options->command && main_is_file(options->words[0])) {
        options->command = &cli_command_info;
        return NULL;
    }
    if (!options->command)
        return main_unknown_command(options->words[0]);
    options->words++;
    options->count--;
    return NULL;
}

/* The options of a group, as one that doesn't take them says it. */
static const char *main_group_name(int group)
{
    for (const struct cli_group *each = cli_groups; each->takes; each++) {
        if (group & each->takes)
            return each->names;
    }
    return "";
}

int cli_takes(const struct cli_command *command)
{
    /* What trims, or looks again and again, needs the process. */
    bool live = command->takes & (CLI_TAKES_TRIM | CLI_TAKES_EVERY);

    return command->takes | (command->takes & CLI_TAKES_FREEZE && !live ? CLI_TAKES_CORE : 0);
}

/* What is for a core only, and what can't be asked of one. */
static struct error *main_check_core(const struct cli_options *options, int seen)
{
    bool takes = cli_takes(options->command) & CLI_TAKES_CORE, core = options->count && core_is_core(options->words[0]);

    if (core && !takes && options->command != &cli_command_help)
        return error_create(ERROR_USAGE, "a core answers: info, stack, tasks, locks, gc, and all that is asked of the heap",
                            "%s needs a live process, and %s is a core file", options->command->name, options->words[0]);
    if (core && options->stack.hold)
        return error_create(ERROR_USAGE, NULL, "%s is a core file: --stop is for a process", options->words[0]);
    if (seen & CLI_TAKES_CORE && !core)
        return error_create(ERROR_USAGE, NULL, "--exe and --root are for a core file, and %s is none",
                            options->count ? options->words[0] : "that");
    return NULL;
}

static struct error *main_check_words(const struct cli_options *options, int seen)
{
    const struct cli_command *command = options->command;
    struct error *error = NULL;

    if (options->help)
        return NULL;
    if (seen & ~cli_takes(command))
        error = error_create(ERROR_USAGE, NULL, "%s doesn't take %s", command->name,
                             main_group_name(seen & ~cli_takes(command)));
    else if (options->script_count && !(command->takes & CLI_TAKES_CODE))
        error = error_create(ERROR_USAGE, NULL, "%s takes nothing behind --", command->name);
    else if (options->count < command->words_min)
        error = error_create(ERROR_USAGE, NULL, "%s: a word is missing", command->name);
    else if (command->words_max >= 0 && options->count > command->words_max)
        error = error_create(ERROR_USAGE, NULL, "%s: a word too many: %s", command->name,
                             options->words[command->words_max]);
    return error_with_hint(error, "safepoint %s %s", command->name, command->synopsis);
}

static struct error *main_parse(struct cli_options *options, int argc, char **argv)
{
    int option, seen = 0, own = argc;

    for (int i = 1; i < argc && own == argc; i++) {
        if (!strcmp(argv[i], "--"))
            own = i;
    }
    options->script_words = argv + own + (own < argc);
    options->script_count = own < argc ? argc - own - 1 : 0;
    opterr = 0;
    while ((option = getopt_long(own, argv, ":c:e:n:o:qv", main_options, NULL)) != -1) {
        const char *value = option == '?' || option == ':' ? argv[optind - 1] : optarg;
        struct error *error = main_take_option(options, option, value, &seen);
        if (error)
            return error;
    }
    options->words = argv + optind;
    options->count = own - optind;
    struct error *error = main_find_command(options);
    if (!error)
        error = main_check_words(options, seen);
    return error || options->help ? error : main_check_core(options, seen);
}

/* ------------------------------------------------------------------ output */

static void main_json_begin(struct json *json, const struct cli_options *options)
{
    char host[256] = "", now[32];

    gethostname(host, sizeof(host) - 1);
    cli_format_time(now, sizeof(now));
    json_init(json, cli_output);
    json_begin_object(json, NULL);
    json_integer(json, "v", 1);
    json_string(json, "command", options->command ? options->command->name : NULL);
    json_string(json, "host", host);
    json_string(json, "time", now);
}

static void main_json_end(struct json *json, const struct error *error)
{
    json_boolean(json, "ok", !error);
    if (error) {
        json_begin_object(json, "error");
        json_string(json, "code", error_code_name(error_code(error)));
        json_string(json, "message", error_message(error));
        json_string(json, "hint", error_hint(error));
        json_end_object(json);
    }
    json_end_object(json);
    putc('\n', cli_output);
}

static struct error *main_open_output(const struct cli_options *options)
{
    cli_output = stdout;
    if (!options->output_path || (options->command->takes & CLI_MAKES_FILE && !options->help))
        return NULL;
    FILE *file = fopen(options->output_path, "we");
    if (!file)
        return error_create_errno(ERROR_USAGE, errno, "can't write %s", options->output_path);
    cli_output = file;
    return NULL;
}

static struct error *main_run(const struct cli_options *options, struct json *json)
{
    if (options->help) {
        help_print(options->command == &cli_command_help ? NULL : options->command);
        return NULL;
    }
    debug_info_configure(options->core.root, options->debuginfod);
    return options->command->run(options, json);
}

static bool main_script_spoke(const struct cli_options *options, const struct error *error)
{
    /* A traceback was shown already; a status wasn't. */
    return error_code(error) == ERROR_SCRIPT && !options->json && options->command != &cli_command_stats &&
           !strstr(error_message(error), "exited with status");
}

int main(int argc, char **argv)
{
    struct cli_options options = {.timeout_ms = MAIN_TIMEOUT_MS};
    struct json json;
    int status;

    setlocale(LC_ALL, "");
    cli_signals_init();
    cli_output = stdout;
    struct error *error = main_parse(&options, argc, argv);
    if (!error)
        error = main_open_output(&options);
    bool envelope = options.json && !options.help;
    if (envelope)
        main_json_begin(&json, &options);
    if (!error)
        error = main_run(&options, &json);
    if (envelope)
        main_json_end(&json, error);
    status = cli_finding ? MAIN_FOUND : 0;
    if (error) {
        status = error_exit_status(error_code(error));
        if (!main_script_spoke(&options, error) && !options.json)
            cli_print_error(&options, error);
        error_destroy(error);
    }
    if (fflush(cli_output) != 0 || (cli_output != stdout && fclose(cli_output) != 0))
        status = status ? status : 130;
    return status;
}
