/* SPDX-License-Identifier: GPL-3.0-or-later */
/* _Py_DebugOffsets, as a hostile target may show them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "runtime/debug_offsets.h"
#include "runtime/version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct layout layout;
    uint32_t hex;
    bool free_threaded;
    char text[32], build[64];

    layout_init(&layout);
    if (debug_offsets_decode_head(data, size, &hex, &free_threaded))
        version_format(hex, text, sizeof(text));
    struct error *error = debug_offsets_decode(data, size, &layout);
    if (!error && layout.thread_state.next >= layout.thread_state.size)
        abort();
    error_destroy(error);
    version_search((const char *)data, size, 0, &hex, build, sizeof(build));
    return 0;
}
