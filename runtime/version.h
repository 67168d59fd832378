/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPython's version, as number and as text. Pure functions. */
#ifndef SAFEPOINT_RUNTIME_VERSION_H
#define SAFEPOINT_RUNTIME_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline unsigned version_major(uint32_t hex)
{
    return hex >> 24;
}

static inline unsigned version_minor(uint32_t hex)
{
    return hex >> 16 & 0xff;
}

/* PY_VERSION_HEX as text: 0x030f00a3 is "3.15.0a3". */
void version_format(uint32_t hex, char *text, size_t size);

/* Parses the text of sys.version at its start ("3.8.18 (default, ...) \n[GCC ...]",
 * ended by NUL within `size`). `build` gets what follows the number, line breaks
 * left out. False when it isn't such a text. */
bool version_parse(const char *text, size_t size, uint32_t *hex, char *build, size_t build_size);

/* Finds the first such text in a piece of memory, right after a NUL or at its
 * start, of the given number (0: of any). */
bool version_search(const char *bytes, size_t size, uint32_t wanted, uint32_t *hex, char *build, size_t build_size);

#endif
