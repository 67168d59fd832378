/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What an ELF file says about itself and the loader doesn't need: its named
 * sections and .symtab. Files may have none (cut, or damaged).
 *
 * The file is the target's: it may be anything, and change while it is read. So it is
 * read by pread(), never mapped (a mapping of a file that is cut short kills who reads
 * it), into what we have room for, whatever sizes it claims.
 */
#ifndef SAFEPOINT_ATTACH_SECTIONS_H
#define SAFEPOINT_ATTACH_SECTIONS_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>

struct sections {
    int fd; /* not owned */
    Elf64_Shdr *headers;
    size_t count; /* 0: the file has none that make sense */
    char *names;  /* ends with NUL */
    size_t names_size;
};

/* Reads the headers and their names. Where there are none, or too many, or cut ones, none. */
void sections_read(struct sections *sections, int fd, const Elf64_Ehdr *header);
void sections_deinit(struct sections *sections);

/* The allocated section of that name, NULL when there is none. */
const Elf64_Shdr *sections_find(const struct sections *sections, const char *name);

/* Finds a defined symbol in .symtab. */
bool sections_find_symbol(const struct sections *sections, const char *name, Elf64_Sym *found);

/* Reads `size` bytes at an offset into the file, all or false. */
bool sections_read_file(int fd, uint64_t offset, void *to, size_t size);

#endif
