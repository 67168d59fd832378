/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The system log: who made a process run something. */
#ifndef SAFEPOINT_CLI_JOURNAL_H
#define SAFEPOINT_CLI_JOURNAL_H

#include "cli/session.h"

/* One line (authpriv.notice) that a request is about to be posted: who, the target, the
 * command, the request's id; not the code. Never fails and never waits: where nobody
 * listens or the log is stuck, there is no line (and with -v a note). */
void journal_record(const struct cli_options *options, const struct session *session, uint64_t request);

/* 0: a line would be taken; else the errno that says why not. */
int journal_check(void);

/* "uid 1000 (alice)", the name as /etc/passwd has it. `text` of at least 64 bytes; returns it. */
char *journal_format_user(char *text, size_t room, uid_t uid);

#endif
