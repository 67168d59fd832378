/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A target's memory is untrusted: copies of a heap with words that were
 * overwritten at random are read like good ones, and must neither crash us nor
 * hold us up. To be built with sanitizers.
 * usage: torn PID ROUNDS [SEED]
 * Prints, by round, how many objects and references were still found.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/maps.h"
#include "attach/process.h"
#include "runtime/heap/heap.h"

static uint64_t state;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void die(struct error *error)
{
    if (!error)
        return;
    fprintf(stderr, "torn: %s\n", error_message(error));
    exit(1);
}

/* What a bad word may be: noise, a small number, all ones, another word of the heap, or that plus a little. */
static uint64_t make_word(const struct heap_image *image)
{
    uint64_t other;

    memcpy(&other, image->bytes + next_random() % (image->size / 8) * 8, sizeof(other));
    switch (next_random() % 6) {
    case 0:
        return next_random();
    case 1:
        return next_random() % 4096;
    case 2:
        return UINT64_MAX - next_random() % 16;
    case 3:
        return other + next_random() % 64;
    case 4:
        return image->ranges[next_random() % image->count].start + next_random() % (1 << 20);
    default:
        return other;
    }
}

static void tear(struct heap_image *image, uint64_t words)
{
    for (uint64_t i = 0; i < words; i++) {
        uint64_t word = make_word(image);
        memcpy(image->bytes + next_random() % (image->size / 8) * 8, &word, sizeof(word));
    }
}

struct walk {
    struct heap *heap;
    uint64_t edges, roots;
};

static void see_edge(void *context, const struct heap_edge *edge)
{
    struct walk *walk = context;
    char text[200];

    if (walk->edges++ % 64 == 0)
        heap_format_edge(walk->heap, edge, text, sizeof(text));
}

static void see_root(void *context, const struct heap_root *root)
{
    (void)root;
    ((struct walk *)context)->roots++;
}

static void read_round(struct runtime *runtime, struct process *process, struct heap_image *image, int round)
{
    struct walk walk = {NULL, 0, 0};
    struct error *error = heap_create(&walk.heap, runtime, &process->memory, image, false, NULL);

    if (error) {
        printf("round %d: refused: %s\n", round, error_message(error));
        error_destroy(error);
        return;
    }
    heap_read_generations(walk.heap);
    for (uint32_t i = 0; i < heap_count(walk.heap); i++)
        heap_visit_edges(walk.heap, i, see_edge, &walk);
    heap_visit_roots(walk.heap, see_root, &walk);
    for (uint32_t i = 0; i < heap_type_count(walk.heap); i++)
        heap_get_type(walk.heap, i);
    printf("round %d: objects %u edges %" PRIu64 " roots %" PRIu64 "\n", round, heap_count(walk.heap), walk.edges,
           walk.roots);
    heap_destroy(walk.heap);
}

int main(int argc, char **argv)
{
    struct process process;
    struct maps maps;
    struct runtime runtime;
    struct heap_span *spans;
    struct heap_image image;
    size_t count;

    if (argc < 3)
        return 2;
    pid_t pid = (pid_t)atoi(argv[1]);
    state = argc > 3 ? strtoull(argv[3], NULL, 10) * 2654435761u + 1 : 88172645463325252u;
    die(process_open(&process, pid));
    die(maps_read(&maps, pid));
    die(runtime_find(&runtime, &process, &maps));
    die(heap_spans_find(&maps, pid, &spans, &count));
    die(heap_image_init(&image, spans, count, 0));
    die(heap_image_read(&image, &process.memory, NULL));
    unsigned char *good = malloc(image.size);
    if (!good)
        return 1;
    memcpy(good, image.bytes, image.size);
    for (int round = 0; round < atoi(argv[2]); round++) {
        memcpy(image.bytes, good, image.size);
        tear(&image, (uint64_t)1 << next_random() % 18);
        read_round(&runtime, &process, &image, round);
    }
    free(good);
    heap_image_deinit(&image);
    free(spans);
    runtime_close(&runtime);
    maps_deinit(&maps);
    process_close(&process);
    return 0;
}
