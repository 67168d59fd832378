/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/digits.h"

#include <string.h>

static const char digits_pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
                                   "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static size_t digits_count(uint64_t value)
{
    size_t count = 1;

    for (; value >= 10000; value /= 10000)
        count += 4;
    return count + (value >= 10) + (value >= 100) + (value >= 1000);
}

size_t digits_put(char *to, uint64_t value)
{
    size_t count = digits_count(value), at = count;

    while (value >= 10) {
        memcpy(to + (at -= 2), digits_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (at) /* a digit is left; of an even count none, and 0 has one */
        to[0] = (char)('0' + value);
    return count;
}
