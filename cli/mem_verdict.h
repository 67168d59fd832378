/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an account of a process's memory says, in a sentence or two. */
#ifndef SAFEPOINT_CLI_MEM_VERDICT_H
#define SAFEPOINT_CLI_MEM_VERDICT_H

#include "cli/mem_account.h"

/* Do nearly empty arenas have a part of the RSS that is worth a word? */
bool mem_is_pinned(const struct mem_account *account);

/* The sentence on what takes most, and one on what is kept free where that is much too. `target` is how the user named
 * the process. */
void mem_judge(const struct mem_account *account, const struct heap_view *view, const char *target, char *text,
               size_t room);

#endif
