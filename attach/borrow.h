/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Running something on a thread of the target: a chain of self-restoring frames.
 *
 * Below the stopped thread's stack pointer and red zone we put the frame that
 * the kernel would push for a signal handler, holding the thread's own state, and
 * below that one frame for each further step. Each step (a system call, a
 * function) returns into the C library's sigreturn trampoline with the next frame on top
 * of the stack, which makes the thread do the next step, and in the end restores itself.
 * We set its registers once, atomically, let it go at once, and never restore
 * anything: our death at any instant changes nothing.
 *
 *      thread's stack pointer ->  | red zone                            |
 *                                 | scratch: BORROW_SCRATCH_SIZE bytes  |
 *                                 | frame: the thread's own state       |
 *                                 | frame: step n                       |
 *                                 | ...                                 |
 *      stack of step 1        ->  | frame: step 2                       |
 *
 * Results come back through memory that the steps write (the caller maps some).
 * The order is always: stop (tracee.h), borrow_inspect, borrow_chain, tracee_release.
 */
#ifndef SAFEPOINT_ATTACH_BORROW_H
#define SAFEPOINT_ATTACH_BORROW_H

#include "attach/arch/arch.h"
#include "attach/maps.h"
#include "attach/process.h"
#include "attach/seccomp.h"
#include "attach/tracee.h"

#define BORROW_SCRATCH_SIZE 64

/* Code that is already mapped in the target: what the frame needs, and
 * functions of the C library that a stub, a withdrawal or a pause uses. */
struct borrow_code {
    struct arch_places places;
    struct address munmap;
    struct address abs;   /* int abs(int): does nothing and returns 0 for 0 */
    struct address raise; /* int raise(int); ADDRESS_NULL when the file of the others hasn't got it */
};

/* Finds all of it in the C library or, failing that, in any file that is mapped
 * executable. Touches nothing. ERROR_UNSUPPORTED when some is missing. */
struct error *borrow_find_code(struct borrow_code *code, const struct process *process, const struct maps *maps)
    __attribute__((warn_unused_result));

struct borrow {
    const struct process *process; /* not owned */
    struct tracee *tracee;         /* not owned */
    struct borrow_code code;
    struct arch_state state;
    enum arch_blocked blocked; /* what the stop interrupted */
    long blocked_number;       /* the system call, where blocked */
    uint64_t blocked_arguments[6];
    struct address frame;   /* where the thread's own state will lie */
    struct address scratch; /* for arguments in memory; good until the chain is over */
    struct seccomp_filters filters; /* of the thread; owned */
};

/* What the kernel says of a thread that bears on borrowing it; read before it is
 * stopped, since it takes as long as all the rest. ERROR_UNSUPPORTED where the
 * thread can't be borrowed at all (a shadow stack). */
struct borrow_limits {
    bool seccomp;
};
struct error *borrow_read_limits(struct borrow_limits *limits, const struct process *process, pid_t tid)
    __attribute__((warn_unused_result));

/* Reads a stopped thread into `borrow` and says whether it can be borrowed;
 * changes nothing. ERROR_BUSY where it can't be now (in a restartable
 * sequence, no room on its stack, group-stopped), ERROR_UNSUPPORTED where it
 * can't at all (a seccomp filter that we may not read). */
struct error *borrow_inspect(struct borrow *borrow, const struct process *process, struct tracee *tracee,
                             const struct maps *maps, const struct borrow_code *code,
                             const struct borrow_limits *limits) __attribute__((warn_unused_result));

/* What the thread's seccomp filters answer to a system call of ours; without any: SECCOMP_ALLOWED. */
enum seccomp_answer borrow_ask(const struct borrow *borrow, long number, const uint64_t arguments[6]);

/* Ends what borrow_inspect() has read, also after an error; the thread stays as it is. */
void borrow_deinit(struct borrow *borrow);

/* The files whose code may have made the system call that the thread is blocked in: of
 * each return address outside of the C library in the first words of the stack,
 * nearest first. Without unwinding, a stale one may be among them: the true
 * caller is one of these, not surely the first. Returns how many. */
size_t borrow_find_callers(const struct borrow *borrow, const struct maps *maps, const struct map **callers,
                           size_t room);

#define BORROW_STEPS_MAX 8

/* Is it blocked in a call that misses a signal which is handled before it is begun again? */
bool borrow_pauses(const struct borrow *borrow);

/* Lays the chain on the stack and points the thread at its first step. The thread stays
 * stopped; let go, it does the steps and goes on as if nothing had been, an
 * interrupted system call as `resume` says. Signals are blocked until then, but in
 * a step with own_signal_mask (or that one of its `signal`). At least one step.
 * pause() begun again could miss a signal that came before: it goes on as
 * rt_sigsuspend(), which lets signals in and waits at once. */
struct error *borrow_chain(struct borrow *borrow, const struct arch_step *steps, size_t count,
                           enum arch_resume resume) __attribute__((warn_unused_result));

#endif
