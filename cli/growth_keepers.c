/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who keeps what is new. Each new object has a holder that was there before (runtime/heap/compare.h); holders that are alike,
 * as the lists of a thousand sessions, are one keeper; the greatest keepers get names.
 */
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/growth.h"
#include "cli/heap_search.h"

#define KEEPERS_ALIKE 4 /* of so many steps up the types are the same */

/* What hangs on one holder, and then on all that are like it. */
struct keepers_record {
    uint32_t holder; /* a node, or COMPARE_ROOT | a root's number */
    uint32_t example; /* an entry: the largest, which is no key as a rule */
    uint64_t example_size, key, holders, entries, objects, bytes;
};

struct keepers {
    struct heap_view *view;
    const struct graph *graph;
    const struct compare *compare;
    struct compare_keepers found;
    struct heap_search search;
    struct keepers_record *records;
    size_t count, room;
    uint32_t *slots; /* by node: number + 1 of a holder's record */
    uint32_t *root_slots;
};

static struct error *keepers_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the keepers");
}

/* ----------------------------------------------------------------- records */

static uint32_t *keepers_slot(struct keepers *keepers, uint32_t holder)
{
    return holder & COMPARE_ROOT ? &keepers->root_slots[holder & ~COMPARE_ROOT] : &keepers->slots[holder];
}

static struct keepers_record *keepers_record_of(struct keepers *keepers, uint32_t holder, uint32_t entry)
{
    uint32_t *slot = keepers_slot(keepers, holder);

    if (*slot)
        return &keepers->records[*slot - 1];
    if (keepers->count == keepers->room) {
        size_t room = keepers->room ? keepers->room * 2 : 1024;
        struct keepers_record *larger = reallocarray(keepers->records, room, sizeof(*larger));
        if (!larger)
            return NULL;
        keepers->records = larger;
        keepers->room = room;
    }
    struct keepers_record *record = &keepers->records[keepers->count++];
    *record = (struct keepers_record){.holder = holder, .example = entry, .holders = 1};
    *slot = (uint32_t)keepers->count;
    return record;
}

static struct error *keepers_gather(struct keepers *keepers, struct growth *growth)
{
    for (uint32_t i = 0; i < keepers->graph->nodes.count; i++) {
        uint32_t entry = keepers->found.entries[i];
        if (keepers->compare->states[i] != COMPARE_NEW)
            continue;
        uint64_t size = graph_node(keepers->graph, i).size;
        if (entry == HEAP_NONE) {
            growth->unheld_objects++;
            growth->unheld_bytes += size;
            continue;
        }
        struct keepers_record *record = keepers_record_of(keepers, keepers->found.holders[entry], entry);
        if (!record)
            return keepers_out_of_memory();
        record->objects++;
        record->bytes += size;
        record->entries += entry == i;
        if (entry == i && size > record->example_size) {
            record->example = i;
            record->example_size = size;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------- alike */

static uint32_t keepers_parent(const struct keepers *keepers, uint32_t node)
{
    return paths_is_reached(&keepers->search.paths, node) ? paths_parent(&keepers->search.paths, node) : HEAP_NONE;
}

static const char *keepers_type_name(const struct keepers *keepers, uint32_t node)
{
    return heap_view_type_name(keepers->view, graph_node(keepers->graph, node).type);
}

/* The same for holders that are alike: of the same types up the path. What a module has under its own name stays apart. */
static uint64_t keepers_key(const struct keepers *keepers, uint32_t holder)
{
    uint64_t key = UINT64_C(0xcbf29ce484222325);
    uint32_t node = holder;

    if (holder & COMPARE_ROOT) {
        const struct graph_root *root = &keepers->graph->roots[holder & ~COMPARE_ROOT];
        return root->kind == HEAP_ROOT_FRAME ? (key ^ root->code) * UINT64_C(0x100000001b3) ^ root->number : holder;
    }
    for (unsigned i = 0; i < KEEPERS_ALIKE && node != HEAP_NONE; i++) {
        uint32_t parent = keepers_parent(keepers, node), above = parent == HEAP_NONE ? HEAP_NONE : keepers_parent(keepers, parent);
        bool named = !strcmp(keepers_type_name(keepers, node), "module") ||
                     (above != HEAP_NONE && !strcmp(keepers_type_name(keepers, above), "module"));
        key = (key ^ graph_node(keepers->graph, node).type) * UINT64_C(0x9e3779b97f4a7c15);
        key ^= key >> 29;
        if (named)
            return (key ^ node) * UINT64_C(0x9e3779b97f4a7c15);
        node = parent;
    }
    return node == HEAP_NONE ? key ^ holder : key;
}

static int keepers_compare_key(const void *a, const void *b)
{
    const struct keepers_record *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? 1 : -1) : (x->holder < y->holder ? -1 : 1);
}

static int keepers_compare_bytes(const void *a, const void *b)
{
    const struct keepers_record *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->holder < y->holder ? -1 : x->holder > y->holder;
}

/* Of those that are alike the greatest stands for all. */
static void keepers_merge(struct keepers *keepers)
{
    size_t kept = 0;

    for (size_t i = 0; i < keepers->count; i++)
        keepers->records[i].key = keepers_key(keepers, keepers->records[i].holder);
    if (keepers->count)
        qsort(keepers->records, keepers->count, sizeof(*keepers->records), keepers_compare_key);
    for (size_t i = 0; i < keepers->count; i++) {
        const struct keepers_record *record = &keepers->records[i];
        struct keepers_record *before = kept ? &keepers->records[kept - 1] : NULL;
        if (before && before->key == record->key) {
            before->holders++;
            before->entries += record->entries;
            before->objects += record->objects;
            before->bytes += record->bytes;
        } else
            keepers->records[kept++] = *record;
    }
    keepers->count = kept;
    if (kept)
        qsort(keepers->records, kept, sizeof(*keepers->records), keepers_compare_bytes);
}

/* ------------------------------------------------------------------- names */

/* The path to a holder, and on to the entry. */
static struct error *keepers_path(const struct keepers *keepers, const struct keepers_record *record, struct paths_path *path)
{
    *path = (struct paths_path){.origin = record->holder & ~COMPARE_ROOT};
    if (!(record->holder & COMPARE_ROOT)) {
        struct error *error = paths_get(&keepers->search.paths, record->holder, path);
        if (error)
            return error;
    }
    uint32_t *nodes = reallocarray(path->nodes, path->count + 1, sizeof(*nodes));
    if (!nodes)
        return keepers_out_of_memory();
    path->nodes = nodes;
    nodes[path->count++] = record->example;
    return NULL;
}

/* How much of "app.cache['key']" stays, and what comes then, where there are many keys: "app.cache", "[...]". */
static size_t keepers_generalize(const struct heap_named_path *named, uint64_t entries, const char **rest)
{
    const char *last = named->count ? named->steps[named->count - 1].text : "";
    size_t whole = strlen(named->expression), part = strlen(last);

    *rest = "";
    if (entries < 2 || part > whole || strcmp(named->expression + whole - part, last) != 0)
        return whole;
    if (last[0] == '[' || !strcmp(last, ".<key>"))
        *rest = "[...]";
    else if (last[0] == '.' && last[1] != '<')
        *rest = ".*";
    else
        return whole;
    return whole - part;
}

static char *keepers_where(const struct heap_named_path *named, uint64_t entries)
{
    const char *rest;
    size_t whole = keepers_generalize(named, entries, &rest), size = 0;
    char *text = NULL;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    fprintf(stream, "%s%.*s%s", named->root->kind == HEAP_ROOT_FRAME ? "local " : "", (int)whole, named->expression, rest);
    if (named->root->kind == HEAP_ROOT_FRAME && named->function)
        fprintf(stream, " of %s", named->function);
    if (named->root->kind == HEAP_ROOT_FRAME && named->file)
        fprintf(stream, " (%s:%d%s%s)", named->file, named->line, named->thread ? ", thread " : "",
                named->thread ? named->thread : "");
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static struct error *keepers_describe(struct keepers *keepers, struct growth_keeper *keeper, const struct keepers_record *record)
{
    bool root = record->holder & COMPARE_ROOT;

    *keeper = (struct growth_keeper){
        .where = NULL,
        .mostly = "",
        .holder = strdup(root ? "" : keepers_type_name(keepers, record->holder)),
        .address = root ? 0 : graph_node(keepers->graph, record->holder).address,
        .holders = record->holders,
        .entries = record->entries,
        .objects = record->objects,
        .bytes = record->bytes,
    };
    return keeper->holder ? NULL : keepers_out_of_memory();
}

/* What is reached by no path: held by C code, or by garbage. */
static struct error *keepers_name_lost(const struct keepers *keepers, struct growth_keeper *keeper, uint32_t holder)
{
    if (asprintf(&keeper->where, "<%s that nobody was found to hold>", keepers_type_name(keepers, holder)) >= 0)
        return NULL;
    keeper->where = NULL;
    return keepers_out_of_memory();
}

static bool keepers_is_reached(const struct keepers *keepers, const struct keepers_record *record)
{
    return record->holder & COMPARE_ROOT || paths_is_reached(&keepers->search.paths, record->holder);
}

static struct error *keepers_name_all(struct keepers *keepers, struct growth *growth, struct paths_path *paths,
                                      struct heap_named_path *named)
{
    size_t count = 0, next = 0;
    struct error *error = NULL;

    for (size_t i = 0; i < growth->keeper_count && !error; i++) {
        if (keepers_is_reached(keepers, &keepers->records[i]))
            error = keepers_path(keepers, &keepers->records[i], &paths[count++]);
    }
    if (!error)
        error = heap_name_paths(&keepers->search, paths, count, named);
    for (size_t i = 0; i < growth->keeper_count && !error; i++) {
        struct growth_keeper *keeper = &growth->keepers[i];
        if (!keepers_is_reached(keepers, &keepers->records[i])) {
            error = keepers_name_lost(keepers, keeper, keepers->records[i].holder);
            continue;
        }
        keeper->where = keepers_where(&named[next++], keeper->entries / keeper->holders);
        error = keeper->where ? NULL : keepers_out_of_memory();
    }
    heap_named_paths_deinit(named, count);
    for (size_t i = 0; i < count; i++)
        free(paths[i].nodes);
    return error;
}

static struct error *keepers_name(struct keepers *keepers, struct growth *growth, size_t most)
{
    size_t count = keepers->count < most ? keepers->count : most;
    scoped_free struct paths_path *paths = calloc(count + 1, sizeof(*paths));
    scoped_free struct heap_named_path *named = calloc(count + 1, sizeof(*named));

    growth->keeper_all = keepers->count;
    growth->keepers = calloc(count + 1, sizeof(*growth->keepers));
    if (!growth->keepers || !paths || !named)
        return keepers_out_of_memory();
    for (; growth->keeper_count < count; growth->keeper_count++) {
        struct error *error = keepers_describe(keepers, &growth->keepers[growth->keeper_count],
                                               &keepers->records[growth->keeper_count]);
        if (error)
            return error;
    }
    return keepers_name_all(keepers, growth, paths, named);
}

/* ------------------------------------------------------------------ mostly */

struct keepers_tally {
    uint64_t bytes;
    uint32_t entries;
};

/* Of the entries of each keeper that is told of, the type on which most bytes hang: values rather than their keys. */
static struct error *keepers_count_types(struct keepers *keepers, struct growth *growth, const struct growth_types *types,
                                         const struct compare_look *look)
{
    size_t rows = growth->keeper_count;
    scoped_free struct keepers_tally *tallies = calloc(rows * types->count + 1, sizeof(*tallies));

    if (!tallies)
        return keepers_out_of_memory();
    memset(keepers->slots, 0, keepers->graph->nodes.count * sizeof(*keepers->slots));
    memset(keepers->root_slots, 0, keepers->graph->root_count * sizeof(*keepers->root_slots));
    for (size_t i = 0; i < rows; i++)
        *keepers_slot(keepers, keepers->records[i].holder) = (uint32_t)i + 1;
    for (uint32_t i = 0; i < look->count; i++) {
        uint32_t entry = keepers->found.entries[i];
        uint32_t row = entry == HEAP_NONE ? 0 : *keepers_slot(keepers, keepers->found.holders[entry]);
        if (!row)
            continue;
        struct keepers_tally *tally = &tallies[(row - 1) * (size_t)types->count + look->types[entry]];
        tally->bytes += look->sizes[i];
        tally->entries += entry == i;
    }
    for (size_t i = 0; i < rows; i++) {
        const struct keepers_tally *best = &tallies[i * types->count];
        for (uint32_t type = 0; type < types->count; type++) {
            const struct keepers_tally *tally = &tallies[i * types->count + type];
            if (tally->bytes > best->bytes)
                best = tally;
        }
        growth->keepers[i].mostly = types->names[best - &tallies[i * types->count]];
        growth->keepers[i].mostly_entries = best->entries;
    }
    return NULL;
}

/* ------------------------------------------------------------------ public */

static struct error *keepers_find(struct keepers *keepers, struct growth *growth, const struct growth_types *types,
                                  const struct compare_look *look, size_t most)
{
    struct error *error = compare_find_keepers(&keepers->found, keepers->graph, keepers->compare);

    if (error || (error = keepers_gather(keepers, growth)) ||
        (error = heap_search_open(&keepers->search, keepers->view, keepers->graph, HEAP_NONE)))
        return error;
    keepers_merge(keepers);
    error = keepers_name(keepers, growth, most);
    return error ? error : keepers_count_types(keepers, growth, types, look);
}

struct error *growth_find_keepers(struct growth *growth, const struct growth_types *types, const struct growth_look *after,
                                  const struct compare *compare, struct heap_view *view, const struct graph *graph, size_t most)
{
    scoped_free uint32_t *slots = calloc((size_t)graph->nodes.count + 1, sizeof(*slots));
    scoped_free uint32_t *root_slots = calloc(graph->root_count + 1, sizeof(*root_slots));
    struct keepers keepers = {
        .view = view, .graph = graph, .compare = compare, .slots = slots, .root_slots = root_slots};

    if (!slots || !root_slots)
        return keepers_out_of_memory();
    struct error *error = keepers_find(&keepers, growth, types, &after->look, most);
    heap_search_close(&keepers.search);
    compare_keepers_deinit(&keepers.found);
    free(keepers.records);
    return error;
}
