/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A process that we hold by identity: a pidfd and the start time, so that a
 * reused PID is noticed, and its memory. Nothing here stops it.
 */
#ifndef SAFEPOINT_ATTACH_PROCESS_H
#define SAFEPOINT_ATTACH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "maps.h"
#include "memory.h"

struct core;

struct process {
    pid_t pid;
    struct core *core;       /* NULL: it lives; else it is a core file (core.h), and its pid nothing but a name. Owned */
    int pidfd;
    int memory_fd;           /* /proc/PID/mem; -1: may not be opened */
    uint64_t start_time;     /* clock ticks after boot: field 22 of /proc/PID/stat */
    int lock_fd;             /* process_lock(); -1: not locked */
    struct memory memory;    /* live; source is this struct: don't move it */
};

/* Opens a process. Kernel threads, zombies and PIDs that are no process are
 * refused (ERROR_NO_PROCESS, ERROR_NOT_PYTHON) with their cause. A thread's id
 * that is no process id is refused and its process named. Stops nothing. */
struct error *process_open(struct process *process, pid_t pid) __attribute__((warn_unused_result));
void process_close(struct process *process);

/* NULL of a core, and as long as the PID is still the process that was opened, not a zombie and, where its
 * memory may be opened, no other program by execve(); ERROR_TARGET_ENDED otherwise. */
struct error *process_check(const struct process *process) __attribute__((warn_unused_result));

/* Only one of us works on a process at a time: a lock on its /proc/PID/mem, which ends
 * with us. `locked` = false: another has it. */
struct error *process_lock(struct process *process, bool *locked) __attribute__((warn_unused_result));
void process_unlock(struct process *process);

/* Reads a /proc/PID/NAME whole, as a string (free() it). ERROR_UNSUPPORTED when it is
 * longer than any that makes sense. */
struct error *process_read_file(pid_t pid, const char *name, char **text, size_t *length)
    __attribute__((warn_unused_result));

/* In the text of a status file, what stands behind "NAME:" ("\tvalue\n..."); NULL when there is no such line. */
const char *process_status_field(const char *text, const char *name);

/* What /proc/PID/status says, of a process or of one of its threads. */
struct process_status {
    char name[64];
    char state; /* R S D T t Z X I */
    pid_t tgid, parent, tracer;
    uid_t uid, euid;
    gid_t gid, egid;
    pid_t namespace_pid;      /* the id in its innermost pid namespace */
    unsigned namespace_depth; /* 1: our own namespace */
    uint64_t rss_bytes;
    unsigned threads;
    int seccomp;        /* 0 none, 1 strict, 2 filter */
    uint64_t blocked_signals; /* bit N-1: signal N */
    bool kernel_thread;
};
/* tid 0: the process itself. ERROR_NO_PROCESS when it is gone. */
struct error *process_read_status(pid_t pid, pid_t tid, struct process_status *status)
    __attribute__((warn_unused_result));

/* How many pages it has mapped; 0 when it is gone. */
uint64_t process_read_mapped(pid_t pid);

/* Does a signal mask (as blocked_signals) block all that can be, the two that the C library keeps for itself too?
 * Only a chain of ours does that. */
bool process_blocks_all_signals(uint64_t mask);

/* Is that thread (tid 0: the process) in one just now? */
bool process_runs_chain(pid_t pid, pid_t tid);

/* The system call that a thread is blocked in, and its first argument (unless NULL); -1 when it runs or it
 * can't be told. The thread isn't stopped for it. */
long process_read_syscall(pid_t pid, pid_t tid, uint64_t *argument);

/* Its mappings, of a core as of a process. ERROR_PERMISSION, ERROR_TARGET_ENDED. End them with maps_deinit(). */
struct error *process_read_maps(const struct process *process, struct maps *maps) __attribute__((warn_unused_result));

/* The address where its program begins (AT_ENTRY); ADDRESS_NULL: can't be told. */
struct address process_find_entry(const struct process *process);

/* A number that no other process has, on whatever machine, but for the children of a fork: a hash of the random bytes that the kernel
 * gives to each program that begins (AT_RANDOM). 0: can't be told. */
uint64_t process_read_identity(const struct process *process);

/* Field 22 of /proc/PID/stat. */
struct error *process_read_start_time(pid_t pid, uint64_t *ticks) __attribute__((warn_unused_result));

/* May we attach (ptrace, memory)? NULL or ERROR_PERMISSION with the cause that
 * could be found and its cure (access.h). Who traces it already isn't asked. Touches nothing. */
struct error *process_check_access(pid_t pid) __attribute__((warn_unused_result));

/* The thread ids of a process, rising (free() them). */
struct error *process_list_threads(pid_t pid, pid_t **tids, size_t *count) __attribute__((warn_unused_result));

/* The thread that has this id in its own innermost pid namespace, by its id in ours; 0: there is none, or it has ended. */
pid_t process_find_thread(pid_t pid, pid_t inner);

#endif
