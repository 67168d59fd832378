/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/version.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Py_GetVersion() has a buffer of 250 bytes (300 from 3.12 on). */
#define TEXT_MAX 300

void version_format(uint32_t hex, char *text, size_t size)
{
    static const char *const levels[16] = {[0xa] = "a", [0xb] = "b", [0xc] = "rc"};
    const char *level = levels[hex >> 4 & 0xf];
    int length = snprintf(text, size, "%u.%u.%u", hex >> 24, hex >> 16 & 0xff, hex >> 8 & 0xff);

    if (level && length > 0 && (size_t)length < size)
        snprintf(text + length, size - (size_t)length, "%s%u", level, hex & 0xf);
}

/* A number of at most three digits; NULL when there is none. */
static const char *parse_number(const char *at, const char *end, unsigned *number)
{
    const char *start = at;

    for (*number = 0; at < end && at - start < 3 && isdigit((unsigned char)*at); at++)
        *number = *number * 10 + (unsigned)(*at - '0');
    return at == start || *number > 255 ? NULL : at;
}

/* "a3", "b1", "rc2" or nothing. */
static const char *parse_level(const char *at, const char *end, uint32_t *bits)
{
    unsigned serial;
    size_t letters = 1;

    *bits = 0xf0;
    if (at >= end || (*at != 'a' && *at != 'b' && *at != 'r'))
        return at;
    if (*at == 'r' && (end - at < 2 || at[1] != 'c'))
        return NULL;
    letters += *at == 'r';
    *bits = *at == 'a' ? 0xa0 : *at == 'b' ? 0xb0 : 0xc0;
    at = parse_number(at + letters, end, &serial);
    if (at)
        *bits |= serial & 0xf;
    return at;
}

static void copy_build(const char *from, char *build, size_t size)
{
    size_t used = 0;

    for (; *from && used + 1 < size; from++)
        if (*from != '\n')
            build[used++] = *from;
    if (size)
        build[used] = '\0';
}

bool version_parse(const char *text, size_t size, uint32_t *hex, char *build, size_t build_size)
{
    const char *end = memchr(text, '\0', size < TEXT_MAX ? size : TEXT_MAX);
    const char *at = text;
    unsigned number[3];
    uint32_t level;

    if (!end)
        return false;
    for (unsigned i = 0; i < 3; i++) {
        at = parse_number(at, end, &number[i]);
        if (!at || (i < 2 && (at >= end || *at++ != '.')))
            return false;
    }
    if (!(at = parse_level(at, end, &level)))
        return false;
    at += at < end && *at == '+';
    if (at >= end || *at++ != ' ')
        return false;
    const char *paren = memchr(at, '(', (size_t)(end - at));
    if (!paren || !memchr(paren, ')', (size_t)(end - paren)) || !memchr(paren, '[', (size_t)(end - paren)))
        return false;
    for (const char *c = at; c < end; c++)
        if (*c != '\n' && !isprint((unsigned char)*c))
            return false;
    *hex = number[0] << 24 | number[1] << 16 | number[2] << 8 | level;
    copy_build(at, build, build_size);
    return true;
}

bool version_search(const char *bytes, size_t size, uint32_t wanted, uint32_t *hex, char *build, size_t build_size)
{
    for (size_t at = 0; at + 1 < size; at++) {
        const char *dot = memchr(bytes + at + 1, '.', size - at - 1);

        if (!dot)
            return false;
        at = (size_t)(dot - bytes) - 1;
        if ((at && bytes[at - 1]) || (bytes[at] != '2' && bytes[at] != '3'))
            continue;
        if (version_parse(bytes + at, size - at, hex, build, build_size) && (!wanted || *hex >> 8 == wanted >> 8))
            return true;
    }
    return false;
}
