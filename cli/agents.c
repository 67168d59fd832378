/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/agents.h"

#include <stddef.h>

extern const char agent_agent_source[], agent_interpreter_source[], agent_report_source[], agent_statement_source[],
    agent_stream_source[];

const struct agent_part agent_parts[] = {
    {"agent", agent_agent_source},
    {"interpreter", agent_interpreter_source},
    {"report", agent_report_source},
    {"statement", agent_statement_source},
    {"stream", agent_stream_source},
    {NULL, NULL},
};

const char *agent_source(void)
{
    return agent_agent_source;
}
