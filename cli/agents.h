/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The agent's parts, embedded at build from inject/agent/. */
#ifndef SAFEPOINT_CLI_AGENTS_H
#define SAFEPOINT_CLI_AGENTS_H

struct agent_part {
    const char *name, *source;
};

/* What the agent may fetch; ended by a NULL name. */
extern const struct agent_part agent_parts[];

/* The agent itself. */
const char *agent_source(void);

/* The function that connects to a socket in a directory, to be put before the agent. */
extern const char agent_connect_source[];

/* The script of `stats`. */
extern const char agent_stats_source[];

#endif
