/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An exception of the target's, collected from the agent's frames, as Python would print it. */
#ifndef SAFEPOINT_CLI_EXCEPTION_H
#define SAFEPOINT_CLI_EXCEPTION_H

#include <stdio.h>

#include "cli/cli.h"
#include "protocol/wire.h"

struct exception {
    char *type, *message; /* of the last one: the one that was raised; NULL before */
    FILE *text_stream;
    char *text; /* the whole traceback, after exception_finish() */
    size_t text_size;
    /* while one is collected */
    FILE *parts_stream[4];
    char *parts[4];
    size_t parts_size[4];
    char relation[16];
    bool open;
    unsigned count; /* of exceptions */
    size_t taken;   /* of their parts, in bytes */
    const char *script_name, *script; /* whose lines can be shown; not owned */
    size_t script_size;
    size_t *lines, line_count; /* where they begin, when first needed */
};

/* `script` is what ran under the name `script_name`; both outlive the exception. */
void exception_init(struct exception *exception, const char *script_name, const char *script, size_t script_size);
void exception_deinit(struct exception *exception);

/* Takes one of the frames that make exceptions; others are left alone. Bounded. */
struct error *exception_frame(struct exception *exception, const struct wire_frame *frame)
    __attribute__((warn_unused_result));

/* Ends the collection: text, type and message are there. */
void exception_finish(struct exception *exception);

#endif
