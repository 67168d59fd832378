/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * console: Python inside the process, one request to its safe point for each
 * statement. Between two of them the target is left alone, but for the console's
 * namespace, which it keeps under a key of its own until SESSION_END.
 *
 *   line (readline, or a pipe) -> own command ":name"
 *                              -> statements.c -> session_run -> value, output, traceback, or "more lines"
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "attach/scope.h"
#include "cli/exception.h"
#include "cli/history.h"
#include "cli/session.h"
#include "cli/statements.h"

#define CONSOLE_END_MS 3000
#define CONSOLE_VALUE_MAX (64u << 20) /* of one that is escaped for a terminal */
#define CONSOLE_WORDS_MAX 16

struct console {
    struct cli_options options; /* ours: :timeout changes them */
    struct session session;
    struct statements statements;
    char key[64];
    bool typed;    /* on a terminal */
    bool used;     /* the target may hold a namespace of ours */
    bool leaving;
    bool raised;   /* the last statement did */
    int64_t exit_status; /* of SystemExit */
    struct error *failure; /* what ends it, other than its user */
};

/* ------------------------------------------------------------- what comes back */

struct console_answer {
    struct console *console;
    struct exception exception;
    FILE *value_stream;
    char *value;
    size_t value_size;
    bool has_value, value_cut;
};

static struct error *console_write(FILE *file, const void *bytes, size_t size)
{
    if (fwrite(bytes, 1, size, file) != size || fflush(file) != 0)
        return error_create_errno(ERROR_INTERRUPTED, errno, "can't write the output");
    return NULL;
}

/* For a terminal a value is collected, to be escaped whole; elsewhere it goes as it comes. */
static struct error *console_take_value(struct console_answer *answer, const struct wire_frame *frame)
{
    answer->has_value = true;
    if (!isatty(fileno(cli_output)))
        return console_write(cli_output, frame->payload, frame->size);
    if (!answer->value_stream)
        answer->value_stream = open_memstream(&answer->value, &answer->value_size);
    if (!answer->value_stream)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a value");
    if ((size_t)ftell(answer->value_stream) + frame->size <= CONSOLE_VALUE_MAX)
        fwrite(frame->payload, 1, frame->size, answer->value_stream);
    else
        answer->value_cut = true;
    return NULL;
}

static void console_drop_value(struct console_answer *answer)
{
    if (answer->value_stream)
        fclose(answer->value_stream);
    free(answer->value);
    answer->value_stream = NULL;
    answer->value = NULL;
    answer->has_value = answer->value_cut = false;
}

/* What a script prints comes as it is, like exec's; a value's text is escaped on a terminal. */
static struct error *console_show_value(struct console_answer *answer)
{
    struct error *error = NULL;

    if (!answer->has_value)
        return NULL;
    if (answer->value_stream) {
        fflush(answer->value_stream);
        scoped_free char *escaped = cli_escape(answer->value);
        error = escaped ? console_write(cli_output, escaped, strlen(escaped))
                        : error_create(ERROR_SYSTEM, NULL, "out of memory for a value");
    }
    if (!error)
        error = console_write(cli_output, answer->value_cut ? "...\n" : "\n", answer->value_cut ? 4 : 1);
    console_drop_value(answer);
    return error;
}

/* A statement can show several values: each ends where something else comes. The agent sends a
 * long one in pieces of the same size, and a short one whole. */
static struct error *console_frame(void *context, const struct wire_frame *frame)
{
    struct console_answer *answer = context;
    struct error *error;

    if (frame->kind == WIRE_VALUE) {
        error = console_take_value(answer, frame);
        return error || frame->size == WIRE_PAYLOAD_MAX / 2 ? error : console_show_value(answer);
    }
    if ((error = console_show_value(answer)))
        return error;
    if (frame->kind == WIRE_OUTPUT)
        return console_write(cli_output, frame->payload, frame->size);
    if (frame->kind == WIRE_ERROR_OUTPUT)
        return console_write(stderr, frame->payload, frame->size);
    return exception_frame(&answer->exception, frame);
}

static struct error *console_show_end(struct console_answer *answer, const struct session_outcome *outcome)
{
    struct console *console = answer->console;
    struct error *error = console_show_value(answer);

    exception_finish(&answer->exception);
    console->raised = outcome->raised;
    if (outcome->raised) {
        scoped_free char *escaped = isatty(STDERR_FILENO) ? cli_escape(answer->exception.text) : NULL;
        fflush(cli_output);
        fputs(escaped ? escaped : answer->exception.text, stderr);
    }
    if (outcome->exited) {
        console->leaving = true;
        console->exit_status = outcome->exit_status;
    }
    return error;
}

/* --------------------------------------------------------------- a statement */

/* A failure that leaves the target as it was and the console in service is shown; others end it. */
static void console_fail(struct console *console, struct error *error)
{
    bool stays = console->typed && error_code(error) != ERROR_TARGET_ENDED;

    if (error_code(error) == ERROR_INTERRUPTED && stays) {
        cli_signals_clear();
        stays = !cli_signals_pending();
    }
    if (stays) {
        cli_print_error(&console->options, error);
        error_destroy(error);
        return;
    }
    console->leaving = true;
    console->failure = error;
}

/* Runs what waits; `ended`: as if a blank line had come behind it. */
static void console_try(struct console *console, bool ended, bool *incomplete)
{
    struct console_answer answer = {.console = console};
    struct session_outcome outcome;
    scoped_free char *text = NULL;
    const struct session_events events = {&answer, console_frame};

    *incomplete = false;
    if (asprintf(&text, "%s%s", console->statements.text, ended ? "\n" : "") < 0) {
        text = NULL;
        console_fail(console, error_create(ERROR_SYSTEM, NULL, "out of memory for a statement"));
        return;
    }
    const struct session_script script = {.mode = SESSION_STATEMENT, .name = "<console>", .key = console->key,
                                          .code = text, .size = strlen(text), .argv0 = "-c"};
    exception_init(&answer.exception, script.name, script.code, script.size);
    console->used = true;
    struct error *error = session_run(&console->session, &console->options, &script, &events, &outcome);
    if (!error && outcome.incomplete)
        *incomplete = true;
    else if (!error)
        error = console_show_end(&answer, &outcome);
    console_drop_value(&answer);
    exception_deinit(&answer.exception);
    if (!*incomplete)
        statements_clear(&console->statements);
    if (error)
        console_fail(console, error);
}

static bool console_is_blank(const char *line)
{
    return !line[strspn(line, " \t\r\f")];
}

static bool console_is_exit(const char *line)
{
    /* The target's own exit() would close its standard input. */
    static const char *const words[] = {"exit", "exit()", "quit", "quit()"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!strcmp(line, words[i]))
            return true;
    }
    return false;
}

static void console_python_line(struct console *console, const char *line)
{
    bool incomplete;

    if (!console->statements.text && console_is_blank(line))
        return;
    if (statements_line_ends_block(&console->statements, line))
        console_try(console, true, &incomplete);
    if (console->leaving)
        return;
    /* A line of blanks ends a block too. */
    if (!statements_add(&console->statements, console_is_blank(line) ? "" : line))
        console_fail(console, error_create(ERROR_SYSTEM, NULL, "out of memory for a statement"));
    else
        console_try(console, false, &incomplete);
}

/* ------------------------------------------------------------- own commands */

static struct error *console_print_help(void)
{
    fputs("Python statements run in the process, one at a time, at its safe point; modules that it\n"
          "has loaded need no import. A blank line ends a block. Ctrl-C gives a statement up, Ctrl-D\n"
          "leaves, and nothing stays behind.\n\n"
          "  :help             this\n"
          "  :timeout 30s      how long a statement may take\n"
          "  :quit             leave, like Ctrl-D\n",
          cli_output);
    for (size_t i = 0; cli_commands[i]; i++) {
        if (cli_commands[i] != &cli_command_console && cli_commands[i] != &cli_command_help)
            fprintf(cli_output, "  :%-16s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    }
    return NULL;
}

static struct error *console_set_timeout(struct console *console, const char *word)
{
    char text[32];

    if (word && !cli_parse_duration(word, &console->options.timeout_ms))
        return error_create(ERROR_USAGE, "500ms, 10s, 5m", "%s is no duration", word);
    cli_note(&console->options, "a statement may take %s",
             cli_format_duration(text, sizeof(text), (double)console->options.timeout_ms / 1000));
    return NULL;
}

static size_t console_split(char *line, char **words, size_t room)
{
    size_t count = 0;
    char *save = NULL;

    for (char *word = strtok_r(line, " \t", &save); word && count < room; word = strtok_r(NULL, " \t", &save))
        words[count++] = word;
    return count;
}

/* A command of the table, with this process as its first word; the options that it takes here: -v -q, and exec's -c and -e. */
static struct error *console_run_command(struct console *console, char **words, size_t count, const char *rest)
{
    const struct cli_command *command = cli_find_command(words[0]);
    struct cli_options options = console->options;
    char pid[16], *given[CONSOLE_WORDS_MAX + 1];

    if (!command || command == &cli_command_console)
        return error_create(ERROR_USAGE, ":help lists them", ":%s is no command of the console's", words[0]);
    snprintf(pid, sizeof(pid), "%d", console->session.process.pid);
    options.command = command;
    options.words = given;
    options.count = 0;
    options.code = options.expression = NULL;
    options.stack.one = false; /* the console's --thread is for what is run */
    if (command->words_min)
        given[options.count++] = pid;
    for (size_t i = 1; i < count; i++) {
        if (!strcmp(words[i], "-v") || !strcmp(words[i], "--verbose")) {
            options.verbose = true;
        } else if (!strcmp(words[i], "-q") || !strcmp(words[i], "--quiet")) {
            options.quiet = true;
        } else if ((command->takes & CLI_TAKES_CODE) && (!strcmp(words[i], "-c") || !strcmp(words[i], "-e"))) {
            *(words[i][1] == 'c' ? &options.code : &options.expression) = rest;
            break;
        } else {
            given[options.count++] = words[i];
        }
    }
    if (options.count > command->words_max && command->words_max >= 0)
        return error_create(ERROR_USAGE, NULL, ":%s: a word too many: %s", command->name,
                            given[command->words_max]);
    struct error *error = command->run(&options, NULL);
    return error;
}

/* What is behind " -c " or " -e ". */
static const char *console_find_code(const char *line)
{
    const char *code = strstr(line, " -c "), *expression = strstr(line, " -e ");
    const char *first = code && (!expression || code < expression) ? code : expression;

    return first ? first + 4 : "";
}

static void console_own_line(struct console *console, const char *line)
{
    scoped_free char *copy = strdup(line + 1);
    char *words[CONSOLE_WORDS_MAX];
    size_t count = copy ? console_split(copy, words, CONSOLE_WORDS_MAX) : 0;
    struct error *error = NULL;

    if (!count || !strcmp(words[0], "help") || !strcmp(words[0], "?"))
        error = console_print_help();
    else if (!strcmp(words[0], "quit") || !strcmp(words[0], "q") || !strcmp(words[0], "exit"))
        console->leaving = true;
    else if (!strcmp(words[0], "timeout"))
        error = console_set_timeout(console, count > 1 ? words[1] : NULL);
    else
        error = console_run_command(console, words, count, console_find_code(line));
    fflush(cli_output);
    if (error && error_code(error) != ERROR_TARGET_ENDED && error_code(error) != ERROR_INTERRUPTED) {
        if (error_code(error) != ERROR_SCRIPT || strcmp(words[0], "exec") != 0)
            cli_print_error(&console->options, error);
        error_destroy(error);
    } else if (error) {
        console_fail(console, error);
    }
}

static void console_line(struct console *console, const char *line)
{
    if (!console->statements.text && line[0] == ':')
        console_own_line(console, line);
    else if (!console->statements.text && console_is_exit(line))
        console->leaving = true;
    else
        console_python_line(console, line);
}

/* A pasted text is one line to readline, with newlines in it. */
static void console_lines(struct console *console, char *text)
{
    char *save = text;

    while (save && !console->leaving)
        console_line(console, strsep(&save, "\n"));
}

/* ----------------------------------------------------------------- a terminal */

/* readline's handler has no argument. */
static struct {
    char *line;
    bool came, ended;
} console_input;

static void console_take_line(char *line)
{
    rl_callback_handler_remove(); /* the terminal as it was, while a statement runs */
    console_input.line = line;
    console_input.came = true;
    console_input.ended = !line;
}

static char *console_complete_command(const char *text, int state)
{
    static const char *const own[] = {"help", "timeout", "quit", NULL};
    static size_t next;
    size_t commands = 0;

    next = state ? next : 0;
    while (cli_commands[commands])
        commands++;
    while (next < commands + 3) {
        const char *name = next < commands ? cli_commands[next]->name : own[next - commands];
        char *match = NULL;
        next++;
        if (strncmp(name, text + 1, strlen(text + 1)) != 0 || (next > commands ? 0 : !strcmp(name, "help")))
            continue;
        return asprintf(&match, ":%s", name) < 0 ? NULL : match;
    }
    return NULL;
}

static char **console_complete(const char *text, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = !(rl_line_buffer[0] == ':' && start > 0); /* files behind a command */
    return start == 0 && text[0] == ':' ? rl_completion_matches(text, console_complete_command) : NULL;
}

/* Tab behind blanks alone indents. */
static int console_tab(int count, int key)
{
    for (int i = 0; i < rl_point; i++) {
        if (rl_line_buffer[i] != ' ')
            return rl_complete(count, key);
    }
    return rl_insert_text("    ") < 0;
}

static void console_init_readline(void)
{
    rl_readline_name = "safepoint";
    rl_catch_signals = 0; /* cli/signals.c does */
    rl_instream = stdin;
    rl_outstream = isatty(STDOUT_FILENO) ? stdout : stderr;
    rl_attempted_completion_function = console_complete;
    rl_basic_word_break_characters = " \t\n\"\\'`@$><=;|&{(";
    rl_completer_word_break_characters = (char *)(uintptr_t) " \t\n\"'`@$><=;|&{(";
    rl_initialize();
    rl_bind_key('\t', console_tab);
    history_load();
}

/* Ctrl-C at the prompt: the line and what waits are dropped. Another signal leaves. */
static void console_take_signal(struct console *console)
{
    cli_signals_clear();
    if (cli_signals_pending()) {
        console->leaving = true;
        return;
    }
    rl_callback_sigcleanup();
    rl_callback_handler_remove();
    fputs("^C\n", rl_outstream);
    fflush(rl_outstream);
    statements_clear(&console->statements);
    console_input.came = true;
    console_input.line = NULL;
}

/* Waits for a line, which is in console_input then. */
static void console_read_line(struct console *console)
{
    struct pollfd fds[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
                            {.fd = console->session.process.pidfd, .events = POLLIN},
                            {.fd = cli_signals_fd(), .events = POLLIN}};

    console_input.came = console_input.ended = false;
    console_input.line = NULL;
    rl_callback_handler_install(console->statements.text ? "... " : ">>> ", console_take_line);
    while (!console_input.came && !console->leaving) {
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            console_input.came = console_input.ended = true;
        else if (cli_signals_pending())
            console_take_signal(console);
        else if (fds[1].revents) {
            putc('\n', rl_outstream);
            console_fail(console, error_create(ERROR_TARGET_ENDED, NULL, "process %d has ended",
                                               console->session.process.pid));
        } else if (fds[0].revents)
            rl_callback_read_char();
    }
    if (console->leaving)
        rl_callback_handler_remove();
}

static void console_serve_terminal(struct console *console)
{
    console_init_readline();
    cli_note(&console->options, "Python %s in process %d; :help says more, Ctrl-D leaves",
             console->session.runtime.version, console->session.process.pid);
    while (!console->leaving) {
        console_read_line(console);
        if (console_input.ended) {
            putc('\n', rl_outstream);
            break;
        }
        scoped_free char *line = console_input.line;
        if (!line)
            continue;
        history_remember(line);
        console_lines(console, line);
    }
    history_save();
}

/* --------------------------------------------------------------------- a pipe */

/* The block at the end has no line behind it. */
static void console_end_pipe(struct console *console)
{
    bool incomplete = false;

    if (console->statements.text && !console->leaving)
        console_try(console, true, &incomplete);
    if (incomplete) {
        console->raised = true;
        fputs("SyntaxError: the input ends inside of a statement\n", stderr);
    }
}

static void console_serve_pipe(struct console *console)
{
    scoped_free char *line = NULL;
    size_t room = 0;

    while (!console->leaving) {
        ssize_t length = getline(&line, &room, stdin);

        if (cli_signals_pending()) {
            console->leaving = true;
            break;
        }
        if (length < 0 && errno == EINTR && !feof(stdin)) {
            clearerr(stdin);
            continue;
        }
        if (length < 0)
            break;
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = '\0';
        console_line(console, line);
    }
    console_end_pipe(console);
}

/* ------------------------------------------------------------------- the end */

static struct error *console_ignore_frame(void *context, const struct wire_frame *frame)
{
    (void)context;
    (void)frame;
    return NULL;
}

/* Has the target forget our namespace, whatever ended us. */
static void console_end(struct console *console)
{
    const struct session_script script = {.mode = SESSION_END, .name = "<console>", .key = console->key, .code = "",
                                          .argv0 = "-c"};
    const struct session_events events = {console, console_ignore_frame};
    struct session_outcome outcome;
    struct cli_options options = console->options;
    int signal = cli_signals_take();

    if (signal && !console->failure)
        console->failure = error_create(ERROR_INTERRUPTED, NULL, "ended by signal %d (%s)", signal, strsignal(signal));
    if (!console->used || (console->failure && error_code(console->failure) == ERROR_TARGET_ENDED))
        return;
    if (options.timeout_ms > CONSOLE_END_MS || console->failure)
        options.timeout_ms = CONSOLE_END_MS;
    struct error *error = session_run(&console->session, &options, &script, &events, &outcome);
    if (error && error_code(error) != ERROR_TARGET_ENDED)
        cli_note(&console->options, "what this console's statements assigned stays in the process as sys.__dict__[%s]: %s",
                 console->key, error_message(error));
    error_destroy(error);
}

static struct error *console_status(const struct console *console)
{
    if (console->failure)
        return console->failure;
    if (console->exit_status)
        return error_create(ERROR_SCRIPT, NULL, "the script exited with status %lld", (long long)console->exit_status);
    if (!console->typed && console->raised)
        return error_create(ERROR_SCRIPT, NULL, "the last statement raised");
    return NULL;
}

static struct error *console_run(const struct cli_options *options, struct json *json)
{
    struct console console = {.options = *options, .typed = isatty(STDIN_FILENO)};
    pid_t pid;
    struct error *error = cli_parse_pid(options->words[0], &pid);

    (void)json;
    if (!error && options->json)
        error = error_create(ERROR_USAGE, "safepoint exec --json, for one script", "a console has no --json");
    if (error || (error = session_open(&console.session, pid)))
        return error;
    snprintf(console.key, sizeof(console.key), "<safepoint console %016llx>", (unsigned long long)inject_new_id());
    statements_init(&console.statements, console.typed);
    if (console.typed)
        console_serve_terminal(&console);
    else
        console_serve_pipe(&console);
    console_end(&console);
    statements_deinit(&console.statements);
    session_close(&console.session);
    return console_status(&console);
}

const struct cli_command cli_command_console = {
    .name = "console",
    .synopsis = "PID",
    .summary = "an interactive session: Python in the process, and safepoint's commands",
    .description =
        "Each statement is a request of its own to the safe point; names stay between them. Lines that\n"
        "begin with a colon are safepoint's own: :help lists them. Ctrl-C gives a statement up, Ctrl-D\n"
        "leaves. Fed by a pipe it runs the statements in order; a blank or an unindented line ends a\n"
        "block; the exit status is 7 when the last statement raised.",
    .example = "safepoint console 4711",
    .runs_code = true,
    .takes = CLI_TAKES_REQUEST | CLI_TAKES_THREAD | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = console_run,
};
