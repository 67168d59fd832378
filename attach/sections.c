/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/sections.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "attach/scope.h"

/* More than the largest programs have. */
#define SECTIONS_MAX 65536u
#define SECTIONS_STRINGS_MAX (128ull << 20)
#define SECTIONS_SYMBOLS_MAX (8u << 20)
#define SECTIONS_SYMBOLS_PIECE 2048

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

/* A string table as text that ends with NUL; NULL when it can't be had. free() it. */
static char *sections_read_strings(const struct sections *sections, uint32_t index, size_t *size)
{
    const Elf64_Shdr *header = index < sections->count ? &sections->headers[index] : NULL;

    if (!header || header->sh_type != SHT_STRTAB || header->sh_size > SECTIONS_STRINGS_MAX)
        return NULL;
    scoped_free char *text = malloc(header->sh_size + 1);
    if (!text || !sections_read_file(sections->fd, header->sh_offset, text, header->sh_size))
        return NULL;
    text[header->sh_size] = '\0';
    *size = header->sh_size;
    return scope_take_pointer(&text);
}

/* Where a number doesn't fit the file's header, section 0 has it. */
static bool sections_count(const struct sections *sections, const Elf64_Ehdr *header, uint64_t *count,
                           uint32_t *names)
{
    Elf64_Shdr first;

    *count = header->e_shnum;
    *names = header->e_shstrndx;
    if (!header->e_shoff || header->e_shentsize != sizeof(first) ||
        !sections_read_file(sections->fd, header->e_shoff, &first, sizeof(first)))
        return false;
    if (!*count)
        *count = first.sh_size;
    if (*names == SHN_XINDEX)
        *names = first.sh_link;
    return *count && *count <= SECTIONS_MAX;
}

void sections_read(struct sections *sections, int fd, const Elf64_Ehdr *header)
{
    uint64_t count;
    uint32_t names;

    *sections = (struct sections){.fd = fd};
    if (!sections_count(sections, header, &count, &names))
        return;
    sections->headers = calloc(count, sizeof(*sections->headers));
    if (!sections->headers ||
        !sections_read_file(fd, header->e_shoff, sections->headers, count * sizeof(*sections->headers)))
        return;
    sections->count = count;
    sections->names = sections_read_strings(sections, names, &sections->names_size);
}

void sections_deinit(struct sections *sections)
{
    free(sections->headers);
    free(sections->names);
    *sections = (struct sections){.fd = -1};
}

const Elf64_Shdr *sections_find(const struct sections *sections, const char *name)
{
    for (size_t i = 0; sections->names && i < sections->count; i++) {
        const Elf64_Shdr *header = &sections->headers[i];

        if ((header->sh_flags & SHF_ALLOC) && header->sh_name < sections->names_size &&
            !strcmp(sections->names + header->sh_name, name))
            return header;
    }
    return NULL;
}

/* ------------------------------------------------------------------ .symtab */

struct sections_strings {
    const char *text;
    size_t size;
};

static const Elf64_Sym *sections_search_piece(const Elf64_Sym *symbols, size_t count,
                                              const struct sections_strings *strings, const char *name)
{
    size_t length = strlen(name) + 1;

    for (size_t i = 0; i < count; i++) {
        if (symbols[i].st_shndx == SHN_UNDEF || symbols[i].st_name >= strings->size ||
            strings->size - symbols[i].st_name < length)
            continue;
        if (!memcmp(strings->text + symbols[i].st_name, name, length))
            return &symbols[i];
    }
    return NULL;
}

static bool sections_search_table(const struct sections *sections, const Elf64_Shdr *header,
                                  const struct sections_strings *strings, const char *name, Elf64_Sym *found)
{
    uint64_t count = header->sh_size / sizeof(Elf64_Sym);
    scoped_free Elf64_Sym *piece = calloc(SECTIONS_SYMBOLS_PIECE, sizeof(*piece));

    for (uint64_t done = 0; piece && done < count && done < SECTIONS_SYMBOLS_MAX;) {
        size_t part = count - done < SECTIONS_SYMBOLS_PIECE ? (size_t)(count - done) : SECTIONS_SYMBOLS_PIECE;

        if (!sections_read_file(sections->fd, header->sh_offset + done * sizeof(*piece), piece, part * sizeof(*piece)))
            return false;
        const Elf64_Sym *symbol = sections_search_piece(piece, part, strings, name);
        if (symbol) {
            *found = *symbol;
            return true;
        }
        done += part;
    }
    return false;
}

bool sections_find_symbol(const struct sections *sections, const char *name, Elf64_Sym *found)
{
    for (size_t i = 0; i < sections->count; i++) {
        const Elf64_Shdr *header = &sections->headers[i];
        size_t size;

        if (header->sh_type != SHT_SYMTAB)
            continue;
        /* A file has one: more of them are not worth the time. */
        scoped_free char *text = sections_read_strings(sections, header->sh_link, &size);
        const struct sections_strings strings = {text, text ? size : 0};
        return text && sections_search_table(sections, header, &strings, name, found);
    }
    return false;
}
