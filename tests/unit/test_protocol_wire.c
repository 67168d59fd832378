/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The wire: frames decoded from bytes in any pieces, and bytes that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/wire.h"

/* What the callback was given, flattened: kind, size, payload, ... */
struct seen {
    unsigned char bytes[300000];
    size_t size, frames, fail_at;
};

static struct error *keep(void *context, const struct wire_frame *frame)
{
    struct seen *seen = context;

    if (++seen->frames == seen->fail_at)
        return error_create(ERROR_BUG, NULL, "enough");
    assert_true(seen->size + 1 + frame->size <= sizeof(seen->bytes));
    seen->bytes[seen->size++] = (unsigned char)frame->kind;
    memcpy(seen->bytes + seen->size, frame->payload, frame->size);
    seen->size += frame->size;
    return NULL;
}

static size_t put(unsigned char *to, enum wire_kind kind, const void *payload, size_t size)
{
    wire_encode_header(to, kind, size);
    memcpy(to + WIRE_HEADER_SIZE, payload, size);
    return WIRE_HEADER_SIZE + size;
}

static void test_header(void **state)
{
    unsigned char header[WIRE_HEADER_SIZE];

    (void)state;
    wire_encode_header(header, WIRE_OUTPUT, 0x01020304);
    assert_memory_equal(header, "\x04\x03\x02\x01O", 5);
}

/* The same frames, cut at every place into two, and byte by byte. */
static void test_pieces(void **state)
{
    static struct wire_decoder decoder;
    static struct seen seen;
    unsigned char bytes[64];
    size_t size = put(bytes, WIRE_OUTPUT, "hello", 5);

    (void)state;
    size += put(bytes + size, WIRE_DONE, "", 0);
    size += put(bytes + size, WIRE_VALUE, "\0x", 2);
    for (size_t cut = 0; cut <= size; cut++) {
        wire_decoder_init(&decoder);
        seen.size = seen.frames = 0;
        assert_null(wire_decoder_feed(&decoder, bytes, cut, keep, &seen));
        assert_null(wire_decoder_feed(&decoder, bytes + cut, size - cut, keep, &seen));
        assert_int_equal(seen.frames, 3);
        assert_int_equal(seen.size, 10);
        assert_memory_equal(seen.bytes, "OhelloDV\0x", 10);
    }
    wire_decoder_init(&decoder);
    seen.size = seen.frames = 0;
    for (size_t i = 0; i < size; i++)
        assert_null(wire_decoder_feed(&decoder, bytes + i, 1, keep, &seen));
    assert_int_equal(seen.frames, 3);
}

static void test_largest(void **state)
{
    static unsigned char bytes[2 * (WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX)], payload[WIRE_PAYLOAD_MAX];
    static struct wire_decoder decoder;
    static struct seen seen;
    size_t size;

    (void)state;
    memset(payload, 'p', sizeof(payload));
    size = put(bytes, WIRE_OUTPUT, payload, sizeof(payload));
    size += put(bytes + size, WIRE_OUTPUT, payload, sizeof(payload));
    wire_decoder_init(&decoder);
    assert_null(wire_decoder_feed(&decoder, bytes, size, keep, &seen));
    assert_int_equal(seen.frames, 2);
    assert_int_equal(seen.size, 2 * (1 + WIRE_PAYLOAD_MAX));
}

static void assert_refused(const void *bytes, size_t size)
{
    static struct wire_decoder decoder;
    static struct seen seen;

    wire_decoder_init(&decoder);
    struct error *error = wire_decoder_feed(&decoder, bytes, size, keep, &seen);
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_PROTOCOL);
    error_destroy(error);
}

/* Refused by the header alone: no waiting for 4 GB. */
static void test_nonsense(void **state)
{
    unsigned char header[WIRE_HEADER_SIZE];

    (void)state;
    wire_encode_header(header, WIRE_OUTPUT, WIRE_PAYLOAD_MAX + 1);
    assert_refused(header, sizeof(header));
    assert_refused("\xff\xff\xff\xffO", 5);
    assert_refused("\0\0\0\0\0", 5);
    assert_refused("\0\0\0\0?", 5);
    assert_refused("\1\0\0\0\xff", 5);
    assert_refused("Traceback (most recent call last):", 34);
}

static void test_error_of_the_handler(void **state)
{
    static struct wire_decoder decoder;
    static struct seen seen;
    unsigned char bytes[64];
    size_t size = put(bytes, WIRE_OUTPUT, "a", 1);

    (void)state;
    size += put(bytes + size, WIRE_OUTPUT, "b", 1);
    size += put(bytes + size, WIRE_OUTPUT, "c", 1);
    seen.fail_at = 2;
    wire_decoder_init(&decoder);
    struct error *error = wire_decoder_feed(&decoder, bytes, size, keep, &seen);
    assert_non_null(error);
    assert_string_equal(error_message(error), "enough");
    error_destroy(error);
    assert_int_equal(seen.frames, 2);
}

static void test_cursor(void **state)
{
    static const unsigned char payload[] = "\1\0\0\0\0\0\0\200first\0\0rest";
    struct wire_frame frame = {WIRE_HELLO, payload, sizeof(payload) - 1};
    struct wire_cursor cursor;
    uint64_t value;
    const char *text;
    size_t size;

    (void)state;
    wire_cursor_init(&cursor, &frame);
    assert_true(wire_cursor_u64(&cursor, &value));
    assert_true(value == 0x8000000000000001);
    assert_true(wire_cursor_field(&cursor, &text, &size));
    assert_int_equal(size, 5);
    assert_string_equal(text, "first");
    assert_true(wire_cursor_field(&cursor, &text, &size));
    assert_int_equal(size, 0);
    /* Neither a number nor an ended field: the cursor stays where it is. */
    const unsigned char *at = cursor.at;
    assert_false(wire_cursor_u64(&cursor, &value));
    assert_false(wire_cursor_field(&cursor, &text, &size));
    assert_ptr_equal(cursor.at, at);
    assert_int_equal(cursor.end - cursor.at, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_error_of_the_handler),
        cmocka_unit_test(test_cursor),
    };

    return cmocka_run_group_tests_name("protocol wire", tests, NULL, NULL);
}
