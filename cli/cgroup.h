/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How close a process's control groups (version 1 and 2) are to their limits. */
#ifndef SAFEPOINT_CLI_CGROUP_H
#define SAFEPOINT_CLI_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum cgroup_resource { CGROUP_PIDS, CGROUP_MEMORY };

struct cgroup_use {
    uint64_t used, limit; /* tasks, or bytes without what the page cache would give back */
};

/* Of the process's group and those above it, the one that is fullest. False: none has a limit that we can see. */
bool cgroup_read(struct cgroup_use *use, pid_t pid, enum cgroup_resource resource);

#endif
