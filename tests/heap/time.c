/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How long the heap of a process takes, and how much memory.
 * usage: time PID [TIMES]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "attach/maps.h"
#include "attach/process.h"
#include "runtime/heap/heap.h"

static void die(struct error *error)
{
    if (!error)
        return;
    fprintf(stderr, "time: %s\n", error_message(error));
    exit(1);
}

/* Processor time: other programs don't change it. */
static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void count_edge(void *context, const struct heap_edge *edge)
{
    (void)edge;
    ++*(uint64_t *)context;
}

int main(int argc, char **argv)
{
    struct process process;
    struct maps maps;
    struct runtime runtime;
    struct heap_span *spans;
    struct rusage usage;
    size_t count;
    pid_t pid = argc > 1 ? (pid_t)atoi(argv[1]) : 0;

    die(process_open(&process, pid));
    die(maps_read(&maps, pid));
    die(runtime_find(&runtime, &process, &maps));
    for (int i = argc > 2 ? atoi(argv[2]) : 1; i > 0; i--) {
        struct heap_image image;
        struct heap *heap;
        uint64_t edges = 0;
        double start = now();
        die(heap_spans_find(&maps, pid, &spans, &count));
        die(heap_image_init(&image, spans, count, 0));
        heap_image_prefault(&image);
        double prepared = now();
        die(heap_image_read(&image, &process.memory, NULL));
        double copied = now();
        die(heap_create(&heap, &runtime, &process.memory, &image, false, NULL));
        double built = now();
        for (uint32_t n = 0; n < heap_count(heap); n++)
            heap_visit_edges(heap, n, count_edge, &edges);
        double walked = now();
        getrusage(RUSAGE_SELF, &usage);
        printf("nodes %u edges %" PRIu64 " image %" PRIu64 " prepare %.3f copy %.3f build %.3f walk %.3f peak %ld KiB, "
               "beyond the image %.1f bytes a node\n",
               heap_count(heap), edges, image.size, prepared - start, copied - prepared, built - copied, walked - built,
               usage.ru_maxrss,
               ((double)usage.ru_maxrss * 1024 - (double)image.size) /
                   (double)(heap_count(heap) ? heap_count(heap) : 1));
        heap_destroy(heap);
        heap_image_deinit(&image);
        free(spans);
    }
    runtime_close(&runtime);
    maps_deinit(&maps);
    process_close(&process);
    return 0;
}
