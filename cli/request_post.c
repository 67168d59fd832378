/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way up: choosing the interpreter, posting, posting anew what waits in vain, waiting. */
#include "cli/request.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "attach/scope.h"

#define REQUEST_LAST_RETRY_MS 500
#define REQUEST_CALL_MS 200
#define REQUEST_END_MS 300 /* from the channel's end to the process's */

static bool request_has_interpreter(const struct session *session, int64_t id, struct error **error)
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
static struct error *request_choose_interpreter(struct request *request)
{
    struct session *session = request->session;
    int64_t id = request->options->choice.interpreter;
    bool runs;
    struct error *error;

    request->inject_options.choice.interpreter = id;
    if (!id)
        return NULL;
    if (!request_has_interpreter(session, id, &error)) {
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

static struct error *request_post(struct request *request)
{
    struct error *error = request_choose_interpreter(request);

    if (error || (error = request_write_agent(request)))
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
static struct error *request_turn_to_directory(struct request *request, struct error *refused)
{
    struct error *error;

    if (!request->inject.channel_refused || request->uses_directory || request->options->channel != CLI_CHANNEL_AUTO)
        return refused;
    if ((error = request_open_directory(request))) {
        error_destroy(error);
        return refused;
    }
    error_destroy(refused);
    request->inject_options.pass_channel = false;
    return request_post(request);
}

/* A thread that can't be used in its present state, or an interpreter that is busy, may be in another soon. */
struct error *request_post_in_time(struct request *request)
{
    struct error *error;

    while ((error = request_post(request))) {
        enum error_code code = error_code(error);
        struct pollfd fds[] = {{.fd = request->session->process.pidfd, .events = POLLIN},
                               {.fd = cli_signals_fd(), .events = POLLIN}};

        if (code == ERROR_UNSUPPORTED && !(error = request_turn_to_directory(request, error)))
            return NULL;
        code = error_code(error);
        if ((code != ERROR_NO_SAFE_POINT && code != ERROR_BUSY) || tracee_clock() >= request->deadline)
            return error;
        error_destroy(error);
        poll(fds, 2, REQUEST_STATE_POLL_MS);
        if (cli_signals_pending())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; nothing was posted");
        if ((error = process_check(&request->session->process)))
            return error;
    }
    return NULL;
}

/* Another thread may do better, and another interpreter may be idle by now; the one thread only when it got blocked. */
static bool request_should_post_again(const struct request *request)
{
    return request->inject_options.choice.kind == INJECT_THREAD_ANY || request->inject_options.choice.interpreter != 0 ||
           inject_is_blocked(&request->inject);
}

/* Has an agent connected to the directory's socket, or is it about to be heard? */
static bool request_is_called(const struct request *request)
{
    struct pollfd fd = {.fd = request->directory.listen_fd, .events = POLLIN};

    return request->uses_directory && (request->channel.fd >= 0 || poll(&fd, 1, 0) > 0);
}

/* By force: taking it back has ended the call in which alone it can run. Its thread soon calls again. */
static void request_await_call(const struct request *request)
{
    uint64_t until = tracee_clock() + REQUEST_CALL_MS * REQUEST_MILLISECOND;

    while (request->options->wake == INJECT_WAKE_FORCE && !inject_is_blocked(&request->inject) && tracee_clock() < until &&
           !cli_signals_pending())
        poll(NULL, 0, 1);
}

/* A thread that got blocked between our look and its safe point waits there: take the
 * post back and post anew, by what serves it now. */
static struct error *request_post_again(struct request *request)
{
    bool taken;

    if (request->retry_after < REQUEST_LAST_RETRY_MS * REQUEST_MILLISECOND)
        request->retry_after *= 2;
    request->retry_at = tracee_clock() + request->retry_after;
    if (request->inject.wake == INJECT_WAKE_BORROWED || request->options->wake == INJECT_WAKE_NEVER ||
        !request_should_post_again(request))
        return NULL;
    struct error *error = inject_withdraw(&request->inject, &taken);
    if (error || taken || request->inject.left || request_is_called(request))
        return error;
    if (request->channel.fd >= 0)
        close(request->channel.fd);
    request->channel.fd = -1;
    request->channel.ended = false;
    request->channel.queue_sent = request->channel.queue_size = 0;
    request->inject_options.choice.turn++;
    request_await_call(request);
    error = request_queue_early(request);
    return error ? error : request_post_in_time(request);
}

/* The channel's end is often the first that is seen of a process that ends. */
static struct error *request_check_ended(const struct request *request)
{
    struct pollfd fd = {.fd = request->session->process.pidfd, .events = POLLIN};
    struct error *ended = process_check(&request->session->process);

    if (!ended && poll(&fd, 1, REQUEST_END_MS) > 0)
        ended = process_check(&request->session->process);
    if (!ended || !request->started)
        return ended;
    return error_with_hint(ended, "did the script end it (os._exit, os.execv)?");
}

/* Waits for the channel, the target's end, a signal to us or the time. */
struct error *request_wait(struct request *request, uint64_t until)
{
    uint64_t now = tracee_clock();
    bool listens = request->uses_directory && request->channel.fd < 0;
    struct pollfd fds[3] = {
        {.fd = listens ? request->directory.listen_fd : request->channel.fd,
         .events = listens ? POLLIN : channel_poll_events(&request->channel)},
        {.fd = request->session->process.pidfd, .events = POLLIN},
        {.fd = cli_signals_fd(), .events = POLLIN},
    };
    int timeout_ms = until > now ? (int)((until - now + REQUEST_MILLISECOND - 1) / REQUEST_MILLISECOND) : 0;

    if (poll(fds, 3, timeout_ms) < 0 && errno != EINTR)
        return error_create_errno(ERROR_SYSTEM, errno, "can't wait for the target");
    if (listens && (fds[0].revents & POLLIN)) {
        int fd;
        struct error *error = directory_accept(&request->directory, request->session->process.pid, &fd);
        if (error || (fd >= 0 && (error = channel_open(&request->channel, fd))))
            return error;
    }
    if (request->channel.fd >= 0) {
        struct error *error = channel_pump(&request->channel, request_handle, request);
        if (error)
            return error;
    }
    if (!request->outcome->done && (fds[1].revents & POLLIN))
        return request_check_ended(request);
    return NULL;
}

static struct error *request_too_late(const struct request *request)
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

struct error *request_wait_for_answer(struct request *request)
{
    struct error *error = NULL;

    while (!error && !request->outcome->done && !request->channel.ended) {
        uint64_t now = tracee_clock();

        if (cli_signals_pending())
            return error_create(ERROR_INTERRUPTED, NULL, "interrupted; the request was withdrawn");
        if (now >= request->deadline)
            return request_too_late(request);
        if (!request->greeted && now >= request->retry_at)
            error = request_post_again(request);
        else
            error = request_wait(request, request->greeted || request->deadline < request->retry_at
                                              ? request->deadline : request->retry_at);
    }
    if (!error && !request->outcome->done)
        error = request_check_ended(request);
    if (!error && !request->outcome->done)
        error = error_create(ERROR_PROTOCOL, "was the script interrupted by a signal to the target, or did it close "
                             "descriptors that aren't its own?", "the agent ended without an answer");
    return error;
}
