/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/stack.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attach/scope.h"

/* More frames than a thread of anybody's has: the rest of a chain that goes on is left out. */
#define FRAMES_MAX (1u << 20)
/* Entry frames that stand between Python ones; in truth at most a few in a row. */
#define SHIM_MAX 64
/* Looks at a thread that runs: as many in a row must agree, of so many in all. */
#define LOOKS_AGREE 8
#define LOOKS_MAX   64
#define TRIES       5

/* The frames of one look. */
struct chain {
    struct frame *frames; /* innermost first; without shims */
    size_t count, room;
    bool cut;
};

static bool is_torn(const struct error *error)
{
    return error && (error_code(error) == ERROR_BUSY || error_code(error) == ERROR_FAULT);
}

static struct error *torn_chain(const char *what)
{
    return error_create(ERROR_BUSY, "the thread is running: try again, or stop it for the time it takes (--stop)",
                        "the chain of frames changed while it was read: %s", what);
}

/* -------------------------------------------------------------------- a look */

static struct error *chain_add(struct chain *chain, const struct frame *frame)
{
    if (chain->count == chain->room) {
        size_t room = chain->room ? chain->room * 2 : 32;
        struct frame *larger = reallocarray(chain->frames, room, sizeof(*larger));
        if (!larger)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for the frames of a thread");
        chain->frames = larger;
        chain->room = room;
    }
    chain->frames[chain->count++] = *frame;
    return NULL;
}

/* From 3.11 on the outermost frame was called by C, and shows it: else some frame was half made when it was read. */
static bool has_end(const struct chain *chain, const struct runtime *runtime)
{
    return !chain->count || runtime->layout.thread_state.frame != OFF_NONE || chain->frames[chain->count - 1].entry;
}

static struct error *chain_read(struct chain *chain, const struct runtime *runtime, struct address thread)
{
    struct address at, loop, mark = ADDRESS_NULL; /* of a frame passed: none comes twice (Brent's way) */
    unsigned shims = 0;
    size_t passed = 0, power = 1;
    struct error *error = frames_find_first(runtime, thread, &at, &loop);

    chain->count = 0;
    chain->cut = false;
    while (!error && at.value) {
        struct frame frame, *inner = chain->count ? &chain->frames[chain->count - 1] : NULL;

        if (chain->count == FRAMES_MAX) {
            chain->cut = true;
            return NULL;
        }
        if (at.value == mark.value)
            return torn_chain("it leads back to itself");
        if (++passed == power) {
            mark = at;
            power *= 2;
        }
        if ((error = frames_read(runtime, at, &frame)))
            return error;
        at = frame.previous;
        if ((frame.shim || frame.entry) && (error = frames_leave_loop(runtime, &loop, at)))
            return error;
        if (!frame.shim) {
            shims = 0;
            error = chain_add(chain, &frame);
        } else if (++shims == SHIM_MAX) {
            return torn_chain("it doesn't end");
        } else if (inner && !inner->entry) {
            inner->entry = true;
            inner->loop = frame.at;
        }
    }
    return error || has_end(chain, runtime) ? error : torn_chain("its end is missing");
}

/* How many of the outermost frames two looks share. Where only the place in the last of them differs, it counts too:
 * it is one and the same, and has gone on. */
static size_t count_common(const struct chain *a, const struct chain *b)
{
    size_t least = a->count < b->count ? a->count : b->count, common = 0;

    while (common < least) {
        const struct frame *left = &a->frames[a->count - 1 - common], *right = &b->frames[b->count - 1 - common];

        if (left->at.value != right->at.value || left->code.value != right->code.value)
            break;
        common++;
        if (left->instruction != right->instruction)
            break;
    }
    return common;
}

/* Innermost frames are free to go on to their next instruction. */
static bool are_equal(const struct chain *a, const struct chain *b)
{
    return a->count == b->count && count_common(a, b) == a->count;
}

/* --------------------------------------------------------- a thread that runs */

struct looks {
    struct chain last, now;
    unsigned agreed;  /* in a row, with `last` */
    unsigned strange; /* in a row, that didn't even share its outermost frame, and were shorter */
    unsigned looked;  /* how many there were since they share anything */
    size_t common;    /* outermost frames that all those had */
};

static void looks_keep(struct looks *looks, unsigned agreed, size_t common)
{
    struct chain spare = looks->last;

    looks->agreed = agreed;
    looks->common = common;
    looks->strange = 0;
    looks->looked++;
    looks->last = looks->now;
    looks->now = spare;
}

/* A thread's outermost frame is there as long as it does anything: a shorter chain without it was caught half
 * made, unless it stays so. */
static bool looks_is_strange(struct looks *looks)
{
    return looks->now.count < looks->last.count && !count_common(&looks->last, &looks->now) &&
           ++looks->strange < LOOKS_AGREE;
}

static void looks_take(struct looks *looks)
{
    size_t common = looks->looked ? count_common(&looks->last, &looks->now) : 0;
    bool equal = looks->looked && are_equal(&looks->last, &looks->now);

    if (looks->looked && looks_is_strange(looks)) {
        looks->agreed = 0;
    } else if (common || equal) {
        looks_keep(looks, equal ? looks->agreed + 1 : 1, looks->common < common ? looks->common : common);
    } else {
        looks->looked = 0;
        looks_keep(looks, 1, looks->now.count);
    }
}

/* Leaves what is sure in looks->last. */
static struct error *look_until_sure(struct looks *looks, const struct runtime *runtime, struct address thread,
                                     bool *changing)
{
    struct view view;
    struct error *error = NULL, *torn = NULL;

    view_init(&view, runtime);
    *changing = true;
    for (unsigned i = 0; !error && *changing && i < LOOKS_MAX; i++) {
        error = i ? pages_refresh(&view.pages) : NULL;
        if (error)
            break;
        error_destroy(torn);
        torn = chain_read(&looks->now, &view.runtime, thread);
        if (torn && !is_torn(torn)) {
            error = torn;
            torn = NULL;
        } else if (torn) {
            looks->agreed = 0;
        } else {
            looks_take(looks);
            *changing = looks->agreed < LOOKS_AGREE;
        }
    }
    if (!error && !looks->looked) {
        error = torn;
        torn = NULL;
    }
    error_destroy(torn);
    view_deinit(&view);
    return error;
}

/* ------------------------------------------------------------------- a stack */

struct error *stacks_take(struct stacks *stacks, struct stack *stack, const struct frame *frames, size_t count)
{
    const struct runtime *runtime = &stacks->view.runtime;

    stack->count = 0;
    stack->frames = calloc(count ? count : 1, sizeof(*stack->frames));
    if (!stack->frames)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the frames of a thread");
    for (size_t i = 0; i < count; i++) {
        struct stack_frame *frame = &stack->frames[i];
        struct error *error = codes_find(&stacks->codes, runtime, frames[i].code, &frame->code);

        if (error)
            return error;
        frame->at = frames[i].at;
        frame->entry = frames[i].entry;
        frame->loop = frames[i].loop;
        frame->line = code_find_line(runtime, frame->code, frames[i].instruction);
        stack->count++;
    }
    return NULL;
}

void stack_clear(struct stack *stack)
{
    free(stack->frames);
    error_destroy(stack->error);
    *stack = (struct stack){0};
}

static struct error *stack_read_running(struct stacks *stacks, struct stack *stack, struct address thread)
{
    struct looks looks = {0};
    bool changing;
    struct error *error = look_until_sure(&looks, stacks->view.base, thread, &changing);

    stack->changing = changing;
    stack->cut = looks.last.cut;
    if (!error) {
        /* What few looks shared may be chance. */
        size_t common = looks.looked < LOOKS_AGREE ? 0 : looks.common;
        size_t count = changing ? common : looks.last.count;
        error = stacks_take(stacks, stack, count ? looks.last.frames + (looks.last.count - count) : NULL, count);
    }
    free(looks.last.frames);
    free(looks.now.frames);
    return error;
}

static struct error *stack_read_once(struct stacks *stacks, struct stack *stack, struct address thread)
{
    struct chain chain = {0};
    struct error *error = chain_read(&chain, &stacks->view.runtime, thread);

    if (!error)
        error = stacks_take(stacks, stack, chain.frames, chain.count);
    stack->cut = chain.cut;
    free(chain.frames);
    return error;
}

/* ------------------------------------------------------------------ all of them */

/* A thread that lost its processor in the middle of a change stays there until it has it again: 1, 4, 16, 64 ms. */
static void wait_for_change(unsigned tried)
{
    struct timespec time = {.tv_nsec = 1000000L << (2 * (tried - 1))};

    nanosleep(&time, NULL);
}

static void read_settled(struct stacks *stacks, struct stack *stack, struct address thread)
{
    for (unsigned i = 0; i < TRIES; i++) {
        stack_clear(stack);
        if (i) {
            wait_for_change(i);
            /* What is kept of code objects may be older than they are. */
            pages_forget(&stacks->view.pages);
        }
        if (!is_torn(stack->error = stack_read_running(stacks, stack, thread)))
            return;
    }
}

void stacks_init(struct stacks *stacks, const struct runtime *runtime)
{
    *stacks = (struct stacks){0};
    view_init(&stacks->view, runtime);
    codes_init(&stacks->codes);
}

static void stacks_clear(struct stacks *stacks)
{
    for (size_t i = 0; i < stacks->count; i++)
        stack_clear(&stacks->items[i]);
    free(stacks->items);
    stacks->items = NULL;
    stacks->count = 0;
}

void stacks_deinit(struct stacks *stacks)
{
    stacks_clear(stacks);
    codes_deinit(&stacks->codes);
    view_deinit(&stacks->view);
}

struct error *stacks_prepare(struct stacks *stacks, size_t count)
{
    stacks_clear(stacks);
    pages_forget(&stacks->view.pages);
    if (!(stacks->items = calloc(count + 1, sizeof(*stacks->items))))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the stacks");
    stacks->count = count;
    return NULL;
}

void stacks_read_held(struct stacks *stacks, size_t index, const struct thread_state *thread)
{
    struct stack *stack = &stacks->items[index];

    pages_forget(&stacks->view.pages);
    stack_clear(stack);
    stack->error = stack_read_once(stacks, stack, thread->address);
    stack->steady = true;
}

struct error *stacks_read(struct stacks *stacks, const struct thread_state *threads, struct activity *const *activities,
                          size_t count)
{
    struct error *error = stacks_prepare(stacks, count);

    if (error)
        return error;
    for (size_t i = 0; i < count; i++)
        stacks->items[i].error = stack_read_once(stacks, &stacks->items[i], threads[i].address);
    for (size_t i = 0; i < count; i++) {
        struct stack *stack = &stacks->items[i];
        bool steady = !activities || (activities[i] && activity_stayed(activities[i]));

        if (!steady || is_torn(stack->error))
            read_settled(stacks, stack, threads[i].address);
        stack->steady = steady;
    }
    return NULL;
}

/* -------------------------------------------------------------- the innermost */

static struct error *read_top_frame_once(const struct runtime *runtime, struct address thread, struct python_frame *top,
                                         bool *found)
{
    struct frame frame = {.shim = true};
    struct codes codes;
    const struct code *code = NULL;
    struct address at;
    struct error *error = frames_find_first(runtime, thread, &at, NULL);

    *found = false;
    memset(top, 0, sizeof(*top));
    for (unsigned i = 0; !error && at.value && frame.shim; i++, at = frame.previous) {
        if (i == SHIM_MAX)
            return torn_chain("it doesn't end");
        error = frames_read(runtime, at, &frame);
    }
    if (error || frame.shim)
        return error;
    codes_init(&codes);
    if (!(error = codes_find(&codes, runtime, frame.code, &code))) {
        snprintf(top->function, sizeof(top->function), "%s", code->function);
        snprintf(top->file, sizeof(top->file), "%s", code->file);
        top->line = code_find_line(runtime, code, frame.instruction);
        *found = true;
    }
    codes_deinit(&codes);
    return error;
}

struct error *runtime_read_top_frame(const struct runtime *runtime, const struct thread_state *thread,
                                     struct python_frame *frame, bool *found)
{
    struct error *error = NULL;

    *found = false;
    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        error = read_top_frame_once(runtime, thread->address, frame, found);
        if (!is_torn(error))
            return error;
    }
    *found = false;
    /* Addresses out of a torn frame fault: that is the target moving, not us failing. */
    if (error_code(error) == ERROR_FAULT) {
        error_destroy(error);
        error = torn_chain("its memory is gone");
    }
    return error;
}
