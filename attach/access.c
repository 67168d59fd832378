/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/access.h"

#include <stdio.h>
#include <unistd.h>

#include "attach/process.h"

struct error *access_explain(pid_t pid)
{
    struct process_status target, own;
    struct error *error = process_read_status(pid, 0, &target);

    if (error)
        return error;
    if ((error = process_read_status(getpid(), 0, &own)))
        return error;
    if (own.euid != target.uid && own.euid != 0) {
        error = error_create(ERROR_PERMISSION, NULL, "process %d belongs to uid %u, and we run as uid %u", pid,
                             target.uid, own.euid);
        return error_with_hint(error, "run as that user or as root: sudo safepoint ...");
    }
    int scope = 0;
    FILE *yama = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    if (yama) {
        if (fscanf(yama, "%d", &scope) != 1)
            scope = 0;
        fclose(yama);
    }
    if (scope > 0 && own.euid != 0) {
        error = error_create(ERROR_PERMISSION, NULL, "Yama (kernel.yama.ptrace_scope = %d) allows no attaching to %d",
                             scope, pid);
        return error_with_hint(error, scope >= 3 ? "it is switched off until the next boot"
                                                 : "run as root, or: sysctl kernel.yama.ptrace_scope=0");
    }
    return error_create(ERROR_PERMISSION,
                        "the process may be undumpable (setuid, prctl) or in another user namespace; "
                        "run as root, or in a container with --cap-add=SYS_PTRACE",
                        "the kernel lets us neither read nor trace process %d", pid);
}
