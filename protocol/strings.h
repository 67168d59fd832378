/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The strings of a file that names them by number and has them at its end. They wait in a file of their own, as JSON; those
 * that came lately or often are known again, in bounded memory. One that isn't known again is in the file twice.
 */
#ifndef SAFEPOINT_PROTOCOL_STRINGS_H
#define SAFEPOINT_PROTOCOL_STRINGS_H

#include <stdbool.h>

#include "attach/error.h"
#include "protocol/json.h"

#define STRINGS_NONE UINT32_MAX
#define STRINGS_KNOWN_MAX  (UINT32_C(1) << 20)   /* strings that are known again, at most */
#define STRINGS_KNOWN_BYTES (UINT64_C(32) << 20) /* of text, likewise */

struct strings {
    FILE *file; /* where they wait; not owned */
    struct json json;
    uint32_t count;
    struct strings_known { /* open addressing */
        uint64_t *keys;    /* a hash of the text, or an id; 0: free */
        uint32_t *values;  /* the string's number */
        uint32_t count, room;
    } by_id, by_text;
    struct strings_text {
        uint32_t offset, size;
    } *texts; /* by place in by_text: in `bytes` */
    char *bytes;
    uint64_t used, byte_room;
};

/* `file` is empty, and can be read and written. End it with strings_deinit(); the file is the caller's. */
void strings_init(struct strings *strings, FILE *file);
void strings_deinit(struct strings *strings);

/* The number of a text, which is taken in if it isn't known. */
uint32_t strings_add(struct strings *strings, const char *text, size_t size);

/* The number of the text that an id (not 0) stands for: STRINGS_NONE where that isn't known; and what it is from now on. */
uint32_t strings_find(const struct strings *strings, uint64_t id);
void strings_keep(struct strings *strings, uint64_t id, uint32_t number);

/* Writes them all, as the items of an array. ERROR_SYSTEM when they can't be had back. */
struct error *strings_write(struct strings *strings, FILE *to) __attribute__((warn_unused_result));

#endif
