/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers as text, millions of them: printf() takes ten times as long. */
#ifndef SAFEPOINT_PROTOCOL_DIGITS_H
#define SAFEPOINT_PROTOCOL_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_MAX 20

/* Writes a number in decimal, without an end; returns how many bytes it took, DIGITS_MAX at most. */
size_t digits_put(char *to, uint64_t value);

#endif
