/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All that depends on the processor, as one const struct.
 *
 * To add an architecture: write attach/arch/NAME.c with a `const struct arch
 * arch_native` guarded by its predefined macro, and inject/stub_NAME.S (its head
 * says what the stub must do). Fill every field; the comments below are the
 * checklist. x86_64 is tested on live targets. aarch64 is written after the
 * kernel's and the ABI's documents, compiled in `make lint`, and has not run yet.
 */
#ifndef SAFEPOINT_ATTACH_ARCH_ARCH_H
#define SAFEPOINT_ATTACH_ARCH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/error.h"
#include "attach/memory.h"

#define ARCH_REGISTER_WORDS 40
#define ARCH_EXTENDED_MAX 16384

/* A stopped thread's whole user-visible state, as ptrace gives it. */
struct arch_state {
    uint64_t registers[ARCH_REGISTER_WORDS]; /* NT_PRSTATUS */
    size_t register_size;
    size_t extended_size;                    /* floating point, vectors... */
    uint64_t signal_mask;
    unsigned char extended[ARCH_EXTENDED_MAX] __attribute__((aligned(64)));
};

/* What the stop interrupted. */
enum arch_blocked {
    ARCH_NOT_BLOCKED,    /* user code, or a system call that has its result */
    ARCH_INTERRUPTED,    /* a call that has just returned EINTR, as epoll_wait does when stopped */
    ARCH_RESTARTS,       /* a call that the kernel would begin again with the same arguments */
    ARCH_RESTARTS_HIDDEN, /* the same, and its caller never sees EINTR, as of fork(): it isn't blocked for long */
    ARCH_RESTARTS_BLOCK, /* a call with a time-out, which the kernel would go on with from a
                            restart block that our frame destroys: it can only end with EINTR */
};

/* How an interrupted system call goes on when the frame restores the thread. */
enum arch_resume {
    ARCH_RESUME_SAME,  /* as if nothing had been (EINTR for ARCH_RESTARTS_BLOCK) */
    ARCH_RESUME_EINTR, /* it returns EINTR: what wakes a caller that looks at its signals (ARCH_RESTARTS_HIDDEN: as SAME) */
};

struct arch_code {
    const void *bytes;
    size_t size;
};

struct arch_syscall_numbers {
    long mmap, munmap, close, socketpair, memfd_create, clock_gettime;
    long rt_sigsuspend, pause; /* pause -1: there is none */
};

/* One thing that a borrowed thread is made to do. */
struct arch_step {
    bool is_syscall;
    uint64_t target; /* the system call's number, or the function's address */
    uint64_t arguments[6];
    bool own_signal_mask; /* with the thread's own mask, not all signals blocked */
    int signal;           /* otherwise, the one that isn't blocked; 0: none */
};

/* Where the code is that a step and a frame need. */
struct arch_places {
    struct address syscall;   /* arch.syscall_code in the target */
    struct address sigreturn; /* arch.sigreturn_code in the target */
};

/* The signals that are blocked in a step. */
static inline uint64_t arch_step_mask(const struct arch_state *state, const struct arch_step *step)
{
    if (step->own_signal_mask)
        return state->signal_mask;
    return step->signal ? ~(UINT64_C(1) << (step->signal - 1)) : ~UINT64_C(0);
}

struct arch {
    const char *name;
    uint16_t elf_machine;
    uint64_t red_zone;             /* bytes below the stack pointer that belong to the function */
    uint64_t syscall_length;       /* how far the kernel goes back to begin a call again; 0: it has gone already */
    struct arch_code syscall_code; /* "system call; return" */
    struct arch_code sigreturn_code; /* the C library's trampoline that ends a signal handler */
    struct arch_syscall_numbers nr;

    /* What takes long and is the same for all threads; before the first stop. */
    void (*prepare)(void);
    /* Reads a ptrace-stopped thread. It stays stopped and unchanged. */
    struct error *(*read_state)(pid_t tid, struct arch_state *state);
    uint64_t (*stack_pointer)(const struct arch_state *state);
    uint64_t (*instruction_pointer)(const struct arch_state *state);
    uint64_t (*thread_pointer)(const struct arch_state *state); /* pthread_self(), 0 unknown */
    /* The registers by DWARF's numbers of them, from 0 on; how many. At most 40. */
    size_t (*number_registers)(const struct arch_state *state, uint64_t *registers);
    unsigned dwarf_stack_pointer; /* the number of the stack pointer among them */

    /* Do these 8 bytes of code end in a call, so that a return address follows? */
    bool (*follows_call)(const unsigned char before[8]);

    /* What was interrupted: `number` and `arguments` (6) of the call are filled
     * in where it is a call that restarts. */
    enum arch_blocked (*blocked)(const struct arch_state *state, long *number, uint64_t *arguments);

    /*
     * The self-restoring frame: what the kernel would have pushed for a signal
     * handler, so that rt_sigreturn brings back the very state it was made of.
     * A frame lies at a multiple of 16 plus frame_skew; code that returns into
     * `sigreturn` with the frame on top of its stack restores what is in it.
     * build_frame() makes the one that holds the thread's own state;
     * build_step() one that makes the thread do a step, with the next frame on top
     * of its stack (all signals blocked, or its own mask). Step frames are a
     * multiple of 16 long.
     */
    uint64_t frame_skew;
    uint64_t frame_mask, frame_stack; /* where the signal mask and the stack pointer are in it */
    size_t step_size;
    size_t (*frame_size)(const struct arch_state *state); /* at most, with alignment */
    void (*build_frame)(const struct arch_state *state, struct address at, const struct arch_places *places,
                        enum arch_resume resume, void *frame);
    void (*build_step)(const struct arch_state *state, const struct arch_step *step, struct address next,
                       const struct arch_places *places, void *frame);

    /* Points a stopped thread at a step, the frame at `next` on top of its stack: one
     * atomic SETREGSET. Let go, it does that and all that follows. */
    struct error *(*point_at_step)(pid_t tid, const struct arch_state *state, const struct arch_step *step,
                                   struct address next, const struct arch_places *places);
};

extern const struct arch arch_native;

#endif
