/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file that we make: written beside its name as NAME.part, which nobody but its owner may read, and given its name when it
 * is whole.
 */
#ifndef SAFEPOINT_CLI_NEW_FILE_H
#define SAFEPOINT_CLI_NEW_FILE_H

#include <stdio.h>

#include "attach/error.h"

struct new_file {
    const char *path; /* the caller's */
    char *part;
    FILE *stream;
};

/* Begins a file. ERROR_USAGE when it can't be made there, or the name is a device's or a pipe's. */
struct error *new_file_open(struct new_file *file, const char *path) __attribute__((warn_unused_result));

/* Puts it on the disk, and gives it its name. ERROR_SYSTEM when not all of it could be written. */
struct error *new_file_finish(struct new_file *file) __attribute__((warn_unused_result));

/* Of one that isn't finished nothing stays. */
void new_file_close(struct new_file *file);

#endif
