/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Tables that a person reads: a header, numbers to the right, two blanks between columns.
 * All that goes into a cell is escaped. On a terminal the columns that may be cut
 * are, so that a row is a line; elsewhere nothing is cut.
 */
#ifndef SAFEPOINT_CLI_TABLE_H
#define SAFEPOINT_CLI_TABLE_H

#include "cli/cli.h"

enum { TABLE_RIGHT = 1, TABLE_CUT = 2 };

struct table_column {
    const char *name; /* NULL ends the columns */
    int flags;
};

struct table; /* opaque */

/* Never NULL but when memory is out, which table_print() then says. */
struct table *table_create(const struct cli_options *options, const struct table_column *columns);
void table_destroy(struct table *table); /* NULL is legal */

/* Begins a row; the cells that follow are its, from left to right. */
void table_begin_row(struct table *table);
void table_cell(struct table *table, const char *text);
void table_format(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A count as "1,234,567", a size as "1.2 MiB". */
void table_count(struct table *table, uint64_t count);
void table_size(struct table *table, uint64_t bytes);

/* Prints it to cli_output. */
struct error *table_print(struct table *table) __attribute__((warn_unused_result));

#endif
