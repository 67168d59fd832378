/* SPDX-License-Identifier: GPL-3.0-or-later */
/* "Process 4711 (bash) is not Python" - but which of its children is? */
#ifndef SAFEPOINT_RUNTIME_FAMILY_H
#define SAFEPOINT_RUNTIME_FAMILY_H

#include <stddef.h>
#include <sys/types.h>

/* Writes a hint that names the nearest descendant that runs CPython, or "". */
void family_describe(pid_t pid, char *hint, size_t size);

#endif
