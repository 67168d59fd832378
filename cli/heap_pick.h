/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What of a heap is asked about: an object by its address, or all objects of a type by its name. */
#ifndef SAFEPOINT_CLI_HEAP_PICK_H
#define SAFEPOINT_CLI_HEAP_PICK_H

#include "cli/heap_view.h"

struct heap_pick {
    uint32_t node;    /* HEAP_NONE: a type was named */
    bool *types;      /* by number: it is among those */
    const uint32_t *type_of; /* by node: owned by the view */
    const char *name; /* of the type; of several that match a pattern, the pattern; owned by the view and the options */
    uint64_t count, bytes;
};

/* Takes a word: 0x7f..., the decimal number that id() gives, or a type's name as `heap` lists it: "app.models.Order", a pattern
 * ("app.*"), or its last part alone ("Order") where only one has it. ERROR_USAGE when there is none, or more than one.
 * End it with heap_pick_deinit() in any case. */
struct error *heap_pick_find(struct heap_pick *pick, const struct heap_view *view, const char *word)
    __attribute__((warn_unused_result));
void heap_pick_deinit(struct heap_pick *pick);

static inline bool heap_pick_has(const struct heap_pick *pick, uint32_t node)
{
    return pick->types ? pick->types[pick->type_of[node]] : node == pick->node;
}

#endif
