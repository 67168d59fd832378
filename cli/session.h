/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A target and one request after the other to it: where the rooms are joined. */
#ifndef SAFEPOINT_CLI_SESSION_H
#define SAFEPOINT_CLI_SESSION_H

#include "cli/cli.h"
#include "inject/freeze.h"
#include "inject/inject.h"
#include "inject/trim.h"
#include "protocol/wire.h"
#include "runtime/runtime.h"

struct session {
    struct process process;
    struct maps maps;
    uint64_t mapped; /* pages, just before the map was read */
    struct runtime runtime;
    struct inject_target target;
};

/* Takes hold of a live Python process; stops nothing. */
struct error *session_open(struct session *session, pid_t pid) __attribute__((warn_unused_result));
void session_close(struct session *session);

/* The same of whatever a command's first word names, for a command that only reads: a process, or a core file
 * (session->process.core isn't NULL then, see attach/core.h). Such a command takes CLI_TAKES_CORE, opens its target by this in
 * place of cli_parse_pid() and session_open(), and reads what it reads as ever:
 *
 *     struct session session;
 *     struct error *error = session_open_target(&session, options);
 *     ...  session.runtime, session.process.memory, session.maps, runtime_read_threads() (a thread's tid is its in the core)
 *     error = session_explain_error(&session.process, error);    of a core: what it lacks is ERROR_BAD_FILE
 *     session_close(&session);
 *
 * What it asks of /proc (state, system call, name, pages by process_vm_readv) there is none of in a core: look at
 * session.process.core first; core_threads() has the registers. ERROR_USAGE, session_open()'s, process_open_core()'s. */
struct error *session_open_target(struct session *session, const struct cli_options *options) __attribute__((warn_unused_result));

/* An error that came of the target's end is that; of a core, one that came of what it lacks is ERROR_BAD_FILE. Takes and
 * returns ownership; NULL stays NULL. */
struct error *session_explain_error(const struct process *process, struct error *error) __attribute__((warn_unused_result));

enum session_mode {
    SESSION_SCRIPT = 's',     /* a script without a file: -c, standard input */
    SESSION_FILE = 'f',       /* a script with __file__ */
    SESSION_EXPRESSION = 'e',
    SESSION_STATEMENT = 'i',  /* of a console, in its namespace */
    SESSION_END = 'z',        /* forgets a console's namespace */
};

struct session_script {
    enum session_mode mode;
    const char *name; /* in tracebacks */
    const char *key;  /* of a console's namespace, or NULL */
    const char *code;
    size_t size;
    const char *argv0;
    int argument_count;
    char **arguments;
};

/* What the agent says, as it comes. */
struct session_events {
    void *context;
    /* OUTPUT, ERROR_OUTPUT, VALUE and the kinds that make an exception. An error
     * ends the request (and is returned). */
    struct error *(*frame)(void *context, const struct wire_frame *frame);
};

struct session_outcome {
    bool raised, exited, incomplete, done;
    int64_t exit_status;
    pid_t thread;
    uint64_t pause_ns, waited_ns;
    enum inject_wake wake;
    const char *method;
    const char *channel;
};

/* Runs a script at the safe point, to its end, the deadline, a signal to us or the target's
 * end; on every way out nothing stays armed or staged. A script that raised is
 * no error here (outcome->raised). */
struct error *session_run(struct session *session, const struct cli_options *options,
                          const struct session_script *script, const struct session_events *events,
                          struct session_outcome *outcome) __attribute__((warn_unused_result));

/* Takes a freeze as the options ask for it, of a process that nobody else of ours is at work on, and says so in the
 * system log; with --no-pause it is only read. ERROR_NO_SAFE_POINT (another of us has it), ERROR_INTERRUPTED, and
 * freeze_open()'s. `freeze` must not be moved. */
struct error *session_freeze(struct session *session, const struct cli_options *options, struct freeze *freeze)
    __attribute__((warn_unused_result));
/* Ends it, whatever way it was taken. What can't be removed just now is noted. */
void session_thaw(struct session *session, const struct cli_options *options, struct freeze *freeze);

/* Has it give back what its malloc keeps free, as the options allow, and says so in the system log. trim_run()'s errors,
 * ERROR_NO_SAFE_POINT (another of us has it). */
struct error *session_trim(struct session *session, const struct cli_options *options, struct trim *trim)
    __attribute__((warn_unused_result));

/* "target":{...} */
void session_json_target(struct json *json, const struct session *session);

#endif
