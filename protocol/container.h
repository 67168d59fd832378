/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file of sections, each cut into compressed blocks with checksums, written and read as a stream. What is in
 * the sections is the caller's (snapshot.h); the bytes are described in docs/snapshot.md.
 *
 *   | head 24 | block head 32 | data | block head 32 | data | ... | block head 32 of the end |
 *
 * A file is data of strangers: the reader takes memory for one block, believes no size that its checksum doesn't hold for,
 * and gives ERROR_BAD_FILE for all that is cut, changed, exchanged, or goes on behind the end.
 */
#ifndef SAFEPOINT_PROTOCOL_CONTAINER_H
#define SAFEPOINT_PROTOCOL_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "attach/error.h"

#define CONTAINER_BLOCK ((size_t)1 << 20)     /* bytes that we put into one, at most */
#define CONTAINER_BLOCK_MAX ((size_t)4 << 20) /* that one may have */
#define CONTAINER_END 0                       /* no section: the end */

/* ----------------------------------------------------------------- writing */

struct container_writer {
    FILE *file;    /* not owned */
    void *context; /* of the compressor; owned */
    unsigned char *raw, *stored;
    size_t used, room;
    uint32_t kind, number;
    uint64_t written;    /* bytes, with what is still in the FILE's buffer */
    struct error *error; /* the first: all that follows does nothing */
};

/* Begins a file; errors are kept until container_finish(). End it with container_writer_deinit() in any case. */
void container_writer_init(struct container_writer *writer, FILE *file);
void container_writer_deinit(struct container_writer *writer);

/* What is put from now on belongs to a section of this kind (not CONTAINER_END). */
void container_begin(struct container_writer *writer, uint32_t kind);

/* Bytes; a number in 1 to 10 bytes, small ones short; the same for a difference; bytes with their number before. */
void container_put(struct container_writer *writer, const void *bytes, size_t size);
void container_put_number(struct container_writer *writer, uint64_t value);
void container_put_signed(struct container_writer *writer, int64_t value);
void container_put_text(struct container_writer *writer, const char *text, size_t size);

/* Writes the end; the FILE is flushed. The first error there was. */
struct error *container_finish(struct container_writer *writer) __attribute__((warn_unused_result));

/* ----------------------------------------------------------------- reading */

struct container_reader {
    FILE *file;    /* not owned */
    void *context; /* of the decompressor; owned */
    unsigned char *raw, *stored;
    size_t raw_room, stored_room;
    size_t size, at; /* of the block in `raw` */
    uint32_t kind, number;
    uint32_t next_kind; /* of the block whose head has been read */
    uint32_t next_raw, next_stored;
    uint64_t next_check;
    uint64_t digest; /* of all blocks' heads so far, with the checks of their data: two files that have the same are the same */
};

/* Begins to read. ERROR_BAD_FILE when it is none of ours, or of a later version; end it with container_reader_deinit()
 * in any case. */
struct error *container_reader_init(struct container_reader *reader, FILE *file) __attribute__((warn_unused_result));
void container_reader_deinit(struct container_reader *reader);

/* Goes to the next section, over what is left of this one, of which checksums alone are looked at; `kind` = CONTAINER_END: the file has ended, whole. */
struct error *container_next(struct container_reader *reader, uint32_t *kind) __attribute__((warn_unused_result));

/* Is anything left of this section? */
struct error *container_has_more(struct container_reader *reader, bool *more) __attribute__((warn_unused_result));
static inline bool container_has_byte(const struct container_reader *reader)
{
    return reader->at < reader->size;
}

/* What the writer put. ERROR_BAD_FILE where the section ends before it, or a number has no end. */
struct error *container_get(struct container_reader *reader, void *bytes, size_t size) __attribute__((warn_unused_result));
struct error *container_get_long_number(struct container_reader *reader, uint64_t *value) __attribute__((warn_unused_result));

/* Most are short, and in the block as a whole. */
static inline struct error *container_get_number(struct container_reader *reader, uint64_t *value)
{
    if (reader->at < reader->size && reader->raw[reader->at] < 0x80) {
        *value = reader->raw[reader->at++];
        return NULL;
    }
    return container_get_long_number(reader, value);
}

static inline struct error *container_get_signed(struct container_reader *reader, int64_t *value)
{
    uint64_t number;
    struct error *error = container_get_number(reader, &number);

    *value = (int64_t)(number >> 1 ^ -(number & 1));
    return error;
}

static inline struct error *container_get_byte(struct container_reader *reader, uint8_t *byte)
{
    if (reader->at < reader->size) {
        *byte = reader->raw[reader->at++];
        return NULL;
    }
    return container_get(reader, byte, 1);
}
/* A text of at most `max` bytes, ended by NUL; free() it. */
struct error *container_get_text(struct container_reader *reader, size_t max, char **text, size_t *size)
    __attribute__((warn_unused_result));

#endif
