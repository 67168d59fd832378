/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What an ELF file says about itself and the loader doesn't need, by libelf: its named
 * sections and .symtab. Files may have none (cut, or damaged).
 *
 * The file is the target's: it may be anything, and change while it is read. So it is
 * read by pread(), never mapped (a mapping of a file that is cut short kills who reads
 * it), into what we have room for, whatever sizes it claims.
 */
#ifndef SAFEPOINT_ATTACH_SECTIONS_H
#define SAFEPOINT_ATTACH_SECTIONS_H

#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sections {
    Elf *elf;     /* NULL: the file has none that make sense */
    size_t names; /* the section of their names; 0: none */
};

/* Reads the headers. Where there are none, or too many, or cut ones, none. `fd` stays open until sections_deinit(). */
void sections_read(struct sections *sections, int fd, const Elf64_Ehdr *header);
void sections_deinit(struct sections *sections);

/* The allocated section of that name, NULL when there is none. */
const Elf64_Shdr *sections_find(const struct sections *sections, const char *name);

/* Finds a defined symbol in .symtab. */
bool sections_find_symbol(const struct sections *sections, const char *name, Elf64_Sym *found);

/* Reads `size` bytes at an offset into the file, all or false. */
bool sections_read_file(int fd, uint64_t offset, void *to, size_t size);

#endif
