/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory goes by process_vm_readv/writev, which need no descriptor; what these
 * can't do (pages the target itself may not write, kernels without them) goes
 * by /proc/PID/mem.
 */
#include "attach/process.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <xxhash.h>

#include "attach/access.h"
#include "attach/core.h"
#include "attach/scope.h"
#include "attach/syscalls.h"

/* ------------------------------------------------------------- memory */

static struct error *process_memory_error(const struct process *process, const char *verb, struct address at,
                                          size_t size, int err)
{
    if (err == EPERM || err == EACCES)
        return access_explain(process->pid);
    return error_create_errno(ERROR_FAULT, err, "can't %s %zu bytes at 0x%llx of process %d", verb, size,
                              (unsigned long long)at.value, process->pid);
}

/* The descriptor stays with the address space that it was opened for: what is written goes into no
 * program that the process becomes by execve(). */
static int process_open_memory(struct process *process)
{
    int fd = __atomic_load_n(&process->memory_fd, __ATOMIC_ACQUIRE), none = -1;
    char path[64];

    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "/proc/%d/mem", process->pid);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || __atomic_compare_exchange_n(&process->memory_fd, &none, fd, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return fd;
    close(fd); /* another thread was faster */
    return none;
}

static struct error *process_memory_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    struct process *process = memory->source;

    for (size_t done = 0; done < size;) {
        struct iovec local = {(char *)to + done, size - done};
        struct iovec remote = {(void *)(uintptr_t)(from.value + done), size - done};
        ssize_t got = process_vm_readv(process->pid, &local, 1, &remote, 1, 0);

        if (got <= 0 && (errno == ENOSYS || errno == EPERM) && process_open_memory(process) >= 0)
            got = pread(process->memory_fd, local.iov_base, local.iov_len, (off_t)(from.value + done));
        if (got <= 0)
            return process_memory_error(process, "read", from, size, got ? errno : EFAULT);
        done += (size_t)got;
    }
    return NULL;
}

static struct error *process_memory_write(const struct memory *memory, struct address to, const void *from,
                                          size_t size)
{
    struct process *process = memory->source;

    for (size_t done = 0; done < size;) {
        struct iovec local = {(char *)(uintptr_t)from + done, size - done};
        struct iovec remote = {(void *)(uintptr_t)(to.value + done), size - done};
        ssize_t put = process_open_memory(process) >= 0
                          ? pwrite(process->memory_fd, local.iov_base, local.iov_len, (off_t)(to.value + done))
                          : process_vm_writev(process->pid, &local, 1, &remote, 1, 0);

        if (put <= 0)
            return process_memory_error(process, "write", to, size, put ? errno : EFAULT);
        done += (size_t)put;
    }
    return NULL;
}

static const struct memory_ops process_memory_ops = {process_memory_read, process_memory_write, true};

/* ----------------------------------------------------------- identity */

#define PROCESS_END_MS 100

/* A map of a million entries fits; and the target chooses what some of them hold. */
#define PROCESS_FILE_MAX ((size_t)256 << 20)

static enum error_code process_open_code(int err)
{
    if (err == ENOENT || err == ESRCH)
        return ERROR_NO_PROCESS;
    return err == EACCES || err == EPERM ? ERROR_PERMISSION : ERROR_SYSTEM;
}

struct error *process_read_file(pid_t pid, const char *name, char **text, size_t *length)
{
    char path[96];
    size_t room = 4096, used = 0;

    *text = NULL;
    *length = 0;
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_create_errno(process_open_code(errno), errno, "can't open %s", path);
    scoped_free char *buffer = malloc(room + 1);
    while (buffer) {
        ssize_t got = read(fd, buffer + used, room - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_create_errno(errno == EACCES || errno == EPERM ? ERROR_PERMISSION : ERROR_SYSTEM, errno,
                                      "can't read %s", path);
        if (got == 0) {
            buffer[used] = '\0';
            *length = used;
            *text = scope_take_pointer(&buffer);
            return NULL;
        }
        used += (size_t)got;
        if (used == PROCESS_FILE_MAX)
            return error_create(ERROR_UNSUPPORTED, NULL, "%s is longer than %zu MiB", path, PROCESS_FILE_MAX >> 20);
        if (used == room) {
            char *larger = realloc(buffer, (room *= 2) + 1);
            if (!larger)
                break;
            buffer = larger;
        }
    }
    return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", path);
}

struct error *process_read_start_time(pid_t pid, uint64_t *ticks)
{
    scoped_free char *text = NULL;
    size_t length;
    unsigned long long value;
    struct error *error = process_read_file(pid, "stat", &text, &length);

    if (error)
        return error;
    /* The name, field 2, may hold blanks and parentheses: count from its end. */
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, " %llu", &value) != 1)
        return error_create(ERROR_SYSTEM, NULL, "/proc/%d/stat makes no sense", pid);
    *ticks = value;
    return NULL;
}

const char *process_status_field(const char *text, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, length) && line[length] == ':')
            return line + length + 1;
    }
    return NULL;
}

static unsigned long long process_status_number(const char *text, const char *name, int base)
{
    const char *value = process_status_field(text, name);

    return value ? strtoull(value, NULL, base) : 0;
}

/* "NSpid:\t4711\t12\t1": the last is the innermost. */
static void process_parse_namespaces(struct process_status *status, const char *text)
{
    const char *at = process_status_field(text, "NSpid");
    char *end;

    status->namespace_depth = 0;
    for (; at; at = end) {
        long id = strtol(at, &end, 10);
        if (end == at || memchr(at, '\n', (size_t)(end - at)))
            break;
        status->namespace_pid = (pid_t)id;
        status->namespace_depth++;
    }
}

struct error *process_read_status(pid_t pid, pid_t tid, struct process_status *status)
{
    scoped_free char *text = NULL;
    size_t length;
    char name[64] = "status";

    *status = (struct process_status){0};
    if (tid)
        snprintf(name, sizeof(name), "task/%d/status", tid);
    struct error *error = process_read_file(pid, name, &text, &length);
    if (error)
        return error;

    const char *value = process_status_field(text, "Name");
    if (value)
        sscanf(value, " %63[^\n]", status->name);
    value = process_status_field(text, "State");
    if (value)
        sscanf(value, " %c", &status->state);
    status->tgid = (pid_t)process_status_number(text, "Tgid", 10);
    status->parent = (pid_t)process_status_number(text, "PPid", 10);
    status->tracer = (pid_t)process_status_number(text, "TracerPid", 10);
    value = process_status_field(text, "Uid");
    if (value)
        sscanf(value, " %u %u", &status->uid, &status->euid);
    value = process_status_field(text, "Gid");
    if (value)
        sscanf(value, " %u %u", &status->gid, &status->egid);
    process_parse_namespaces(status, text);
    status->rss_bytes = process_status_number(text, "VmRSS", 10) * 1024;
    status->threads = (unsigned)process_status_number(text, "Threads", 10);
    status->seccomp = (int)process_status_number(text, "Seccomp", 10);
    status->blocked_signals = process_status_number(text, "SigBlk", 16);
    /* Only a kernel thread (and a zombie) has no memory of its own. */
    status->kernel_thread = status->state != 'Z' && !process_status_field(text, "VmSize");
    return NULL;
}

uint64_t process_read_mapped(pid_t pid)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *gone = process_read_file(pid, "statm", &text, &length);
    uint64_t pages = gone ? 0 : strtoull(text, NULL, 10);

    error_destroy(gone);
    return pages;
}

bool process_blocks_all_signals(uint64_t mask)
{
    const uint64_t unblockable = 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1);

    return (mask | unblockable) == ~0ULL;
}

bool process_runs_chain(pid_t pid, pid_t tid)
{
    struct process_status status;
    struct error *gone = process_read_status(pid, tid, &status);
    bool runs = !gone && process_blocks_all_signals(status.blocked_signals);

    error_destroy(gone);
    return runs;
}

long process_read_syscall(pid_t pid, pid_t tid, uint64_t *argument)
{
    scoped_free char *text = NULL;
    char name[64], *end;
    size_t length;

    /* "35 0x7ff..." while blocked, "running", "-1 ..." in the kernel but in no call */
    snprintf(name, sizeof(name), "task/%d/syscall", tid);
    struct error *error = process_read_file(pid, name, &text, &length);
    error_destroy(error);
    if (error)
        return -1;
    long number = strtol(text, &end, 10);
    if (end == text)
        return -1;
    uint64_t arguments[6] = {0};
    for (size_t i = 0; i < 6; i++)
        arguments[i] = strtoull(end, &end, 16);
    if (argument)
        *argument = arguments[0];
    return syscall_unrestarted(number, arguments);
}

/* Why a number that the user gave is no process that we can hold. */
static struct error *process_check_kind(pid_t pid)
{
    struct process_status status;
    struct error *error = process_read_status(pid, 0, &status);

    if (error && (error_code(error) == ERROR_NO_PROCESS || error_code(error) == ERROR_PERMISSION)) {
        error_destroy(error);
        return access_explain_absence(pid);
    }
    if (error)
        return error;
    if (status.tgid != pid) {
        error = error_create(ERROR_NO_PROCESS, NULL, "%d is a thread of process %d, not a process", pid, status.tgid);
        return error_with_hint(error, "use the process: safepoint ... %d (and --thread %d for that thread)",
                               status.tgid, pid);
    }
    if (status.state == 'Z' || status.state == 'X')
        return error_create(ERROR_NO_PROCESS, "it has ended and waits for its parent to collect it",
                            "process %d (%s) is a zombie", pid, status.name);
    if (status.kernel_thread)
        return error_create(ERROR_NOT_PYTHON, "list the Python processes here: safepoint ps",
                            "process %d (%s) is a kernel thread", pid, status.name);
    return NULL;
}

struct error *process_open(struct process *process, pid_t pid)
{
    struct error *error;

    *process = (struct process){.pid = pid, .pidfd = -1, .memory_fd = -1, .lock_fd = -1};
    process->memory = (struct memory){&process_memory_ops, process};
    if ((error = process_check_kind(pid)))
        return error;
    process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process->pidfd < 0)
        return errno == ENOSYS || errno == EPERM
                   ? access_explain_call("pidfd_open", errno)
                   : error_create_errno(ERROR_NO_PROCESS, errno, "can't get hold of process %d", pid);
    error = process_read_start_time(pid, &process->start_time);
    if (!error)
        error = process_check(process);
    if (error)
        process_close(process);
    else
        process_open_memory(process);
    return error;
}

void process_close(struct process *process)
{
    if (process->pidfd >= 0)
        close(process->pidfd);
    if (process->memory_fd >= 0)
        close(process->memory_fd);
    process->pidfd = process->memory_fd = -1;
    core_close(process->core);
    process->core = NULL;
    process_unlock(process);
}

void process_unlock(struct process *process)
{
    if (process->lock_fd >= 0)
        close(process->lock_fd);
    process->lock_fd = -1;
}

struct error *process_lock(struct process *process, bool *locked)
{
    char path[64];

    /* Only who may attach can open it: nobody else can keep us out. */
    *locked = true;
    snprintf(path, sizeof(path), "/proc/%d/mem", process->pid);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_create_errno(errno == EACCES || errno == EPERM ? ERROR_PERMISSION : ERROR_TARGET_ENDED, errno,
                                  "can't open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        process->lock_fd = scope_take_fd(&fd);
        return NULL;
    }
    *locked = false;
    return errno == EWOULDBLOCK || errno == EINTR ? NULL
                                                  : error_create_errno(ERROR_SYSTEM, errno, "can't lock %s", path);
}

/* Nothing can be read from an address space that is gone; from one that lives, a byte or an error. */
static bool process_has_new_memory(const struct process *process)
{
    char byte;

    return process->memory_fd >= 0 && pread(process->memory_fd, &byte, 1, 0) == 0;
}

struct error *process_check(const struct process *process)
{
    struct pollfd ended = {.fd = process->pidfd, .events = POLLIN};

    if (process->core)
        return NULL;
    bool replaced = poll(&ended, 1, 0) == 0 && process_has_new_memory(process);

    /* One that ends gives up its memory a little before. */
    if (poll(&ended, 1, replaced ? PROCESS_END_MS : 0) > 0)
        return error_create(ERROR_TARGET_ENDED, NULL, "process %d has ended", process->pid);
    if (replaced)
        return error_create(ERROR_TARGET_ENDED, NULL, "process %d has become another program (execve)", process->pid);
    return NULL;
}

/* ------------------------------------------------------------- what is in it */

struct error *process_read_maps(const struct process *process, struct maps *maps)
{
    return process->core ? core_read_maps(process->core, maps) : maps_read(maps, process->pid);
}

static uint64_t process_search_auxv(const unsigned char *auxv, size_t size, uint64_t wanted)
{
    uint64_t pair[2];

    for (size_t at = 0; auxv && at + sizeof(pair) <= size; at += sizeof(pair)) {
        memcpy(pair, auxv + at, sizeof(pair));
        if (pair[0] == wanted)
            return pair[1];
    }
    return 0;
}

/* What the kernel told the program at its start (getauxval(3)); 0: nothing. */
static uint64_t process_find_auxv(const struct process *process, uint64_t wanted)
{
    scoped_free char *text = NULL;
    size_t size = 0;

    if (process->core) {
        const unsigned char *auxv = core_auxv(process->core, &size);
        return process_search_auxv(auxv, size, wanted);
    }
    struct error *error = process_read_file(process->pid, "auxv", &text, &size);
    uint64_t value = error ? 0 : process_search_auxv((const unsigned char *)text, size, wanted);
    error_destroy(error);
    return value;
}

struct address process_find_entry(const struct process *process)
{
    return address_of(process_find_auxv(process, AT_ENTRY));
}

/* The C library makes secrets of these bytes: nothing but a hash of them is kept. */
uint64_t process_read_identity(const struct process *process)
{
    unsigned char bytes[16];
    uint64_t at = process_find_auxv(process, AT_RANDOM);
    struct error *error = at ? memory_read(&process->memory, address_of(at), bytes, sizeof(bytes)) : NULL;

    if (!at || error) {
        error_destroy(error);
        return 0;
    }
    return XXH3_64bits(bytes, sizeof(bytes)) | 1;
}

/* ------------------------------------------------------------- access */

struct error *process_check_access(pid_t pid)
{
    char path[64];

    /* Opening it asks the kernel the very question that attaching asks. */
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    scoped_fd int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return access_check_filter();
    if (errno == EACCES || errno == EPERM)
        return access_explain(pid);
    return error_create_errno(errno == ENOENT || errno == ESRCH ? ERROR_NO_PROCESS : ERROR_SYSTEM, errno,
                              "can't open %s", path);
}

/* ------------------------------------------------------------ threads */

static int process_compare_tids(const void *a, const void *b)
{
    pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;

    return (left > right) - (left < right);
}

struct error *process_list_threads(pid_t pid, pid_t **tids, size_t *count)
{
    char path[64];
    size_t room = 16, used = 0;

    *tids = NULL;
    *count = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *directory = opendir(path);
    if (!directory)
        return error_create_errno(ERROR_NO_PROCESS, errno == ENOENT ? ESRCH : errno, "can't list the threads of %d",
                                  pid);
    pid_t *list = malloc(room * sizeof(*list));
    for (struct dirent *entry; list && (entry = readdir(directory));) {
        pid_t tid = (pid_t)atoi(entry->d_name);

        if (tid <= 0)
            continue;
        if (used == room) {
            pid_t *larger = realloc(list, (room *= 2) * sizeof(*list));
            if (!larger)
                free(list);
            list = larger;
        }
        if (list)
            list[used++] = tid;
    }
    closedir(directory);
    if (!list)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the threads of %d", pid);
    qsort(list, used, sizeof(*list), process_compare_tids);
    *tids = list;
    *count = used;
    return NULL;
}

pid_t process_find_thread(pid_t pid, pid_t inner)
{
    scoped_free pid_t *tids = NULL;
    size_t count;
    pid_t found = 0;
    struct error *error = process_list_threads(pid, &tids, &count);

    for (size_t i = 0; !error && i < count && !found; i++) {
        struct process_status status;
        struct error *gone = process_read_status(pid, tids[i], &status);

        if (!gone && status.namespace_pid == inner)
            found = tids[i];
        error_destroy(gone);
    }
    error_destroy(error);
    return found;
}
