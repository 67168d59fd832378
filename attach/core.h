/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A core file: the memory, mappings and threads of a process at one instant, as the kernel or gcore wrote them.
 *
 *   PT_LOAD    memory; pages of files that nobody had changed are mostly left out
 *   NT_FILE    which of it was which file: what was left out is read from there
 *   NT_PRSTATUS, NT_PRPSINFO, NT_AUXV   threads and their registers, the program's name, its entry point
 *
 * The files are looked for (core_files.c) at their path, below a root, or by build-id, and are taken only if they are the
 * very ones: what the core has of their heads must be the same.
 *
 * A core stands in the place of a process: process_open_core() fills in a `struct process` whose `core` isn't NULL, and what
 * only reads takes it like any other: memory (process->memory), mappings (process_read_maps), files (image_open), threads
 * (runtime_read_threads, or core_threads for their registers). What would ask /proc, or change anything, must look at
 * `process->core` first: the pid is a name there, and may be another process's by now.
 *
 * The file may be anything: each function here ends after a bounded time and takes a bounded amount of memory.
 */
#ifndef SAFEPOINT_ATTACH_CORE_H
#define SAFEPOINT_ATTACH_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/arch/arch.h"
#include "attach/copy.h"
#include "attach/error.h"
#include "attach/maps.h"
#include "attach/memory.h"
#include "attach/process.h"

struct core; /* opaque */

/* Where to look for the files; both may be NULL, and must outlive the core. */
struct core_options {
    const char *program; /* the program's own file, in place of the one at its path */
    const char *root;    /* a directory where the paths begin that the core names, before "/" */
};

/* Opens a core file as a process. ERROR_USAGE when it can't be opened, ERROR_BAD_FILE when it is no core file of this
 * machine's kind, makes no sense, or is not of options->program. One that was cut short is opened (core_info.missing_bytes). End it with process_close().
 * The process must not be moved. */
struct error *process_open_core(struct process *process, const char *path, const struct core_options *options)
    __attribute__((warn_unused_result));

/* The same, of a descriptor, which it takes ownership of; `path` is its name in messages. */
struct error *process_open_core_fd(struct process *process, int fd, const char *path, const struct core_options *options)
    __attribute__((warn_unused_result));

/* Does the file at `path` begin as a core file does? False where it can't be read. */
bool core_is_core(const char *path);

struct core_info {
    const char *path;       /* the core's */
    const char *name;       /* of the program, at most 15 characters */
    const char *arguments;  /* the command line, at most 79 characters of it */
    uid_t uid;
    int signal;             /* that its first thread had got; 0: none, or not known */
    uint64_t size;          /* of the core, bytes */
    uint64_t missing_bytes; /* that the core says it has and that are cut off */
    int64_t written;        /* the file's time, seconds since 1970 */
};
/* All texts are the core's, and end with it. */
struct core_info core_get_info(const struct core *core);

struct core_thread {
    pid_t tid;        /* as the core names it: in the process's own pid namespace, or in gcore's */
    uint64_t pthread; /* pthread_self(); 0 where the core doesn't tell */
    uint64_t registers[ARCH_REGISTER_WORDS]; /* NT_PRSTATUS: as PTRACE_GETREGSET gives them */
    size_t register_size;                    /* bytes */
};
/* The threads, the one that ended the process first; owned by the core. */
const struct core_thread *core_threads(const struct core *core, size_t *count);

/* The mappings. End them with maps_deinit(). A map's inode is the number of its file in the core. */
struct error *core_read_maps(const struct core *core, struct maps *maps) __attribute__((warn_unused_result));

/* Where the core has private memory that can be written, by rising address, without what are holes in the core file (zeros);
 * free() it. `missing`: bytes of such memory that it hasn't, as they were left out, and of any that were cut off. */
struct error *core_find_data(const struct core *core, struct copy_run **runs, size_t *count, uint64_t *missing)
    __attribute__((warn_unused_result));

/* NT_AUXV: pairs of words. Owned by the core. */
const unsigned char *core_auxv(const struct core *core, size_t *size);

/* Opens the file behind a map of the core's (the caller closes `fd`). ERROR_BAD_FILE, by name, when there is none to be
 * found, or when the one that is there isn't that of the core. */
struct error *core_open_file(struct core *core, const struct map *map, int *fd) __attribute__((warn_unused_result));

/* A file of the core's, and what came of looking for it. */
struct core_file_info {
    const char *path;    /* as the core names it */
    const char *found;   /* where it was found; NULL: it wasn't, or nobody has asked for it */
    const char *refused; /* why it wasn't; NULL */
    char build_id[81];   /* hexadecimal; "" where the core doesn't tell */
};
/* By number, from 0 on. False behind the last one. */
bool core_get_file(struct core *core, size_t number, struct core_file_info *info);

/* What was asked for of a file that couldn't be found: the first one's error, as core_open_file() had it. NULL: none. */
struct error *core_get_lost(struct core *core);

void core_close(struct core *core); /* NULL is legal */

#endif
