/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which pages of a process are in memory: of each mapping how many, as its RSS counts them (/proc/PID/smaps), and of
 * private ones which (/proc/PID/pagemap). So any range's share of the RSS can be told to the byte, and what ranges
 * that don't overlap have adds up to it.
 *
 * A page that was read before it was ever written to is the kernel's page of zeros: pagemap has it, the RSS
 * doesn't. From Linux 6.7 on the kernel tells which those are; before, a mapping with such pages has more by the one
 * than by the other: residency_drop_zeros().
 */
#ifndef SAFEPOINT_ATTACH_RESIDENCY_H
#define SAFEPOINT_ATTACH_RESIDENCY_H

#include "attach/maps.h"

struct residency_map {
    uint64_t start, end;
    uint64_t resident, swapped; /* bytes */
    uint64_t anonymous;         /* of the resident, those that are no file's */
    uint64_t *pages;            /* a bit for each page; NULL: all or none of it is resident, or which can't be told */
    uint64_t excess;            /* bytes that `pages` has more than `resident` */
};

struct residency {
    struct maps maps;
    struct residency_map *list; /* one for each of the maps */
    uint64_t resident, swapped; /* of all together */
};

/* Reads it of a process, which should be stopped or nothing adds up exactly. ERROR_PERMISSION, ERROR_TARGET_ENDED. */
struct error *residency_read(struct residency *residency, pid_t pid) __attribute__((warn_unused_result));
void residency_deinit(struct residency *residency);

/* The same of a text of smaps, without the pages; takes ownership of `text` (malloc'd), also on error. */
struct error *residency_parse(struct residency *residency, char *text, size_t length)
    __attribute__((warn_unused_result));

/* Takes in what `child` knows better, a copy-on-write child of the process: it has, of all that was the process's own,
 * what that was at the fork. (A mapping that is a file's and was never written to it has without its pages.) */
void residency_take_child(struct residency *residency, struct residency *child);

/* How many bytes of a range are resident. It must lie in the mapping. */
uint64_t residency_of(const struct residency_map *map, uint64_t start, uint64_t end);

/* Leaves the mapping's excess out: of pages that `is_zero` says hold nothing. What remains of it is in
 * map->excess. */
void residency_drop_zeros(struct residency_map *map, bool (*is_zero)(void *context, uint64_t page), void *context);

#endif
