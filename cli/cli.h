/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command line: commands as rows of a table, the options they share, and the
 * only code of the program that prints and decides the exit status.
 */
#ifndef SAFEPOINT_CLI_CLI_H
#define SAFEPOINT_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "attach/core.h"
#include "attach/error.h"
#include "inject/inject.h"
#include "protocol/json.h"

enum cli_color { CLI_COLOR_AUTO, CLI_COLOR_ALWAYS, CLI_COLOR_NEVER };
enum cli_channel { CLI_CHANNEL_AUTO, CLI_CHANNEL_PASSED, CLI_CHANNEL_DIRECTORY };

enum cli_heap_by { CLI_HEAP_BY_TYPE, CLI_HEAP_BY_MODULE, CLI_HEAP_BY_SIZE, CLI_HEAP_BY_GENERATION, CLI_HEAP_BY_ROOT };
/* CLI_FORMAT_NONE: not said */
enum cli_format { CLI_FORMAT_NONE, CLI_FORMAT_HEAPSNAPSHOT, CLI_FORMAT_JSONL, CLI_FORMAT_DOT };
enum cli_heap_sort { CLI_HEAP_SORT_BYTES, CLI_HEAP_SORT_COUNT, CLI_HEAP_SORT_REFS, CLI_HEAP_SORT_NAME };

/* What was asked on the command line. */
struct cli_options {
    const struct cli_command *command;
    bool json, quiet, verbose, help;
    enum inject_wake_mode wake;
    enum cli_color color;
    enum cli_channel channel;
    const char *output_path; /* -o; NULL: standard output */
    struct inject_choice choice; /* --thread, --interp */
    bool fresh;              /* --thread new */
    const char *code;        /* -c */
    const char *expression;  /* -e */
    int64_t timeout_ms;
    struct {
        enum cli_heap_by by;
        bool by_said;
        enum cli_heap_sort sort;
        const char *match;   /* a pattern for names; NULL: all */
        uint64_t min;        /* bytes that a row must have */
        size_t limit;        /* rows; 0: not said */
    } heap;
    struct {
        bool no_fork, no_pause;
        uint64_t max_memory; /* bytes that we may take; 0: no bound */
    } freeze;
    bool trim;               /* of mem: --trim */
    struct {
        bool refs, cycles;   /* one alone; neither: both */
        bool exit_code;      /* 1 on a finding */
    } leaks;
    struct {
        int64_t for_ms, every_ms; /* 0: not said */
    } period;
    struct {
        enum cli_format format;
        const char *of;      /* an address or a type; NULL: not said */
    } export;
    struct {
        bool in, out;        /* one alone; neither: both */
    } sides;                 /* of refs */
    size_t depth;            /* --depth; 0: not said */
    struct {
        bool group, all;
    } tasks;
    bool values;             /* what strings and numbers hold: --values */
    struct {
        bool locals, native, hold; /* hold: --stop */
        bool one;                  /* --thread was said */
    } stack;
    struct core_options core; /* --exe, --root */
    bool debuginfod;         /* --debuginfod */
    int count;               /* words behind the command */
    char **words;
    int script_count;        /* words behind "--" */
    char **script_words;
};

/* Which options a command takes, besides those that all take. */
enum {
    CLI_TAKES_REQUEST = 1 << 0, /* --interp --channel, and of --thread all its words */
    CLI_TAKES_CODE = 1 << 1,    /* -c -e -- ARGS */
    CLI_TAKES_HEAP = 1 << 2,    /* --by --sort --min --match */
    CLI_TAKES_WAIT = 1 << 3,    /* --timeout --wake --no-wake */
    CLI_TAKES_FREEZE = 1 << 4,  /* --no-fork --no-pause --max-memory */
    CLI_TAKES_VALUES = 1 << 5,  /* --values */
    CLI_TAKES_TRIM = 1 << 6,    /* --trim */
    CLI_TAKES_ROWS = 1 << 7,    /* -n */
    CLI_TAKES_SIDES = 1 << 8,   /* --in --out */
    CLI_TAKES_DEPTH = 1 << 9,   /* --depth */
    CLI_TAKES_STACK = 1 << 10,  /* --locals --native */
    CLI_TAKES_THREAD = 1 << 11, /* --thread main|any|TID alone: what is shown */
    CLI_MAKES_FILE = 1 << 12,   /* -o is a file of its own, not of the answer */
    CLI_TAKES_LEAKS = 1 << 13, /* --refs --cycles --exit-code */
    CLI_TAKES_FOR = 1 << 14, /* --for */
    CLI_TAKES_EVERY = 1 << 15, /* --every */
    CLI_TAKES_EXPORT = 1 << 16, /* --format --of */
    CLI_TAKES_TASKS = 1 << 17, /* --group --all */
    CLI_TAKES_STOP = 1 << 18, /* --stop */
    CLI_TAKES_CORE = 1 << 19, /* --exe --root, and a core file for a target; CLI_TAKES_FREEZE has them too */
};

struct cli_command {
    const char *name, *synopsis, *summary, *description, *example;
    bool runs_code; /* in the target: said in the help */
    int takes;
    int words_min, words_max; /* -1: any number */
    /* Prints the answer. The error's exit status becomes the program's. */
    struct error *(*run)(const struct cli_options *options, struct json *json);
};

/* options.c: the long name of an option by its place, "" of one that has none; NULL behind the last. */
const char *cli_option_name(size_t i);

/* Fills in what options say; `words` and `count` are what is left. `taken`: the groups (CLI_TAKES_) of those that were given.
 * ERROR_USAGE. --version prints and exits. */
struct error *cli_parse_options(struct cli_options *options, int argc, char **argv, int *taken)
    __attribute__((warn_unused_result));

/* What the options of a group are called. */
const char *cli_group_names(int group);

/* Options that go together: what they are called, and their help. Ended by a row of nothing. */
struct cli_group {
    int takes;
    const char *names, *help;
};
extern const struct cli_group cli_groups[];

extern const struct cli_command cli_command_ps, cli_command_info, cli_command_doctor, cli_command_exec, cli_command_stats;
extern const struct cli_command cli_command_stack, cli_command_gc, cli_command_heap, cli_command_why, cli_command_refs, cli_command_retained;
extern const struct cli_command cli_command_leaks, cli_command_diff, cli_command_grow, cli_command_export, cli_command_tasks, cli_command_locks, cli_command_mem, cli_command_snapshot, cli_command_console, cli_command_help;

/* The table, ended by NULL, in the order of the help. */
extern const struct cli_command *const cli_commands[];
const struct cli_command *cli_find_command(const char *name);
/* Its `takes`, with what others bring with them. */
int cli_takes(const struct cli_command *command);

/* ----------------------------------------------------------------- output.c */

/* Standard output, or the file of -o. All answers go there. */
extern FILE *cli_output;

/* Something was found that --exit-code asks for: a run without an error ends with status 1. */
extern bool cli_finding;

/* "safepoint: TEXT" on standard error, unless -q. */
void cli_note(const struct cli_options *options, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "safepoint: MESSAGE", "hint: HINT" on standard error. */
void cli_print_error(const struct cli_options *options, const struct error *error);

/* --color, or: is the file a terminal, and does NO_COLOR allow it? */
bool cli_use_color(const struct cli_options *options, FILE *file);

/* "1.5 MiB", "312 B". `text` of at least 24 bytes; returns it. */
char *cli_format_size(char *text, size_t room, uint64_t bytes);
/* "3 d 4 h", "12 min 5 s", "3.2 s". */
char *cli_format_duration(char *text, size_t room, double seconds);
/* 1234567 -> "1,234,567". */
char *cli_format_count(char *text, size_t room, uint64_t count);

/* "500ms", "10s", "5m", "2h", in milliseconds. */
bool cli_parse_duration(const char *text, int64_t *milliseconds);
/* "4096", "64K", "1.5M", "2GiB", in bytes. */
bool cli_parse_size(const char *text, uint64_t *bytes);
/* Now, as "2026-11-21T17:48:25Z". */
void cli_format_time(char *text, size_t room);
/* A PID, or ERROR_USAGE. */
struct error *cli_parse_pid(const char *text, pid_t *pid) __attribute__((warn_unused_result));

/* Control characters and invalid bytes of a target's texts made visible ("\x1b"):
 * they must not reach a terminal as they are. free() it. */
char *cli_escape(const char *text);
/* The same, on one line: newlines and tabs become blanks. */
char *cli_escape_line(const char *text);

/* ---------------------------------------------------------------- signals.c */

/* SIGINT, SIGTERM and SIGHUP ask for an orderly end: a flag and a descriptor that polls readable. */
void cli_signals_init(void);
int cli_signals_fd(void);
bool cli_signals_pending(void);
/* Forgets a SIGINT (a console goes on). */
void cli_signals_clear(void);
/* Forgets whichever signal was seen and returns it (0: none): for what is still to be
 * undone in the target before we go. */
int cli_signals_take(void);

#endif
