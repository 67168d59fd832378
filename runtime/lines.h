/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an instruction to its source line, for the three encodings that CPython
 * has had. Pure functions on bytes that a target chose: they read nothing
 * outside `table` and end after at most one pass over it.
 */
#ifndef SAFEPOINT_RUNTIME_LINES_H
#define SAFEPOINT_RUNTIME_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/layout.h"

/* The line of the instruction at byte offset `instruction` of the code, where
 * the code object starts at first_line. Before the first instruction (negative
 * offset): first_line. 0 where the table has no line for it. */
int lines_find(enum line_format format, const uint8_t *table, size_t size, int first_line, int64_t instruction);

#endif
