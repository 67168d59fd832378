/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/heap_pick.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

/* ---------------------------------------------------------------- by address */

static bool pick_parse_address(const char *word, uint64_t *address)
{
    bool hexadecimal = word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
    const char *digits = hexadecimal ? word + 2 : word;
    char *end;

    if (!digits[0] || digits[strspn(digits, hexadecimal ? "0123456789abcdefABCDEF" : "0123456789")])
        return false;
    errno = 0;
    *address = strtoull(digits, &end, hexadecimal ? 16 : 10);
    return !errno;
}

/* Nodes come by rising address: the first that isn't below this one. */
static uint32_t pick_search(const struct heap_view *view, uint64_t address)
{
    uint32_t low = 0, high = heap_view_count(view);

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (heap_view_node(view, middle).address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct error *pick_address(struct heap_pick *pick, const struct heap_view *view, uint64_t address)
{
    uint32_t at = pick_search(view, address);

    if (at < heap_view_count(view) && heap_view_node(view, at).address == address) {
        struct heap_node node = heap_view_node(view, at);
        *pick = (struct heap_pick){.node = at, .name = heap_view_type_name(view, node.type), .count = 1, .bytes = node.size};
        return NULL;
    }
    if (at > 0) {
        struct heap_node before = heap_view_node(view, at - 1);
        if (address < before.address + before.size)
            return error_create(ERROR_USAGE, "an object is asked for by the address it begins at, which id() gives",
                                "0x%" PRIx64 " is inside of 0x%" PRIx64 ", a %s", address, before.address,
                                heap_view_type_name(view, before.type));
    }
    return error_create(ERROR_USAGE, "it may be gone, or be no object: id() gives an object's address",
                        "no object is at 0x%" PRIx64, address);
}

/* ------------------------------------------------------------------- by type */

struct pick_matching {
    const struct heap_view *view;
    const char *word;
    bool *types;
    uint64_t *counts;     /* of objects, by type */
    const char *first;    /* name of the first that matches */
    const char *different; /* one that matches and is called otherwise */
};

static const char *pick_last_part(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot ? dot + 1 : name;
}

/* By its whole name; with `part` by its last part alone. Only types that have objects. */
static void pick_match(struct pick_matching *matching, bool part)
{
    for (uint32_t i = 0; i < heap_view_type_count(matching->view); i++) {
        const char *name = heap_view_type_name(matching->view, i);
        matching->types[i] = matching->counts[i] && !fnmatch(matching->word, part ? pick_last_part(name) : name, 0);
        if (!matching->types[i])
            continue;
        if (matching->first && strcmp(matching->first, name) != 0)
            matching->different = name;
        matching->first = matching->first ? matching->first : name;
    }
}

static struct error *pick_unknown(const struct pick_matching *matching)
{
    struct error *error = error_create(ERROR_USAGE, "the types that it has: safepoint heap TARGET",
                                       "no object's type is called %s", matching->word);

    for (uint32_t i = 0; i < heap_view_type_count(matching->view); i++) {
        const char *name = heap_view_type_name(matching->view, i);
        if (matching->counts[i] && (strcasestr(name, matching->word) || strcasestr(matching->word, pick_last_part(name))))
            return error_with_hint(error, "did you mean %s? All types: safepoint heap TARGET", name);
    }
    return error;
}

static struct error *pick_type(struct heap_pick *pick, const struct heap_view *view, const char *word)
{
    uint32_t count = heap_view_type_count(view);
    scoped_free uint64_t *counts = calloc(count + 1, sizeof(*counts));
    struct pick_matching matching = {view, word, calloc(count + 1, sizeof(bool)), counts, NULL, NULL};

    *pick = (struct heap_pick){.node = HEAP_NONE, .types = matching.types, .type_of = heap_view_types(view)};
    if (!counts || !matching.types)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the types");
    for (uint32_t i = 0; i < heap_view_count(view); i++)
        counts[pick->type_of[i]]++;
    pick_match(&matching, false);
    if (!matching.first)
        pick_match(&matching, true);
    if (!matching.first)
        return pick_unknown(&matching);
    if (matching.different && !strpbrk(word, "*?["))
        return error_create(ERROR_USAGE, "its whole name says which", "%s may be %s or %s", word, matching.first,
                            matching.different);
    pick->name = matching.different ? word : matching.first;
    for (uint32_t i = 0; i < heap_view_count(view); i++) {
        if (heap_pick_has(pick, i)) {
            pick->count++;
            pick->bytes += heap_view_node(view, i).size;
        }
    }
    return NULL;
}

/* -------------------------------------------------------------------- public */

struct error *heap_pick_find(struct heap_pick *pick, const struct heap_view *view, const char *word)
{
    uint64_t address;

    *pick = (struct heap_pick){.node = HEAP_NONE};
    return pick_parse_address(word, &address) ? pick_address(pick, view, address) : pick_type(pick, view, word);
}

void heap_pick_deinit(struct heap_pick *pick)
{
    free(pick->types);
    pick->types = NULL;
}
