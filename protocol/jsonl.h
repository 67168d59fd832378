/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A heap as lines of JSON, each an object of its own with the field "kind" (docs/export.md): one of kind "heap", then types,
 * objects, references and roots. Objects are known by their address. Fields that say nothing are left out.
 */
#ifndef SAFEPOINT_PROTOCOL_JSONL_H
#define SAFEPOINT_PROTOCOL_JSONL_H

#include "protocol/json.h"

#define JSONL_NO_NUMBER UINT64_MAX

struct jsonl_object {
    uint64_t address, size, retained, dominator; /* dominator 0: no object's */
    const char *type;
    uint32_t refcount;
    int generation; /* below 0: none */
    bool immortal, tracked;
    const char *value; /* of a string or number, or NULL; bytes are written in hexadecimal */
    size_t value_size;
    bool cut, bytes; /* the value is longer; is of bytes */
};

struct jsonl_reference {
    uint64_t from, to;
    const char *edge, *name; /* name: or NULL */
    uint64_t number;         /* or JSONL_NO_NUMBER */
    uint64_t key;            /* address of a dict's key, or 0 */
    bool counted;
};

struct jsonl_root {
    uint64_t to, holder, code; /* code: of a frame, or 0 */
    const char *root, *name;   /* name: or NULL */
    uint64_t number;
};

/* Each writes a line. The heap's is begun, given more fields by the caller, and ended with jsonl_end(). */
void jsonl_begin_heap(struct json *json, FILE *file);
void jsonl_end(struct json *json);
void jsonl_put_type(struct json *json, const char *name, const char *module);
void jsonl_put_object(struct json *json, const struct jsonl_object *object);
void jsonl_put_reference(struct json *json, const struct jsonl_reference *reference);
void jsonl_put_root(struct json *json, const struct jsonl_root *root);

#endif
