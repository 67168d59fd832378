/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Layouts out of a build's own debug information: for versions and builds that no table of ours knows, or whose process doesn't
 * fit its table; and, in tests, to check the tables.
 *
 * A row of a table names the C type and member behind a field of struct layout (or of struct heap_layout, heap/debug_layout.c),
 * and the versions that call it so. To follow a new version: add a row where a name has changed, and end the old one's range.
 */
#ifndef SAFEPOINT_RUNTIME_DEBUG_LAYOUT_H
#define SAFEPOINT_RUNTIME_DEBUG_LAYOUT_H

#include "runtime/layout.h"
#include "runtime/runtime.h"

enum layout_field_kind {
    FIELD_OFFSET,  /* of the member, or its distance from `minus` */
    FIELD_BIT,     /* the same in bits */
    FIELD_SIZE,    /* of the type */
    FIELD_WORDS,   /* the same in words of 8 bytes */
    FIELD_COUNT,   /* elements of an array */
    FIELD_ELEMENT, /* size of an element */
    FIELD_VALUE,   /* of the enumerator `member` */
    FIELD_NUMBER,  /* not a matter of types: `number` */
};

#define FIELD_LAST 99 /* until: no end is known */

struct layout_field {
    const char *name; /* in the layout */
    uint32_t to;      /* where in the layout, a uint32_t */
    uint8_t kind, since, until; /* 3.SINCE to 3.UNTIL */
    const char *type, *member;  /* as in a struct debug_query */
    const char *minus;
    uint32_t number;
    bool optional; /* only some builds have it: OFF_NONE in the others */
};

extern const struct layout_field layout_debug_fields[];
extern const size_t layout_debug_field_count;

/* Asks the debug information of the runtime's file (attach/debug_info.h). */
struct debug_query;
struct error *debug_layout_ask(const struct runtime *runtime, struct debug_query *queries, size_t count)
    __attribute__((warn_unused_result));

/* Fills in the fields that the runtime's version has by the debug information of its file. `layout` is all OFF_NONE
 * before. ERROR_UNSUPPORTED where there is none, or it doesn't tell a field (by name). */
struct error *debug_layout_fill(const struct runtime *runtime, const struct layout_field *fields, size_t count, void *layout)
    __attribute__((warn_unused_result));

/* The whole layout, unchecked. The runtime's version and image must be known. Errors as debug_layout_fill(). */
struct error *debug_layout_find(const struct runtime *runtime, struct layout *layout) __attribute__((warn_unused_result));

#endif
