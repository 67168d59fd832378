/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/scope.h"

/* A device or a pipe would be replaced by the file. */
static struct error *file_check_path(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
        return NULL;
    return error_create(ERROR_USAGE, NULL, "%s is no file that could be replaced", path);
}

struct error *new_file_open(struct new_file *file, const char *path)
{
    struct error *error = file_check_path(path);

    *file = (struct new_file){.path = path};
    if (error)
        return error;
    if (asprintf(&file->part, "%s.part", path) < 0) {
        file->part = NULL;
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a file's name");
    }
    unlink(file->part); /* of one of us that was killed */
    scoped_fd int fd = open(file->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && (file->stream = fdopen(fd, "w"))) {
        scope_take_fd(&fd);
        return NULL;
    }
    error = error_create_errno(ERROR_USAGE, errno, "can't write %s", file->part);
    free(file->part);
    file->part = NULL;
    return error;
}

/* On the disk before it gets the name of one that may have been there. */
struct error *new_file_finish(struct new_file *file)
{
    bool written = fflush(file->stream) == 0 && fsync(fileno(file->stream)) == 0;

    written &= fclose(file->stream) == 0;
    file->stream = NULL;
    if (!written || rename(file->part, file->path) < 0)
        return error_create_errno(ERROR_SYSTEM, errno, "can't write %s", file->path);
    free(file->part);
    file->part = NULL;
    return NULL;
}

void new_file_close(struct new_file *file)
{
    if (file->stream)
        fclose(file->stream);
    if (file->part)
        unlink(file->part);
    free(file->part);
    *file = (struct new_file){.path = NULL};
}
