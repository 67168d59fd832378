/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/container.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define CONTAINER_VERSION 1
#define CONTAINER_LEVEL 3

/* As PNG's: a text mode that changes line ends, or cuts the eighth bit, is noticed. */
static const unsigned char container_magic[8] = {0x89, 'S', 'P', 'S', '\r', '\n', 0x1a, '\n'};

struct container_head {
    unsigned char magic[8];
    uint32_t version, reserved;
    uint64_t check; /* of all before it */
};

struct container_block {
    uint32_t kind, number; /* blocks are numbered from 0 on */
    uint32_t raw, stored;  /* sizes of the data, as it is and compressed */
    uint64_t data_check;   /* of the compressed data */
    uint64_t check;        /* of all before it */
};

static struct error *container_bad(const char *why)
{
    return error_create(ERROR_BAD_FILE, NULL, "the snapshot is damaged: %s", why);
}

/* ----------------------------------------------------------------- writing */

static void container_fail(struct container_writer *writer, struct error *error)
{
    if (writer->error)
        error_destroy(error);
    else
        writer->error = error;
}

static void container_write(struct container_writer *writer, const void *bytes, size_t size)
{
    if (!writer->error && fwrite(bytes, 1, size, writer->file) != size)
        container_fail(writer, error_create_errno(ERROR_SYSTEM, errno, "can't write the snapshot"));
    writer->written += size;
}

void container_writer_init(struct container_writer *writer, FILE *file)
{
    struct container_head head = {.version = htole32(CONTAINER_VERSION)};

    *writer = (struct container_writer){.file = file, .room = ZSTD_compressBound(CONTAINER_BLOCK)};
    writer->context = ZSTD_createCCtx();
    writer->raw = malloc(CONTAINER_BLOCK);
    writer->stored = malloc(writer->room);
    if (!writer->context || !writer->raw || !writer->stored)
        container_fail(writer, error_create(ERROR_SYSTEM, NULL, "out of memory for the snapshot"));
    memcpy(head.magic, container_magic, sizeof(head.magic));
    head.check = htole64(XXH64(&head, offsetof(struct container_head, check), 0));
    container_write(writer, &head, sizeof(head));
}

void container_writer_deinit(struct container_writer *writer)
{
    ZSTD_freeCCtx(writer->context);
    free(writer->raw);
    free(writer->stored);
    error_destroy(writer->error);
    *writer = (struct container_writer){.file = NULL};
}

static void container_write_block(struct container_writer *writer, uint32_t kind, size_t stored)
{
    struct container_block block = {
        .kind = htole32(kind),
        .number = htole32(writer->number++),
        .raw = htole32((uint32_t)writer->used),
        .stored = htole32((uint32_t)stored),
        .data_check = htole64(XXH64(writer->stored, stored, 0)),
    };

    block.check = htole64(XXH64(&block, offsetof(struct container_block, check), 0));
    container_write(writer, &block, sizeof(block));
    container_write(writer, writer->stored, stored);
    writer->used = 0;
}

static void container_flush(struct container_writer *writer)
{
    if (writer->error || !writer->used)
        return;
    size_t stored = ZSTD_compressCCtx(writer->context, writer->stored, writer->room, writer->raw, writer->used,
                                      CONTAINER_LEVEL);
    if (ZSTD_isError(stored))
        container_fail(writer, error_create(ERROR_SYSTEM, NULL, "can't compress the snapshot: %s",
                                            ZSTD_getErrorName(stored)));
    else
        container_write_block(writer, writer->kind, stored);
}

void container_begin(struct container_writer *writer, uint32_t kind)
{
    container_flush(writer);
    writer->kind = kind;
}

void container_put(struct container_writer *writer, const void *bytes, size_t size)
{
    const unsigned char *from = bytes;

    while (size && !writer->error) {
        size_t part = CONTAINER_BLOCK - writer->used < size ? CONTAINER_BLOCK - writer->used : size;

        memcpy(writer->raw + writer->used, from, part);
        writer->used += part;
        from += part;
        size -= part;
        if (writer->used == CONTAINER_BLOCK)
            container_flush(writer);
    }
}

/* Seven bits a byte, the lowest first; the eighth: more follow. */
void container_put_number(struct container_writer *writer, uint64_t value)
{
    unsigned char bytes[10];
    size_t size = 0;

    for (; value >= 0x80; value >>= 7)
        bytes[size++] = (unsigned char)(value | 0x80);
    bytes[size++] = (unsigned char)value;
    container_put(writer, bytes, size);
}

/* 0, -1, 1, -2...: small ones of either sign stay small. */
void container_put_signed(struct container_writer *writer, int64_t value)
{
    container_put_number(writer, value < 0 ? ~((uint64_t)value << 1) : (uint64_t)value << 1);
}

void container_put_text(struct container_writer *writer, const char *text, size_t size)
{
    container_put_number(writer, size);
    container_put(writer, text, size);
}

struct error *container_finish(struct container_writer *writer)
{
    container_flush(writer);
    if (!writer->error)
        container_write_block(writer, CONTAINER_END, 0);
    if (!writer->error && fflush(writer->file) != 0)
        container_fail(writer, error_create_errno(ERROR_SYSTEM, errno, "can't write the snapshot"));
    struct error *error = writer->error;
    writer->error = NULL;
    return error;
}

/* ----------------------------------------------------------------- reading */

static struct error *container_read(const struct container_reader *reader, void *to, size_t size)
{
    if (fread(to, 1, size, reader->file) == size)
        return NULL;
    if (ferror(reader->file))
        return error_create_errno(ERROR_SYSTEM, errno, "can't read the snapshot");
    return container_bad("it is cut");
}

/* The head of the block that comes next. */
static struct error *container_read_block(struct container_reader *reader)
{
    struct container_block block;
    struct error *error = container_read(reader, &block, sizeof(block));

    if (error)
        return error;
    if (le64toh(block.check) != XXH64(&block, offsetof(struct container_block, check), 0))
        return container_bad("a checksum doesn't hold");
    if (le32toh(block.number) != reader->number)
        return container_bad("a block is missing");
    reader->digest = XXH64(&block, sizeof(block), reader->digest);
    reader->number++;
    reader->next_kind = le32toh(block.kind);
    reader->next_raw = le32toh(block.raw);
    reader->next_stored = le32toh(block.stored);
    reader->next_check = le64toh(block.data_check);
    if (reader->next_kind == CONTAINER_END)
        return reader->next_raw || reader->next_stored ? container_bad("its end has data") : NULL;
    if (!reader->next_raw || reader->next_raw > CONTAINER_BLOCK_MAX ||
        reader->next_stored > ZSTD_compressBound(CONTAINER_BLOCK_MAX))
        return container_bad("a block has no size that makes sense");
    return NULL;
}

static struct error *container_check_head(const struct container_head *head)
{
    if (memcmp(head->magic, container_magic, sizeof(head->magic)) != 0)
        return error_create(ERROR_BAD_FILE, "safepoint snapshot PID -o FILE makes one", "this is no snapshot of safepoint's");
    if (le64toh(head->check) != XXH64(head, offsetof(struct container_head, check), 0))
        return container_bad("a checksum doesn't hold");
    if (le32toh(head->version) != CONTAINER_VERSION)
        return error_create(ERROR_BAD_FILE, "read it by that safepoint", "the snapshot is of version %u, made by a later safepoint",
                            le32toh(head->version));
    return NULL;
}

struct error *container_reader_init(struct container_reader *reader, FILE *file)
{
    struct container_head head;

    *reader = (struct container_reader){.file = file};
    reader->context = ZSTD_createDCtx();
    if (!reader->context)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the snapshot");
    if (fread(&head, 1, sizeof(head), file) != sizeof(head))
        memset(&head, 0, sizeof(head)); /* too short for one of ours */
    struct error *error = container_check_head(&head);
    return error ? error : container_read_block(reader);
}

void container_reader_deinit(struct container_reader *reader)
{
    ZSTD_freeDCtx(reader->context);
    free(reader->raw);
    free(reader->stored);
    *reader = (struct container_reader){.file = NULL};
}

static bool container_make_room(unsigned char **bytes, size_t *room, size_t size)
{
    if (size <= *room)
        return true;
    unsigned char *larger = realloc(*bytes, size);
    if (!larger)
        return false;
    *bytes = larger;
    *room = size;
    return true;
}

/* The data of the block whose head was read, as it is stored. */
static struct error *container_read_stored(struct container_reader *reader)
{
    if (!container_make_room(&reader->stored, &reader->stored_room, reader->next_stored + 1u))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the snapshot");
    struct error *error = container_read(reader, reader->stored, reader->next_stored);
    if (!error && XXH64(reader->stored, reader->next_stored, 0) != reader->next_check)
        return container_bad("a checksum doesn't hold");
    return error;
}

/* A block that nobody wants, and the next one's head. */
static struct error *container_pass_block(struct container_reader *reader)
{
    struct error *error = container_read_stored(reader);

    return error ? error : container_read_block(reader);
}

/* The data of the block whose head was read, and the next one's head. */
static struct error *container_take_block(struct container_reader *reader)
{
    if (!container_make_room(&reader->raw, &reader->raw_room, reader->next_raw))
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the snapshot");
    struct error *error = container_read_stored(reader);
    if (error)
        return error;
    size_t size = ZSTD_decompressDCtx(reader->context, reader->raw, reader->next_raw, reader->stored, reader->next_stored);
    if (ZSTD_isError(size) || size != reader->next_raw)
        return container_bad("a block isn't compressed as it should be");
    reader->size = size;
    reader->at = 0;
    return container_read_block(reader);
}

struct error *container_has_more(struct container_reader *reader, bool *more)
{
    struct error *error = NULL;

    while (!error && reader->at == reader->size && reader->next_kind == reader->kind)
        error = container_take_block(reader);
    *more = !error && reader->at < reader->size;
    return error;
}

struct error *container_next(struct container_reader *reader, uint32_t *kind)
{
    struct error *error = NULL;

    while (!error && reader->kind != CONTAINER_END && reader->next_kind == reader->kind)
        error = container_pass_block(reader);
    if (error)
        return error;
    reader->size = reader->at = 0;
    reader->kind = *kind = reader->next_kind;
    if (*kind == CONTAINER_END)
        return fgetc(reader->file) == EOF ? NULL : container_bad("it goes on behind its end");
    return NULL;
}

struct error *container_get(struct container_reader *reader, void *bytes, size_t size)
{
    unsigned char *to = bytes;
    bool more = true;

    while (size) {
        struct error *error = container_has_more(reader, &more);
        if (error)
            return error;
        if (!more)
            return container_bad("a section ends in the middle");
        size_t part = reader->size - reader->at < size ? reader->size - reader->at : size;
        memcpy(to, reader->raw + reader->at, part);
        reader->at += part;
        to += part;
        size -= part;
    }
    return NULL;
}

#define CONTAINER_NUMBER_MAX 10 /* bytes */

/* Most of the long ones are in the block as a whole too. */
static bool container_get_whole_number(struct container_reader *reader, uint64_t *value)
{
    const unsigned char *at = reader->raw + reader->at;
    unsigned length = 0;

    if (reader->size - reader->at < CONTAINER_NUMBER_MAX)
        return false;
    *value = 0;
    do
        *value |= (uint64_t)(at[length] & 0x7f) << 7 * length;
    while (at[length++] & 0x80 && length < CONTAINER_NUMBER_MAX - 1);
    if (at[length - 1] & 0x80) /* as long as one can be: with care */
        return false;
    reader->at += length;
    return true;
}

struct error *container_get_long_number(struct container_reader *reader, uint64_t *value)
{
    if (container_get_whole_number(reader, value))
        return NULL;
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned char byte;

        if (reader->at < reader->size) {
            byte = reader->raw[reader->at++];
        } else {
            struct error *error = container_get(reader, &byte, 1);
            if (error)
                return error;
        }
        if (shift == 63 && byte > 1)
            break;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return NULL;
    }
    return container_bad("a number has no end");
}

struct error *container_get_text(struct container_reader *reader, size_t max, char **text, size_t *size)
{
    uint64_t length;
    struct error *error = container_get_number(reader, &length);

    *text = NULL;
    if (error)
        return error;
    if (length > max)
        return container_bad("a text is too long");
    *text = malloc((size_t)length + 1);
    if (!*text)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a text of the snapshot");
    if ((error = container_get(reader, *text, (size_t)length))) {
        free(*text);
        *text = NULL;
        return error;
    }
    (*text)[length] = '\0';
    *size = (size_t)length;
    return NULL;
}
