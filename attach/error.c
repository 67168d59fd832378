/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct error {
    enum error_code code;
    char *message;
    char *hint;
};

/* What the contract of the command line says of each code, in one place. */
static const struct {
    const char *name;
    int exit_status;
} error_table[ERROR_CODES] = {
    [ERROR_USAGE] = {"USAGE", 2},
    [ERROR_NO_PROCESS] = {"NO_PROCESS", 3},
    [ERROR_NOT_PYTHON] = {"NOT_PYTHON", 3},
    [ERROR_PERMISSION] = {"PERMISSION", 4},
    [ERROR_DISABLED] = {"DISABLED", 5},
    [ERROR_UNSUPPORTED] = {"UNSUPPORTED", 5},
    [ERROR_NO_SAFE_POINT] = {"NO_SAFE_POINT", 6},
    [ERROR_SCRIPT] = {"SCRIPT", 7},
    [ERROR_TARGET_ENDED] = {"TARGET_ENDED", 8},
    [ERROR_BAD_FILE] = {"BAD_FILE", 9},
    [ERROR_INTERRUPTED] = {"INTERRUPTED", 130},
    [ERROR_BUSY] = {"NO_SAFE_POINT", 6},
    [ERROR_FAULT] = {"UNSUPPORTED", 5},
    [ERROR_PROTOCOL] = {"PROTOCOL", 5},
    [ERROR_SYSTEM] = {"SYSTEM", 5},
    [ERROR_BUG] = {"BUG", 70},
};

static struct error error_no_memory = {ERROR_SYSTEM, (char *)"out of memory", NULL};

/* vasprintf() that says NULL when memory is out. */
static char *error_format(const char *fmt, va_list arguments)
{
    char *text;

    return vasprintf(&text, fmt, arguments) < 0 ? NULL : text;
}

/* Takes ownership of message. */
static struct error *error_assemble(enum error_code code, const char *hint, char *message)
{
    struct error *error = malloc(sizeof(*error));

    if (!error || !message) {
        free(error);
        free(message);
        return &error_no_memory;
    }
    *error = (struct error){code, message, hint ? strdup(hint) : NULL};
    return error;
}

struct error *error_create(enum error_code code, const char *hint, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    char *message = error_format(fmt, arguments);
    va_end(arguments);
    return error_assemble(code, hint, message);
}

struct error *error_create_errno(enum error_code code, int err, const char *fmt, ...)
{
    va_list arguments;
    char *message = NULL;

    va_start(arguments, fmt);
    char *what = error_format(fmt, arguments);
    va_end(arguments);
    if (what && asprintf(&message, "%s: %s", what, err == ESRCH ? "the process is gone" : strerror(err)) < 0)
        message = NULL;
    free(what);
    return error_assemble(err == ESRCH ? ERROR_TARGET_ENDED : code, NULL, message);
}

struct error *error_context(struct error *error, const char *fmt, ...)
{
    va_list arguments;
    char *message = NULL;

    if (!error || error == &error_no_memory)
        return error;
    va_start(arguments, fmt);
    char *context = error_format(fmt, arguments);
    va_end(arguments);
    if (context && asprintf(&message, "%s: %s", context, error->message) >= 0) {
        free(error->message);
        error->message = message;
    }
    free(context);
    return error;
}

struct error *error_with_hint(struct error *error, const char *fmt, ...)
{
    va_list arguments;

    if (!error || error == &error_no_memory)
        return error;
    va_start(arguments, fmt);
    char *hint = error_format(fmt, arguments);
    va_end(arguments);
    if (hint) {
        free(error->hint);
        error->hint = hint;
    }
    return error;
}

enum error_code error_code(const struct error *error)
{
    return error->code;
}

const char *error_message(const struct error *error)
{
    return error->message;
}

const char *error_hint(const struct error *error)
{
    return error->hint;
}

const char *error_code_name(enum error_code code)
{
    return error_table[code].name;
}

int error_exit_status(enum error_code code)
{
    return error_table[code].exit_status;
}

void error_destroy(struct error *error)
{
    if (!error || error == &error_no_memory)
        return;
    free(error->message);
    free(error->hint);
    free(error);
}
