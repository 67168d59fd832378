/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/futures.h"

#include <string.h>

#include "attach/scope.h"

/* clang-format off: one row each */
static const struct future_layout future_layouts[] = {
    /* from the debug information of 3.8.18, 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0 */
    {8, 144, 16, 24, 40, OFF_NONE, OFF_NONE, 72, 136, 1, OFF_NONE, 104, 112, 120, OFF_NONE, OFF_NONE, OFF_NONE,
     OFF_NONE, OFF_NONE},
    {9, 184, 16, 24, 40, OFF_NONE, OFF_NONE, 80, 176, 1, OFF_NONE, 144, 152, 160, OFF_NONE, OFF_NONE, OFF_NONE,
     OFF_NONE, OFF_NONE},
    {10, 192, 16, 24, 40, OFF_NONE, OFF_NONE, 88, 184, 1, OFF_NONE, 152, 160, 168, OFF_NONE, OFF_NONE, OFF_NONE,
     OFF_NONE, OFF_NONE},
    {11, 176, 16, 24, 40, OFF_NONE, OFF_NONE, 88, 160, 1, 168, 128, 136, 144, OFF_NONE, OFF_NONE, OFF_NONE, OFF_NONE,
     OFF_NONE},
    {12, 176, 16, 24, 40, OFF_NONE, OFF_NONE, 88, 160, 1, 168, 128, 136, 144, OFF_NONE, OFF_NONE, OFF_NONE, OFF_NONE,
     OFF_NONE},
    {13, 144, 16, 24, 40, OFF_NONE, OFF_NONE, 96, 100, 4, 104, 112, 120, 128, OFF_NONE, OFF_NONE, OFF_NONE, OFF_NONE,
     OFF_NONE},
};
/* clang-format on */

/* 3.14+: from what _asyncio says, by fields that are declared side by side. */
#define STATE_AFTER_AWAITED_BY   8
#define BITS_AFTER_IS_SET        1
#define MUST_CANCEL_MASK_14      4 /* behind two bits of the future's own */
#define CANCELS_BEFORE_COROUTINE 16
#define WAITER_BEFORE_COROUTINE  8
/* A sane bound on an offset, of a thread state or an interpreter. */
#define OFFSET_MAX (1u << 20)

/* Py_AsyncioModuleDebugOffsets, all of it uint64_t. */
enum {
    SAID_TASK_SIZE,
    SAID_TASK_NAME,
    SAID_TASK_AWAITED_BY,
    SAID_TASK_IS_TASK,
    SAID_TASK_AWAITED_BY_IS_SET,
    SAID_TASK_COROUTINE,
    SAID_TASK_NODE,
    SAID_INTERPRETER_SIZE,
    SAID_INTERPRETER_TASKS,
    SAID_THREAD_SIZE,
    SAID_THREAD_LOOP,
    SAID_THREAD_TASK,
    SAID_THREAD_TASKS,
    SAID_COUNT
};

/* ------------------------------------------------------------------ layout */

static bool read_said(const struct image *image, const struct runtime *runtime, uint64_t said[SAID_COUNT])
{
    struct image_range range;

    if (!image_find_section(image, ".AsyncioDebug", &range) || range.size < SAID_COUNT * sizeof(uint64_t))
        return false;
    struct error *error = memory_read(&runtime->process->memory, range.start, said, SAID_COUNT * sizeof(uint64_t));
    bool sane = !error;
    for (unsigned i = 0; sane && i < SAID_COUNT; i++)
        sane = said[i] && said[i] < OFFSET_MAX;
    error_destroy(error);
    return sane;
}

/* In the runtime's own file where _asyncio is built in (3.15), or in the extension's. */
static bool find_said(const struct runtime *runtime, const struct maps *maps, uint64_t said[SAID_COUNT])
{
    if (read_said(runtime->image, runtime, said))
        return true;
    for (size_t i = 0; i < maps->count; i++) {
        struct image *image;
        if (strncmp(map_basename(&maps->entries[i]), "_asyncio.", 9) != 0)
            continue;
        struct error *error = image_open(&image, runtime->process, &maps->entries[i]);
        bool found = !error && read_said(image, runtime, said);
        if (!error)
            image_close(image);
        error_destroy(error);
        return found;
    }
    return false;
}

static void lay_out(struct future_layout *layout, const struct runtime *runtime, const uint64_t said[SAID_COUNT])
{
    uint32_t head = runtime->layout.object.ob_type + 8; /* the type is an object's last */

    *layout = (struct future_layout){
        .minor = runtime->layout.minor,
        .size = (uint32_t)said[SAID_TASK_SIZE],
        .loop = head,
        .callback0 = head + 8,
        .callbacks = head + 24,
        .awaited_by = (uint32_t)said[SAID_TASK_AWAITED_BY],
        .awaited_by_is_set = (uint32_t)said[SAID_TASK_AWAITED_BY_IS_SET],
        .state = (uint32_t)said[SAID_TASK_AWAITED_BY] + STATE_AFTER_AWAITED_BY,
        .must_cancel = (uint32_t)said[SAID_TASK_AWAITED_BY_IS_SET] + BITS_AFTER_IS_SET,
        .must_cancel_mask = MUST_CANCEL_MASK_14,
        .cancels = (uint32_t)said[SAID_TASK_COROUTINE] - CANCELS_BEFORE_COROUTINE,
        .waiter = (uint32_t)said[SAID_TASK_COROUTINE] - WAITER_BEFORE_COROUTINE,
        .coroutine = (uint32_t)said[SAID_TASK_COROUTINE],
        .name = (uint32_t)said[SAID_TASK_NAME],
        .node = (uint32_t)said[SAID_TASK_NODE],
        .interpreter_tasks = (uint32_t)said[SAID_INTERPRETER_TASKS],
        .thread_loop = (uint32_t)said[SAID_THREAD_LOOP],
        .thread_task = (uint32_t)said[SAID_THREAD_TASK],
        .thread_tasks = (uint32_t)said[SAID_THREAD_TASKS],
    };
}

bool future_layout_find(struct future_layout *layout, const struct runtime *runtime, const struct maps *maps)
{
    uint64_t said[SAID_COUNT];

    for (size_t i = 0; i < sizeof(future_layouts) / sizeof(future_layouts[0]); i++) {
        if (future_layouts[i].minor == runtime->layout.minor) {
            *layout = future_layouts[i];
            return !runtime->free_threaded;
        }
    }
    if (!find_said(runtime, maps, said))
        return false;
    lay_out(layout, runtime, said);
    return true;
}

/* ----------------------------------------------------------------- futures */

enum future_kind future_kind(const struct futures *futures, uint64_t object)
{
    if (!object)
        return FUTURE_NONE;
    if (reader_is_derived(futures->reader, object, "_asyncio.Future"))
        return futures->c_known ? FUTURE_C : FUTURE_NONE;
    return reader_is_derived(futures->reader, object, "Future") &&
                   reader_attribute(futures->reader, object, "_callbacks")
               ? FUTURE_PYTHON
               : FUTURE_NONE;
}

enum future_kind future_task_kind(const struct futures *futures, uint64_t object)
{
    if (!object)
        return FUTURE_NONE;
    if (reader_is_derived(futures->reader, object, "_asyncio.Task"))
        return futures->c_known ? FUTURE_C : FUTURE_NONE;
    return reader_is_derived(futures->reader, object, "Future") && reader_attribute(futures->reader, object, "_coro")
               ? FUTURE_PYTHON
               : FUTURE_NONE;
}

static uint64_t read_field(const struct futures *futures, uint64_t future, enum future_kind kind, uint32_t offset,
                           const char *attribute)
{
    uint64_t value = kind == FUTURE_C ? reader_u64(futures->reader, future + offset)
                                      : reader_attribute(futures->reader, future, attribute);

    return value && reader_is(futures->reader, value, "NoneType") ? 0 : value;
}

enum task_state future_state(const struct futures *futures, uint64_t future, enum future_kind kind)
{
    static const enum task_state states[] = {TASK_PENDING, TASK_CANCELLED, TASK_FINISHED};

    if (kind == FUTURE_C) {
        uint32_t state = reader_u32(futures->reader, future + futures->layout.state);
        return state < 3 ? states[state] : TASK_FINISHED;
    }
    /* Pending is the class's attribute, the others the instance's own. */
    uint64_t state = reader_attribute(futures->reader, future, "_state");
    if (!state || reader_equals(futures->reader, state, "PENDING"))
        return TASK_PENDING;
    return reader_equals(futures->reader, state, "CANCELLED") ? TASK_CANCELLED : TASK_FINISHED;
}

uint64_t future_loop(const struct futures *futures, uint64_t future, enum future_kind kind)
{
    return read_field(futures, future, kind, futures->layout.loop, "_loop");
}

/* Each is a pair of the callback and its context. */
static void unpair(const struct futures *futures, uint64_t *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        items[i] = reader_item(futures->reader, items[i], 0);
}

bool future_callbacks(const struct futures *futures, uint64_t future, enum future_kind kind, uint64_t **items,
                      size_t *count)
{
    scoped_free uint64_t *list = NULL;
    size_t listed;
    uint64_t first = kind == FUTURE_C ? reader_u64(futures->reader, future + futures->layout.callback0) : 0;

    *items = NULL;
    *count = 0;
    if (!reader_items(futures->reader, read_field(futures, future, kind, futures->layout.callbacks, "_callbacks"),
                      &list, &listed))
        return false;
    unpair(futures, list, listed);
    if (!(*items = calloc(listed + 1, sizeof(**items))))
        return false;
    if (first)
        (*items)[(*count)++] = first;
    for (size_t i = 0; i < listed; i++)
        (*items)[(*count)++] = list[i];
    return true;
}

bool future_awaiters(const struct futures *futures, uint64_t future, enum future_kind kind, uint64_t **items,
                     size_t *count)
{
    *items = NULL;
    *count = 0;
    if (kind == FUTURE_C && futures->layout.awaited_by == OFF_NONE)
        return true;
    uint64_t value = read_field(futures, future, kind, futures->layout.awaited_by, "_Future__asyncio_awaited_by");
    if (!value)
        return true;
    if (kind == FUTURE_PYTHON || reader_u8(futures->reader, future + futures->layout.awaited_by_is_set))
        return reader_items(futures->reader, value, items, count);
    if (!(*items = calloc(1, sizeof(**items))))
        return false;
    (*items)[(*count)++] = value;
    return true;
}

/* ------------------------------------------------------------------- tasks */

uint64_t task_coroutine(const struct futures *futures, uint64_t task, enum future_kind kind)
{
    return read_field(futures, task, kind, futures->layout.coroutine, "_coro");
}

uint64_t task_waiter(const struct futures *futures, uint64_t task, enum future_kind kind)
{
    return read_field(futures, task, kind, futures->layout.waiter, "_fut_waiter");
}

uint64_t task_name(const struct futures *futures, uint64_t task, enum future_kind kind)
{
    return read_field(futures, task, kind, futures->layout.name, "_name");
}

bool task_must_cancel(const struct futures *futures, uint64_t task, enum future_kind kind)
{
    int64_t value = 0;

    if (kind == FUTURE_C)
        return reader_u8(futures->reader, task + futures->layout.must_cancel) & futures->layout.must_cancel_mask;
    return reader_int(futures->reader, reader_attribute(futures->reader, task, "_must_cancel"), &value) && value;
}

int64_t task_cancels(const struct futures *futures, uint64_t task, enum future_kind kind)
{
    int64_t value = 0;

    if (kind == FUTURE_C)
        return futures->layout.cancels == OFF_NONE
                   ? 0
                   : (int32_t)reader_u32(futures->reader, task + futures->layout.cancels);
    reader_int(futures->reader, reader_attribute(futures->reader, task, "_num_cancels_requested"), &value);
    return value;
}
