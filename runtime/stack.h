/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The Python stacks of threads, read while they run.
 *
 * A thread that didn't run between the first look at it and the last (the kernel counts how often it was
 * given a processor) has the stack that was read. One that ran is read again and again, at most for some hundred
 * microseconds, until many looks in a row showed the same frames; where they never do, only those outermost frames are
 * given that every look showed, and the stack is marked as changing.
 */
#ifndef SAFEPOINT_RUNTIME_STACK_H
#define SAFEPOINT_RUNTIME_STACK_H

#include "attach/activity.h"
#include "runtime/codes.h"
#include "runtime/frames.h"
#include "runtime/view.h"

struct stack_frame {
    struct address at;
    const struct code *code; /* owned by the stacks */
    int line;                /* 0 unknown */
    bool entry;              /* the next outer frame, if any, is in another call of the eval loop */
    struct address loop;     /* of an entry: on the C stack, within the frame of that loop; ADDRESS_NULL unknown */
};

struct stack {
    struct stack_frame *frames; /* innermost first; owned by the stacks */
    size_t count;
    bool changing; /* inner frames are left out, since they changed with every look */
    bool cut;      /* the outermost are left out: there are more than anybody's */
    bool steady;   /* its thread didn't run while it was read, or was held */
    struct error *error; /* why nothing could be read of it at all; NULL */
};

struct stacks {
    struct view view;
    struct codes codes;
    struct stack *items;
    size_t count;
};

/* Empty; end them with stacks_deinit(). The runtime must outlive them. */
void stacks_init(struct stacks *stacks, const struct runtime *runtime);
void stacks_deinit(struct stacks *stacks);

/*
 * Reads the stacks of all these thread states; stacks->items has one for each, in their order. `activities`: what was
 * seen of each thread's running before (activity_look()); NULL when all of them are held, or it is a file.
 */
struct error *stacks_read(struct stacks *stacks, const struct thread_state *threads, struct activity *const *activities,
                          size_t count) __attribute__((warn_unused_result));

/* The same in its parts, for threads that are held one after another: empty stacks for so many, and the stack of a
 * thread state whose thread is held now. */
struct error *stacks_prepare(struct stacks *stacks, size_t count) __attribute__((warn_unused_result));
void stacks_read_held(struct stacks *stacks, size_t index, const struct thread_state *thread);

/* A stack of frames that somebody else has read, innermost first: into `stack`, which stack_clear() empties again. */
struct error *stacks_take(struct stacks *stacks, struct stack *stack, const struct frame *frames, size_t count)
    __attribute__((warn_unused_result));
void stack_clear(struct stack *stack);

#endif
