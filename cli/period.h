/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Time that passes between two looks at a process. */
#ifndef SAFEPOINT_CLI_PERIOD_H
#define SAFEPOINT_CLI_PERIOD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/error.h"

/* Seconds on a clock that only goes on. */
double period_now(void);

/* Waits until that clock shows `end`. Sooner back, with `interrupted`, when a signal asks us to end: it is taken, so that what was
 * seen so far can be told; a second one ends us as ever. ERROR_TARGET_ENDED when the process does. */
struct error *period_wait(pid_t pid, double end, bool *interrupted) __attribute__((warn_unused_result));

#endif
