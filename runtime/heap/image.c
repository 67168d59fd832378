/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/heap/image.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attach/parallel.h"
#include "attach/scope.h"

#define PAGE         4096u
#define MEGABYTE     (UINT64_C(1) << 20)
#define LEAF_BITS    14
#define LEAF_COUNT   (1u << LEAF_BITS)
#define TOP_COUNT    (1u << 13) /* 47 bits of address in all */
#define ADDRESS_END  (UINT64_C(1) << 47)
#define READ_AT_ONCE (16 * MEGABYTE)
/* As many bytes as positions can tell apart. */
#define IMAGE_MAX (UINT64_C(8) * (UINT32_MAX - 1))
/* Empty pages are left out where at least this many lie together. */
#define GAP_PAGES 16

/* -------------------------------------------------------------- spans */

struct span_list {
    struct heap_span *spans;
    size_t count, room;
};

static struct error *out_of_memory(const char *what)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", what);
}

static struct error *span_add(struct span_list *list, uint64_t start, uint64_t end, bool statics)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        struct heap_span *larger = realloc(list->spans, room * sizeof(*larger));
        if (!larger)
            return out_of_memory("the list of mappings");
        list->spans = larger;
        list->room = room;
    }
    list->spans[list->count++] = (struct heap_span){start, end - start, statics};
    return NULL;
}

/* Can objects, or references to them, lie there? */
static bool is_wanted(const struct map *map)
{
    return map->readable && map->writable && !map->shared && strncmp(map->path, "/dev/", 5) != 0 &&
           map->end.value <= ADDRESS_END;
}

/* Adds the parts of an anonymous mapping that have pages, by its entries in pagemap. */
static struct error *add_present(struct span_list *list, int pagemap, uint64_t start, uint64_t end)
{
    uint64_t entries[4096];
    uint64_t from = 0, last = 0; /* a run of present pages, [from, last); empty when equal */

    for (uint64_t at = start; at < end;) {
        size_t wanted = (size_t)((end - at) / PAGE);
        if (wanted > sizeof(entries) / sizeof(entries[0]))
            wanted = sizeof(entries) / sizeof(entries[0]);
        ssize_t got = pread(pagemap, entries, wanted * 8, (off_t)(at / PAGE * 8));
        if (got < 8)
            return span_add(list, from < last ? from : at, end, false);
        for (size_t i = 0; i < (size_t)got / 8; i++, at += PAGE) {
            if (!(entries[i] >> 62)) /* neither present nor swapped */
                continue;
            if (from < last && at - last > GAP_PAGES * PAGE) {
                struct error *error = span_add(list, from, last, false);
                if (error)
                    return error;
                from = at;
            } else if (from == last) {
                from = at;
            }
            last = at + PAGE;
        }
    }
    return from < last ? span_add(list, from, last, false) : NULL;
}

/* The pages that a copy or a core has. */
struct stored {
    const struct copy_run *runs;
    size_t count;
    bool statics; /* what it hasn't of files' variables is left out too */
};

/* Adds the parts of a mapping that are stored, over small gaps. */
static struct error *add_stored(struct span_list *list, const struct stored *copy, size_t *run, uint64_t start, uint64_t end,
                                bool statics)
{
    uint64_t from = 0, last = 0; /* [from, last); empty when equal */
    struct error *error = NULL;

    while (*run < copy->count && copy->runs[*run].start + copy->runs[*run].size <= start)
        ++*run;
    for (size_t i = *run; i < copy->count && copy->runs[i].start < end && !error; i++) {
        uint64_t first = copy->runs[i].start > start ? copy->runs[i].start : start;
        uint64_t past = copy->runs[i].start + copy->runs[i].size;
        if (from < last && first - last > GAP_PAGES * PAGE)
            error = span_add(list, from, last, statics);
        if (from == last || first - last > GAP_PAGES * PAGE)
            from = first;
        last = past < end ? past : end;
    }
    return !error && from < last ? span_add(list, from, last, statics) : error;
}

/* What has no file and follows a file's variables are its variables too: those that start as zero. */
static bool is_statics(const struct span_list *list, const struct map *map)
{
    const struct heap_span *before = list->count ? &list->spans[list->count - 1] : NULL;

    return map->inode || (before && before->statics && before->start + before->size == map->start.value && !*map->path);
}

/* Which pages of a mapping there are is told by its pagemap, or a copy; or by none. */
static struct error *find_spans(struct span_list *list, const struct maps *maps, int pagemap,
                                const struct stored *copy)
{
    struct error *error = NULL;
    size_t run = 0;

    for (size_t i = 0; i < maps->count && !error; i++) {
        const struct map *map = &maps->entries[i];
        bool statics = is_statics(list, map), small = map->end.value - map->start.value < MEGABYTE;

        if (!is_wanted(map))
            continue;
        if (copy && (!statics || copy->statics))
            error = add_stored(list, copy, &run, map->start.value, map->end.value, statics);
        else if (pagemap >= 0 && !statics && !small)
            error = add_present(list, pagemap, map->start.value, map->end.value);
        else
            error = span_add(list, map->start.value, map->end.value, statics);
    }
    if (error) {
        free(list->spans);
        *list = (struct span_list){0};
    }
    return error;
}

struct error *heap_spans_find(const struct maps *maps, pid_t pid, struct heap_span **spans, size_t *count)
{
    struct span_list list = {0};
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
    scoped_fd int pagemap = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct error *error = find_spans(&list, maps, pagemap, NULL);
    *spans = list.spans;
    *count = list.count;
    return error;
}

struct error *heap_spans_find_copied(const struct copy *copy, struct heap_span **spans, size_t *count)
{
    struct span_list list = {0};
    const struct stored stored = {copy->runs, copy->count, false};
    struct error *error = find_spans(&list, &copy->maps, -1, &stored);

    *spans = list.spans;
    *count = list.count;
    return error;
}

struct error *heap_spans_find_core(const struct core *core, const struct maps *maps, struct heap_span **spans, size_t *count,
                                   uint64_t *missing)
{
    struct span_list list = {0};
    scoped_free struct copy_run *runs = NULL;
    struct stored stored = {.statics = true};
    struct error *error = core_find_data(core, &runs, &stored.count, missing);

    stored.runs = runs;
    if (!error)
        error = find_spans(&list, maps, -1, &stored);
    *spans = list.spans;
    *count = list.count;
    return error;
}

/* -------------------------------------------------------------- image */

/* Statics are small and everything starts from them: they come first when not all fits. */
static void choose_spans(const struct heap_span *spans, size_t count, uint64_t max_bytes, uint64_t *taken,
                         struct heap_image *image)
{
    for (int statics = 1; statics >= 0; statics--)
        for (size_t i = 0; i < count; i++) {
            uint64_t left = (max_bytes - image->size) & ~(uint64_t)(PAGE - 1);
            if (spans[i].statics != (statics == 1))
                continue;
            taken[i] = spans[i].size <= left ? spans[i].size : left;
            image->size += taken[i];
            image->missing += spans[i].size - taken[i];
        }
}

static void add_range(struct heap_image *image, const struct heap_span *span, uint64_t size, uint64_t local)
{
    struct heap_range *last = image->count ? &image->ranges[image->count - 1] : NULL;

    if (last && last->start + last->size == span->start && last->statics == span->statics)
        last->size += size;
    else
        image->ranges[image->count++] = (struct heap_range){span->start, size, local, span->statics};
}

static struct error *index_range(struct heap_image *image, uint32_t number)
{
    const struct heap_range *range = &image->ranges[number];

    for (uint64_t at = range->start / MEGABYTE; at <= (range->start + range->size - 1) / MEGABYTE; at++) {
        uint32_t **leaf = &image->index[at >> LEAF_BITS];
        if (!*leaf)
            *leaf = calloc(LEAF_COUNT, sizeof(**leaf));
        if (!*leaf)
            return out_of_memory("the index of memory");
        if (!(*leaf)[at % LEAF_COUNT])
            (*leaf)[at % LEAF_COUNT] = number + 1;
    }
    return NULL;
}

static struct error *fill_image(struct heap_image *image, const struct heap_span *spans, size_t count,
                                const uint64_t *taken)
{
    uint64_t local = 0;

    for (size_t i = 0; i < count; i++) {
        if (!taken[i])
            continue;
        add_range(image, &spans[i], taken[i], local);
        local += taken[i];
    }
    image->last = image->other = image->ranges; /* there is room for one more than there are */
    for (size_t i = 0; i < image->count; i++) {
        struct error *error = index_range(image, (uint32_t)i);
        if (error)
            return error;
    }
    image->bytes = mmap(NULL, image->size ? image->size : PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (image->bytes == MAP_FAILED) {
        image->bytes = NULL;
        return error_create_errno(ERROR_SYSTEM, errno, "no memory for a copy of %llu bytes",
                                  (unsigned long long)image->size);
    }
    (void)madvise(image->bytes, image->size, MADV_HUGEPAGE);
    return NULL;
}

struct error *heap_image_init(struct heap_image *image, const struct heap_span *spans, size_t count, uint64_t max_bytes)
{
    *image = (struct heap_image){0};
    scoped_free uint64_t *taken = calloc(count + 1, sizeof(*taken));
    image->ranges = calloc(count + 1, sizeof(*image->ranges));
    image->index = calloc(TOP_COUNT, sizeof(*image->index));
    if (!taken || !image->ranges || !image->index) {
        heap_image_deinit(image);
        return out_of_memory("the index of memory");
    }
    choose_spans(spans, count, max_bytes && max_bytes < IMAGE_MAX ? max_bytes : IMAGE_MAX, taken, image);
    struct error *error = fill_image(image, spans, count, taken);
    if (error)
        heap_image_deinit(image);
    return error;
}

void heap_image_deinit(struct heap_image *image)
{
    if (image->bytes)
        munmap(image->bytes, image->size ? image->size : PAGE);
    for (size_t i = 0; image->index && i < TOP_COUNT; i++)
        free(image->index[i]);
    free(image->index);
    free(image->ranges);
    *image = (struct heap_image){0};
}

void heap_image_prefault(struct heap_image *image)
{
    for (uint64_t at = 0; at < image->size; at += PAGE)
        ((volatile unsigned char *)image->bytes)[at] = 0;
}

/* Page by page, where a larger piece couldn't be read. */
static uint64_t read_pages(struct heap_image *image, const struct memory *memory, uint64_t address, uint64_t local,
                           uint64_t size)
{
    uint64_t missing = 0;

    for (uint64_t at = 0; at < size; at += PAGE) {
        struct error *error = memory_read(memory, address_of(address + at), image->bytes + local + at, PAGE);
        if (error)
            missing += PAGE;
        error_destroy(error);
    }
    return missing;
}

/* The work is cut into pieces, which several threads read where the memory lets them. */
struct image_reading {
    struct heap_image *image;
    const struct memory *memory;
    const struct heap_progress *progress; /* told by the caller's thread alone */
    pthread_t caller;
    struct image_piece {
        uint64_t address, local, size;
    } * pieces;
    size_t count;
    pthread_mutex_t lock; /* for what follows */
    uint64_t missing;
    struct error *first; /* for which bytes are missing */
};

static struct error *cut_pieces(struct image_reading *reading)
{
    const struct heap_image *image = reading->image;

    reading->pieces = calloc(image->size / READ_AT_ONCE + image->count + 1, sizeof(*reading->pieces));
    if (!reading->pieces)
        return out_of_memory("the list of memory");
    for (size_t i = 0; i < image->count; i++) {
        const struct heap_range *range = &image->ranges[i];
        for (uint64_t at = 0; at < range->size; at += READ_AT_ONCE) {
            uint64_t size = range->size - at < READ_AT_ONCE ? range->size - at : READ_AT_ONCE;
            reading->pieces[reading->count++] = (struct image_piece){range->start + at, range->local + at, size};
        }
    }
    return NULL;
}

static void lack(struct image_reading *reading, uint64_t missing, struct error *error)
{
    pthread_mutex_lock(&reading->lock);
    reading->missing += missing;
    if (reading->first)
        error_destroy(error);
    else
        reading->first = error;
    pthread_mutex_unlock(&reading->lock);
}

static struct error *read_piece(void *context, size_t number)
{
    struct image_reading *reading = context;
    const struct image_piece *piece = &reading->pieces[number];
    const struct heap_progress *progress = reading->progress;
    struct error *error = NULL;

    if (progress && pthread_equal(pthread_self(), reading->caller))
        error = progress->step(progress->context, "copying memory", piece->local, reading->image->size);
    if (error)
        return error;
    error = memory_read(reading->memory, address_of(piece->address), reading->image->bytes + piece->local, piece->size);
    if (!error || error_code(error) != ERROR_FAULT)
        return error;
    lack(reading, read_pages(reading->image, reading->memory, piece->address, piece->local, piece->size), error);
    return NULL;
}

static struct error *read_pieces(struct image_reading *reading)
{
    struct error *error = NULL;

    if (reading->memory->ops->concurrent)
        return parallel_run(reading->count, read_piece, reading);
    for (size_t i = 0; i < reading->count && !error; i++)
        error = read_piece(reading, i);
    return error;
}

struct error *heap_image_read(struct heap_image *image, const struct memory *memory,
                              const struct heap_progress *progress)
{
    struct image_reading reading = {.image = image,
                                    .memory = memory,
                                    .progress = progress,
                                    .caller = pthread_self(),
                                    .lock = PTHREAD_MUTEX_INITIALIZER};
    struct error *error = cut_pieces(&reading);

    if (!error)
        error = read_pieces(&reading);
    free(reading.pieces);
    image->missing += reading.missing;
    if (!error && reading.missing == image->size && reading.first)
        return reading.first;
    error_destroy(reading.first);
    return error;
}

const struct heap_range *heap_image_find(const struct heap_image *image, uint64_t address)
{
    uint64_t megabyte = address / MEGABYTE;
    const uint32_t *leaf = address < ADDRESS_END ? image->index[megabyte >> LEAF_BITS] : NULL;
    uint32_t number = leaf ? leaf[megabyte % LEAF_COUNT] : 0;

    if (!number)
        return NULL;
    for (size_t i = number - 1; i < image->count && image->ranges[i].start <= address; i++)
        if (address - image->ranges[i].start < image->ranges[i].size)
            return &image->ranges[i];
    return NULL;
}

uint64_t heap_image_address(const struct heap_image *image, uint32_t position)
{
    uint64_t local = (uint64_t)position * 8;
    size_t low = 0, high = image->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (image->ranges[middle].local <= local)
            low = middle;
        else
            high = middle;
    }
    return image->ranges[low].start + (local - image->ranges[low].local);
}
