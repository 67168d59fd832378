/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "attach/scope.h"

#define PAGE_SIZE_   UINT64_C(4096)
#define BLOCK_PAGES  32u
#define ROOM_FIRST   64u
#define CALL_MAX     512u       /* pages by one call; the kernel takes 1024 */
#define PAGES_MAX    (1u << 18) /* a gibibyte: nobody's frames take as much */
#define NUMBER_NONE  UINT64_MAX

struct page {
    uint64_t number; /* address / PAGE_SIZE_; NUMBER_NONE: a free slot */
    unsigned char *bytes;
    bool lost; /* couldn't be read when last tried */
};

/* ------------------------------------------------------------------- table */

static size_t page_slot(const struct pages *pages, uint64_t number)
{
    size_t slot = (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (pages->room - 1);

    while (pages->items[slot].number != NUMBER_NONE && pages->items[slot].number != number)
        slot = (slot + 1) & (pages->room - 1);
    return slot;
}

static bool pages_grow(struct pages *pages)
{
    struct pages larger = *pages;

    larger.room = pages->room ? pages->room * 2 : ROOM_FIRST;
    if (!(larger.items = malloc(larger.room * sizeof(*larger.items))))
        return false;
    for (size_t i = 0; i < larger.room; i++)
        larger.items[i].number = NUMBER_NONE;
    for (size_t i = 0; i < pages->room; i++) {
        if (pages->items[i].number != NUMBER_NONE)
            larger.items[page_slot(&larger, pages->items[i].number)] = pages->items[i];
    }
    free(pages->items);
    pages->items = larger.items;
    pages->room = larger.room;
    return true;
}

/* Where the bytes of the next new page go; NULL when memory is out. */
static unsigned char *pages_take_bytes(struct pages *pages)
{
    if (pages->count / BLOCK_PAGES == pages->block_count) {
        unsigned char **more = reallocarray(pages->blocks, pages->block_count + 1, sizeof(*more));
        if (!more)
            return NULL;
        pages->blocks = more;
        if (!(more[pages->block_count] = malloc(BLOCK_PAGES * PAGE_SIZE_)))
            return NULL;
        pages->block_count++;
    }
    return pages->blocks[pages->count / BLOCK_PAGES] + pages->count % BLOCK_PAGES * PAGE_SIZE_;
}

/* The page's entry, made where there was none (then `lost`, until it is read). */
static struct page *pages_take(struct pages *pages, uint64_t number)
{
    if (pages->count * 2 >= pages->room && !pages_grow(pages))
        return NULL;
    struct page *page = &pages->items[page_slot(pages, number)];
    if (page->number == number)
        return page;
    unsigned char *bytes = pages->count < PAGES_MAX ? pages_take_bytes(pages) : NULL;
    if (!bytes)
        return NULL;
    *page = (struct page){number, bytes, true};
    pages->count++;
    return page;
}

/* -------------------------------------------------------------------- read */

static struct error *page_load(struct pages *pages, struct page *page)
{
    pages->calls++;
    struct error *error = memory_read(&pages->process->memory, address_of(page->number * PAGE_SIZE_), page->bytes, PAGE_SIZE_);

    page->lost = error != NULL;
    return error;
}

static struct error *pages_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    struct pages *pages = memory->source;

    if (from.value + size < from.value)
        return error_create(ERROR_FAULT, NULL, "no memory at 0x%llx", (unsigned long long)from.value);
    for (size_t done = 0; done < size;) {
        uint64_t at = from.value + done, offset = at % PAGE_SIZE_;
        size_t part = size - done < PAGE_SIZE_ - offset ? size - done : (size_t)(PAGE_SIZE_ - offset);
        struct page *page = pages_take(pages, at / PAGE_SIZE_);

        if (!page)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for the target's pages");
        struct error *error = page->lost ? page_load(pages, page) : NULL;
        if (error)
            return error;
        memcpy((char *)to + done, page->bytes + offset, part);
        done += part;
    }
    return NULL;
}

static struct error *pages_write(const struct memory *memory, struct address to, const void *from, size_t size)
{
    (void)memory, (void)to, (void)from, (void)size;
    return error_create(ERROR_BUG, NULL, "kept pages aren't written to");
}

static const struct memory_ops pages_ops = {pages_read, pages_write, false};

void pages_init(struct pages *pages, const struct process *process)
{
    *pages = (struct pages){.memory = {&pages_ops, pages}, .process = process};
}

void pages_forget(struct pages *pages)
{
    for (size_t i = 0; i < pages->room; i++)
        pages->items[i].number = NUMBER_NONE;
    pages->count = 0;
}

void pages_deinit(struct pages *pages)
{
    for (size_t i = 0; i < pages->block_count; i++)
        free(pages->blocks[i]);
    free(pages->blocks);
    free(pages->items);
    *pages = (struct pages){0};
}

/* ------------------------------------------------------------------ refresh */

static int compare_pages(const void *a, const void *b)
{
    uint64_t left = (*(struct page *const *)a)->number, right = (*(struct page *const *)b)->number;

    return (left > right) - (left < right);
}

/* Reads up to CALL_MAX pages by one call; how many were, from the first on. */
static size_t load_together(struct pages *pages, struct page **list, size_t count)
{
    struct iovec local[CALL_MAX], remote[CALL_MAX];

    for (size_t i = 0; i < count; i++) {
        local[i] = (struct iovec){list[i]->bytes, PAGE_SIZE_};
        remote[i] = (struct iovec){(void *)(uintptr_t)(list[i]->number * PAGE_SIZE_), PAGE_SIZE_};
    }
    pages->calls++;
    ssize_t got = process_vm_readv(pages->process->pid, local, count, remote, count, 0);
    return got > 0 ? (size_t)got / PAGE_SIZE_ : 0;
}

struct error *pages_refresh(struct pages *pages)
{
    scoped_free struct page **list = malloc((pages->count + 1) * sizeof(*list));
    size_t count = 0;

    if (pages->process->core) /* it doesn't change, and its pid is nobody's to read */
        return NULL;
    if (!list)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the target's pages");
    for (size_t i = 0; i < pages->room; i++) {
        if (pages->items[i].number != NUMBER_NONE)
            list[count++] = &pages->items[i];
    }
    qsort(list, count, sizeof(struct page *), compare_pages);
    for (size_t done = 0; done < count;) {
        size_t asked = count - done < CALL_MAX ? count - done : CALL_MAX;
        size_t got = load_together(pages, list + done, asked);

        for (size_t i = 0; i < got; i++)
            list[done + i]->lost = false;
        done += got;
        /* What one call doesn't get another may: of one page, and by another way. */
        if (got < asked)
            error_destroy(page_load(pages, list[done++]));
    }
    return NULL;
}
