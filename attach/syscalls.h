/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of the system calls in which threads are found. */
#ifndef SAFEPOINT_ATTACH_SYSCALLS_H
#define SAFEPOINT_ATTACH_SYSCALLS_H

#include <stdbool.h>
#include <stdint.h>

/* "poll"; "system call 999" for one that isn't in the table (in a static buffer
 * of the calling thread, good until the next call). */
const char *syscall_name(long number);

/* Waits on a futex: a lock, a condition, the GIL. */
bool syscall_is_futex(long number);

/* Does who calls it only wait for something to do: for what is ready, a connection, a time, a signal? */
bool syscall_is_idle(long number);

/* Does CPython 3.8 to 3.15 begin it again in all its own code when it returns EINTR, having looked at its
 * signals (PEP 475)? Not ioctl(), close() or fork(), and none that isn't known. */
bool syscall_is_repeated(long number);

/* A call with a time-out that goes on after a stop shows as restart_syscall, with its own arguments:
 * the number of the call that it is by these, or `number` for any other. */
long syscall_unrestarted(long number, const uint64_t arguments[6]);

#endif
