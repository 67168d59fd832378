/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The frame decoder and what reads its frames, on any bytes in any pieces. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "cli/exception.h"
#include "protocol/wire.h"

static struct error *take(void *context, const struct wire_frame *frame)
{
    struct wire_cursor cursor;
    const char *text;
    uint64_t number;
    size_t size;

    wire_cursor_init(&cursor, frame);
    while (wire_cursor_u64(&cursor, &number))
        ;
    wire_cursor_init(&cursor, frame);
    while (wire_cursor_field(&cursor, &text, &size))
        ;
    return exception_frame(context, frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char script[] = "first\nsecond\n  third";
    static struct wire_decoder decoder;
    struct exception exception;
    struct error *error = NULL;
    size_t piece = size ? data[0] % 64 + 1 : 1;

    wire_decoder_init(&decoder);
    exception_init(&exception, "<string>", script, sizeof(script) - 1);
    for (size_t at = size ? 1 : 0; !error && at < size; at += piece)
        error = wire_decoder_feed(&decoder, data + at, size - at < piece ? size - at : piece, take, &exception);
    exception_finish(&exception);
    exception_deinit(&exception);
    error_destroy(error);
    return 0;
}
