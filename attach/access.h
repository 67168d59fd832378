/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Why the kernel doesn't let us attach to a process, and the cure. */
#ifndef SAFEPOINT_ATTACH_ACCESS_H
#define SAFEPOINT_ATTACH_ACCESS_H

#include <sys/types.h>

#include "error.h"

/* The cause of a refusal that has happened: ERROR_PERMISSION with what could be
 * found and its cure, ERROR_NO_PROCESS when the process is gone. Touches nothing. */
struct error *access_explain(pid_t pid) __attribute__((warn_unused_result));

#endif
