/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/table.h"

#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"

struct table {
    struct libscols_table *scols;
    struct libscols_line *line; /* the row that is filled */
    size_t column;              /* of its next cell */
    bool failed;                /* out of memory on the way */
};

static void table_add_column(struct table *table, const struct table_column *column, bool bold)
{
    int flags = (column->flags & TABLE_RIGHT ? SCOLS_FL_RIGHT : 0) | (column->flags & TABLE_CUT ? SCOLS_FL_TRUNC : 0);
    struct libscols_column *made = scols_table_new_column(table->scols, column->name, 0, flags);

    table->failed |= !made;
    if (made && bold)
        scols_cell_set_color(scols_column_get_header(made), "bold");
}

struct table *table_create(const struct cli_options *options, const struct table_column *columns)
{
    struct table *table = calloc(1, sizeof(*table));
    bool bold = cli_use_color(options, cli_output);

    if (!table || !(table->scols = scols_new_table())) {
        free(table);
        return NULL;
    }
    scols_table_set_stream(table->scols, cli_output);
    scols_table_set_termforce(table->scols, isatty(fileno(cli_output)) ? SCOLS_TERMFORCE_ALWAYS
                                                                       : SCOLS_TERMFORCE_NEVER);
    scols_table_set_column_separator(table->scols, "  ");
    scols_table_enable_noencoding(table->scols, 1); /* we escape ourselves */
    scols_table_enable_colors(table->scols, bold);
    for (; columns->name; columns++)
        table_add_column(table, columns, bold);
    return table;
}

void table_destroy(struct table *table)
{
    if (!table)
        return;
    scols_unref_table(table->scols);
    free(table);
}

void table_begin_row(struct table *table)
{
    if (!table)
        return;
    table->column = 0;
    table->line = scols_table_new_line(table->scols, NULL);
    table->failed |= !table->line;
}

void table_cell(struct table *table, const char *text)
{
    if (!table || !table->line)
        return;
    char *escaped = cli_escape_line(text);
    table->failed |= !escaped || scols_line_refer_data(table->line, table->column++, escaped) != 0;
}

void table_format(struct table *table, const char *fmt, ...)
{
    scoped_free char *text = NULL;
    va_list arguments;

    va_start(arguments, fmt);
    if (vasprintf(&text, fmt, arguments) < 0)
        text = NULL;
    va_end(arguments);
    table_cell(table, text ? text : "");
}

void table_count(struct table *table, uint64_t count)
{
    char text[32];

    table_cell(table, cli_format_count(text, sizeof(text), count));
}

void table_size(struct table *table, uint64_t bytes)
{
    char text[32];

    table_cell(table, cli_format_size(text, sizeof(text), bytes));
}

struct error *table_print(struct table *table)
{
    if (!table || table->failed || scols_print_table(table->scols) != 0)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a table");
    return NULL;
}
