/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Linked into build/fault/safepoint alone (`make faults`): what safepoint asks of the system passes
 * through here and can be made to fail. The linker's --wrap puts us between; no
 * production source knows of it, and the production build has nothing of it.
 *
 *   SAFEPOINT_FAULT=CLASS:FIRST[-LAST][:ERRNO]   these calls of a class fail
 *   SAFEPOINT_FAULT_SITES=1                      only the first call from each place counts
 *   SAFEPOINT_FAULT_LOG=FILE                     at the end: "failed NAME" for each failure, "CLASS COUNT" for each class
 *
 *   ptrace     ptrace()
 *   read       of the target's memory
 *   write      of the target's memory, and of the memory file that is the agent
 *   call       system calls that a thread of the target is made to do: it does an unknown one instead
 *   function   functions that it is made to call: it calls abs() instead
 *   alloc      allocations, also those inside of the C library's functions that we call for one
 *   socket     the channel's operations, and the taking over of the target's descriptors
 *   file       opening and reading files
 */
#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "attach/borrow.h"

enum fault_class { FAULT_PTRACE, FAULT_READ, FAULT_WRITE, FAULT_CALL, FAULT_FUNCTION, FAULT_ALLOC, FAULT_SOCKET, FAULT_FILE, FAULT_CLASSES };

static const struct {
    const char *name;
    int error;
} fault_table[FAULT_CLASSES] = {
    [FAULT_PTRACE] = {"ptrace", EIO},  [FAULT_READ] = {"read", EFAULT},   [FAULT_WRITE] = {"write", EFAULT},
    [FAULT_CALL] = {"call", 0},        [FAULT_FUNCTION] = {"function", 0}, [FAULT_ALLOC] = {"alloc", ENOMEM},
    [FAULT_SOCKET] = {"socket", EMFILE}, [FAULT_FILE] = {"file", EACCES},
};

#define FAULT_SITES_MAX 8192
#define FAULT_DEPTH     24
#define FAULT_UNKNOWN_CALL 0xfffff
#define FAULT_FAILED_MAX 64

static struct {
    bool ready, sites;
    int wanted, error; /* wanted: the class, or -1 */
    unsigned long first, last, counts[FAULT_CLASSES];
    uint64_t seen[FAULT_CLASSES][FAULT_SITES_MAX];
    const char *failed[FAULT_FAILED_MAX];
    unsigned failed_count;
} fault = {.wanted = -1};

static void fault_read_environment(void)
{
    const char *text = getenv("SAFEPOINT_FAULT");
    char name[16];
    int error = -1;

    fault.ready = true;
    fault.sites = getenv("SAFEPOINT_FAULT_SITES") != NULL;
    if (!text || sscanf(text, "%15[a-z]:%lu", name, &fault.first) != 2)
        return;
    if (sscanf(text, "%*[a-z]:%*u-%lu:%d", &fault.last, &error) < 1) {
        fault.last = fault.first;
        sscanf(text, "%*[a-z]:%*u:%d", &error);
    }
    for (int i = 0; i < FAULT_CLASSES; i++) {
        if (!strcmp(name, fault_table[i].name)) {
            fault.wanted = i;
            fault.error = error < 0 ? fault_table[i].error : error;
        }
    }
}

__attribute__((destructor)) static void fault_write_log(void)
{
    const char *path = getenv("SAFEPOINT_FAULT_LOG");
    char line[64];
    int fd = path ? (int)syscall(SYS_open, path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;

    for (unsigned i = 0; fd >= 0 && i < fault.failed_count; i++)
        dprintf(fd, "failed %s\n", fault.failed[i]);
    for (int i = 0; fd >= 0 && i < FAULT_CLASSES; i++) {
        snprintf(line, sizeof(line), "%s %lu\n", fault_table[i].name, fault.counts[i]);
        dprintf(fd, "%s", line);
    }
}

/* Is this the first call from here? By the return addresses, which are the same each time. */
static bool fault_is_new_site(enum fault_class class)
{
    void *frames[FAULT_DEPTH];
    int depth = backtrace(frames, FAULT_DEPTH);
    uint64_t hash = 1469598103934665603u;

    for (int i = 0; i < depth; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211u;
    hash |= 1;
    for (size_t i = 0; i < FAULT_SITES_MAX; i++) {
        uint64_t *slot = &fault.seen[class][(hash + i) % FAULT_SITES_MAX];

        if (*slot == hash)
            return false;
        if (!*slot) {
            *slot = hash;
            return true;
        }
    }
    return false;
}

/* Counts a call; true, and errno set, when it shall fail. */
static bool fault_fails(enum fault_class class, const char *name)
{
    if (!fault.ready)
        fault_read_environment();
    if (fault.sites && !fault_is_new_site(class))
        return false;
    unsigned long number = ++fault.counts[class];
    if ((int)class != fault.wanted || number < fault.first || number > fault.last)
        return false;
    if (fault.failed_count < FAULT_FAILED_MAX)
        fault.failed[fault.failed_count++] = name;
    errno = fault.error;
    return true;
}

/* __real_NAME is what NAME would have been. */
#define WRAP(type, name, parameters, arguments, class, failure)    \
    type __real_##name parameters;                                  \
    type __wrap_##name parameters;                                  \
    type __wrap_##name parameters                                   \
    {                                                               \
        return fault_fails(class, #name) ? failure : __real_##name arguments; \
    }

/* ------------------------------------------------------- ptrace and memory */

long __real_ptrace(enum __ptrace_request request, ...);
long __wrap_ptrace(enum __ptrace_request request, ...);
long __wrap_ptrace(enum __ptrace_request request, ...)
{
    static const struct {
        int request;
        const char *name;
    } names[] = {{PTRACE_SEIZE, "PTRACE_SEIZE"}, {PTRACE_INTERRUPT, "PTRACE_INTERRUPT"}, {PTRACE_DETACH, "PTRACE_DETACH"},
                 {PTRACE_GETREGSET, "PTRACE_GETREGSET"}, {PTRACE_SETREGSET, "PTRACE_SETREGSET"},
                 {PTRACE_GETSIGMASK, "PTRACE_GETSIGMASK"}, {PTRACE_SETSIGMASK, "PTRACE_SETSIGMASK"}};
    const char *name = "ptrace";
    va_list list;

    va_start(list, request);
    pid_t pid = va_arg(list, pid_t);
    void *address = va_arg(list, void *), *data = va_arg(list, void *);
    va_end(list);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        name = (int)request == names[i].request ? names[i].name : name;
    return fault_fails(FAULT_PTRACE, name) ? -1 : __real_ptrace(request, pid, address, data);
}

WRAP(ssize_t, process_vm_readv,
     (pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote, unsigned long remotes,
      unsigned long flags),
     (pid, local, locals, remote, remotes, flags), FAULT_READ, -1)
WRAP(ssize_t, process_vm_writev,
     (pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote, unsigned long remotes,
      unsigned long flags),
     (pid, local, locals, remote, remotes, flags), FAULT_WRITE, -1)

static bool fault_is_memory(int fd)
{
    char path[64], link[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, link, sizeof(link));
    return length > 4 && !memcmp(link + length - 4, "/mem", 4);
}

WRAP(ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at),
     fault_is_memory(fd) ? FAULT_READ : FAULT_FILE, -1)
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at), FAULT_WRITE, -1)

/* ------------------------------------------------------------ injected calls */

struct error *__real_borrow_chain(struct borrow *borrow, const struct arch_step *steps, size_t count,
                                  enum arch_resume resume);
struct error *__wrap_borrow_chain(struct borrow *borrow, const struct arch_step *steps, size_t count,
                                  enum arch_resume resume);
struct error *__wrap_borrow_chain(struct borrow *borrow, const struct arch_step *steps, size_t count,
                                  enum arch_resume resume)
{
    struct arch_step changed[BORROW_STEPS_MAX];

    for (size_t i = 0; i < count && i < BORROW_STEPS_MAX; i++) {
        changed[i] = steps[i];
        if (steps[i].is_syscall && fault_fails(FAULT_CALL, "system call"))
            changed[i].target = FAULT_UNKNOWN_CALL;
        else if (!steps[i].is_syscall && !steps[i].own_signal_mask && fault_fails(FAULT_FUNCTION, "function"))
            changed[i].target = borrow->code.abs.value;
    }
    return __real_borrow_chain(borrow, changed, count, resume);
}

/* ------------------------------------------------------------- allocations */

WRAP(void *, malloc, (size_t size), (size), FAULT_ALLOC, NULL)
WRAP(void *, calloc, (size_t count, size_t size), (count, size), FAULT_ALLOC, NULL)
WRAP(void *, realloc, (void *old, size_t size), (old, size), FAULT_ALLOC, NULL)
WRAP(void *, reallocarray, (void *old, size_t count, size_t size), (old, count, size), FAULT_ALLOC, NULL)
WRAP(char *, strdup, (const char *text), (text), FAULT_ALLOC, NULL)
WRAP(char *, strndup, (const char *text, size_t size), (text, size), FAULT_ALLOC, NULL)
WRAP(int, vasprintf, (char **text, const char *fmt, va_list list), (text, fmt, list), FAULT_ALLOC, -1)
WRAP(FILE *, open_memstream, (char **text, size_t *size), (text, size), FAULT_ALLOC, NULL)
WRAP(FILE *, tmpfile, (void), (), FAULT_ALLOC, NULL)

int __wrap_asprintf(char **text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **text, const char *fmt, ...)
{
    va_list list;

    va_start(list, fmt);
    int length = fault_fails(FAULT_ALLOC, "asprintf") ? -1 : __real_vasprintf(text, fmt, list);
    va_end(list);
    return length;
}

/* ----------------------------------------------------------------- sockets */

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), FAULT_SOCKET, -1)
WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size), FAULT_SOCKET, -1)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), FAULT_SOCKET, -1)
WRAP(int, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags), (fd, address, size, flags),
     FAULT_SOCKET, -1)
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size),
     FAULT_SOCKET, -1)
WRAP(ssize_t, send, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags), FAULT_SOCKET, -1)
WRAP(ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags), FAULT_SOCKET, -1)

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list list;

    va_start(list, command);
    long argument = va_arg(list, long);
    va_end(list);
    return fault_fails(FAULT_SOCKET, "fcntl") ? -1 : __real_fcntl(fd, command, argument);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list list;
    long arguments[6];

    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_pidfd_getfd && fault_fails(FAULT_SOCKET, "pidfd_getfd"))
        return -1;
    if (number == SYS_pidfd_open && fault_fails(FAULT_FILE, "pidfd_open"))
        return -1;
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

/* ------------------------------------------------------------------- files */

WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size), FAULT_FILE, -1)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), FAULT_FILE, NULL)
WRAP(DIR *, opendir, (const char *path), (path), FAULT_FILE, NULL)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;

    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? (mode_t)va_arg(list, int) : 0;
    va_end(list);
    return fault_fails(FAULT_FILE, "open") ? -1 : __real_open(path, flags, mode);
}

int __real_openat(int directory, const char *path, int flags, ...);
int __wrap_openat(int directory, const char *path, int flags, ...);
int __wrap_openat(int directory, const char *path, int flags, ...)
{
    va_list list;

    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? (mode_t)va_arg(list, int) : 0;
    va_end(list);
    return fault_fails(FAULT_FILE, "openat") ? -1 : __real_openat(directory, path, flags, mode);
}
