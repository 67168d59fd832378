/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Why the kernel doesn't let us attach to a process, and the cure.
 *
 * The kernel answers "not permitted" and no more. But its rules are few, and what
 * they look at can be read from /proc. So: read the facts, then ask rule by rule,
 * in the kernel's own order, which of them stands in the way. A rule is a function of
 * the facts alone.
 */
#ifndef SAFEPOINT_ATTACH_ACCESS_H
#define SAFEPOINT_ATTACH_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* Numbers of capabilities that we ask for, as bits of a mask of /proc/PID/status. */
#define ACCESS_DAC_OVERRIDE (UINT64_C(1) << 1)
#define ACCESS_SYS_PTRACE (UINT64_C(1) << 19)
#define ACCESS_SYS_ADMIN (UINT64_C(1) << 21)
#define ACCESS_SYS_NICE (UINT64_C(1) << 23)
#define ACCESS_CHECKPOINT_RESTORE (UINT64_C(1) << 40)

/* One side of it, as /proc/PID/status shows it to us. */
struct access_identity {
    uid_t uids[3]; /* real, effective, saved; 65534 for one that our user namespace doesn't know */
    gid_t gids[3];
    uint64_t permitted, effective; /* capabilities */
    int seccomp;                   /* 0 none, 1 strict, 2 filter */
    char label[128];               /* what a security module calls it ("docker-default (enforce)"); "" none */
};

/* Where the target's user namespace is, seen from ours. */
enum access_relation {
    ACCESS_SAME,
    ACCESS_INNER,   /* below ours: ours or another user of ours made it */
    ACCESS_OUTER,   /* above or beside ours: what we may here counts for nothing there */
    ACCESS_UNRELATED /* another; where can't be told */
};

struct access_facts {
    pid_t pid;
    struct access_identity own, target;
    enum access_relation relation;
    bool owner_known;
    uid_t owner;      /* of the outermost user namespace between ours and the target's */
    bool dumpable;    /* false: its files in /proc belong to root, not to it */
    int yama;         /* kernel.yama.ptrace_scope; 0 too where there is no Yama */
    int filter;       /* what a filter on ourselves makes of ptrace: 0 nothing, errno, PROBE_KILLED */
    pid_t tracer;     /* of any of its threads; 0 none */
    char tracer_name[64];
    bool granted;     /* the kernel says yes: only ACCESS_FILTER and ACCESS_TRACER are left to ask */
};

enum access_rule {
    ACCESS_USER,         /* the same uids and gids, or CAP_SYS_PTRACE */
    ACCESS_NAMESPACE,    /* the user namespace in which a capability counts */
    ACCESS_CAPABILITIES, /* the target has none that we lack */
    ACCESS_DUMPABLE,
    ACCESS_YAMA,
    ACCESS_FILTER,
    ACCESS_TRACER,
    ACCESS_MODULE, /* AppArmor, SELinux, Landlock...: when nothing else explains it */
    ACCESS_RULES
};

/* Reads the facts; stops and changes nothing. An error only when the process is
 * gone or isn't shown to us. */
struct error *access_read_facts(struct access_facts *facts, pid_t pid) __attribute__((warn_unused_result));

/* NULL: this rule doesn't stand in the way. Else ERROR_PERMISSION with cause and cure. */
struct error *access_judge(const struct access_facts *facts, enum access_rule rule) __attribute__((warn_unused_result));

/* The first rule in the way; NULL: none. */
struct error *access_judge_all(const struct access_facts *facts) __attribute__((warn_unused_result));

/* The cause of a refusal that has happened; never NULL. ERROR_PERMISSION with its
 * cure, ERROR_NO_PROCESS when the process is gone. */
struct error *access_explain(pid_t pid) __attribute__((warn_unused_result));

/* For what the kernel doesn't ask of /proc: a filter on ourselves that forbids
 * ptrace. NULL, or ERROR_PERMISSION. */
struct error *access_check_filter(void) __attribute__((warn_unused_result));

/* Is a thread of it traced by somebody already? NULL, or ERROR_PERMISSION which names the tracer. */
struct error *access_check_tracer(pid_t pid) __attribute__((warn_unused_result));

/* Why /proc has no such process: ERROR_NO_PROCESS, or ERROR_PERMISSION when it is there but hidden. */
struct error *access_explain_absence(pid_t pid) __attribute__((warn_unused_result));

/* Why a system call of ours that asks nothing of a target failed: ERROR_PERMISSION (a filter
 * on ourselves) or ERROR_UNSUPPORTED (the kernel). */
struct error *access_explain_call(const char *call, int err) __attribute__((warn_unused_result));

/* What a security module calls a process, as in facts; "" where there is none. */
void access_read_label(pid_t pid, char *label, size_t room);

/* The capabilities of a mask by name, without "cap_", blanks between, "..." where there is no more room.
 * Returns `text`. */
char *access_format_capabilities(char *text, size_t room, uint64_t mask);

/* Have we CAP_SYS_PTRACE where the target lives? */
bool access_is_capable(const struct access_facts *facts);

/* The same uids and gids on both sides, as the kernel compares them? */
bool access_is_same_user(const struct access_facts *facts);

/* kernel.yama.ptrace_scope; 0 too where there is no Yama. */
int access_read_yama(void);

#endif
