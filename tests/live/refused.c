/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Preloaded into safepoint: whatever attaches is refused, as Yama refuses it, and whatever only reads /proc is
 * not. Kernels without Yama show its message this way. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static int refuse(int err)
{
    errno = err;
    return -1;
}

int open(const char *path, int flags, ...)
{
    int (*next)(const char *, int, mode_t) = (int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, "open");
    size_t length = strlen(path);
    va_list arguments;
    mode_t mode = 0;

    va_start(arguments, flags);
    if (flags & O_CREAT)
        mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (!strncmp(path, "/proc/", 6) && length > 4 && !strcmp(path + length - 4, "/mem"))
        return refuse(EACCES);
    return next(path, flags, mode);
}

ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals, const struct iovec *remote,
                         unsigned long remotes, unsigned long flags)
{
    (void)pid, (void)local, (void)locals, (void)remote, (void)remotes, (void)flags;
    return refuse(EPERM);
}

long ptrace(enum __ptrace_request request, ...)
{
    (void)request;
    return refuse(EPERM);
}
