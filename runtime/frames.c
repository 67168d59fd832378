/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the chain of frames starts, and its links:
 *
 *   3.8-3.10    thread_state.frame -> PyFrameObject {f_code, f_lasti, f_back}
 *   3.11, 3.12  thread_state.cframe -> cframe.current_frame -> interpreter frame {previous}
 *   3.13+       thread_state.current_frame -> interpreter frame {previous}
 *
 * Where C calls into the eval loop: up to 3.10 for every frame; 3.11 says it of a frame (is_entry);
 * 3.12+ puts a frame of its own between (a shim).
 *
 * The eval loop keeps the next instruction in a register and stores it only
 * where something may look, so in a thread that is running the line can be a
 * few instructions old.
 */
#include "runtime/frames.h"

#include <string.h>

/* 3.14+: the low bits of a stack reference. */
#define REFERENCE_TAGS UINT64_C(3)
/* As much of a frame as is read at once: all that comes before its variables. */
#define FRAME_HEAD_MAX 256
/* struct _frame's f_back, internal to frameobject.c from 3.11 on; the same in 3.8 to 3.10. */
#define FRAME_BACK 24
/* _PyInterpreterFrame.is_entry, which 3.11 alone has (bool). */
#define IS_ENTRY_MINOR 11
#define IS_ENTRY       68
/* struct _PyCFrame's previous follows its current_frame (3.11, 3.12: cpython/pystate.h). */
#define CFRAME_PREVIOUS 8

struct frame_head {
    unsigned char bytes[FRAME_HEAD_MAX];
    uint32_t size;
};

static const struct memory *frames_memory(const struct runtime *runtime)
{
    return &runtime->process->memory;
}

static struct error *torn_frame(const char *what)
{
    return error_create(ERROR_BUSY, "the thread is running: try again, or stop it for the time it takes (--stop)",
                        "the frame changed while it was read: %s", what);
}

/* A field of the head; 0 where the layout has it outside. */
static uint64_t head_field(const struct frame_head *head, uint32_t offset, size_t width)
{
    uint64_t value = 0;

    if (offset < head->size && head->size - offset >= width)
        memcpy(&value, head->bytes + offset, width);
    return value;
}

static struct address head_address(const struct frame_head *head, uint32_t offset)
{
    return address_of(head_field(head, offset, sizeof(uint64_t)));
}

/* ------------------------------------------------------ 3.8 to 3.10: objects */

static struct error *read_frame_object(const struct runtime *runtime, struct frame *frame)
{
    const struct layout *layout = &runtime->layout;
    struct frame_head head = {.size = layout->frame.f_lasti + 4};
    struct error *error = memory_read(frames_memory(runtime), frame->at, head.bytes, head.size);

    if (error)
        return error;
    frame->code = head_address(&head, layout->frame.f_code);
    frame->previous = head_address(&head, FRAME_BACK);
    frame->instruction =
        (int64_t)(int32_t)head_field(&head, layout->frame.f_lasti, 4) * (int64_t)layout->frame.lasti_unit;
    frame->entry = true;
    return NULL;
}

/* ---------------------------------------------- 3.11 and later: their own frames */

/* Where the frame's instructions are: in the code object, or on free-threaded
 * builds in a copy of the thread's own. */
static struct error *read_code_start(const struct runtime *runtime, const struct frame_head *head, struct address code,
                                     struct address *start)
{
    const struct layout *layout = &runtime->layout;
    struct address array;
    uint64_t count;
    struct error *error;

    *start = address_add(code, layout->code.co_code_adaptive);
    if (layout->interpreter_frame.tlbc_index == OFF_NONE)
        return NULL;
    uint32_t index = (uint32_t)head_field(head, layout->interpreter_frame.tlbc_index, 4);
    if (!index)
        return NULL;
    if ((error = memory_read_address(frames_memory(runtime), address_add(code, layout->code.co_tlbc), &array)) ||
        (error = memory_read_u64(frames_memory(runtime), array, &count)))
        return error;
    if (index >= count)
        return torn_frame("its copy of the code");
    return memory_read_address(frames_memory(runtime), address_add(array, 8 + (uint64_t)index * 8), start);
}

static bool is_shim(const struct layout *layout, const struct frame_head *head)
{
    return layout->interpreter_frame.owner_shim != OFF_NONE &&
           head_field(head, layout->interpreter_frame.owner, 1) >= layout->interpreter_frame.owner_shim;
}

static struct error *read_interpreter_frame(const struct runtime *runtime, struct frame *frame)
{
    const struct layout *layout = &runtime->layout;
    struct frame_head head = {.size = layout->interpreter_frame.size < FRAME_HEAD_MAX ? layout->interpreter_frame.size
                                                                                       : FRAME_HEAD_MAX};
    struct address start;
    struct error *error = memory_read(frames_memory(runtime), frame->at, head.bytes, head.size);

    if (error)
        return error;
    frame->previous = head_address(&head, layout->interpreter_frame.previous);
    frame->shim = is_shim(layout, &head);
    if (frame->shim)
        return NULL;
    frame->entry = layout->minor == IS_ENTRY_MINOR && head_field(&head, IS_ENTRY, 1);
    frame->code = head_address(&head, layout->interpreter_frame.executable);
    frame->code.value &= ~REFERENCE_TAGS;
    if ((error = read_code_start(runtime, &head, frame->code, &start)))
        return error;
    frame->instruction = (int64_t)(head_address(&head, layout->interpreter_frame.instr_ptr).value - start.value);
    return NULL;
}

/* --------------------------------------------------------------------- both */

static struct error *read_current_frame(const struct runtime *runtime, struct address cframe, struct address *at)
{
    return memory_read_address(frames_memory(runtime), address_add(cframe, runtime->layout.cframe.current_frame), at);
}

struct error *frames_find_first(const struct runtime *runtime, struct address thread, struct address *at,
                                struct address *cframe)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = frames_memory(runtime);
    struct address loop = ADDRESS_NULL;
    struct error *error = NULL;

    *at = ADDRESS_NULL;
    if (layout->thread_state.frame != OFF_NONE)
        error = memory_read_address(memory, address_add(thread, layout->thread_state.frame), at);
    else if (layout->thread_state.current_frame != OFF_NONE)
        error = memory_read_address(memory, address_add(thread, layout->thread_state.current_frame), at);
    else if (!(error = memory_read_address(memory, address_add(thread, layout->thread_state.cframe), &loop)) && loop.value)
        error = read_current_frame(runtime, loop, at);
    if (cframe)
        *cframe = loop;
    return error;
}

struct error *frames_leave_loop(const struct runtime *runtime, struct address *cframe, struct address caller)
{
    struct address at = ADDRESS_NULL;

    if (!cframe->value)
        return NULL;
    struct error *error = memory_read_address(
        frames_memory(runtime), address_add(*cframe, runtime->layout.cframe.current_frame + CFRAME_PREVIOUS), cframe);
    if (!error && cframe->value)
        error = read_current_frame(runtime, *cframe, &at);
    return error || at.value == caller.value ? error : torn_frame("the eval loop that called it is elsewhere");
}

struct error *frames_read(const struct runtime *runtime, struct address at, struct frame *frame)
{
    *frame = (struct frame){.at = at};
    if (at.value % 8)
        return torn_frame("its address");
    return runtime->layout.thread_state.frame != OFF_NONE ? read_frame_object(runtime, frame)
                                                          : read_interpreter_frame(runtime, frame);
}
