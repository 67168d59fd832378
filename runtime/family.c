/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/family.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "attach/scope.h"
#include "runtime/runtime.h"

/* Descendants that are looked into: a hint is worth no more. */
#define LOOKS_MAX 64

struct relative {
    pid_t pid, parent;
};

static struct relative *list_processes(size_t *count)
{
    DIR *directory = opendir("/proc");
    struct relative *list = NULL;
    size_t used = 0;

    *count = 0;
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        struct process_status status;
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid <= 0)
            continue;
        struct error *error = process_read_status(pid, 0, &status);
        if (!error) {
            struct relative *larger = reallocarray(list, used + 1, sizeof(*list));
            if (!larger)
                break;
            list = larger;
            list[used++] = (struct relative){pid, status.parent};
        }
        error_destroy(error);
    }
    if (directory)
        closedir(directory);
    *count = used;
    return list;
}

static bool is_python(pid_t pid)
{
    struct process process;
    struct maps maps;
    bool found = false;
    struct error *error = process_open(&process, pid);

    if (!error) {
        error = maps_read(&maps, pid);
        if (!error) {
            found = runtime_find_map(&process, &maps) != NULL;
            maps_deinit(&maps);
        }
        process_close(&process);
    }
    error_destroy(error);
    return found;
}

static void describe(pid_t pid, bool direct, char *hint, size_t size)
{
    struct process_status status;
    struct error *error = process_read_status(pid, 0, &status);

    if (error) {
        error_destroy(error);
        return;
    }
    /* A process gives itself its name. */
    for (char *c = status.name; *c; c++)
        if (!isprint((unsigned char)*c))
            *c = '?';
    snprintf(hint, size, "its %s %d (%s) is: safepoint exec %d ...", direct ? "child" : "descendant", pid, status.name,
             pid);
}

void family_describe(pid_t pid, char *hint, size_t size)
{
    size_t count;
    scoped_free struct relative *all = list_processes(&count);
    scoped_free pid_t *queue = calloc(count + 1, sizeof(*queue));
    size_t filled = 0;

    hint[0] = '\0';
    if (!all || !queue)
        return;
    /* Breadth first: the queue holds each process at most once, as it has one parent. */
    queue[filled++] = pid;
    for (size_t i = 0, looks = 0; i < filled && looks < LOOKS_MAX; i++) {
        for (size_t j = 0; j < count && filled < count + 1; j++) {
            if (all[j].parent != queue[i] || all[j].pid == pid)
                continue;
            queue[filled++] = all[j].pid;
            if (looks++ < LOOKS_MAX && is_python(all[j].pid)) {
                describe(all[j].pid, i == 0, hint, size);
                return;
            }
        }
    }
}
