/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The stack of a task: from its coroutine along what each awaits; of one that runs, what its thread runs.
 *
 *   coroutine --awaits--> coroutine --awaits--> asend() of an asynchronous generator --> the generator --> ... --> future
 */
#include "runtime/task_read.h"

/* What comes behind what isn't a generator itself but stands for one. */
static uint64_t unwrap(struct object_reader *reader, uint64_t object)
{
    static const char *const wrappers[] = {"async_generator_asend", "async_generator_athrow", "coroutine_wrapper",
                                           "anext_awaitable"};

    for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++) {
        if (reader_is(reader, object, wrappers[i]))
            return reader_field(reader, object, 0);
    }
    return 0;
}

/* Puts the frames of a chain of awaits into read->walk, outermost first. */
static size_t walk_awaits(struct tasks_read *read, uint64_t object)
{
    struct object_reader *reader = &read->reader;
    size_t count = 0;

    for (unsigned i = 0; object && i < 2 * TASK_FRAMES_MAX && count < TASK_FRAMES_MAX; i++) {
        if (!reader_is_generator(reader, object)) {
            object = unwrap(reader, object);
            continue;
        }
        struct task_walk_frame *place = &read->walk[count];
        if (!reader_generator_frame(reader, object, &place->frame))
            break;
        place->generator = object;
        count++;
        object = reader_generator_awaits(reader, object);
    }
    return count;
}

static void turn_around(struct task_walk_frame *frames, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct task_walk_frame kept = frames[i];
        frames[i] = frames[count - 1 - i];
        frames[count - 1 - i] = kept;
    }
}

/* Of one thread, innermost first, up to the frame of the task's coroutine; 0: that isn't there. */
static size_t walk_thread(struct tasks_read *read, const struct thread_state *thread, uint64_t last)
{
    struct frame frame;
    size_t count = 0;
    bool found = reader_first_frame(&read->reader, thread, &frame);

    for (unsigned i = 0; found && i < READER_DEPTH_MAX; found = reader_next_frame(&read->reader, &frame), i++) {
        if (count < TASK_FRAMES_MAX)
            read->walk[count++] = (struct task_walk_frame){frame, 0};
        if (frame.at.value == last)
            return count;
    }
    return 0;
}

/* Of a task that runs: what its thread runs. */
static size_t walk_running(struct tasks_read *read, uint64_t coroutine)
{
    struct frame outermost;
    size_t count = 0;

    if (!reader_generator_frame(&read->reader, coroutine, &outermost))
        return 0;
    for (size_t i = 0; i < read->thread_count && !count; i++)
        count = walk_thread(read, &read->threads[i], outermost.at.value);
    return count;
}

/* Innermost first. */
size_t task_walk_stack(struct tasks_read *read, uint64_t coroutine, bool runs)
{
    size_t count = runs ? walk_running(read, coroutine) : 0;

    if (count)
        return count;
    count = walk_awaits(read, coroutine);
    turn_around(read->walk, count);
    return count;
}
