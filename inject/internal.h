/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside of inject/ only. */
#ifndef SAFEPOINT_INJECT_INTERNAL_H
#define SAFEPOINT_INJECT_INTERNAL_H

#include "inject/inject.h"

/* What a stopped thread is doing. */
enum inject_block {
    BLOCK_NONE,      /* it runs */
    BLOCK_REPEATED,  /* in a call that Python repeats after EINTR, having looked at its signals (PEP 475) */
    BLOCK_LOCK,      /* waits for a lock of Python's: EINTR makes it run pending calls */
    BLOCK_RESTARTED, /* in a call of Python's that must not return EINTR, but may be begun again (pause, sigwait, ioctl) */
    BLOCK_FOREIGN,   /* in somebody else's call */
};

/* What a method works with while the thread is stopped. */
struct inject_stop {
    struct inject_request *request;
    const struct inject_options *options;
    struct tracee *tracee;
    struct borrow borrow; /* inspected */
    enum inject_block block;
    bool holds_gil; /* or it can't be told */
    bool hands_off; /* the thread can't be borrowed: its call would end before its time */
};

/* choose.c: the thread states that may run a request, the most promising first; at least one, or an
 * error that says why there is none. free() the list. */
struct error *choose_threads(const struct inject_target *target, const struct inject_choice *choice,
                             struct thread_state **list, size_t *count) __attribute__((warn_unused_result));

/* permit.c: does the seccomp filter allow what a request needs? Says which call it doesn't; request->channel_refused:
 * those of a passed channel. */
struct error *permit_check(const struct inject_stop *stop) __attribute__((warn_unused_result));
/* The same for a stub's staging. */
struct error *permit_check_staging(const struct inject_stop *stop) __attribute__((warn_unused_result));
/* And what a chain needs, and each kind of staging? */
bool permit_chain(const struct inject_stop *stop);
bool permit_stub_staging(const struct inject_stop *stop);
bool permit_script_staging(const struct inject_stop *stop);

/* debugger_support.c: is there a debugger-support struct, and can its script be given? */
bool debugger_is_usable(const struct inject_stop *stop);

/* pending_call.c: can the stopped thread be made to call Py_AddPendingCall()? ERROR_BUSY: not now (the queue is
 * full, or being changed). */
struct error *pending_check(const struct inject_request *request) __attribute__((warn_unused_result));
/* Takes a pending call back, with the main thread stopped. `found` = false: it doesn't wait (any more). */
struct error *pending_neutralize(const struct inject_request *request, struct address function, uint64_t argument,
                                 bool *found) __attribute__((warn_unused_result));

/* block.c: fills in stop->block and holds_gil, and what the request says of it. */
void block_describe(struct inject_stop *stop);
/* Does its caller repeat the call when it returns EINTR? */
bool block_is_repeated(const struct inject_stop *stop);
/* Must nothing be run on the thread, lest its call ends before its time? */
bool block_hands_off(const struct inject_stop *stop);
/* pending_call.c: is it in somebody else's call, where a request could be run if the user says that it may be? */
bool borrowed_is_forcible(const struct inject_stop *stop);
/* How the blocked call goes on after a post, and what the request says of it. */
enum arch_resume block_resume(struct inject_stop *stop);

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
    struct error *(*withdraw)(struct inject_stop *stop, bool *taken);
};

extern const struct inject_method inject_debugger_support, inject_borrowed_call, inject_pending_call;

/* post.c: another stop of the request's thread, in which `work` may borrow it. Passing
 * states (ERROR_BUSY) are tried again. The thread runs before and after. */
struct error *inject_with_stop(struct inject_request *request,
                               struct error *(*work)(struct inject_stop *stop, void *context), void *context)
    __attribute__((warn_unused_result));

#define STAGE_PAGE 4096u
#define STAGE_SCRIPT_NAME "safepoint-" /* of the memory file, then the request's id */

/* The page of results. */
struct stage_results {
    int32_t pair[2];
    uint64_t done[2];   /* a struct timespec, never 0: written by the last step of staging */
    uint64_t posted[2]; /* the same, by the first step of the chain that posts a stub */
};

/*
 * stage.c. Two halves, since nothing is waited for while the thread is held: its
 * thread is made to do the system calls (stopped), then their results are
 * collected and filled (running).
 */
struct error *stage_begin(struct inject_stop *stop, enum inject_staging staging) __attribute__((warn_unused_result));
struct error *stage_finish(struct inject_request *request, const struct inject_options *options,
                           enum inject_staging staging) __attribute__((warn_unused_result));

/* A descriptor of the target with its inode, and whether it still is the one. */
struct inject_descriptor stage_descriptor(const struct inject_request *request, int number);
bool stage_descriptor_is_ours(const struct inject_request *request, const struct inject_descriptor *descriptor);
/* Is it the memory file of the request (with id 0: of any request), by its name? */
bool stage_is_script(const struct inject_request *request, int number);

/* Is anything of it left? A descriptor is ours by its inode, the mapping by its content. */
bool stage_is_left(const struct inject_request *request);
bool stage_mapping_is_left(const struct inject_request *request);
/* Does anything in the stopped thread's registers or near the top of its stack point into the mapping? Not where
 * the stub neither runs on this thread nor is about to. */
bool stage_is_referenced(const struct inject_stop *stop);
/* Makes a stopped thread remove what is left. */
struct error *stage_remove(struct inject_stop *stop) __attribute__((warn_unused_result));
/* The step of a chain, before the one that posts a stub, with which the target takes it all over: from then
 * on it removes it itself, even if we die. */
struct arch_step stage_posted_step(const struct inject_request *request);
/* ERROR_UNSUPPORTED: the target's Python doesn't name a function that is to be called. */
struct error *stage_no_symbol(const struct inject_target *target, const char *name);

/* Where the stub's entry is in the target. */
struct address stage_stub_entry(const struct inject_request *request, const unsigned char *entry);

/* debugger_support.c: finds the thread state, if any, that is armed with the request's script_path; fills in
 * request->thread (the main one where none is) and method. */
struct error *debugger_find_armed(struct inject_request *request, bool *armed) __attribute__((warn_unused_result));

/* leftovers.c: waits until no thread is in a chain of ours (of one of us that was killed, too), which does a few system
 * calls more when it gets the processor. False: one still is, after half a second. */
bool leftovers_await_chain(pid_t pid);

/* post.c: the request's staging is removed by whichever thread can be borrowed, and its end waited for. */
struct error *inject_remove(struct inject_request *request) __attribute__((warn_unused_result));
/* post.c: a request in which nothing is staged or posted. */
void inject_request_init(struct inject_request *request, const struct inject_target *target,
                         const struct inject_options *options);

#endif
