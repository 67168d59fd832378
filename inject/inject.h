/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One request: make the target run an agent's source at its safe point, exactly
 * once, or withdraw it without a trace.
 *
 * Life of a request:
 *
 *   inject_post      stop a thread for some 100 us, stage what the agent needs
 *                    (channel, source), post by the first method of the table
 *                    that serves this version and this thread's state
 *   ...              the caller talks to the agent over the channel
 *   inject_settle    after the agent said that it is done: wait until its staging
 *                    is gone too
 *   inject_withdraw  instead, on every other way out: take the post back; what was
 *                    staged is removed; or learn that it runs already
 *
 * Nothing here prints, and nothing is left in the target when inject_settle() or
 * inject_withdraw() has succeeded.
 */
#ifndef SAFEPOINT_INJECT_INJECT_H
#define SAFEPOINT_INJECT_INJECT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/borrow.h"
#include "attach/maps.h"
#include "attach/process.h"
#include "runtime/runtime.h"

/* What every request to a process needs; made by the session, outlives requests. */
struct inject_target {
    const struct process *process;
    const struct runtime *runtime;
    const struct maps *maps; /* fresh: where there is room is looked up in it */
    struct borrow_code code;
};

/* May a blocked call be disturbed? */
enum inject_wake_mode {
    INJECT_WAKE_AUTO,  /* where Python repeats it (PEP 475), or it is begun again: nobody notices */
    INJECT_WAKE_NEVER, /* wait until it returns by itself */
    INJECT_WAKE_FORCE, /* somebody else's too: one with a time-out then ends early, with EINTR */
};

/* Which thread shall run it. */
enum inject_thread_kind {
    INJECT_THREAD_MAIN, /* of another interpreter: the first that runs in it */
    INJECT_THREAD_ANY,  /* whichever can, one after another */
    INJECT_THREAD_ID,
};
struct inject_choice {
    enum inject_thread_kind kind;
    pid_t tid;           /* INJECT_THREAD_ID: in our pid namespace or the target's */
    int64_t interpreter; /* its id; 0: the main one */
    unsigned turn;       /* INJECT_THREAD_ANY: counts the posts; each begins with the next thread */
};

struct inject_options {
    uint64_t id;             /* inject_new_id(); what the agent answers with */
    struct inject_choice choice;
    enum inject_wake_mode wake;
    const char *source;      /* the agent: Python source */
    const char *preamble;    /* lines put before it, or NULL */
    bool pass_channel;       /* make a socket pair in the target; else the preamble says where to connect */
    bool no_script_file;     /* the target can't open /proc/self/fd/N */
    uint64_t deadline;       /* tracee_clock(): how long a target that is stopped (SIGSTOP) is waited for; 0: not */
    const char *script_path; /* the source lies in this file already, as the target names it; else NULL */
};

enum inject_wake {
    INJECT_WAKE_NONE,     /* the thread was running */
    INJECT_WAKE_EINTR,    /* its system call was made to return EINTR */
    INJECT_WAKE_BORROWED, /* the agent runs inside of its system call, which then returns EINTR */
};

struct inject_method;

/* A descriptor that we made in the target, recognised by its inode. */
struct inject_descriptor {
    int number; /* -1: none */
    ino_t inode;
};

struct inject_request {
    const struct inject_target *target;
    const struct inject_method *method;
    struct thread_state thread;
    uint64_t id;
    int channel_fd;      /* our end; -1 when not passed. The caller may take it over (set it to -1) */
    uint64_t pause_ns;   /* the longest that a thread of the target was held */
    enum inject_wake wake;
    bool forced;         /* INJECT_WAKE_FORCE: for taking it back too */
    bool posted;
    bool spoke;          /* the caller has heard the agent */
    bool left;           /* withdrawn, but what is staged goes only when the thread comes by (inject_withdraw) */
    char doing[192];     /* what the thread was found doing, for messages: "blocked in read called by libfoo.so" */

    /* What is staged in the target, to be undone. */
    struct inject_descriptor theirs, ours, script;
    struct address mapping; /* the stub's pages, then a page for results */
    size_t mapping_size, stub_size;
    bool stub_written;
    struct borrow_limits limits;
    struct address add_pending_call; /* Py_AddPendingCall; ADDRESS_NULL when the file has no such symbol */
    uint64_t signal_mask;   /* of the thread, before we first borrowed it */
    uint64_t restart_at;    /* where the call that we interrupted is begun again; 0: none was */
    bool borrowed;
    bool channel_refused;   /* the target's seccomp filter lets no channel be passed */
    char script_path[PATH_MAX];
};

/* A random number that names a request. */
uint64_t inject_new_id(void);

/* Posts. On success the agent's source will run; on error everything is undone.
 * ERROR_DISABLED (remote debugging switched off), ERROR_UNSUPPORTED,
 * ERROR_PERMISSION, ERROR_NO_SAFE_POINT (no thread can be used in its present
 * state: says which state), ERROR_TARGET_ENDED. All of the target's threads
 * run before and after. */
struct error *inject_post(struct inject_request *request, const struct inject_target *target,
                          const struct inject_options *options) __attribute__((warn_unused_result));

/* Takes the post back. `taken` = false: it will never run, and what was staged is
 * removed. `taken` = true: the safe point had it already; the caller closes
 * its end of the channel (the agent then ends) and calls inject_settle().
 * Where no thread can be borrowed without harm (a call that would end before its
 * time), request->left is set: the caller closes its end of the channel; an
 * agent that finds nobody there runs nothing, and removes all that is staged. */
struct error *inject_withdraw(struct inject_request *request, bool *taken) __attribute__((warn_unused_result));

/* Waits, at most `timeout_ms`, until what the agent removes itself is gone, and
 * removes the rest. `settled` = false: the agent still runs. */
struct error *inject_settle(struct inject_request *request, int timeout_ms, bool *settled)
    __attribute__((warn_unused_result));

/* Does a thread run in this interpreter, other than the main one, just now? */
struct error *inject_interpreter_runs(const struct inject_target *target, int64_t id, bool *runs)
    __attribute__((warn_unused_result));

/* What a thread is doing, in words that follow "is": "blocked in read called by libfoo.so", "in C code of
 * libfoo.so holding the GIL". `forcible`: a request could be run inside of that call by INJECT_WAKE_FORCE, and only
 * so. Stops it for a moment; touches nothing. */
struct error *inject_describe(const struct inject_target *target, const struct thread_state *thread, char *text,
                              size_t room, bool *forcible) __attribute__((warn_unused_result));

/* Is the request's thread blocked where it may stay, and not only waiting for the GIL? Looked at while it runs. */
bool inject_is_blocked(const struct inject_request *request);

/* Removes what one of us, killed between staging and posting, has left in the target; after
 * process_lock(). The rest (a request that was posted) removes itself. */
struct error *inject_clear_leftovers(const struct inject_target *target, unsigned *cleared)
    __attribute__((warn_unused_result));

/* Where the agent says that its script may be interrupted (its STARTED frame). */
struct inject_interruption {
    struct address exception; /* the class to raise */
    struct address running;   /* a list, whose first item is `mark` while the script runs */
    struct address mark;
    const char *file; /* as the script's own code calls its file */
};

/* Raises the exception in the thread that runs the script, at its next bytecode.
 * `raised` = false: the script was over or not begun yet, the thread didn't run the script's own code (but something
 * that it calls, or a signal handler of the target's) and `anywhere` wasn't set, or the build doesn't allow it. */
struct error *inject_interrupt(struct inject_request *request, const struct inject_interruption *at, bool anywhere,
                               bool *raised) __attribute__((warn_unused_result));

/* "eintr" and so on, as in JSON. */
const char *inject_wake_name(enum inject_wake wake);
const char *inject_method_name(const struct inject_request *request);

#endif
