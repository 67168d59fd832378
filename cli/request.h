/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Inside cli/: one request, in the files request*.c and session.c, where the rooms are joined. Its ladder, undone in reverse order:
 *
 *   directory (where the channel can't be passed) -> post -> channel -> wait -> settle
 */
#ifndef SAFEPOINT_CLI_REQUEST_H
#define SAFEPOINT_CLI_REQUEST_H

#include "cli/session.h"
#include "protocol/channel.h"
#include "protocol/directory.h"

#define REQUEST_MILLISECOND 1000000ULL
#define REQUEST_STATE_POLL_MS 20
#define REQUEST_SETTLE_MS 3000

struct request {
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
    bool settled_in;  /* and started: until then nothing of the script's can be interrupted */
    bool turned_away; /* that interpreter ran already when it came */
    uint64_t posted_at, deadline, retry_at, retry_after;
};

/* session.c: reads anew what may have changed since the target was opened. */
struct error *session_prepare(struct session *session) __attribute__((warn_unused_result));
/* One of us at a time, who clears away what killed ones have left. Fills in the status of the process when it has the lock. */
struct error *session_lock(struct session *session, const struct cli_options *options, uint64_t deadline,
                           struct process_status *status) __attribute__((warn_unused_result));

/* request_talk.c: what is said, and by which channel. */
bool request_target_has_proc(const struct request *request);
bool request_wants_directory(const struct request *request);
struct error *request_open_directory(struct request *request) __attribute__((warn_unused_result));
struct error *request_write_agent(struct request *request) __attribute__((warn_unused_result));
/* The script is sent before the agent asks, where that is known to be the one. */
struct error *request_queue_early(struct request *request) __attribute__((warn_unused_result));
/* A frame of the agent's; `context` is the request. */
struct error *request_handle(void *context, const struct wire_frame *frame) __attribute__((warn_unused_result));

/* request_post.c: the way up. Posts, again while that fails for now, until the deadline. */
struct error *request_post_in_time(struct request *request) __attribute__((warn_unused_result));
/* Waits for the channel, the target's end, a signal to us or the time. */
struct error *request_wait(struct request *request, uint64_t until) __attribute__((warn_unused_result));
/* The same to the request's end or deadline; posts anew where that serves better. */
struct error *request_wait_for_answer(struct request *request) __attribute__((warn_unused_result));

/* request_end.c: the way down of one that failed with `error`; NULL of one that was done just then. */
struct error *request_give_up(struct request *request, struct error *error);
/* Of a fresh thread: until it is gone. */
void request_await_thread_end(const struct request *request);

#endif
