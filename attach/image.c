/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <libelf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attach/arch/arch.h"
#include "attach/scope.h"

struct image {
    int fd;
    Elf *elf;
    Elf64_Ehdr *header;
    const Elf64_Phdr *segments;
    size_t segment_count;
    uint64_t bias;
    char *path;
};

#define PAGE_MASK 4095ULL

/* -------------------------------------------------------- opening the file */

static bool image_is_same_file(int fd, const struct map *map)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_ino == map->inode && major(st.st_dev) == map->device_major &&
           minor(st.st_dev) == map->device_minor;
}

/* The ways to the very file that is mapped, best first. /proc/PID/map_files
 * wants CAP_CHECKPOINT_RESTORE; the others are compared by device and inode
 * (an overlay or btrfs may show another device: then the inode must do). */
static int image_open_file(const struct process *process, const struct map *map)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", process->pid, (unsigned long long)map->start.value,
             (unsigned long long)map->end.value);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "/proc/%d/exe", process->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && image_is_same_file(fd, map))
        return fd;
    if (fd >= 0)
        close(fd);
    if (map->deleted || map->path[0] != '/')
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/root%s", process->pid, map->path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == map->inode)
        return fd;
    close(fd);
    errno = ENOENT;
    return -1;
}

static struct error *image_refuse_file(const struct process *process, const struct map *map, int err)
{
    struct error *error = process_check_access(process->pid);

    if (error)
        return error;
    error = error_create_errno(err == EACCES || err == EPERM ? ERROR_PERMISSION : ERROR_UNSUPPORTED, err,
                               "can't open %s%s of process %d", map->path, map->deleted ? " (deleted)" : "",
                               process->pid);
    return error_with_hint(error, "the file was deleted or replaced: opening it through /proc/%d/map_files needs root "
                                  "(CAP_CHECKPOINT_RESTORE)", process->pid);
}

/* --------------------------------------------------------------- the bias */

static bool image_read_headers(struct image *image)
{
    size_t count;

    if (elf_kind(image->elf) != ELF_K_ELF || !(image->header = elf64_getehdr(image->elf)) ||
        image->header->e_machine != arch_native.elf_machine || elf_getphdrnum(image->elf, &count) != 0)
        return false;
    image->segments = elf64_getphdr(image->elf);
    image->segment_count = count;
    return image->segments != NULL;
}

/* The loaded segment that the mapping shows. Pages at a border of two segments
 * belong to both: the right to execute tells them apart. */
static const Elf64_Phdr *image_find_segment(const struct image *image, const struct map *map)
{
    const Elf64_Phdr *found = NULL;

    for (size_t i = 0; i < image->segment_count; i++) {
        const Elf64_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_LOAD || map->offset < (segment->p_offset & ~PAGE_MASK) ||
            map->offset >= segment->p_offset + segment->p_filesz)
            continue;
        if (!found || map->executable == !!(segment->p_flags & PF_X))
            found = segment;
    }
    return found;
}

static bool image_compute_bias(struct image *image, const struct map *map)
{
    const Elf64_Phdr *segment = image_find_segment(image, map);

    if (!segment)
        return false;
    image->bias = map->start.value - map->offset + segment->p_offset - segment->p_vaddr;
    return (image->bias & PAGE_MASK) == 0;
}

struct error *image_open(struct image **opened, const struct process *process, const struct map *map)
{
    struct image *image = calloc(1, sizeof(*image));

    *opened = NULL;
    if (!image || !(image->path = strdup(map->path))) {
        free(image);
        return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", map->path);
    }
    elf_version(EV_CURRENT);
    image->fd = image_open_file(process, map);
    if (image->fd < 0) {
        int err = errno;
        image_close(image);
        return image_refuse_file(process, map, err);
    }
    image->elf = elf_begin(image->fd, ELF_C_READ_MMAP, NULL);
    if (!image->elf || !image_read_headers(image) || !image_compute_bias(image, map)) {
        image_close(image);
        return error_create(ERROR_NOT_PYTHON, NULL, "%s is no 64-bit %s ELF file that we can read", map->path,
                            arch_native.name);
    }
    *opened = image;
    return NULL;
}

void image_close(struct image *image)
{
    if (!image)
        return;
    if (image->elf)
        elf_end(image->elf);
    if (image->fd >= 0)
        close(image->fd);
    free(image->path);
    free(image);
}

uint64_t image_bias(const struct image *image)
{
    return image->bias;
}

const char *image_path(const struct image *image)
{
    return image->path;
}

/* ----------------------------------------------------- symbols and sections */

/* A symbol table with its strings: libelf has checked that both lie in the
 * file; that each name does is ours to check. */
static bool image_search_table(Elf *elf, Elf_Scn *section, const Elf64_Shdr *header, const char *name,
                               Elf64_Sym *found)
{
    Elf_Data *symbols = elf_getdata(section, NULL);
    Elf_Scn *string_section = elf_getscn(elf, header->sh_link);
    Elf_Data *strings = string_section ? elf_getdata(string_section, NULL) : NULL;
    size_t length = strlen(name) + 1;

    if (!symbols || !strings || !symbols->d_buf || !strings->d_buf)
        return false;
    const Elf64_Sym *table = symbols->d_buf;
    for (size_t i = 0; i < symbols->d_size / sizeof(*table); i++) {
        if (table[i].st_shndx == SHN_UNDEF || table[i].st_name >= strings->d_size ||
            strings->d_size - table[i].st_name < length)
            continue;
        if (!memcmp((const char *)strings->d_buf + table[i].st_name, name, length)) {
            *found = table[i];
            return true;
        }
    }
    return false;
}

static bool image_search_tables(const struct image *image, uint32_t type, const char *name, struct image_range *range)
{
    for (Elf_Scn *section = NULL; (section = elf_nextscn(image->elf, section));) {
        const Elf64_Shdr *header = elf64_getshdr(section);
        Elf64_Sym symbol;

        if (!header || header->sh_type != type || !image_search_table(image->elf, section, header, name, &symbol))
            continue;
        *range = (struct image_range){address_of(symbol.st_value + image->bias), symbol.st_size};
        return true;
    }
    return false;
}

bool image_find_export(const struct image *image, const char *name, struct image_range *range)
{
    return image_search_tables(image, SHT_DYNSYM, name, range);
}

bool image_find_symbol(const struct image *image, const char *name, struct image_range *range)
{
    return image_find_export(image, name, range) || image_search_tables(image, SHT_SYMTAB, name, range);
}

bool image_find_section(const struct image *image, const char *name, struct image_range *range)
{
    size_t strings;

    if (elf_getshdrstrndx(image->elf, &strings) != 0)
        return false;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(image->elf, section));) {
        const Elf64_Shdr *header = elf64_getshdr(section);
        const char *found = header ? elf_strptr(image->elf, strings, header->sh_name) : NULL;

        if (!found || strcmp(found, name) != 0 || !(header->sh_flags & SHF_ALLOC))
            continue;
        *range = (struct image_range){address_of(header->sh_addr + image->bias), header->sh_size};
        return true;
    }
    return false;
}

#define IMAGE_NEAR 65536

/* In one segment, whose bytes are at `start`: first around `near`, an offset into it. */
static const char *image_search_code(const char *start, size_t length, uint64_t near, const void *bytes, size_t size)
{
    const char *at = NULL;

    if (near < length) {
        size_t from = near > IMAGE_NEAR ? near - IMAGE_NEAR : 0;
        size_t part = length - from < 2 * IMAGE_NEAR ? length - from : 2 * IMAGE_NEAR;

        at = memmem(start + from, part, bytes, size);
    }
    return at ? at : memmem(start, length, bytes, size);
}

bool image_find_code(const struct image *image, const void *bytes, size_t size, struct address near,
                     struct address *found)
{
    size_t file_size;
    const char *file = elf_rawfile(image->elf, &file_size);

    for (size_t i = 0; file && i < image->segment_count; i++) {
        const Elf64_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) || segment->p_offset > file_size ||
            segment->p_filesz > file_size - segment->p_offset)
            continue;
        const char *start = file + segment->p_offset;
        const char *at = image_search_code(start, segment->p_filesz, near.value - image->bias - segment->p_vaddr,
                                           bytes, size);
        if (at) {
            *found = address_of(segment->p_vaddr + image->bias + (uint64_t)(at - start));
            return true;
        }
    }
    return false;
}
