/* SPDX-License-Identifier: GPL-3.0-or-later */
/* exec: runs a script at the safe point; its output, value, exception and exit status. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/exception.h"
#include "cli/session.h"

struct exec_answer {
    const struct cli_options *options;
    bool streams; /* to our own standard output and error, as it comes */
    FILE *output, *error_output, *value;
    struct exception exception;
};

/* ------------------------------------------------------------- the script */

static struct error *exec_read_all(int fd, const char *name, char **text, size_t *size)
{
    size_t room = 1 << 16;
    scoped_free char *buffer = malloc(room);

    *size = 0;
    while (buffer) {
        ssize_t got = read(fd, buffer + *size, room - *size);
        if (got < 0 && errno == EINTR && !cli_signals_pending())
            continue;
        if (got < 0)
            return error_create_errno(ERROR_USAGE, errno, "can't read the script %s", name);
        if (got == 0) {
            *text = scope_take_pointer(&buffer);
            return NULL;
        }
        *size += (size_t)got;
        if (*size == room) {
            char *larger = realloc(buffer, room *= 2);
            if (!larger)
                break;
            buffer = larger;
        }
    }
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the script %s", name);
}

static struct error *exec_read_script(const char *path, char **text, size_t *size)
{
    if (!strcmp(path, "-"))
        return exec_read_all(STDIN_FILENO, "on standard input", text, size);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_create_errno(ERROR_USAGE, errno, "can't open the script %s", path);
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return error_create(ERROR_USAGE, "give a file with Python code", "the script %s is a directory", path);
    return exec_read_all(fd, path, text, size);
}

/* Which of the four forms: exactly one. `owned` is what free() ends. */
static struct error *exec_find_script(const struct cli_options *options, struct session_script *script, char **owned)
{
    const char *file = options->count > 1 ? options->words[1] : NULL;
    int forms = !!file + !!options->code + !!options->expression;

    if (forms != 1)
        return error_create(ERROR_USAGE, "safepoint exec PID FILE, or PID -, PID -c CODE, PID -e EXPR",
                            forms ? "more than one script was given" : "no script was given");
    script->argument_count = options->script_count;
    script->arguments = options->script_words;
    if (file) {
        script->mode = strcmp(file, "-") ? SESSION_FILE : SESSION_SCRIPT;
        script->argv0 = file;
        script->name = strcmp(file, "-") ? file : "<stdin>";
        struct error *error = exec_read_script(file, owned, &script->size);
        script->code = *owned;
        return error;
    }
    script->mode = options->code ? SESSION_SCRIPT : SESSION_EXPRESSION;
    script->argv0 = options->code ? "-c" : "-e";
    script->name = options->code ? "<string>" : "<expression>";
    script->code = options->code ? options->code : options->expression;
    script->size = strlen(script->code);
    return NULL;
}

/* ------------------------------------------------------------- the answer */

static struct error *exec_write(FILE *file, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t put = write(fileno(file), (const char *)bytes + done, size - done);

        if (put < 0 && errno == EINTR && !cli_signals_pending())
            continue;
        if (put < 0 && errno == EAGAIN)
            continue;
        if (put < 0)
            return error_create_errno(ERROR_INTERRUPTED, errno, "can't write the script's output");
        done += (size_t)put;
    }
    return NULL;
}

static struct error *exec_frame(void *context, const struct wire_frame *frame)
{
    struct exec_answer *answer = context;
    FILE *to = frame->kind == WIRE_OUTPUT         ? answer->output
               : frame->kind == WIRE_ERROR_OUTPUT ? answer->error_output
               : frame->kind == WIRE_VALUE        ? answer->value
                                                  : NULL;

    if (!to)
        return exception_frame(&answer->exception, frame);
    if (answer->streams)
        return exec_write(to, frame->payload, frame->size);
    if (fwrite(frame->payload, 1, frame->size, to) != frame->size)
        return error_create_errno(ERROR_SYSTEM, errno, "can't keep the script's output");
    return NULL;
}

static struct error *exec_answer_init(struct exec_answer *answer, const struct cli_options *options,
                                      const struct session_script *script)
{
    *answer = (struct exec_answer){.options = options, .streams = !options->json};
    exception_init(&answer->exception, script->name, script->code, script->size);
    if (answer->streams) {
        fflush(cli_output);
        answer->output = answer->value = cli_output;
        answer->error_output = stderr;
        return NULL;
    }
    answer->output = tmpfile();
    answer->error_output = tmpfile();
    answer->value = tmpfile();
    if (!answer->output || !answer->error_output || !answer->value)
        return error_create_errno(ERROR_SYSTEM, errno, "can't make a temporary file for the script's output");
    return NULL;
}

static void exec_answer_deinit(struct exec_answer *answer)
{
    FILE *const files[] = {answer->output, answer->error_output, answer->value};

    for (size_t i = 0; !answer->streams && i < 3; i++) {
        if (files[i])
            fclose(files[i]);
    }
    exception_deinit(&answer->exception);
}

/* ------------------------------------------------------------------ JSON */

static void exec_json_file(struct json *json, const char *name, FILE *file)
{
    char piece[16384];
    size_t got;

    json_begin_string(json, name);
    rewind(file);
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
        json_add_to_string(json, piece, got);
    json_end_string(json);
}

static void exec_json(struct json *json, const struct exec_answer *answer, const struct session_script *script,
                      const struct session_outcome *outcome)
{
    json_decimal(json, "pause_us", (double)outcome->pause_ns / 1000);
    json_begin_object(json, "result");
    if (script->mode == SESSION_EXPRESSION && !outcome->raised && !outcome->exited)
        exec_json_file(json, "value", answer->value);
    else
        json_null(json, "value");
    exec_json_file(json, "stdout", answer->output);
    exec_json_file(json, "stderr", answer->error_output);
    if (outcome->raised) {
        json_begin_object(json, "exception");
        json_string(json, "type", answer->exception.type);
        json_string(json, "message", answer->exception.message);
        json_string(json, "traceback", answer->exception.text);
        json_end_object(json);
    } else {
        json_null(json, "exception");
    }
    if (outcome->exited)
        json_integer(json, "exit_code", outcome->exit_status);
    else
        json_null(json, "exit_code");
    json_integer(json, "thread", outcome->thread);
    json_decimal(json, "waited_us", (double)outcome->waited_ns / 1000);
    json_string(json, "wake", inject_wake_name(outcome->wake));
    json_string(json, "method", outcome->method);
    json_string(json, "channel", outcome->channel);
    json_end_object(json);
}

/* ----------------------------------------------------------------- the end */

static struct error *exec_report(const struct cli_options *options, struct exec_answer *answer,
                                 const struct session_script *script, const struct session_outcome *outcome)
{
    exception_finish(&answer->exception);
    if (answer->streams && script->mode == SESSION_EXPRESSION && !outcome->raised && !outcome->exited)
        fputs("\n", cli_output);
    fflush(cli_output);
    if (answer->streams && outcome->raised)
        fputs(answer->exception.text, stderr);
    cli_note(options, "thread %d, answered after %.2f ms, pause %.0f us%s%s", outcome->thread,
             (double)outcome->waited_ns / 1e6, (double)outcome->pause_ns / 1e3,
             outcome->wake == INJECT_WAKE_NONE ? "" : ", woken: ",
             outcome->wake == INJECT_WAKE_NONE ? "" : inject_wake_name(outcome->wake));
    if (outcome->raised)
        return error_create(ERROR_SCRIPT, NULL, "the script raised %s%s%s", answer->exception.type,
                            answer->exception.message[0] ? ": " : "", answer->exception.message);
    if (outcome->exited && outcome->exit_status != 0)
        return error_create(ERROR_SCRIPT, NULL, "the script exited with status %lld", (long long)outcome->exit_status);
    return NULL;
}

static struct error *exec_run_script(const struct cli_options *options, struct json *json, struct session *session,
                                     const struct session_script *script)
{
    struct exec_answer answer;
    struct session_outcome outcome;
    struct error *error = exec_answer_init(&answer, options, script);
    const struct session_events events = {&answer, exec_frame};

    if (!error)
        error = session_run(session, options, script, &events, &outcome);
    if (!error)
        error = exec_report(options, &answer, script, &outcome);
    if (options->json) {
        session_json_target(json, session);
        if (!error || error_code(error) == ERROR_SCRIPT)
            exec_json(json, &answer, script, &outcome);
    }
    exec_answer_deinit(&answer);
    return error;
}

static struct error *exec_run(const struct cli_options *options, struct json *json)
{
    struct session session;
    struct session_script script = {0};
    char *owned = NULL;
    pid_t pid;
    struct error *error = cli_parse_pid(options->words[0], &pid);

    if (!error)
        error = exec_find_script(options, &script, &owned);
    if (!error)
        error = session_open(&session, pid);
    if (!error) {
        error = exec_run_script(options, json, &session, &script);
        session_close(&session);
    }
    free(owned);
    return error;
}

const struct cli_command cli_command_exec = {
    .name = "exec",
    .synopsis = "PID FILE | PID - | PID -c CODE | PID -e EXPR  [-- ARGS]",
    .summary = "run a script at the safe point: its output, value, exception and exit status",
    .description =
        "The script runs in the target's main thread (or --thread), in a namespace of its own with\n"
        "__name__ == \"__main__\" and sys.argv as given. What its thread writes to sys.stdout and\n"
        "sys.stderr comes here. With -e, modules that are loaded in the target need no import.",
    .example = "safepoint exec 4711 -e 'len(gc.get_objects())'",
    .runs_code = true,
    .takes = CLI_TAKES_REQUEST | CLI_TAKES_THREAD | CLI_TAKES_WAIT | CLI_TAKES_CODE,
    .words_min = 1,
    .words_max = 2,
    .run = exec_run,
};
