/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What /proc and a Python's description say of a process, for the commands that show it. */
#ifndef SAFEPOINT_CLI_HOST_H
#define SAFEPOINT_CLI_HOST_H

#include "cli/cli.h"
#include "runtime/runtime.h"

/* Seconds since the process of this start time (field 22 of stat) began. */
double host_uptime(uint64_t start_time);

/* The container that it is in and we aren't: the short id or the name that its
 * cgroup has, "yes" where only its namespace and root tell. NULL: none. free() it. */
char *host_container(pid_t pid);

/* Its words with blanks between, [name] where it shows none; what it runs, by
 * the link exe. Cut at 4 KiB. free() it; NULL when it is gone or we may not look. */
char *host_command(pid_t pid);
char *host_executable(pid_t pid);

/* VmHWM; 0 when it isn't there. */
uint64_t host_peak_rss(pid_t pid);

/* Open descriptors; -1 when we may not look. */
long host_count_descriptors(pid_t pid);

/* "debug, static"; "" for an ordinary build. `text` of at least 64 bytes; returns it. */
char *host_format_build(char *text, size_t room, const struct runtime *runtime);

/* Does the Python in it, as it is built, configured and just now, run scripts? NULL, or why not. */
struct error *host_check_runtime(const struct runtime *runtime) __attribute__((warn_unused_result));

/* May a script be run in it? NULL, or why not. Touches nothing. */
struct error *host_check_attach(pid_t pid, const struct runtime *runtime) __attribute__((warn_unused_result));

#endif
