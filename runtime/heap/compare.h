/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Two looks at one heap: which objects of the later are new, and who of those that were there keeps them.
 *
 * An object is known by its address and its type. Freed memory is given out again, so that may be another object:
 * what proves it (a younger generation, other items in what can't change) makes it a new one, and what else is different
 * about it is counted.
 */
#ifndef SAFEPOINT_RUNTIME_HEAP_COMPARE_H
#define SAFEPOINT_RUNTIME_HEAP_COMPARE_H

#include "runtime/heap/graph.h"

/* What is kept of a look. */
struct compare_look {
    uint32_t count;
    uint64_t *addresses; /* rising */
    uint32_t *types;     /* numbers that types have in both looks */
    uint32_t *sizes;     /* bytes, at most UINT32_MAX */
    uint32_t *prints;    /* a hash of the addresses that it refers to, or of its value; 0: neither is known */
    uint8_t *generations;
};

/* Room for so many objects. ERROR_SYSTEM. End it with compare_look_deinit() in any case. */
struct error *compare_look_init(struct compare_look *look, uint32_t count) __attribute__((warn_unused_result));
void compare_look_deinit(struct compare_look *look);

/* Fills in the prints of what refers to others; the graph's nodes are the look's. */
void compare_look_print(struct compare_look *look, const struct graph *graph);

enum compare_state {
    COMPARE_SAME,    /* the same in all that is known of it */
    COMPARE_CHANGED, /* refers to others, or has another size: it, or another object at its address */
    COMPARE_BLANK,   /* a string or number of the same size whose value is not known */
    COMPARE_NEW,
    COMPARE_STATES
};

struct compare {
    uint8_t *states; /* enum compare_state, by node of the later look */
    uint64_t *gone;  /* a bit by node of the earlier one: it is no more */
    uint32_t counts[COMPARE_STATES];
};

/* `fixed`, by type: instances never refer to others than at first, nor change their value. ERROR_SYSTEM. End it with
 * compare_deinit() in any case. */
struct error *compare_find(struct compare *compare, const struct compare_look *before, const struct compare_look *after,
                           const bool *fixed) __attribute__((warn_unused_result));
void compare_deinit(struct compare *compare);

static inline bool compare_is_gone(const struct compare *compare, uint32_t node)
{
    return compare->gone[node / 64] >> node % 64 & 1;
}

#define COMPARE_ROOT (UINT32_C(1) << 31)

/* By node of the later look; of those that aren't new, HEAP_NONE. */
struct compare_keepers {
    uint32_t *entries; /* the new object by which it is held, maybe itself; HEAP_NONE: nobody was found to hold it */
    uint32_t *holders; /* of such an entry: the object that was there and refers to it, or COMPARE_ROOT | a root's number */
};

/* Who keeps what is new: the nearest object that was there before. Of several as near, the one that holds most new ones itself.
 * References that aren't counted keep nothing, nor does the table of interned strings. ERROR_SYSTEM. End it with
 * compare_keepers_deinit() in any case. */
struct error *compare_find_keepers(struct compare_keepers *keepers, const struct graph *graph,
                                   const struct compare *compare) __attribute__((warn_unused_result));
void compare_keepers_deinit(struct compare_keepers *keepers);

#endif
