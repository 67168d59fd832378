/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "attach/scope.h"

#define COPY_PAGE 4096u
#define COPY_THREADS_MAX 4
#define COPY_PART ((size_t)4 << 20) /* what a thread takes at a time */
#define COPY_VECTORS 512            /* runs read by one call */
/* A mapping larger than that is address space, not memory; what is in it is read from the target. */
#define COPY_MAP_MAX ((uint64_t)256 << 30)
#define COPY_SLACK ((size_t)8 << 20)
#define COPY_PAGEMAP_ENTRIES 32768
/* /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst) */
#define COPY_PAGE_PRESENT (UINT64_C(3) << 62) /* or swapped out */
#define COPY_PAGE_GUARD (UINT64_C(1) << 58)   /* of MADV_GUARD_INSTALL, also marked as swapped out; Linux 6.15 */

/* ---------------------------------------------------------- what is to be copied */

static bool copy_wants(const struct map *map)
{
    return map->writable && map->readable && !map->shared && map->end.value - map->start.value <= COPY_MAP_MAX;
}

static struct error *copy_add_page(struct copy *copy, uint64_t at, uint64_t *used)
{
    struct copy_run *last = copy->count ? &copy->runs[copy->count - 1] : NULL;

    if (last && last->start + last->size == at) {
        last->size += COPY_PAGE;
    } else {
        if (copy->count == copy->runs_room) {
            size_t room = copy->runs_room ? copy->runs_room * 2 : 1024;
            struct copy_run *larger = reallocarray(copy->runs, room, sizeof(*larger));

            if (!larger)
                return error_create(ERROR_SYSTEM, NULL, "out of memory for a list of pages");
            copy->runs = larger;
            copy->runs_room = room;
        }
        copy->runs[copy->count++] = (struct copy_run){at, COPY_PAGE, *used};
    }
    *used += COPY_PAGE;
    return NULL;
}

static struct error *copy_add_map(struct copy *copy, int pagemap, const struct map *map, uint64_t *entries,
                                  uint64_t *used)
{
    struct error *error = NULL;

    for (uint64_t at = map->start.value; at < map->end.value && !error;) {
        uint64_t pages = (map->end.value - at) / COPY_PAGE;
        size_t want = pages < COPY_PAGEMAP_ENTRIES ? (size_t)pages : COPY_PAGEMAP_ENTRIES;
        ssize_t got = pread(pagemap, entries, want * sizeof(*entries), (off_t)(at / COPY_PAGE * sizeof(*entries)));

        if (got <= 0)
            return error_create(ERROR_UNSUPPORTED, NULL, "the kernel doesn't tell what pages process %d has",
                                copy->process->pid);
        for (size_t i = 0; i < (size_t)got / sizeof(*entries) && !error; i++, at += COPY_PAGE) {
            if ((entries[i] & COPY_PAGE_PRESENT) && !(entries[i] & COPY_PAGE_GUARD))
                error = copy_add_page(copy, at, used);
        }
    }
    return error;
}

/* Fills in the runs; `size`: of all of them. */
static struct error *copy_list_runs(struct copy *copy, uint64_t *size)
{
    scoped_free uint64_t *entries = malloc(COPY_PAGEMAP_ENTRIES * sizeof(*entries));
    char path[64];

    copy->count = 0;
    *size = 0;
    snprintf(path, sizeof(path), "/proc/%d/pagemap", copy->process->pid);
    scoped_fd int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    if (pagemap < 0 || !entries)
        return error_create(ERROR_UNSUPPORTED, NULL, "can't learn what pages process %d has", copy->process->pid);
    maps_deinit(&copy->maps);
    struct error *error = maps_read(&copy->maps, copy->process->pid);
    for (size_t i = 0; !error && i < copy->maps.count; i++) {
        if (copy_wants(&copy->maps.entries[i]))
            error = copy_add_map(copy, pagemap, &copy->maps.entries[i], entries, size);
    }
    return error;
}

/* ----------------------------------------------------------------- copying */

/* The work is cut into parts of the copy; each thread takes the next part until none is left. */
struct copy_work {
    struct copy *copy;
    uint64_t size;
    pthread_mutex_t lock;
    uint64_t next; /* offset of the first byte that nobody has taken */
    int err;
};

static bool copy_take_part(struct copy_work *work, uint64_t *from, uint64_t *to)
{
    pthread_mutex_lock(&work->lock);
    *from = work->next;
    *to = work->size - work->next < COPY_PART ? work->size : work->next + COPY_PART;
    work->next = *to;
    bool any = *from < *to && !work->err;
    pthread_mutex_unlock(&work->lock);
    return any;
}

/* The run whose copy holds this offset. */
static size_t copy_find_offset(const struct copy *copy, uint64_t offset)
{
    size_t low = 0, high = copy->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (copy->runs[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* One call's worth from `from` on, never beyond `to`; returns the errno. */
static int copy_read_some(const struct copy *copy, uint64_t *from, uint64_t to)
{
    struct iovec remote[COPY_VECTORS];
    size_t count = 0;
    uint64_t at = *from;

    for (size_t i = copy_find_offset(copy, at); i < copy->count && at < to && count < COPY_VECTORS; i++) {
        const struct copy_run *run = &copy->runs[i];
        uint64_t skip = at - run->offset, size = run->size - skip;

        if (size > to - at)
            size = to - at;
        remote[count++] = (struct iovec){(void *)(uintptr_t)(run->start + skip), size};
        at += size;
    }
    struct iovec local = {copy->bytes + *from, at - *from};
    ssize_t got = process_vm_readv(copy->process->pid, &local, 1, remote, count, 0);
    if (got < 0 && errno != EFAULT)
        return errno;
    if (got <= 0) { /* a page that not even the target could read: a guard of Linux 6.13, one with a hardware error */
        got = COPY_PAGE;
        memset(copy->bytes + *from, 0, COPY_PAGE);
    }
    *from += (uint64_t)got;
    return 0;
}

static void *copy_work(void *context)
{
    struct copy_work *work = context;
    uint64_t from, to;
    int err = 0;

    while (!err && copy_take_part(work, &from, &to)) {
        while (!err && from < to)
            err = copy_read_some(work->copy, &from, to);
    }
    if (err) {
        pthread_mutex_lock(&work->lock);
        work->err = err;
        pthread_mutex_unlock(&work->lock);
    }
    return NULL;
}

static size_t copy_thread_count(uint64_t size)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t most = processors > COPY_THREADS_MAX ? COPY_THREADS_MAX : processors < 1 ? 1 : (size_t)processors;

    return size / COPY_PART + 1 < most ? (size_t)(size / COPY_PART + 1) : most;
}

static struct error *copy_read_runs(struct copy *copy, uint64_t size)
{
    struct copy_work work = {.copy = copy, .size = size, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helpers[COPY_THREADS_MAX];
    size_t count = copy_thread_count(size), started = 0;

    while (started + 1 < count && !pthread_create(&helpers[started], NULL, copy_work, &work))
        started++;
    copy_work(&work);
    for (size_t i = 0; i < started; i++)
        pthread_join(helpers[i], NULL);
    if (!work.err)
        return NULL;
    return error_create_errno(work.err == EPERM || work.err == ENOSYS ? ERROR_UNSUPPORTED : ERROR_FAULT, work.err,
                              "can't copy the memory of process %d", copy->process->pid);
}

/* ----------------------------------------------------------------- reading */

/* The first run that ends behind an address; copy->count: none. */
static size_t copy_find_address(const struct copy *copy, uint64_t at)
{
    size_t low = 0, high = copy->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (copy->runs[middle].start + copy->runs[middle].size <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct error *copy_memory_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    const struct copy *copy = memory->source;
    unsigned char *out = to;
    uint64_t at = from.value;
    struct error *error = NULL;

    for (size_t i = copy_find_address(copy, at); size && !error;) {
        const struct copy_run *run = i < copy->count ? &copy->runs[i] : NULL;
        bool copied = run && run->start <= at;
        uint64_t end = copied ? run->start + run->size : run ? run->start : UINT64_MAX;
        size_t part = end - at < size ? (size_t)(end - at) : size;

        if (copied)
            memcpy(out, copy->bytes + run->offset + (at - run->start), part);
        else
            error = memory_read(&copy->process->memory, address_of(at), out, part);
        i += copied;
        out += part;
        at += part;
        size -= part;
    }
    return error;
}

static struct error *copy_memory_write(const struct memory *memory, struct address to, const void *from, size_t size)
{
    (void)memory, (void)from;
    return error_create(ERROR_BUG, NULL, "a copy is not written to (%zu bytes at 0x%llx)", size,
                        (unsigned long long)to.value);
}

static const struct memory_ops copy_memory_ops = {copy_memory_read, copy_memory_write, true};

/* ------------------------------------------------------------------- public */

/* Would it take the memory that others here need? */
static struct error *copy_check_memory(uint64_t size)
{
    char line[128];
    unsigned long long available = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    bool known = false;

    while (file && !known && fgets(line, sizeof(line), file))
        known = sscanf(line, "MemAvailable: %llu kB", &available) == 1;
    if (file)
        fclose(file);
    if (!known || size < available * 1024 / 10 * 9)
        return NULL;
    return error_create(ERROR_SYSTEM, "read it as it runs: --no-pause",
                        "a copy takes %llu MiB, and %llu MiB are free here", (unsigned long long)size >> 20,
                        available >> 10);
}

struct error *copy_prepare(struct copy *copy, const struct process *process)
{
    uint64_t size;

    *copy = (struct copy){.process = process};
    copy->memory = (struct memory){&copy_memory_ops, copy};
    struct error *error = copy_list_runs(copy, &size);
    if (error)
        return error;
    copy->room = (size_t)(size + size / 8) + COPY_SLACK;
    if ((error = copy_check_memory(copy->room)))
        return error;
    void *bytes = mmap(NULL, copy->room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return error_create_errno(ERROR_SYSTEM, errno, "no memory for a copy of %zu MiB", copy->room >> 20);
    copy->bytes = bytes;
    madvise(bytes, copy->room, MADV_HUGEPAGE);
    if (madvise(bytes, copy->room, MADV_POPULATE_WRITE) == 0)
        return NULL;
    if (errno == ENOMEM)
        return error_create(ERROR_SYSTEM, NULL, "no memory for a copy of %zu MiB", copy->room >> 20);
    for (size_t at = 0; at < copy->room; at += COPY_PAGE) /* a kernel before 5.14 */
        ((volatile unsigned char *)copy->bytes)[at] = 0;
    return NULL;
}

struct error *copy_take(struct copy *copy)
{
    uint64_t size;
    struct error *error = copy_list_runs(copy, &size);

    if (error)
        return error;
    if (size > copy->room)
        return error_create(ERROR_BUSY, NULL, "process %d grows faster than it can be copied", copy->process->pid);
    if ((error = copy_read_runs(copy, size)))
        return error;
    madvise(copy->bytes + size, copy->room - size, MADV_DONTNEED);
    return NULL;
}

/* From one address to the other, which one run holds. */
static void copy_forget_part(struct copy *copy, const struct copy_run *run, uint64_t from, uint64_t to)
{
    uint64_t first = (run->offset + (from - run->start) + COPY_PAGE - 1) / COPY_PAGE * COPY_PAGE;
    uint64_t last = (run->offset + (to - run->start)) / COPY_PAGE * COPY_PAGE;

    if (first < last)
        madvise(copy->bytes + first, last - first, MADV_DONTNEED);
}

void copy_forget(struct copy *copy, struct address from, size_t size)
{
    uint64_t end = from.value + size;

    for (size_t i = copy_find_address(copy, from.value); i < copy->count && copy->runs[i].start < end; i++) {
        const struct copy_run *run = &copy->runs[i];
        uint64_t first = run->start > from.value ? run->start : from.value;
        uint64_t last = run->start + run->size < end ? run->start + run->size : end;

        copy_forget_part(copy, run, first, last);
    }
}

void copy_deinit(struct copy *copy)
{
    if (copy->bytes)
        munmap(copy->bytes, copy->room);
    free(copy->runs);
    maps_deinit(&copy->maps);
    *copy = (struct copy){0};
}
