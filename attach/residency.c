/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/residency.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "attach/process.h"
#include "attach/scope.h"

#define PAGE     4096u
#define PRESENT  (UINT64_C(1) << 63)
#define AT_ONCE  4096u
/* Of a larger mapping (what a sanitizer reserves) only the sum is told: its entries alone would take seconds. */
#define SIZE_MAX_TOLD (UINT64_C(256) << 30)

/* ----------------------------------------------------------------- smaps */

/* "7f0c4a000000-7f0c4a021000 rw-p ..." begins a mapping; "Rss:   12 kB" is one of its fields. */
static bool is_head(const char *line)
{
    size_t digits = strspn(line, "0123456789abcdef");

    return digits > 0 && line[digits] == '-';
}

static void take_field(struct residency_map *map, const char *line)
{
    unsigned long long kilobytes;
    char name[32];

    if (sscanf(line, "%31[A-Za-z_]: %llu kB", name, &kilobytes) != 2)
        return;
    if (!strcmp(name, "Rss"))
        map->resident = kilobytes * 1024;
    else if (!strcmp(name, "Swap"))
        map->swapped = kilobytes * 1024;
    else if (!strcmp(name, "Anonymous"))
        map->anonymous = kilobytes * 1024;
}

static size_t count_heads(const char *text)
{
    size_t count = 0;

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        count += is_head(line);
    }
    return count;
}

/* Moves the heads' lines together at the text's beginning, as a maps file has them, and reads the fields. */
static size_t split(struct residency_map *list, char *text)
{
    size_t used = 0, count = 0;

    for (char *line = text, *next; *line; line = next) {
        char *end = strchr(line, '\n');

        if (!end)
            break;
        next = end + 1;
        if (is_head(line)) {
            memmove(text + used, line, (size_t)(next - line));
            used += (size_t)(next - line);
            count++;
        } else if (count) {
            *end = '\0';
            take_field(&list[count - 1], line);
        }
    }
    return used;
}

struct error *residency_parse(struct residency *residency, char *text, size_t length)
{
    *residency = (struct residency){.resident = 0};
    residency->list = calloc(count_heads(text) + 1, sizeof(*residency->list));
    if (!residency->list) {
        free(text);
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a memory map");
    }
    (void)length;
    struct error *error = maps_parse(&residency->maps, text, split(residency->list, text));
    for (size_t i = 0; !error && i < residency->maps.count; i++) {
        struct residency_map *map = &residency->list[i];
        uint64_t size;

        map->start = residency->maps.entries[i].start.value;
        map->end = residency->maps.entries[i].end.value;
        size = map->end - map->start;
        if (map->resident > size)
            map->resident = size;
        residency->resident += map->resident;
        residency->swapped += map->swapped;
    }
    if (error)
        residency_deinit(residency);
    return error;
}

void residency_deinit(struct residency *residency)
{
    for (size_t i = 0; residency->list && i < residency->maps.count; i++)
        free(residency->list[i].pages);
    free(residency->list);
    maps_deinit(&residency->maps);
    *residency = (struct residency){.resident = 0};
}

/* ----------------------------------------------------------------- pages */

static uint64_t page_count(const struct residency_map *map)
{
    return (map->end - map->start) / PAGE;
}

static bool has_page(const struct residency_map *map, uint64_t page)
{
    return map->pages[page / 64] >> page % 64 & 1;
}

/* From Linux 6.7 on the kernel tells which pages are its page of zeros. */
struct scan_region {
    uint64_t start, end, categories;
};
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
    uint64_t inverted, mask, any_of, wanted;
};
#define SCAN          _IOWR('f', 16, struct scan)
#define SCAN_PRESENT  (UINT64_C(1) << 3)
#define SCAN_ZEROS    (UINT64_C(1) << 5)
#define SCAN_REGIONS  256u

static void clear_pages(struct residency_map *map, uint64_t start, uint64_t end)
{
    for (uint64_t at = start > map->start ? start : map->start; at < end && at < map->end; at += PAGE) {
        uint64_t page = (at - map->start) / PAGE;

        if (!has_page(map, page))
            continue;
        map->pages[page / 64] &= ~(UINT64_C(1) << page % 64);
        map->excess -= map->excess < PAGE ? map->excess : PAGE;
    }
}

/* Leaves the pages of zeros out, where the kernel tells which. */
static void scan_zeros(struct residency_map *map, int pagemap)
{
    struct scan_region regions[SCAN_REGIONS];
    struct scan scan = {.size = sizeof(scan),
                        .end = map->end,
                        .regions = (uint64_t)(uintptr_t)regions,
                        .region_count = SCAN_REGIONS,
                        .mask = SCAN_PRESENT | SCAN_ZEROS,
                        .wanted = SCAN_ZEROS};

    for (uint64_t at = map->start; at < map->end && map->excess; at = scan.walk_end) {
        scan.start = at;
        int count = ioctl(pagemap, SCAN, &scan);
        if (count < 0 || scan.walk_end <= at)
            return;
        for (int i = 0; i < count; i++)
            clear_pages(map, regions[i].start, regions[i].end);
    }
}

/* Which are there; none are told when that can't be read. */
static void read_pages(struct residency_map *map, int pagemap)
{
    uint64_t entries[AT_ONCE], count = page_count(map), present = 0;

    if (map->resident == 0 || map->resident == map->end - map->start || map->end - map->start > SIZE_MAX_TOLD)
        return;
    map->pages = calloc(count / 64 + 1, 8);
    for (uint64_t page = 0; map->pages && page < count;) {
        uint64_t wanted = count - page < AT_ONCE ? count - page : AT_ONCE;
        ssize_t got = pread(pagemap, entries, wanted * 8, (off_t)((map->start / PAGE + page) * 8));

        if (got < 8) {
            free(map->pages);
            map->pages = NULL;
            return;
        }
        for (size_t i = 0; i < (size_t)got / 8; i++, page++) {
            if (!(entries[i] & PRESENT))
                continue;
            map->pages[page / 64] |= UINT64_C(1) << page % 64;
            present++;
        }
    }
    map->excess = present * PAGE > map->resident ? present * PAGE - map->resident : 0;
    if (map->pages && map->excess)
        scan_zeros(map, pagemap);
}

struct error *residency_read(struct residency *residency, pid_t pid)
{
    char *text, path[64];
    size_t length;
    struct error *error = process_read_file(pid, "smaps", &text, &length);

    *residency = (struct residency){.resident = 0};
    if (error || (error = residency_parse(residency, text, length)))
        return error;
    snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
    scoped_fd int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; pagemap >= 0 && i < residency->maps.count; i++) {
        if (!residency->maps.entries[i].shared)
            read_pages(&residency->list[i], pagemap);
    }
    return NULL;
}

/* The mapping of `child` with the same bounds, NULL: none. */
static struct residency_map *find_same(struct residency *child, const struct residency_map *map)
{
    const struct map *found = maps_find(&child->maps, address_of(map->start));

    if (!found || found->start.value != map->start || found->end.value != map->end)
        return NULL;
    return &child->list[found - child->maps.entries];
}

void residency_take_child(struct residency *residency, struct residency *child)
{
    for (size_t i = 0; i < residency->maps.count; i++) {
        struct residency_map *map = &residency->list[i], *same = find_same(child, map);

        if (!same || !same->resident)
            continue;
        residency->resident += same->resident - map->resident;
        residency->swapped += same->swapped - map->swapped;
        free(map->pages);
        *map = *same;
        same->pages = NULL;
    }
}

uint64_t residency_of(const struct residency_map *map, uint64_t start, uint64_t end)
{
    uint64_t bytes = 0;

    if (!map->pages)
        return map->resident == map->end - map->start ? end - start : 0;
    for (uint64_t at = start, next; at < end; at = next) {
        uint64_t page = (at - map->start) / PAGE;

        next = map->start + (page + 1) * PAGE;
        if (page % 64 == 0 && end - at >= 64 * PAGE && (map->pages[page / 64] == 0 || map->pages[page / 64] == UINT64_MAX)) {
            next = at + 64 * PAGE - at % PAGE;
            bytes += map->pages[page / 64] ? next - at : 0;
            continue;
        }
        if (has_page(map, page))
            bytes += (next < end ? next : end) - at;
    }
    return bytes;
}

void residency_drop_zeros(struct residency_map *map, bool (*is_zero)(void *context, uint64_t page), void *context)
{
    for (uint64_t page = page_count(map); map->pages && map->excess && page-- > 0;) {
        if (!has_page(map, page) || !is_zero(context, map->start + page * PAGE))
            continue;
        map->pages[page / 64] &= ~(UINT64_C(1) << page % 64);
        map->excess -= PAGE;
    }
}
