/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The symbols that a loaded ELF file exports, found as the loader finds them:
 *
 *   PT_DYNAMIC -> DT_SYMTAB, DT_STRTAB, and a hash table (DT_GNU_HASH or DT_HASH)
 *
 * No section header is needed, so stripped, cut and deleted files do. What is read is
 * a memory that shows the file's loaded segments where the target has them: the
 * target's own, or the file in its stead (image.c). All of it is untrusted: a lookup
 * ends after a bounded number of reads whatever the tables say.
 */
#ifndef SAFEPOINT_ATTACH_DYNAMIC_H
#define SAFEPOINT_ATTACH_DYNAMIC_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

#include "attach/memory.h"

/* The file's loaded segments: from the lowest of its addresses to the highest, and
 * what is added to them in the target. */
struct dynamic_span {
    uint64_t low, high, bias;
};

struct dynamic {
    const struct memory *memory; /* not owned */
    struct address symbols, strings, hash, gnu_hash; /* ADDRESS_NULL: the file has none */
    uint64_t strings_size;
};

/* Reads the table at `table` (in the target) of at most `size` bytes. False when it
 * names no symbols, or when it makes no sense; `dynamic` then finds nothing. */
bool dynamic_read(struct dynamic *dynamic, const struct memory *memory, const struct dynamic_span *span,
                  struct address table, uint64_t size);

/* Finds a defined symbol; its st_value is still the file's address. */
bool dynamic_find(const struct dynamic *dynamic, const char *name, Elf64_Sym *found);

#endif
