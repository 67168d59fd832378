/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A streaming JSON writer: what is written is well-formed as long as begin and end pair. */
#ifndef SAFEPOINT_PROTOCOL_JSON_H
#define SAFEPOINT_PROTOCOL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 32

struct json {
    FILE *file; /* not owned; its errors are the caller's to look at */
    int depth;
    char held[4]; /* the begin of a character that a piece has cut */
    size_t held_size;
    bool has_items[JSON_DEPTH_MAX];
};

/* Writes to `file` from now on. */
void json_init(struct json *json, FILE *file);

/* In an object each value has a name; elsewhere it is NULL. */
void json_begin_object(struct json *json, const char *name);
void json_end_object(struct json *json);
void json_begin_array(struct json *json, const char *name);
void json_end_array(struct json *json);

/* UTF-8; bytes that aren't become U+FFFD. json_string(NULL) writes null. */
void json_string(struct json *json, const char *name, const char *text);
void json_bytes(struct json *json, const char *name, const char *text, size_t size);
/* A string in pieces, cut anywhere. */
void json_begin_string(struct json *json, const char *name);
void json_add_to_string(struct json *json, const char *text, size_t size);
void json_end_string(struct json *json);
/* Other values. */
void json_integer(struct json *json, const char *name, int64_t value);
void json_unsigned(struct json *json, const char *name, uint64_t value);
void json_boolean(struct json *json, const char *name, bool value);
void json_null(struct json *json, const char *name);
/* With three decimals. */
void json_decimal(struct json *json, const char *name, double value);

#endif
