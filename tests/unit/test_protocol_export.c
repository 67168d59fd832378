/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What exports are written with: numbers as text, strings by number, ids of a .heapsnapshot, pictures. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/digits.h"
#include "protocol/dot.h"
#include "protocol/heapsnapshot.h"

/* What is in a file, from its beginning; free() it. */
static char *read_all(FILE *file)
{
    char *text = calloc(1, 1 << 20);

    assert_non_null(text);
    assert_int_equal(fflush(file), 0);
    rewind(file);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    return text;
}

/* ------------------------------------------------------------------ digits */

static void check_digits(uint64_t value)
{
    char text[DIGITS_MAX + 1] = "", wanted[32];

    snprintf(wanted, sizeof(wanted), "%" PRIu64, value);
    assert_int_equal(digits_put(text, value), strlen(wanted));
    assert_string_equal(text, wanted);
}

static void test_digits(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 20000; value++)
        check_digits(value);
    for (uint64_t value = 1, i = 0; i < 20; i++, value *= 10) {
        check_digits(value - 1);
        check_digits(value);
        check_digits(value + 1);
    }
    check_digits(UINT64_MAX);
    check_digits(UINT64_MAX / 3);
}

/* ----------------------------------------------------------------- strings */

static void test_strings(void **state)
{
    FILE *waiting = tmpfile(), *out = tmpfile();
    struct strings strings;

    (void)state;
    strings_init(&strings, waiting);
    assert_int_equal(strings_add(&strings, "one", 3), 0);
    assert_int_equal(strings_add(&strings, "a\"\n\xff", 4), 1);
    assert_int_equal(strings_add(&strings, "", 0), 2);
    assert_int_equal(strings_add(&strings, "one", 3), 0);
    assert_int_equal(strings_add(&strings, "", 0), 2);
    assert_int_equal(strings_find(&strings, 17), STRINGS_NONE);
    strings_keep(&strings, 17, 1);
    assert_int_equal(strings_find(&strings, 17), 1);
    strings_keep(&strings, 0, 1); /* 0 is no id */
    assert_int_equal(strings_find(&strings, 0), STRINGS_NONE);
    assert_null(strings_write(&strings, out));
    char *text = read_all(out);
    assert_string_equal(text, "\"one\"\n,\"a\\\"\\n\xef\xbf\xbd\"\n,\"\"");
    free(text);
    strings_deinit(&strings);
    fclose(waiting);
    fclose(out);
}

/* Many of them: all are known again, until there are more than may be. */
static void test_many_strings(void **state)
{
    FILE *waiting = tmpfile();
    struct strings strings;
    char text[32];

    (void)state;
    strings_init(&strings, waiting);
    for (uint32_t i = 0; i < STRINGS_KNOWN_MAX + 10; i++) {
        int size = snprintf(text, sizeof(text), "%" PRIu32, i);
        assert_int_equal(strings_add(&strings, text, (size_t)size), i);
        strings_keep(&strings, i + 1, i);
    }
    assert_int_equal(strings_add(&strings, "777777", 6), 777777);
    assert_int_equal(strings_find(&strings, 1 << 19), (1 << 19) - 1);
    assert_int_equal(strings_find(&strings, STRINGS_KNOWN_MAX + 5), STRINGS_NONE);
    int size = snprintf(text, sizeof(text), "%" PRIu32, STRINGS_KNOWN_MAX + 5);
    assert_int_equal(strings_add(&strings, text, (size_t)size), STRINGS_KNOWN_MAX + 10); /* a second time in the file */
    assert_true(strings.used <= STRINGS_KNOWN_BYTES);
    strings_deinit(&strings);
    fclose(waiting);
}

static void test_long_strings(void **state)
{
    FILE *waiting = tmpfile();
    struct strings strings;
    static char text[1 << 20];

    (void)state;
    memset(text, 'x', sizeof(text));
    strings_init(&strings, waiting);
    for (uint32_t i = 0; i < 40; i++) {
        text[0] = (char)('0' + i);
        assert_int_equal(strings_add(&strings, text, sizeof(text)), i);
    }
    text[0] = '0';
    assert_int_equal(strings_add(&strings, text, sizeof(text)), 0);
    assert_true(strings.used <= STRINGS_KNOWN_BYTES && strings.used > STRINGS_KNOWN_BYTES / 2);
    strings_deinit(&strings);
    fclose(waiting);
}

/* --------------------------------------------------------------------- ids */

static uint32_t id_of(struct heapsnapshot *snapshot, uint64_t address)
{
    uint32_t id;

    assert_null(heapsnapshot_id(snapshot, address, &id));
    return id;
}

/* 32 GiB further a MiB takes the next slot that is free; the first ones are nobody's. */
static void test_ids(void **state)
{
    static struct heapsnapshot snapshot;
    const uint64_t here = UINT64_C(0x555500000000), far = here + (UINT64_C(1) << 35);
    FILE *file = tmpfile(), *waiting = tmpfile();
    uint32_t id;

    (void)state;
    heapsnapshot_init(&snapshot, file, waiting, 1, 1);
    assert_true(id_of(&snapshot, 16) >= HEAPSNAPSHOT_OWN_IDS);
    id = id_of(&snapshot, here + 24);
    assert_int_equal(id & 0x1ffff, 3);
    assert_int_equal(id_of(&snapshot, here + 32), id + 1);
    assert_int_equal(id_of(&snapshot, here + (1 << 20) + 24), id + (1 << 17));
    assert_int_equal(id_of(&snapshot, far + 24), id + (2 << 17));
    assert_int_equal(id_of(&snapshot, far + (1 << 20) + 24), id + (3 << 17));
    heapsnapshot_deinit(&snapshot);
    heapsnapshot_init(&snapshot, file, waiting, 1, 1);
    assert_int_equal(id_of(&snapshot, far + 24), id);
    heapsnapshot_deinit(&snapshot);
    fclose(file);
    fclose(waiting);
}

static void test_too_much_memory(void **state)
{
    static struct heapsnapshot snapshot;
    FILE *file = tmpfile(), *waiting = tmpfile();
    struct error *error = NULL;
    uint32_t id, chunks = 0;

    (void)state;
    heapsnapshot_init(&snapshot, file, waiting, 1, 1);
    while (!error)
        error = heapsnapshot_id(&snapshot, (uint64_t)chunks++ << 20, &id);
    assert_int_equal(error_code(error), ERROR_UNSUPPORTED);
    assert_int_equal(chunks, HEAPSNAPSHOT_SLOTS - (HEAPSNAPSHOT_OWN_IDS >> 17) + 1);
    error_destroy(error);
    heapsnapshot_deinit(&snapshot);
    fclose(file);
    fclose(waiting);
}

/* As many nodes and edges as it said, or an error. */
static void test_counts(void **state)
{
    static struct heapsnapshot snapshot;
    const struct heapsnapshot_node node = {.type = HEAPSNAPSHOT_OBJECT, .id = 5, .size = UINT64_C(1) << 40, .edges = 1};
    const struct heapsnapshot_edge edge = {HEAPSNAPSHOT_ELEMENT, 3, 0};

    (void)state;
    for (int edges = 0; edges < 3; edges++) {
        FILE *file = tmpfile(), *waiting = tmpfile();
        heapsnapshot_init(&snapshot, file, waiting, 1, 1);
        heapsnapshot_put_node(&snapshot, &node);
        for (int i = 0; i < edges; i++)
            heapsnapshot_put_edge(&snapshot, &edge);
        strings_add(&snapshot.strings, "x", 1);
        struct error *error = heapsnapshot_finish(&snapshot);
        assert_int_equal(!error, edges == 1);
        if (!error) {
            char *text = read_all(file);
            assert_non_null(strstr(text, "\"nodes\":[3,0,5,4294967295,1,0,0],\n\"edges\":[1,3,0],\n"));
            assert_non_null(strstr(text, "\"strings\":[\"x\"]}\n"));
            free(text);
        }
        error_destroy(error);
        heapsnapshot_deinit(&snapshot);
        fclose(file);
        fclose(waiting);
    }
}

/* ---------------------------------------------------------------- pictures */

static void test_dot(void **state)
{
    FILE *file = tmpfile();

    (void)state;
    dot_begin(file, "a \"title\"\\");
    dot_put_node(file, DOT_CHOSEN, 7, "one\ntwo\x1b");
    dot_put_edge(file, true, 3, 7, "[\"k\"]", true);
    dot_end(file);
    char *text = read_all(file);
    assert_non_null(strstr(text, "label=\"a \\\"title\\\"\\\\\";"));
    assert_non_null(strstr(text, "n7 [label=\"one\\ntwo?\", style=bold"));
    assert_non_null(strstr(text, "r3 -> n7 [label=\"[\\\"k\\\"]\", style=dashed];"));
    free(text);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digits),       cmocka_unit_test(test_strings),
        cmocka_unit_test(test_many_strings), cmocka_unit_test(test_long_strings),
        cmocka_unit_test(test_ids),          cmocka_unit_test(test_too_much_memory),
        cmocka_unit_test(test_counts),       cmocka_unit_test(test_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
