/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/maps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/process.h"

#define DELETED " (deleted)"

/* One line, ended by NUL: "start-end perms offset major:minor inode   path". */
static bool maps_parse_line(struct map *map, char *line)
{
    char permissions[5];
    unsigned long long start, end, offset, inode;
    int path_at = 0;

    if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, permissions, &offset, &map->device_major,
               &map->device_minor, &inode, &path_at) < 7 ||
        start >= end || strlen(permissions) != 4)
        return false;
    map->start = address_of(start);
    map->end = address_of(end);
    map->offset = offset;
    map->inode = inode;
    map->readable = permissions[0] == 'r';
    map->writable = permissions[1] == 'w';
    map->executable = permissions[2] == 'x';
    map->shared = permissions[3] == 's';

    char *path = path_at ? line + path_at : line + strlen(line);
    size_t length = strlen(path), cut = sizeof(DELETED) - 1;
    map->deleted = length > cut && !strcmp(path + length - cut, DELETED);
    if (map->deleted)
        path[length - cut] = '\0';
    map->path = path;
    return true;
}

static size_t maps_count_lines(const char *text, size_t length)
{
    size_t lines = 0;

    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    return lines + 1;
}

struct error *maps_parse(struct maps *maps, char *text, size_t length)
{
    *maps = (struct maps){.text = text};
    maps->entries = calloc(maps_count_lines(text, length), sizeof(*maps->entries));
    if (!maps->entries) {
        maps_deinit(maps);
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a memory map");
    }
    for (char *line = text, *next; line < text + length; line = next) {
        char *end = memchr(line, '\n', (size_t)(text + length - line));
        if (!end)
            break; /* a cut last line */
        *end = '\0';
        next = end + 1;
        if (!maps_parse_line(&maps->entries[maps->count], line)) {
            maps_deinit(maps);
            return error_create(ERROR_SYSTEM, NULL, "a line of the memory map makes no sense");
        }
        maps->count++;
    }
    return NULL;
}

struct error *maps_read(struct maps *maps, pid_t pid)
{
    char *text;
    size_t length;
    struct error *error = process_read_file(pid, "maps", &text, &length);

    *maps = (struct maps){0};
    return error ? error : maps_parse(maps, text, length);
}

void maps_deinit(struct maps *maps)
{
    free(maps->entries);
    free(maps->text);
    *maps = (struct maps){0};
}

const struct map *maps_find(const struct maps *maps, struct address address)
{
    size_t low = 0, high = maps->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct map *map = &maps->entries[middle];

        if (address.value < map->start.value)
            high = middle;
        else if (address.value >= map->end.value)
            low = middle + 1;
        else
            return map;
    }
    return NULL;
}

const char *map_basename(const struct map *map)
{
    const char *slash = strrchr(map->path, '/');

    return slash ? slash + 1 : map->path;
}
