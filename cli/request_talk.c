/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What goes over the channel to the agent and comes from it; and which channel. */
#include "cli/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/agents.h"

static struct error *request_start(struct request *request, const struct wire_frame *frame)
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

static struct error *request_queue_script(struct request *request)
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
struct error *request_queue_early(struct request *request)
{
    return request->options->fresh ? NULL : request_queue_script(request);
}

static struct error *request_greet(struct request *request, const struct wire_frame *frame)
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
    return request_queue_script(request); /* not before: it could have ended by now, and its name here with it */
}

static struct error *request_send_part(struct request *request, const struct wire_frame *frame)
{
    for (const struct agent_part *part = agent_parts; part->name; part++) {
        if (strlen(part->name) != frame->size || memcmp(part->name, frame->payload, frame->size) != 0)
            continue;
        struct error *error = channel_send(&request->channel, WIRE_CODE, part->source, strlen(part->source));
        return error ? error : channel_send(&request->channel, WIRE_GO, NULL, 0);
    }
    return error_create(ERROR_PROTOCOL, NULL, "the agent asks for a part that it hasn't got");
}

struct error *request_handle(void *context, const struct wire_frame *frame)
{
    struct request *request = context;
    struct session_outcome *outcome = request->outcome;
    struct wire_cursor cursor;
    uint64_t status = 0;

    if (!request->greeted)
        return frame->kind == WIRE_HELLO ? request_greet(request, frame)
                                         : error_create(ERROR_PROTOCOL, NULL, "the agent didn't greet");
    switch (frame->kind) {
    case WIRE_HELLO: /* once more, from the interpreter where it is a guest */
        request->arrived = true;
        if (request->guest)
            return request_greet(request, frame);
        return error_create(ERROR_PROTOCOL, NULL, "the agent greeted twice");
    case WIRE_STARTED:
        request->settled_in = request->arrived;
        return request_start(request, frame);
    case WIRE_FETCH:
        return request_send_part(request, frame);
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

static bool request_has_pidfd_getfd(void)
{
    return syscall(SYS_pidfd_getfd, -1, 0, 0) < 0 && errno == EBADF; /* a filter on ourselves answers what it likes */
}

/* A script by /proc/self/fd/N needs a /proc of the right kind in the target's root. */
bool request_target_has_proc(const struct request *request)
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
bool request_wants_directory(const struct request *request)
{
    bool reads_file = request->session->runtime.layout.thread_state.remote_debugger_support != OFF_NONE &&
                      (request->inject_options.choice.kind != INJECT_THREAD_MAIN ||
                       request->inject_options.choice.interpreter);

    if (request->options->channel != CLI_CHANNEL_AUTO)
        return request->options->channel == CLI_CHANNEL_DIRECTORY;
    return !request_has_pidfd_getfd() || (reads_file && request->inject_options.no_script_file);
}

/* The agent's source as a file, where the target reads one and nothing is passed to it. */
/* The lines before the agent: how it answers, and where the script runs. */
static void request_write_preamble(struct request *request)
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
struct error *request_write_agent(struct request *request)
{
    scoped_free char *text = NULL;

    request_write_preamble(request);
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

struct error *request_open_directory(struct request *request)
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
