/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/access.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "attach/probe.h"
#include "attach/process.h"
#include "attach/scope.h"

#define ACCESS_NAMESPACES_MAX 33 /* the kernel nests no deeper */
#define ACCESS_UNMAPPED UINT_MAX /* how uid_map shows an id that our namespace doesn't have */

/* ------------------------------------------------------------ reading facts */

void access_read_label(pid_t pid, char *label, size_t room)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *error = process_read_file(pid, "attr/current", &text, &length);

    snprintf(label, room, "%.*s", error ? 0 : (int)strcspn(text, "\n"), error ? "" : text);
    error_destroy(error);
}

static uint64_t access_read_mask(const char *status, const char *name)
{
    const char *value = process_status_field(status, name);

    return value ? strtoull(value, NULL, 16) : 0;
}

static struct error *access_read_identity(struct access_identity *identity, pid_t pid)
{
    scoped_free char *text = NULL;
    size_t length;
    struct error *error = process_read_file(pid, "status", &text, &length);

    if (error)
        return error;
    const char *uids = process_status_field(text, "Uid"), *gids = process_status_field(text, "Gid");
    const char *seccomp = process_status_field(text, "Seccomp");
    if (!uids || sscanf(uids, "%u %u %u", &identity->uids[0], &identity->uids[1], &identity->uids[2]) != 3 ||
        !gids || sscanf(gids, "%u %u %u", &identity->gids[0], &identity->gids[1], &identity->gids[2]) != 3)
        return error_create(ERROR_SYSTEM, NULL, "/proc/%d/status makes no sense", pid);
    identity->permitted = access_read_mask(text, "CapPrm");
    identity->effective = access_read_mask(text, "CapEff");
    identity->seccomp = seccomp ? atoi(seccomp) : 0;
    access_read_label(pid, identity->label, sizeof(identity->label));
    return NULL;
}

/* The ids of a process's user namespace, as our namespace knows them. */
struct access_map {
    char *text;
    uint64_t ids;   /* how many it has */
    bool unmapped;  /* some that we don't have */
};

static bool access_read_map(struct access_map *map, pid_t pid)
{
    size_t length;
    unsigned outside, count;
    int taken;
    struct error *error = process_read_file(pid, "uid_map", &map->text, &length);

    error_destroy(error);
    for (const char *at = map->text; !error && sscanf(at, "%*u %u %u%n", &outside, &count, &taken) == 2; at += taken) {
        map->ids += count;
        map->unmapped |= outside == ACCESS_UNMAPPED;
    }
    return !error;
}

/* Whom we may not trace has no ns/user for us, but its uid_map is open to all: it is ours in
 * the same namespace, and a namespace below ours can have no ids but ours. */
static enum access_relation access_compare_maps(pid_t pid)
{
    struct access_map own = {NULL, 0, false}, its = {NULL, 0, false};
    enum access_relation relation = ACCESS_UNRELATED;

    if (access_read_map(&own, getpid()) && access_read_map(&its, pid))
        relation = !strcmp(own.text, its.text)              ? ACCESS_SAME
                   : its.unmapped || its.ids > own.ids ? ACCESS_OUTER
                                                       : ACCESS_INNER;
    free(own.text);
    free(its.text);
    return relation;
}

static bool access_is_namespace(int fd, const struct stat *other)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_dev == other->st_dev && st.st_ino == other->st_ino;
}

/* Climbs from the target's user namespace to ours, if it is there. */
static void access_read_relation(struct access_facts *facts)
{
    char path[64];
    struct stat own;

    snprintf(path, sizeof(path), "/proc/%d/ns/user", facts->pid);
    if (stat("/proc/self/ns/user", &own) != 0)
        return; /* a kernel that has no user namespaces: ACCESS_SAME */
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        facts->relation = access_compare_maps(facts->pid);
        return;
    }
    facts->relation = access_is_namespace(fd, &own) ? ACCESS_SAME : ACCESS_UNRELATED;
    for (int i = 0; facts->relation == ACCESS_UNRELATED && i < ACCESS_NAMESPACES_MAX; i++) {
        int parent = ioctl(fd, NS_GET_PARENT);

        if (parent < 0) {
            facts->relation = errno == EPERM ? ACCESS_OUTER : access_compare_maps(facts->pid);
            return;
        }
        if (access_is_namespace(parent, &own)) {
            facts->relation = ACCESS_INNER;
            facts->owner_known = ioctl(fd, NS_GET_OWNER_UID, &facts->owner) == 0;
        }
        close(fd);
        fd = parent;
    }
}

/* Its files in /proc are its own, unless it is marked: then they are root's. */
static bool access_is_dumpable(const struct access_facts *facts)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/stat", facts->pid);
    return stat(path, &st) != 0 || (st.st_uid == facts->target.uids[1] && st.st_gid == facts->target.gids[1]);
}

int access_read_yama(void)
{
    int scope = 0;
    FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");

    if (!file)
        return 0;
    if (fscanf(file, "%d", &scope) != 1)
        scope = 0;
    fclose(file);
    return scope;
}

/* Our own filters are for life: asked once. */
static int access_read_filter(void)
{
    static bool known;
    static int answer;

    if (!known)
        answer = prctl(PR_GET_SECCOMP) == 0 ? 0 : probe_run(PROBE_PTRACE);
    known = true;
    return answer;
}

/* A debugger may hold one thread only. 0: none; gone threads are passed over. */
static pid_t access_find_tracer(pid_t pid, char *name, size_t room)
{
    scoped_free pid_t *tids = NULL;
    size_t count = 0;
    struct process_status status = {.tracer = 0};

    error_destroy(process_list_threads(pid, &tids, &count));
    for (size_t i = 0; i < count && !status.tracer; i++)
        error_destroy(process_read_status(pid, tids[i], &status));
    if (status.tracer) {
        struct process_status tracer;
        struct error *error = process_read_status(status.tracer, 0, &tracer);
        snprintf(name, room, "%s", error ? "?" : tracer.name);
        error_destroy(error);
    }
    return status.tracer;
}

/* Opening its memory asks the kernel the very question that attaching asks. */
static int access_ask(pid_t pid)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    scoped_fd int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? errno : 0;
}

struct error *access_read_facts(struct access_facts *facts, pid_t pid)
{
    struct error *error;

    *facts = (struct access_facts){.pid = pid};
    if ((error = access_read_identity(&facts->target, pid))) {
        error_destroy(error);
        return access_explain_absence(pid);
    }
    if ((error = access_read_identity(&facts->own, getpid())))
        return error_with_hint(error, "is /proc mounted, and for this pid namespace?");
    access_read_relation(facts);
    facts->dumpable = access_is_dumpable(facts);
    facts->yama = access_read_yama();
    facts->filter = access_read_filter();
    facts->tracer = access_find_tracer(pid, facts->tracer_name, sizeof(facts->tracer_name));
    facts->granted = access_ask(pid) == 0;
    return NULL;
}

/* -------------------------------------------------------------- capabilities */

/* By their numbers in <linux/capability.h>. */
static const char *const access_capabilities[] = {
    "chown",         "dac_override",     "dac_read_search", "fowner",           "fsetid",        "kill",
    "setgid",        "setuid",           "setpcap",         "linux_immutable",  "net_bind_service", "net_broadcast",
    "net_admin",     "net_raw",          "ipc_lock",        "ipc_owner",        "sys_module",    "sys_rawio",
    "sys_chroot",    "sys_ptrace",       "sys_pacct",       "sys_admin",        "sys_boot",      "sys_nice",
    "sys_resource",  "sys_time",         "sys_tty_config",  "mknod",            "lease",         "audit_write",
    "audit_control", "setfcap",          "mac_override",    "mac_admin",        "syslog",        "wake_alarm",
    "block_suspend", "audit_read",       "perfmon",         "bpf",              "checkpoint_restore",
};

char *access_format_capabilities(char *text, size_t room, uint64_t mask)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < sizeof(access_capabilities) / sizeof(access_capabilities[0]); i++) {
        if (!(mask >> i & 1))
            continue;
        if (used + strlen(access_capabilities[i]) + sizeof(" ...") >= room)
            return strcat(text, " ...");
        used += (size_t)sprintf(text + used, "%s%s", used ? " " : "", access_capabilities[i]);
    }
    return text;
}

bool access_is_capable(const struct access_facts *facts)
{
    bool has_it = facts->own.effective & ACCESS_SYS_PTRACE;

    switch (facts->relation) {
    case ACCESS_SAME:
        return has_it;
    case ACCESS_INNER: /* who made a namespace may do all in it */
        return has_it || (facts->owner_known && facts->owner == facts->own.uids[1]);
    default:
        return false;
    }
}

bool access_is_same_user(const struct access_facts *facts)
{
    for (int i = 0; i < 3; i++) {
        if (facts->target.uids[i] != facts->own.uids[0] || facts->target.gids[i] != facts->own.gids[0])
            return false;
    }
    return true;
}

/* -------------------------------------------------------------------- rules */

#define ACCESS_SUDO "run as root: sudo safepoint ...; in a container, one with --cap-add=SYS_PTRACE"

static struct error *access_refuse_files(const struct access_facts *facts)
{
    struct error *error = error_create(ERROR_PERMISSION, NULL, "we may trace process %d of uid %u, but not open its "
                                       "files in /proc: CAP_DAC_OVERRIDE is missing", facts->pid, facts->target.uids[1]);

    return error_with_hint(error, "add that capability, or run as its user: setpriv --reuid %u --regid %u "
                           "--clear-groups safepoint ...", facts->target.uids[1], facts->target.gids[1]);
}

static struct error *access_refuse_root(const struct access_facts *facts)
{
    struct error *error = error_create(ERROR_PERMISSION, NULL, "process %d belongs to uid %u, and we are root without "
                                       "the capability to trace others (CAP_SYS_PTRACE)", facts->pid,
                                       facts->target.uids[1]);

    return error_with_hint(error, "in a container, one with --cap-add=SYS_PTRACE (Kubernetes: "
                           "securityContext.capabilities.add); or as its user: setpriv --reuid %u --regid %u "
                           "--clear-groups safepoint ...", facts->target.uids[1], facts->target.gids[1]);
}

static struct error *access_refuse_user(const struct access_facts *facts)
{
    const uid_t *its = facts->target.uids, own = facts->own.uids[0];
    struct error *error;

    if (its[0] == its[1] && its[1] == its[2] && its[0] == 0)
        return error_create(ERROR_PERMISSION, "run as root: sudo safepoint ...", "process %d belongs to root, and we run "
                            "as uid %u", facts->pid, own);
    if (its[0] == its[1] && its[1] == its[2] && its[0] != own) {
        error = error_create(ERROR_PERMISSION, NULL, "process %d belongs to uid %u, and we run as uid %u", facts->pid,
                             its[0], own);
        return error_with_hint(error, "run as that user or as root: sudo -u '#%u' safepoint ..., sudo safepoint ...",
                               its[0]);
    }
    if (its[0] == own && its[1] == own && its[2] == own)
        return error_create(ERROR_PERMISSION, ACCESS_SUDO, "process %d runs with group %u, and we with group %u: the "
                            "kernel asks for the same one", facts->pid, facts->target.gids[1], facts->own.gids[0]);
    return error_create(ERROR_PERMISSION, ACCESS_SUDO, "process %d has the uids %u, %u and %u (real, effective, saved), "
                        "and we run as uid %u: the kernel asks for one", facts->pid, its[0], its[1], its[2], own);
}

static struct error *access_rule_user(const struct access_facts *facts)
{
    if (access_is_same_user(facts))
        return NULL;
    if (access_is_capable(facts))
        return facts->own.effective & ACCESS_DAC_OVERRIDE || facts->own.uids[1] == facts->target.uids[1]
                   ? NULL : access_refuse_files(facts);
    if (facts->own.effective & ACCESS_SYS_PTRACE)
        return NULL; /* it doesn't count where the target is: the next rule */
    return facts->own.uids[1] == 0 ? access_refuse_root(facts) : access_refuse_user(facts);
}

static struct error *access_rule_namespace(const struct access_facts *facts)
{
    char maker[48] = "another user";

    if (facts->relation == ACCESS_SAME || access_is_capable(facts))
        return NULL;
    if (facts->owner_known)
        snprintf(maker, sizeof(maker), "uid %u", facts->owner);
    if (facts->relation == ACCESS_INNER)
        return error_create(ERROR_PERMISSION, "run as who made it (a container's owner), or as root of the host: "
                            "sudo safepoint ...", "process %d is in a user namespace that %s made, and we run as uid %u",
                            facts->pid, maker, facts->own.uids[1]);
    return error_create(ERROR_PERMISSION, "run safepoint outside of this container or namespace: as the process's "
                        "user, or as root of the host", "process %d is outside of our user namespace%s", facts->pid,
                        facts->own.effective & ACCESS_SYS_PTRACE ? ", and we are root inside of it only" : "");
}

static struct error *access_rule_capabilities(const struct access_facts *facts)
{
    uint64_t lacking = facts->target.permitted & ~facts->own.permitted;
    char names[128];

    if (!lacking || !access_is_same_user(facts) || facts->relation != ACCESS_SAME || access_is_capable(facts))
        return NULL;
    return error_create(ERROR_PERMISSION, ACCESS_SUDO, "process %d has capabilities that we haven't: %s", facts->pid,
                        access_format_capabilities(names, sizeof(names), lacking));
}

static struct error *access_rule_dumpable(const struct access_facts *facts)
{
    if (facts->dumpable || access_is_capable(facts))
        return NULL;
    return error_create(ERROR_PERMISSION,
                        ACCESS_SUDO "; or let the process call prctl(PR_SET_DUMPABLE, 1) after it has changed its user",
                        "process %d is undumpable: it has changed its user since it started, runs a set-uid or "
                        "unreadable program, or asked for it (prctl)", facts->pid);
}

static struct error *access_rule_yama(const struct access_facts *facts)
{
    if (facts->yama <= 0 || (facts->yama < 3 && access_is_capable(facts)))
        return NULL;
    if (facts->yama == 1)
        return error_create(ERROR_PERMISSION,
                            ACCESS_SUDO "; for all until the next boot: sysctl kernel.yama.ptrace_scope=0; for this "
                            "process: let it call prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)",
                            "Yama (kernel.yama.ptrace_scope = 1) lets a process be attached to only by its "
                            "parents, and by who it names itself");
    if (facts->yama == 2)
        return error_create(ERROR_PERMISSION, ACCESS_SUDO "; for all until the next boot: sysctl "
                            "kernel.yama.ptrace_scope=0", "Yama (kernel.yama.ptrace_scope = 2) lets only root "
                            "(CAP_SYS_PTRACE) attach to a process");
    return error_create(ERROR_PERMISSION, "nothing lifts it before the next boot: look for kernel.yama.ptrace_scope in "
                        "/etc/sysctl.conf and /etc/sysctl.d", "Yama (kernel.yama.ptrace_scope = %d) lets nobody, not "
                        "even root, attach to a process", facts->yama);
}

static struct error *access_refuse_filter(const char *call, int filter)
{
    return error_create(ERROR_PERMISSION, "run safepoint outside of the sandbox, on the host; or in a container with "
                        "--cap-add=SYS_PTRACE (Docker's own filter goes by it) or --security-opt seccomp=unconfined",
                        "a seccomp filter on safepoint itself forbids %s (%s)", call,
                        filter == PROBE_KILLED ? "it kills who calls it" : strerror(filter));
}

static struct error *access_rule_filter(const struct access_facts *facts)
{
    return facts->filter ? access_refuse_filter("ptrace", facts->filter) : NULL;
}

static struct error *access_refuse_tracer(pid_t pid, pid_t tracer, const char *name)
{
    return error_create(ERROR_PERMISSION, "end that debugger or tracer, or let it detach, and try again",
                        "process %d is already traced by process %d (%s)", pid, tracer, name);
}

static struct error *access_rule_tracer(const struct access_facts *facts)
{
    return facts->tracer ? access_refuse_tracer(facts->pid, facts->tracer, facts->tracer_name) : NULL;
}

/* What is left when all that can be seen allows it. */
static struct error *access_rule_module(const struct access_facts *facts)
{
    const char *own = facts->own.label, *its = facts->target.label;

    return error_create(ERROR_PERMISSION,
                        "ask the kernel's log: dmesg | grep -i denied, or ausearch -m avc; AppArmor: a profile that "
                        "allows ptrace; SELinux: setsebool deny_ptrace off; Landlock: run outside of the sandbox",
                        "the kernel refuses process %d and doesn't say why: a security module (ours: %s; its: %s)",
                        facts->pid, own[0] ? own : "no label", its[0] ? its : "no label");
}

/* In the kernel's order. Those that it asks itself are answered when it said yes. */
static const struct {
    struct error *(*judge)(const struct access_facts *facts);
    bool kernels;
} access_rules[ACCESS_RULES] = {
    [ACCESS_USER] = {access_rule_user, true},
    [ACCESS_NAMESPACE] = {access_rule_namespace, true},
    [ACCESS_CAPABILITIES] = {access_rule_capabilities, true},
    [ACCESS_DUMPABLE] = {access_rule_dumpable, true},
    [ACCESS_YAMA] = {access_rule_yama, true},
    [ACCESS_FILTER] = {access_rule_filter, false},
    [ACCESS_TRACER] = {access_rule_tracer, false},
    [ACCESS_MODULE] = {access_rule_module, true},
};

struct error *access_judge(const struct access_facts *facts, enum access_rule rule)
{
    return facts->granted && access_rules[rule].kernels ? NULL : access_rules[rule].judge(facts);
}

struct error *access_judge_all(const struct access_facts *facts)
{
    struct error *error = NULL;

    for (enum access_rule rule = 0; !error && rule < ACCESS_RULES; rule++)
        error = access_judge(facts, rule);
    return error;
}

/* ------------------------------------------------------------------ answers */

struct error *access_explain(pid_t pid)
{
    struct access_facts facts;
    struct error *error = access_read_facts(&facts, pid);

    if (error || (error = access_judge_all(&facts)))
        return error;
    return access_rule_module(&facts); /* it was refused, whatever the kernel says when asked again */
}

struct error *access_check_filter(void)
{
    int filter = access_read_filter();

    return filter ? access_refuse_filter("ptrace", filter) : NULL;
}

struct error *access_check_tracer(pid_t pid)
{
    char name[64];
    pid_t tracer = access_find_tracer(pid, name, sizeof(name));

    return tracer ? access_refuse_tracer(pid, tracer, name) : NULL;
}

struct error *access_explain_absence(pid_t pid)
{
    if (kill(pid, 0) == 0 || errno == EPERM)
        return error_create(ERROR_PERMISSION, "run as root or as its user; or mount it anew: "
                            "mount -o remount,hidepid=0 /proc",
                            "process %d is there, but /proc doesn't show it to us (mounted with hidepid, or for "
                            "another pid namespace)", pid);
    return error_create(ERROR_NO_PROCESS, "list the Python processes here: safepoint ps", "no process %d", pid);
}

struct error *access_explain_call(const char *call, int err)
{
    if (prctl(PR_GET_SECCOMP) != 0 && (err == ENOSYS || err == EPERM || err == EACCES))
        return access_refuse_filter(call, err);
    return error_create(ERROR_UNSUPPORTED, "Linux 5.6 or newer has all that is needed; safepoint doctor tells more",
                        "this kernel refuses %s: %s", call, strerror(err));
}
