/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * References as the walk over the heap comes by them, so that a graph needs no second one. Nodes have no numbers yet: both ends are
 * positions, which get their nodes' numbers when all are known. What turns out to be no object is left out then.
 *
 *   | KEPT_NODE position | target | target | KEPT_UNCOUNTED target | KEPT_NODE position | ...      in the order of the walk
 *
 * A node without references has no record. There is room for a reference in each word of the target's memory; a heap that has more
 * (several instances can share one) isn't kept, and is read again where its references are asked for.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "attach/parallel.h"
#include "runtime/heap/internal.h"

#define KEPT_NODE      UINT32_MAX /* neither of both is a position */
#define KEPT_UNCOUNTED (UINT32_MAX - 1)
#define KEPT_PART      (UINT64_C(1) << 20) /* words of one, or a few more: what one thread does in one go */
#define KEPT_AHEAD     32                  /* words: so far ahead is what a target asks for fetched */

void heap_kept_init(struct heap *heap)
{
    struct heap_kept *kept = &heap->kept;
    uint64_t room = heap->image->size / 8 + KEPT_PART;

    /* Memory that isn't used stays the system's. */
    kept->words = malloc(room * sizeof(*kept->words));
    kept->parts = calloc(room / KEPT_PART + 2, sizeof(*kept->parts));
    if (!kept->words || !kept->parts) {
        heap_kept_deinit(heap);
        return;
    }
    kept->room = room;
    heap_advise_large(kept->words, room * sizeof(*kept->words));
}

void heap_kept_deinit(struct heap *heap)
{
    free(heap->kept.words);
    free(heap->kept.parts);
    heap->kept = (struct heap_kept){.room = 0};
}

static void kept_put(struct heap_kept *kept, uint32_t word)
{
    if (kept->used < kept->room)
        kept->words[kept->used++] = word;
    else
        kept->full = true;
}

void heap_kept_begin(struct heap *heap, uint32_t position)
{
    struct heap_kept *kept = &heap->kept;

    kept->begun = kept->used;
    if (!kept->part_count || kept->used - kept->parts[kept->part_count - 1].first >= KEPT_PART)
        kept->parts[kept->part_count++].first = kept->used;
    kept_put(kept, KEPT_NODE);
    kept_put(kept, position);
}

void heap_kept_add(struct heap *heap, uint32_t position, bool counted)
{
    if (!counted)
        kept_put(&heap->kept, KEPT_UNCOUNTED);
    kept_put(&heap->kept, position);
}

void heap_kept_end(struct heap *heap)
{
    struct heap_kept *kept = &heap->kept;

    if (kept->used == kept->begun + 2) /* no references */
        kept->used = kept->begun;
}

/* ----------------------------------------------------------------- numbers */

struct kept_taking {
    struct heap *heap;
    uint32_t *first, *targets;
};

static uint64_t kept_end(const struct heap_kept *kept, size_t part)
{
    return part + 1 < kept->part_count ? kept->parts[part + 1].first : kept->used;
}

static void kept_fetch(const struct heap *heap, uint32_t word)
{
    if (word / 64 < heap->bit_words) {
        __builtin_prefetch(&heap->bits[word / 64]);
        __builtin_prefetch(&heap->rank[word / 64]);
    }
}

/* Numbers a part's positions in place, and counts each node's references at the place behind its own in `first`. */
static struct error *kept_number_part(void *context, size_t number)
{
    const struct kept_taking *taking = context;
    struct heap_kept *kept = &taking->heap->kept;
    uint64_t to = kept->parts[number].first, end = kept_end(kept, number);
    uint32_t node = HEAP_NONE, uncounted = 0;

    for (uint64_t from = to; from < end; from++) {
        uint32_t word = kept->words[from];
        if (from + KEPT_AHEAD < end)
            kept_fetch(taking->heap, kept->words[from + KEPT_AHEAD]);
        if (word == KEPT_NODE) {
            node = heap_number_at(taking->heap, kept->words[++from]);
            kept->words[to++] = KEPT_NODE;
            kept->words[to++] = node;
        } else if (word == KEPT_UNCOUNTED) {
            uncounted = HEAP_UNCOUNTED;
        } else {
            uint32_t target = heap_number_at(taking->heap, word);
            if (target != HEAP_NONE && node != HEAP_NONE) {
                kept->words[to++] = target | uncounted;
                taking->first[node + 1]++;
            }
            uncounted = 0;
        }
    }
    kept->parts[number].end = to;
    return NULL;
}

/* Puts a part's references where their nodes' are. */
static struct error *kept_place_part(void *context, size_t number)
{
    const struct kept_taking *taking = context;
    const struct heap_kept *kept = &taking->heap->kept;
    uint32_t *to = taking->targets;

    for (uint64_t at = kept->parts[number].first; at < kept->parts[number].end; at++) {
        if (kept->words[at] != KEPT_NODE)
            *to++ = kept->words[at];
        else if (kept->words[++at] != HEAP_NONE)
            to = taking->targets + taking->first[kept->words[at]];
    }
    return NULL;
}

/* From how many references each node has to where they begin; how many there are. */
static uint64_t kept_sum(uint32_t *first, uint32_t count)
{
    uint64_t sum = 0;

    first[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += first[i + 1];
        first[i + 1] = (uint32_t)sum;
    }
    return sum;
}

static struct error *kept_take(struct kept_taking *taking, uint32_t **targets, size_t *count)
{
    struct heap *heap = taking->heap;
    struct error *error = NULL;

    memset(taking->first, 0, ((size_t)heap->count + 1) * sizeof(*taking->first));
    if ((error = parallel_run(heap->kept.part_count, kept_number_part, taking)))
        return error;
    uint64_t sum = kept_sum(taking->first, heap->count);
    if (sum > UINT32_MAX)
        return error_create(ERROR_UNSUPPORTED, NULL, "a heap of more than 2^32 references");
    taking->targets = malloc((size_t)sum * sizeof(*taking->targets) + 1);
    if (!taking->targets)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the references");
    heap_advise_large(taking->targets, (size_t)sum * sizeof(*taking->targets));
    *targets = taking->targets;
    *count = (size_t)sum;
    return parallel_run(heap->kept.part_count, kept_place_part, taking);
}

struct error *heap_take_references(struct heap *heap, uint32_t *first, uint32_t **targets, size_t *count, bool *taken)
{
    struct kept_taking taking = {.heap = heap, .first = first};
    struct error *error = NULL;

    *taken = heap->kept.words && !heap->kept.full && !heap->report.cut;
    if (*taken)
        error = kept_take(&taking, targets, count);
    heap_kept_deinit(heap);
    return error;
}
