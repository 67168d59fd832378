/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The innermost Python frame of a thread. Where the chain of frames starts:
 *
 *   3.8-3.10    thread_state.frame -> PyFrameObject {f_code, f_lasti}
 *   3.11, 3.12  thread_state.cframe -> cframe.current_frame -> interpreter frame
 *   3.13+       thread_state.current_frame -> interpreter frame
 *
 * The eval loop keeps the next instruction in a register and stores it only
 * where something may look, so in a thread that is running the line can be a
 * few instructions old.
 */
#include "runtime/runtime.h"

#include <string.h>

#include "attach/scope.h"
#include "runtime/lines.h"
#include "runtime/objects.h"

/* Entry frames that stand between Python ones; in truth at most a few in a row. */
#define SHIM_MAX 64
/* Looks at a thread that keeps changing while we read. */
#define TRIES          5
#define LINE_TABLE_MAX (4u << 20)
/* 3.14+: the low bits of a stack reference. */
#define REFERENCE_TAGS UINT64_C(3)

/* A frame as found: its code object, and where in it. */
struct frame_position {
    struct address code;
    int64_t instruction; /* byte offset; negative: before the first */
};

static struct error *torn_frame(const char *what)
{
    return error_create(ERROR_BUSY, "the thread is running: try again, or stop the process first",
                        "the frame changed while it was read: %s", what);
}

/* ------------------------------------------------------ 3.8 to 3.10: objects */

static struct error *read_frame_object(const struct runtime *runtime, struct address thread,
                                       struct frame_position *position, bool *found)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;
    struct address frame;
    uint32_t lasti;
    struct error *error = memory_read_address(memory, address_add(thread, layout->thread_state.frame), &frame);

    *found = false;
    if (error || !frame.value)
        return error;
    if ((error = memory_read_address(memory, address_add(frame, layout->frame.f_code), &position->code)) ||
        (error = memory_read_u32(memory, address_add(frame, layout->frame.f_lasti), &lasti)))
        return error;
    position->instruction = (int64_t)(int32_t)lasti * layout->frame.lasti_unit;
    *found = true;
    return NULL;
}

/* ---------------------------------------------- 3.11 and later: their own frames */

static struct error *read_chain_start(const struct runtime *runtime, struct address thread, struct address *frame)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;

    if (layout->thread_state.current_frame != OFF_NONE)
        return memory_read_address(memory, address_add(thread, layout->thread_state.current_frame), frame);
    struct address cframe;
    struct error *error = memory_read_address(memory, address_add(thread, layout->thread_state.cframe), &cframe);
    *frame = ADDRESS_NULL;
    if (error || !cframe.value)
        return error;
    return memory_read_address(memory, address_add(cframe, layout->cframe.current_frame), frame);
}

/* Where the frame's instructions are: in the code object, or on free-threaded
 * builds in a copy of the thread's own. */
static struct error *read_code_start(const struct runtime *runtime, struct address frame, struct address code,
                                     struct address *start)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;
    uint32_t index = 0;
    struct address array;
    uint64_t count;
    struct error *error;

    *start = address_add(code, layout->code.co_code_adaptive);
    if (layout->interpreter_frame.tlbc_index == OFF_NONE)
        return NULL;
    error = memory_read_u32(memory, address_add(frame, layout->interpreter_frame.tlbc_index), &index);
    if (error || !index)
        return error;
    if ((error = memory_read_address(memory, address_add(code, layout->code.co_tlbc), &array)) ||
        (error = memory_read_u64(memory, array, &count)))
        return error;
    if (index >= count)
        return torn_frame("its copy of the code");
    return memory_read_address(memory, address_add(array, 8 + (uint64_t)index * 8), start);
}

static struct error *read_position(const struct runtime *runtime, struct address frame, struct frame_position *position)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;
    struct address instruction, start;
    struct error *error =
        memory_read_address(memory, address_add(frame, layout->interpreter_frame.executable), &position->code);

    if (error)
        return error;
    position->code.value &= ~REFERENCE_TAGS;
    if ((error = memory_read_address(memory, address_add(frame, layout->interpreter_frame.instr_ptr), &instruction)) ||
        (error = read_code_start(runtime, frame, position->code, &start)))
        return error;
    position->instruction = (int64_t)(instruction.value - start.value);
    return NULL;
}

/* The frames of C's entries into the eval loop run no Python function. */
static struct error *is_shim(const struct runtime *runtime, struct address frame, bool *shim)
{
    const struct layout *layout = &runtime->layout;
    uint8_t owner;

    *shim = false;
    if (layout->interpreter_frame.owner_shim == OFF_NONE)
        return NULL;
    struct error *error =
        memory_read_u8(&runtime->process->memory, address_add(frame, layout->interpreter_frame.owner), &owner);
    if (!error)
        *shim = owner >= layout->interpreter_frame.owner_shim;
    return error;
}

static struct error *read_interpreter_frame(const struct runtime *runtime, struct address thread,
                                            struct frame_position *position, bool *found)
{
    const struct layout *layout = &runtime->layout;
    struct address frame;
    struct error *error = read_chain_start(runtime, thread, &frame);

    *found = false;
    for (unsigned i = 0; !error && frame.value; i++) {
        bool shim;

        if (i == SHIM_MAX)
            return torn_frame("its chain doesn't end");
        if ((error = is_shim(runtime, frame, &shim)))
            break;
        if (!shim) {
            *found = true;
            return read_position(runtime, frame, position);
        }
        error = memory_read_address(&runtime->process->memory, address_add(frame, layout->interpreter_frame.previous),
                                    &frame);
    }
    return error;
}

/* ----------------------------------------------------------- what it is doing */

static struct error *read_line(const struct runtime *runtime, const struct frame_position *position, int *line)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;
    scoped_free uint8_t *table = NULL;
    size_t size;
    struct address object;
    uint32_t first;
    struct error *error;

    if ((error = memory_read_u32(memory, address_add(position->code, layout->code.firstlineno), &first)) ||
        (error = memory_read_address(memory, address_add(position->code, layout->code.linetable), &object)) ||
        (error = object_read_bytes(runtime, object, LINE_TABLE_MAX, &table, &size)))
        return error;
    *line = lines_find(layout->line_format, table, size, (int)first, position->instruction);
    return NULL;
}

static struct error *read_code(const struct runtime *runtime, const struct frame_position *position,
                               struct python_frame *frame)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;
    uint32_t name_offset = layout->code.qualname != OFF_NONE ? layout->code.qualname : layout->code.name;
    struct address name, file;
    struct error *error;

    if (!object_has_type(runtime, position->code, "code"))
        return torn_frame("its code object");
    if ((error = memory_read_address(memory, address_add(position->code, name_offset), &name)) ||
        (error = object_read_str(runtime, name, frame->function, sizeof(frame->function))) ||
        (error = memory_read_address(memory, address_add(position->code, layout->code.filename), &file)) ||
        (error = object_read_str(runtime, file, frame->file, sizeof(frame->file))))
        return error;
    return read_line(runtime, position, &frame->line);
}

static struct error *read_top_frame_once(const struct runtime *runtime, struct address thread,
                                         struct python_frame *frame, bool *found)
{
    struct frame_position position = {0};
    struct error *error = runtime->layout.thread_state.frame != OFF_NONE
                              ? read_frame_object(runtime, thread, &position, found)
                              : read_interpreter_frame(runtime, thread, &position, found);

    memset(frame, 0, sizeof(*frame));
    if (error || !*found)
        return error;
    return read_code(runtime, &position, frame);
}

struct error *runtime_read_top_frame(const struct runtime *runtime, const struct thread_state *thread,
                                     struct python_frame *frame, bool *found)
{
    struct error *error = NULL;

    *found = false;
    for (unsigned i = 0; i < TRIES; i++) {
        error_destroy(error);
        error = read_top_frame_once(runtime, thread->address, frame, found);
        if (!error || (error_code(error) != ERROR_BUSY && error_code(error) != ERROR_FAULT))
            return error;
    }
    *found = false;
    /* Addresses out of a torn frame fault: that is the target moving, not us failing. */
    if (error_code(error) == ERROR_FAULT) {
        error_destroy(error);
        error = torn_frame("its memory is gone");
    }
    return error;
}
