/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What core.c, core_parse.c and core_files.c share. */
#ifndef SAFEPOINT_ATTACH_CORE_INTERNAL_H
#define SAFEPOINT_ATTACH_CORE_INTERNAL_H

#include <elf.h>

#include "attach/core.h"

#define CORE_PAGE 4096u

/* A run of NT_FILE's rows with one path. */
struct core_file {
    const char *path;       /* in core->names */
    bool deleted;           /* the path was its no more */
    uint64_t start, end;    /* from the first of its mappings to the last one's end */
    uint64_t head;          /* where its begin is mapped; 0: nowhere */
    bool head_read, looked; /* build_id; fd */
    unsigned char build_id[40];
    size_t id_size;
    int fd; /* -1: not found, or not looked for */
    char *found, *refused;
};

/* A piece of memory, of one file or none. */
struct core_segment {
    uint64_t start, end;
    uint64_t offset, stored; /* in the core: where, and how many bytes from `start` on */
    uint64_t claimed;        /* how many it should have: those between aren't the file's */
    uint64_t file_offset;
    uint32_t file; /* number + 1; 0: none */
    bool readable, writable, executable;
};

struct core {
    struct core_options options;
    int fd;
    char *path;
    uint64_t size, missing_bytes, missing_notes; /* bytes; the second are among the first */
    int64_t written;
    struct core_segment *segments; /* by rising address, apart */
    size_t count;
    struct core_thread *threads;
    size_t thread_count;
    struct core_file *files;
    size_t file_count;
    char *names;
    unsigned char *auxv;
    size_t auxv_size;
    uint64_t entry; /* AT_ENTRY, in the program; 0 unknown */
    char name[17], arguments[81];
    uid_t uid;
    pid_t pid;
    int signal;
};

/* ERROR_BAD_FILE: "PATH WHY". ERROR_SYSTEM. */
struct error *core_refuse(const struct core *core, const char *why) __attribute__((warn_unused_result));
struct error *core_out_of_memory(const struct core *core) __attribute__((warn_unused_result));

/* Fills in what the file of core->fd says, of core->size bytes. What was taken is core_close()'s, also after an error. */
struct error *core_parse(struct core *core) __attribute__((warn_unused_result));

/* What the core itself has from `from` on, up to `size` bytes: how many. */
size_t core_read_stored(const struct core *core, uint64_t from, void *to, size_t size);

/* The file's descriptor (the core's own), looked for once. */
struct error *core_find_file(struct core *core, struct core_file *file, int *fd) __attribute__((warn_unused_result));

/* Fills in the build-id of what the core has of the file. */
void core_read_build_id(struct core *core, struct core_file *file);

#endif
