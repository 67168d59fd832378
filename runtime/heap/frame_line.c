/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The line that a frame is at, as the copy of its memory has it. */
#include "runtime/heap/internal.h"
#include "runtime/lines.h"

#define BYTES_DATA     16 /* from ob_size: ob_size, ob_shash */
#define LINE_TABLE_MAX (4u << 20)

static int find_line(struct heap *heap, uint64_t code, int64_t instruction)
{
    const struct layout *layout = &heap->runtime->layout;
    uint64_t table = heap_image_u64(heap->image, code + layout->code.linetable) + heap->layout.object.ob_size;
    uint64_t size = heap_image_u64(heap->image, table);
    const unsigned char *bytes = size > LINE_TABLE_MAX ? NULL : heap_image_get(heap->image, table + BYTES_DATA, size);
    int first = (int)heap_image_u32(heap->image, code + layout->code.firstlineno);

    return bytes ? lines_find(layout->line_format, bytes, (size_t)size, first, instruction) : 0;
}

int heap_read_frame_line(struct heap *heap, uint64_t frame, uint32_t code)
{
    const struct layout *layout = &heap->runtime->layout;
    uint64_t at = heap_get_node(heap, code).address;

    if (heap->types[heap->node_types[code]].kind != KIND_CODE)
        return 0;
    if (layout->thread_state.frame != OFF_NONE) { /* up to 3.10 */
        int32_t last = (int32_t)heap_image_u32(heap->image, frame + layout->frame.f_lasti);
        return find_line(heap, at, (int64_t)last * layout->frame.lasti_unit);
    }
    if (layout->interpreter_frame.tlbc_index != OFF_NONE &&
        heap_image_u32(heap->image, frame + layout->interpreter_frame.tlbc_index))
        return 0; /* instructions of the thread's own, which may lie elsewhere */
    uint64_t next = heap_image_u64(heap->image, frame + layout->interpreter_frame.instr_ptr);
    return find_line(heap, at, (int64_t)(next - at - layout->code.co_code_adaptive));
}
