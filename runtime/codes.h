/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Code objects by their addresses, each read once: what a frame is a frame of. */
#ifndef SAFEPOINT_RUNTIME_CODES_H
#define SAFEPOINT_RUNTIME_CODES_H

#include "runtime/runtime.h"

/* The texts are the target's, in UTF-8, cut where they are too long: who prints them escapes control characters. */
struct code {
    struct address address;
    char *function; /* qualified name where the version has one (3.11+) */
    char *file;
    int first_line;
    uint8_t *line_table;
    size_t line_table_size;
    uint64_t identity[5]; /* the addresses of its parts: another code object at the same address has others */
};

struct codes {
    struct code **items; /* by rising address */
    size_t count, room;
    uint64_t bytes; /* of all line tables */
};

/* Empty; end it with codes_deinit(). */
void codes_init(struct codes *codes);
void codes_deinit(struct codes *codes);

/* The code object at an address; owned by `codes`. ERROR_BUSY or ERROR_FAULT where there is none (any more). */
struct error *codes_find(struct codes *codes, const struct runtime *runtime, struct address address,
                         const struct code **code) __attribute__((warn_unused_result));

/* The line of an instruction of it; 0 where it has none. */
int code_find_line(const struct runtime *runtime, const struct code *code, int64_t instruction);

#endif
