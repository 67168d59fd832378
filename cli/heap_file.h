/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A heap as a snapshot file has it, and what it says of its origin (docs/snapshot.md). */
#ifndef SAFEPOINT_CLI_HEAP_FILE_H
#define SAFEPOINT_CLI_HEAP_FILE_H

#include "cli/cli.h"
#include "protocol/snapshot.h"
#include "runtime/heap/heap.h"

/* Whose heap it is and how it was had: of a process as it was read, of a file as it says. */
struct heap_origin {
    uint64_t pid, start_time; /* of a core no start time: 0 */
    uint64_t identity;        /* process_read_identity(); 0 unknown, as of files that older versions wrote */
    char python[64], host[256], time[32], container[128];
    bool free_threaded, debug;
    char method[16]; /* child, copy, live */
    bool at_safe_point;
    char why[320], refused[256];
    double pause_us;
    uint64_t read_bytes, missing_bytes, torn_pools, broken_lists;
    bool cut, values;
    char allocator[32];
};

/* The nodes and types of a file; what else it has is left there. */
struct heap_file {
    struct heap_origin origin;
    uint32_t count, type_count;

    uint64_t *addresses, *sizes;
    uint32_t *types, *refcounts;
    uint8_t *flags;
    uint32_t room, type_room;
    struct heap_file_type {
        uint64_t address;
        char *name, *module;
    } *type_list;
    uint64_t max_memory, taken; /* bytes */
    FILE *stream;               /* the file itself, for heap_file_read_again() */
    struct snapshot_known known; /* for reading it again */
    char *path;
};

/* Reads a file. At most `max_memory` bytes are taken for it (0: no bound). ERROR_USAGE when it can't be opened, ERROR_BAD_FILE.
 * End it with heap_file_deinit() in any case. */
struct error *heap_file_read(struct heap_file *file, const char *path, uint64_t max_memory)
    __attribute__((warn_unused_result));
void heap_file_deinit(struct heap_file *file);

/* Reads once more, of a file that has been read: calls back for edges, roots and values, as far as these events aren't NULL; for
 * nothing else. ERROR_BAD_FILE of one that has changed since. */
struct error *heap_file_read_again(struct heap_file *file, const struct snapshot_events *events)
    __attribute__((warn_unused_result));

/* One of them. */
struct heap_node heap_file_node(const struct heap_file *file, uint32_t number);

struct heap_file_counts {
    uint64_t objects, bytes, edges, roots, values, file_bytes;
};

/* Writes a whole file, with values where the origin says so. ERROR_INTERRUPTED by `progress`. */
struct error *heap_file_write(FILE *stream, struct heap *heap, const struct heap_origin *origin,
                              const struct heap_progress *progress, struct heap_file_counts *counts)
    __attribute__((warn_unused_result));

#endif
