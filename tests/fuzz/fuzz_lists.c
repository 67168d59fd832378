/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Interpreters, threads, frames and their variables, the GIL, the collector and the pending queue in a memory that holds anything, and
 * that changes while it is read.
 *
 *   byte 0    3.8 to 3.15, by its low bits; 0x80: a debug build
 *   records   u24 word, u8 kind, words[(kind & 15) + 1]
 *             are put into the memory, in words of 8 bytes from BASE on; those of
 *             kind & 128 only later, one at each 16th read
 *
 * The runtime is at BASE; from 3.13 on its debug offsets are what it begins with.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/debug_offsets.h"
#include "runtime/pending.h"
#include "runtime/gc.h"
#include "runtime/runtime.h"
#include "runtime/stack.h"
#include "runtime/values.h"

#define BASE         0x10000u
#define WORDS        65536u
#define READS_A_STEP 16
#define FRAMES_MAX   8
#define VALUE_MAX    4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct changing {
    struct memory_fake fake; /* first: the source of its own reads */
    const uint8_t *at, *end; /* records yet to come */
    unsigned reads;
};

static unsigned char bytes[WORDS * 8];
static struct changing changing;

/* Takes the next record, if it is of that time. */
static bool step(bool later)
{
    if (changing.end - changing.at < 4 || (changing.at[3] & 128) != (later ? 128 : 0))
        return false;
    uint32_t word = (changing.at[0] | (uint32_t)changing.at[1] << 8 | (uint32_t)changing.at[2] << 16) % WORDS;
    size_t size = ((changing.at[3] & 15u) + 1) * 8, left = (size_t)(changing.end - changing.at) - 4;

    size = size < left ? size : left;
    memcpy(bytes + word * 8, changing.at + 4, size < sizeof(bytes) - word * 8 ? size : sizeof(bytes) - word * 8);
    changing.at += 4 + size;
    return true;
}

static struct error *read_changing(const struct memory *memory, struct address from, void *to, size_t size)
{
    (void)memory;
    if (++changing.reads % READS_A_STEP == 0)
        step(true);
    return memory_read(&changing.fake.memory, from, to, size);
}

static const struct memory_ops changing_ops = {read_changing, NULL};

static bool find_layout(struct layout *layout, unsigned kind)
{
    unsigned minor = LAYOUT_MINOR_FIRST + kind % 8;

    if (minor < LAYOUT_MINOR_DEBUG_OFFSETS) {
        *layout = *layout_find_table(minor, kind & 128);
        return true;
    }
    struct error *error = debug_offsets_decode(bytes, DEBUG_OFFSETS_MAX, layout);
    error_destroy(error);
    return !error;
}

static void read_frames(const struct runtime *runtime, const struct thread_state *threads, size_t count)
{
    for (size_t i = 0; i < count && i < FRAMES_MAX; i++) {
        struct python_frame frame;
        bool found;
        struct error *error = runtime_read_top_frame(runtime, &threads[i], &frame, &found);

        if (!error && found &&
            (!memchr(frame.function, 0, sizeof(frame.function)) || !memchr(frame.file, 0, sizeof(frame.file))))
            abort();
        error_destroy(error);
    }
}

static void print_variable(void *context, const char *name, uint64_t value)
{
    struct object_reader *reader = context;
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);

    if (!to || !name)
        abort();
    values_print(reader, value, true, to);
    fclose(to);
    if (size > VALUE_MAX)
        abort();
    free(text);
}

static void read_stacks(const struct runtime *runtime, const struct thread_state *threads, size_t count)
{
    struct stacks stacks;
    struct object_reader reader;

    stacks_init(&stacks, runtime);
    struct error *unknown = reader_init(&reader, &stacks.view.runtime);
    error_destroy(stacks_read(&stacks, threads, NULL, count < FRAMES_MAX ? count : FRAMES_MAX));
    for (size_t i = 0; !unknown && i < stacks.count; i++) {
        for (size_t j = 0; j < stacks.items[i].count && j < FRAMES_MAX; j++) {
            const struct stack_frame *at = &stacks.items[i].frames[j];
            const struct frame frame = {.at = at->at, .code = at->code->address};
            reader_visit_variables(&reader, &frame, print_variable, &reader);
        }
    }
    error_destroy(unknown);
    reader_deinit(&reader);
    stacks_deinit(&stacks);
}

static void read_collectors(const struct runtime *runtime)
{
    struct gc_state *states;
    size_t count;

    error_destroy(gc_read(runtime, &states, &count));
    free(states);
}

static void read_all(const struct runtime *runtime)
{
    struct thread_state *threads;
    struct interpreter *interpreters;
    struct address holder;
    size_t count;
    bool flag;

    error_destroy(runtime_read_interpreters(runtime, &interpreters, &count));
    free(interpreters);
    error_destroy(runtime_read_threads(runtime, &threads, &count));
    read_frames(runtime, threads, count);
    read_stacks(runtime, threads, count);
    read_collectors(runtime);
    free(threads);
    error_destroy(runtime_read_gil(runtime, &flag, &holder));
    error_destroy(runtime_read_remote_debug(runtime, &flag));
    error_destroy(runtime_read_pending_lock(runtime, &flag));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct process process = {.pid = getpid(), .pidfd = -1, .memory_fd = -1,
                                    .memory = {&changing_ops, NULL}};
    struct runtime runtime = {.process = &process, .address = address_of(BASE)};

    if (!size)
        return 0;
    memset(bytes, 0, sizeof(bytes));
    changing = (struct changing){.at = data + 1, .end = data + size};
    memory_fake_init(&changing.fake, address_of(BASE), bytes, sizeof(bytes));
    while (step(false))
        ;
    if (!find_layout(&runtime.layout, data[0]))
        return 0;
    if (runtime.layout.minor >= 12)
        runtime.layout.runtime.pending = pending_search(&runtime.layout, bytes, PENDING_SEARCH_SIZE);
    read_all(&runtime);
    return 0;
}
