/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The one choke point for a target's memory.
 *
 * Every read and write of target memory in the program goes through a
 * `struct memory`. It is fed by a live process (process.c), and by bytes in
 * our own memory (memory_fake_*) where a test or a file takes its place.
 */
#ifndef SAFEPOINT_ATTACH_MEMORY_H
#define SAFEPOINT_ATTACH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* An address in the target. A type of its own, so that mixing it with a
 * pointer of ours does not compile. */
struct address {
    uint64_t value;
};

#define ADDRESS_NULL ((struct address){0})

static inline struct address address_of(uint64_t value)
{
    return (struct address){value};
}

static inline struct address address_add(struct address base, uint64_t offset)
{
    return (struct address){base.value + offset};
}

struct memory;

struct memory_ops {
    /* All of the bytes or an error (ERROR_FAULT, ERROR_PERMISSION,
     * ERROR_TARGET_ENDED); never a part of them without an error. */
    struct error *(*read)(const struct memory *memory, struct address from, void *to, size_t size);
    struct error *(*write)(const struct memory *memory, struct address to, const void *from, size_t size);
    bool concurrent; /* several threads may read at once */
};

struct memory {
    const struct memory_ops *ops;
    void *source; /* the reader's own; not owned */
};

/* Reads exactly `size` bytes. The target's state doesn't matter; bytes that a
 * running target changes meanwhile may be torn. */
struct error *memory_read(const struct memory *memory, struct address from, void *to, size_t size)
    __attribute__((warn_unused_result));

/* Writes exactly `size` bytes, also into pages that the target may not write
 * itself (private ones get a copy), where the source can. */
struct error *memory_write(const struct memory *memory, struct address to, const void *from, size_t size)
    __attribute__((warn_unused_result));

/* The same for single values, in the target's byte order, which is ours. */
struct error *memory_read_u8(const struct memory *memory, struct address from, uint8_t *value)
    __attribute__((warn_unused_result));
struct error *memory_read_u32(const struct memory *memory, struct address from, uint32_t *value)
    __attribute__((warn_unused_result));
struct error *memory_read_u64(const struct memory *memory, struct address from, uint64_t *value)
    __attribute__((warn_unused_result));
struct error *memory_read_address(const struct memory *memory, struct address from, struct address *value)
    __attribute__((warn_unused_result));

/* Reads a string that ends with NUL within `size` bytes of buffer; an unended
 * one is cut and ended. Stops at the end of readable memory. */
struct error *memory_read_string(const struct memory *memory, struct address from, char *buffer, size_t size)
    __attribute__((warn_unused_result));

/* A fake: `size` bytes of ours stand for the target's memory from `base` on. */
struct memory_fake {
    struct memory memory;
    struct address base;
    unsigned char *bytes; /* not owned */
    size_t size;
};
void memory_fake_init(struct memory_fake *fake, struct address base, void *bytes, size_t size);

#endif
