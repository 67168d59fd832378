/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of the system calls in which threads are found. */
#ifndef SAFEPOINT_ATTACH_SYSCALLS_H
#define SAFEPOINT_ATTACH_SYSCALLS_H

#include <stdbool.h>

/* "poll"; "system call 999" for one that isn't in the table (in a static buffer
 * of the calling thread, good until the next call). */
const char *syscall_name(long number);

/* Waits on a futex: a lock, a condition, the GIL. */
bool syscall_is_futex(long number);

#endif
