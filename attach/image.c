/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two sources of one file's bytes: the file itself, or, where it can't be opened, what the
 * target has loaded of it. The second has no sections and no .symtab; all the rest
 * reads addresses of the target and does not know the difference.
 */
#include "attach/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "attach/arch/arch.h"
#include "attach/core.h"
#include "attach/dynamic.h"
#include "attach/scope.h"
#include "attach/sections.h"

#define IMAGE_SEGMENTS_MAX 128
/* Machine code that is searched in one file; the largest libpython has a tenth of it. */
#define IMAGE_CODE_MAX (256ull << 20)
#define PAGE_MASK 4095ULL

struct image {
    int fd; /* -1: read from the target's memory */
    Elf64_Ehdr header;
    Elf64_Phdr *segments;
    struct dynamic_span span;
    struct dynamic dynamic;
    struct sections sections;
    struct memory file;          /* the file's segments at the target's addresses */
    const struct memory *memory; /* that, or the target's */
    char *path;
};

/* -------------------------------------------------------- opening the file */

static bool image_is_same_file(int fd, const struct map *map)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_ino == map->inode && major(st.st_dev) == map->device_major &&
           minor(st.st_dev) == map->device_minor;
}

int image_open_regular(const char *path, int flags)
{
    scoped_fd int place = open(path, O_PATH | O_CLOEXEC | flags);
    char again[64];
    struct stat st;

    if (place < 0 || fstat(place, &st) != 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = ENOENT;
        return -1;
    }
    snprintf(again, sizeof(again), "/proc/self/fd/%d", place);
    return open(again, O_RDONLY | O_CLOEXEC);
}

static int image_open_core_file(struct core *core, const struct map *map)
{
    int fd;
    struct error *error = core_open_file(core, map, &fd);

    error_destroy(error);
    errno = error ? ENOENT : 0;
    return fd;
}

/* The ways to the very file that is mapped, best first. /proc/PID/map_files
 * wants CAP_CHECKPOINT_RESTORE; the others are compared by device and inode
 * (an overlay or btrfs may show another device: then the inode must do). */
int image_open_file(const struct process *process, const struct map *map)
{
    char path[PATH_MAX + 64];
    struct stat st;

    if (process->core)
        return image_open_core_file(process->core, map);
    snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", process->pid, (unsigned long long)map->start.value,
             (unsigned long long)map->end.value);
    int fd = image_open_regular(path, 0);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "/proc/%d/exe", process->pid);
    fd = image_open_regular(path, 0);
    if (fd >= 0 && image_is_same_file(fd, map))
        return fd;
    if (fd >= 0)
        close(fd);
    errno = ENOENT;
    if (map->deleted || map->path[0] != '/')
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/root%s", process->pid, map->path);
    fd = image_open_regular(path, O_NOFOLLOW);
    if (fd < 0 || (fstat(fd, &st) == 0 && st.st_ino == map->inode))
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

/* ------------------------------------------------------------- the segments */

/* The file's bytes, found by the addresses that they have in the target. */
static struct error *image_file_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    const struct image *image = memory->source;
    uint64_t at = from.value - image->span.bias;

    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &image->segments[i];
        uint64_t skip = at - segment->p_vaddr;

        if (segment->p_type != PT_LOAD || skip >= segment->p_filesz || size > segment->p_filesz - skip)
            continue;
        if (sections_read_file(image->fd, segment->p_offset + skip, to, size))
            return NULL;
        break;
    }
    return error_create(ERROR_FAULT, NULL, "%s has no bytes for 0x%llx", image->path, (unsigned long long)from.value);
}

static struct error *image_file_write(const struct memory *memory, struct address to, const void *from, size_t size)
{
    const struct image *image = memory->source;

    (void)from, (void)size;
    return error_create(ERROR_BUG, NULL, "%s is not to be written at 0x%llx", image->path,
                        (unsigned long long)to.value);
}

static const struct memory_ops image_file_ops = {image_file_read, image_file_write, false};

/* The file's own headers, at an offset into it; `start` is where its begin is mapped. */
static bool image_read_head(const struct image *image, struct address start, uint64_t offset, void *to, size_t size)
{
    if (image->fd >= 0)
        return sections_read_file(image->fd, offset, to, size);
    struct error *error = memory_read(image->memory, address_add(start, offset), to, size);
    error_destroy(error);
    return !error;
}

static bool image_read_headers(struct image *image, struct address start)
{
    Elf64_Ehdr *header = &image->header;

    if (!image_read_head(image, start, 0, header, sizeof(*header)) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != arch_native.elf_machine ||
        header->e_phentsize != sizeof(*image->segments) || !header->e_phnum || header->e_phnum > IMAGE_SEGMENTS_MAX)
        return false;
    image->segments = calloc(header->e_phnum, sizeof(*image->segments));
    return image->segments && image_read_head(image, start, header->e_phoff, image->segments,
                                              header->e_phnum * sizeof(*image->segments));
}

/* The loaded segment that the mapping shows. Pages at a border of two segments
 * belong to both: the right to execute tells them apart. */
static const Elf64_Phdr *image_find_segment(const struct image *image, const struct map *map)
{
    const Elf64_Phdr *found = NULL;

    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &image->segments[i];
        uint64_t first = segment->p_offset & ~PAGE_MASK;

        if (segment->p_type != PT_LOAD || map->offset < first ||
            map->offset - first >= segment->p_filesz + (segment->p_offset - first))
            continue;
        if (!found || map->executable == !!(segment->p_flags & PF_X))
            found = segment;
    }
    return found;
}

/* From the lowest loaded address to the highest; false when that is nonsense. */
static bool image_measure(struct image *image)
{
    image->span.low = UINT64_MAX;
    image->span.high = 0;
    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_LOAD)
            continue;
        if (segment->p_filesz > segment->p_memsz || segment->p_vaddr + segment->p_memsz < segment->p_vaddr)
            return false;
        if (segment->p_vaddr < image->span.low)
            image->span.low = segment->p_vaddr;
        if (segment->p_vaddr + segment->p_memsz > image->span.high)
            image->span.high = segment->p_vaddr + segment->p_memsz;
    }
    return image->span.low < image->span.high;
}

static bool image_compute_span(struct image *image, const struct map *map)
{
    const Elf64_Phdr *segment = image_find_segment(image, map);

    if (!segment || !image_measure(image))
        return false;
    image->span.bias = map->start.value - map->offset + segment->p_offset - segment->p_vaddr;
    return (image->span.bias & PAGE_MASK) == 0;
}

static void image_read_dynamic(struct image *image)
{
    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_DYNAMIC)
            continue;
        dynamic_read(&image->dynamic, image->memory, &image->span, address_of(segment->p_vaddr + image->span.bias),
                     segment->p_filesz);
        return;
    }
}

/* ------------------------------------------------------------------ opening */

static struct image *image_create(const struct map *map)
{
    struct image *image = calloc(1, sizeof(*image));

    if (!image || !(image->path = strdup(map->path))) {
        free(image);
        return NULL;
    }
    image->fd = -1;
    image->file = (struct memory){&image_file_ops, image};
    return image;
}

/* Of the bytes that are there now; takes ownership of the image. */
static struct error *image_finish(struct image **opened, struct image *image, const struct map *map,
                                  struct address start)
{
    if (!image_read_headers(image, start) || !image_compute_span(image, map)) {
        image_close(image);
        return error_create(ERROR_NOT_PYTHON, NULL, "%s is no 64-bit %s ELF file that we can read", map->path,
                            arch_native.name);
    }
    image_read_dynamic(image);
    if (image->fd >= 0)
        sections_read(&image->sections, image->fd, &image->header);
    *opened = image;
    return NULL;
}

struct error *image_open_fd(struct image **opened, int fd, const struct map *map)
{
    struct image *image = image_create(map);

    *opened = NULL;
    if (!image) {
        close(fd);
        return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", map->path);
    }
    image->fd = fd;
    image->memory = &image->file;
    return image_finish(opened, image, map, ADDRESS_NULL);
}

struct error *image_open_memory(struct image **opened, const struct memory *memory, const struct map *map)
{
    struct image *image = image_create(map);

    *opened = NULL;
    if (!image)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", map->path);
    image->memory = memory;
    return image_finish(opened, image, map, map->start);
}

/* The begin of the load that `map` is a part of. */
static const struct map *image_find_start(const struct maps *maps, const struct map *map)
{
    const struct map *start = NULL;

    for (size_t i = 0; i < maps->count && maps->entries[i].start.value <= map->start.value; i++) {
        const struct map *other = &maps->entries[i];

        if (!other->offset && other->readable && other->inode == map->inode &&
            other->device_major == map->device_major && other->device_minor == map->device_minor)
            start = other;
    }
    return start;
}

/* Of what is in memory; where that doesn't serve either, `refusal` of the file is the error. */
static struct error *image_open_loaded(struct image **opened, const struct process *process, const struct map *map,
                                       struct error *refusal)
{
    struct maps maps;
    struct error *error = process_read_maps(process, &maps);

    if (error) {
        error_destroy(refusal);
        return error;
    }
    const struct map *start = image_find_start(&maps, map);
    error = start ? image_open_memory(opened, &process->memory, start) : NULL;
    maps_deinit(&maps);
    error_destroy(*opened ? refusal : error);
    return *opened ? NULL : refusal;
}

static struct error *image_open_core(struct image **opened, const struct process *process, const struct map *map)
{
    int fd;
    struct error *refusal = core_open_file(process->core, map, &fd);

    return refusal ? image_open_loaded(opened, process, map, refusal) : image_open_fd(opened, fd, map);
}

struct error *image_open(struct image **opened, const struct process *process, const struct map *map)
{
    *opened = NULL;
    if (process->core)
        return image_open_core(opened, process, map);
    int fd = image_open_file(process, map), err = errno;
    return fd >= 0 ? image_open_fd(opened, fd, map)
                   : image_open_loaded(opened, process, map, image_refuse_file(process, map, err));
}

void image_close(struct image *image)
{
    if (!image)
        return;
    sections_deinit(&image->sections);
    if (image->fd >= 0)
        close(image->fd);
    free(image->segments);
    free(image->path);
    free(image);
}

int image_dup_file(const struct image *image)
{
    return image->fd < 0 ? -1 : fcntl(image->fd, F_DUPFD_CLOEXEC, 0);
}

uint64_t image_bias(const struct image *image)
{
    return image->span.bias;
}

const char *image_path(const struct image *image)
{
    return image->path;
}

/* ----------------------------------------------------- symbols and sections */

static struct image_range image_range_of(const struct image *image, uint64_t start, uint64_t size)
{
    return (struct image_range){address_of(start + image->span.bias), size};
}

bool image_find_export(const struct image *image, const char *name, struct image_range *range)
{
    Elf64_Sym symbol;

    if (!dynamic_find(&image->dynamic, name, &symbol))
        return false;
    *range = image_range_of(image, symbol.st_value, symbol.st_size);
    return true;
}

bool image_find_symbol(const struct image *image, const char *name, struct image_range *range)
{
    Elf64_Sym symbol;

    if (image_find_export(image, name, range))
        return true;
    if (!sections_find_symbol(&image->sections, name, &symbol))
        return false;
    *range = image_range_of(image, symbol.st_value, symbol.st_size);
    return true;
}

bool image_find_section(const struct image *image, const char *name, struct image_range *range)
{
    const Elf64_Shdr *header = sections_find(&image->sections, name);

    if (!header)
        return false;
    *range = image_range_of(image, header->sh_addr, header->sh_size);
    return true;
}

/* --------------------------------------------------------------------- code */

#define IMAGE_NEAR 65536
#define IMAGE_PIECE 131072

struct image_pattern {
    const void *bytes;
    size_t size;
};

/* In `length` bytes from `from` on, a piece at a time; pieces overlap by the pattern. */
static bool image_search_code(const struct image *image, struct address from, uint64_t length,
                              const struct image_pattern *pattern, struct address *found)
{
    scoped_free char *piece = malloc(IMAGE_PIECE);
    size_t part;

    for (uint64_t done = 0; piece && length - done >= pattern->size; done += part - pattern->size + 1) {
        part = length - done < IMAGE_PIECE ? (size_t)(length - done) : IMAGE_PIECE;
        struct error *error = memory_read(image->memory, address_add(from, done), piece, part);
        error_destroy(error);
        const char *at = error ? NULL : memmem(piece, part, pattern->bytes, pattern->size);
        if (at)
            *found = address_add(from, done + (uint64_t)(at - piece));
        if (error || at)
            return !error;
    }
    return false;
}

/* Around `near` first, where that lies in the segment. */
static bool image_search_segment(const struct image *image, const Elf64_Phdr *segment, struct address near,
                                 const struct image_pattern *pattern, struct address *found)
{
    struct address start = address_of(segment->p_vaddr + image->span.bias);
    uint64_t at = near.value - start.value, length = segment->p_filesz;

    if (near.value >= start.value && at < length) {
        uint64_t from = at > IMAGE_NEAR ? at - IMAGE_NEAR : 0;
        uint64_t part = length - from < 2 * IMAGE_NEAR ? length - from : 2 * IMAGE_NEAR;

        if (image_search_code(image, address_add(start, from), part, pattern, found))
            return true;
    }
    return image_search_code(image, start, length, pattern, found);
}

bool image_find_code(const struct image *image, const void *bytes, size_t size, struct address near,
                     struct address *found)
{
    const struct image_pattern pattern = {bytes, size};
    uint64_t searched = 0;

    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
            continue;
        if (segment->p_filesz > IMAGE_CODE_MAX - searched)
            break;
        searched += segment->p_filesz;
        if (image_search_segment(image, segment, near, &pattern, found))
            return true;
    }
    return false;
}
