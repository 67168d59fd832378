/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A `with` keeps the bound __exit__ (3.14+: the method and the object) in the value stack below what its body uses. How
 * much of a running frame's stack is in use isn't written down; but how much of it an exception would keep is:
 *
 *   3.8-3.10   f_blockstack[f_iblock]: {int type, int handler, int level}
 *   3.11+      co_exceptiontable: {start, length, target, depth << 1 | lasti}
 */
#include "runtime/withs.h"

#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/objects.h"

#define BLOCKS_MAX          20 /* CO_MAXBLOCKS */
#define BLOCK_SIZE          12
#define BLOCK_LEVEL         8
#define BLOCKS_BEFORE       240 /* f_blockstack, and f_iblock, before f_localsplus */
#define BLOCK_COUNT         248
#define TABLE_AFTER         16 /* co_exceptiontable behind co_consts, co_names */
#define TABLE_MAX           (1u << 20)
#define DEPTH_MAX           4096
#define AWAIT_HANDLER_MINOR 12
#define EXIT_IN_TWO_MINOR   14 /* from which on the method and its object are two words */

/* ------------------------------------------------------------------ how deep */

static uint64_t depth_by_blocks(struct object_reader *reader, const struct frame *frame)
{
    uint64_t variables = frame->at.value + reader->layout.frame.localsplus;
    uint32_t count = reader_u32(reader, variables - BLOCK_COUNT);

    if (!count || count > BLOCKS_MAX)
        return 0;
    return reader_u32(reader, variables - BLOCKS_BEFORE + (count - 1) * (uint64_t)BLOCK_SIZE + BLOCK_LEVEL);
}

struct table {
    const uint8_t *bytes;
    size_t size, at;
};

/* Six bits to a byte, the highest first; bit 6: more follow. */
static uint64_t read_number(struct table *table)
{
    uint64_t value = 0;
    uint8_t byte;

    do {
        if (table->at == table->size)
            return 0;
        byte = table->bytes[table->at++];
        value = value << 6 | (byte & 63);
    } while (byte & 64);
    return value;
}

struct handler {
    uint64_t target, depth; /* where it goes on, and how much of the stack it keeps; 0, 0: there is none */
};

/* The ranges don't overlap: the innermost handler is the only one. */
static struct handler find_handler(struct table table, uint64_t instruction)
{
    struct handler found = {0, 0};

    while (table.at < table.size) {
        uint64_t start = read_number(&table), length = read_number(&table);
        struct handler handler = {read_number(&table), 0};
        handler.depth = read_number(&table) >> 1;
        if (instruction >= start && instruction - start < length)
            found = handler;
    }
    return found;
}

/* From 3.12 on what suspends an await has a handler of its own (CLEANUP_THROW), which keeps what is awaited, of an `async
 * with` that isn't entered yet too: the one around it counts, in whose range that handler is. From 3.13 on a suspended
 * frame stands behind that instruction already. */
static uint64_t depth_by_table(struct object_reader *reader, const struct frame *frame, bool awaits)
{
    uint64_t object = reader_u64(reader, frame->code.value + reader->layout.code.consts + TABLE_AFTER);
    scoped_free uint8_t *bytes = NULL;
    struct table table = {0};
    struct error *error = object_read_bytes(&reader->view.runtime, address_of(object), TABLE_MAX, &bytes, &table.size);

    if (error || frame->instruction < 0) {
        error_destroy(error);
        return 0;
    }
    table.bytes = bytes;
    struct handler handler = find_handler(table, (uint64_t)frame->instruction / 2);
    if (awaits && handler.target && reader->layout.minor == AWAIT_HANDLER_MINOR)
        handler = find_handler(table, handler.target);
    return handler.depth;
}

/* -------------------------------------------------------------------- its words */

/* The object of a bound __exit__, in C or in Python; 0: it is no bound method. */
static uint64_t bound_to(struct object_reader *reader, uint64_t word)
{
    if (!word || (!reader_is(reader, word, "builtin_function_or_method") && !reader_is(reader, word, "method")))
        return 0;
    return reader_field(reader, word, 1);
}

static bool is_exit_method(struct object_reader *reader, uint64_t word)
{
    return word && (reader_is(reader, word, "method_descriptor") || reader_is(reader, word, "function"));
}

/* --------------------------------------------------------------------- the walk */

/* threading's or asyncio's Condition.wait(): it has let go of the lock, and takes it again at its end. */
static void add_released(struct with_walk *walk, struct object_reader *reader, const struct frame *frame)
{
    struct python_frame text;

    if (walk->released_count == WITHS_MAX || !reader_describe_frame(reader, frame, &text))
        return;
    const char *dot = strrchr(text.function, '.'), *slash = strrchr(text.file, '/');
    if (strcmp(dot ? dot + 1 : text.function, "wait") != 0 || !slash ||
        (strcmp(slash, "/threading.py") != 0 && strcmp(slash, "/locks.py") != 0))
        return;
    uint64_t self = reader_local(reader, frame, "self");
    if (reader_is_derived(reader, self, "Condition"))
        walk->released[walk->released_count++] = reader_attribute(reader, self, "_lock");
}

static void add_object(struct with_walk *walk, uint64_t object)
{
    for (size_t i = 0; i < walk->released_count; i++) {
        if (walk->released[i] == object)
            return;
    }
    if (object && walk->count < WITHS_MAX)
        walk->objects[walk->count++] = object;
}

static void add_with(struct with_walk *walk, struct object_reader *reader, uint64_t object)
{
    add_object(walk, object);
    if (reader_is_derived(reader, object, "Condition"))
        add_object(walk, reader_attribute(reader, object, "_lock"));
}

void with_walk_frame(struct with_walk *walk, struct object_reader *reader, const struct frame *frame, bool awaits)
{
    bool old = reader->layout.iframe.localsplus == OFF_NONE;
    uint64_t depth = old ? depth_by_blocks(reader, frame) : depth_by_table(reader, frame, awaits);
    uint64_t variables, words = reader_frame_words(reader, frame, &variables), before = 0;

    walk->count = 0;
    add_released(walk, reader, frame);
    for (uint64_t i = 0; i < depth && depth <= DEPTH_MAX; i++) {
        uint64_t word = reader_untag(reader, reader_u64(reader, words + (variables + i) * 8));
        uint64_t object = bound_to(reader, word);
        if (reader->layout.minor >= EXIT_IN_TWO_MINOR && word && is_exit_method(reader, before))
            object = word;
        if (object)
            add_with(walk, reader, object);
        before = word;
    }
}
