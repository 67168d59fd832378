/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * lnotab (3.8, 3.9): pairs {bytes of code u8, lines s8}; a pair moves address
 * and line on, and holds until the next one.
 *
 * linetable (3.10): pairs {bytes of code u8, lines s8}; a pair is a range that
 * starts where the last one ended, and its lines are added first; -128: the range
 * has no line.
 *
 * location table (3.11+): an entry is a byte with bit 7 set,
 *      7   6..3   2..0
 *      1   form   code units - 1
 * and, depending on the form, bytes with bit 7 clear: form 0-9 one (columns, no
 * new line), 10-12 two (0 to 2 lines on), 13 a signed varint (lines; no
 * columns), 14 the same and three varints (columns), 15 none (no location).
 * A varint is six bits a byte, the lowest first, bit 6: more follow; signed
 * ones have the sign in bit 0.
 */
#include "runtime/lines.h"

#include <limits.h>

#define NO_LINE_DELTA       (-128)
#define CODE_UNIT           2
#define FORM_ONE_LINE_FIRST 10
#define FORM_ONE_LINE_LAST  12
#define FORM_NO_COLUMNS     13
#define FORM_LONG           14
#define FORM_NONE           15

static int line_result(int64_t line)
{
    return line > 0 && line <= INT_MAX ? (int)line : 0;
}

static int find_lnotab(const uint8_t *table, size_t size, int64_t line, int64_t instruction)
{
    int64_t address = 0;

    for (size_t i = 0; i + 1 < size; i += 2) {
        address += table[i];
        if (address > instruction)
            break;
        line += (int8_t)table[i + 1];
    }
    return line_result(line);
}

static int find_linetable(const uint8_t *table, size_t size, int64_t line, int64_t instruction)
{
    int64_t end = 0;

    for (size_t i = 0; i + 1 < size; i += 2) {
        int delta = (int8_t)table[i + 1];

        end += table[i];
        if (delta != NO_LINE_DELTA)
            line += delta;
        /* Ranges follow each other, so the first that ends behind it holds it. */
        if (instruction < end)
            return delta == NO_LINE_DELTA ? 0 : line_result(line);
    }
    return 0;
}

/* A signed varint at *at; never leaves the table, ignores bits past the 30th. */
static int64_t read_svarint(const uint8_t *table, size_t size, size_t at)
{
    uint64_t value = 0;

    for (unsigned shift = 0; at < size && shift <= 30; shift += 6, at++) {
        value |= (uint64_t)(table[at] & 63) << shift;
        if (!(table[at] & 64))
            break;
    }
    return value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
}

static int find_location(const uint8_t *table, size_t size, int64_t line, int64_t instruction)
{
    int64_t end = 0;
    size_t at = 0;

    while (at < size) {
        unsigned form = table[at] >> 3 & 15;

        end += ((table[at] & 7) + 1) * CODE_UNIT;
        at++;
        if (form >= FORM_ONE_LINE_FIRST && form <= FORM_ONE_LINE_LAST)
            line += form - FORM_ONE_LINE_FIRST;
        else if (form == FORM_NO_COLUMNS || form == FORM_LONG)
            line += read_svarint(table, size, at);
        if (instruction < end)
            return form == FORM_NONE ? 0 : line_result(line);
        while (at < size && !(table[at] & 128))
            at++;
    }
    return 0;
}

int lines_find(enum line_format format, const uint8_t *table, size_t size, int first_line, int64_t instruction)
{
    if (instruction < 0)
        return line_result(first_line);
    switch (format) {
    case LINES_LNOTAB:
        return find_lnotab(table, size, first_line, instruction);
    case LINES_LINETABLE:
        return find_linetable(table, size, first_line, instruction);
    case LINES_LOCATIONS:
        return find_location(table, size, first_line, instruction);
    }
    return 0;
}
