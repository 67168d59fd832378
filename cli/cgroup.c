/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cgroup.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/process.h"
#include "attach/scope.h"

#define CGROUP_NO_LIMIT (UINT64_MAX / 4) /* version 1 has a number near 2^63 for none */

/* What a group's files are called; cache: what reclaim takes first, in memory.stat. */
struct cgroup_files {
    const char *limit, *used, *cache;
};

static const struct cgroup_controller {
    const char *name;
    struct cgroup_files old, new; /* version 1, version 2 */
} cgroup_controllers[] = {
    [CGROUP_PIDS] = {"pids", {"pids.max", "pids.current", NULL}, {"pids.max", "pids.current", NULL}},
    [CGROUP_MEMORY] = {"memory",
                       {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
                       {"memory.max", "memory.current", "inactive_file "}},
};

static FILE *cgroup_open(const char *directory, const char *name)
{
    scoped_free char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        path = NULL;
    return path ? fopen(path, "re") : NULL;
}

/* A file of one number; false too for the word "max". */
static bool cgroup_read_number(const char *directory, const char *name, uint64_t *value)
{
    FILE *file = cgroup_open(directory, name);
    bool read = file && fscanf(file, "%" SCNu64, value) == 1;

    if (file)
        fclose(file);
    return read;
}

static uint64_t cgroup_read_cache(const char *directory, const char *name)
{
    char line[128];
    uint64_t value = 0;
    FILE *file = cgroup_open(directory, "memory.stat");

    while (file && fgets(line, sizeof(line), file)) {
        if (!strncmp(line, name, strlen(name)))
            value = strtoull(line + strlen(name), NULL, 10);
    }
    if (file)
        fclose(file);
    return value;
}

/* Keeps the fullest. */
static void cgroup_look(struct cgroup_use *fullest, const char *directory, const struct cgroup_files *files)
{
    struct cgroup_use use;

    if (!cgroup_read_number(directory, files->limit, &use.limit) || use.limit > CGROUP_NO_LIMIT || !use.limit ||
        !cgroup_read_number(directory, files->used, &use.used))
        return;
    uint64_t cache = files->cache ? cgroup_read_cache(directory, files->cache) : 0;
    use.used -= cache < use.used ? cache : use.used;
    if (!fullest->limit || (double)use.used / (double)use.limit > (double)fullest->used / (double)fullest->limit)
        *fullest = use;
}

/* From the process's group up to the root of what is mounted here; in a container its own
 * group is that root, and the names below it aren't there. */
static void cgroup_climb(struct cgroup_use *fullest, const char *mount, const char *path,
                         const struct cgroup_files *files)
{
    char directory[PATH_MAX];
    size_t root = strlen(mount);

    if (strstr(path, "/..") || snprintf(directory, sizeof(directory), "%s%s", mount, path) >= (int)sizeof(directory))
        return;
    for (;;) {
        cgroup_look(fullest, directory, files);
        char *slash = strrchr(directory + root, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* "memory" in "cpu,memory" */
static bool cgroup_is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, name, length) && (at[length] == ',' || !at[length]))
            return true;
    }
    return false;
}

/* A line "8:pids:/system.slice/web.service" of version 1, "0::/system.slice/web.service" of version 2. */
static void cgroup_read_line(struct cgroup_use *fullest, char *line, const struct cgroup_controller *controller)
{
    char mount[128];
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;

    if (!path)
        return;
    *path++ = '\0';
    list++;
    if (!*list) {
        cgroup_climb(fullest, "/sys/fs/cgroup", path, &controller->new);
        cgroup_climb(fullest, "/sys/fs/cgroup/unified", path, &controller->new);
    } else if (cgroup_is_listed(list, controller->name)) {
        snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%.64s", list);
        cgroup_climb(fullest, mount, path, &controller->old);
    }
}

bool cgroup_read(struct cgroup_use *use, pid_t pid, enum cgroup_resource resource)
{
    scoped_free char *text = NULL;
    char *rest = NULL;
    size_t length;
    struct error *error = process_read_file(pid, "cgroup", &text, &length);

    *use = (struct cgroup_use){0};
    for (char *line = error ? NULL : strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        cgroup_read_line(use, line, &cgroup_controllers[resource]);
    error_destroy(error);
    return use->limit;
}
