/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ELF file that a target has mapped: its symbols and sections, as addresses in
 * the target.
 *
 * The file is opened through /proc/PID/map_files/START-END, or where that is
 * not allowed through /proc/PID/root (device and inode compared) or
 * /proc/PID/exe: right in every mount namespace and for deleted files. Where none of
 * these serves, what the target has loaded of it is read instead: its exports are there,
 * its sections and .symtab aren't. Of a core the file is found as core.h says.
 *
 * File and memory are the target's, so whatever they hold, each function here ends after a
 * bounded time, and takes a bounded amount of memory.
 */
#ifndef SAFEPOINT_ATTACH_IMAGE_H
#define SAFEPOINT_ATTACH_IMAGE_H

#include "maps.h"
#include "process.h"

struct image; /* opaque */

struct image_range {
    struct address start;
    uint64_t size;
};

/* Opens the ELF file behind `map` (any mapping of the file). The target may be
 * running. ERROR_NOT_PYTHON when it is no 64-bit ELF file of this machine,
 * ERROR_PERMISSION when neither it nor the target's memory can be read. Copies what it
 * needs of the map; the process must outlive it. */
struct error *image_open(struct image **image, const struct process *process, const struct map *map) __attribute__((warn_unused_result));
void image_close(struct image *image); /* NULL is legal */

/* The file itself, for who reads it in another way: a descriptor, or -1 with errno where it can't be opened. */
int image_open_file(const struct process *process, const struct map *map);

/* Opens a path for reading, if a regular file is there: opening another may have an effect (a device) or wait (a pipe), and
 * what lies at a path is the target's choice. `flags`: O_NOFOLLOW or 0. -1: errno says why not. */
int image_open_regular(const char *path, int flags);

/* As image_open(), of a file that is open already (takes ownership of `fd`), or of a memory that has
 * the file's first segment at map->start. */
struct error *image_open_fd(struct image **image, int fd, const struct map *map) __attribute__((warn_unused_result));
struct error *image_open_memory(struct image **image, const struct memory *memory, const struct map *map)
    __attribute__((warn_unused_result));

/* Finds a defined symbol, exported or in .symtab. False when there is none. */
bool image_find_symbol(const struct image *image, const char *name, struct image_range *range);

/* The same among the exported ones alone, which is much faster where there is none. */
bool image_find_export(const struct image *image, const char *name, struct image_range *range);

/* Finds an allocated section. False when there is none. */
bool image_find_section(const struct image *image, const char *name, struct image_range *range);

/* Finds `bytes` in the executable segments; `found` is the address of
 * an occurrence in the target: of one near `near` where there is one, which
 * spares reading the rest (ADDRESS_NULL: of the first). */
bool image_find_code(const struct image *image, const void *bytes, size_t size, struct address near,
                     struct address *found);

/* Another descriptor of the file; -1 where there is none, or it is read from memory. The caller closes it. */
int image_dup_file(const struct image *image);

/* Load bias: what is added to the file's addresses. */
uint64_t image_bias(const struct image *image);
const char *image_path(const struct image *image); /* as the target named it */

#endif
