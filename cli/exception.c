/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/exception.h"

#include <stdlib.h>
#include <string.h>

/* Bounds for a target that never ends; the agent sends at most 32 exceptions of 2,001 frames. */
#define EXCEPTION_CHAIN_MAX 64
#define EXCEPTION_TAKEN_MAX (8u << 20)
#define EXCEPTION_TEXT_MAX (16u << 20)
#define EXCEPTION_SOURCE_MAX 1000 /* of a source line that is shown */

enum { PART_MESSAGE, PART_SYNTAX, PART_NOTES, PART_TRACE, PARTS };

void exception_init(struct exception *exception, const char *script_name, const char *script, size_t script_size)
{
    *exception = (struct exception){.script_name = script_name, .script = script, .script_size = script_size};
}

static void exception_drop_parts(struct exception *exception)
{
    for (int i = 0; i < PARTS; i++) {
        if (exception->parts_stream[i])
            fclose(exception->parts_stream[i]);
        free(exception->parts[i]);
        exception->parts_stream[i] = NULL;
        exception->parts[i] = NULL;
    }
    exception->open = false;
}

void exception_deinit(struct exception *exception)
{
    exception_drop_parts(exception);
    if (exception->text_stream)
        fclose(exception->text_stream);
    free(exception->text);
    free(exception->type);
    free(exception->message);
    free(exception->lines);
    memset(exception, 0, sizeof(*exception));
}

/* ------------------------------------------------------------- printing one */

/* Where each line of the script begins, found once: a traceback asks for thousands. */
static void exception_index_lines(struct exception *exception)
{
    const char *at = exception->script, *end = at + exception->script_size;
    size_t count = 1;

    for (const char *c = at; (c = memchr(c, '\n', (size_t)(end - c))); c++)
        count++;
    exception->lines = calloc(count, sizeof(*exception->lines));
    while (exception->lines && exception->line_count < count) {
        exception->lines[exception->line_count++] = (size_t)(at - exception->script);
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : end;
    }
}

static void exception_print_source(struct exception *exception, const char *file, long line)
{
    if (!exception->script || strcmp(file, exception->script_name) != 0)
        return;
    if (!exception->lines)
        exception_index_lines(exception);
    if (line < 1 || (size_t)line > exception->line_count)
        return;
    const char *at = exception->script + exception->lines[line - 1];
    const char *end = exception->script + exception->script_size, *stop = memchr(at, '\n', (size_t)(end - at));
    stop = stop ? stop : end;
    while (at < stop && (*at == ' ' || *at == '\t'))
        at++;
    if (stop - at > EXCEPTION_SOURCE_MAX)
        stop = at + EXCEPTION_SOURCE_MAX;
    if (at < stop)
        fprintf(exception->text_stream, "    %.*s\n", (int)(stop - at), at);
}

/* "line NUL function NUL file NUL"...; like Python, the same line again is counted. */
static void exception_print_trace(struct exception *exception)
{
    const char *at = exception->parts[PART_TRACE], *end = at + exception->parts_size[PART_TRACE];
    const char *last_fields[3] = {"", "", ""};
    unsigned repeats = 0;

    if (at == end)
        return;
    fputs("Traceback (most recent call last):\n", exception->text_stream);
    while (at < end && ftell(exception->text_stream) < (long)EXCEPTION_TEXT_MAX) {
        const char *fields[3];
        for (int i = 0; i < 3; i++) {
            fields[i] = at < end ? at : "";
            at += at < end ? strlen(at) + 1 : 0;
        }
        bool same = !strcmp(fields[0], last_fields[0]) && !strcmp(fields[1], last_fields[1]) &&
                    !strcmp(fields[2], last_fields[2]);
        repeats = same ? repeats + 1 : 0;
        if (repeats < 3) {
            fprintf(exception->text_stream, "  File \"%s\", line %s, in %s\n", fields[2], fields[0], fields[1]);
            exception_print_source(exception, fields[2], strtol(fields[0], NULL, 10));
        }
        bool more = at < end && !strcmp(at, fields[0]);
        if (repeats >= 3 && !more)
            fprintf(exception->text_stream, "  [Previous line repeated %u more time%s]\n", repeats - 2,
                    repeats == 3 ? "" : "s");
        memcpy(last_fields, fields, sizeof(fields));
    }
}

/* file NUL line NUL column NUL text */
static void exception_print_syntax(struct exception *exception)
{
    const char *at = exception->parts[PART_SYNTAX], *end = at + exception->parts_size[PART_SYNTAX];
    const char *fields[4];

    if (at == end)
        return;
    for (int i = 0; i < 4; i++) {
        fields[i] = at < end ? at : "";
        at += at < end ? strlen(at) + 1 : 0;
    }
    long column = strtol(fields[2], NULL, 10);
    size_t indent = strspn(fields[3], " \t\f");
    int length = (int)strcspn(fields[3] + indent, "\n");
    fprintf(exception->text_stream, "  File \"%s\", line %s\n", fields[0], fields[1]);
    if (length)
        fprintf(exception->text_stream, "    %.*s\n", length, fields[3] + indent);
    if (length && column > (long)indent && column - (long)indent <= length + 1)
        fprintf(exception->text_stream, "    %*s\n", (int)(column - (long)indent), "^");
}

static void exception_print(struct exception *exception)
{
    static const char *const relations[][2] = {
        {"cause", "\nThe above exception was the direct cause of the following exception:\n\n"},
        {"context", "\nDuring handling of the above exception, another exception occurred:\n\n"},
    };

    for (int i = 0; i < PARTS; i++)
        fflush(exception->parts_stream[i]);
    /* A syntax error's own text comes behind the NUL. */
    const char *message = exception->parts[PART_MESSAGE];
    if (exception->parts_size[PART_SYNTAX] && strlen(message) < exception->parts_size[PART_MESSAGE])
        message += strlen(message) + 1;
    exception_print_trace(exception);
    exception_print_syntax(exception);
    fprintf(exception->text_stream, "%s%s%s\n", exception->type, message[0] ? ": " : "", message);
    fputs(exception->parts[PART_NOTES], exception->text_stream);
    for (size_t i = 0; i < sizeof(relations) / sizeof(relations[0]); i++) {
        if (!strcmp(exception->relation, relations[i][0]))
            fputs(relations[i][1], exception->text_stream);
    }
    free(exception->message);
    exception->message = strdup(message);
    exception_drop_parts(exception);
}

/* --------------------------------------------------------------- collecting */

static struct error *exception_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for a traceback");
}

/* The relation says how the one that begins is followed by the next. */
static struct error *exception_begin(struct exception *exception, const struct wire_frame *frame)
{
    struct wire_cursor cursor;
    const char *type;
    size_t size;

    if (exception->open)
        exception_print(exception);
    if (exception->count++ == EXCEPTION_CHAIN_MAX)
        return error_create(ERROR_PROTOCOL, NULL, "the target's exceptions don't end");
    wire_cursor_init(&cursor, frame);
    if (!wire_cursor_field(&cursor, &type, &size))
        return error_create(ERROR_PROTOCOL, NULL, "the agent's exception makes no sense");
    free(exception->type);
    exception->type = strndup(type, size);
    snprintf(exception->relation, sizeof(exception->relation), "%.*s", (int)(cursor.end - cursor.at),
             (const char *)cursor.at);
    if (!exception->text_stream)
        exception->text_stream = open_memstream(&exception->text, &exception->text_size);
    for (int i = 0; i < PARTS; i++) {
        exception->parts_stream[i] = open_memstream(&exception->parts[i], &exception->parts_size[i]);
        if (!exception->parts_stream[i])
            return exception_out_of_memory();
        fflush(exception->parts_stream[i]);
    }
    if (!exception->type || !exception->text_stream)
        return exception_out_of_memory();
    exception->open = true;
    return NULL;
}

struct error *exception_frame(struct exception *exception, const struct wire_frame *frame)
{
    static const struct {
        enum wire_kind kind;
        int part;
    } kinds[] = {{WIRE_MESSAGE, PART_MESSAGE}, {WIRE_SYNTAX, PART_SYNTAX}, {WIRE_NOTE, PART_NOTES}, {WIRE_TRACE, PART_TRACE}};

    if (frame->kind == WIRE_EXCEPTION)
        return exception_begin(exception, frame);
    if (!exception->open)
        return NULL;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        FILE *stream = exception->parts_stream[kinds[i].part];

        if (frame->kind != kinds[i].kind || exception->taken + frame->size > EXCEPTION_TAKEN_MAX)
            continue;
        exception->taken += frame->size + 1;
        fwrite(frame->payload, 1, frame->size, stream);
        if (frame->kind == WIRE_NOTE)
            putc('\n', stream);
        fflush(stream);
    }
    return NULL;
}

void exception_finish(struct exception *exception)
{
    if (exception->open)
        exception_print(exception);
    if (exception->text_stream)
        fflush(exception->text_stream);
}
