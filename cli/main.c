/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Arguments, dispatch, the envelope of --json, and the exit status. */
#include <errno.h>
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

/* A number, of a process: as the first word it means `info`. */
static bool main_is_target(const char *word)
{
    return word[0] && word[strspn(word, "0123456789")] == '\0';
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

/* What is for a core only, and what can't be asked of one. */
static struct error *main_check_core(const struct cli_options *options, int taken)
{
    bool takes = cli_takes(options->command) & CLI_TAKES_CORE, core = options->count && core_is_core(options->words[0]);

    if (core && !takes && options->command != &cli_command_help)
        return error_create(ERROR_USAGE, "a core answers: info, stack, tasks, locks, gc, and all that is asked of the heap",
                            "%s needs a live process, and %s is a core file", options->command->name, options->words[0]);
    if (core && options->stack.hold)
        return error_create(ERROR_USAGE, NULL, "%s is a core file: --stop is for a process", options->words[0]);
    if (taken & CLI_TAKES_CORE && !core)
        return error_create(ERROR_USAGE, NULL, "--exe and --root are for a core file, and %s is none",
                            options->count ? options->words[0] : "that");
    return NULL;
}

static struct error *main_check_words(const struct cli_options *options, int taken)
{
    const struct cli_command *command = options->command;
    struct error *error = NULL;

    if (options->help)
        return NULL;
    if (taken & ~cli_takes(command))
        error = error_create(ERROR_USAGE, NULL, "%s doesn't take %s", command->name,
                             cli_group_names(taken & ~cli_takes(command)));
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
    int taken, own = argc;

    for (int i = 1; i < argc && own == argc; i++) {
        if (!strcmp(argv[i], "--"))
            own = i;
    }
    options->script_words = argv + own + (own < argc);
    options->script_count = own < argc ? argc - own - 1 : 0;
    struct error *error = cli_parse_options(options, own, argv, &taken);
    if (!error)
        error = main_find_command(options);
    if (!error)
        error = main_check_words(options, taken);
    return error || options->help ? error : main_check_core(options, taken);
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
