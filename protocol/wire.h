/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frames between safepoint and its agent in the target; docs/protocol.md is the
 * specification. Decoding does no I/O: bytes in, callbacks out. All that comes
 * from the target is untrusted.
 *
 *   frame: u32 payload size (little-endian), u8 kind, payload
 */
#ifndef SAFEPOINT_PROTOCOL_WIRE_H
#define SAFEPOINT_PROTOCOL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attach/error.h"

#define WIRE_VERSION 2
#define WIRE_HEADER_SIZE 5
#define WIRE_PAYLOAD_MAX 65536 /* more in one frame is refused */

enum wire_kind {
    /* from the agent */
    WIRE_HELLO = 'H',      /* u64 version, request id, pid, thread ident, native thread id; nonce */
    WIRE_STARTED = 'S',    /* u64 exception class, u64 list, u64 mark (for interrupts) */
    WIRE_FETCH = 'P',      /* name of a part of the agent; answered by CODE... GO */
    WIRE_OUTPUT = 'O',     /* bytes that the script's thread wrote to sys.stdout */
    WIRE_ERROR_OUTPUT = 'E',
    WIRE_VALUE = 'V',      /* repr() of a value; several frames make one */
    WIRE_INCOMPLETE = 'I', /* the statement wants more lines */
    WIRE_EXCEPTION = 'X',  /* type NUL relation ("", "cause", "context"): a new one begins */
    WIRE_MESSAGE = 'M',    /* its text; several frames make one; NUL first: the text of a syntax error */
    WIRE_SYNTAX = 'Y',     /* file NUL line NUL column NUL source line */
    WIRE_NOTE = 'N',       /* a note on it, or a member of its group */
    WIRE_TRACE = 'T',      /* (line NUL function NUL file NUL)..., may be cut anywhere */
    WIRE_EXIT = 'Q',       /* u64 status of SystemExit */
    WIRE_DONE = 'D',       /* the script is over; the agent says no more */
    /* to the agent */
    WIRE_REQUEST = 'R',    /* mode NUL name NUL key NUL argv[0] NUL argv[1]... */
    WIRE_CODE = 'C',       /* the script */
    WIRE_GO = 'G',
};

struct wire_frame {
    enum wire_kind kind;
    const unsigned char *payload; /* good until the callback returns */
    size_t size;
};

struct wire_decoder {
    unsigned char buffer[WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX];
    size_t used;
};

/* Ready for the first byte. */
void wire_decoder_init(struct wire_decoder *decoder);

/* Feeds bytes, in any pieces; `handle` is called for each whole frame, and an
 * error of it ends the feeding and is returned. ERROR_PROTOCOL when the bytes
 * are no frames: the decoder must not be used further. */
struct error *wire_decoder_feed(struct wire_decoder *decoder, const void *bytes, size_t size,
                                struct error *(*handle)(void *context, const struct wire_frame *frame),
                                void *context) __attribute__((warn_unused_result));

/* Writes a frame's header into 5 bytes. */
void wire_encode_header(unsigned char *header, enum wire_kind kind, size_t payload_size);

/* A bounds-safe cursor over a payload: on an error it does not move. */
struct wire_cursor {
    const unsigned char *at, *end;
};
void wire_cursor_init(struct wire_cursor *cursor, const struct wire_frame *frame);
bool wire_cursor_u64(struct wire_cursor *cursor, uint64_t *value);
/* The bytes up to the next NUL, which is skipped. False when there is none. */
bool wire_cursor_field(struct wire_cursor *cursor, const char **text, size_t *size);

#endif
