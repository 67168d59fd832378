/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/strings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STRINGS_ROOM_MIN 4096u

void strings_init(struct strings *strings, FILE *file)
{
    *strings = (struct strings){.file = file};
    json_init(&strings->json, file);
}

void strings_deinit(struct strings *strings)
{
    free(strings->by_id.keys);
    free(strings->by_id.values);
    free(strings->by_text.keys);
    free(strings->by_text.values);
    free(strings->texts);
    free(strings->bytes);
    *strings = (struct strings){.file = NULL};
}

/* ------------------------------------------------------------ what is known */

/* Where a key is, or would be. */
static uint32_t known_slot(const struct strings_known *known, uint64_t key)
{
    uint32_t at = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (known->room - 1);

    while (known->keys[at] && known->keys[at] != key)
        at = (at + 1) & (known->room - 1);
    return at;
}

/* Room for one more, at most half full. `texts` (may be NULL) moves along. */
static bool known_grow(struct strings_known *known, struct strings_text **texts)
{
    uint32_t room = known->room ? known->room * 2 : STRINGS_ROOM_MIN;
    struct strings_known larger = {calloc(room, sizeof(*larger.keys)), calloc(room, sizeof(*larger.values)), known->count,
                                   room};
    struct strings_text *moved = texts ? calloc(room, sizeof(*moved)) : NULL;

    if (!larger.keys || !larger.values || (texts && !moved)) {
        free(larger.keys);
        free(larger.values);
        free(moved);
        return false;
    }
    for (uint32_t i = 0; i < known->room; i++) {
        if (!known->keys[i])
            continue;
        uint32_t at = known_slot(&larger, known->keys[i]);
        larger.keys[at] = known->keys[i];
        larger.values[at] = known->values[i];
        if (texts)
            moved[at] = (*texts)[i];
    }
    free(known->keys);
    free(known->values);
    *known = larger;
    if (texts) {
        free(*texts);
        *texts = moved;
    }
    return true;
}

static bool known_has_room(struct strings_known *known, struct strings_text **texts)
{
    return known->count < STRINGS_KNOWN_MAX && (known->count * 2 < known->room || known_grow(known, texts));
}

uint32_t strings_find(const struct strings *strings, uint64_t id)
{
    const struct strings_known *known = &strings->by_id;

    if (!known->room || !id)
        return STRINGS_NONE;
    uint32_t at = known_slot(known, id);
    return known->keys[at] ? known->values[at] : STRINGS_NONE;
}

void strings_keep(struct strings *strings, uint64_t id, uint32_t number)
{
    struct strings_known *known = &strings->by_id;

    if (!id || !known_has_room(known, NULL))
        return;
    uint32_t at = known_slot(known, id);
    known->count += !known->keys[at];
    known->keys[at] = id;
    known->values[at] = number;
}

/* -------------------------------------------------------------------- texts */

static bool strings_take_bytes(struct strings *strings, const char *text, size_t size)
{
    if (strings->used + size > STRINGS_KNOWN_BYTES)
        return false;
    if (strings->used + size > strings->byte_room) {
        uint64_t room = (strings->used + size) * 2;
        char *larger = realloc(strings->bytes, room);
        if (!larger)
            return false;
        strings->bytes = larger;
        strings->byte_room = room;
    }
    memcpy(strings->bytes + strings->used, text, size);
    strings->used += size;
    return true;
}

/* Two texts of one hash: the second isn't known again. */
static bool strings_is_text(const struct strings *strings, uint32_t slot, const char *text, size_t size)
{
    const struct strings_text *known = &strings->texts[slot];

    return known->size == size && !memcmp(strings->bytes + known->offset, text, size);
}

static uint32_t strings_append(struct strings *strings, const char *text, size_t size)
{
    if (strings->count)
        putc('\n', strings->file);
    json_bytes(&strings->json, NULL, text, size);
    return strings->count++;
}

uint32_t strings_add(struct strings *strings, const char *text, size_t size)
{
    struct strings_known *known = &strings->by_text;
    uint64_t hash = XXH3_64bits(text, size) | 1;
    uint32_t slot = known->room ? known_slot(known, hash) : 0;

    if (known->room && known->keys[slot])
        return strings_is_text(strings, slot, text, size) ? known->values[slot] : strings_append(strings, text, size);
    uint32_t number = strings_append(strings, text, size);
    if (known_has_room(known, &strings->texts) && strings_take_bytes(strings, text, size)) {
        slot = known_slot(known, hash);
        known->keys[slot] = hash;
        known->values[slot] = number;
        known->count++;
        strings->texts[slot] = (struct strings_text){(uint32_t)(strings->used - size), (uint32_t)size};
    }
    return number;
}

/* ---------------------------------------------------------------------- all */

struct error *strings_write(struct strings *strings, FILE *to)
{
    char block[65536];
    size_t size;

    if (fflush(strings->file) == 0 && fseeko(strings->file, 0, SEEK_SET) == 0) {
        while ((size = fread(block, 1, sizeof(block), strings->file)) > 0)
            fwrite(block, 1, size, to);
        if (!ferror(strings->file))
            return NULL;
    }
    return error_create_errno(ERROR_SYSTEM, errno, "can't keep the strings of the file that is made");
}
