/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The channel's fallback, where no descriptor can be passed (a kernel without
 * pidfd_getfd, no /proc in the target, nothing may be run on its threads): a
 * directory that only the target's user can enter, in the target's own root,
 * with a listening socket and, where it is wanted, the agent's source.
 *
 * Everything is done relative to descriptors of directories; nothing that the target or
 * another user may have put there is followed, opened, mounted over us unnoticed, or changed;
 * who connects is checked (SO_PEERCRED, and a nonce in its first frame).
 */
#ifndef SAFEPOINT_PROTOCOL_DIRECTORY_H
#define SAFEPOINT_PROTOCOL_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/error.h"

struct directory {
    int parent_fd, fd, listen_fd; /* -1: not there */
    char name[64];                /* in the parent */
    char path[96];                /* as the target names it: "/tmp/safepoint-..." */
    char nonce[33];
};

/* Makes the directory in /tmp, /var/tmp, /dev/shm or /run of the target's root, owned by
 * the given user, and listens. It is named after the process and its start time, so that a later
 * one of us finds it. ERROR_UNSUPPORTED when none can be written. */
struct error *directory_open(struct directory *directory, pid_t pid, uint64_t start_time, uid_t uid, gid_t gid)
    __attribute__((warn_unused_result));

/* Removes what one of us that was killed has left there for this process; how many. Only
 * while nobody else works on it, and only what is the given user's or ours. */
unsigned directory_clear(pid_t pid, uint64_t start_time, uid_t uid);

/* Puts a file there, readable by the target's user; `path` (at least 128 bytes) becomes its
 * name for the target. */
struct error *directory_write_file(struct directory *directory, const char *name, uid_t uid, gid_t gid,
                                   const char *text, char *path, size_t path_size)
    __attribute__((warn_unused_result));

/* The lines that tell the agent where to connect; they call the function of
 * inject/agent/connect.py. `lines` of at least 256 bytes. */
void directory_preamble(const struct directory *directory, char *lines, size_t size);

/* Accepts the target's connection, which must come from process `pid` (a stranger's is
 * closed). *fd = -1 when nobody is there yet. */
struct error *directory_accept(struct directory *directory, pid_t pid, int *fd)
    __attribute__((warn_unused_result));

/* Removes everything. */
void directory_close(struct directory *directory);

#endif
