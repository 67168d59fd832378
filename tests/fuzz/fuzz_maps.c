/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parser of /proc/PID/maps, on any text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "attach/maps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct maps maps;
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    struct error *error = maps_parse(&maps, text, size);
    if (!error) {
        for (size_t i = 0; i < maps.count; i++) {
            const struct map *found = maps_find(&maps, maps.entries[i].start);
            if (found && strlen(map_basename(found)) > size)
                abort();
        }
        maps_deinit(&maps);
    }
    error_destroy(error);
    return 0;
}
