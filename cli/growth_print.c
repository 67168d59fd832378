/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The answer of diff and grow. */
#include <inttypes.h>

#include "cli/growth.h"
#include "cli/table.h"

#define GROWTH_ROWS_SHOWN 15
#define GROWTH_KEEPERS_SHOWN 10
#define GROWTH_KEEPERS_IN_JSON 100

static const char *const growth_age_names[GROWTH_AGES] = {"0", "1", "2", "permanent", "unknown", "not_tracked"};

static size_t growth_limit(const struct cli_options *options, size_t usual, size_t count)
{
    size_t limit = options->heap.limit ? options->heap.limit : options->json || options->verbose ? count : usual;

    return limit < count ? limit : count;
}

size_t growth_keepers_wanted(const struct cli_options *options)
{
    return growth_limit(options, GROWTH_KEEPERS_SHOWN, GROWTH_KEEPERS_IN_JSON);
}

/* "+1.2 MiB". `text` of at least 32 bytes. */
static const char *growth_format_bytes(char *text, size_t room, int64_t bytes)
{
    char size[24];
    uint64_t magnitude = bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes;

    snprintf(text, room, "%s%s", bytes < 0 ? "-" : "+", cli_format_size(size, sizeof(size), magnitude));
    return text;
}

/* ------------------------------------------------------------------ people */

static void growth_print_head(const struct growth *growth, const struct growth_look *before, const struct growth_look *after,
                              double seconds)
{
    char objects[32], change[32], time[32], new_count[32], new_size[24], gone_count[32], gone_size[24];
    int64_t bytes = (int64_t)after->bytes - (int64_t)before->bytes;
    int64_t count = (int64_t)after->look.count - (int64_t)before->look.count;

    if (seconds > 0)
        fprintf(cli_output, "In %s: ", cli_format_duration(time, sizeof(time), seconds));
    fprintf(cli_output, "%s, %s%s objects", growth_format_bytes(change, sizeof(change), bytes), count < 0 ? "-" : "+",
            cli_format_count(objects, sizeof(objects), count < 0 ? 0 - (uint64_t)count : (uint64_t)count));
    fprintf(cli_output, " (%s new of %s, %s gone of %s)\n\n",
            cli_format_count(new_count, sizeof(new_count), growth->new_objects),
            cli_format_size(new_size, sizeof(new_size), growth->new_bytes),
            cli_format_count(gone_count, sizeof(gone_count), growth->gone_objects),
            cli_format_size(gone_size, sizeof(gone_size), growth->gone_bytes));
}

static void growth_print_row(struct table *table, const struct growth_row *row, const char *name, uint32_t looks)
{
    char bytes[32];

    table_begin_row(table);
    table_format(table, "%+" PRId64, row->count);
    table_cell(table, growth_format_bytes(bytes, sizeof(bytes), row->bytes));
    table_count(table, row->new_count);
    table_count(table, row->gone_count);
    table_format(table, "%+" PRId64, row->excess);
    if (looks > 2)
        table_format(table, "%" PRIu32 "/%" PRIu32, row->rises, looks - 1);
    table_cell(table, name);
}

static struct error *growth_print_rows(const struct growth *growth, const struct growth_types *types, uint32_t looks,
                                       const struct cli_options *options)
{
    const struct table_column columns[] = {
        {"COUNT", TABLE_RIGHT}, {"BYTES", TABLE_RIGHT},  {"NEW", TABLE_RIGHT}, {"GONE", TABLE_RIGHT},
        {"EXCESS", TABLE_RIGHT}, {"TYPE", TABLE_CUT}, {NULL, 0},
    };
    const struct table_column more_columns[] = {
        {"COUNT", TABLE_RIGHT}, {"BYTES", TABLE_RIGHT},  {"NEW", TABLE_RIGHT},   {"GONE", TABLE_RIGHT},
        {"EXCESS", TABLE_RIGHT}, {"ROSE", TABLE_RIGHT}, {"TYPE", TABLE_CUT}, {NULL, 0},
    };
    size_t shown = growth_limit(options, GROWTH_ROWS_SHOWN, growth->row_count);
    struct table *table = table_create(options, looks > 2 ? more_columns : columns);

    for (size_t i = 0; i < shown; i++)
        growth_print_row(table, &growth->rows[i], types->names[growth->rows[i].type], looks);
    struct error *error = shown ? table_print(table) : NULL;
    table_destroy(table);
    if (!error && shown < growth->row_count)
        cli_note(options, "%zu more types: -n NUMBER, or -v for all", growth->row_count - shown);
    return error;
}

static void growth_print_keeper(struct table *table, const struct growth_keeper *keeper)
{
    char count[32];

    table_begin_row(table);
    table_count(table, keeper->objects);
    table_size(table, keeper->bytes);
    table_format(table, "%s x %s", cli_format_count(count, sizeof(count), keeper->mostly_entries), keeper->mostly);
    if (keeper->holders > 1)
        table_format(table, "%s, and %" PRIu64 " more such", keeper->where, keeper->holders - 1);
    else
        table_cell(table, keeper->where);
}

static struct error *growth_print_keepers(const struct growth *growth, const struct cli_options *options)
{
    const struct table_column columns[] = {
        {"OBJECTS", TABLE_RIGHT}, {"BYTES", TABLE_RIGHT}, {"MOSTLY", 0}, {"KEPT BY", TABLE_CUT}, {NULL, 0},
    };
    struct table *table = table_create(options, columns);
    char count[32], size[24];

    for (size_t i = 0; i < growth->keeper_count; i++)
        growth_print_keeper(table, &growth->keepers[i]);
    fputs("\nWho keeps what is new:\n\n", cli_output);
    struct error *error = growth->keeper_count ? table_print(table) : NULL;
    table_destroy(table);
    if (growth->unheld_objects)
        fprintf(cli_output, "%sBy nobody that was found: %s new objects of %s: garbage that waits, or C code's\n",
                growth->keeper_count ? "\n" : "", cli_format_count(count, sizeof(count), growth->unheld_objects),
                cli_format_size(size, sizeof(size), growth->unheld_bytes));
    if (!error && growth->keeper_count < growth->keeper_all)
        cli_note(options, "%zu more keepers: -n NUMBER, or -v", growth->keeper_all - growth->keeper_count);
    return error;
}

static void growth_print_ages(const struct growth *growth)
{
    char count[32];

    fputs("\nOf the new ones, by the collector's generation:", cli_output);
    for (size_t i = 0; i < GROWTH_AGES; i++) {
        if (growth->ages[i])
            fprintf(cli_output, "  %s: %s", i == GROWTH_AGES - 1 ? "not tracked" : growth_age_names[i],
                    cli_format_count(count, sizeof(count), growth->ages[i]));
    }
    fputc('\n', cli_output);
}

static void growth_note_identity(const struct growth *growth, const struct cli_options *options)
{
    char changed[32], both[32], blank[32];

    if (growth->changed)
        cli_note(options, "at most %s of the %s objects that are in both may be others, at addresses used again",
                 cli_format_count(changed, sizeof(changed), growth->changed),
                 cli_format_count(both, sizeof(both), growth->same + growth->changed + growth->blank));
    if (growth->blank)
        cli_note(options, "of %s more only address, type and size are known%s",
                 cli_format_count(blank, sizeof(blank), growth->blank),
                 growth->values ? "" : ": a snapshot with --values tells strings and numbers apart");
}

struct error *growth_print(const struct growth *growth, const struct growth_types *types, const struct growth_look *before,
                           const struct growth_look *after, double seconds, uint32_t looks, const struct cli_options *options)
{
    growth_print_head(growth, before, after, seconds);
    struct error *error = growth_print_rows(growth, types, looks, options);
    if (error || (error = growth_print_keepers(growth, options)))
        return error;
    if (growth->new_objects)
        growth_print_ages(growth);
    growth_note_identity(growth, options);
    return NULL;
}

/* -------------------------------------------------------------------- JSON */

static void growth_json_rows(const struct growth *growth, const struct growth_types *types, uint32_t looks,
                             const struct cli_options *options, struct json *json)
{
    json_begin_array(json, "types");
    for (size_t i = 0; i < growth_limit(options, GROWTH_ROWS_SHOWN, growth->row_count); i++) {
        const struct growth_row *row = &growth->rows[i];
        json_begin_object(json, NULL);
        json_string(json, "type", types->names[row->type]);
        json_integer(json, "count", row->count);
        json_integer(json, "bytes", row->bytes);
        json_unsigned(json, "new", row->new_count);
        json_unsigned(json, "new_bytes", row->new_bytes);
        json_unsigned(json, "gone", row->gone_count);
        json_unsigned(json, "gone_bytes", row->gone_bytes);
        json_integer(json, "excess", row->excess);
        json_unsigned(json, "all", row->all_count);
        json_unsigned(json, "all_bytes", row->all_bytes);
        if (looks > 2)
            json_unsigned(json, "rises", row->rises);
        json_end_object(json);
    }
    json_end_array(json);
}

static void growth_json_keepers(const struct growth *growth, struct json *json)
{
    char address[24];

    json_begin_array(json, "keepers");
    for (size_t i = 0; i < growth->keeper_count; i++) {
        const struct growth_keeper *keeper = &growth->keepers[i];
        json_begin_object(json, NULL);
        json_string(json, "where", keeper->where);
        json_string(json, "mostly", keeper->mostly);
        json_unsigned(json, "mostly_entries", keeper->mostly_entries);
        json_string(json, "holder", keeper->holder[0] ? keeper->holder : NULL);
        snprintf(address, sizeof(address), "0x%" PRIx64, keeper->address);
        json_string(json, "address", keeper->address ? address : NULL);
        json_unsigned(json, "holders", keeper->holders);
        json_unsigned(json, "entries", keeper->entries);
        json_unsigned(json, "objects", keeper->objects);
        json_unsigned(json, "bytes", keeper->bytes);
        json_end_object(json);
    }
    json_end_array(json);
    json_unsigned(json, "keepers_found", growth->keeper_all);
}

static void growth_json_look(const struct growth_look *look, const char *name, struct json *json)
{
    json_begin_object(json, name);
    json_string(json, "time", look->origin.time);
    json_unsigned(json, "objects", look->look.count);
    json_unsigned(json, "bytes", look->bytes);
    json_end_object(json);
}

void growth_json(const struct growth *growth, const struct growth_types *types, const struct growth_look *before,
                 const struct growth_look *after, double seconds, uint32_t looks, const struct cli_options *options,
                 struct json *json)
{
    json_decimal(json, "seconds", seconds);
    json_unsigned(json, "looks", looks);
    growth_json_look(before, "before", json);
    growth_json_look(after, "after", json);
    json_unsigned(json, "new", growth->new_objects);
    json_unsigned(json, "new_bytes", growth->new_bytes);
    json_unsigned(json, "gone", growth->gone_objects);
    json_unsigned(json, "gone_bytes", growth->gone_bytes);
    json_unsigned(json, "same", growth->same);
    json_unsigned(json, "changed", growth->changed);
    json_unsigned(json, "blank", growth->blank);
    json_unsigned(json, "unheld", growth->unheld_objects);
    json_unsigned(json, "unheld_bytes", growth->unheld_bytes);
    json_begin_object(json, "ages");
    for (size_t i = 0; i < GROWTH_AGES; i++)
        json_unsigned(json, growth_age_names[i], growth->ages[i]);
    json_end_object(json);
    growth_json_rows(growth, types, looks, options, json);
    growth_json_keepers(growth, json);
}
