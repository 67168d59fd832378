/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ELF file that a target has mapped: its symbols and sections by libelf,
 * as addresses in the target.
 *
 * The file is opened through /proc/PID/map_files/START-END, or where that is
 * not allowed through /proc/PID/root (device and inode compared) or
 * /proc/PID/exe: right in every mount namespace and for deleted files.
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
 * ERROR_PERMISSION when it can't be opened. Copies what it needs of the map. */
struct error *image_open(struct image **image, const struct process *process, const struct map *map) __attribute__((warn_unused_result));
void image_close(struct image *image); /* NULL is legal */

/* Finds a defined symbol in .dynsym or .symtab. False when there is none. */
bool image_find_symbol(const struct image *image, const char *name, struct image_range *range);

/* The same in .dynsym alone, which is much shorter: for what isn't there most often. */
bool image_find_export(const struct image *image, const char *name, struct image_range *range);

/* Finds an allocated section. False when there is none. */
bool image_find_section(const struct image *image, const char *name, struct image_range *range);

/* Finds `bytes` in the executable segments' file contents; `found` is the address of
 * an occurrence in the target: of one near `near` where there is one, which
 * spares reading the rest (ADDRESS_NULL: of the first). */
bool image_find_code(const struct image *image, const void *bytes, size_t size, struct address near,
                     struct address *found);

/* Load bias: what is added to the file's addresses. */
uint64_t image_bias(const struct image *image);
const char *image_path(const struct image *image); /* as the target named it */

#endif
