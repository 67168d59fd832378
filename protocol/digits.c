/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/digits.h"

#include <string.h>

size_t digits_put(char *to, uint64_t value)
{
    char digits[DIGITS_MAX];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    memcpy(to, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}
