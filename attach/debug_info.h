/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the debug information (DWARF) of an ELF file says of C types: offsets, sizes, values of enumerators.
 *
 * It is looked for in the file itself; by .gnu_debuglink and build-id below /usr/lib/debug, also as the target and --root have
 * it; from debuginfod servers only where that was asked for. A file of debug information is taken only if its build-id or
 * checksum is the file's.
 *
 * All of it is the target's and can be anything, and libdw is large: it is read in a child of ours, with limits on time and
 * memory, and what comes back are numbers. Whoever uses them checks them against the target.
 */
#ifndef SAFEPOINT_ATTACH_DEBUG_INFO_H
#define SAFEPOINT_ATTACH_DEBUG_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attach/error.h"
#include "attach/image.h"

enum debug_kind {
    DEBUG_OFFSET,  /* of a member, in bytes */
    DEBUG_BIT,     /* of a member, in bits: of a bit field too */
    DEBUG_SIZE,    /* of a type (member NULL), or of a member */
    DEBUG_COUNT,   /* elements of a member that is an array */
    DEBUG_ELEMENT, /* the size of one */
    DEBUG_VALUE,   /* of the enumerator `member`, of whatever enumeration; type NULL */
};

struct debug_query {
    enum debug_kind kind;
    const char *type;   /* a typedef's name, or a struct's without "struct" */
    const char *member; /* "ceval.gil": through nested structs, and through unnamed ones */
    uint64_t answer;
    bool known;
};

/* Answers what can be answered. `pid`: of the process that has the file mapped, where its own /usr/lib/debug is; 0: none.
 * ERROR_UNSUPPORTED where there is no debug information (the hint says how to get it), or it can't be read. */
struct error *debug_info_ask(const struct image *image, pid_t pid, struct debug_query *queries, size_t count)
    __attribute__((warn_unused_result));

/* Where else to look, from now on: below a root (NULL: none; not copied), and at the servers of DEBUGINFOD_URLS. */
void debug_info_configure(const char *root, bool debuginfod);

#endif
