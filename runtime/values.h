/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What objects of a process look like, as a debugger shows them. No method of theirs runs. */
#ifndef SAFEPOINT_RUNTIME_VALUES_H
#define SAFEPOINT_RUNTIME_VALUES_H

#include <stdio.h>

#include "runtime/reader.h"

/* Writes what an object looks like: some 200 characters at most; <?> for what doesn't check out. `contents`: also what
 * strings and numbers hold; else their type and length alone. */
void values_print(struct object_reader *reader, uint64_t object, bool contents, FILE *to);

#endif
