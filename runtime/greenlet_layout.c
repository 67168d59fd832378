/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * greenlet 1.x has all in the object; from 2.0 on it leads to an object of C++, of which these parts follow each other:
 *
 *   virtual functions | _self (3.1.1+) | exception state | switch arguments | stack state | python state |
 *       of a main greenlet:  _self, thread state
 *       of any other:        _self (before 3.1.1), main greenlet, run, parent
 *
 * The stack state is {start, stop, copy, saved, previous}; the python state begins with {context, top frame}, and goes on as
 * Python's version and greenlet's own have it. Which, is told by where a main greenlet has its own address: at
 * most one of the places that it can be at holds it.
 */
#include "runtime/greenlet_layout.h"

#include <string.h>

#define WORD 8u
#define STACK_STATE_SIZE (5 * WORD)
#define SWITCH_ARGUMENTS_SIZE (2 * WORD)
#define TOP_FRAME WORD /* in the python state */
#define BODY_MAX  512u /* no object of C++'s here is larger */
/* StackState of a main greenlet: its stack ends nowhere. */
#define STOP_OF_MAIN UINT64_MAX

/* greenlet 1.x: the object, behind its head. */
struct plain_layout {
    unsigned minor_first, minor_last;
    uint32_t size; /* tp_basicsize, without the head */
    uint32_t current_frame;
};
#define PLAIN_STACK_START 0
#define PLAIN_PARENT      40
#define PLAIN_TOP_FRAME   56

static const struct plain_layout plain_layouts[] = {
    {8, 9, 136, OFF_NONE},
    {10, 10, 144, OFF_NONE}, /* a cframe more */
    {11, 11, 160, 72},
};

/* greenlet 2.0 and later: the python state of each of Python's versions. */
struct python_state {
    unsigned minor_first, minor_last;
    uint32_t current_frame, size;
};

static const struct python_state python_states[] = {
    {8, 9, OFF_NONE, 24},   /* two counters of four bytes */
    {10, 10, OFF_NONE, 40}, /* cframe, three */
    {11, 12, 40, 72},       /* cframe, three or four; then four pointers, of which the frame is the first */
    {13, 13, 32, 64},       /* two counters, delete_later */
    {13, 13, 40, 72},       /* critical_section */
    {14, 15, 40, 72},       /* a counter, current_executor, delete_later */
    {14, 15, 48, 80},       /* critical_section, or stackpointer */
    {14, 15, 56, 88},       /* both */
    {14, 15, 64, 96},       /* c_stack_refs: free-threaded */
};

/* ---------------------------------------------------------------------- module */

static bool is_module(const struct map *map)
{
    static const char name[] = "_greenlet.";

    return !strncmp(map_basename(map), name, sizeof(name) - 1);
}

bool greenlet_is_mapped(const struct maps *maps)
{
    for (size_t i = 0; i < maps->count; i++) {
        if (is_module(&maps->entries[i]))
            return true;
    }
    return false;
}

static void find_module(struct greenlet_layout *layout, const struct maps *maps)
{
    for (size_t i = 0; i < maps->count; i++) {
        const struct map *map = &maps->entries[i];

        if (!is_module(map))
            continue;
        if (!layout->code_start)
            layout->code_start = map->start.value;
        layout->code_end = map->end.value;
    }
}

/* --------------------------------------------------------------------- layouts */

static bool find_plain(struct greenlet_layout *layout, const struct object_reader *reader, uint64_t size)
{
    for (size_t i = 0; i < sizeof(plain_layouts) / sizeof(plain_layouts[0]); i++) {
        const struct plain_layout *row = &plain_layouts[i];
        uint32_t head = (uint32_t)reader->head;

        if (reader->layout.minor < row->minor_first || reader->layout.minor > row->minor_last || size != head + row->size)
            continue;
        layout->stack_start = head + PLAIN_STACK_START;
        layout->parent = head + PLAIN_PARENT;
        layout->top_frame = head + PLAIN_TOP_FRAME;
        layout->current_frame = row->current_frame == OFF_NONE ? OFF_NONE : head + row->current_frame;
        layout->self = OFF_NONE;
        return true;
    }
    return false;
}

/* The object of C++ that a greenlet leads to; 0 where it is none of the module's. */
static uint64_t find_body(const struct greenlet_layout *layout, struct object_reader *reader, uint64_t greenlet)
{
    uint64_t body = reader_field(reader, greenlet, 2);
    uint64_t functions = body && body % WORD == 0 ? reader_u64(reader, body) : 0;

    return functions >= layout->code_start && functions < layout->code_end ? body : 0;
}

/* Its layout, were it of that row; false where its stack state says that it is no main greenlet's. */
static bool place(struct greenlet_layout *layout, struct object_reader *reader, uint64_t greenlet,
                  const struct python_state *row)
{
    uint64_t body = find_body(layout, reader, greenlet);
    bool self_first = body && reader_u64(reader, body + WORD) == greenlet;
    uint32_t exceptions = reader->layout.minor < 11 ? 5 * WORD : 3 * WORD;

    layout->stack_start = WORD + self_first * WORD + exceptions + SWITCH_ARGUMENTS_SIZE;
    uint32_t python = layout->stack_start + STACK_STATE_SIZE;
    layout->top_frame = python + TOP_FRAME;
    layout->current_frame = row->current_frame == OFF_NONE ? OFF_NONE : python + row->current_frame;
    layout->self = python + row->size;
    layout->parent = layout->self + (self_first ? 2 : 3) * WORD;
    return body && reader_u64(reader, body + layout->stack_start + WORD) == STOP_OF_MAIN &&
           reader_u64(reader, body + layout->self) == greenlet;
}

static bool find_indirect(struct greenlet_layout *layout, struct object_reader *reader, uint64_t greenlet)
{
    unsigned found = 0;
    struct greenlet_layout known = *layout;

    for (size_t i = 0; i < sizeof(python_states) / sizeof(python_states[0]); i++) {
        const struct python_state *row = &python_states[i];
        struct greenlet_layout candidate = *layout;

        if (reader->layout.minor < row->minor_first || reader->layout.minor > row->minor_last ||
            !place(&candidate, reader, greenlet, row))
            continue;
        known = candidate;
        found++;
    }
    *layout = known;
    return found == 1;
}

bool greenlet_layout_find(struct greenlet_layout *layout, struct object_reader *reader, const struct maps *maps,
                          uint64_t type, const uint64_t *greenlets, size_t count)
{
    uint64_t size = reader_u64(reader, type + reader->layout.type.basicsize);

    *layout = (struct greenlet_layout){.indirect = size == reader->head + 3 * WORD};
    find_module(layout, maps);
    if (!layout->indirect)
        return find_plain(layout, reader, size);
    for (size_t i = 0; i < count; i++) {
        if (find_indirect(layout, reader, greenlets[i]))
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------- one of them */

static uint64_t word_at(const unsigned char *bytes, uint32_t offset)
{
    uint64_t value;

    memcpy(&value, bytes + offset, sizeof(value));
    return value;
}

/* As much of it as holds all the fields. */
static uint32_t fields_size(const struct greenlet_layout *layout)
{
    uint32_t last = layout->parent > layout->top_frame ? layout->parent : layout->top_frame;

    if (layout->current_frame != OFF_NONE && layout->current_frame > last)
        last = layout->current_frame;
    return last + WORD;
}

bool greenlet_read_fields(const struct greenlet_layout *layout, struct object_reader *reader, uint64_t greenlet,
                          struct greenlet_fields *fields)
{
    uint64_t body = layout->indirect ? find_body(layout, reader, greenlet) : greenlet;
    unsigned char bytes[BODY_MAX];

    *fields = (struct greenlet_fields){0};
    if (!body || fields_size(layout) > sizeof(bytes) || !reader_bytes(reader, body, bytes, fields_size(layout)))
        return false;
    fields->stack_start = word_at(bytes, layout->stack_start);
    fields->stack_stop = word_at(bytes, layout->stack_start + WORD);
    fields->main = fields->stack_stop == STOP_OF_MAIN;
    fields->top_frame = word_at(bytes, layout->top_frame);
    fields->current_frame = layout->current_frame == OFF_NONE ? 0 : word_at(bytes, layout->current_frame);
    if (fields->main && layout->indirect) {
        fields->thread_ended = !word_at(bytes, layout->self + WORD);
        return word_at(bytes, layout->self) == greenlet;
    }
    fields->parent = word_at(bytes, layout->parent);
    /* A stack grows down from where it ends. */
    return fields->stack_start <= fields->stack_stop && fields->parent % WORD == 0;
}
