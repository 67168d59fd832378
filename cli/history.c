/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>

#include "attach/scope.h"

#define HISTORY_LINES 1000

/* The directories on the way are made, closed to others. */
static bool history_make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made)
            return false;
    }
    return true;
}

/* free() it; NULL when there is no place for it. */
static char *history_path(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int length = -1;

    if (state && state[0] == '/')
        length = asprintf(&path, "%s/safepoint/history", state);
    else if (home && home[0] == '/')
        length = asprintf(&path, "%s/.local/state/safepoint/history", home);
    if (length < 0)
        return NULL;
    return path;
}

void history_load(void)
{
    scoped_free char *path = history_path();

    using_history();
    stifle_history(HISTORY_LINES);
    if (path)
        read_history(path);
}

void history_remember(const char *line)
{
    HIST_ENTRY *last = history_length ? history_get(history_base + history_length - 1) : NULL;

    if (line[strspn(line, " \t")] && !(last && !strcmp(last->line, line)))
        add_history(line);
}

void history_save(void)
{
    scoped_free char *path = history_path();

    if (!path || !history_make_directories(path))
        return;
    /* Made with its mode before anything is in it. */
    scoped_fd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fchmod(fd, 0600) != 0)
        return;
    mode_t mask = umask(077);
    write_history(path);
    umask(mask);
}
