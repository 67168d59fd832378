/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One error object for the whole program.
 *
 * A function that can fail returns `struct error *`; NULL is success. The
 * message is made where the facts are, every layer above may add its context
 * once, and only cli/ turns the object into text and an exit status. The
 * caller owns a returned error and ends it with error_destroy().
 */
#ifndef SAFEPOINT_ATTACH_ERROR_H
#define SAFEPOINT_ATTACH_ERROR_H

#include <stdarg.h>

/* What went wrong, in the terms of the command line's contract (exit status
 * and "code" in JSON come from one table in error.c). */
enum error_code {
    ERROR_USAGE,          /* the call's words are off */
    ERROR_NO_PROCESS,     /* no such process */
    ERROR_NOT_PYTHON,     /* a process, but no CPython in it */
    ERROR_PERMISSION,     /* the kernel doesn't let us */
    ERROR_DISABLED,       /* switched off in the target */
    ERROR_UNSUPPORTED,    /* a build, version or host that we refuse by name */
    ERROR_NO_SAFE_POINT,  /* deadline reached; the request was withdrawn */
    ERROR_SCRIPT,         /* the script raised */
    ERROR_TARGET_ENDED,   /* the target is gone */
    ERROR_BAD_FILE,       /* a damaged core or snapshot */
    ERROR_INTERRUPTED,    /* by a signal to us; everything was undone */
    ERROR_BUSY,           /* a passing state: the target may be tried again */
    ERROR_FAULT,          /* target memory that can't be read or written */
    ERROR_PROTOCOL,       /* bytes from the channel that make no sense */
    ERROR_SYSTEM,         /* the operating system refused something else */
    ERROR_BUG,            /* ours */
    ERROR_CODES
};

struct error;

/* Makes an error. `hint` (may be NULL) is copied. Never returns NULL: when
 * memory is out, a static error that says so is returned. */
struct error *error_create(enum error_code code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), warn_unused_result));

/* The same with ": " and strerror(err) appended. ESRCH becomes
 * ERROR_TARGET_ENDED whatever `code` says: the target is gone. */
struct error *error_create_errno(enum error_code code, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), warn_unused_result));

/* Puts "CONTEXT: " before the message; takes and returns ownership. NULL stays NULL. */
struct error *error_context(struct error *error, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

/* Replaces the hint; takes and returns ownership. NULL stays NULL. */
struct error *error_with_hint(struct error *error, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

/* Its parts, owned by the error; the hint is NULL when there is none. */
enum error_code error_code(const struct error *error);
/* What failed and why. */
const char *error_message(const struct error *error);
/* What to do. */
const char *error_hint(const struct error *error);

/* The name in JSON ("PERMISSION") and the exit status of the contract. */
const char *error_code_name(enum error_code code);
int error_exit_status(enum error_code code);

/* Ends an error; NULL is legal. */
void error_destroy(struct error *error);

#endif
