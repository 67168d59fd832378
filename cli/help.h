/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The help, made from the table of commands. */
#ifndef SAFEPOINT_CLI_HELP_H
#define SAFEPOINT_CLI_HELP_H

#include <getopt.h>

#include "cli/cli.h"

/* Of one command, or (NULL) of the program. */
void help_print(const struct cli_command *command);
void help_print_version(void);

/* The long options, ended by a row without a name, which the completion has. */
void help_use_options(const struct option *options);

#endif
