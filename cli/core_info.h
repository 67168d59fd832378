/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info of a core file. */
#ifndef SAFEPOINT_CLI_CORE_INFO_H
#define SAFEPOINT_CLI_CORE_INFO_H

#include "cli/cli.h"

/* Prints what process it is of, what ended it, its threads with their innermost Python frame, its files. session_open_target()'s
 * errors, and ERROR_BAD_FILE where the core lacks what its threads are told by. */
struct error *core_info_run(const struct cli_options *options, struct json *json) __attribute__((warn_unused_result));

#endif
