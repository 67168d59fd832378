/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The seccomp filters of a thread: what they would answer to a system call, found out
 * without making it. Filters are classic BPF (linux/seccomp.h, kernel/seccomp.c);
 * the strictest answer of all of them counts.
 */
#ifndef SAFEPOINT_ATTACH_SECCOMP_H
#define SAFEPOINT_ATTACH_SECCOMP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/error.h"

struct sock_filter;

enum seccomp_answer {
    SECCOMP_ALLOWED,
    SECCOMP_REFUSED, /* it would return an error */
    SECCOMP_DEADLY,  /* the process or thread would be killed, signalled, or left to somebody's decision */
};

struct seccomp_filters {
    struct {
        struct sock_filter *code;
        size_t length; /* in instructions */
    } list[32];
    size_t count;
};

/* Reads all filters of a thread in a ptrace stop; end them with seccomp_deinit(). ERROR_UNSUPPORTED
 * where the kernel doesn't let us (CAP_SYS_ADMIN, and no filter on ourselves) or there are too many. */
struct error *seccomp_read(struct seccomp_filters *filters, pid_t tid) __attribute__((warn_unused_result));
void seccomp_deinit(struct seccomp_filters *filters);

/* What they answer to a system call made at `instruction_pointer`. A filter that makes no sense: SECCOMP_DEADLY. */
enum seccomp_answer seccomp_ask(const struct seccomp_filters *filters, long number, const uint64_t arguments[6],
                                uint64_t instruction_pointer);

#endif
