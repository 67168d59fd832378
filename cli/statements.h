/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lines of a console made into statements. The target alone knows whether a
 * text is a whole statement; here is decided what to ask it, without I/O:
 *
 *   typed       each line is tried with those before it; a blank line ends a block
 *   from a pipe the same, and a line that isn't indented ends a block too (but else,
 *               elif, except and finally go on with it)
 */
#ifndef SAFEPOINT_CLI_STATEMENTS_H
#define SAFEPOINT_CLI_STATEMENTS_H

#include <stdbool.h>
#include <stddef.h>

struct statements {
    char *text; /* the lines that wait for more; NULL: none */
    size_t size;
    bool typed;
};

/* Nothing waits. `typed`: by a person, not from a pipe. */
void statements_init(struct statements *statements, bool typed);
void statements_deinit(struct statements *statements);

/* Must what waits be tried by itself, as if a blank line came, before this line is added? */
bool statements_line_ends_block(const struct statements *statements, const char *line);

/* Adds a line (with no newline). False when memory is out. */
bool statements_add(struct statements *statements, const char *line);

/* Drops what waits: it has run, or is given up. */
void statements_clear(struct statements *statements);

#endif
