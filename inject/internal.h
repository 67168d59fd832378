/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside of inject/ only. */
#ifndef SAFEPOINT_INJECT_INTERNAL_H
#define SAFEPOINT_INJECT_INTERNAL_H

#include "inject/inject.h"

/* What a method works with while the thread is stopped. */
struct inject_stop {
    struct inject_request *request;
    const struct inject_options *options;
    struct tracee *tracee;
    struct borrow borrow; /* inspected */
    bool pep475;          /* blocked in a call that Python repeats after EINTR */
    bool hands_off;       /* the thread can't be borrowed: its call would end before its time */
};

/* What must lie in the target before a method can post. */
enum inject_staging {
    STAGING_STUB,   /* the stub with the agent's source, and the channel where one is passed */
    STAGING_SCRIPT, /* the agent's source as a memory file, and the channel */
};

/*
 * A way to the safe point. The first row whose serves() says yes posts; the rest
 * of the program does not know which it was.
 */
struct inject_method {
    const char *name;
    enum inject_staging staging;
    /* Does it serve this version, thread and state? */
    bool (*serves)(const struct inject_stop *stop);
    /* With the thread stopped, and what it needs staged: posts. */
    struct error *(*post)(struct inject_stop *stop);
    /* With the thread stopped: takes the post back, or says that it was taken. */
    struct error *(*withdraw)(struct inject_request *request, bool *taken);
};

extern const struct inject_method inject_debugger_support, inject_borrowed_call, inject_pending_call;

/* post.c: another stop of the request's thread, in which `work` may borrow it. Passing
 * states (ERROR_BUSY) are tried again. The thread runs before and after. */
struct error *inject_with_stop(struct inject_request *request,
                               struct error *(*work)(struct inject_stop *stop, void *context), void *context)
    __attribute__((warn_unused_result));

/* How the blocked call of a stopped thread goes on after a post, and what the request says of it. */
enum arch_resume inject_resume(struct inject_stop *stop);

/*
 * stage.c. Two halves, since nothing is waited for while the thread is held: its
 * thread is made to do the system calls (stopped), then their results are
 * collected and filled (running).
 */
struct error *stage_begin(struct inject_stop *stop, enum inject_staging staging) __attribute__((warn_unused_result));
struct error *stage_finish(struct inject_request *request, const struct inject_options *options,
                           enum inject_staging staging) __attribute__((warn_unused_result));

/* Is anything of it left? A descriptor is ours by its inode, the mapping by its content. */
bool stage_is_left(const struct inject_request *request);
/* Makes a stopped thread remove what is left. */
struct error *stage_remove(struct inject_stop *stop) __attribute__((warn_unused_result));
/* Before a post: what is staged is the target's to remove from now on, even if we die. */
struct error *stage_mark_posted(const struct inject_request *request) __attribute__((warn_unused_result));
/* Looks for what one of us has staged and not posted before it was killed (the caller holds the
 * process's lock: nobody is at work). Found: `request` describes it. */
bool stage_find_leftover(struct inject_request *request);

/* Where the stub's entry is in the target. */
struct address stage_stub_entry(const struct inject_request *request, const unsigned char *entry);

#endif
