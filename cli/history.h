/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The console's history: $XDG_STATE_HOME/safepoint/history, for its owner's eyes only. */
#ifndef SAFEPOINT_CLI_HISTORY_H
#define SAFEPOINT_CLI_HISTORY_H

/* Reads it into readline's history. What fails is nothing to speak of. */
void history_load(void);

/* Adds a line that was typed; writes all of them, with mode 0600. */
void history_remember(const char *line);
void history_save(void);

#endif
