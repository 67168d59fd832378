/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/glibc_malloc.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"

#define PAGE          4096u
#define BIN_COUNT     127u
#define BINS_SIZE     (BIN_COUNT * 16u)
#define FAST_COUNT    10u
#define NEXT_AFTER    (BINS_SIZE + 16u) /* from the bins: behind the map of 4 words of 32 bits */
#define SYSTEM_AFTER  (NEXT_AFTER + 24u)
#define STATE_AFTER   (NEXT_AFTER + 40u) /* the end of the arena's structure */
#define HEAD_MAX      256u /* bytes of it before the bins */
#define ARENAS_MAX    65536u
#define SEGMENTS_MAX  (1u << 20)
#define VARIABLES_MAX (UINT64_C(4) << 20) /* bytes of a file's variables that are searched */
#define WINDOW        65536u
#define FLAGS         7u
#define PREV_INUSE    1u
#define IS_MMAPPED    2u
#define MIN_CHUNK     32u
/* Along lists of free chunks: each is looked at a few times, whatever the lists are made to look like. */
#define STEPS_PER_CHUNK 8u

/* ------------------------------------------------------------- reading */

static bool read_word(const struct glibc_malloc *heap, uint64_t at, uint64_t *value)
{
    struct error *error = memory_read_u64(heap->memory, address_of(at), value);

    error_destroy(error);
    return !error;
}

static uint64_t word_at(const unsigned char *bytes, uint64_t offset)
{
    uint64_t value;

    memcpy(&value, bytes + offset, sizeof(value));
    return value;
}

/* A part of the memory that is read at once, for words that follow each other. */
struct window {
    const struct glibc_malloc *heap;
    uint64_t start, size;
    unsigned char bytes[WINDOW];
};

static bool window_fill(struct window *window, uint64_t at, uint64_t end)
{
    for (uint64_t size = end - at < WINDOW ? end - at : WINDOW; size >= 8; size = size > PAGE ? PAGE - at % PAGE : 0) {
        struct error *error = memory_read(window->heap->memory, address_of(at), window->bytes, size);
        error_destroy(error);
        window->start = at;
        window->size = error ? 0 : size;
        if (!error)
            return true;
    }
    return false;
}

/* The word at an address before `end`. */
static bool window_word(struct window *window, uint64_t at, uint64_t end, uint64_t *value)
{
    if (at - window->start > window->size || window->size - (at - window->start) < 8) {
        if (end - at < 8 || !window_fill(window, at, end))
            return read_word(window->heap, at, value);
    }
    *value = word_at(window->bytes, at - window->start);
    return true;
}

/* --------------------------------------------------------- the main arena */

/* Does the ring of free chunks at `head` close, at the bin's end? */
static bool is_ring(const struct glibc_malloc *heap, uint64_t head, uint64_t first, uint64_t last)
{
    uint64_t back, forth;

    if (first == head || last == head)
        return first == last;
    return first % 16 == 0 && last % 16 == 0 && read_word(heap, first + 24, &back) && back == head &&
           read_word(heap, last + 16, &forth) && forth == head;
}

static bool is_bins(const struct glibc_malloc *heap, const unsigned char *bytes, uint64_t address)
{
    for (uint64_t i = 0; i < BIN_COUNT; i++) {
        if (!is_ring(heap, address + i * 16 - 16, word_at(bytes, i * 16), word_at(bytes, i * 16 + 8)))
            return false;
    }
    return true;
}

/* How many arenas are in the ring from `main` on, whose bins are `bins` bytes in; 0: it doesn't close. */
static size_t count_arenas(const struct glibc_malloc *heap, uint64_t main, uint64_t bins)
{
    uint64_t at = main;

    for (size_t count = 1; count < ARENAS_MAX; count++) {
        if (!read_word(heap, at + bins + NEXT_AFTER, &at) || at % 8 || !at)
            return 0;
        if (at == main)
            return count;
    }
    return 0;
}

/* The bins are known: so is the rest. */
static bool find_layout(struct glibc_malloc *heap, uint64_t bins, uint64_t *main, size_t *count)
{
    for (uint64_t before = 24; before <= HEAD_MAX && before <= bins; before += 8) {
        *main = bins - before;
        *count = count_arenas(heap, *main, before);
        if (!*count)
            continue;
        uint64_t lists = FAST_COUNT * 8 + 16;
        heap->bins = before;
        heap->top = before - 16;
        heap->fast = before == lists + 8 || before == lists + 16 ? before - lists : 0;
        return true;
    }
    return false;
}

static bool search_variables(struct glibc_malloc *heap, const struct map *map, uint64_t *main, size_t *count)
{
    uint64_t size = map->end.value - map->start.value;
    scoped_free unsigned char *bytes = size <= VARIABLES_MAX ? malloc(size) : NULL;

    if (!bytes)
        return false;
    struct error *error = memory_read(heap->memory, map->start, bytes, size);
    error_destroy(error);
    for (uint64_t at = 0; !error && at + STATE_AFTER <= size; at += 8) {
        uint64_t head = map->start.value + at - 16;
        uint64_t first = word_at(bytes, at), second = word_at(bytes, at + 16);

        /* Most are told by the first two: an empty bin, or chunks far from the variables. */
        if ((first != head && first % 16) || (second != head + 16 && second % 16) || !first || !second)
            continue;
        if (is_bins(heap, bytes + at, head + 16) && find_layout(heap, head + 16, main, count))
            return true;
    }
    return false;
}

static bool is_library(const struct map *map)
{
    const char *name = map_basename(map);

    return !strncmp(name, "libc.so.", 8) || !strncmp(name, "libc-2.", 7);
}

/* In the C library's variables; or those of a program that has it in itself. */
static bool find_main(struct glibc_malloc *heap, const struct maps *maps, const struct map **where, uint64_t *main,
                      size_t *count)
{
    for (int library = 1; library >= 0; library--) {
        for (size_t i = 0; i < maps->count; i++) {
            const struct map *map = &maps->entries[i];

            if (!map->inode || !map->readable || !map->writable || map->shared || is_library(map) != library)
                continue;
            *where = map;
            if (search_variables(heap, map, main, count))
                return true;
        }
    }
    return false;
}

/* -------------------------------------------------------------- segments */

static struct error *out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the heap of malloc");
}

static struct error *add_segment(struct glibc_malloc *heap, size_t *room, const struct glibc_segment *segment)
{
    if (heap->segment_count == *room) {
        size_t more = *room ? *room * 2 : 16;
        struct glibc_segment *larger = realloc(heap->segments, more * sizeof(*larger));

        if (!larger)
            return out_of_memory();
        heap->segments = larger;
        *room = more;
    }
    heap->segments[heap->segment_count++] = *segment;
    return NULL;
}

/* The main arena's, by brk(): from the start of the mapping that holds its end. */
static struct error *add_main_segment(struct glibc_malloc *heap, size_t *room, const struct maps *maps)
{
    uint64_t top = heap->arenas[0].top, size;
    const struct map *map = maps_find(maps, address_of(top));

    if (!map || !read_word(heap, top + 8, &size) || (size & ~(uint64_t)FLAGS) > map->end.value - top) {
        heap->arenas[0].sound = false;
        return NULL;
    }
    uint64_t start = (map->start.value + 15) & ~UINT64_C(15);
    return add_segment(heap, room, &(struct glibc_segment){.start = map->start.value, .end = top + (size & ~(uint64_t)FLAGS), .first = start});
}

/* Where an arena's first heap begins, and how large heaps are: it lies right behind that heap's head, of 32 or 48
 * bytes, at whose beginning is its address. */
static bool find_first_heap(const struct glibc_malloc *heap, uint64_t arena, uint64_t *first, uint64_t *size)
{
    static const uint64_t sizes[] = {UINT64_C(64) << 20, UINT64_C(8) << 20, UINT64_C(4) << 30};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t owner;

        *size = sizes[i];
        *first = arena & ~(sizes[i] - 1);
        if ((arena - *first == 32 || arena - *first == 48) && read_word(heap, *first, &owner) && owner == arena)
            return true;
    }
    return false;
}

/* The heaps of another arena, from the one that has its top back to the first. */
static struct error *add_heaps(struct glibc_malloc *heap, size_t *room, size_t number)
{
    struct glibc_arena *arena = &heap->arenas[number];
    uint64_t first, most, owner, size, at;

    arena->sound = find_first_heap(heap, arena->address, &first, &most);
    if (!arena->sound)
        return NULL;
    for (at = arena->top & ~(most - 1); heap->segment_count < SEGMENTS_MAX;) {
        if (!read_word(heap, at, &owner) || owner != arena->address || !read_word(heap, at + 16, &size) ||
            size % PAGE || size > most || size < PAGE)
            break;
        struct glibc_segment segment = {.start = at, .end = at + size, .arena = number};
        segment.first = at + (arena->address - first);
        if (at == first)
            segment.first = (arena->address + heap->bins + STATE_AFTER + 15) & ~UINT64_C(15);
        struct error *error = add_segment(heap, room, &segment);
        if (error || at == first)
            return error;
        if (!read_word(heap, at + 8, &at))
            break;
    }
    arena->sound = false;
    return NULL;
}

static int compare_segments(const void *a, const void *b)
{
    uint64_t one = ((const struct glibc_segment *)a)->start, other = ((const struct glibc_segment *)b)->start;

    return one < other ? -1 : one > other;
}

/* Drops what overlaps: a ring of heaps may say anything. */
static void drop_overlaps(struct glibc_malloc *heap)
{
    size_t kept = 0;

    qsort(heap->segments, heap->segment_count, sizeof(*heap->segments), compare_segments);
    for (size_t i = 0; i < heap->segment_count; i++) {
        const struct glibc_segment segment = heap->segments[i];

        if (segment.first < segment.start || segment.first > segment.end ||
            (kept && heap->segments[kept - 1].end > segment.start)) {
            heap->arenas[segment.arena].sound = false;
            continue;
        }
        heap->segments[kept++] = segment;
    }
    heap->segment_count = kept;
}

static struct error *find_segments(struct glibc_malloc *heap, const struct maps *maps)
{
    size_t room = 0;
    struct error *error = add_main_segment(heap, &room, maps);

    for (size_t i = 1; i < heap->arena_count && !error; i++)
        error = add_heaps(heap, &room, i);
    if (heap->segment_count)
        drop_overlaps(heap);
    for (size_t i = 0; i < heap->segment_count && !error; i++) {
        struct glibc_segment *segment = &heap->segments[i];
        const struct map *map = maps_find(maps, address_of(segment->start));
        size_t words = (segment->end - segment->start) / 16 / 64 + 1;

        heap->steps_left += (segment->end - segment->start) / MIN_CHUNK * STEPS_PER_CHUNK;
        segment->walked = segment->first;
        if (!map || map->end.value < segment->end) { /* nothing is taken for what isn't there */
            heap->arenas[segment->arena].sound = false;
            segment->end = segment->first = segment->walked = segment->start;
            words = 1;
        }
        segment->starts = calloc(words, 8);
        segment->cached = calloc(words, 8);
        segment->fast = calloc(words, 8);
        if (!segment->starts || !segment->cached || !segment->fast)
            error = out_of_memory();
    }
    return error;
}

/* ---------------------------------------------------------------- chunks */

static bool get_bit(const uint64_t *bits, const struct glibc_segment *segment, uint64_t address)
{
    uint64_t at = (address - segment->start) / 16;

    return bits[at / 64] >> at % 64 & 1;
}

static void set_bit(uint64_t *bits, const struct glibc_segment *segment, uint64_t address)
{
    uint64_t at = (address - segment->start) / 16;

    bits[at / 64] |= UINT64_C(1) << at % 64;
}

static enum glibc_state state_of(const struct glibc_segment *segment, uint64_t at, uint64_t next_head)
{
    if (!(next_head & PREV_INUSE))
        return GLIBC_FREE;
    return get_bit(segment->cached, segment, at) ? GLIBC_TCACHE : get_bit(segment->fast, segment, at) ? GLIBC_FAST : GLIBC_USED;
}

/* Walks a segment's chunks. The last are 16 bytes that mark its end, where the top isn't in it. Where the walk ends is
 * `walked`: false when it should go on. */
static bool walk(const struct glibc_malloc *heap, struct glibc_segment *segment, struct window *window, glibc_chunk_fn *fn,
                 void *context)
{
    uint64_t top = heap->arenas[segment->arena].top, at = segment->first, end = segment->end, head, next;

    window->size = 0;
    for (segment->walked = at; end - at >= 16; segment->walked = at) {
        if (!window_word(window, at + 8, end, &head))
            return false;
        uint64_t size = head & ~(uint64_t)FLAGS;
        if (!size && end - at == 16)
            break;
        if (size < 16 || size % 16 || size > end - at)
            return false;
        struct glibc_chunk chunk = {at, size, GLIBC_TOP, segment->arena};
        if (at != top) {
            if (end - at - size < 16 || !window_word(window, at + size + 8, end, &next))
                return false;
            chunk.state = state_of(segment, at, next);
        }
        fn(context, &chunk);
        at += size;
    }
    segment->walked = end;
    return true;
}

void glibc_malloc_visit(struct glibc_malloc *heap, glibc_chunk_fn *fn, void *context)
{
    scoped_free struct window *window = calloc(1, sizeof(*window));

    if (!window)
        return;
    window->heap = heap;
    for (size_t i = 0; i < heap->segment_count; i++) {
        if (!walk(heap, &heap->segments[i], window, fn, context))
            heap->arenas[heap->segments[i].arena].sound = false;
    }
}

static struct glibc_segment *find_segment(const struct glibc_malloc *heap, uint64_t address)
{
    size_t low = 0, high = heap->segment_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct glibc_segment *segment = &heap->segments[middle];

        if (address < segment->start)
            high = middle;
        else if (address >= segment->end)
            low = middle + 1;
        else
            return segment;
    }
    return NULL;
}

/* The segment in which a chunk begins at the address, NULL where none does. */
static struct glibc_segment *find_chunk(const struct glibc_malloc *heap, uint64_t address)
{
    struct glibc_segment *segment = address % 16 ? NULL : find_segment(heap, address);

    return segment && get_bit(segment->starts, segment, address) ? segment : NULL;
}

static uint64_t chunk_size(const struct glibc_malloc *heap, uint64_t chunk)
{
    uint64_t head;

    return read_word(heap, chunk + 8, &head) ? head & ~(uint64_t)FLAGS : 0;
}

/* ---------------------------------------------------------- caches, fastbins */

/* A list of free chunks that have the flag of used ones, linked at their data. `size`: all of it have that one; 0: any. */
struct chain {
    uint64_t head;   /* address of the first one's data; 0: empty */
    uint64_t offset; /* from the data to where a link points to: 0, or 16 back to the chunk */
    uint64_t size, most;
};

static uint64_t follow(const struct glibc_malloc *heap, uint64_t data)
{
    uint64_t link;

    if (!read_word(heap, data, &link))
        return UINT64_MAX;
    return heap->mangled ? link ^ data >> 12 : link;
}

/* How many chunks it has; UINT64_MAX: it makes no sense. */
static uint64_t chain_length(struct glibc_malloc *heap, const struct chain *chain)
{
    uint64_t count = 0;

    for (uint64_t at = chain->head; at; at = follow(heap, at), count++) {
        if (at == UINT64_MAX)
            return UINT64_MAX;
        at += chain->offset;
        if (count >= chain->most || !heap->steps_left || !find_chunk(heap, at - 16) ||
            (chain->size && chunk_size(heap, at - 16) != chain->size))
            return UINT64_MAX;
        heap->steps_left--;
    }
    return count;
}

/* Sets the bit of each of a chain's chunks. */
static void mark_chain(const struct glibc_malloc *heap, const struct chain *chain, bool fast)
{
    uint64_t at = chain->head;

    for (uint64_t count = 0; at && count < chain->most; count++) {
        at += chain->offset;
        struct glibc_segment *segment = find_chunk(heap, at - 16);
        if (!segment)
            return;
        set_bit(fast ? segment->fast : segment->cached, segment, at - 16);
        at = follow(heap, at);
    }
}

/* The forms of a thread's cache: counts, then heads of lists. The last one (2.42 and later) counts what still fits in. */
struct cache_form {
    uint64_t chunk, bins, count_size;
    bool counts;
};
static const struct cache_form cache_forms[] = {
    {0x250, 64, 1, true}, {0x290, 64, 2, true}, {0x300, 76, 2, false}, {0x310, 76, 2, false}};

#define CACHE_BINS      76u
#define CACHE_SMALL     64u
#define CACHE_CHAIN_MAX 65536u

static struct chain cache_chain(const struct cache_form *form, const unsigned char *bytes, uint64_t bin)
{
    return (struct chain){.head = word_at(bytes, form->bins * form->count_size + bin * 8),
                          .size = bin < CACHE_SMALL ? MIN_CHUNK + bin * 16 : 0,
                          .most = CACHE_CHAIN_MAX};
}

/* Is it a cache, with something in it? */
static bool is_cache(struct glibc_malloc *heap, const struct cache_form *form, const unsigned char *bytes)
{
    uint64_t all = 0;

    for (uint64_t i = 0; i < form->bins; i++) {
        struct chain chain = cache_chain(form, bytes, i);
        uint64_t count = form->count_size == 1 ? bytes[i] : bytes[2 * i] | (uint64_t)bytes[2 * i + 1] << 8;

        if (chain.head % 16 || (form->counts && (count == 0) != (chain.head == 0)))
            return false;
        uint64_t length = chain_length(heap, &chain);
        if (length == UINT64_MAX || (form->counts && length != count))
            return false;
        all += length;
    }
    return all > 0;
}

struct cache_search {
    struct glibc_malloc *heap;
    bool mark;
    size_t found;
};

static void try_cache(void *context, const struct glibc_chunk *chunk)
{
    struct cache_search *search = context;
    unsigned char bytes[CACHE_BINS * 10];

    for (size_t i = 0; chunk->state != GLIBC_FREE && i < sizeof(cache_forms) / sizeof(cache_forms[0]); i++) {
        const struct cache_form *form = &cache_forms[i];

        if (chunk->size != form->chunk)
            continue;
        struct error *error =
            memory_read(search->heap->memory, address_of(chunk->address + 16), bytes, form->bins * (form->count_size + 8));
        error_destroy(error);
        if (error || !is_cache(search->heap, form, bytes))
            continue;
        search->found++;
        for (uint64_t bin = 0; search->mark && bin < form->bins; bin++) {
            struct chain chain = cache_chain(form, bytes, bin);
            mark_chain(search->heap, &chain, false);
        }
        return;
    }
}

static size_t find_caches(struct glibc_malloc *heap, bool mangled, bool mark)
{
    struct cache_search search = {heap, mark, 0};

    heap->mangled = mangled;
    glibc_malloc_visit(heap, try_cache, &search);
    return search.found;
}

/* The fastbins of an arena: false when they make no sense. */
static bool read_fastbins(struct glibc_malloc *heap, const struct glibc_arena *arena, bool mark)
{
    for (uint64_t i = 0; heap->fast && i < FAST_COUNT; i++) {
        struct chain chain = {.offset = 16, .size = MIN_CHUNK + i * 16, .most = UINT32_MAX};

        if (!read_word(heap, arena->address + heap->fast + i * 8, &chain.head) || chain_length(heap, &chain) == UINT64_MAX)
            return false;
        if (mark)
            mark_chain(heap, &chain, true);
    }
    return true;
}

static bool all_fastbins_make_sense(struct glibc_malloc *heap)
{
    for (size_t i = 0; i < heap->arena_count; i++) {
        if (!read_fastbins(heap, &heap->arenas[i], false))
            return false;
    }
    return true;
}

/* Links are mangled in later versions: whichever way more lists make sense. */
static void find_lists(struct glibc_malloc *heap)
{
    size_t plain = find_caches(heap, false, false), mangled = find_caches(heap, true, false);

    heap->mangled = mangled > plain;
    if (mangled == plain) {
        heap->mangled = true;
        heap->mangled = all_fastbins_make_sense(heap);
    }
    heap->tcaches = find_caches(heap, heap->mangled, true);
    for (size_t i = 0; i < heap->arena_count; i++) {
        if (!read_fastbins(heap, &heap->arenas[i], true))
            heap->arenas[i].sound = false;
    }
}

/* ------------------------------------------------------------- counting */

static void mark_start(void *context, const struct glibc_chunk *chunk)
{
    struct glibc_segment *segment = find_segment(context, chunk->address);

    if (segment)
        set_bit(segment->starts, segment, chunk->address);
}

static void count_chunk(void *context, const struct glibc_chunk *chunk)
{
    struct glibc_arena *arena = &((struct glibc_malloc *)context)->arenas[chunk->arena];

    arena->count[chunk->state]++;
    arena->bytes[chunk->state] += chunk->size;
}

/* The chunks in an arena's bins are as many as the walk found free? */
static bool bins_agree(const struct glibc_malloc *heap, const struct glibc_arena *arena)
{
    uint64_t count = 0, most = arena->count[GLIBC_FREE];

    for (uint64_t i = 0; i < BIN_COUNT; i++) {
        uint64_t head = arena->address + heap->bins + i * 16 - 16, at;

        if (!read_word(heap, head + 16, &at))
            return false;
        for (; at != head && count <= most; count++) {
            if (!find_chunk(heap, at) || !read_word(heap, at + 16, &at))
                return false;
        }
    }
    return count == most;
}

/* malloc's own counts of blocks with a mapping each, which stand before the address at which its heap begins. */
static void find_counts(struct glibc_malloc *heap, const struct map *where)
{
    uint64_t size = where->end.value - where->start.value, start = UINT64_MAX;
    scoped_free unsigned char *bytes = malloc(size);

    for (size_t i = 0; i < heap->segment_count; i++)
        start = heap->segments[i].arena == 0 ? heap->segments[i].start : start;
    if (!bytes)
        return;
    struct error *error = memory_read(heap->memory, where->start, bytes, size);
    error_destroy(error);
    for (uint64_t at = 32; !error && at + 8 <= size && !heap->counted; at += 8) {
        uint32_t count, most;

        memcpy(&count, bytes + at - 32, sizeof(count));
        memcpy(&most, bytes + at - 28, sizeof(most));
        uint64_t mapped = word_at(bytes, at - 16), peak = word_at(bytes, at - 8);
        if (word_at(bytes, at) != start || count > most || most > INT32_MAX || mapped % PAGE || mapped > peak || peak % PAGE)
            continue;
        heap->counted = true;
        heap->mapped_count = count;
        heap->mapped_bytes = mapped;
    }
}

/* ---------------------------------------------------------------- public */

static struct error *read_arenas(struct glibc_malloc *heap, uint64_t main, size_t count)
{
    uint64_t at = main;

    heap->arenas = calloc(count, sizeof(*heap->arenas));
    if (!heap->arenas)
        return out_of_memory();
    for (heap->arena_count = 0; heap->arena_count < count; heap->arena_count++) {
        struct glibc_arena *arena = &heap->arenas[heap->arena_count];

        arena->address = at;
        arena->sound = read_word(heap, at + heap->top, &arena->top) &&
                       read_word(heap, at + heap->bins + SYSTEM_AFTER, &arena->system_bytes) &&
                       read_word(heap, at + heap->bins + SYSTEM_AFTER - 8, &arena->threads) &&
                       read_word(heap, at + heap->bins + NEXT_AFTER, &at);
        if (!arena->sound)
            return error_create(ERROR_UNSUPPORTED, NULL, "an arena of malloc can't be read");
    }
    return NULL;
}

struct error *glibc_malloc_read(struct glibc_malloc *heap, const struct memory *memory, const struct maps *maps)
{
    const struct map *where;
    uint64_t main;
    size_t count;

    *heap = (struct glibc_malloc){.memory = memory};
    if (!find_main(heap, maps, &where, &main, &count))
        return error_create(ERROR_UNSUPPORTED, NULL, "no arena of glibc's malloc was found");
    struct error *error = read_arenas(heap, main, count);
    if (!error)
        error = find_segments(heap, maps);
    if (error)
        return error;
    glibc_malloc_visit(heap, mark_start, heap);
    find_lists(heap);
    glibc_malloc_visit(heap, count_chunk, heap);
    for (size_t i = 0; i < heap->arena_count; i++)
        heap->arenas[i].sound &= bins_agree(heap, &heap->arenas[i]);
    find_counts(heap, where);
    return NULL;
}

void glibc_malloc_deinit(struct glibc_malloc *heap)
{
    for (size_t i = 0; i < heap->segment_count; i++) {
        free(heap->segments[i].starts);
        free(heap->segments[i].cached);
        free(heap->segments[i].fast);
    }
    free(heap->segments);
    free(heap->arenas);
    *heap = (struct glibc_malloc){.memory = NULL};
}

/* Before 2.43 the size is that of the mapping; since then without the chunk's head. */
uint64_t glibc_malloc_mapped_size(const struct glibc_malloc *heap, uint64_t page, uint64_t room)
{
    uint64_t before, head;

    if (room < PAGE || !read_word(heap, page, &before) || before || !read_word(heap, page + 8, &head) ||
        (head & FLAGS) != IS_MMAPPED)
        return 0;
    uint64_t size = head & ~(uint64_t)FLAGS;
    if (size % PAGE == PAGE - 16)
        size += 16;
    return size && size % PAGE == 0 && size <= room ? size : 0;
}
