/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/host.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "attach/access.h"
#include "attach/process.h"
#include "attach/scope.h"

#define HOST_TEXT_MAX 4096
#define HOST_ID_SHORT 12 /* as docker ps shows it */

double host_uptime(uint64_t start_time)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    double up = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)start_time / (double)sysconf(_SC_CLK_TCK);
    return up > 0 ? up : 0;
}

/* A file of /proc/PID, NULL when it can't be read. */
static char *host_read(pid_t pid, const char *name, size_t *length)
{
    char *text;
    struct error *error = process_read_file(pid, name, &text, length);

    error_destroy(error);
    return error ? NULL : text;
}

/* -------------------------------------------------------------- containers */

/* The length of a container's id at `text`: 64 hexadecimal digits, or 0. */
static size_t host_id_length(const char *text)
{
    size_t length = strspn(text, "0123456789abcdef");

    return length == 64 ? length : 0;
}

/* ".../docker-ID.scope", "/docker/ID", "libpod-ID", "cri-containerd-ID", "/kubepods/.../ID" */
static char *host_find_id(const char *path)
{
    for (const char *at = path; *at; at++) {
        if ((at == path || !isxdigit((unsigned char)at[-1])) && host_id_length(at))
            return strndup(at, HOST_ID_SHORT);
    }
    return NULL;
}

/* Managers that name their containers: "/lxc.payload.NAME/", "/lxc/NAME", nspawn's "machine-NAME.scope". */
static char *host_find_name(const char *path)
{
    static const char *const prefixes[] = {"/lxc.payload.", "/lxc/", "/systemd-nspawn@", "/machine-"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        const char *at = strstr(path, prefixes[i]);
        if (!at)
            continue;
        at += strlen(prefixes[i]);
        size_t length = strcspn(at, "/\n");
        if (length > 8 && !strncmp(at + length - 8, ".service", 8))
            length -= 8;
        else if (length > 6 && !strncmp(at + length - 6, ".scope", 6))
            length -= 6;
        if (length)
            return strndup(at, length);
    }
    return NULL;
}

static char *host_read_container(pid_t pid)
{
    size_t length;
    scoped_free char *text = host_read(pid, "cgroup", &length);

    if (!text)
        return NULL;
    char *found = host_find_id(text);
    return found ? found : host_find_name(text);
}

static bool host_differs(pid_t pid, const char *name)
{
    char path[64];
    struct stat its, ours;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    if (stat(path, &its) != 0)
        return false;
    snprintf(path, sizeof(path), "/proc/self/%s", name);
    return stat(path, &ours) == 0 && (its.st_dev != ours.st_dev || its.st_ino != ours.st_ino);
}

char *host_container(pid_t pid)
{
    scoped_free char *its = host_read_container(pid);
    scoped_free char *ours = its ? host_read_container(getpid()) : NULL;

    if (its && !(ours && !strcmp(its, ours)))
        return scope_take_pointer(&its);
    /* A mount namespace alone is what any service with a private /tmp has: the root must differ too. */
    if (host_differs(pid, "ns/pid") || (host_differs(pid, "ns/mnt") && host_differs(pid, "root")))
        return strdup("yes");
    return NULL;
}

/* ------------------------------------------------------------------- texts */

/* The begin of a command line, which a process can make as long as its memory. */
static char *host_read_command(pid_t pid, size_t *length)
{
    char path[64];
    scoped_free char *text = malloc(HOST_TEXT_MAX + 1);

    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 && text ? read(fd, text, HOST_TEXT_MAX) : -1;
    *length = got > 0 ? (size_t)got : 0;
    return got > 0 ? scope_take_pointer(&text) : NULL;
}

char *host_command(pid_t pid)
{
    size_t length;
    char *text = host_read_command(pid, &length);
    struct process_status status;

    while (length && text && !text[length - 1])
        length--;
    if (text && length) {
        for (size_t i = 0; i < length; i++)
            text[i] = text[i] ? text[i] : ' ';
        text[length] = '\0';
        return text;
    }
    free(text);
    text = NULL;
    struct error *error = process_read_status(pid, 0, &status);
    if (!error && asprintf(&text, "[%s]", status.name) < 0)
        text = NULL;
    error_destroy(error);
    return text;
}

char *host_executable(pid_t pid)
{
    char path[64], text[HOST_TEXT_MAX];

    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    ssize_t length = readlink(path, text, sizeof(text));
    return length < 0 ? NULL : strndup(text, (size_t)length);
}

uint64_t host_peak_rss(pid_t pid)
{
    size_t length;
    scoped_free char *text = host_read(pid, "status", &length);
    const char *line = text ? strstr(text, "\nVmHWM:") : NULL;

    return line ? strtoull(line + strlen("\nVmHWM:"), NULL, 10) * 1024 : 0;
}

long host_count_descriptors(pid_t pid)
{
    char path[64];
    long count = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    if (!directory)
        return -1;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

char *host_format_build(char *text, size_t room, const struct runtime *runtime)
{
    snprintf(text, room, "%s%s%s", runtime->is_static ? ", static" : "", runtime->debug_build ? ", debug" : "",
             runtime->free_threaded ? ", free-threaded" : "");
    if (text[0])
        memmove(text, text + 2, strlen(text + 2) + 1);
    return text;
}

/* ------------------------------------------------------------------ attach */

struct error *host_check_runtime(const struct runtime *runtime)
{
    bool enabled;
    struct error *error;

    if (runtime->finalizing)
        return error_create(ERROR_BUSY, NULL, "Python is ending");
    if (!runtime->initialized)
        return error_create(ERROR_BUSY, "try again in a moment", "Python is starting");
    if (runtime->free_threaded && runtime->layout.thread_state.remote_debugger_support == OFF_NONE)
        return error_create(ERROR_UNSUPPORTED, NULL, "free-threaded before 3.14: it can be looked at only");
    if ((error = runtime_read_remote_debug(runtime, &enabled)))
        return error;
    return enabled ? NULL : error_create(ERROR_DISABLED, "started without PYTHON_DISABLE_REMOTE_DEBUG and without "
                                         "-X disable-remote-debug it can be attached to", "remote debugging is off");
}

struct error *host_check_attach(pid_t pid, const struct runtime *runtime)
{
    struct error *error = process_check_access(pid);

    if (error || (error = access_check_tracer(pid)))
        return error;
    return host_check_runtime(runtime);
}
