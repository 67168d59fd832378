/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A copy of a target's writable memory, as one piece of ours.
 *
 *   target   |range 0|      |range 1      |   |range 2|      by rising address
 *   bytes    |range 0|range 1      |range 2|                 the same order, no gaps
 *
 * A position is a byte's place in `bytes`, in units of 8 bytes: 32 bits that
 * stand for an address, and are in the order of addresses. An address is found
 * through a two-level index of megabytes.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_IMAGE_H
#define SAFEPOINT_RUNTIME_HEAP_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "attach/copy.h"
#include "attach/core.h"
#include "attach/error.h"
#include "attach/maps.h"
#include "attach/memory.h"

/* What is to be copied. */
struct heap_span {
    uint64_t start, size; /* whole pages */
    bool statics;         /* of a file: a library's or program's own variables */
};

struct heap_range {
    uint64_t start, size;
    uint64_t local; /* where in `bytes` */
    bool statics;
};

struct heap_image {
    unsigned char *bytes;
    uint64_t size;
    struct heap_range *ranges; /* by rising address; neighbours are one where both are of a kind */
    size_t count;
    uint32_t **index; /* [address >> 34][address >> 20 & 16383]: the first range that ends behind it, plus 1 */
    uint64_t missing; /* bytes that were left out, for want of room or because they couldn't be read */
    /* Those that addresses were last found in: most are found there again. */
    const struct heap_range *last, *other;
};

/* Told now and then how far a long piece of work is; an error that it returns ends the work, and is its error. */
struct heap_progress {
    struct error *(*step)(void *context, const char *what, uint64_t done, uint64_t all);
    void *context;
};

/* The spans that objects can be in: private, writable, readable. With a pid (not
 * 0) pages of anonymous memory that hold nothing are left out (/proc/PID/pagemap).
 * free() the list. */
struct error *heap_spans_find(const struct maps *maps, pid_t pid, struct heap_span **spans, size_t *count)
    __attribute__((warn_unused_result));

/* The same of a copy that was taken of a process, as its mappings were then. */
struct error *heap_spans_find_copied(const struct copy *copy, struct heap_span **spans, size_t *count)
    __attribute__((warn_unused_result));

/* The same of a core, whose mappings these are. `missing`: bytes of such memory that the core hasn't. */
struct error *heap_spans_find_core(const struct core *core, const struct maps *maps, struct heap_span **spans, size_t *count,
                                   uint64_t *missing) __attribute__((warn_unused_result));

/* Takes memory for a copy of the spans (by rising address), at most max_bytes of it (0:
 * no bound): what is too much is missing. Reads nothing yet. */
struct error *heap_image_init(struct heap_image *image, const struct heap_span *spans, size_t count, uint64_t max_bytes)
    __attribute__((warn_unused_result));

/* Touches the memory that was taken, so that reading is as fast as it can be: to be
 * done while the target still runs. */
void heap_image_prefault(struct heap_image *image);

/* Reads it all. Pages that can't be read are zeros, and missing; it is an error only
 * when nothing can be. `progress` may be NULL. */
struct error *heap_image_read(struct heap_image *image, const struct memory *memory,
                              const struct heap_progress *progress) __attribute__((warn_unused_result));

void heap_image_deinit(struct heap_image *image);

/* The range that holds an address, NULL when none does. */
const struct heap_range *heap_image_find(const struct heap_image *image, uint64_t address);

/* The bytes at an address, NULL when they aren't all in one range. */
static inline const unsigned char *heap_image_get(struct heap_image *image, uint64_t address, uint64_t size)
{
    const struct heap_range *range = image->last;

    if (address - range->start >= range->size) {
        range = image->other;
        if (address - range->start >= range->size)
            range = heap_image_find(image, address);
        if (!range)
            return NULL;
        image->other = image->last;
        image->last = range;
    }
    uint64_t at = address - range->start;
    return size <= range->size - at ? image->bytes + range->local + at : NULL;
}

/* One word; 0 where there is none. */
static inline uint64_t heap_image_u64(struct heap_image *image, uint64_t address)
{
    const unsigned char *bytes = heap_image_get(image, address, sizeof(uint64_t));
    uint64_t value = 0;

    if (bytes)
        memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline uint32_t heap_image_u32(struct heap_image *image, uint64_t address)
{
    const unsigned char *bytes = heap_image_get(image, address, sizeof(uint32_t));
    uint32_t value = 0;

    if (bytes)
        memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline uint8_t heap_image_u8(struct heap_image *image, uint64_t address)
{
    const unsigned char *bytes = heap_image_get(image, address, 1);

    return bytes ? *bytes : 0;
}

#define HEAP_NO_POSITION UINT32_MAX

/* The position of an address that is a multiple of 8, or HEAP_NO_POSITION. */
static inline uint32_t heap_image_position(struct heap_image *image, uint64_t address)
{
    const unsigned char *bytes = address % 8 ? NULL : heap_image_get(image, address, 8);

    return bytes ? (uint32_t)((uint64_t)(bytes - image->bytes) / 8) : HEAP_NO_POSITION;
}

/* The address of a position. */
uint64_t heap_image_address(const struct heap_image *image, uint32_t position);

#endif
