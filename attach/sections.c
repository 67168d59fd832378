/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/sections.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "attach/scope.h"

/* More than the largest programs have. libelf has no bounds of its own: what a file claims is
 * looked at before libelf makes room for it. */
#define SECTIONS_MAX 65536u
#define SECTIONS_STRINGS_MAX (64ull << 20)
#define SECTIONS_SYMBOLS_MAX ((2ull << 20) * sizeof(Elf64_Sym))

bool sections_read_file(int fd, uint64_t offset, void *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        if (offset + done < offset || offset + done > INT64_MAX)
            return false;
        ssize_t got = pread(fd, (char *)to + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* Where their number doesn't fit the file's header, section 0 has it. */
static bool sections_are_bounded(int fd, const Elf64_Ehdr *header)
{
    Elf64_Shdr first;

    if (!header->e_shoff || header->e_shentsize != sizeof(first) ||
        !sections_read_file(fd, header->e_shoff, &first, sizeof(first)))
        return false;
    uint64_t count = header->e_shnum ? header->e_shnum : first.sh_size;
    return count && count <= SECTIONS_MAX;
}

/* A section that is no larger than that. */
static const Elf64_Shdr *sections_header(Elf_Scn *section, uint64_t size_max)
{
    const Elf64_Shdr *header = section ? elf64_getshdr(section) : NULL;

    return header && header->sh_size <= size_max ? header : NULL;
}

static bool sections_has_strings(const struct sections *sections, size_t index)
{
    const Elf64_Shdr *header = sections_header(elf_getscn(sections->elf, index), SECTIONS_STRINGS_MAX);

    return header && header->sh_type == SHT_STRTAB;
}

void sections_read(struct sections *sections, int fd, const Elf64_Ehdr *header)
{
    sections->elf = NULL;
    if (!sections_are_bounded(fd, header) || elf_version(EV_CURRENT) == EV_NONE)
        return;
    /* ELF_C_READ: by pread(), not mapped. */
    sections->elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf_getshdrstrndx(sections->elf, &sections->names) != 0 || !sections_has_strings(sections, sections->names))
        sections->names = 0;
}

void sections_deinit(struct sections *sections)
{
    elf_end(sections->elf);
    sections->elf = NULL;
}

const Elf64_Shdr *sections_find(const struct sections *sections, const char *name)
{
    for (Elf_Scn *section = NULL; sections->names && (section = elf_nextscn(sections->elf, section));) {
        const Elf64_Shdr *header = elf64_getshdr(section);
        const char *found = header ? elf_strptr(sections->elf, sections->names, header->sh_name) : NULL;

        if (found && (header->sh_flags & SHF_ALLOC) && !strcmp(found, name))
            return header;
    }
    return NULL;
}

/* ------------------------------------------------------------------ .symtab */

static bool sections_search_table(const struct sections *sections, Elf_Scn *section, size_t strings, const char *name,
                                  Elf64_Sym *found)
{
    const Elf_Data *data = elf_getdata(section, NULL);
    const Elf64_Sym *symbols = data ? data->d_buf : NULL;

    for (size_t i = 0; symbols && i < data->d_size / sizeof(*symbols); i++) {
        const char *text = symbols[i].st_shndx == SHN_UNDEF ? NULL
                                                            : elf_strptr(sections->elf, strings, symbols[i].st_name);
        if (!text || strcmp(text, name) != 0)
            continue;
        *found = symbols[i];
        return true;
    }
    return false;
}

bool sections_find_symbol(const struct sections *sections, const char *name, Elf64_Sym *found)
{
    for (Elf_Scn *section = NULL; sections->elf && (section = elf_nextscn(sections->elf, section));) {
        const Elf64_Shdr *header = sections_header(section, SECTIONS_SYMBOLS_MAX);

        /* A file has one: more of them are not worth the time. */
        if (header && header->sh_type == SHT_SYMTAB)
            return sections_has_strings(sections, header->sh_link) &&
                   sections_search_table(sections, section, header->sh_link, name, found);
    }
    return false;
}
