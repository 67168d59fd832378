/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What holds objects from outside the heap: running frames, thread states,
 * interpreters, and the variables of libraries. Frames are read exactly; in
 * the rest every word that is an object's address is taken for a reference, and
 * some of those are borrowed.
 */
#include "runtime/heap/internal.h"

#define THREADS_MAX              65536u
#define FRAMES_MAX               1000000u
#define FRAME_OWNED_BY_GENERATOR 1
#define TAG_MASK                 UINT64_C(3)
#define INTERNED_SAMPLE          64u
#define PAGE                     4096u

struct roots {
    struct heap *heap;
    struct heap_image *image;
    heap_root_fn *fn;
    void *context;
    uint64_t frame, code; /* the frame that is read */
    uint64_t thread;      /* the number of its thread, from 1 on */
    uint64_t words_left;  /* of frames that may be read: there are no more than memory has */
    uint32_t frames_left;
};

static void emit(const struct roots *roots, struct heap_root root)
{
    if (root.target)
        roots->fn(roots->context, &root);
}

/* Every word of a thread state, but for its frame (up to 3.10 an object), which has been told. */
static void emit_thread_state(const struct roots *roots, uint64_t thread)
{
    const struct layout *layout = &roots->heap->runtime->layout;
    uint64_t size = layout->thread_state.size & ~7u;
    const unsigned char *bytes = heap_image_get(roots->image, thread, size);

    for (uint64_t at = 0; bytes && at + 8 <= size; at += 8) {
        struct heap_root root = {.kind = HEAP_ROOT_THREAD, .holder = thread, .number = at};
        memcpy(&root.target, bytes + at, sizeof(root.target));
        if (layout->thread_state.frame == OFF_NONE || at != layout->thread_state.frame)
            emit(roots, root);
    }
}

/* --------------------------------------------------------------- frames */

static void emit_frame_edge(struct heap_visitor *visitor, const struct heap_edge *edge, bool checked)
{
    struct roots *roots = visitor->context;

    (void)checked;
    roots->words_left -= roots->words_left > 0;
    emit(roots, (struct heap_root){.kind = HEAP_ROOT_FRAME,
                                   .target = edge->target,
                                   .holder = roots->frame,
                                   .code = roots->code,
                                   .name = edge->kind == HEAP_EDGE_LOCAL ? edge->name : 0,
                                   .label = edge->label,
                                   .number = edge->label ? roots->thread : edge->number,
                                   .counted = edge->counted});
}

static void emit_iframe(struct roots *roots, uint64_t frame)
{
    const struct heap_layout *layout = &roots->heap->layout;
    uint8_t owner = heap_image_u8(roots->image, frame + layout->iframe.owner);
    uint32_t shim = roots->heap->runtime->layout.interpreter_frame.owner_shim;

    roots->frame = frame;
    roots->code = heap_image_u64(roots->image, frame + layout->iframe.code) & ~TAG_MASK;
    if (shim != OFF_NONE && owner >= shim)
        return;
    if (owner == FRAME_OWNED_BY_GENERATOR) { /* the frame is inside an object, whose references these are */
        emit(roots, (struct heap_root){.kind = HEAP_ROOT_FRAME,
                                       .target = frame - layout->generator.iframe,
                                       .holder = frame,
                                       .code = roots->code,
                                       .label = "generator",
                                       .number = roots->thread});
        return;
    }
    struct heap_visitor visitor = {emit_frame_edge, roots};
    heap_read_iframe(roots->heap, frame, &visitor);
}

static void emit_frames(struct roots *roots, uint64_t thread)
{
    const struct layout *layout = &roots->heap->runtime->layout;
    uint64_t at;

    if (layout->thread_state.frame != OFF_NONE) { /* up to 3.10 frames are objects */
        at = heap_image_u64(roots->image, thread + layout->thread_state.frame);
        for (; at && roots->frames_left && roots->words_left; roots->frames_left--) {
            uint64_t code = heap_image_u64(roots->image, at + roots->heap->layout.frame.code);
            emit(roots, (struct heap_root){.kind = HEAP_ROOT_FRAME,
                                           .target = at,
                                           .holder = at,
                                           .code = code,
                                           .label = "frame",
                                           .number = roots->thread,
                                           .counted = true}); /* by the C function that runs it */
            at = heap_image_u64(roots->image, at + roots->heap->layout.frame.back);
        }
        return;
    }
    if (layout->thread_state.cframe != OFF_NONE) {
        at = heap_image_u64(roots->image, thread + layout->thread_state.cframe);
        at = at ? heap_image_u64(roots->image, at + layout->cframe.current_frame) : 0;
    } else {
        at = heap_image_u64(roots->image, thread + layout->thread_state.current_frame);
    }
    for (; at && roots->frames_left && roots->words_left; roots->frames_left--) {
        emit_iframe(roots, at);
        at = heap_image_u64(roots->image, at + roots->heap->layout.iframe.previous);
    }
}

/* ------------------------------------------- interpreters and threads */

static void emit_threads(struct roots *roots, uint64_t interpreter)
{
    const struct layout *layout = &roots->heap->runtime->layout;
    uint64_t thread = heap_image_u64(roots->image, interpreter + layout->interpreter.threads_head);

    for (uint32_t left = THREADS_MAX; thread && left; left--) {
        roots->thread++;
        emit_frames(roots, thread);
        emit_thread_state(roots, thread);
        thread = heap_image_u64(roots->image, thread + layout->thread_state.next);
    }
}

/* The table of interned strings is a dict whose keys are their own values. */
static bool is_interned(const struct roots *roots, uint64_t object)
{
    const struct heap_layout *layout = &roots->heap->layout;
    uint32_t type = heap_check_object(roots->heap, object);
    struct heap_dict_keys keys;
    uint64_t same = 0;

    if (type == HEAP_NONE || roots->heap->types[type].kind != KIND_DICT ||
        !heap_read_dict_keys(roots->heap, heap_image_u64(roots->image, object + layout->dict.keys), &keys) ||
        keys.count < INTERNED_SAMPLE)
        return false;
    for (uint64_t i = 0; i < INTERNED_SAMPLE; i++) {
        uint64_t entry = keys.entries + i * keys.stride;
        uint64_t key = heap_image_u64(roots->image, entry + keys.key);
        same += key == heap_image_u64(roots->image, entry + keys.value);
    }
    return same > INTERNED_SAMPLE * 9 / 10;
}

static void emit_interpreter(struct roots *roots, uint64_t interpreter)
{
    const struct heap_layout *layout = &roots->heap->layout;
    uint64_t size = roots->heap->runtime->layout.interpreter.size & ~7u;
    const unsigned char *bytes = heap_image_get(roots->image, interpreter, size);

    for (uint64_t at = 0; bytes && at + 8 <= size; at += 8) {
        struct heap_root root = {.kind = HEAP_ROOT_INTERPRETER, .holder = interpreter, .number = at};
        memcpy(&root.target, bytes + at, sizeof(root.target));
        if (at == layout->interpreter.modules)
            root.kind = HEAP_ROOT_MODULE;
        else if (at == layout->interpreter.sysdict || at == layout->interpreter.builtins)
            root.kind = HEAP_ROOT_BUILTINS;
        emit(roots, root);
    }
}

/* -------------------------------------------------------------- statics */

static bool is_told_already(const struct heap *heap, uint64_t address)
{
    const struct layout *layout = &heap->runtime->layout;

    for (size_t i = 0; i < heap->interpreter_count; i++)
        if (address - heap->interpreters[i].address < layout->interpreter.size)
            return true;
    return false;
}

/* The kernel makes one mapping of a library's variables and of an arena that happens to lie behind them. */
static bool is_in_pool(const struct heap *heap, uint64_t local)
{
    return heap->pools[local / PAGE / 8] >> local / PAGE % 8 & 1;
}

/* The words of libraries' variables, and the objects that are such variables. */
static void emit_statics_of(const struct roots *roots, const struct heap_range *range)
{
    struct heap *heap = roots->heap;

    for (uint64_t at = 0; at + 8 <= range->size; at += 8) {
        uint64_t address = range->start + at;
        if (is_in_pool(heap, range->local + at)) {
            at = ((at / PAGE) + 1) * PAGE - 8;
            continue;
        }
        if (heap_has(heap, (uint32_t)((range->local + at) / 8))) {
            uint32_t type = heap_type_at(heap, heap_image_u64(roots->image, address + heap->layout.object.type));
            emit(roots, (struct heap_root){.kind = HEAP_ROOT_OBJECT, .target = address, .holder = address});
            if (type != HEAP_NONE)
                at += ((heap_extent(heap, address, &heap->types[type]) + 7) & ~UINT64_C(7)) - 8;
            continue;
        }
        struct heap_root root = {.kind = HEAP_ROOT_STATIC, .holder = address};
        memcpy(&root.target, roots->image->bytes + range->local + at, sizeof(root.target));
        if (root.target && heap_find(heap, root.target) != HEAP_NONE && !is_told_already(heap, address)) {
            if (is_interned(roots, root.target))
                root.kind = HEAP_ROOT_INTERNED;
            emit(roots, root);
        }
    }
}

/* ------------------------------------------------------------------ all */

static struct roots make_roots(struct heap *heap, heap_root_fn *fn, void *context)
{
    return (struct roots){.heap = heap,
                          .image = heap->image,
                          .fn = fn,
                          .context = context,
                          .words_left = heap->image->size / 8,
                          .frames_left = FRAMES_MAX};
}

void heap_read_roots(struct heap *heap, heap_root_fn *fn, void *context)
{
    struct roots roots = make_roots(heap, fn, context);

    for (size_t i = 0; i < heap->interpreter_count; i++) {
        emit_interpreter(&roots, heap->interpreters[i].address);
        emit_threads(&roots, heap->interpreters[i].address);
    }
}

struct known_roots {
    struct roots roots;
    heap_root_fn *fn;
    void *context;
};

/* Leaves out what is no object; finds out which is the table of interned strings. */
static void pass_known(void *context, const struct heap_root *root)
{
    struct known_roots *known = context;
    struct heap_root copy = *root;

    if (heap_find(known->roots.heap, root->target) == HEAP_NONE)
        return;
    if (root->kind == HEAP_ROOT_INTERPRETER && is_interned(&known->roots, root->target))
        copy.kind = HEAP_ROOT_INTERNED;
    known->fn(known->context, &copy);
}

void heap_visit_roots(struct heap *heap, heap_root_fn *fn, void *context)
{
    struct roots roots = make_roots(heap, fn, context);
    struct known_roots known = {roots, fn, context};

    heap_read_roots(heap, pass_known, &known);
    for (size_t i = 0; i < heap->image->count; i++)
        if (heap->image->ranges[i].statics)
            emit_statics_of(&roots, &heap->image->ranges[i]);
}
