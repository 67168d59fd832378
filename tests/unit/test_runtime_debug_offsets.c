/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Debug offsets of real builds: decoded right, and every field of them
 * refused by its name when it is wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/debug_offsets.h"

/* of a running 3.13.0 */
static const uint64_t offsets_3_13[] = {
    0x7970677562656478,
    0x30d00f0,
    0,
    283320,
    608,
    632,
    194968,
    7272,
    7264,
    7344,
    7400,
    7656,
    7640,
    7648,
    16,
    7752,
    0,
    7768,
    7760,
    304,
    0,
    8,
    16,
    72,
    152,
    160,
    232,
    32,
    80,
    8,
    0,
    56,
    72,
    70,
    208,
    112,
    120,
    128,
    136,
    68,
    52,
    96,
    104,
    200,
    16,
    8,
    416,
    24,
    88,
    168,
    32,
    24,
    16,
    40,
    24,
    16,
    48,
    32,
    40,
    24,
    16,
    32,
    16,
    24,
    40,
    16,
    32,
    64,
    32,
    16,
    40,
    240,
    200,
};

/* of a running 3.14.10 (Debian) */
static const uint64_t offsets_3_14[] = {
    0x7970677562656478,
    0x30e0af0,
    0,
    316616,
    784,
    808,
    225864,
    7280,
    7272,
    7344,
    7360,
    7408,
    7688,
    7672,
    7680,
    16,
    7784,
    0,
    7800,
    7792,
    7992,
    0,
    832,
    0,
    8,
    16,
    72,
    152,
    160,
    232,
    32,
    88,
    8,
    0,
    56,
    80,
    74,
    64,
    0,
    216,
    112,
    120,
    128,
    136,
    68,
    52,
    96,
    104,
    208,
    0,
    16,
    8,
    416,
    24,
    88,
    168,
    40,
    32,
    16,
    40,
    24,
    16,
    200,
    24,
    40,
    32,
    48,
    32,
    40,
    24,
    16,
    32,
    16,
    24,
    40,
    16,
    32,
    64,
    32,
    16,
    40,
    264,
    192,
    160,
    24,
    72,
    67,
    0,
    8,
    24,
    304,
    8076,
    0,
    4,
    512,
};

/* of a running 3.15.2 (Debian) */
static const uint64_t offsets_3_15[] = {
    0x7970677562656478,
    0x30f02f0,
    0,
    346568,
    912,
    936,
    226240,
    7272,
    7264,
    7336,
    7352,
    7400,
    7592,
    7576,
    7584,
    16,
    7736,
    0,
    7752,
    7744,
    7944,
    0,
    888,
    0,
    8,
    16,
    72,
    80,
    88,
    96,
    176,
    184,
    256,
    32,
    36,
    40,
    136,
    288,
    0,
    88,
    8,
    0,
    56,
    80,
    74,
    64,
    0,
    216,
    112,
    120,
    128,
    136,
    68,
    52,
    96,
    104,
    208,
    0,
    16,
    8,
    424,
    24,
    88,
    168,
    32,
    288,
    944,
    888,
    40,
    32,
    16,
    40,
    24,
    16,
    200,
    24,
    40,
    32,
    48,
    32,
    40,
    24,
    16,
    32,
    16,
    24,
    40,
    16,
    32,
    64,
    32,
    16,
    40,
    56,
    176,
    112,
    120,
    1120,
    104,
    160,
    24,
    72,
    67,
    0,
    8,
    24,
    344,
    8028,
    0,
    4,
    512,
};

/* compiled from the headers of 3.14.10 with Py_GIL_DISABLED */
static const uint64_t offsets_3_14t[] = {
    0x7970677562656478,
    0x30e0af0,
    1,
    365624,
    784,
    808,
    249976,
    7280,
    7272,
    7344,
    7360,
    7408,
    7712,
    7696,
    7704,
    16,
    7808,
    0,
    7832,
    7824,
    8024,
    17300,
    832,
    0,
    8,
    16,
    72,
    152,
    160,
    232,
    32,
    88,
    8,
    0,
    56,
    80,
    78,
    64,
    72,
    240,
    128,
    136,
    144,
    152,
    84,
    68,
    112,
    120,
    232,
    224,
    32,
    24,
    432,
    40,
    104,
    184,
    56,
    48,
    32,
    56,
    40,
    32,
    216,
    40,
    56,
    48,
    64,
    48,
    56,
    40,
    32,
    48,
    32,
    40,
    56,
    32,
    48,
    80,
    48,
    32,
    56,
    288,
    192,
    176,
    40,
    88,
    83,
    0,
    8,
    24,
    304,
    8108,
    0,
    4,
    512,
};

/* compiled from the headers of 3.15.2 with Py_GIL_DISABLED */
static const uint64_t offsets_3_15t[] = {
    0x7970677562656478,
    0x30f02f0,
    1,
    409296,
    912,
    936,
    250328,
    7272,
    7264,
    7336,
    7352,
    7400,
    7592,
    7576,
    7584,
    16,
    7736,
    0,
    7760,
    7752,
    7952,
    17252,
    888,
    0,
    8,
    16,
    72,
    80,
    88,
    96,
    176,
    184,
    256,
    32,
    36,
    40,
    136,
    288,
    0,
    88,
    8,
    0,
    56,
    80,
    78,
    64,
    72,
    240,
    128,
    136,
    144,
    152,
    84,
    68,
    112,
    120,
    232,
    224,
    32,
    24,
    440,
    40,
    104,
    184,
    48,
    304,
    968,
    904,
    56,
    48,
    32,
    56,
    40,
    32,
    216,
    40,
    56,
    48,
    64,
    48,
    56,
    40,
    32,
    48,
    32,
    40,
    56,
    32,
    48,
    80,
    48,
    32,
    56,
    72,
    176,
    112,
    120,
    224,
    104,
    176,
    40,
    88,
    83,
    0,
    8,
    24,
    344,
    8036,
    0,
    4,
    512,
};

#define FIELDS_MAX 128

static struct error *decode(const uint64_t *words, size_t size, struct layout *layout)
{
    /* A block of its own, so that ASan sees a read past the end. */
    void *bytes = malloc(size);

    assert_non_null(bytes);
    memcpy(bytes, words, size);
    struct error *error = debug_offsets_decode(bytes, size, layout);
    free(bytes);
    return error;
}

static void assert_refused(struct error *error, const char *word)
{
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_UNSUPPORTED);
    if (!strstr(error_message(error), word))
        fail_msg("\"%s\" doesn't name %s", error_message(error), word);
    error_destroy(error);
}

/* ------------------------------------------------------------ right ones */

static void test_3_13(void **state)
{
    struct layout layout;

    (void)state;
    assert_null(decode(offsets_3_13, sizeof(offsets_3_13), &layout));
    assert_int_equal(layout.minor, 13);
    assert_int_equal(layout.runtime.interpreters_head, 632);
    assert_int_equal(layout.runtime.interpreters_main, 640);
    assert_int_equal(layout.runtime.main_thread, 656);
    assert_int_equal(layout.runtime.initialized, 600);
    assert_int_equal(layout.interpreter.threads_head, 7344);
    assert_int_equal(layout.interpreter.threads_main, OFF_NONE);
    assert_int_equal(layout.interpreter.ceval_gil, 16);
    assert_int_equal(layout.interpreter.config_remote_debug, OFF_NONE);
    assert_int_equal(layout.gil.locked, 16);
    assert_int_equal(layout.gil.last_holder, 8);
    assert_int_equal(layout.gil.enabled, OFF_NONE);
    assert_int_equal(layout.thread_state.async_exc, 144);
    assert_int_equal(layout.thread_state.eval_breaker, 24);
    assert_int_equal(layout.thread_state.current_frame, 72);
    assert_int_equal(layout.thread_state.remote_debugger_support, OFF_NONE);
    assert_int_equal(layout.unicode.compact_size, 56);
    assert_int_equal(layout.runtime.pending, OFF_NONE);
}

static void test_3_14(void **state)
{
    struct layout layout;

    (void)state;
    assert_null(decode(offsets_3_14, sizeof(offsets_3_14), &layout));
    assert_int_equal(layout.minor, 14);
    assert_int_equal(layout.interpreter.threads_main, 7360);
    assert_int_equal(layout.interpreter.config_remote_debug, 8076);
    assert_int_equal(layout.thread_state.eval_breaker, 24);
    assert_int_equal(layout.thread_state.remote_debugger_support, 304);
    assert_int_equal(layout.debugger_support.pending_call, 0);
    assert_int_equal(layout.debugger_support.script_path, 4);
    assert_int_equal(layout.debugger_support.script_path_size, 512);
    assert_int_equal(layout.interpreter_frame.owner, 74);
    assert_int_equal(layout.interpreter_frame.tlbc_index, OFF_NONE);
    assert_int_equal(layout.code.co_code_adaptive, 208);
    assert_int_equal(layout.unicode.kind_bit, 2);
}

static void test_3_15(void **state)
{
    struct layout layout;

    (void)state;
    assert_null(decode(offsets_3_15, sizeof(offsets_3_15), &layout));
    assert_int_equal(layout.minor, 15);
    assert_int_equal(layout.thread_state.thread_id, 176);
    assert_int_equal(layout.thread_state.native_thread_id, 184);
    assert_int_equal(layout.thread_state.async_exc, 168);
    assert_int_equal(layout.thread_state.remote_debugger_support, 344);
    assert_int_equal(layout.interpreter.config_remote_debug, 8028);
    assert_int_equal(layout.runtime.interpreters_head, 936);
    assert_int_equal(layout.bytes.ob_sval, 32);
}

static void test_free_threaded(void **state)
{
    struct layout layout;

    (void)state;
    assert_null(decode(offsets_3_14t, sizeof(offsets_3_14t), &layout));
    assert_int_equal(layout.gil.enabled, 0);
    assert_int_equal(layout.gil.locked, 24);
    assert_int_equal(layout.object.ob_type, 24);
    assert_int_equal(layout.interpreter_frame.tlbc_index, 72);
    assert_int_equal(layout.code.co_tlbc, 224);
    assert_int_equal(layout.unicode.kind_bit, 8);
    assert_null(decode(offsets_3_15t, sizeof(offsets_3_15t), &layout));
    assert_int_equal(layout.minor, 15);
    assert_int_equal(layout.interpreter_frame.tlbc_index, 72);
}

/* An alpha of 3.15 that still has the list of 3.14 is read by that; a final one is not. */
static void test_alpha_with_older_list(void **state)
{
    uint64_t words[FIELDS_MAX] = {0};
    struct layout layout;

    (void)state;
    memcpy(words, offsets_3_14, sizeof(offsets_3_14));
    words[1] = 0x030f00a0;
    assert_null(decode(words, sizeof(words), &layout));
    assert_int_equal(layout.minor, 14);
    assert_int_equal(layout.interpreter.config_remote_debug, 8076);
    words[1] = 0x030f00f0;
    assert_refused(decode(words, sizeof(words), &layout), "debug offsets of 3.15: ");
    words[1] = 0x030f00a0;
    words[4] = 3;
    assert_refused(decode(words, sizeof(words), &layout), "debug offsets of 3.15: ");
}

/* ------------------------------------------------------------ wrong ones */

struct wrong {
    const uint64_t *words;
    size_t size;
    size_t word;
    uint64_t value;
    const char *name;
};

static const struct wrong wrongs[] = {
    {offsets_3_13, sizeof(offsets_3_13), 3, 0, "runtime_state.size is 0"},
    {offsets_3_13, sizeof(offsets_3_13), 4, 283320,
     "runtime_state.finalizing is 283320, past the struct's size 283320"},
    {offsets_3_13, sizeof(offsets_3_13), 4, 8, "runtime_state.finalizing lies inside the debug offsets"},
    {offsets_3_13, sizeof(offsets_3_13), 5, 283312, "runtime_state.interpreters_head is too near"},
    {offsets_3_13, sizeof(offsets_3_13), 6, UINT64_C(1) << 40, "interpreter_state.size"},
    {offsets_3_13, sizeof(offsets_3_13), 16, 4, "interpreter_state.gil_runtime_state_enabled is 4"},
    {offsets_3_13, sizeof(offsets_3_13), 17, 16, "gil_runtime_state_locked"},
    {offsets_3_13, sizeof(offsets_3_13), 24, 0, "thread_state.thread_id has no room"},
    {offsets_3_14, sizeof(offsets_3_14), 24, 99999, "thread_state.next is 99999, past the struct's size 832"},
    {offsets_3_14, sizeof(offsets_3_14), 24, 9, "thread_state.next is 9, no multiple of 8"},
    {offsets_3_14, sizeof(offsets_3_14), 24, UINT64_MAX, "thread_state.next is 18446744073709551615"},
    {offsets_3_14, sizeof(offsets_3_14), 24, UINT64_C(0x100000008), "thread_state.next is 4294967304"},
    {offsets_3_14, sizeof(offsets_3_14), 89, 829, "debugger_support.eval_breaker is 829"},
    {offsets_3_14, sizeof(offsets_3_14), 90, 400, "debugger_script_path reaches past the thread state"},
    {offsets_3_14, sizeof(offsets_3_14), 91, 225864, "debugger_support.remote_debugging_enabled is 225864"},
    {offsets_3_14, sizeof(offsets_3_14), 94, 4096, "debugger_support.debugger_script_path_size is 4096"},
    {offsets_3_15, sizeof(offsets_3_15), 93, 4, "unicode_object.compactunicodeobject_size is 4"},
    {offsets_3_14t, sizeof(offsets_3_14t), 38, 86, "interpreter_frame.tlbc_index is 86"},
};

static void test_wrong_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        uint64_t words[FIELDS_MAX];
        struct layout layout, before;

        memset(&layout, 0x5a, sizeof(layout));
        before = layout;
        memcpy(words, wrongs[i].words, wrongs[i].size);
        words[wrongs[i].word] = wrongs[i].value;
        assert_refused(decode(words, wrongs[i].size, &layout), wrongs[i].name);
        assert_memory_equal(&layout, &before, sizeof(layout));
    }
}

/* No field is let through unlooked at: a wild number in any is refused. */
static void check_every_field(const uint64_t *good, size_t size)
{
    for (size_t i = 3; i < size / sizeof(*good); i++) {
        uint64_t words[FIELDS_MAX];
        struct layout layout;

        memcpy(words, good, size);
        words[i] = UINT64_C(0xdeadbeefdeadbee8);
        assert_refused(decode(words, size, &layout), " is 16045690984833335016");
    }
}

static void test_every_field(void **state)
{
    (void)state;
    check_every_field(offsets_3_13, sizeof(offsets_3_13));
    check_every_field(offsets_3_14, sizeof(offsets_3_14));
    check_every_field(offsets_3_15, sizeof(offsets_3_15));
    check_every_field(offsets_3_14t, sizeof(offsets_3_14t));
    check_every_field(offsets_3_15t, sizeof(offsets_3_15t));
}

static void test_head(void **state)
{
    uint64_t words[FIELDS_MAX];
    struct layout layout;

    (void)state;
    memcpy(words, offsets_3_14, sizeof(offsets_3_14));
    words[0]++;
    assert_refused(decode(words, sizeof(offsets_3_14), &layout), "the cookie isn't there");
    words[0]--;
    words[1] = 0x031000f0;
    assert_refused(decode(words, sizeof(offsets_3_14), &layout), "3.16 are not known");
    words[1] = 0x030c01f0;
    assert_refused(decode(words, sizeof(offsets_3_14), &layout), "3.12 are not known");
}

static void test_cut_short(void **state)
{
    struct layout layout;

    (void)state;
    for (size_t size = 0; size < sizeof(offsets_3_15); size++) {
        assert_refused(decode(offsets_3_15, size, &layout), size < DEBUG_OFFSETS_HEAD ? "cookie" : "cut short");
    }
}

/* Whatever passes has every offset within bounds that we can use. */
static void test_hostile_bytes(void **state)
{
    static const uint64_t *const goods[] = {offsets_3_13, offsets_3_14, offsets_3_15};
    static const size_t sizes[] = {sizeof(offsets_3_13), sizeof(offsets_3_14), sizeof(offsets_3_15)};

    (void)state;
    srandom(4711);
    for (unsigned round = 0; round < 50000; round++) {
        unsigned which = (unsigned)random() % 3;
        uint64_t words[FIELDS_MAX];
        struct layout layout;

        memcpy(words, goods[which], sizes[which]);
        for (long changes = random() % 4; changes >= 0; changes--)
            words[2 + (size_t)random() % (sizes[which] / 8 - 2)] = (uint64_t)random() >> random() % 31;
        struct error *error = decode(words, sizes[which], &layout);
        if (!error) {
            assert_in_range(layout.thread_state.thread_id, 8, layout.thread_state.size - 8);
            assert_in_range(layout.runtime.initialized, 584, layout.runtime.size);
            assert_in_range(layout.gil.locked, 0, 1023);
        }
        error_destroy(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_3_13),
        cmocka_unit_test(test_3_14),
        cmocka_unit_test(test_3_15),
        cmocka_unit_test(test_free_threaded),
        cmocka_unit_test(test_alpha_with_older_list),
        cmocka_unit_test(test_wrong_fields),
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_hostile_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
