/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One request after the other, from the post to the end. */
#include "cli/request.h"

#include <stdlib.h>

#include "cli/agents.h"
#include "cli/journal.h"

#define REQUEST_FIRST_RETRY_MS 1
#define REQUEST_HANGUP_MS 1000 /* from a done script to the channel's end, which its children may hold open */

/* One request, from its post to its end. */
static struct error *request_serve(struct request *request)
{
    struct error *error;
    bool settled;

    request->inject.id = request->inject_options.id = inject_new_id();
    journal_record(request->options, request->session, request->inject.id);
    request->posted_at = tracee_clock();
    request->retry_after = REQUEST_FIRST_RETRY_MS * REQUEST_MILLISECOND;
    request->retry_at = request->posted_at + request->retry_after;
    if ((error = request_post_in_time(request)))
        return error;
    if ((error = request_wait_for_answer(request)))
        return request_give_up(request, error);
    if (request->uses_directory) /* nothing is staged by whose end the agent's could be seen */
        channel_await_hangup(&request->channel, REQUEST_HANGUP_MS);
    channel_close(&request->channel);
    if ((error = inject_settle(&request->inject, REQUEST_SETTLE_MS, &settled)))
        return error;
    request_await_thread_end(request);
    return NULL;
}

/* An interpreter that was idle ran when the agent came to it; nothing of the script was run. */
static struct error *request_come_again(struct request *request)
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
    request->arrived = request->settled_in = false;
    return request_queue_early(request);
}

static struct error *request_perform(struct request *request)
{
    struct error *error = session_prepare(request->session);

    if (error || (error = request_queue_early(request)))
        return error;
    request->deadline = tracee_clock() + (uint64_t)request->options->timeout_ms * REQUEST_MILLISECOND;
    if ((error = session_lock(request->session, request->options, request->deadline, &request->status)))
        return error;
    request->inject_options.no_script_file = !request_target_has_proc(request);
    if (request_wants_directory(request) && (error = request_open_directory(request)))
        return error;
    request->inject_options.pass_channel = !request->uses_directory;
    request->inject_options.deadline = request->deadline;
    while (!(error = request_serve(request)) && request->turned_away)
        if ((error = request_come_again(request)))
            return error;
    return error;
}

struct error *session_run(struct session *session, const struct cli_options *options,
                          const struct session_script *script, const struct session_events *events,
                          struct session_outcome *outcome)
{
    struct request *request = calloc(1, sizeof(*request));

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
    struct error *error = session_explain_error(&session->process, request_perform(request));
    if (request->inject.pause_ns > outcome->pause_ns)
        outcome->pause_ns = request->inject.pause_ns;
    channel_deinit(&request->channel);
    directory_close(&request->directory);
    process_unlock(&session->process);
    free(request);
    return error;
}
