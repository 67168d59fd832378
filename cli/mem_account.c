/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/mem_account.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "attach/tracee.h"
#include "attach/arch/arch.h"

#define PAGE             4096u
#define MEM_STACKS_MAX   65536u
#define MEM_STACK_USUAL  (UINT64_C(8) << 20)
#define MEM_STACK_MOST   (UINT64_C(1) << 30)
#define MEM_VARIABLES_SMALL 65536u /* bytes of a mapping that isn't looked at more closely */
#define MEM_STOP_MS      500
#define MEM_SPARSE_PARTS 10 /* an arena is nearly empty when less than this part of it is in use */

static const struct {
    const char *key, *name;
} mem_parts[MEM_PARTS] = {
    [MEM_PYMALLOC_LIVE] = {"pymalloc_live", "pymalloc: blocks in use"},
    [MEM_PYMALLOC_BLOCKS] = {"pymalloc_free_blocks", "pymalloc: free blocks"},
    [MEM_PYMALLOC_POOLS] = {"pymalloc_free_pools", "pymalloc: free pools"},
    [MEM_PYMALLOC_HEADS] = {"pymalloc_overhead", "pymalloc: heads and rests of pools"},
    [MEM_MALLOC_LIVE] = {"malloc_live", "malloc: blocks in use"},
    [MEM_MALLOC_MAPPED] = {"malloc_mapped", "malloc: large blocks, each with a mapping"},
    [MEM_MALLOC_FREE] = {"malloc_free", "malloc: free"},
    [MEM_MALLOC_UNREAD] = {"malloc_unread", "malloc: not readable"},
    [MEM_ANONYMOUS] = {"anonymous", "anonymous mappings"},
    [MEM_STACKS] = {"stacks", "stacks"},
    [MEM_INTERPRETER] = {"interpreter", "the interpreter itself"},
    [MEM_LIBRARIES] = {"libraries", "libraries"},
    [MEM_FILES] = {"files", "mapped files"},
    [MEM_SHARED] = {"shared", "shared memory"},
    [MEM_OTHER] = {"other", "other"},
};

const char *mem_part_key(enum mem_part part)
{
    return mem_parts[part].key;
}

const char *mem_part_name(enum mem_part part)
{
    return mem_parts[part].name;
}

static struct error *mem_no_room(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the account");
}

/* ---------------------------------------------------------------- the copy */

/* Reads of the copy, which may lie in several of its ranges. */
static struct error *mem_read_image(const struct memory *memory, struct address from, void *to, size_t size)
{
    unsigned char *bytes = to;

    while (size) {
        const struct heap_range *range = heap_image_find(memory->source, from.value);

        if (!range)
            return error_create(ERROR_FAULT, NULL, "0x%llx is not in the copy", (unsigned long long)from.value);
        uint64_t at = from.value - range->start, part = range->size - at < size ? range->size - at : size;
        memcpy(bytes, ((struct heap_image *)memory->source)->bytes + range->local + at, part);
        bytes += part;
        from.value += part;
        size -= part;
    }
    return NULL;
}

static const struct memory_ops mem_image_ops = {mem_read_image, NULL, false};

/* A page that the copy left out holds nothing either. */
static bool mem_is_zero(void *context, uint64_t page)
{
    static const unsigned char zeros[PAGE];
    const unsigned char *bytes = heap_image_get(context, page, PAGE);

    return !bytes || !memcmp(bytes, zeros, PAGE);
}

static bool mem_is_any(void *context, uint64_t page)
{
    (void)context;
    (void)page;
    return true;
}

/* Resident bytes of a range, wherever it lies. */
static uint64_t mem_resident(const struct mem_account *account, uint64_t start, uint64_t end)
{
    const struct maps *maps = &account->residency.maps;
    const struct map *map = maps_find(maps, address_of(start));
    uint64_t bytes = 0;

    for (; map && map < maps->entries + maps->count && map->start.value < end; map++) {
        uint64_t from = map->start.value > start ? map->start.value : start;
        uint64_t to = map->end.value < end ? map->end.value : end;

        bytes += residency_of(&account->residency.list[map - maps->entries], from, to);
    }
    return bytes;
}

/* ------------------------------------------------------------------ stacks */

/* "202 0x.. 0x.. 0x.. 0x.. 0x.. 0x.. 0xSP 0xPC" of one that is blocked, "-1 0xSP 0xPC", or "running". */
static uint64_t mem_read_pointer(pid_t pid, pid_t tid)
{
    scoped_free char *text = NULL;
    unsigned long long words[8];
    char name[64];
    size_t length;
    long number;

    snprintf(name, sizeof(name), "task/%d/syscall", tid);
    struct error *error = process_read_file(pid, name, &text, &length);
    error_destroy(error);
    if (error)
        return 0;
    int count = sscanf(text, "%ld %llx %llx %llx %llx %llx %llx %llx %llx", &number, &words[0], &words[1], &words[2],
                       &words[3], &words[4], &words[5], &words[6], &words[7]);
    return count == 9 ? words[6] : count == 3 ? words[0] : 0;
}

/* Of a thread that runs: it is stopped for a moment. */
static void mem_ask_thread(const struct process *process, struct mem_stack *stack)
{
    struct arch_state state;
    struct tracee tracee;
    struct error *error = tracee_stop(&tracee, process, stack->tid, MEM_STOP_MS);

    if (!error && !(error = arch_native.read_state(stack->tid, &state)))
        stack->pointer = arch_native.stack_pointer(&state);
    tracee_release(&tracee);
    error_destroy(error);
}

static void mem_name_threads(struct mem_account *account, const struct runtime *runtime)
{
    scoped_free struct thread_state *threads = NULL;
    size_t count = 0;
    struct error *torn = runtime_read_threads(runtime, &threads, &count);

    error_destroy(torn);
    for (size_t i = 0; i < account->stack_count; i++) {
        struct mem_stack *stack = &account->stacks[i];

        for (size_t j = 0; j < count; j++) {
            if (threads[j].tid == stack->tid)
                stack->thread = threads[j].pthread;
        }
    }
}

/* How large a thread's stack is unless it was asked for. */
static uint64_t mem_read_stack_size(pid_t pid)
{
    scoped_free char *text = NULL;
    unsigned long long size = 0;
    size_t length;
    struct error *error = process_read_file(pid, "limits", &text, &length);
    const char *line = error ? NULL : strstr(text, "Max stack size");

    error_destroy(error);
    if (!line || sscanf(line, "Max stack size %llu", &size) != 1 || size < PAGE || size > MEM_STACK_MOST)
        return MEM_STACK_USUAL;
    return size;
}

static struct error *mem_find_stacks(struct mem_account *account, const struct heap_view *view)
{
    const struct process *process = &view->session.process;
    scoped_free pid_t *tids = NULL;
    size_t count;
    struct error *error = process_list_threads(process->pid, &tids, &count);

    if (error)
        return error;
    account->stacks = calloc(count + 1, sizeof(*account->stacks));
    if (!account->stacks)
        return mem_no_room();
    account->stack_size = mem_read_stack_size(process->pid);
    account->stack_count = count < MEM_STACKS_MAX ? count : MEM_STACKS_MAX;
    for (size_t i = 0; i < account->stack_count; i++) {
        struct mem_stack *stack = &account->stacks[i];

        *stack = (struct mem_stack){.tid = tids[i], .main = tids[i] == process->pid};
        stack->pointer = mem_read_pointer(process->pid, tids[i]);
        if (!stack->pointer && view->freeze.way != FREEZE_LIVE)
            mem_ask_thread(process, stack);
    }
    mem_name_threads(account, &view->session.runtime);
    return NULL;
}

static uint64_t mem_stack_place(const struct mem_stack *stack)
{
    return stack->pointer ? stack->pointer : stack->thread;
}

/* The lowest stack that lies in a piece of memory, NULL: none. */
static struct mem_stack *mem_stack_in(struct mem_account *account, uint64_t start, uint64_t end)
{
    struct mem_stack *lowest = NULL;

    for (size_t i = 0; i < account->stack_count; i++) {
        struct mem_stack *stack = &account->stacks[i];
        uint64_t at = mem_stack_place(stack);

        if (at >= start && at < end && (!lowest || at < mem_stack_place(lowest)))
            lowest = stack;
    }
    return lowest;
}

/* ------------------------------------------------------- what mappings are */

static bool mem_starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Is some of the file mapped as code? */
static bool mem_has_code(const struct maps *maps, const struct map *map)
{
    const struct map *first = map, *last = map;

    while (first > maps->entries && first[-1].inode == map->inode && !strcmp(first[-1].path, map->path))
        first--;
    while (last + 1 < maps->entries + maps->count && last[1].inode == map->inode && !strcmp(last[1].path, map->path))
        last++;
    for (; first <= last; first++) {
        if (first->executable)
            return true;
    }
    return false;
}

static enum mem_part mem_file_part(const struct maps *maps, const struct map *map, const char *interpreter)
{
    if (mem_starts(map->path, "/memfd:") || mem_starts(map->path, "/dev/shm/") || mem_starts(map->path, "/SYSV") ||
        (map->shared && mem_starts(map->path, "/dev/zero")))
        return MEM_SHARED;
    if (interpreter && !strcmp(map->path, interpreter))
        return MEM_INTERPRETER;
    return mem_has_code(maps, map) ? MEM_LIBRARIES : MEM_FILES;
}

/* The file whose variables that start as zero an anonymous mapping begins with: the one mapped before it. NULL: none. */
static const struct map *mem_variables_of(const struct maps *maps, const struct map *map)
{
    const struct map *before = map > maps->entries ? map - 1 : NULL;

    return !map->inode && !map->path[0] && map->writable && before && before->inode && before->writable &&
                   !before->shared && before->end.value == map->start.value
               ? before
               : NULL;
}

/* Where they end: what else was mapped right behind them is the same mapping. */
static uint64_t mem_variables_end(const struct process *process, const struct map *file, const struct map *map)
{
    uint64_t end = map->end.value;
    struct image_range range;
    struct image *image;

    if (end - map->start.value < MEM_VARIABLES_SMALL)
        return end;
    struct error *error = image_open(&image, process, file);
    if (!error && image_find_section(image, ".bss", &range)) {
        uint64_t told = (range.start.value + range.size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
        if (told < end)
            end = told > map->start.value ? told : map->start.value;
    }
    if (!error)
        image_close(image);
    error_destroy(error);
    return end;
}

/* What is in a mapping and nobody's. */
static enum mem_part mem_map_part(const struct maps *maps, const struct map *map, const char *interpreter)
{
    if (map->inode)
        return mem_file_part(maps, map, interpreter);
    if (map->shared)
        return MEM_SHARED;
    if (!strcmp(map->path, "[stack]"))
        return MEM_STACKS;
    if (!strcmp(map->path, "[heap]"))
        return MEM_MALLOC_UNREAD;
    if (map->path[0] == '[' && !mem_starts(map->path, "[anon"))
        return MEM_OTHER;
    return MEM_ANONYMOUS;
}

/* --------------------------------------------------------------- the pieces */

struct mem_claim {
    uint64_t start, end;
    size_t malloc_arena; /* of a segment; SIZE_MAX: an arena of pymalloc's */
};

static int mem_compare_claims(const void *a, const void *b)
{
    uint64_t one = ((const struct mem_claim *)a)->start, other = ((const struct mem_claim *)b)->start;

    return one < other ? -1 : one > other;
}

/* What the allocators have, by rising address; of what overlaps, the first. */
static struct error *mem_collect_claims(const struct mem_account *account, struct mem_claim **claims, size_t *count)
{
    struct mem_claim *list = calloc(account->arenas.count + account->glibc.segment_count + 1, sizeof(*list));
    size_t all = 0, kept = 0;

    *claims = list;
    if (!list)
        return mem_no_room();
    for (size_t i = 0; i < account->arenas.count; i++)
        list[all++] = (struct mem_claim){account->arenas.list[i].address,
                                         account->arenas.list[i].address + account->arenas.list[i].size, SIZE_MAX};
    for (size_t i = 0; i < account->glibc.segment_count; i++)
        list[all++] = (struct mem_claim){account->glibc.segments[i].start, account->glibc.segments[i].end,
                                         account->glibc.segments[i].arena};
    qsort(list, all, sizeof(*list), mem_compare_claims);
    for (size_t i = 0; i < all; i++) {
        if (kept && list[i].start < list[kept - 1].end)
            continue;
        list[kept++] = list[i];
    }
    *count = kept;
    return NULL;
}

struct mem_work {
    struct mem_account *account;
    struct heap_view *view;
    const char *interpreter; /* path of the file that holds it */
    struct mem_claim *claims;
    size_t count, next;
    uint64_t pymalloc, segments; /* resident */
};

static uint64_t mem_add(struct mem_account *account, enum mem_part part, uint64_t start, uint64_t end)
{
    uint64_t bytes = start < end ? mem_resident(account, start, end) : 0;

    account->resident[part] += bytes;
    return bytes;
}

/* Blocks of malloc's with a mapping each may lie side by side in one mapping; the rest between them is `part`, whose
 * resident bytes are returned. */
static uint64_t mem_add_blocks(struct mem_account *account, enum mem_part part, uint64_t start, uint64_t end)
{
    uint64_t from = start, rest = 0;

    for (uint64_t at = start; at < end && account->glibc.arena_count; at += PAGE) {
        uint64_t size = glibc_malloc_mapped_size(&account->glibc, at, end - at);

        if (!size)
            continue;
        rest += mem_add(account, part, from, at);
        mem_add(account, MEM_MALLOC_MAPPED, at, at + size);
        account->mapped_blocks++;
        at += size - PAGE;
        from = at + PAGE;
    }
    return rest + mem_add(account, part, from, end);
}

/* Where a thread's stack ends: behind its structure; where that isn't known, with the pages in use from the stack
 * pointer on, since what follows is the next stack's guard. */
static uint64_t mem_stack_end(const struct mem_account *account, const struct mem_stack *stack, uint64_t end)
{
    uint64_t at = (mem_stack_place(stack) + PAGE) & ~(uint64_t)(PAGE - 1);

    if (stack->thread >= mem_stack_place(stack) && stack->thread < end)
        return (stack->thread + PAGE) & ~(uint64_t)(PAGE - 1);
    while (at < end && mem_resident(account, at, at + PAGE))
        at += PAGE;
    return at;
}

/* A piece of an anonymous mapping that no allocator's arena has. Since guards are no mappings of their own (glibc 2.42),
 * there may be several stacks in it. */
static void mem_add_gap(struct mem_account *account, enum mem_part part, uint64_t start, uint64_t end)
{
    struct mem_stack *stack;

    if (part == MEM_STACKS && (stack = mem_stack_in(account, start, end))) { /* the main thread's, as the kernel says */
        stack->start = start;
        stack->end = end;
        stack->resident = mem_add(account, part, start, end);
        return;
    }
    while (start < end && (stack = mem_stack_in(account, start, end))) {
        stack->end = mem_stack_end(account, stack, end);
        stack->start = stack->end - start > account->stack_size ? stack->end - account->stack_size : start;
        mem_add_blocks(account, part, start, stack->start);
        stack->resident = mem_add_blocks(account, MEM_STACKS, stack->start, stack->end);
        start = stack->end;
    }
    if (start < end)
        mem_add_blocks(account, part, start, end);
}

static void mem_add_claim(struct mem_work *work, const struct mem_claim *claim, uint64_t start, uint64_t end)
{
    uint64_t bytes = mem_resident(work->account, start, end);

    if (claim->malloc_arena == SIZE_MAX) {
        work->pymalloc += bytes;
    } else {
        work->segments += bytes;
        work->account->per_arena[claim->malloc_arena].resident += bytes;
    }
}

/* The variables of a file at its beginning, before anything that an allocator has. Returns where they end. */
static uint64_t mem_add_variables(struct mem_work *work, const struct map *map, uint64_t start)
{
    const struct maps *maps = &work->account->residency.maps;
    const struct map *file = mem_variables_of(maps, map);

    if (!file)
        return start;
    uint64_t end = mem_variables_end(&work->view->session.process, file, map);
    for (size_t i = 0; i < work->count; i++) {
        if (work->claims[i].end > start && work->claims[i].start < end)
            end = work->claims[i].start > start ? work->claims[i].start : start;
    }
    mem_add(work->account, mem_file_part(maps, file, work->interpreter), start, end);
    return end;
}

/* All of a mapping's resident bytes, those too of which it isn't known where they lie. */
static void mem_add_map(struct mem_work *work, size_t number)
{
    struct mem_account *account = work->account;
    const struct map *map = &account->residency.maps.entries[number];
    struct residency_map *pages = &account->residency.list[number];
    enum mem_part part = mem_map_part(&account->residency.maps, map, work->interpreter);

    if (map->inode || map->shared || !pages->resident) {
        account->resident[part] += pages->resident;
        return;
    }
    residency_drop_zeros(pages, mem_is_zero, &work->view->image);
    residency_drop_zeros(pages, mem_is_any, NULL);
    uint64_t at = mem_add_variables(work, map, pages->start);
    while (work->next < work->count && work->claims[work->next].end <= at)
        work->next++;
    for (size_t i = work->next; i < work->count && work->claims[i].start < pages->end; i++) {
        const struct mem_claim *claim = &work->claims[i];
        uint64_t from = claim->start > at ? claim->start : at, to = claim->end < pages->end ? claim->end : pages->end;

        mem_add_gap(account, part, at, from);
        mem_add_claim(work, claim, from, to);
        at = to;
    }
    mem_add_gap(account, part, at, pages->end);
    uint64_t told = residency_of(pages, pages->start, pages->end);
    account->resident[part] += pages->resident > told ? pages->resident - told : 0;
}

/* --------------------------------------------------------------- pymalloc */

struct mem_pools {
    const struct mem_account *account;
    uint64_t live, free, pools;
};

static void mem_count_pool(void *context, const struct heap_pool *pool)
{
    struct mem_pools *sums = context;
    uint64_t resident = mem_resident(sums->account, pool->address, pool->address + pool->size);
    uint64_t at = pool->first;

    sums->pools += resident;
    if (resident == pool->size) {
        sums->live += (uint64_t)pool->used * pool->block;
        sums->free += (uint64_t)(pool->blocks - pool->used) * pool->block;
        return;
    }
    for (uint32_t i = 0; i < pool->blocks; i++, at += pool->block) {
        uint64_t bytes = mem_resident(sums->account, at, at + pool->block);
        *(i < pool->carved && !pool->is_free[i] ? &sums->live : &sums->free) += bytes;
    }
}

static void mem_count_pymalloc(struct mem_work *work)
{
    struct mem_account *account = work->account;
    struct mem_pools sums = {.account = account};

    if (account->arenas.count)
        heap_arenas_visit(&account->arenas, work->view->heap, mem_count_pool, &sums);
    if (sums.pools > work->pymalloc || sums.live + sums.free > sums.pools) { /* torn: what is sure is the sum */
        account->resident[MEM_PYMALLOC_LIVE] = work->pymalloc;
        return;
    }
    account->resident[MEM_PYMALLOC_LIVE] = sums.live;
    account->resident[MEM_PYMALLOC_BLOCKS] = sums.free;
    account->resident[MEM_PYMALLOC_HEADS] = sums.pools - sums.live - sums.free;
    account->resident[MEM_PYMALLOC_POOLS] = work->pymalloc - sums.pools;
}

/* ------------------------------------------------------------------ malloc */

#define MEM_CHUNK_FIELDS 48u /* of a large free chunk: malloc_trim() leaves them */

static void mem_count_chunk(void *context, const struct glibc_chunk *chunk)
{
    struct mem_account *account = context;
    uint64_t end = chunk->address + chunk->size;

    if (chunk->state == GLIBC_USED)
        return;
    uint64_t bytes = mem_resident(account, chunk->address, end);
    account->malloc_free[chunk->state] += bytes;
    account->per_arena[chunk->arena].resident_free += bytes;
    if (chunk->state != GLIBC_FREE && (chunk->state != GLIBC_TOP || chunk->arena != 0))
        return;
    uint64_t from = (chunk->address + MEM_CHUNK_FIELDS + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    uint64_t to = end & ~(uint64_t)(PAGE - 1);
    account->trimmable += from < to ? mem_resident(account, from, to) : 0;
}

static void mem_count_malloc(struct mem_work *work)
{
    struct mem_account *account = work->account;
    uint64_t free_bytes = 0, unread = 0;

    glibc_malloc_visit(&account->glibc, mem_count_chunk, account);
    for (int i = 0; i < GLIBC_STATES; i++)
        free_bytes += account->malloc_free[i];
    for (size_t i = 0; i < account->glibc.segment_count; i++) {
        const struct glibc_segment *segment = &account->glibc.segments[i];
        unread += mem_resident(account, segment->walked, segment->end);
    }
    if (unread > work->segments)
        unread = work->segments;
    if (free_bytes > work->segments - unread)
        free_bytes = work->segments - unread;
    account->resident[MEM_MALLOC_UNREAD] += unread;
    account->resident[MEM_MALLOC_FREE] = free_bytes;
    account->resident[MEM_MALLOC_LIVE] = work->segments - unread - free_bytes;
}

/* Which library has malloc, by the name of its file. */
static void mem_name_allocator(struct mem_account *account)
{
    static const struct {
        const char *file, *name;
    } known[] = {{"libjemalloc", "jemalloc"}, {"libtcmalloc", "tcmalloc"}, {"libmimalloc", "mimalloc"},
                 {"libsnmalloc", "snmalloc"}, {"libhoard", "hoard"},       {"ld-musl", "musl"},
                 {"libc.musl", "musl"}};
    const struct maps *maps = &account->residency.maps;

    account->allocator = account->no_glibc ? "unknown" : "glibc";
    for (size_t i = 0; i < maps->count; i++) {
        const char *name = map_basename(&maps->entries[i]);

        for (size_t j = 0; maps->entries[i].inode && j < sizeof(known) / sizeof(known[0]); j++) {
            if (!mem_starts(name, known[j].file))
                continue;
            account->allocator = known[j].name;
            snprintf(account->allocator_path, sizeof(account->allocator_path), "%s", maps->entries[i].path);
            return;
        }
    }
}

/* -------------------------------------------------------------------- pins */

struct mem_census {
    uint64_t *here;     /* objects of each type in the arena at hand */
    uint32_t *touched;  /* types of which there are some */
    uint32_t touched_count;
    struct mem_pin *sums; /* by type */
};

static bool mem_is_sparse(const struct heap_arena *arena)
{
    return arena->used && arena->used_bytes < arena->size / MEM_SPARSE_PARTS;
}

static void mem_end_arena(struct mem_census *census)
{
    for (uint32_t i = 0; i < census->touched_count; i++) {
        uint32_t type = census->touched[i];

        census->sums[type].arenas++;
        census->sums[type].alone += census->touched_count == 1;
        census->here[type] = 0;
    }
    census->touched_count = 0;
}

/* Nodes come by rising address, and so one arena's after the other's. */
static void mem_take_census(struct mem_account *account, struct heap *heap, struct mem_census *census)
{
    uint32_t count = heap_count(heap);
    size_t arena = 0;

    for (uint32_t i = 0; i < count && arena < account->arenas.count; i++) {
        struct heap_node node = heap_get_node(heap, i);

        while (arena < account->arenas.count &&
               node.address >= account->arenas.list[arena].address + account->arenas.list[arena].size) {
            mem_end_arena(census);
            arena++;
        }
        if (arena == account->arenas.count || node.address < account->arenas.list[arena].address ||
            !mem_is_sparse(&account->arenas.list[arena]))
            continue;
        if (!census->here[node.type]++)
            census->touched[census->touched_count++] = node.type;
        census->sums[node.type].objects++;
        census->sums[node.type].bytes += node.size;
    }
    mem_end_arena(census);
}

static int mem_compare_pins(const void *a, const void *b)
{
    const struct mem_pin *one = a, *other = b;

    if (one->alone != other->alone)
        return one->alone > other->alone ? -1 : 1;
    if (one->arenas != other->arenas)
        return one->arenas > other->arenas ? -1 : 1;
    if (one->objects != other->objects)
        return one->objects > other->objects ? -1 : 1;
    return strcmp(one->type, other->type);
}

static struct error *mem_find_pins(struct mem_account *account, struct heap *heap)
{
    uint32_t types = heap_type_count(heap);
    scoped_free uint64_t *here = calloc(types + 1, sizeof(*here));
    scoped_free uint32_t *touched = calloc(types + 1, sizeof(*touched));
    struct mem_census census = {here, touched, 0, calloc(types + 1, sizeof(*census.sums))};

    account->pins = census.sums;
    if (!here || !touched || !census.sums)
        return mem_no_room();
    mem_take_census(account, heap, &census);
    for (uint32_t i = 0; i < types; i++) {
        if (!census.sums[i].objects)
            continue;
        census.sums[i].type = heap_get_type(heap, i).name;
        account->pins[account->pin_count++] = census.sums[i];
    }
    qsort(account->pins, account->pin_count, sizeof(*account->pins), mem_compare_pins);
    return NULL;
}

static void mem_count_sparse(struct mem_account *account)
{
    for (size_t i = 0; i < account->arenas.count; i++) {
        const struct heap_arena *arena = &account->arenas.list[i];

        if (!mem_is_sparse(arena))
            continue;
        account->sparse_arenas++;
        account->sparse_used += arena->used_bytes;
        account->sparse_resident += mem_resident(account, arena->address, arena->address + arena->size);
    }
}

/* ------------------------------------------------------------------ public */

struct error *mem_account_freeze(struct mem_account *account, const struct heap_view *view)
{
    struct residency child;
    struct error *error = residency_read(&account->residency, view->session.process.pid);

    if (error)
        return error;
    if (view->freeze.way == FREEZE_CHILD) {
        if ((error = residency_read(&child, view->freeze.process->pid)))
            return error;
        residency_take_child(&account->residency, &child);
        residency_deinit(&child);
    }
    return mem_find_stacks(account, view);
}

static struct error *mem_read_allocators(struct mem_account *account, struct heap_view *view)
{
    struct error *error = view->heap ? heap_arenas_read(&account->arenas, view->heap) : NULL;

    account->memory = (struct memory){&mem_image_ops, &view->image};
    if (error)
        return error;
    error = glibc_malloc_read(&account->glibc, &account->memory, &account->residency.maps);
    if (error && error_code(error) != ERROR_UNSUPPORTED)
        return error;
    if (error)
        glibc_malloc_deinit(&account->glibc);
    account->no_glibc = error;
    account->per_arena = calloc(account->glibc.arena_count + 1, sizeof(*account->per_arena));
    return account->per_arena ? NULL : mem_no_room();
}

struct error *mem_account_read(struct mem_account *account, struct heap_view *view)
{
    struct mem_work work = {.account = account, .view = view, .interpreter = image_path(view->session.runtime.image)};
    struct error *error = mem_read_allocators(account, view);

    if (error || (error = mem_collect_claims(account, &work.claims, &work.count)))
        return error;
    for (size_t i = 0; i < account->residency.maps.count; i++)
        mem_add_map(&work, i);
    free(work.claims);
    mem_count_pymalloc(&work);
    mem_count_malloc(&work);
    mem_name_allocator(account);
    mem_count_sparse(account);
    return view->heap ? mem_find_pins(account, view->heap) : NULL;
}

void mem_account_deinit(struct mem_account *account)
{
    residency_deinit(&account->residency);
    heap_arenas_deinit(&account->arenas);
    glibc_malloc_deinit(&account->glibc);
    error_destroy(account->no_glibc);
    free(account->per_arena);
    free(account->stacks);
    free(account->pins);
}
