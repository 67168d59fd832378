/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reads a stopped process's heap and compares it with what the oracle wrote.
 * usage: compare PID ORACLE-FILE [ADDRESSES]
 * Prints one line of counts, then what differs, by type. With ADDRESSES, our
 * objects that neither the oracle has nor anything holds go there, for it to judge.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attach/maps.h"
#include "attach/process.h"
#include "runtime/heap/heap.h"

struct row {
    uint64_t address, type, refcount, size;
};

struct tally {
    char name[160];
    uint64_t count;
    uint64_t example;
};

struct tallies {
    const char *what;
    struct tally rows[4096];
    size_t count;
    uint64_t total;
};

static struct tallies missing = {.what = "missing object"}, refcounts = {.what = "refcount differs"},
                      sizes = {.what = "size differs"}, lost = {.what = "missing edge"},
                      more = {.what = "edge that the oracle hasn't"}, wrong_type = {.what = "type differs"},
                      extra = {.what = "object that the oracle hasn't"}, orphans = {.what = "object that nobody holds"};

static void count_up(struct tallies *tallies, const char *name, uint64_t example)
{
    size_t i = 0;

    tallies->total++;
    while (i < tallies->count && strcmp(tallies->rows[i].name, name) != 0)
        i++;
    if (i == sizeof(tallies->rows) / sizeof(tallies->rows[0]))
        return;
    if (i == tallies->count) {
        snprintf(tallies->rows[i].name, sizeof(tallies->rows[i].name), "%s", name);
        tallies->rows[i].example = example;
        tallies->count++;
    }
    tallies->rows[i].count++;
}

static int by_count(const void *a, const void *b)
{
    const struct tally *x = a, *y = b;

    return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static void print_tallies(struct tallies *tallies, size_t limit)
{
    qsort(tallies->rows, tallies->count, sizeof(tallies->rows[0]), by_count);
    for (size_t i = 0; i < tallies->count && i < limit; i++)
        printf("  %s: %s: %" PRIu64 " (0x%" PRIx64 ")\n", tallies->what, tallies->rows[i].name, tallies->rows[i].count,
               tallies->rows[i].example);
}

static void die(struct error *error)
{
    if (!error)
        return;
    fprintf(stderr, "compare: %s\n", error_message(error));
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct targets {
    uint64_t items[1 << 20];
    size_t count;
};

static struct targets ours, theirs;

static void keep_target(void *context, const struct heap_edge *edge)
{
    struct targets *targets = context;

    if (targets->count < sizeof(targets->items) / sizeof(targets->items[0]))
        targets->items[targets->count++] = edge->target;
}

static int by_address(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static const char *type_name(struct heap *heap, uint64_t address)
{
    uint32_t node = heap_find(heap, address);

    return node == HEAP_NONE ? "?" : heap_get_type(heap, heap_get_node(heap, node).type).name;
}

/* The name of the type at an address. */
static const char *type_at(struct heap *heap, uint64_t address)
{
    for (uint32_t i = 0; i < heap_type_count(heap); i++)
        if (heap_get_type(heap, i).address == address)
            return heap_get_type(heap, i).name;
    return "(of an unknown type)";
}

/* The multiset of one object's references, theirs against ours. */
static void compare_edges(struct heap *heap, uint64_t from)
{
    uint32_t node = heap_find(heap, from);
    char name[160];
    size_t i = 0, j = 0;

    if (node == HEAP_NONE)
        return;
    ours.count = 0;
    heap_visit_edges(heap, node, keep_target, &ours);
    qsort(ours.items, ours.count, sizeof(ours.items[0]), by_address);
    qsort(theirs.items, theirs.count, sizeof(theirs.items[0]), by_address);
    while (i < theirs.count || j < ours.count) {
        if (j == ours.count || (i < theirs.count && theirs.items[i] < ours.items[j])) {
            snprintf(name, sizeof(name), "%s -> %s", type_name(heap, from), type_name(heap, theirs.items[i]));
            count_up(&lost, name, from);
            i++;
        } else if (i == theirs.count || ours.items[j] < theirs.items[i]) {
            snprintf(name, sizeof(name), "%s -> %s", type_name(heap, from), type_name(heap, ours.items[j]));
            count_up(&more, name, from);
            j++;
        } else {
            i++;
            j++;
        }
    }
}

static void compare_object(struct heap *heap, const struct row *row, unsigned char *seen)
{
    uint32_t number = heap_find(heap, row->address);

    if (number == HEAP_NONE) {
        count_up(&missing, type_at(heap, row->type), row->address);
        return;
    }
    seen[number] = 1;
    struct heap_node node = heap_get_node(heap, number);
    struct heap_type_info type = heap_get_type(heap, node.type);
    if (type.address != row->type)
        count_up(&wrong_type, type.name, row->address);
    if (node.refcount != (uint32_t)row->refcount)
        count_up(&refcounts, type.name, row->address);
    if (row->size != UINT64_MAX && node.size != row->size) {
        char name[160];
        snprintf(name, sizeof(name), "%.100s: %+" PRId64, type.name, (int64_t)(node.size - row->size));
        count_up(&sizes, name, row->address);
    }
}

static void read_all(FILE *file, void *to, size_t size)
{
    if (size && fread(to, size, 1, file) != 1) {
        fprintf(stderr, "compare: the oracle's file is short\n");
        exit(1);
    }
}

struct degrees {
    struct heap *heap;
    uint32_t *in; /* by node: references to it that we found */
};

static void count_reference(void *context, const struct heap_edge *edge)
{
    struct degrees *degrees = context;
    uint32_t node = heap_find(degrees->heap, edge->target);

    if (node != HEAP_NONE)
        degrees->in[node]++;
}

static void count_root(void *context, const struct heap_root *root)
{
    struct degrees *degrees = context;
    uint32_t node = heap_find(degrees->heap, root->target);

    if (node != HEAP_NONE)
        degrees->in[node]++;
}

/* Objects that the oracle hasn't and that nothing holds, by what we found: to be looked at. */
static void count_orphans(struct heap *heap, const unsigned char *seen, FILE *suspects)
{
    struct degrees degrees = {heap, calloc(heap_count(heap) + 1, sizeof(uint32_t))};

    for (uint32_t i = 0; i < heap_count(heap); i++)
        heap_visit_edges(heap, i, count_reference, &degrees);
    heap_visit_roots(heap, count_root, &degrees);
    for (uint32_t i = 0; i < heap_count(heap); i++)
        if (!seen[i] && !degrees.in[i]) {
            uint64_t address = heap_get_node(heap, i).address;
            count_up(&orphans, heap_get_type(heap, heap_get_node(heap, i).type).name, address);
            if (suspects)
                fwrite(&address, sizeof(address), 1, suspects);
        }
    free(degrees.in);
}

static void compare(struct heap *heap, FILE *file, FILE *suspects)
{
    char magic[8];
    uint64_t head[2], edge[2], from = 0;

    read_all(file, magic, sizeof(magic));
    read_all(file, head, sizeof(head));
    unsigned char *seen = calloc(heap_count(heap) + 1, 1);
    for (uint64_t i = 0; i < head[0]; i++) {
        struct row row;
        read_all(file, &row, sizeof(row));
        compare_object(heap, &row, seen);
    }
    for (uint64_t i = 0; i < head[1]; i++) {
        read_all(file, edge, sizeof(edge));
        if (edge[0] != from && theirs.count)
            compare_edges(heap, from);
        if (edge[0] != from)
            theirs.count = 0;
        from = edge[0];
        if (theirs.count < sizeof(theirs.items) / sizeof(theirs.items[0]))
            theirs.items[theirs.count++] = edge[1];
    }
    compare_edges(heap, from);
    for (uint32_t i = 0; i < heap_count(heap); i++)
        if (!seen[i])
            count_up(&extra, heap_get_type(heap, heap_get_node(heap, i).type).name, heap_get_node(heap, i).address);
    count_orphans(heap, seen, suspects);
    free(seen);
    printf("objects %" PRIu64 " missing %" PRIu64 " types %" PRIu64 " refcounts %" PRIu64 " sizes %" PRIu64
           " edges %" PRIu64 " lost %" PRIu64 " more %" PRIu64 " extra %" PRIu64 " orphans %" PRIu64 "\n",
           head[0], missing.total, wrong_type.total, refcounts.total, sizes.total, head[1], lost.total, more.total,
           extra.total, orphans.total);
}

/* What the walk kept is what a visit of each object finds, in the same order. */
struct kept {
    const uint32_t *targets;
    size_t at, end;
    uint64_t differ;
};

static void check_kept(void *context, uint32_t target, bool counted)
{
    struct kept *kept = context;

    kept->differ += kept->at == kept->end || kept->targets[kept->at] != (target | (counted ? 0 : HEAP_UNCOUNTED));
    kept->at += kept->at < kept->end;
}

static void compare_kept(struct heap *heap)
{
    uint32_t *first = calloc((size_t)heap_count(heap) + 1, sizeof(*first)), *targets = NULL;
    struct kept kept = {.differ = 0};
    size_t count = 0;
    bool taken;

    die(heap_take_references(heap, first, &targets, &count, &taken));
    kept.targets = targets;
    for (uint32_t i = 0; taken && i < heap_count(heap); i++) {
        kept.at = first[i];
        kept.end = first[i + 1];
        heap_visit_targets(heap, i, check_kept, &kept);
        kept.differ += kept.end - kept.at;
    }
    printf("kept %zu differ %" PRIu64 "\n", count, taken ? kept.differ : UINT64_MAX);
    free(first);
    free(targets);
}

int main(int argc, char **argv)
{
    struct process process;
    struct maps maps;
    struct runtime runtime;
    struct heap_span *spans;
    size_t count;
    struct heap_image image;
    struct heap *heap;

    if (argc < 3)
        return 2;
    pid_t pid = (pid_t)atoi(argv[1]);
    die(process_open(&process, pid));
    die(maps_read(&maps, pid));
    die(runtime_find(&runtime, &process, &maps));
    die(heap_spans_find(&maps, pid, &spans, &count));
    die(heap_image_init(&image, spans, count, 0));
    heap_image_prefault(&image);
    double start = now();
    die(heap_image_read(&image, &process.memory, NULL));
    double copied = now();
    die(heap_create(&heap, &runtime, &process.memory, &image, true, NULL));
    double built = now();
    FILE *file = fopen(argv[2], "rb");
    if (!file)
        return 1;
    FILE *suspects = argc > 3 ? fopen(argv[3], "wb") : NULL;
    compare(heap, file, suspects);
    fclose(file);
    if (suspects)
        fclose(suspects);
    compare_kept(heap);
    const struct heap_report *report = heap_get_report(heap);
    printf("nodes %u bytes %" PRIu64 " pools %" PRIu64 " torn %" PRIu64 " tracked %" PRIu64 " broken %" PRIu64
           " image %" PRIu64 " copy %.3f build %.3f allocator %s\n",
           heap_count(heap), report->bytes, report->pools, report->torn_pools, report->tracked, report->broken_lists,
           image.size, copied - start, built - copied, report->allocator);
    print_tallies(&missing, 20);
    print_tallies(&wrong_type, 20);
    print_tallies(&refcounts, 20);
    print_tallies(&sizes, 30);
    print_tallies(&lost, 30);
    print_tallies(&more, 300);
    print_tallies(&extra, 30);
    print_tallies(&orphans, 30);
    heap_destroy(heap);
    heap_image_deinit(&image);
    free(spans);
    runtime_close(&runtime);
    maps_deinit(&maps);
    process_close(&process);
    return 0;
}
