/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside of doctor: a list of checks, filled by doctor_host.c and doctor_target.c, printed by doctor.c. */
#ifndef SAFEPOINT_CLI_DOCTOR_H
#define SAFEPOINT_CLI_DOCTOR_H

#include "cli/cli.h"

struct ps_counts;

enum doctor_state {
    DOCTOR_OK,
    DOCTOR_WARN, /* works, but less well, or not for all */
    DOCTOR_FAIL, /* stands in the way */
};

struct doctor {
    struct doctor_check {
        const char *name; /* not owned */
        enum doctor_state state;
        char *text, *hint; /* hint may be NULL */
    } *checks;
    size_t count;
    struct error *verdict; /* of the first check that failed; NULL: none did */
};

/* Each adds one check. */
void doctor_ok(struct doctor *doctor, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void doctor_warn(struct doctor *doctor, const char *name, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Takes ownership of the error: the check's text and hint are its. */
void doctor_fail(struct doctor *doctor, const char *name, struct error *error);
/* ok with that text when there is no error; else as doctor_fail(). */
void doctor_judge(struct doctor *doctor, const char *name, struct error *error, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Checks of this host, kernel and user; the numbers of ps. */
void doctor_examine_host(struct doctor *doctor, struct ps_counts *counts);

/* Checks of one process; its start time, left as it is when the process can't be opened. */
void doctor_examine_target(struct doctor *doctor, pid_t pid, uint64_t *start_time);

#endif
