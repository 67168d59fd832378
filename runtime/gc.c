/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * struct _gc_runtime_state, in _PyRuntime (3.8) or in the interpreter:
 *
 *   enabled debug | generations[3]: {next prev threshold count} | permanent_generation | statistics | collecting ...
 *
 * A row of the table is believed when its heads link both ways, as those of lists in use and of empty ones do.
 */
#include "runtime/gc.h"

#include <string.h>

#include "attach/scope.h"
#include "runtime/view.h"

#define TRIES      5
#define HEAD       16u
#define POINTER    (~UINT64_C(3))
#define FROZEN_MAX 10000000
/* Lists wander: as many pages are kept while one is followed. */
#define PAGES_KEPT 4096u
/* struct gc_generation, in every version. */
#define GENERATION_SIZE      24u
#define GENERATION_THRESHOLD 16u
#define GENERATION_COUNT     20u
/* struct gc_generation_stats {collections, collected, uncollectable}; in 3.15 two times before, candidates and
 * seconds behind. */
#define STATS_SIZE       24u
#define STATS_COLLECTED  8u
#define STATS_UNCOLLECTABLE 16u
#define RING_ITEM        64u
#define RING_COLLECTIONS 16u
#define RING_CANDIDATES  24u /* from collections on */
#define RING_SECONDS     32u
/* As much of a head and its object as is read at once; where the object's type is in it. */
#define VISITED_SIZE 32u
#define VISITED_TYPE 24u

/* Offsets from the state's start; as tools/gc_offsets.c prints them. */
struct gc_layout {
    unsigned minor;
    uint32_t start; /* in the interpreter (3.8: in _PyRuntime); OFF_NONE: the process says it */
    uint32_t enabled, debug, generations, permanent;
    uint32_t stats; /* 3.15: of the pointer to struct gc_stats */
    uint32_t collecting, garbage, long_lived; /* long_lived_total; _pending follows */
};

static const struct gc_layout gc_layouts[] = {
    {8, 344, 12, 16, 24, 104, 128, 200, 208, 224},
    {9, 616, 12, 16, 24, 104, 128, 200, 208, 224},
    {10, 616, 12, 16, 24, 104, 128, 200, 208, 224},
    {11, 648, 12, 16, 24, 104, 128, 200, 208, 224},
    {12, 112, 12, 16, 24, 104, 128, 200, 208, 224},
    {13, OFF_NONE, 12, 16, 24, 104, 128, 200, 208, 224},
    {13, OFF_NONE, 12, 16, 20, 104, 128, 200, 208, 224}, /* from some 3.13.x on the heads lie closer */
    {14, OFF_NONE, 12, 16, 24, 96, 120, 192, 200, 240},
    {15, OFF_NONE, 0, 4, 8, 80, 104, 112, 128, 152},
};

/* The rings of 3.15's struct gc_stats, one for each generation: their last entry is the sum so far. */
struct gc_ring {
    uint32_t items, index;
    int8_t count;
};
static const struct gc_ring gc_rings[GC_GENERATIONS] = {{0, 704, 11}, {712, 712 + 192, 3}, {912, 912 + 192, 3}};

struct gc_reader {
    struct view view;
    const struct gc_layout *layout;
    struct address state;
};

static const struct memory *gc_memory(const struct gc_reader *reader)
{
    return &reader->view.process.memory;
}

static struct error *torn(const char *what)
{
    return error_create(ERROR_BUSY, "the process is changing; try again", "%s changed while it was read", what);
}

static bool is_torn(const struct error *error)
{
    return error && (error_code(error) == ERROR_BUSY || error_code(error) == ERROR_FAULT);
}

static struct error *read_i64(const struct gc_reader *reader, struct address from, int64_t *value)
{
    uint64_t bits = 0;
    struct error *error = memory_read_u64(gc_memory(reader), from, &bits);

    *value = (int64_t)bits;
    return error;
}

static struct error *read_i32(const struct gc_reader *reader, struct address from, int64_t *value)
{
    uint32_t bits = 0;
    struct error *error = memory_read_u32(gc_memory(reader), from, &bits);

    *value = (int32_t)bits;
    return error;
}

/* -------------------------------------------------------------------- the lists */

/* Does a list begin there: do its ends lead back? */
static bool is_head(const struct gc_reader *reader, struct address head)
{
    uint64_t next = 0, previous = 0, back = 0, forth = 0;
    struct error *error;

    (void)((error = memory_read_u64(gc_memory(reader), head, &next)) ||
           (error = memory_read_u64(gc_memory(reader), address_add(head, 8), &previous)) ||
           (error = memory_read_u64(gc_memory(reader), address_of((next & POINTER) + 8), &back)) ||
           (error = memory_read_u64(gc_memory(reader), address_of(previous & POINTER), &forth)));
    error_destroy(error);
    return !error && next && (back & POINTER) == head.value && (forth & POINTER) == head.value;
}

/* The youngest list of a process that runs changes while it is read; of the others two must be sound. */
static bool are_lists(const struct gc_reader *reader, const struct gc_layout *layout)
{
    struct address first = address_add(reader->state, layout->generations);

    return is_head(reader, address_add(reader->state, layout->permanent)) &&
           (is_head(reader, address_add(first, GENERATION_SIZE)) || is_head(reader, address_add(first, 2 * GENERATION_SIZE)));
}

static struct error *find_layout(struct gc_reader *reader, struct address interpreter)
{
    const struct runtime *runtime = &reader->view.runtime;
    const char *origin = runtime->layout.origin;

    for (size_t i = 0; i < sizeof(gc_layouts) / sizeof(gc_layouts[0]); i++) {
        const struct gc_layout *row = &gc_layouts[i];
        uint32_t start = row->start == OFF_NONE ? runtime->layout.heap.gc : row->start;

        if (row->minor != runtime->layout.minor || start == OFF_NONE)
            continue;
        reader->state = address_add(row->minor == 8 ? runtime->address : interpreter, start);
        if (are_lists(reader, row)) {
            reader->layout = row;
            return NULL;
        }
    }
    return error_create(ERROR_BUSY, "a build whose layout we don't know; please report it",
                        "the collector's lists are not where %s has them", origin);
}

/* Counts the objects of a list, which must link both ways. */
static struct error *count_list(struct gc_reader *reader, struct address head, int64_t *count, bool *more)
{
    uint64_t at, previous = head.value;
    struct error *error = memory_read_u64(gc_memory(reader), head, &at);

    for (*count = 0; !error && (at & POINTER) != head.value; ++*count) {
        uint64_t links[2];

        if (reader->view.pages.count > PAGES_KEPT)
            pages_forget(&reader->view.pages);
        if ((error = memory_read(gc_memory(reader), address_of(at & POINTER), links, sizeof(links))))
            break;
        if ((links[1] & POINTER) != previous)
            return torn("the list of frozen objects");
        previous = at & POINTER;
        at = links[0];
        *more = *count == FROZEN_MAX;
        if (*more)
            return NULL;
    }
    return error;
}

/* -------------------------------------------------------------------- statistics */

/* Where the numbers of a generation begin: with `collections`. */
static struct error *find_stats(const struct gc_reader *reader, unsigned generation, struct address *at)
{
    const struct gc_ring *ring = &gc_rings[generation];
    struct address stats = address_add(reader->state, reader->layout->stats);
    uint8_t index;
    struct error *error;

    *at = address_add(stats, generation * STATS_SIZE);
    if (reader->layout->minor < 15)
        return NULL;
    if ((error = memory_read_address(gc_memory(reader), stats, &stats)) ||
        (error = memory_read_u8(gc_memory(reader), address_add(stats, ring->index), &index)))
        return error;
    if ((int8_t)index < 0 || (int8_t)index >= ring->count)
        return torn("the collector's statistics");
    *at = address_add(stats, ring->items + index * RING_ITEM + RING_COLLECTIONS);
    return NULL;
}

static struct error *read_stats(const struct gc_reader *reader, unsigned number, struct gc_generation *generation)
{
    struct address at;
    uint64_t seconds = 0;
    struct error *error = find_stats(reader, number, &at);

    generation->candidates = -1;
    generation->seconds = -1;
    if (error || (error = read_i64(reader, at, &generation->collections)) ||
        (error = read_i64(reader, address_add(at, STATS_COLLECTED), &generation->collected)) ||
        (error = read_i64(reader, address_add(at, STATS_UNCOLLECTABLE), &generation->uncollectable)))
        return error;
    if (reader->layout->minor < 15)
        return NULL;
    if ((error = read_i64(reader, address_add(at, RING_CANDIDATES), &generation->candidates)) ||
        (error = memory_read_u64(gc_memory(reader), address_add(at, RING_SECONDS), &seconds)))
        return error;
    memcpy(&generation->seconds, &seconds, sizeof(generation->seconds));
    return NULL;
}

static struct error *read_generation(const struct gc_reader *reader, unsigned number, struct gc_generation *generation)
{
    struct address at = address_add(reader->state, reader->layout->generations + number * GENERATION_SIZE);
    struct error *error;

    if ((error = read_i32(reader, address_add(at, GENERATION_THRESHOLD), &generation->threshold)) ||
        (error = read_i32(reader, address_add(at, GENERATION_COUNT), &generation->count)))
        return error;
    return read_stats(reader, number, generation);
}

/* -------------------------------------------------------------------- a collector */

/* len(gc.garbage), whose list is made when the module is. */
static struct error *read_garbage(const struct gc_reader *reader, int64_t *count)
{
    struct address list;
    struct error *error =
        memory_read_address(gc_memory(reader), address_add(reader->state, reader->layout->garbage), &list);

    *count = -1;
    return error || !list.value
               ? error
               : read_i64(reader, address_add(list, reader->view.runtime.layout.bytes.ob_size), count);
}

static struct error *read_state(const struct gc_reader *reader, struct gc_state *state)
{
    const struct gc_layout *layout = reader->layout;
    int64_t enabled, collecting, debug;
    struct error *error;

    if ((error = read_i32(reader, address_add(reader->state, layout->enabled), &enabled)) ||
        (error = read_i32(reader, address_add(reader->state, layout->debug), &debug)) ||
        (error = read_i32(reader, address_add(reader->state, layout->collecting), &collecting)) ||
        (error = read_i64(reader, address_add(reader->state, layout->long_lived), &state->long_lived)) ||
        (error = read_i64(reader, address_add(reader->state, layout->long_lived + 8), &state->long_lived_pending)) ||
        (error = read_garbage(reader, &state->garbage)))
        return error;
    state->enabled = enabled != 0;
    state->collecting = collecting != 0;
    state->debug = (uint32_t)debug;
    for (unsigned i = 0; !error && i < GC_GENERATIONS; i++)
        error = read_generation(reader, i, &state->generations[i]);
    return error;
}

static void read_frozen(struct gc_reader *reader, struct gc_state *state)
{
    struct error *error = NULL;

    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        pages_forget(&reader->view.pages);
        error = count_list(reader, address_add(reader->state, reader->layout->permanent), &state->frozen,
                           &state->frozen_more);
        if (!error)
            return;
    }
    error_destroy(error);
    state->frozen = -1;
}

static struct error *read_collector(struct gc_reader *reader, const struct interpreter *interpreter,
                                    struct gc_state *state)
{
    struct error *error = NULL;

    *state = (struct gc_state){.interpreter = interpreter->id};
    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        pages_forget(&reader->view.pages);
        if (!(error = find_layout(reader, interpreter->address)))
            error = read_state(reader, state);
        if (!is_torn(error))
            break;
    }
    if (!error)
        read_frozen(reader, state);
    return error;
}

/* A free-threaded build has no such lists. */
static struct error *check_lists_known(const struct runtime *runtime)
{
    if (runtime->free_threaded)
        return error_create(ERROR_UNSUPPORTED, "safepoint stats PID asks the collector itself",
                            "the collector of a free-threaded CPython 3.%u is not known", runtime->layout.minor);
    return NULL;
}

/* One that persists is none of a moment. */
static struct error *say_unsupported(struct error *torn_error)
{
    if (!is_torn(torn_error))
        return torn_error;
    struct error *final = error_create(ERROR_UNSUPPORTED, error_hint(torn_error), "%s", error_message(torn_error));
    error_destroy(torn_error);
    return final;
}

struct error *gc_read(const struct runtime *runtime, struct gc_state **states, size_t *count)
{
    scoped_free struct interpreter *interpreters = NULL;
    struct gc_reader reader;
    size_t interpreter_count, used = 0;
    struct error *error;

    *states = NULL;
    *count = 0;
    if ((error = check_lists_known(runtime)) || (error = runtime_read_interpreters(runtime, &interpreters, &interpreter_count)))
        return error;
    scoped_free struct gc_state *found = calloc(interpreter_count, sizeof(*found));
    if (!found)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the collectors");
    view_init(&reader.view, runtime);
    for (size_t i = 0; !error && i < interpreter_count; i++) {
        /* 3.8: the one of all is told as the main interpreter's. */
        if (runtime->layout.minor > 8 || interpreters[i].main)
            error = read_collector(&reader, &interpreters[i], &found[used++]);
    }
    view_deinit(&reader.view);
    if ((error = say_unsupported(error)))
        return error;
    *states = scope_take_pointer(&found);
    *count = used;
    return NULL;
}

/* -------------------------------------------------------------------- what it tracks */

/* One walk over all of them. */
struct gc_walk {
    struct gc_reader reader;
    gc_visit_fn *visit;
    void *context;
    uint64_t left; /* objects that may still be visited */
};

/* Visits a list as far as it links both ways. */
static struct error *visit_list(struct gc_walk *walk, struct address head)
{
    struct gc_reader *reader = &walk->reader;
    uint64_t at, previous = head.value;
    struct error *error = memory_read_u64(gc_memory(reader), head, &at);

    for (; !error && (at & POINTER) != head.value && walk->left; walk->left--) {
        uint64_t words[VISITED_SIZE / 8];

        if (reader->view.pages.count > PAGES_KEPT)
            pages_forget(&reader->view.pages);
        at &= POINTER;
        if ((error = memory_read(gc_memory(reader), address_of(at), words, sizeof(words))))
            break;
        if ((words[1] & POINTER) != previous)
            return torn("a list of the collector");
        walk->visit(walk->context, address_of(at + HEAD), address_of(words[VISITED_TYPE / 8]));
        previous = at;
        at = words[0];
    }
    return error;
}

/* False: it changed with every try. */
static bool visit_list_until_whole(struct gc_walk *walk, struct address head)
{
    struct error *error = NULL;

    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        pages_forget(&walk->reader.view.pages);
        if (!(error = visit_list(walk, head)))
            return true;
    }
    error_destroy(error);
    return false;
}

/* In the middle of a collection some are on lists of its own. */
static bool is_collecting(struct gc_reader *reader)
{
    int64_t collecting = 0;
    struct error *error;

    pages_forget(&reader->view.pages);
    error = read_i32(reader, address_add(reader->state, reader->layout->collecting), &collecting);
    error_destroy(error);
    return collecting;
}

/* An object only ever gets older: one that is moved meanwhile is met in the next list. */
static bool visit_lists(struct gc_walk *walk)
{
    bool whole = !is_collecting(&walk->reader);

    for (unsigned i = 0; i < GC_GENERATIONS; i++)
        whole &= visit_list_until_whole(
            walk, address_add(walk->reader.state, walk->reader.layout->generations + i * GENERATION_SIZE));
    whole &= visit_list_until_whole(walk, address_add(walk->reader.state, walk->reader.layout->permanent));
    return whole && !is_collecting(&walk->reader) && walk->left;
}

struct error *gc_visit(const struct runtime *runtime, const struct interpreter *interpreter, uint64_t most,
                       gc_visit_fn *visit, void *context, bool *whole)
{
    struct gc_walk walk = {.visit = visit, .context = context, .left = most};
    struct error *error = check_lists_known(runtime);

    *whole = false;
    if (error)
        return error;
    view_init(&walk.reader.view, runtime);
    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        pages_forget(&walk.reader.view.pages);
        if (!is_torn(error = find_layout(&walk.reader, interpreter->address)))
            break;
    }
    for (unsigned i = 0; !error && !*whole && walk.left && i < TRIES; i++)
        *whole = visit_lists(&walk);
    view_deinit(&walk.reader.view);
    return say_unsupported(error);
}
