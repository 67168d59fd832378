/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The memory map of a process: /proc/PID/maps, parsed without I/O. */
#ifndef SAFEPOINT_ATTACH_MAPS_H
#define SAFEPOINT_ATTACH_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "memory.h"

struct map {
    struct address start, end; /* end is one past the last byte */
    uint64_t offset;           /* into the file */
    unsigned device_major, device_minor;
    uint64_t inode; /* 0 for anonymous memory */
    bool readable, writable, executable, shared;
    bool deleted;     /* " (deleted)" stood behind the path; it is cut off */
    const char *path; /* "" for anonymous memory; "[stack]", "[vdso]"...; owned by the maps */
};

struct maps {
    struct map *entries; /* by rising address */
    size_t count;
    char *text; /* what the paths point into */
};

/* Parses the text of a maps file; takes ownership of `text` (malloc'd), also
 * on error. Lines that make no sense are an error (ERROR_SYSTEM). */
struct error *maps_parse(struct maps *maps, char *text, size_t length) __attribute__((warn_unused_result));

/* Reads and parses /proc/PID/maps. The target may be running. ERROR_PERMISSION
 * where the kernel refuses, ERROR_TARGET_ENDED when the process is gone. */
struct error *maps_read(struct maps *maps, pid_t pid) __attribute__((warn_unused_result));

void maps_deinit(struct maps *maps);

/* The entry that holds the address, or NULL. */
const struct map *maps_find(const struct maps *maps, struct address address);

/* The last part of the entry's path ("libpython3.11.so.1.0"). */
const char *map_basename(const struct map *map);

#endif
