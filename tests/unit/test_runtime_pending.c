/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The queue of pending calls is found where it is, and nowhere else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/pending.h"

#define SIZE (64u << 10)

static unsigned char *memory;
static struct layout layout;

static void put_u32(size_t at, uint32_t value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static void put_u64(size_t at, uint64_t value)
{
    memcpy(memory + at, &value, sizeof(value));
}

static int set_up_3_14(void **state)
{
    (void)state;
    memory = calloc(1, SIZE);
    layout_init(&layout);
    layout.runtime.finalizing = 784;
    layout.runtime.interpreters_head = 808;
    layout.thread_state.thread_id = 152;
    layout.unicode.ascii_size = 40;
    layout_apply_supplement(&layout, layout_find_supplement(14, false));
    return memory ? 0 : -1;
}

static int set_up_3_12(void **state)
{
    (void)state;
    memory = calloc(1, SIZE);
    layout = *layout_find_table(12, false);
    return memory ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

static void put_queue(size_t at)
{
    put_u32(at + layout.pending.max, 32);
}

static void test_empty_queue(void **state)
{
    (void)state;
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE);
    put_queue(2848);
    assert_int_equal(pending_search(&layout, memory, SIZE), 2848);
    /* Two that fit are one too many. */
    put_queue(20000);
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE);
}

static void test_waiting_entries(void **state)
{
    (void)state;
    put_queue(2848);
    put_u32(2848 + layout.pending.calls_to_do, 2);
    put_u32(2848 + layout.pending.first, 299);
    put_u32(2848 + layout.pending.last, 1);
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE); /* no functions */
    put_u64(2848 + layout.pending.calls + 299 * layout.pending.entry_size, 0x401000);
    put_u64(2848 + layout.pending.calls, 0x401000);
    assert_int_equal(pending_search(&layout, memory, SIZE), 2848);
}

static void test_nonsense(void **state)
{
    (void)state;
    put_queue(2848);
    memory[2848 + layout.pending.mutex] = 4;
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE);
    memory[2848 + layout.pending.mutex] = 1;
    assert_int_equal(pending_search(&layout, memory, SIZE), 2848);
    put_u32(2848 + layout.pending.first, 300);
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE);
}

/* Cut anywhere: what isn't there isn't read (ASan) and not found. */
static void test_cut(void **state)
{
    (void)state;
    put_queue(2848);
    for (size_t size = 0; size < 2848 + layout.pending.last + 4; size += 100) {
        unsigned char *exact = malloc(size);

        memcpy(exact, memory, size);
        assert_int_equal(pending_search(&layout, exact, size), OFF_NONE);
        free(exact);
    }
}

static void test_3_12(void **state)
{
    uint32_t place = layout.runtime.pending;

    (void)state;
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE); /* no lock */
    put_u64(place + layout.pending.lock, 0x5555000);
    assert_int_equal(pending_search(&layout, memory, SIZE), place);
    /* Moved by a patch level: found beside its place. */
    put_u64(place + layout.pending.lock, 0);
    put_u64(place + 24 + layout.pending.lock, 0x5555000);
    assert_int_equal(pending_search(&layout, memory, SIZE), place + 24);
    put_u64(place + 48 + layout.pending.lock, 0x5555000);
    assert_int_equal(pending_search(&layout, memory, SIZE), OFF_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty_queue, set_up_3_14, tear_down),
        cmocka_unit_test_setup_teardown(test_waiting_entries, set_up_3_14, tear_down),
        cmocka_unit_test_setup_teardown(test_nonsense, set_up_3_14, tear_down),
        cmocka_unit_test_setup_teardown(test_cut, set_up_3_14, tear_down),
        cmocka_unit_test_setup_teardown(test_3_12, set_up_3_12, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
