/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/wire.h"

#include <string.h>

void wire_decoder_init(struct wire_decoder *decoder)
{
    decoder->used = 0;
}

static uint32_t wire_payload_size(const unsigned char *header)
{
    return (uint32_t)header[0] | (uint32_t)header[1] << 8 | (uint32_t)header[2] << 16 | (uint32_t)header[3] << 24;
}

static bool wire_kind_is_known(unsigned char kind)
{
    return kind && strchr("HSPOEVIXMYNTQDRCG", kind);
}

/* Copies from the input until the buffer holds `wanted` bytes. */
static bool wire_fill(struct wire_decoder *decoder, size_t wanted, const unsigned char **bytes, size_t *size)
{
    size_t missing = wanted - decoder->used, part = missing < *size ? missing : *size;

    memcpy(decoder->buffer + decoder->used, *bytes, part);
    decoder->used += part;
    *bytes += part;
    *size -= part;
    return part == missing;
}

struct error *wire_decoder_feed(struct wire_decoder *decoder, const void *input, size_t size,
                                struct error *(*handle)(void *context, const struct wire_frame *frame),
                                void *context)
{
    const unsigned char *bytes = input;

    for (;;) {
        if (decoder->used < WIRE_HEADER_SIZE && !wire_fill(decoder, WIRE_HEADER_SIZE, &bytes, &size))
            return NULL;
        uint32_t payload_size = wire_payload_size(decoder->buffer);
        unsigned char kind = decoder->buffer[4];
        if (payload_size > WIRE_PAYLOAD_MAX)
            return error_create(ERROR_PROTOCOL, NULL, "the channel sent a frame of %u bytes", payload_size);
        if (!wire_kind_is_known(kind))
            return error_create(ERROR_PROTOCOL, NULL, "the channel sent a frame of unknown kind %u", kind);
        if (!wire_fill(decoder, WIRE_HEADER_SIZE + payload_size, &bytes, &size))
            return NULL;
        const struct wire_frame frame = {(enum wire_kind)kind, decoder->buffer + WIRE_HEADER_SIZE, payload_size};
        decoder->used = 0;
        struct error *error = handle(context, &frame);
        if (error)
            return error;
    }
}

void wire_encode_header(unsigned char *header, enum wire_kind kind, size_t payload_size)
{
    for (int i = 0; i < 4; i++)
        header[i] = (unsigned char)(payload_size >> (8 * i));
    header[4] = (unsigned char)kind;
}

void wire_cursor_init(struct wire_cursor *cursor, const struct wire_frame *frame)
{
    cursor->at = frame->payload;
    cursor->end = frame->payload + frame->size;
}

bool wire_cursor_u64(struct wire_cursor *cursor, uint64_t *value)
{
    if (cursor->end - cursor->at < 8)
        return false;
    *value = 0;
    for (int i = 0; i < 8; i++)
        *value |= (uint64_t)cursor->at[i] << (8 * i);
    cursor->at += 8;
    return true;
}

bool wire_cursor_field(struct wire_cursor *cursor, const char **text, size_t *size)
{
    const unsigned char *nul = memchr(cursor->at, '\0', (size_t)(cursor->end - cursor->at));

    if (!nul)
        return false;
    *text = (const char *)cursor->at;
    *size = (size_t)(nul - cursor->at);
    cursor->at = nul + 1;
    return true;
}
