/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What holds objects from outside the heap. */
#include "runtime/heap/internal.h"

void heap_visit_roots(struct heap *heap, heap_root_fn *fn, void *context)
{
    const struct heap_layout *layout = &heap->layout;

    for (size_t i = 0; i < heap->interpreter_count; i++) {
        uint64_t at = heap->interpreters[i].address;
        const uint32_t fields[] = {layout->interpreter.modules, layout->interpreter.sysdict, layout->interpreter.builtins};
        for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
            struct heap_root root = {.kind = f ? HEAP_ROOT_BUILTINS : HEAP_ROOT_MODULE, .holder = at};
            root.target = heap_image_u64(heap->image, at + fields[f]);
            if (root.target)
                fn(context, &root);
        }
    }
}
