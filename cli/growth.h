/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What grew between two looks at a heap, and who keeps it: for diff and grow. */
#ifndef SAFEPOINT_CLI_GROWTH_H
#define SAFEPOINT_CLI_GROWTH_H

#include "cli/excess.h"
#include "runtime/heap/compare.h"

/* Types by name, with the numbers that they have in all looks. */
struct growth_types {
    char **names;
    bool *fixed;      /* instances never refer to others than at first */
    uint32_t *table;  /* by hash: number + 1 */
    uint32_t count, room;
};

/* One look, which needs neither view nor graph. */
struct growth_look {
    struct heap_origin origin;
    struct compare_look look;
    struct excess excess;
    uint64_t bytes;
    bool values; /* prints of strings and numbers are of what they are */
};

struct growth_row {
    uint32_t type;
    int64_t count, bytes; /* more than before */
    uint64_t all_count, all_bytes, new_count, new_bytes, gone_count, gone_bytes;
    int64_t excess;  /* references more than before that nobody accounts for */
    uint32_t rises;  /* of grow: between how many looks it rose */
};

/* New objects that are held at the same place. */
struct growth_keeper {
    char *where;         /* as Python writes it: "app.cache._memo[...]" */
    const char *mostly;  /* of the new objects that the holder refers to itself, the type on which most hangs; the types' */
    uint64_t mostly_entries; /* of that type; of one holder */
    char *holder;        /* the holder's type; "" of a root */
    uint64_t address;    /* of the holder; of several like it, of one; 0: a root */
    uint64_t holders;    /* like it */
    uint64_t entries;    /* new objects that they refer to themselves */
    uint64_t objects, bytes; /* with all that hangs on those */
};

#define GROWTH_AGES 6 /* generations 0 to 2, permanent, tracked in no list that could be walked, not tracked */

struct growth {
    struct growth_row *rows; /* that changed; those that grew most first */
    size_t row_count;
    struct growth_keeper *keepers; /* the greatest first */
    size_t keeper_count, keeper_all;
    uint64_t unheld_objects, unheld_bytes; /* new, and nobody was found to hold them: garbage, or C code's */
    uint64_t new_objects, new_bytes, gone_objects, gone_bytes;
    uint64_t same, changed, blank; /* that are in both, as struct compare has them */
    uint64_t ages[GROWTH_AGES];    /* of the new objects */
    bool values;
};

/* Takes a look; types get the names that they don't have yet. ERROR_INTERRUPTED by a signal to us, ERROR_SYSTEM, ERROR_BAD_FILE. End it
 * with growth_look_deinit() in any case. The graph of a view that is looked at is opened into `graph`, to be ended by the caller. */
struct error *growth_look_take(struct growth_look *look, struct growth_types *types, struct heap_view *view,
                               struct graph *graph, const struct cli_options *options) __attribute__((warn_unused_result));
/* The same of the target that options->words[0] is, which is opened and closed for it; nothing is printed. */
struct error *growth_look_first(struct growth_look *look, struct growth_types *types, const struct cli_options *options)
    __attribute__((warn_unused_result));
/* The same of a view without references: counts, sizes and types alone. */
struct error *growth_look_count(struct growth_look *look, struct growth_types *types, const struct heap_view *view)
    __attribute__((warn_unused_result));
void growth_look_deinit(struct growth_look *look);
void growth_types_deinit(struct growth_types *types);

/* What grew; the later look's view and graph are still open. Of the looks only what is printed is left. At most `most` keepers are
 * named. End it with growth_deinit() in any case. */
struct error *growth_find(struct growth *growth, const struct growth_types *types, struct growth_look *before,
                          struct growth_look *after, struct heap_view *view, const struct graph *graph, size_t most)
    __attribute__((warn_unused_result));
void growth_deinit(struct growth *growth);

/* growth_keepers.c: fills in the keepers, and what nobody holds. */
struct error *growth_find_keepers(struct growth *growth, const struct growth_types *types, const struct growth_look *after,
                                  const struct compare *compare, struct heap_view *view, const struct graph *graph, size_t most)
    __attribute__((warn_unused_result));

/* growth_print.c: the answer, for people and as members of "result". `seconds`: between the looks, 0 when it isn't known. */
struct error *growth_print(const struct growth *growth, const struct growth_types *types, const struct growth_look *before,
                           const struct growth_look *after, double seconds, uint32_t looks, const struct cli_options *options)
    __attribute__((warn_unused_result));
void growth_json(const struct growth *growth, const struct growth_types *types, const struct growth_look *before,
                 const struct growth_look *after, double seconds, uint32_t looks, const struct cli_options *options,
                 struct json *json);

/* How many keepers are to be named, as the options say. */
size_t growth_keepers_wanted(const struct cli_options *options);

#endif
