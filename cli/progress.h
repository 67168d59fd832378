/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How far a long piece of work is, on one line of a terminal that is gone at its end; and its end by a signal. */
#ifndef SAFEPOINT_CLI_PROGRESS_H
#define SAFEPOINT_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

struct cli_progress {
    bool shown;       /* may be: standard error is a terminal, and no -q */
    bool drawn;       /* there is a line to wipe */
    uint64_t next_ns; /* when it may be drawn again */
};

/* Draws nothing yet. */
void cli_progress_begin(struct cli_progress *progress, const struct cli_options *options);
/* Wipes the line. */
void cli_progress_end(struct cli_progress *progress);

/* Draws "WHAT 45%" now and then. ERROR_INTERRUPTED when a signal asks us to end. */
struct error *cli_progress_step(struct cli_progress *progress, const char *what, uint64_t done, uint64_t all)
    __attribute__((warn_unused_result));

#endif
