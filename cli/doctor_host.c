/* SPDX-License-Identifier: GPL-3.0-or-later */
/* doctor without a PID: what this host, kernel and user allow. All of it is tried on ourselves and children of ours. */
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "attach/access.h"
#include "attach/probe.h"
#include "attach/scope.h"
#include "cli/doctor.h"
#include "cli/journal.h"
#include "cli/ps.h"

/* The first user and pid namespaces have these inodes on every kernel. */
#define DOCTOR_FIRST_USER_NAMESPACE 0xEFFFFFFDU
#define DOCTOR_FIRST_PID_NAMESPACE 0xEFFFFFFCU

/* All that we ever have a use for. */
#define DOCTOR_CAPABILITIES \
    (ACCESS_DAC_OVERRIDE | ACCESS_SYS_PTRACE | ACCESS_SYS_ADMIN | ACCESS_SYS_NICE | ACCESS_CHECKPOINT_RESTORE)

/* ------------------------------------------------------------------- kernel */

static void doctor_check_kernel(struct doctor *doctor)
{
    struct utsname name;

    if (uname(&name) == 0)
        doctor_ok(doctor, "kernel", "%s %s, %s", name.sysname, name.release, name.machine);
}

static const char *doctor_why(int answer)
{
    return answer == PROBE_KILLED ? "a seccomp filter on safepoint kills who calls it" : strerror(answer);
}

#define DOCTOR_FILTER "Linux 5.13 or newer has it; in a container, one with --cap-add=SYS_PTRACE or --security-opt seccomp=unconfined"

/* What can be done without, at a price. */
static const struct {
    enum probe probe;
    const char *name, *works, *price, *hint;
} doctor_probes[] = {
    {PROBE_PROCESS_VM, "process_vm", "memory is read and written by process_vm_readv and process_vm_writev",
     "memory is read by /proc/PID/mem, which is slower", DOCTOR_FILTER},
    {PROBE_PIDFD_GETFD, "pidfd_getfd", "the channel is passed, no file is needed",
     "the channel is a socket in a private directory of the target's", DOCTOR_FILTER},
    {PROBE_MEMFD_CREATE, "memfd_create", "works", "scripts for 3.14 and later go by a file in a private directory",
     DOCTOR_FILTER},
    {PROBE_RSEQ, "rseq", "a thread in a restartable sequence is seen, and left alone",
     "a thread in a restartable sequence can't be told from others", DOCTOR_FILTER},
    {PROBE_READ_SECCOMP, "targets' filters", "the seccomp filter of a target may be read: what it forbids isn't done",
     "the seccomp filter of a target may not be read: many containers' and services' processes are refused",
     "run safepoint as root (CAP_SYS_ADMIN) on the host, outside of any filter of its own"},
    {PROBE_REALTIME, "real-time priority", "allowed: while a thread of the target is held nobody runs before us",
     "on a busy machine a thread of the target may be held for longer",
     "run as root, or allow it to the user: rtprio 1 in /etc/security/limits.conf"},
};

static void doctor_check_calls(struct doctor *doctor)
{
    int answer = probe_run(PROBE_PIDFD_OPEN);

    doctor_judge(doctor, "ptrace", access_check_filter(), "allowed");
    doctor_judge(doctor, "pidfd_open", answer ? access_explain_call("pidfd_open", answer) : NULL, "allowed");
    for (size_t i = 0; i < sizeof(doctor_probes) / sizeof(doctor_probes[0]); i++) {
        answer = probe_run(doctor_probes[i].probe);
        if (answer)
            doctor_warn(doctor, doctor_probes[i].name, doctor_probes[i].hint, "%s (%s)", doctor_probes[i].price,
                        doctor_why(answer));
        else
            doctor_ok(doctor, doctor_probes[i].name, "%s", doctor_probes[i].works);
    }
}

/* --------------------------------------------------------------------- user */

static bool doctor_is_first(const char *path, unsigned inode)
{
    struct stat st;

    return stat(path, &st) != 0 || st.st_ino == inode; /* a kernel without such namespaces has one */
}

static void doctor_check_user(struct doctor *doctor, const struct access_facts *own)
{
    char user[64], held[128], missing[128];

    access_format_capabilities(held, sizeof(held), own->own.effective & DOCTOR_CAPABILITIES);
    access_format_capabilities(missing, sizeof(missing), ~own->own.effective & DOCTOR_CAPABILITIES);
    doctor_ok(doctor, "user", "%s", journal_format_user(user, sizeof(user), own->own.uids[1]));
    doctor_ok(doctor, "capabilities", "%s%s%s", held[0] ? held : "none", missing[0] ? "; not " : "", missing);
}

/* Whose processes can be served? */
static void doctor_check_reach(struct doctor *doctor, const struct access_facts *own)
{
    static const char hint[] = "run as root: sudo safepoint ...; in a container, one with --cap-add=SYS_PTRACE";
    bool first = doctor_is_first("/proc/self/ns/user", DOCTOR_FIRST_USER_NAMESPACE);
    bool sees_all = doctor_is_first("/proc/self/ns/pid", DOCTOR_FIRST_PID_NAMESPACE);
    const char *here = sees_all ? "" : "; of this pid namespace (a container's) only";

    if (!(own->own.effective & ACCESS_SYS_PTRACE))
        doctor_warn(doctor, "reach", hint, "processes of uid %u, and in user namespaces that it made%s",
                    own->own.uids[1], here);
    else if (!(own->own.effective & ACCESS_DAC_OVERRIDE))
        doctor_warn(doctor, "reach", "add CAP_DAC_OVERRIDE, or run as the user of the process",
                    "processes of uid %u: CAP_DAC_OVERRIDE is missing%s", own->own.uids[1], here);
    else if (!first)
        doctor_warn(doctor, "reach", "run as root on the host, outside of the container",
                    "processes in our user namespace, in which alone we have CAP_SYS_PTRACE%s", here);
    else
        doctor_ok(doctor, "reach", "processes of every user and container%s", here);
}

/* Yama's answer to one of our own processes. */
static void doctor_check_yama(struct doctor *doctor, const struct access_facts *own)
{
    struct access_facts refused = *own;

    refused.granted = false;
    doctor_judge(doctor, "Yama", access_judge(&refused, ACCESS_YAMA), "%s",
                 own->yama > 0 ? "kernel.yama.ptrace_scope is set, and doesn't bind who has CAP_SYS_PTRACE"
                               : "not there, or kernel.yama.ptrace_scope is 0");
}

static void doctor_check_confinement(struct doctor *doctor, const struct access_facts *own)
{
    if (own->own.seccomp)
        doctor_warn(doctor, "own filter", "run safepoint outside of the container or service, on the host",
                    "safepoint itself is under a seccomp filter: filters of others can't be read");
    else
        doctor_ok(doctor, "own filter", "none: safepoint is under no seccomp filter");
    doctor_ok(doctor, "security module", "%s", own->own.label[0] ? own->own.label : "no label");
}

/* --------------------------------------------------------------------- /proc */

/* True: /proc hides others' processes; `how` is the option. */
static bool doctor_read_hidepid(char *how, size_t room)
{
    FILE *file = setmntent("/proc/self/mounts", "re");
    struct mntent *entry;
    bool hides = false;

    while (file && (entry = getmntent(file))) {
        if (strcmp(entry->mnt_dir, "/proc") != 0)
            continue;
        const char *option = hasmntopt(entry, "hidepid");
        hides = option && strncmp(option, "hidepid=0", 9) != 0 && strncmp(option, "hidepid=off", 11) != 0;
        snprintf(how, room, "%.*s", option ? (int)strcspn(option, ",") : 0, option ? option : "");
    }
    if (file)
        endmntent(file);
    return hides;
}

/* False: nothing more can be found out. */
static bool doctor_check_proc(struct doctor *doctor)
{
    char text[32] = "", own[32], how[32];
    bool works = readlink("/proc/self", text, sizeof(text) - 1) > 0;

    snprintf(own, sizeof(own), "%d", getpid());
    if (!works || strcmp(text, own) != 0)
        doctor_fail(doctor, "/proc", error_create(ERROR_UNSUPPORTED, "mount -t proc proc /proc", "/proc is %s", works
                                                  ? "for another pid namespace" : "not mounted"));
    else if (doctor_read_hidepid(how, sizeof(how)))
        doctor_warn(doctor, "/proc", "run as root, or: mount -o remount,hidepid=0 /proc",
                    "mounted with %s: processes of others may be hidden", how);
    else
        doctor_ok(doctor, "/proc", "mounted");
    return works && !strcmp(text, own);
}

/* ---------------------------------------------------------------------- rest */

static void doctor_check_log(struct doctor *doctor)
{
    int err = journal_check();

    if (err)
        doctor_warn(doctor, "system log", "start journald or rsyslog; into a container mount the host's /dev/log",
                    "injections are not recorded: /dev/log: %s", strerror(err));
    else
        doctor_ok(doctor, "system log", "each injection is recorded (/dev/log, authpriv.notice)");
}

static void doctor_check_processes(struct doctor *doctor, struct ps_counts *counts)
{
    struct error *error = ps_count(counts);

    if (error)
        doctor_fail(doctor, "Python processes", error);
    else if (counts->cannot)
        doctor_warn(doctor, "Python processes", "which, and why not: safepoint ps -v",
                    "%u can be attached to, %u can't; not looked at: %u, Python or not", counts->can,
                    counts->cannot, counts->closed);
    else if (counts->closed)
        doctor_warn(doctor, "Python processes", "why not: safepoint doctor PID; others' need root",
                    "%u can be attached to; not looked at: %u, Python or not", counts->can,
                    counts->closed);
    else
        doctor_ok(doctor, "Python processes", "%u, all of them can be attached to", counts->can);
}

void doctor_examine_host(struct doctor *doctor, struct ps_counts *counts)
{
    struct access_facts own;

    *counts = (struct ps_counts){0};
    doctor_check_kernel(doctor);
    if (!doctor_check_proc(doctor))
        return;
    doctor_check_calls(doctor);
    struct error *error = access_read_facts(&own, getpid());
    if (error) {
        doctor_fail(doctor, "user", error);
        return;
    }
    doctor_check_user(doctor, &own);
    doctor_check_reach(doctor, &own);
    doctor_check_yama(doctor, &own);
    doctor_check_confinement(doctor, &own);
    doctor_check_log(doctor);
    doctor_check_processes(doctor, counts);
}
