/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The C stack of a thread. The thread is held only while its registers and its stack are copied; the way back through
 * its callers is found afterwards, by libdw, from the unwind tables of the files that the target has mapped (opened as
 * image.h does, right in every mount namespace). No debug information is fetched from anywhere.
 */
#ifndef SAFEPOINT_ATTACH_UNWIND_H
#define SAFEPOINT_ATTACH_UNWIND_H

#include "attach/maps.h"
#include "attach/process.h"

#define UNWIND_REGISTERS_MAX 40

/* What a held thread is copied into. */
struct unwind_copy {
    uint64_t registers[UNWIND_REGISTERS_MAX]; /* in the order of DWARF's numbers */
    size_t register_count;
    uint64_t counter; /* the instruction it is at */
    uint64_t start;   /* of the copied part of its stack */
    unsigned char *bytes;
    size_t size;
};

struct unwind_frame {
    uint64_t address;
    uint64_t stack;  /* its stack pointer: what it keeps on the stack lies from here to that of the next; 0 unknown */
    char *function;  /* the nearest symbol before; NULL where the file has none */
    uint64_t offset; /* from the symbol, or from the start of the file */
    char *object;    /* the file's last name; NULL: in no file */
};

struct unwinder; /* opaque */

/* Knows the files of `maps`; opens one when it is needed. Both must outlive it. */
struct error *unwinder_create(struct unwinder **unwinder, const struct process *process, const struct maps *maps)
    __attribute__((warn_unused_result));
void unwinder_destroy(struct unwinder *unwinder); /* NULL is legal */

/* Copies a thread that is stopped, or one of a core; it stays so, and unchanged. End the copy with unwind_copy_deinit(). */
struct error *unwinder_copy(const struct unwinder *unwinder, pid_t tid, struct unwind_copy *copy)
    __attribute__((warn_unused_result));
void unwind_copy_deinit(struct unwind_copy *copy);

/* The frames of a copy, innermost first; end them with unwind_frames_destroy(). Where the tables don't lead on, they
 * end early. */
struct error *unwinder_walk(struct unwinder *unwinder, const struct unwind_copy *copy, struct unwind_frame **frames,
                            size_t *count) __attribute__((warn_unused_result));
void unwind_frames_destroy(struct unwind_frame *frames, size_t count); /* NULL is legal */

#endif
