/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the fields of a greenlet are: they differ by its own version and by Python's. */
#ifndef SAFEPOINT_RUNTIME_GREENLET_LAYOUT_H
#define SAFEPOINT_RUNTIME_GREENLET_LAYOUT_H

#include "attach/maps.h"
#include "runtime/reader.h"

/* Offsets from the object (1.x) or from what its last field leads to (2.0 and later). */
struct greenlet_layout {
    bool indirect;        /* the latter */
    uint32_t stack_start; /* stack_stop and the copy's address follow */
    uint32_t top_frame;
    uint32_t current_frame; /* OFF_NONE before 3.11 */
    uint32_t self;          /* of a main greenlet, where its address is; OFF_NONE in 1.x */
    uint32_t parent;        /* of any other */
    uint64_t code_start, code_end; /* where its module is mapped; for what has virtual functions */
};

/* The fields of one, as they were read. */
struct greenlet_fields {
    uint64_t stack_start, stack_stop;
    uint64_t top_frame, current_frame, parent;
    bool main;
    bool thread_ended; /* of a main one: its thread is gone (2.0 and later) */
};

/* Is greenlet's module mapped? */
bool greenlet_is_mapped(const struct maps *maps);

/*
 * Finds the layout, by the size of greenlet's type and by greenlets that are main ones: nothing is taken from the number of
 * its version. False: none that is known fits.
 */
bool greenlet_layout_find(struct greenlet_layout *layout, struct object_reader *reader, const struct maps *maps,
                          uint64_t type, const uint64_t *greenlets, size_t count);

/* Reads one. False: it doesn't fit the layout, or not any more. */
bool greenlet_read_fields(const struct greenlet_layout *layout, struct object_reader *reader, uint64_t greenlet,
                          struct greenlet_fields *fields);

#endif
