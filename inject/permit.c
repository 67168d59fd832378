/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a target's seccomp filter says to the system calls of a request, before the first of
 * them: those that a borrowed thread makes for us, and those that the agent makes
 * by Python's functions. (What a user's script does beyond that is its author's.)
 */
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "attach/syscalls.h"
#include "inject/internal.h"

struct permit_call {
    long number;
    uint64_t arguments[6];
};

#define PERMIT_MAP(protection) \
    {SYS_mmap, {0, STAGE_PAGE, (protection), MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0}}

/* What a thread needs to be borrowed, and to stage for a request. */
static const struct permit_call permit_staging[] = {
    PERMIT_MAP(PROT_READ | PROT_WRITE), {SYS_munmap, {0}}, {SYS_close, {0}}, {SYS_clock_gettime, {CLOCK_MONOTONIC}},
    {SYS_rt_sigreturn, {0}},
};
static const struct permit_call permit_return[] = {{SYS_rt_sigreturn, {0}}};
static const struct permit_call permit_stub[] = {PERMIT_MAP(PROT_READ | PROT_EXEC)};
static const struct permit_call permit_script[] = {{SYS_memfd_create, {0, 1}}};
static const struct permit_call permit_pair[] = {{SYS_socketpair, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC}}};
/* What the agent does with any channel. */
static const struct permit_call permit_agent[] = {{SYS_read, {0}}, {SYS_write, {0}}, {SYS_close, {0}}};
/* That may fail, but not kill. */
static const struct permit_call permit_harmless[] = {{SYS_getpid, {0}}, {SYS_gettid, {0}}};
/* One of these is what the C library's fstat() is. */
static const struct permit_call permit_stat[] = {{SYS_newfstatat, {0, 0, 0, AT_EMPTY_PATH}}, {SYS_fstat, {0}}};
static const struct permit_call permit_directory[] = {
    {SYS_socket, {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC}}, {SYS_connect, {0}}, {SYS_openat, {(uint64_t)AT_FDCWD}},
};

#define PERMIT_COUNT(calls) (sizeof(calls) / sizeof((calls)[0]))

/* The first of the calls that isn't answered at least as well as that; NULL: all are. */
static const struct permit_call *permit_find(const struct inject_stop *stop, const struct permit_call *calls,
                                             size_t count, enum seccomp_answer worst)
{
    for (size_t i = 0; i < count; i++) {
        if (borrow_ask(&stop->borrow, calls[i].number, calls[i].arguments) > worst)
            return &calls[i];
    }
    return NULL;
}

static bool permit_allows(const struct inject_stop *stop, const struct permit_call *calls, size_t count)
{
    return !permit_find(stop, calls, count, SECCOMP_ALLOWED);
}

bool permit_chain(const struct inject_stop *stop)
{
    return permit_allows(stop, permit_return, PERMIT_COUNT(permit_return));
}

bool permit_stub_staging(const struct inject_stop *stop)
{
    return permit_allows(stop, permit_staging, PERMIT_COUNT(permit_staging)) &&
           permit_allows(stop, permit_stub, PERMIT_COUNT(permit_stub));
}

bool permit_script_staging(const struct inject_stop *stop)
{
    return permit_allows(stop, permit_staging, PERMIT_COUNT(permit_staging)) &&
           permit_allows(stop, permit_script, PERMIT_COUNT(permit_script));
}

static struct error *permit_refuse(const struct inject_stop *stop, const struct permit_call *call)
{
    return error_create(ERROR_UNSUPPORTED, "start it with a filter that allows this call, or none",
                        "the seccomp filter of process %d doesn't allow %s, which a request needs",
                        stop->request->target->process->pid, syscall_name(call->number));
}

struct error *permit_check_staging(const struct inject_stop *stop)
{
    const struct permit_call *call = permit_find(stop, permit_staging, PERMIT_COUNT(permit_staging), SECCOMP_ALLOWED);

    if (!call)
        call = permit_find(stop, permit_stub, PERMIT_COUNT(permit_stub), SECCOMP_ALLOWED);
    return call ? permit_refuse(stop, call) : NULL;
}

struct error *permit_check(const struct inject_stop *stop)
{
    const struct permit_call *call = permit_find(stop, permit_agent, PERMIT_COUNT(permit_agent), SECCOMP_ALLOWED);

    if (!call)
        call = permit_find(stop, permit_harmless, PERMIT_COUNT(permit_harmless), SECCOMP_REFUSED);
    if (!call && !permit_allows(stop, &permit_stat[0], 1) && !permit_allows(stop, &permit_stat[1], 1))
        call = &permit_stat[0];
    if (call)
        return permit_refuse(stop, call);
    if (stop->options->pass_channel) {
        call = permit_find(stop, permit_pair, PERMIT_COUNT(permit_pair), SECCOMP_ALLOWED);
        if (!call)
            call = permit_find(stop, permit_staging, PERMIT_COUNT(permit_staging), SECCOMP_ALLOWED);
        stop->request->channel_refused = call != NULL;
    } else {
        call = permit_find(stop, permit_directory, PERMIT_COUNT(permit_directory), SECCOMP_ALLOWED);
    }
    return call ? permit_refuse(stop, call) : NULL;
}
