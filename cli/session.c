/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one file that knows all the rooms. A request's ladder, undone in reverse order:
 *
 *   directory (where the channel can't be passed) -> post -> channel -> wait -> settle
 */
#include "cli/session.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/agents.h"
#include "cli/cgroup.h"
#include "cli/journal.h"
#include "protocol/channel.h"
#include "protocol/directory.h"

#define SESSION_SETTLE_MS 3000
#define SESSION_INTERRUPT_MS 2000
#define SESSION_IN_SCRIPT_MS 500 /* an interrupt is raised in the script's own code, if that comes by */
#define SESSION_FIRST_RETRY_MS 1
#define SESSION_LAST_RETRY_MS 500
#define SESSION_STATE_POLL_MS 20
#define SESSION_CALL_MS 200
#define SESSION_CHAIN_MS 1000
#define SESSION_END_MS 300 /* from the channel's end to the process's */
#define SESSION_HANGUP_MS 1000 /* from a done script to the channel's end, which its children may hold open */
#define SESSION_MILLISECOND 1000000ULL

/* ------------------------------------------------------------------ target */

/* An error that came of the target's end is that. */
static struct error *session_explain_error(const struct process *process, struct error *error)
{
    struct error *ended = error && error_code(error) != ERROR_TARGET_ENDED ? process_check(process) : NULL;

    if (!ended)
        return error;
    error_destroy(error);
    return ended;
}

static struct error *session_read_maps(struct session *session)
{
    struct error *error = maps_read(&session->maps, session->process.pid), *why;

    if (!error || error_code(error) != ERROR_PERMISSION || !(why = process_check_access(session->process.pid)))
        return error;
    error_destroy(error);
    return why;
}

struct error *session_open(struct session *session, pid_t pid)
{
    struct error *error;

    memset(session, 0, sizeof(*session));
    if ((error = process_open(&session->process, pid)))
        return error;
    if (!(error = session_read_maps(session)) &&
        (error = runtime_find(&session->runtime, &session->process, &session->maps)))
        maps_deinit(&session->maps);
    if (error) {
        error = session_explain_error(&session->process, error);
        process_close(&session->process);
        return error;
    }
    session->target = (struct inject_target){&session->process, &session->runtime, &session->maps, {.munmap = ADDRESS_NULL}};
    return NULL;
}

void session_close(struct session *session)
{
    runtime_close(&session->runtime);
    maps_deinit(&session->maps);
    process_close(&session->process);
}

static struct error *session_renew_maps(struct session *session)
{
    struct maps fresh;
    struct error *error = maps_read(&fresh, session->process.pid);

    if (error)
        return error;
    maps_deinit(&session->maps);
    session->maps = fresh;
    return NULL;
}

/* Reading needs no code of the target's; running does. */
static struct error *session_prepare(struct session *session)
{
    struct error *error = process_check(&session->process);

    if (error)
        return error;
    if (session->target.code.munmap.value) /* not the first request: the map is old */
        return session_renew_maps(session);
    if ((error = process_check_access(session->process.pid)))
        return error;
    error = borrow_find_code(&session->target.code, &session->process, &session->maps);
    if (!error || session->runtime.initialized)
        return error;
    error_destroy(error); /* what isn't mapped yet */
    return error_create(ERROR_BUSY, "try again in a moment", "Python is starting in process %d", session->process.pid);
}

void session_json_target(struct json *json, const struct session *session)
{
    json_begin_object(json, "target");
    json_integer(json, "pid", session->process.pid);
    json_unsigned(json, "start_time", session->process.start_time);
    json_string(json, "python", session->runtime.version);
    json_boolean(json, "free_threaded", session->runtime.free_threaded);
    json_boolean(json, "debug", session->runtime.debug_build);
    json_end_object(json);
}

/* ------------------------------------------------------------- one request */

struct session_request {
    struct session *session;
    const struct cli_options *options;
    const struct session_script *script;
    const struct session_events *events;
    struct session_outcome *outcome;
    struct directory directory;
    bool uses_directory;
    struct channel channel;
    struct inject_options inject_options;
    struct inject_request inject;
    struct inject_interruption interruption;
    struct process_status status; /* the target's, when we had locked it */
    char preamble[2048], script_path[128];
    bool greeted, started;
    bool deaf; /* nothing more comes through the channel */
    bool in_time; /* done after all, when we gave it up */
    uint64_t pthread; /* of the thread that answered */
    int64_t guest;    /* the interpreter in which the agent runs the script as a guest; 0: none */
    bool arrived;     /* it has greeted from there */
    bool turned_away; /* that interpreter ran already when it came */
    uint64_t posted_at, deadline, retry_at, retry_after;
};

static struct error *session_start(struct session_request *request, const struct wire_frame *frame)
{
    struct wire_cursor cursor;

    wire_cursor_init(&cursor, frame);
    if (!wire_cursor_u64(&cursor, &request->interruption.exception.value) ||
        !wire_cursor_u64(&cursor, &request->interruption.running.value) ||
        !wire_cursor_u64(&cursor, &request->interruption.mark.value))
        return error_create(ERROR_PROTOCOL, NULL, "the agent's start makes no sense");
    request->started = true;
    return NULL;
}

static struct error *session_queue_script(struct session_request *request)
{
    const struct session_script *script = request->script;
    size_t size = 0;
    char *text = NULL;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the script's arguments");
    fprintf(stream, "%c%c%s%c%s%c%s", script->mode, 0, script->name, 0, script->key ? script->key : "", 0,
            script->argv0);
    for (int i = 0; i < script->argument_count; i++)
        fprintf(stream, "%c%s", 0, script->arguments[i]);
    fclose(stream);
    struct error *error = channel_send(&request->channel, WIRE_REQUEST, text, size);
    free(text);
    if (!error)
        error = channel_send(&request->channel, WIRE_CODE, script->code, script->size);
    return error ? error : channel_send(&request->channel, WIRE_GO, NULL, 0);
}

/* The script waits in the channel for the agent, but for a fresh thread. */
static struct error *session_queue_early(struct session_request *request)
{
    return request->options->fresh ? NULL : session_queue_script(request);
}

static struct error *session_greet(struct session_request *request, const struct wire_frame *frame)
{
    uint64_t version, id, pid, native;
    struct wire_cursor cursor;

    wire_cursor_init(&cursor, frame);
    if (!wire_cursor_u64(&cursor, &version) || !wire_cursor_u64(&cursor, &id) || !wire_cursor_u64(&cursor, &pid) ||
        !wire_cursor_u64(&cursor, &request->pthread) || !wire_cursor_u64(&cursor, &native) ||
        version != WIRE_VERSION || id != request->inject.id ||
        ((pid_t)pid != request->status.namespace_pid && (pid_t)pid != -1) ||
        (request->uses_directory && ((size_t)(cursor.end - cursor.at) != strlen(request->directory.nonce) ||
                                     memcmp(cursor.at, request->directory.nonce, strlen(request->directory.nonce)))))
        return error_create(ERROR_PROTOCOL, NULL, "who answered on the channel isn't our agent");
    bool first = !request->greeted;
    if (first)
        request->outcome->waited_ns = tracee_clock() - request->posted_at;
    request->greeted = request->inject.spoke = true;
    if (!first || !request->options->fresh)
        return NULL;
    pid_t tid = process_find_thread(request->session->process.pid, (pid_t)native);
    request->outcome->thread = tid ? tid : (pid_t)native;
    return session_queue_script(request); /* not before: it could have ended by now, and its name here with it */
}

static struct error *session_send_part(struct session_request *request, const struct wire_frame *frame)
{
    for (const struct agent_part *part = agent_parts; part->name; part++) {
        if (strlen(part->name) != frame->size || memcmp(part->name, frame->payload, frame->size) != 0)
            continue;
        struct error *error = channel_send(&request->channel, WIRE_CODE, part->source, strlen(part->source));
        return error ? error : channel_send(&request->channel, WIRE_GO, NULL, 0);
    }
    return error_create(ERROR_PROTOCOL, NULL, "the agent asks for a part that it hasn't got");
}

static struct error *session_handle(void *context, const struct wire_frame *frame)
{
    struct session_request *request = context;
    struct session_outcome *outcome = request->outcome;
    struct wire_cursor cursor;
    uint64_t status = 0;

    if (!request->greeted)
        return frame->kind == WIRE_HELLO ? session_greet(request, frame)
                                         : error_create(ERROR_PROTOCOL, NULL, "the agent didn't greet");
    switch (frame->kind) {
    case WIRE_HELLO: /* once more, from the interpreter where it is a guest */
        request->arrived = true;
        if (request->guest)
            return session_greet(request, frame);
        return error_create(ERROR_PROTOCOL, NULL, "the agent greeted twice");
    case WIRE_STARTED:
        return session_start(request, frame);
    case WIRE_FETCH:
        return session_send_part(request, frame);
    case WIRE_INCOMPLETE:
        outcome->incomplete = true;
        return NULL;
    case WIRE_EXIT:
        wire_cursor_init(&cursor, frame);
        wire_cursor_u64(&cursor, &status);
        outcome->exited = true;
        outcome->exit_status = (int64_t)status;
        return NULL;
    case WIRE_DONE:
        outcome->done = true;
        return NULL;
    case WIRE_EXCEPTION:
        if (request->guest && !request->arrived)
            request->turned_away = true;
        else
            outcome->raised = true;
        break;
    default:
        break;
    }
    return request->turned_away ? NULL : request->events->frame(request->events->context, frame);
}

/* -------------------------------------------------------- choosing a channel */

static bool session_has_pidfd_getfd(void)
{
    return syscall(SYS_pidfd_getfd, -1, 0, 0) < 0 && errno == EBADF; /* a filter on ourselves answers what it likes */
}

/* A script by /proc/self/fd/N needs a /proc of the right kind in the target's root. */
static bool session_target_has_proc(const struct session_request *request)
{
    const pid_t names[] = {request->status.namespace_pid, request->session->process.pid};
    char path[96];
    struct stat st;
    bool found = false;

    for (size_t i = 0; i < 2 && !found; i++) {
        snprintf(path, sizeof(path), "/proc/%d/root/proc/%d/fd", request->session->process.pid, names[i]);
        found = stat(path, &st) == 0;
    }
    return found;
}

/* Without /proc the main thread has another way, which reads no file. */
static bool session_wants_directory(const struct session_request *request)
{
    bool reads_file = request->session->runtime.layout.thread_state.remote_debugger_support != OFF_NONE &&
                      (request->inject_options.choice.kind != INJECT_THREAD_MAIN ||
                       request->inject_options.choice.interpreter);

    if (request->options->channel != CLI_CHANNEL_AUTO)
        return request->options->channel == CLI_CHANNEL_DIRECTORY;
    return !session_has_pidfd_getfd() || (reads_file && request->inject_options.no_script_file);
}

/* The agent's source as a file, where the target reads one and nothing is passed to it. */
/* The lines before the agent: how it answers, and where the script runs. */
static void session_write_preamble(struct session_request *request)
{
    char guest[24] = "None", *at = request->preamble;
    size_t room = sizeof(request->preamble);

    if (request->guest)
        snprintf(guest, sizeof(guest), "%lld", (long long)request->guest);
    size_t length = (size_t)snprintf(at, room, "TARGET = %d\nFRESH = %s\nINTERPRETER = %s\nMESSAGE = None\n%s",
                                     request->status.namespace_pid, request->options->fresh ? "True" : "False", guest,
                                     request->uses_directory ? agent_connect_source : "CONNECT = None\nNONCE = b\"\"\n");
    if (request->uses_directory)
        directory_preamble(&request->directory, at + length, room - length);
}

/* The lines before the agent, and in a directory the file of both. */
static struct error *session_write_agent(struct session_request *request)
{
    scoped_free char *text = NULL;

    session_write_preamble(request);
    if (!request->uses_directory || request->session->runtime.layout.thread_state.remote_debugger_support == OFF_NONE)
        return NULL;
    if (asprintf(&text, "CHANNEL = (-1, 0)\nCLOSE = ()\nREQUEST = %llu\n%s%s", (unsigned long long)request->inject.id,
                 request->preamble, agent_source()) < 0)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the agent");
    struct error *error = directory_write_file(&request->directory, "agent.py", request->status.euid,
                                               request->status.egid, text, request->script_path,
                                               sizeof(request->script_path));
    request->inject_options.script_path = request->script_path;
    return error;
}

static struct error *session_open_directory(struct session_request *request)
{
    const struct process *process = &request->session->process;
    struct error *error = directory_open(&request->directory, process->pid, process->start_time, request->status.euid,
                                         request->status.egid);

    if (error)
        return error;
    request->uses_directory = true;
    request->outcome->channel = "directory";
    return NULL;
}

/* What one of us that was killed may have left is cleared away. Its last steps may still be to be done. */
static struct error *session_clear_leftovers(struct session *session, struct process_status *status, unsigned *cleared)
{
    uint64_t until = tracee_clock() + SESSION_CHAIN_MS * SESSION_MILLISECOND;
    bool waited = false;
    unsigned children = 0;
    struct error *error;

    while (!(error = process_read_status(session->process.pid, 0, status)) &&
           process_blocks_all_signals(status->blocked_signals) && tracee_clock() < until) {
        waited = true;
        poll(NULL, 0, 1);
    }
    if (!error && waited)
        error = session_renew_maps(session);
    if (!error)
        error = inject_clear_leftovers(&session->target, cleared);
    if (!error)
        error = freeze_clear_leftovers(&session->target, &children);
    if (error && error_code(error) == ERROR_BUSY) { /* no thread can be borrowed just now: they stay for the next of us */
        error_destroy(error);
        error = NULL;
    }
    if (!error)
        *cleared += children + directory_clear(session->process.pid, session->process.start_time, status->euid);
    return error;
}

/* One of us at a time. Fills in the status of the process when it has the lock. */
static struct error *session_lock(struct session *session, const struct cli_options *options, uint64_t deadline,
                                  struct process_status *status)
{
    unsigned cleared;
    bool locked;
    struct error *error;

    while (!(error = process_lock(&session->process, &locked)) && !locked) {
        if (cli_signals_pending())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; nothing was posted");
        if (tracee_clock() >= deadline)
            return error_create(ERROR_NO_SAFE_POINT, "wait for it, or give this one more time: --timeout 60s",
                                "another safepoint is at work on process %d", session->process.pid);
        poll(NULL, 0, SESSION_STATE_POLL_MS / 4);
    }
    if (!error)
        error = session_clear_leftovers(session, status, &cleared);
    if (!error && cleared)
        cli_note(options, "cleared away what %u killed request%s had left", cleared, cleared == 1 ? "" : "s");
    return error;
}

/* ------------------------------------------------------------------- freezing */

static uint64_t session_memory_room(const struct session *session)
{
    struct cgroup_use use;

    if (!cgroup_read(&use, session->process.pid, CGROUP_MEMORY))
        return UINT64_MAX;
    return use.used < use.limit ? use.limit - use.used : 0;
}

static struct error *session_hold(struct session *session, const struct cli_options *options)
{
    uint64_t deadline = tracee_clock() + (uint64_t)options->timeout_ms * SESSION_MILLISECOND;
    struct process_status status;
    struct error *error = session_prepare(session);

    if (!error)
        error = session_lock(session, options, deadline, &status);
    if (!error)
        journal_record(options, session, inject_new_id());
    return error;
}

struct error *session_freeze(struct session *session, const struct cli_options *options, struct freeze *freeze)
{
    const struct freeze_options how = {
        .timeout_ms = options->timeout_ms < INT_MAX ? (int)options->timeout_ms : INT_MAX,
        .wake = options->wake,
        .no_fork = options->freeze.no_fork,
        .no_pause = options->freeze.no_pause,
        .memory_room = session_memory_room(session),
        .copy_max = options->freeze.max_memory,
        .cancelled = cli_signals_pending,
    };
    struct error *error = how.no_pause ? NULL : session_hold(session, options);

    if (!error)
        error = freeze_open(freeze, &session->target, &how);
    if (error)
        process_unlock(&session->process);
    return session_explain_error(&session->process, error);
}

void session_thaw(struct session *session, const struct cli_options *options, struct freeze *freeze)
{
    struct error *left = freeze_close(freeze);

    process_unlock(&session->process);
    if (left)
        cli_note(options, "%s", error_message(left));
    error_destroy(left);
}

struct error *session_trim(struct session *session, const struct cli_options *options, struct trim *trim)
{
    const struct trim_options how = {
        .timeout_ms = options->timeout_ms < INT_MAX ? (int)options->timeout_ms : INT_MAX,
        .wake = options->wake,
        .cancelled = cli_signals_pending,
    };
    struct error *error = session_hold(session, options);

    if (!error)
        error = trim_run(trim, &session->target, &how);
    process_unlock(&session->process);
    return session_explain_error(&session->process, error);
}

/* ----------------------------------------------------------------- the ladder */

static bool session_has_interpreter(const struct session *session, int64_t id, struct error **error)
{
    scoped_free struct interpreter *interpreters = NULL;
    size_t count = 0;
    bool found = false;

    *error = runtime_read_interpreters(&session->runtime, &interpreters, &count);
    for (size_t i = 0; !*error && i < count; i++)
        found |= interpreters[i].id == id;
    return found;
}

/* One that runs somewhere can be posted to, on 3.14+; one that nobody runs takes the agent as
 * a guest, on the thread that would run it in the main interpreter. */
static struct error *session_choose_interpreter(struct session_request *request)
{
    struct session *session = request->session;
    int64_t id = request->options->choice.interpreter;
    bool runs;
    struct error *error;

    request->inject_options.choice.interpreter = id;
    if (!id)
        return NULL;
    if (!session_has_interpreter(session, id, &error)) {
        if (error)
            return error;
        error = error_create(ERROR_USAGE, NULL, "process %d has no interpreter %lld", session->process.pid, (long long)id);
        return error_with_hint(error, "list them: safepoint info %d", session->process.pid);
    }
    if ((error = inject_interpreter_runs(&session->target, id, &runs)))
        return error;
    if (runs && session->runtime.layout.thread_state.remote_debugger_support == OFF_NONE)
        return error_create(ERROR_NO_SAFE_POINT, "try again when it is idle",
                            "interpreter %lld runs on a thread of its own, where CPython %s can't run a request",
                            (long long)id, session->runtime.version);
    request->guest = runs ? 0 : id;
    if (!runs)
        request->inject_options.choice.interpreter = 0;
    return NULL;
}

static struct error *session_post(struct session_request *request)
{
    struct error *error = session_choose_interpreter(request);

    if (error || (error = session_write_agent(request)))
        return error;
    error = inject_post(&request->inject, &request->session->target, &request->inject_options);

    request->outcome->method = inject_method_name(&request->inject);
    request->outcome->thread = request->inject.thread.tid;
    request->outcome->wake = request->inject.wake;
    if (request->inject.pause_ns > request->outcome->pause_ns)
        request->outcome->pause_ns = request->inject.pause_ns;
    if (error || request->uses_directory)
        return error;
    int fd = request->inject.channel_fd;
    request->inject.channel_fd = -1;
    return channel_open(&request->channel, fd);
}

/* Where a seccomp filter lets no channel be passed, the agent may be allowed to connect. */
static struct error *session_turn_to_directory(struct session_request *request, struct error *refused)
{
    struct error *error;

    if (!request->inject.channel_refused || request->uses_directory || request->options->channel != CLI_CHANNEL_AUTO)
        return refused;
    if ((error = session_open_directory(request))) {
        error_destroy(error);
        return refused;
    }
    error_destroy(refused);
    request->inject_options.pass_channel = false;
    return session_post(request);
}

/* A thread that can't be used in its present state, or an interpreter that is busy, may be in another soon. */
static struct error *session_post_in_time(struct session_request *request)
{
    struct error *error;

    while ((error = session_post(request))) {
        enum error_code code = error_code(error);
        struct pollfd fds[] = {{.fd = request->session->process.pidfd, .events = POLLIN},
                               {.fd = cli_signals_fd(), .events = POLLIN}};

        if (code == ERROR_UNSUPPORTED && !(error = session_turn_to_directory(request, error)))
            return NULL;
        code = error_code(error);
        if ((code != ERROR_NO_SAFE_POINT && code != ERROR_BUSY) || tracee_clock() >= request->deadline)
            return error;
        error_destroy(error);
        poll(fds, 2, SESSION_STATE_POLL_MS);
        if (cli_signals_pending())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; nothing was posted");
        if ((error = process_check(&request->session->process)))
            return error;
    }
    return NULL;
}

/* Another thread may do better, and another interpreter may be idle by now; the one thread only when it got blocked. */
static bool session_should_post_again(const struct session_request *request)
{
    return request->inject_options.choice.kind == INJECT_THREAD_ANY || request->inject_options.choice.interpreter != 0 ||
           inject_is_blocked(&request->inject);
}

/* Has an agent connected to the directory's socket, or is it about to be heard? */
static bool session_is_called(const struct session_request *request)
{
    struct pollfd fd = {.fd = request->directory.listen_fd, .events = POLLIN};

    return request->uses_directory && (request->channel.fd >= 0 || poll(&fd, 1, 0) > 0);
}

/* By force: taking it back has ended the call in which alone it can run. Its thread soon calls again. */
static void session_await_call(const struct session_request *request)
{
    uint64_t until = tracee_clock() + SESSION_CALL_MS * SESSION_MILLISECOND;

    while (request->options->wake == INJECT_WAKE_FORCE && !inject_is_blocked(&request->inject) && tracee_clock() < until &&
           !cli_signals_pending())
        poll(NULL, 0, 1);
}

/* A thread that got blocked between our look and its safe point waits there: take the
 * post back and post anew, by what serves it now. */
static struct error *session_post_again(struct session_request *request)
{
    bool taken;

    if (request->retry_after < SESSION_LAST_RETRY_MS * SESSION_MILLISECOND)
        request->retry_after *= 2;
    request->retry_at = tracee_clock() + request->retry_after;
    if (request->inject.wake == INJECT_WAKE_BORROWED || request->options->wake == INJECT_WAKE_NEVER ||
        !session_should_post_again(request))
        return NULL;
    struct error *error = inject_withdraw(&request->inject, &taken);
    if (error || taken || request->inject.left || session_is_called(request))
        return error;
    if (request->channel.fd >= 0)
        close(request->channel.fd);
    request->channel.fd = -1;
    request->channel.ended = false;
    request->channel.queue_sent = request->channel.queue_size = 0;
    request->inject_options.choice.turn++;
    session_await_call(request);
    error = session_queue_early(request);
    return error ? error : session_post_in_time(request);
}

/* The channel's end is often the first that is seen of a process that ends. */
static struct error *session_check_ended(const struct session_request *request)
{
    struct pollfd fd = {.fd = request->session->process.pidfd, .events = POLLIN};
    struct error *ended = process_check(&request->session->process);

    if (!ended && poll(&fd, 1, SESSION_END_MS) > 0)
        ended = process_check(&request->session->process);
    if (!ended || !request->started)
        return ended;
    return error_with_hint(ended, "did the script end it (os._exit, os.execv)?");
}

/* Waits for the channel, the target's end, a signal to us or the time. */
static struct error *session_wait(struct session_request *request, uint64_t until)
{
    uint64_t now = tracee_clock();
    bool listens = request->uses_directory && request->channel.fd < 0;
    struct pollfd fds[3] = {
        {.fd = listens ? request->directory.listen_fd : request->channel.fd,
         .events = listens ? POLLIN : channel_poll_events(&request->channel)},
        {.fd = request->session->process.pidfd, .events = POLLIN},
        {.fd = cli_signals_fd(), .events = POLLIN},
    };
    int timeout_ms = until > now ? (int)((until - now + SESSION_MILLISECOND - 1) / SESSION_MILLISECOND) : 0;

    if (poll(fds, 3, timeout_ms) < 0 && errno != EINTR)
        return error_create_errno(ERROR_SYSTEM, errno, "can't wait for the target");
    if (listens && (fds[0].revents & POLLIN)) {
        int fd;
        struct error *error = directory_accept(&request->directory, request->session->process.pid, &fd);
        if (error || (fd >= 0 && (error = channel_open(&request->channel, fd))))
            return error;
    }
    if (request->channel.fd >= 0) {
        struct error *error = channel_pump(&request->channel, session_handle, request);
        if (error)
            return error;
    }
    if (!request->outcome->done && (fds[1].revents & POLLIN))
        return session_check_ended(request);
    return NULL;
}

static struct error *session_too_late(const struct session_request *request)
{
    char after[32];

    cli_format_duration(after, sizeof(after), (double)request->options->timeout_ms / 1000);
    if (request->started)
        return error_create(ERROR_NO_SAFE_POINT, "it was interrupted; give it more time: --timeout 60s",
                            "the script was not done after %s", after);
    struct error *error = error_create(ERROR_NO_SAFE_POINT, NULL, "no safe point in %s", after);
    return error_with_hint(error, "the request was withdrawn; what it is doing: safepoint info %d",
                           request->session->process.pid);
}

static struct error *session_wait_for_answer(struct session_request *request)
{
    struct error *error = NULL;

    while (!error && !request->outcome->done && !request->channel.ended) {
        uint64_t now = tracee_clock();

        if (cli_signals_pending())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; the request was withdrawn");
        if (now >= request->deadline)
            return session_too_late(request);
        if (!request->greeted && now >= request->retry_at)
            error = session_post_again(request);
        else
            error = session_wait(request, request->greeted || request->deadline < request->retry_at
                                              ? request->deadline : request->retry_at);
    }
    if (!error && !request->outcome->done)
        error = session_check_ended(request);
    if (!error && !request->outcome->done)
        error = error_create(ERROR_PROTOCOL, "was the script interrupted by a signal to the target, or did it close "
                             "descriptors that aren't its own?", "the agent ended without an answer");
    return error;
}

/* The thread state in which the script runs, where that isn't the one posted to: a fresh thread's; or the
 * one that the interpreter has which nobody else runs (up to 3.12 it is named after the
 * thread that made it). */
static struct error *session_find_runner(struct session_request *request, bool *found)
{
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error;

    *found = !request->options->fresh && !request->guest;
    if (*found)
        return NULL;
    error = runtime_read_threads(&request->session->runtime, &threads, &count);
    for (size_t i = 0; !error && i < count && !*found; i++) {
        if (threads[i].interpreter_id != request->guest || (!request->guest && threads[i].pthread != request->pthread))
            continue;
        request->inject.thread = threads[i];
        request->inject.thread.tid = request->outcome->thread;
        *found = true;
    }
    return error;
}

/* Waits for the agent's end, or until then. */
static struct error *session_wait_for_end(struct session_request *request, uint64_t until, bool *ended)
{
    struct error *error = NULL;

    *ended = false;
    while (!error && !*ended && tracee_clock() < until) {
        if (request->deaf) {
            *ended = channel_await_hangup(&request->channel, 1);
            continue;
        }
        error = session_wait(request, until);
        *ended = request->outcome->done || request->channel.ended;
    }
    return error;
}

/* Interrupts a running script, once, and waits for its end. One that has said that it starts may not run yet. */
static struct error *session_interrupt(struct session_request *request, bool *ended)
{
    uint64_t start = tracee_clock(), until = start + SESSION_INTERRUPT_MS * SESSION_MILLISECOND, now;
    bool raised = false, found;
    struct error *error = session_find_runner(request, &found);

    request->interruption.file = request->script->name;
    while (!error && !*ended && (now = tracee_clock()) < until) {
        bool anywhere = now - start > SESSION_IN_SCRIPT_MS * SESSION_MILLISECOND;

        if (found && !raised &&
            (error = inject_interrupt(&request->inject, &request->interruption, anywhere, &raised)))
            break;
        error = session_wait_for_end(request, raised || !found ? until : now + SESSION_MILLISECOND, ended);
    }
    return error;
}

/* The script may lie in the channel already: either the agent has started it, and said so, or it never will. */
static struct error *session_decide_start(struct session_request *request)
{
    struct error *error = NULL;

    if (request->started || request->channel.fd < 0)
        return NULL;
    channel_deafen(&request->channel);
    request->deaf = true;
    while (!error && !request->channel.ended)
        error = channel_pump(&request->channel, session_handle, request);
    return error;
}

/* What remains, said as the hint. */
static struct error *session_explain_rest(const struct session_request *request, struct error *error, bool settled,
                                          const struct error *failed)
{
    if (request->inject.left)
        return error_with_hint(error, "it finds the request withdrawn when it returns to Python, and clears it away");
    if (settled)
        return error;
    if (request->started)
        return error_with_hint(error, "it is in a call that can't be interrupted, and ends when that returns; its "
                                      "output is discarded");
    if (failed)
        return error_with_hint(error, "%s", error_message(failed));
    return error_with_hint(error, "it finds the request withdrawn when it gets the GIL, and clears it away");
}

/* Who kept the request's thread from its safe point: who holds the GIL, or itself. */
static struct error *session_find_blocker(const struct session_request *request, struct thread_state *blocker)
{
    const struct thread_state *wanted = &request->inject.thread;
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error = runtime_read_threads(&request->session->runtime, &threads, &count);

    *blocker = *wanted;
    for (size_t i = 0; !error && i < count; i++) {
        if (threads[i].holds_gil && threads[i].interpreter.value == wanted->interpreter.value)
            *blocker = threads[i];
    }
    return error;
}

/* "MainThread (4711) is in C code of libfoo.so holding the GIL, in work (app.py:88), for at least 10 s" */
static struct error *session_name_blocker(const struct session_request *request, struct error *late)
{
    struct session *session = request->session;
    struct thread_state blocker;
    struct python_frame frame;
    char doing[192], after[32], where[1400] = "", name[48];
    bool found, forcible = false;
    struct error *error = session_find_blocker(request, &blocker);

    if (!error)
        error = inject_describe(&session->target, &blocker, doing, sizeof(doing), &forcible);
    if (error) { /* then without */
        error_destroy(error);
        return late;
    }
    error = runtime_read_top_frame(&session->runtime, &blocker, &frame, &found);
    if (!error && found)
        snprintf(where, sizeof(where), ", in %s (%s:%d)", frame.function, frame.file, frame.line);
    error_destroy(error);
    cli_format_duration(after, sizeof(after), (double)(tracee_clock() - request->posted_at) / 1e9);
    snprintf(name, sizeof(name), blocker.main ? "MainThread (%d)" : "thread %d", blocker.tid);
    error = error_create(ERROR_NO_SAFE_POINT, error_hint(late), "%s: %s is %s%s, for at least %s", error_message(late),
                         name, doing, where, after);
    error_destroy(late);
    if (forcible && request->options->wake == INJECT_WAKE_AUTO)
        return error_with_hint(error, "the request was withdrawn; to have it run inside of that call, which may then end "
                                      "early: --wake=force");
    return error;
}

/* A fresh thread's end is waited for: it leaves nothing, not even itself. */
static void session_await_thread_end(const struct session_request *request)
{
    uint64_t until = tracee_clock() + SESSION_SETTLE_MS * SESSION_MILLISECOND;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d", request->session->process.pid, request->outcome->thread);
    while (request->options->fresh && access(path, F_OK) == 0 && tracee_clock() < until)
        poll(NULL, 0, 1);
}

/* The way down after a failure: take the post back; a script that runs is
 * interrupted; then nobody is at our end of the channel. */
static struct error *session_abandon(struct session_request *request, struct error *error)
{
    struct error *failed = NULL, *unsettled = NULL;
    bool taken = true, settled = true, ended = false;

    if (error_code(error) == ERROR_TARGET_ENDED) {
        channel_close(&request->channel);
        return error;
    }
    if (!request->greeted)
        failed = inject_withdraw(&request->inject, &taken);
    if (!failed && taken)
        failed = session_decide_start(request);
    request->in_time = request->outcome->done;
    if (!failed && request->started && !request->in_time)
        failed = session_interrupt(request, &ended);
    if (!request->greeted && error_code(error) == ERROR_NO_SAFE_POINT)
        error = session_name_blocker(request, error);
    channel_close(&request->channel);
    if (taken)
        unsettled = inject_settle(&request->inject, SESSION_SETTLE_MS, &settled);
    if (request->started && request->uses_directory) /* nothing is staged that would tell */
        settled = ended;
    if (ended)
        session_await_thread_end(request);
    error = session_explain_rest(request, error, settled && (!failed || taken), failed);
    error_destroy(failed);
    error_destroy(unsettled);
    return error;
}

/* One that was done just then is no failure. */
static struct error *session_give_up(struct session_request *request, struct error *error)
{
    enum error_code code = error_code(error);

    error = session_abandon(request, error);
    if (!request->in_time || (code != ERROR_NO_SAFE_POINT && code != ERROR_INTERRUPTED))
        return error;
    error_destroy(error);
    return NULL;
}

/* One request, from its post to its end. */
static struct error *session_serve(struct session_request *request)
{
    struct error *error;
    bool settled;

    request->inject.id = request->inject_options.id = inject_new_id();
    journal_record(request->options, request->session, request->inject.id);
    request->posted_at = tracee_clock();
    request->retry_after = SESSION_FIRST_RETRY_MS * SESSION_MILLISECOND;
    request->retry_at = request->posted_at + request->retry_after;
    if ((error = session_post_in_time(request)))
        return error;
    if ((error = session_wait_for_answer(request)))
        return session_give_up(request, error);
    if (request->uses_directory) /* nothing is staged by whose end the agent's could be seen */
        channel_await_hangup(&request->channel, SESSION_HANGUP_MS);
    channel_close(&request->channel);
    if ((error = inject_settle(&request->inject, SESSION_SETTLE_MS, &settled)))
        return error;
    session_await_thread_end(request);
    return NULL;
}

/* An interpreter that was idle ran when the agent came to it; nothing of the script was run. */
static struct error *session_come_again(struct session_request *request)
{
    int64_t id = request->guest;

    if (cli_signals_pending())
        return error_create(ERROR_INTERRUPTED, NULL, "interrupted; nothing was run");
    if (tracee_clock() >= request->deadline)
        return error_create(ERROR_NO_SAFE_POINT, "try again when it is idle", "interpreter %lld runs on a thread of its own",
                            (long long)id);
    channel_deinit(&request->channel);
    channel_init(&request->channel);
    request->greeted = request->started = request->turned_away = request->outcome->done = false;
    return session_queue_early(request);
}

static struct error *session_perform(struct session_request *request)
{
    struct error *error = session_prepare(request->session);

    if (error || (error = session_queue_early(request)))
        return error;
    request->deadline = tracee_clock() + (uint64_t)request->options->timeout_ms * SESSION_MILLISECOND;
    if ((error = session_lock(request->session, request->options, request->deadline, &request->status)))
        return error;
    request->inject_options.no_script_file = !session_target_has_proc(request);
    if (session_wants_directory(request) && (error = session_open_directory(request)))
        return error;
    request->inject_options.pass_channel = !request->uses_directory;
    request->inject_options.deadline = request->deadline;
    while (!(error = session_serve(request)) && request->turned_away)
        if ((error = session_come_again(request)))
            return error;
    return error;
}

struct error *session_run(struct session *session, const struct cli_options *options,
                          const struct session_script *script, const struct session_events *events,
                          struct session_outcome *outcome)
{
    struct session_request *request = calloc(1, sizeof(*request));

    *outcome = (struct session_outcome){.channel = "passed", .method = "none"};
    if (!request)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a request");
    request->session = session;
    request->options = options;
    request->script = script;
    request->events = events;
    request->outcome = outcome;
    request->directory = (struct directory){.parent_fd = -1, .fd = -1, .listen_fd = -1};
    request->inject_options = (struct inject_options){
        .choice = options->choice, .wake = options->wake, .source = agent_source(), .preamble = request->preamble};
    channel_init(&request->channel);
    struct error *error = session_explain_error(&session->process, session_perform(request));
    if (request->inject.pause_ns > outcome->pause_ns)
        outcome->pause_ns = request->inject.pause_ns;
    channel_deinit(&request->channel);
    directory_close(&request->directory);
    process_unlock(&session->process);
    free(request);
    return error;
}
