/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Snapshot files, as commands see them. */
#ifndef SAFEPOINT_CLI_SNAPSHOT_H
#define SAFEPOINT_CLI_SNAPSHOT_H

#include "cli/heap_view.h"

/* info of a snapshot: of which process it is, how it was taken, what it has. */
struct error *snapshot_info(const struct cli_options *options, struct json *json) __attribute__((warn_unused_result));

#endif
