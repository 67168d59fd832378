/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `ps` finds, as numbers. */
#ifndef SAFEPOINT_CLI_PS_H
#define SAFEPOINT_CLI_PS_H

#include "cli/cli.h"

struct ps_counts {
    unsigned can, cannot; /* Python processes that can, and can't, be attached to */
    unsigned closed;      /* processes that we may not look at */
};
/* Looks through all processes; stops none. */
struct error *ps_count(struct ps_counts *counts) __attribute__((warn_unused_result));

#endif
