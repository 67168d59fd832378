/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

FILE *cli_output;
bool cli_finding;

void cli_note(const struct cli_options *options, const char *fmt, ...)
{
    va_list arguments;

    if (options->quiet)
        return;
    fputs("safepoint: ", stderr);
    va_start(arguments, fmt);
    vfprintf(stderr, fmt, arguments);
    va_end(arguments);
    putc('\n', stderr);
}

bool cli_use_color(const struct cli_options *options, FILE *file)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");

    if (options->color != CLI_COLOR_AUTO)
        return options->color == CLI_COLOR_ALWAYS;
    return isatty(fileno(file)) && !(no_color && no_color[0]) && !(terminal && !strcmp(terminal, "dumb"));
}

void cli_print_error(const struct cli_options *options, const struct error *error)
{
    bool color = cli_use_color(options, stderr);
    char *message = cli_escape(error_message(error));
    char *hint = error_hint(error) ? cli_escape(error_hint(error)) : NULL;

    fprintf(stderr, "%ssafepoint:%s %s\n", color ? "\033[1;31m" : "", color ? "\033[0m" : "",
            message ? message : "out of memory");
    if (hint)
        fprintf(stderr, "%shint:%s %s\n", color ? "\033[1m" : "", color ? "\033[0m" : "", hint);
    free(message);
    free(hint);
}

char *cli_format_size(char *text, size_t room, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(text, room, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

char *cli_format_duration(char *text, size_t room, double seconds)
{
    long whole = (long)seconds;

    if (seconds < 60)
        snprintf(text, room, "%.1f s", seconds);
    else if (whole < 3600)
        snprintf(text, room, "%ld min %ld s", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(text, room, "%ld h %ld min", whole / 3600, whole % 3600 / 60);
    else
        snprintf(text, room, "%ld d %ld h", whole / 86400, whole % 86400 / 3600);
    return text;
}

char *cli_format_count(char *text, size_t room, uint64_t count)
{
    char digits[24];
    size_t length = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count), at = 0;

    for (size_t i = 0; i < length && at + 2 < room; i++) {
        if (i && (length - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

bool cli_parse_duration(const char *text, int64_t *milliseconds)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        value *= units[i].factor;
        if (errno || value < 1 || value > 366.0 * 24 * 3600000)
            return false;
        *milliseconds = (int64_t)value;
        return true;
    }
    return false;
}

bool cli_parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *at = units; unit && at <= unit; at++)
        value *= 1024;
    end += unit != NULL;
    if (unit && *end == 'i')
        end++;
    if (*end == 'B')
        end++;
    if (errno || *end || !(value < 1e18))
        return false;
    *bytes = (uint64_t)value;
    return true;
}

void cli_format_time(char *text, size_t room)
{
    time_t seconds = time(NULL);
    struct tm utc;

    strftime(text, room, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
}

struct error *cli_parse_pid(const char *text, pid_t *pid)
{
    char *end;

    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || !isdigit((unsigned char)text[0]) || value <= 0 || value > INT_MAX)
        return error_create(ERROR_USAGE, "list the Python processes here: safepoint ps", "%s is no process id", text);
    *pid = (pid_t)value;
    return NULL;
}

/* The length of the UTF-8 character at `text`, 0 where there is none. */
static size_t output_character(const unsigned char *text)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

static bool output_is_control(const unsigned char *text)
{
    /* C0 and DEL; C1 controls as UTF-8 (c2 80 to c2 9f) */
    return (text[0] < 0x20 && text[0] != '\n' && text[0] != '\t') || text[0] == 0x7f ||
           (text[0] == 0xc2 && text[1] < 0xa0);
}

char *cli_escape(const char *text)
{
    const unsigned char *from = (const unsigned char *)text;
    char *escaped = malloc(strlen(text) * 4 + 1), *at = escaped;

    if (!escaped)
        return NULL;
    while (*from) {
        size_t length = output_character(from);

        if (!length || output_is_control(from)) {
            at += sprintf(at, "\\x%02x", *from++);
            /* the rest of a C1 control */
            if (length == 2)
                at += sprintf(at, "\\x%02x", *from++);
            continue;
        }
        memcpy(at, from, length);
        at += length;
        from += length;
    }
    *at = '\0';
    return escaped;
}

char *cli_escape_line(const char *text)
{
    char *escaped = cli_escape(text);

    for (char *at = escaped; at && *at; at++) {
        if (*at == '\n' || *at == '\t')
            *at = ' ';
    }
    return escaped;
}
