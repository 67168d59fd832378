/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Frames, their variables, and generators: the part of reader.h that goes by them. */
#include <stdio.h>
#include <string.h>

#include "runtime/reader.h"

#define POINTER         8u
#define TAG_MASK        UINT64_C(3) /* of a word in a frame, 3.14+ */
#define TAG_MINOR       14
#define FRAME_WORDS_MAX 65536u
#define SLOTS_MAX       4096 /* variables of a frame that are told */
#define NAME_SIZE       256
/* PyCodeObject.co_flags, code.h (3.8 to 3.10) and cpython/code.h, the same in all of them, and a bit of it. */
#define OLD_CODE_FLAGS 36
#define CODE_FLAGS     48
#define CODE_OPTIMIZED 1
/* Of co_localspluskinds, internal/pycore_code.h, 3.11+. */
#define KIND_CELL 0x40
#define KIND_FREE 0x80

/* ------------------------------------------------------------------ frames */

bool reader_first_frame(struct object_reader *reader, const struct thread_state *thread, struct frame *frame)
{
    struct address at;
    struct error *error = frames_find_first(&reader->view.runtime, thread->address, &at, NULL);

    *frame = (struct frame){.previous = at};
    if (!error)
        return reader_next_frame(reader, frame);
    error_destroy(error);
    reader->misses++;
    return false;
}

bool reader_next_frame(struct object_reader *reader, struct frame *frame)
{
    while (frame->previous.value && reader->frames_left) {
        struct error *error = frames_read(&reader->view.runtime, frame->previous, frame);

        reader->frames_left--;
        if (error) {
            error_destroy(error);
            reader->misses++;
            return false;
        }
        if (!frame->shim)
            return true;
    }
    return false;
}

uint64_t reader_untag(const struct object_reader *reader, uint64_t word)
{
    if (reader->layout.minor < TAG_MINOR)
        return word;
    return (word & TAG_MASK) > 1 ? 0 : word & ~TAG_MASK; /* 2 and 3 are numbers */
}

static uint64_t tuple_size(struct object_reader *reader, uint64_t tuple)
{
    uint64_t size = tuple ? reader_u64(reader, tuple + reader->layout.object.ob_size) : 0;

    return size <= FRAME_WORDS_MAX ? size : 0;
}

uint64_t reader_frame_words(struct object_reader *reader, const struct frame *frame, uint64_t *variables)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t code = frame->code.value;

    if (layout->code.nlocalsplus != OFF_NONE) {
        *variables = reader_u32(reader, code + layout->code.nlocalsplus);
    } else {
        *variables = tuple_size(reader, reader_u64(reader, code + layout->code.varnames));
        *variables += tuple_size(reader, reader_u64(reader, code + layout->code.cellvars));
        *variables += tuple_size(reader, reader_u64(reader, code + layout->code.freevars));
    }
    if (*variables > FRAME_WORDS_MAX)
        *variables = 0;
    return frame->at.value +
           (layout->iframe.localsplus != OFF_NONE ? layout->iframe.localsplus : layout->frame.localsplus);
}

/* The variable's place, from `start` on, in a tuple of names; UINT64_MAX: it isn't there. */
static uint64_t find_name(struct object_reader *reader, uint64_t names, const char *name)
{
    uint64_t count = tuple_size(reader, names);

    for (uint64_t i = 0; i < count; i++) {
        if (reader_equals(reader, reader_u64(reader, names + reader->layout.tuple.items + i * POINTER), name))
            return i;
    }
    return UINT64_MAX;
}

/* What a cell holds; the object itself where it is none. */
static uint64_t open_cell(struct object_reader *reader, uint64_t value)
{
    return value && reader_is(reader, value, "cell") ? reader_field(reader, value, 0) : value;
}

static uint64_t read_variable(struct object_reader *reader, uint64_t at)
{
    uint64_t value = reader_untag(reader, reader_u64(reader, at));

    return open_cell(reader, value);
}

uint64_t reader_local(struct object_reader *reader, const struct frame *frame, const char *name)
{
    const struct heap_layout *layout = &reader->layout;
    const uint32_t old[] = {layout->code.varnames, layout->code.cellvars, layout->code.freevars};
    const uint32_t new[] = {layout->code.localsplusnames};
    bool is_new = layout->code.localsplusnames != OFF_NONE;
    uint64_t variables, words = reader_frame_words(reader, frame, &variables), value = 0, before = 0;

    for (unsigned i = 0; i < (is_new ? 1 : 3) && !value; i++) {
        uint64_t names = reader_u64(reader, frame->code.value + (is_new ? new[i] : old[i]));
        uint64_t place = find_name(reader, names, name);

        if (place != UINT64_MAX && before + place < variables)
            value = read_variable(reader, words + (before + place) * POINTER);
        before += tuple_size(reader, names);
    }
    return value;
}

bool reader_describe_frame(struct object_reader *reader, const struct frame *frame, struct python_frame *text)
{
    const struct code *code;
    struct error *error = codes_find(&reader->codes, &reader->view.runtime, frame->code, &code);

    *text = (struct python_frame){0};
    if (error) {
        error_destroy(error);
        reader->misses++;
        return false;
    }
    snprintf(text->function, sizeof(text->function), "%s", code->function);
    snprintf(text->file, sizeof(text->file), "%s", code->file);
    text->line = code_find_line(&reader->view.runtime, code, frame->instruction);
    return true;
}

bool reader_frame_is(const struct python_frame *frame, const char *file, const char *function)
{
    size_t length = strlen(frame->file), size = strlen(file);
    const char *dot = strrchr(frame->function, '.');

    if (length < size || strcmp(frame->file + length - size, file) != 0)
        return false;
    return !function || !strcmp(dot ? dot + 1 : frame->function, function);
}

/* --------------------------------------------------------------- variables */

struct variables {
    struct object_reader *reader;
    reader_variable_fn *fn;
    void *context;
};

static void tell_variable(const struct variables *variables, uint64_t name, uint64_t value)
{
    char text[NAME_SIZE];

    if (value && reader_text(variables->reader, name, text, sizeof(text)))
        variables->fn(variables->context, text, value);
}

/* The names of a tuple stand for the slots from *slot on. `kinds`: a byte for each, 0: all are of the same. */
static void tell_slots(const struct variables *variables, uint64_t names, uint64_t *slot, uint64_t kinds, bool cells)
{
    struct object_reader *reader = variables->reader;
    uint64_t count = tuple_size(reader, names);

    for (uint64_t i = 0; i < count && i < SLOTS_MAX; i++, *slot += POINTER) {
        uint64_t value = reader_untag(reader, reader_u64(reader, *slot));

        if (kinds)
            cells = reader_u8(reader, kinds + i) & (KIND_CELL | KIND_FREE);
        tell_variable(variables, reader_u64(reader, names + reader->layout.tuple.items + i * POINTER),
                      cells ? open_cell(reader, value) : value);
    }
}

static void tell_old_frame(const struct variables *variables, uint64_t frame, uint64_t code)
{
    struct object_reader *reader = variables->reader;
    const struct heap_layout *layout = &reader->layout;
    uint64_t slot = frame + layout->frame.localsplus;

    tell_slots(variables, reader_u64(reader, code + layout->code.varnames), &slot, 0, false);
    tell_slots(variables, reader_u64(reader, code + layout->code.cellvars), &slot, 0, true);
    tell_slots(variables, reader_u64(reader, code + layout->code.freevars), &slot, 0, true);
}

static void tell_new_frame(const struct variables *variables, uint64_t frame, uint64_t code)
{
    struct object_reader *reader = variables->reader;
    uint64_t slot = frame + reader->layout.iframe.localsplus;
    uint64_t kinds = reader_named_field(reader, code, "code", "co_localspluskinds");

    tell_slots(variables, reader_u64(reader, code + reader->layout.code.localsplusnames), &slot,
               kinds + reader->view.runtime.layout.bytes.ob_sval, false);
}

static void tell_dict(const struct variables *variables, uint64_t dict)
{
    struct dict_entries entries;
    uint64_t key, value;

    if (!reader_find_entries(variables->reader, dict, &entries))
        return;
    for (uint64_t i = 0; i < entries.count && i < SLOTS_MAX; i++) {
        if (reader_entry(variables->reader, &entries, i, &key, &value))
            tell_variable(variables, key, value);
    }
}

/* The dict that a class's body fills; a module's is its globals, and no frame's own. */
static void tell_namespace(const struct variables *variables, uint64_t frame, uint64_t code)
{
    struct object_reader *reader = variables->reader;
    bool old = reader->layout.minor < 11;
    uint32_t locals = old ? reader_find_field(reader, "frame", "f_locals") : reader->layout.iframe.locals;
    uint32_t globals = old ? reader_find_field(reader, "frame", "f_globals") : reader->layout.iframe.globals;
    uint64_t dict = reader_untag(reader, reader_u64(reader, frame + locals));

    if (reader_u32(reader, code + (old ? OLD_CODE_FLAGS : CODE_FLAGS)) & CODE_OPTIMIZED)
        return;
    if (dict && dict != reader_untag(reader, reader_u64(reader, frame + globals)))
        tell_dict(variables, dict);
}

void reader_visit_variables(struct object_reader *reader, const struct frame *frame, reader_variable_fn *fn, void *context)
{
    const struct variables variables = {reader, fn, context};

    if (reader->layout.minor < 11)
        tell_old_frame(&variables, frame->at.value, frame->code.value);
    else
        tell_new_frame(&variables, frame->at.value, frame->code.value);
    tell_namespace(&variables, frame->at.value, frame->code.value);
}

/* -------------------------------------------------------------- generators */

/* How a generator says what it is doing. The numbers of the frame states moved from version to version. */
struct generator_states {
    unsigned minor;
    int8_t suspended, awaiting, running; /* awaiting == suspended: the next instruction tells */
    unsigned depth;                      /* of what is awaited in the value stack: 1 is on top */
};

static const struct generator_states generator_states[] = {
    {11, -1, -1, 0, 1}, {12, -1, -1, 0, 1}, {13, -2, -1, 0, 1}, {14, -2, -1, 0, 1}, {15, 1, 2, 4, 2},
};

/* SUSPENDED_YIELD_FROM_LOCKED, free-threaded 3.15. */
#define AWAITING_LOCKED_15 3
#define YIELD_FROM         72 /* the opcode, 3.8 to 3.10 */
#define RESUME_AWAIT       2  /* from this argument of RESUME on it comes after an await, 3.11 and 3.12 */

static const struct generator_states *find_states(const struct object_reader *reader)
{
    for (size_t i = 0; i < sizeof(generator_states) / sizeof(generator_states[0]); i++) {
        if (generator_states[i].minor == reader->layout.minor)
            return &generator_states[i];
    }
    return NULL;
}

bool reader_is_generator(struct object_reader *reader, uint64_t object)
{
    return reader_is(reader, object, "coroutine") || reader_is(reader, object, "generator") ||
           reader_is(reader, object, "async_generator");
}

bool reader_generator_frame(struct object_reader *reader, uint64_t generator, struct frame *frame)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t at;

    *frame = (struct frame){0};
    if (layout->generator.iframe != OFF_NONE) {
        int8_t state = (int8_t)reader_u8(reader, generator + layout->generator.frame_state);
        if (state >= (int8_t)layout->generator.frame_cleared)
            return false;
        at = generator + layout->generator.iframe;
    } else {
        at = reader_u64(reader, generator + layout->generator.frame);
    }
    if (!at)
        return false;
    struct error *error = frames_read(&reader->view.runtime, address_of(at), frame);
    bool found = !error && !frame->shim;
    reader->misses += error != NULL;
    error_destroy(error);
    return found;
}

/* Up to 3.10: what is on top of a suspended frame's stack; 0 where it runs. */
static uint64_t old_stack_top(struct object_reader *reader, uint64_t frame)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t stack = reader_u64(reader, frame + layout->frame.valuestack), top;

    if (layout->frame.stacktop != OFF_NONE) {
        top = reader_u64(reader, frame + layout->frame.stacktop);
    } else {
        int32_t depth = (int32_t)reader_u32(reader, frame + layout->frame.stackdepth);
        top = depth > 0 ? stack + (uint64_t)depth * POINTER : 0;
    }
    return top > stack ? reader_u64(reader, top - POINTER) : 0;
}

/* 3.11+: what is `depth` from the top of a suspended frame's stack. */
static uint64_t new_stack_item(struct object_reader *reader, const struct frame *frame, unsigned depth)
{
    const struct heap_layout *layout = &reader->layout;
    uint64_t variables, words = reader_frame_words(reader, frame, &variables), top;

    if (layout->iframe.stackpointer != OFF_NONE)
        top = reader_u64(reader, frame->at.value + layout->iframe.stackpointer);
    else
        top = words + reader_u32(reader, frame->at.value + layout->iframe.stacktop) * (uint64_t)POINTER;
    if (top < words + (variables + depth) * POINTER || top > words + FRAME_WORDS_MAX * (uint64_t)POINTER)
        return 0;
    return reader_untag(reader, reader_u64(reader, top - depth * (uint64_t)POINTER));
}

/* Does the suspended frame's next instruction go on with an await? 3.8 to 3.12. */
static bool awaits_by_code(struct object_reader *reader, const struct frame *frame)
{
    const struct heap_layout *layout = &reader->layout;

    if (frame->instruction < 0)
        return false;
    if (layout->code.code != OFF_NONE) {
        uint64_t bytes = reader_u64(reader, frame->code.value + layout->code.code);
        uint64_t at = bytes + reader->view.runtime.layout.bytes.ob_sval + (uint64_t)frame->instruction + 2;
        return bytes && reader_u8(reader, at) == YIELD_FROM;
    }
    uint64_t at = frame->code.value + layout->code.adaptive + (uint64_t)frame->instruction + 2;
    return (reader_u8(reader, at + 1) & 3) >= RESUME_AWAIT;
}

bool reader_generator_runs(struct object_reader *reader, uint64_t generator)
{
    const struct heap_layout *layout = &reader->layout;
    const struct generator_states *states = find_states(reader);
    struct frame frame;

    if (states)
        return (int8_t)reader_u8(reader, generator + layout->generator.frame_state) == states->running;
    if (!reader_generator_frame(reader, generator, &frame))
        return false;
    if (layout->frame.stacktop != OFF_NONE)
        return frame.instruction >= 0 && !reader_u64(reader, frame.at.value + layout->frame.stacktop);
    return (int32_t)reader_u32(reader, frame.at.value + layout->frame.stackdepth) < 0;
}

uint64_t reader_generator_awaits(struct object_reader *reader, uint64_t generator)
{
    const struct heap_layout *layout = &reader->layout;
    const struct generator_states *states = find_states(reader);
    struct frame frame;

    if (!reader_generator_frame(reader, generator, &frame))
        return 0;
    if (!states)
        return awaits_by_code(reader, &frame) ? old_stack_top(reader, frame.at.value) : 0;
    int8_t state = (int8_t)reader_u8(reader, generator + layout->generator.frame_state);
    if (state != states->awaiting && !(layout->minor == 15 && state == AWAITING_LOCKED_15))
        return 0;
    if (states->awaiting == states->suspended && !awaits_by_code(reader, &frame))
        return 0;
    return new_stack_item(reader, &frame, states->depth);
}

bool reader_generator_name(struct object_reader *reader, uint64_t generator, char *text, size_t size)
{
    /* gi_qualname: in the same place of all three kinds. */
    return reader_text(reader, reader_named_field(reader, generator, "coroutine", "__qualname__"), text, size);
}
