/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the kernel, our user and a seccomp filter on ourselves let us do, found out
 * by doing it. Each probe runs in a child of ours, on itself or on a child of its
 * own: a filter may kill who tries, and nobody else is touched.
 */
#ifndef SAFEPOINT_ATTACH_PROBE_H
#define SAFEPOINT_ATTACH_PROBE_H

enum probe {
    PROBE_PTRACE,          /* is the call allowed at all? (not: on whom) */
    PROBE_PROCESS_VM,      /* process_vm_readv and process_vm_writev, the same */
    PROBE_PIDFD_OPEN,
    PROBE_PIDFD_GETFD,
    PROBE_MEMFD_CREATE,
    PROBE_RSEQ,            /* PTRACE_GET_RSEQ_CONFIGURATION */
    PROBE_READ_SECCOMP, /* PTRACE_SECCOMP_GET_FILTER */
    PROBE_REALTIME,        /* SCHED_FIFO, which a thread of the target is held under */
    PROBES
};

#define PROBE_KILLED (-1)

/* 0: it works. Otherwise the errno, or PROBE_KILLED: who tries is killed. */
int probe_run(enum probe probe);

#endif
