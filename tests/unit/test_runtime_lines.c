/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Line tables of one function, compiled by 3.8.18, 3.10.13 and 3.12.1. The
 * expected lines are what those versions' dis and co_lines() said. The function
 * has a jump of 134 lines forth and back, so deltas past a signed byte occur.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/lines.h"

#define FIRST_LINE 3

struct range {
    int start, end, line; /* line 0: none */
};

static const uint8_t lnotab[] = {0, 2, 8, 2, 2, 1, 12, 1, 4, 1, 2, 255, 12, 2, 16, 1, 22, 127, 0, 7};
static const struct range lnotab_lines[] = {
    {0, 8, 5},   {8, 10, 7},   {10, 22, 8},  {22, 26, 9},   {26, 28, 10},
    {28, 40, 9}, {40, 56, 11}, {56, 78, 12}, {78, 82, 146},
};

static const uint8_t linetable[] = {8,  2, 2,   2,  12,  1,  4, 1, 2,   1, 8, 255, 2,   255, 0,   127, 4,
                                    11, 0, 129, 14, 248, 14, 1, 0, 127, 4, 7, 8,   128, 0,   129, 2,   248};
static const struct range linetable_lines[] = {
    {0, 8, 5},     {8, 10, 7},   {10, 22, 8},  {22, 26, 9},   {26, 28, 10}, {28, 36, 9},  {36, 38, 8},
    {38, 42, 146}, {42, 56, 11}, {56, 70, 12}, {70, 74, 146}, {74, 82, 0},  {82, 84, 11},
};

static const uint8_t locations[] = {
    128, 0,  224, 8,   9,   136, 65,  137, 5,   128, 65, 240, 4,  5,   5,   14,  220, 17,  22, 144, 113, 147, 24,  242,
    0,   2,  9,   21,  136, 65,  216, 12,  13,  144, 33, 216, 18, 19,  241, 3,   1,   19,  20, 241, 0,   1,   13,  21,
    137, 65, 241, 3,   2,   9,   21,  240, 84,  4,   0,  12,  13, 128, 72,  248, 244, 79,  4,  0,   12,  22,  242, 0,
    1,   5,  14,  216, 12,  13,  140, 1,   240, 76,  4,  0,   12, 13,  128, 72,  251, 240, 79, 4,   1,   5,   14,  250,
};
static const struct range location_lines[] = {
    {0, 2, 3},      {2, 12, 5},    {12, 14, 7},    {14, 42, 8},   {42, 46, 9},  {46, 48, 10},
    {48, 60, 9},    {60, 64, 8},   {64, 68, 146},  {68, 70, 0},   {70, 86, 11}, {86, 98, 12},
    {98, 102, 146}, {102, 110, 0}, {110, 112, 11}, {112, 118, 0},
};

static void check_lines(enum line_format format, const uint8_t *table, size_t size, const struct range *ranges,
                        size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (int at = ranges[i].start; at < ranges[i].end; at += 2)
            assert_int_equal(lines_find(format, table, size, FIRST_LINE, at), ranges[i].line);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_lnotab(void **state)
{
    (void)state;
    check_lines(LINES_LNOTAB, lnotab, sizeof(lnotab), lnotab_lines, COUNT(lnotab_lines));
}

static void test_linetable(void **state)
{
    (void)state;
    check_lines(LINES_LINETABLE, linetable, sizeof(linetable), linetable_lines, COUNT(linetable_lines));
    /* Past the code there is no line. */
    assert_int_equal(lines_find(LINES_LINETABLE, linetable, sizeof(linetable), FIRST_LINE, 84), 0);
}

static void test_locations(void **state)
{
    (void)state;
    check_lines(LINES_LOCATIONS, locations, sizeof(locations), location_lines, COUNT(location_lines));
    assert_int_equal(lines_find(LINES_LOCATIONS, locations, sizeof(locations), FIRST_LINE, 118), 0);
}

/* Before the first instruction a frame is at its def. */
static void test_before_start(void **state)
{
    (void)state;
    for (int format = LINES_LNOTAB; format <= LINES_LOCATIONS; format++)
        assert_int_equal(lines_find((enum line_format)format, NULL, 0, 77, -2), 77);
}

/* Nonsense gives a line or 0, never a negative line, and reads nothing outside: run under ASan. */
static void test_hostile_tables(void **state)
{
    (void)state;
    srandom(4711);
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = (size_t)random() % 40;
        uint8_t *table = malloc(size + 1);

        assert_non_null(table);
        uint8_t *exact = table + 1; /* the end of the block is the end of the table */
        for (size_t i = 0; i < size; i++)
            exact[i] = (uint8_t)random();
        for (int format = LINES_LNOTAB; format <= LINES_LOCATIONS; format++)
            assert_true(lines_find((enum line_format)format, exact, size, (int)random(), random() % 4096) >= 0);
        free(table);
    }
}

/* A varint that never ends, and one whose value is huge. */
static void test_long_varint(void **state)
{
    (void)state;
    uint8_t table[64];

    for (size_t i = 0; i < sizeof(table); i++)
        table[i] = 0x7f;
    table[0] = 0x80 | 13 << 3;
    assert_int_equal(lines_find(LINES_LOCATIONS, table, sizeof(table), 1, 0), 0);
    assert_int_equal(lines_find(LINES_LOCATIONS, table, 1, 1, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lnotab),       cmocka_unit_test(test_linetable),      cmocka_unit_test(test_locations),
        cmocka_unit_test(test_before_start), cmocka_unit_test(test_hostile_tables), cmocka_unit_test(test_long_varint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
