/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/help.h"

#include <string.h>

#define HELP_VERSION "0.1"

const struct cli_command *const cli_commands[] = {
    &cli_command_ps,
    &cli_command_info,
    &cli_command_doctor,
    &cli_command_exec,
    &cli_command_stats,
    &cli_command_stack,
    &cli_command_tasks,
    &cli_command_locks,
    &cli_command_gc,
    &cli_command_heap,
    &cli_command_why,
    &cli_command_refs,
    &cli_command_retained,
    &cli_command_leaks,
    &cli_command_mem,
    &cli_command_snapshot,
    &cli_command_diff,
    &cli_command_grow,
    &cli_command_export,
    &cli_command_console,
    &cli_command_help,
    NULL,
};

const struct cli_command *cli_find_command(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++) {
        if (!strcmp(cli_commands[i]->name, name))
            return cli_commands[i];
    }
    return NULL;
}

int cli_takes(const struct cli_command *command)
{
    /* What trims, or looks again and again, needs the process. */
    bool live = command->takes & (CLI_TAKES_TRIM | CLI_TAKES_EVERY);

    return command->takes | (command->takes & CLI_TAKES_FREEZE && !live ? CLI_TAKES_CORE : 0);
}

static const char help_common_options[] =
    "  --json                one JSON object on standard output, errors too\n"
    "  -o, --output FILE     write the answer there\n"
    "  --color auto|always|never\n"
    "  -q, --quiet           no notes on standard error\n"
    "  -v, --verbose\n"
    "  --debuginfod          fetch the debug information of a build that we don't know (DEBUGINFOD_URLS)\n"
    "  --help, --version\n";

const struct cli_group cli_groups[] = {
    {CLI_TAKES_CODE, "-c and -e",
     "  -c CODE               run this text\n"
     "  -e EXPR               show the value of this expression\n"
     "  -- ARGS               sys.argv[1:]\n"},
    {CLI_TAKES_REQUEST, "--interp, --channel",
     "  --thread main|any|new|TID\n"
     "                        the thread that runs it (default main): any: the first that can; new: a fresh\n"
     "                        one, for scripts that take locks\n"
     "  --interp ID           the interpreter that it runs in (default 0, the main one)\n"
     "  --channel auto|passed|directory\n"
     "                        how the answer comes: a socket passed, or one in a private directory\n"},
    {CLI_TAKES_HEAP, "--by, --sort, --min, --match",
     "  --by type|module|size|generation, of retained type|module|root\n"
     "  --sort bytes|count|refs|name\n"
     "  --min SIZE            only rows of at least so many bytes (64K, 10M)\n"
     "  --match PATTERN       only rows whose name fits, as 'app.*'\n"},
    {CLI_TAKES_ROWS, "-n",
     "  -n NUMBER             so many rows\n"},
    {CLI_TAKES_SIDES, "--in, --out",
     "  --in, --out           only who refers to it; only to what it refers\n"},
    {CLI_TAKES_DEPTH, "--depth",
     "  --depth NUMBER        so many levels\n"},
    {CLI_TAKES_STACK, "--locals, --native",
     "  --locals              the variables of each frame\n"
     "  --native              the frames of C among those of Python; each thread is stopped for an instant\n"
     "  --thread main|TID     this one alone\n"},
    {CLI_TAKES_STOP, "--stop",
     "  --stop                stop the whole process while it is read: an exact picture\n"},
    {CLI_TAKES_THREAD, "--thread", ""}, /* it means another thing to each */
    {CLI_TAKES_LEAKS, "--refs, --cycles, --exit-code",
     "  --refs, --cycles      one alone\n"
     "  --exit-code           status 1 on a finding\n"},
    {CLI_TAKES_FOR, "--for",
     "  --for DURATION        look again after so long\n"},
    {CLI_TAKES_EVERY, "--every",
     "  --every DURATION      and look between\n"},
    {CLI_TAKES_EXPORT, "--format, --of",
     "  --format heapsnapshot|jsonl|dot\n"
     "                        for Chrome's DevTools and memlab; a line of JSON for each object and reference; a part\n"
     "                        of it for Graphviz\n"
     "  --of ADDRESS|TYPE     of dot: around which objects; --depth NUMBER: so many steps from there (default 2)\n"},
    {CLI_TAKES_TASKS, "--group, --all",
     "  --group               count tasks that do the same at the same place\n"
     "  --all                 list finished tasks that somebody keeps, too\n"},
    {CLI_TAKES_TRIM, "--trim",
     "  --trim                have it give back what its malloc keeps free: malloc_trim(0) runs in it\n"},
    {CLI_MAKES_FILE, "-o",
     "  -o, --output FILE     the file that it makes (it must be said)\n"},
    {CLI_TAKES_VALUES, "--values",
     "  --values              what strings and numbers hold, too; not only their sizes\n"},
    {CLI_TAKES_FREEZE, "--no-fork, --no-pause, --max-memory",
     "  --no-fork             no copy-on-write child: the memory is copied while the process is stopped\n"
     "  --no-pause            read the process as it runs\n"
     "  --max-memory SIZE     take no more than this; what is left out makes the answer partial\n"},
    {CLI_TAKES_CORE, "--exe, --root",
      "  --exe FILE            of a core: the program's own file\n"
      "  --root DIR            of a core: where the paths of its files begin\n"},
    {CLI_TAKES_WAIT, "--timeout, --wake",
     "  --timeout DURATION    500ms, 10s, 5m (default 10s): how long a safe point, and an answer, is waited for\n"
     "  --no-wake             wait for a blocked thread rather than wake it (--wake never)\n"
     "  --wake auto|force     force: calls of other libraries too; one with a time-out then ends early\n"},
    {0, NULL, NULL},
};

static const char help_statuses[] =
    "0 done, 1 a finding (--exit-code), 2 usage, 3 no such process or not Python, 4 permission, 5 disabled or\n"
    "unsupported, 6 no safe point in time, 7 the script raised, 8 the target ended, 9 a file is damaged,\n130 interrupted.\n";

static const char *help_runs_code(const struct cli_command *command)
{
    return command->runs_code ? "yes" : command->takes & CLI_TAKES_TRIM ? "only with --trim" : "no";
}

static void help_print_common(void)
{
    fprintf(cli_output, "\nOptions of every command:\n%s", help_common_options);
}

static void help_print_options(const struct cli_command *command)
{
    fprintf(cli_output, "\nOptions:\n");
    for (const struct cli_group *group = cli_groups; group->takes; group++) {
        if (cli_takes(command) & group->takes)
            fputs(group->help, cli_output);
    }
}

static void help_print_command(const struct cli_command *command)
{
    fprintf(cli_output, "safepoint %s %s\n\n%s.\n", command->name, command->synopsis, command->summary);
    if (command->description)
        fprintf(cli_output, "\n%s\n", command->description);
    fprintf(cli_output, "\nRuns code in the target: %s.\n", help_runs_code(command));
    if (command->takes)
        help_print_options(command);
    help_print_common();
    fprintf(cli_output, "\nExample:\n  %s\n", command->example);
}

void help_print(const struct cli_command *command)
{
    if (command) {
        help_print_command(command);
        return;
    }
    fputs("safepoint [OPTIONS] COMMAND TARGET [ARGUMENTS]\n"
          "safepoint PID, safepoint FILE the same as: safepoint info; FILE is a core or a snapshot\n\n"
          "Attaches to a live CPython process by PID, makes it run a script at its safe point, and\n"
          "reports what it finds. No restart, no change to its code.\n\nCommands:\n",
          cli_output);
    for (size_t i = 0; cli_commands[i]; i++)
        fprintf(cli_output, "  %-9s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    help_print_common();
    fprintf(cli_output, "\nExit status: %s", help_statuses);
    fputs("\nExample:\n  safepoint exec 4711 -e 'len(gc.get_objects())'\n"
          "More on a command: safepoint help COMMAND\n",
          cli_output);
}

void help_print_version(void)
{
    puts("safepoint " HELP_VERSION " (wire protocol 2, CPython 3.8 to 3.15)");
}

/* ------------------------------------------------- for `make install` */

/* roff: a line must not begin with a dot or a quote, and "-" is a hyphen. */
static void help_print_roff(const char *text)
{
    bool at_start = true;

    for (; *text; text++) {
        if (at_start && (*text == '.' || *text == '\''))
            fputs("\\&", cli_output);
        at_start = *text == '\n';
        if (*text == '-')
            fputs("\\-", cli_output);
        else if (*text == '\\')
            fputs("\\e", cli_output);
        else
            putc(*text, cli_output);
    }
    putc('\n', cli_output);
}

static void help_print_man(void)
{
    fputs(".TH SAFEPOINT 1\n.SH NAME\nsafepoint \\- look into a live Python process\n"
          ".SH SYNOPSIS\n.B safepoint\n[OPTIONS] COMMAND TARGET [ARGUMENTS]\n.SH DESCRIPTION\n"
          "Attaches to a live CPython process by PID, makes it run a script at its safe point, and\n"
          "reports what it finds. No restart, no change to its code.\n.SH COMMANDS\n",
          cli_output);
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct cli_command *command = cli_commands[i];

        fprintf(cli_output, ".TP\n.B ");
        help_print_roff(command->name);
        help_print_roff(command->synopsis);
        fputs(".br\n", cli_output);
        help_print_roff(command->summary);
        if (command->description)
            help_print_roff(command->description);
        fprintf(cli_output, ".br\nRuns code in the target: %s.\n.br\nExample: ", help_runs_code(command));
        help_print_roff(command->example);
    }
    fputs(".SH OPTIONS\n.nf\n", cli_output);
    for (const struct cli_group *group = cli_groups; group->takes; group++)
        help_print_roff(group->help);
    help_print_roff(help_common_options);
    fputs(".fi\n.SH EXIT STATUS\n", cli_output);
    help_print_roff(help_statuses);
}

static void help_print_completion(void)
{
    const char *name;

    fputs("# bash completion for safepoint\n_safepoint()\n{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} commands='",
          cli_output);
    for (size_t i = 0; cli_commands[i]; i++)
        fprintf(cli_output, "%s%s", i ? " " : "", cli_commands[i]->name);
    fputs("'\n    case $word in\n"
          "        -*) COMPREPLY=($(compgen -W '",
          cli_output);
    for (size_t i = 0; (name = cli_option_name(i)); i++)
        fprintf(cli_output, "%s%s ", name[0] ? "--" : "", name);
    fputs("' -- \"$word\")) ;;\n"
          "        *)  if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "                COMPREPLY=($(compgen -W \"$commands\" -- \"$word\"))\n"
          "            elif [ \"$COMP_CWORD\" = 2 ]; then\n"
          "                COMPREPLY=($(compgen -W \"$(safepoint ps -q 2>/dev/null | awk 'NR > 1 { print $1 }')\" -- \"$word\"))\n"
          "            else\n"
          "                COMPREPLY=($(compgen -f -- \"$word\"))\n"
          "            fi ;;\n"
          "    esac\n}\ncomplete -F _safepoint safepoint\n",
          cli_output);
}

static struct error *help_run(const struct cli_options *options, struct json *json)
{
    const struct cli_command *command = NULL;

    (void)json;
    if (options->count && !strcmp(options->words[0], "man")) {
        help_print_man();
        return NULL;
    }
    if (options->count && !strcmp(options->words[0], "completion")) {
        help_print_completion();
        return NULL;
    }
    if (options->count && !(command = cli_find_command(options->words[0])))
        return error_create(ERROR_USAGE, "the commands: safepoint --help", "%s is no command of safepoint's",
                            options->words[0]);
    help_print(command);
    return NULL;
}

const struct cli_command cli_command_help = {
    .name = "help",
    .synopsis = "[COMMAND | man | completion]",
    .summary = "explain a command; or print the man page, or completion for bash",
    .example = "safepoint help exec",
    .words_max = 1,
    .run = help_run,
};
