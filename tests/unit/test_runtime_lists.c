/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Interpreters, thread states and frames in a fake memory, laid out like
 * 3.11's (a table, so no debug offsets are needed), right and wrong.
 *
 *   RUNTIME -> INTERPRETER 0 -> FIRST -> SECOND -> NULL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/objects.h"
#include "runtime/runtime.h"
#include "runtime/stack.h"

#define BASE        0x10000u
#define SIZE        0x60000u
#define RUNTIME     BASE
#define INTERPRETER (BASE + 0x30000u)
#define FIRST       (BASE + 0x40000u)
#define SECOND      (BASE + 0x41000u)
#define CFRAME      (BASE + 0x42000u)
#define FRAME       (BASE + 0x42100u)
#define CODE        (BASE + 0x42200u)
#define NAME        (BASE + 0x42400u)
#define TABLE       (BASE + 0x42500u)
#define CODE_TYPE   (BASE + 0x43000u)
#define STR_TYPE    (BASE + 0x43100u)
#define BYTES_TYPE  (BASE + 0x43200u)
#define TEXTS       (BASE + 0x43300u)
#define IS_ENTRY    68 /* of 3.11's frame */
#define OUTER       (BASE + 0x44000u)
#define OTHER       (BASE + 0x44100u)
#define CALLING_CFRAME (BASE + 0x44200u)

static unsigned char *bytes;
static struct memory_fake fake;
static struct process process;
static struct runtime runtime;

static void put_u64(uint64_t at, uint64_t value)
{
    memcpy(bytes + (at - BASE), &value, sizeof(value));
}

static void put_u32(uint64_t at, uint32_t value)
{
    memcpy(bytes + (at - BASE), &value, sizeof(value));
}

static void put_type(uint64_t type, uint64_t text, const char *name)
{
    memcpy(bytes + (text - BASE), name, strlen(name) + 1);
    put_u64(type + runtime.layout.type.tp_name, text);
}

static void put_str(uint64_t at, const char *text)
{
    const struct layout *layout = &runtime.layout;

    put_u64(at + layout->object.ob_type, STR_TYPE);
    put_u64(at + layout->unicode.length, strlen(text));
    put_u32(at + layout->unicode.state,
            1u << layout->unicode.kind_bit | 1u << layout->unicode.compact_bit | 1u << layout->unicode.ascii_bit);
    memcpy(bytes + (at + layout->unicode.ascii_size - BASE), text, strlen(text));
}

static void put_threads(void)
{
    const struct layout *layout = &runtime.layout;

    put_u32(RUNTIME + layout->runtime.initialized, 1);
    put_u64(RUNTIME + layout->runtime.interpreters_head, INTERPRETER);
    put_u64(RUNTIME + layout->runtime.interpreters_main, INTERPRETER);
    put_u64(RUNTIME + layout->runtime.main_thread, 0x7000);
    put_u32(RUNTIME + layout->runtime.gil + layout->gil.locked, 1);
    put_u64(RUNTIME + layout->runtime.gil + layout->gil.last_holder, SECOND);
    put_u64(INTERPRETER + layout->interpreter.threads_head, FIRST);
    put_u64(FIRST + layout->thread_state.next, SECOND);
    put_u64(FIRST + layout->thread_state.interp, INTERPRETER);
    put_u64(SECOND + layout->thread_state.interp, INTERPRETER);
    put_u64(FIRST + layout->thread_state.thread_id, 0x6000);
    put_u64(SECOND + layout->thread_state.thread_id, 0x7000);
}

static void put_frame(void)
{
    const struct layout *layout = &runtime.layout;
    static const uint8_t table[] = {0x80 | 11 << 3, 1, 2};

    put_type(CODE_TYPE, TEXTS, "code");
    put_type(STR_TYPE, TEXTS + 16, "str");
    put_type(BYTES_TYPE, TEXTS + 32, "bytes");
    put_u64(FIRST + layout->thread_state.cframe, CFRAME);
    put_u64(CFRAME + layout->cframe.current_frame, FRAME);
    put_u64(FRAME + layout->interpreter_frame.executable, CODE);
    put_u64(FRAME + layout->interpreter_frame.instr_ptr, CODE + layout->code.co_code_adaptive);
    put_u64(CODE + layout->object.ob_type, CODE_TYPE);
    put_u64(CODE + layout->code.qualname, NAME);
    put_u64(CODE + layout->code.filename, NAME);
    put_u32(CODE + layout->code.firstlineno, 41);
    put_u64(CODE + layout->code.linetable, TABLE);
    put_u64(TABLE + layout->object.ob_type, BYTES_TYPE);
    put_u64(TABLE + layout->bytes.ob_size, sizeof(table));
    memcpy(bytes + (TABLE + layout->bytes.ob_sval - BASE), table, sizeof(table));
    put_str(NAME, "f");
}

static int set_up(void **state)
{
    (void)state;
    if (!(bytes = calloc(1, SIZE)))
        return -1;
    memory_fake_init(&fake, address_of(BASE), bytes, SIZE);
    process = (struct process){.pid = getpid(), .pidfd = -1, .memory_fd = -1, .memory = fake.memory};
    runtime =
        (struct runtime){.process = &process, .address = address_of(RUNTIME), .layout = *layout_find_table(11, false)};
    put_threads();
    put_frame();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(bytes);
    return 0;
}

static void assert_threads_refused(enum error_code code, const char *word)
{
    struct thread_state *threads;
    size_t count;
    struct error *error = runtime_read_threads(&runtime, &threads, &count);

    assert_non_null(error);
    assert_int_equal(error_code(error), code);
    if (!strstr(error_message(error), word))
        fail_msg("\"%s\" doesn't say %s", error_message(error), word);
    assert_null(threads);
    assert_int_equal(count, 0);
    error_destroy(error);
}

static void test_threads(void **state)
{
    struct thread_state *threads;
    size_t count;

    (void)state;
    assert_null(runtime_read_threads(&runtime, &threads, &count));
    assert_int_equal(count, 2);
    assert_false(threads[0].main);
    assert_false(threads[0].holds_gil);
    assert_true(threads[1].main);
    assert_true(threads[1].holds_gil);
    assert_int_equal(threads[1].tid, getpid()); /* nothing better is known */
    assert_int_equal(threads[0].tid, 0);
    free(threads);
}

static void test_native_id(void **state)
{
    struct thread_state *threads;
    size_t count;

    (void)state;
    put_u64(FIRST + runtime.layout.thread_state.native_thread_id, (uint64_t)getpid());
    put_u64(SECOND + runtime.layout.thread_state.native_thread_id, 0x100000000u + (uint64_t)getpid());
    assert_null(runtime_read_threads(&runtime, &threads, &count));
    assert_int_equal(threads[0].tid, getpid());
    free(threads);
}

static void test_cycles(void **state)
{
    (void)state;
    put_u64(SECOND + runtime.layout.thread_state.next, FIRST);
    assert_threads_refused(ERROR_UNSUPPORTED, "the list of threads doesn't end");
    put_u64(INTERPRETER + runtime.layout.interpreter.next, INTERPRETER);
    assert_threads_refused(ERROR_UNSUPPORTED, "the list of interpreters doesn't end");
}

static void test_wrong_links(void **state)
{
    (void)state;
    put_u64(SECOND + runtime.layout.thread_state.interp, FIRST);
    assert_threads_refused(ERROR_UNSUPPORTED, "thread_state.interp");
    put_u64(FIRST + runtime.layout.thread_state.next, 0xdead0000);
    assert_threads_refused(ERROR_UNSUPPORTED, "the list of threads");
    put_u64(FIRST + runtime.layout.thread_state.next, FIRST + 1);
    assert_threads_refused(ERROR_UNSUPPORTED, "no address");
    put_u64(RUNTIME + runtime.layout.runtime.interpreters_main, FIRST);
    assert_threads_refused(ERROR_UNSUPPORTED, "the main interpreter isn't in the list");
    put_u32(RUNTIME + runtime.layout.runtime.initialized, 0);
    assert_threads_refused(ERROR_BUSY, "starting or ending");
}

static void test_frame(void **state)
{
    struct thread_state thread = {.address = address_of(FIRST)};
    struct python_frame frame;
    bool found;

    (void)state;
    assert_null(runtime_read_top_frame(&runtime, &thread, &frame, &found));
    assert_true(found);
    assert_string_equal(frame.function, "f");
    assert_string_equal(frame.file, "f");
    assert_int_equal(frame.line, 42);
    put_u64(CFRAME + runtime.layout.cframe.current_frame, 0);
    assert_null(runtime_read_top_frame(&runtime, &thread, &frame, &found));
    assert_false(found);
}

static void test_torn_frame(void **state)
{
    static const char *const words[] = {"its memory is gone", "no code object", "no str", "no bytes"};
    const uint64_t places[] = {FRAME + runtime.layout.interpreter_frame.instr_ptr, CODE + runtime.layout.object.ob_type,
                               NAME + runtime.layout.object.ob_type, TABLE + runtime.layout.object.ob_type};
    struct thread_state thread = {.address = address_of(FIRST)};
    struct python_frame frame;
    bool found;

    (void)state;
    put_u64(CFRAME + runtime.layout.cframe.current_frame, 0xffff0000);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (i) {
            put_u64(CFRAME + runtime.layout.cframe.current_frame, FRAME);
            put_u64(places[i], 8);
        }
        struct error *error = runtime_read_top_frame(&runtime, &thread, &frame, &found);
        assert_non_null(error);
        assert_int_equal(error_code(error), ERROR_BUSY);
        assert_non_null(strstr(error_message(error), words[i]));
        assert_false(found);
        error_destroy(error);
        if (i)
            put_frame();
    }
}

/* 3.12's entry frames, in a ring. */
static void test_endless_shims(void **state)
{
    struct thread_state thread = {.address = address_of(FIRST)};
    struct python_frame frame;
    bool found;

    (void)state;
    runtime.layout.interpreter_frame.owner_shim = 3;
    bytes[FRAME + runtime.layout.interpreter_frame.owner - BASE] = 3;
    put_u64(FRAME + runtime.layout.interpreter_frame.previous, FRAME);
    struct error *error = runtime_read_top_frame(&runtime, &thread, &frame, &found);
    assert_non_null(error);
    assert_non_null(strstr(error_message(error), "doesn't end"));
    error_destroy(error);
}

/* ---------------------------------------------------------------- whole stacks */

static unsigned reads, changes;

/* With each of the first `changes` reads the thread has returned from one function and called another. */
static struct error *read_running(const struct memory *memory, struct address from, void *to, size_t size)
{
    (void)memory;
    if (reads++ < changes)
        put_u64(CFRAME + runtime.layout.cframe.current_frame, reads % 2 ? OTHER : FRAME);
    return memory_read(&fake.memory, from, to, size);
}

static const struct memory_ops running_ops = {read_running, NULL};

/* FRAME and OTHER were both called by OUTER. */
static void put_chain(void)
{
    const uint64_t frames[] = {OUTER, OTHER};

    for (size_t i = 0; i < 2; i++) {
        put_u64(frames[i] + runtime.layout.interpreter_frame.executable, CODE);
        put_u64(frames[i] + runtime.layout.interpreter_frame.instr_ptr, CODE + runtime.layout.code.co_code_adaptive);
    }
    bytes[OUTER + IS_ENTRY - BASE] = 1;
    put_u64(FRAME + runtime.layout.interpreter_frame.previous, OUTER);
    put_u64(OTHER + runtime.layout.interpreter_frame.previous, OUTER);
}

/* A thread that isn't seen to have stayed. */
static struct stack read_stack(struct stacks *stacks, unsigned change_count)
{
    struct thread_state thread = {.address = address_of(FIRST)};
    struct activity activity = {.pid = getpid(), .tid = getpid()}, *seen = &activity;

    reads = 0;
    changes = change_count;
    process.memory.ops = &running_ops;
    put_chain();
    stacks_init(stacks, &runtime);
    assert_null(stacks_read(stacks, &thread, &seen, 1));
    assert_null(stacks->items[0].error);
    return stacks->items[0];
}

static void test_stack(void **state)
{
    struct stacks stacks;
    struct stack stack = read_stack(&stacks, 0);

    (void)state;
    assert_int_equal(stack.count, 2);
    assert_false(stack.changing || stack.steady || stack.cut);
    assert_int_equal(stack.frames[0].at.value, FRAME);
    assert_int_equal(stack.frames[1].at.value, OUTER);
    assert_int_equal(stack.frames[0].line, 42);
    stacks_deinit(&stacks);
}

/* One that never holds still: what all looks had, and no more. */
static void test_changing_stack(void **state)
{
    struct stacks stacks;
    struct stack stack = read_stack(&stacks, UINT32_MAX);

    (void)state;
    assert_true(stack.changing);
    assert_int_equal(stack.count, 1);
    assert_int_equal(stack.frames[0].at.value, OUTER);
    stacks_deinit(&stacks);
}

static void test_settling_stack(void **state)
{
    struct stacks stacks;
    struct stack stack = read_stack(&stacks, 40);

    (void)state;
    assert_false(stack.changing);
    assert_int_equal(stack.count, 2);
    assert_int_equal(stack.frames[1].at.value, OUTER);
    stacks_deinit(&stacks);
}

/* Nor has one an end that nobody called. */
static void test_chain_without_end(void **state)
{
    struct stacks stacks;
    struct thread_state thread = {.address = address_of(FIRST)};

    (void)state;
    put_chain();
    bytes[OUTER + IS_ENTRY - BASE] = 0;
    stacks_init(&stacks, &runtime);
    assert_null(stacks_read(&stacks, &thread, NULL, 1));
    assert_non_null(stacks.items[0].error);
    assert_non_null(strstr(error_message(stacks.items[0].error), "end is missing"));
    stacks_deinit(&stacks);
}

/* An eval loop that has just begun has its frame from the last time, which says that nobody called it. */
static void test_half_made_entry(void **state)
{
    const uint64_t current = runtime.layout.cframe.current_frame;
    struct thread_state thread = {.address = address_of(FIRST)};
    struct stacks stacks;

    (void)state;
    put_chain();
    bytes[FRAME + IS_ENTRY - BASE] = 1;
    put_u64(FRAME + runtime.layout.interpreter_frame.previous, 0);
    put_u64(CFRAME + current + 8, CALLING_CFRAME);
    put_u64(CALLING_CFRAME + current, OUTER);
    stacks_init(&stacks, &runtime);
    assert_null(stacks_read(&stacks, &thread, NULL, 1));
    assert_non_null(stacks.items[0].error);
    assert_non_null(strstr(error_message(stacks.items[0].error), "the eval loop that called it is elsewhere"));
    /* Once it is made whole, it is read. */
    put_u64(FRAME + runtime.layout.interpreter_frame.previous, OUTER);
    assert_null(stacks_read(&stacks, &thread, NULL, 1));
    assert_null(stacks.items[0].error);
    assert_int_equal(stacks.items[0].count, 2);
    stacks_deinit(&stacks);
}

/* A chain that is a ring is no chain. */
static void test_ring_of_frames(void **state)
{
    struct stacks stacks;
    struct thread_state thread = {.address = address_of(FIRST)};

    (void)state;
    put_chain();
    bytes[OUTER + IS_ENTRY - BASE] = 0;
    put_u64(OUTER + runtime.layout.interpreter_frame.previous, FRAME);
    stacks_init(&stacks, &runtime);
    assert_null(stacks_read(&stacks, &thread, NULL, 1));
    assert_non_null(stacks.items[0].error);
    assert_non_null(strstr(error_message(stacks.items[0].error), "leads back to itself"));
    assert_int_equal(stacks.items[0].count, 0);
    stacks_deinit(&stacks);
}

static void test_strings(void **state)
{
    const struct layout *layout = &runtime.layout;
    static const uint32_t points[] = {0x41, 0xdc80, 0x1f600, 0, 0x110000};
    char buffer[32];

    (void)state;
    put_u64(NAME + layout->unicode.length, 5);
    put_u32(NAME + layout->unicode.state, 4u << layout->unicode.kind_bit | 1u << layout->unicode.compact_bit);
    memcpy(bytes + (NAME + layout->unicode.compact_size - BASE), points, sizeof(points));
    assert_null(object_read_str(&runtime, address_of(NAME), buffer, sizeof(buffer)));
    assert_string_equal(buffer, "A?\xf0\x9f\x98\x80??");
    /* Cut before a character that doesn't fit whole. */
    assert_null(object_read_str(&runtime, address_of(NAME), buffer, 6));
    assert_string_equal(buffer, "A?");
    put_u64(NAME + layout->unicode.length, UINT64_MAX);
    struct error *error = object_read_str(&runtime, address_of(NAME), buffer, sizeof(buffer));
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_BUSY);
    error_destroy(error);
}

/* Any words in the structures: an answer or an error, within bounds and time. */
static void test_hostile_words(void **state)
{
    static const uint64_t interesting[] = {0,    8,    INTERPRETER, FIRST,    SECOND,     FRAME,
                                           CODE, NAME, TABLE,       STR_TYPE, UINT64_MAX, BASE + SIZE - 4};

    (void)state;
    srandom(4711);
    for (unsigned round = 0; round < 3000; round++) {
        struct thread_state thread = {.address = address_of(FIRST)};
        struct python_frame frame;
        bool found;

        put_frame();
        for (unsigned i = 0; i < 3; i++)
            put_u64(CFRAME + (uint64_t)random() % 0x1300 / 8 * 8, interesting[(size_t)random() % 12]);
        struct error *error = runtime_read_top_frame(&runtime, &thread, &frame, &found);
        if (!error && found) {
            assert_true(memchr(frame.function, 0, sizeof(frame.function)));
            assert_true(frame.line >= 0);
        }
        error_destroy(error);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_threads),    TEST(test_native_id),     TEST(test_cycles),  TEST(test_wrong_links),   TEST(test_frame),
        TEST(test_torn_frame), TEST(test_endless_shims), TEST(test_strings), TEST(test_hostile_words),
        TEST(test_stack),      TEST(test_changing_stack), TEST(test_settling_stack), TEST(test_ring_of_frames),
        TEST(test_half_made_entry),
        TEST(test_chain_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
