/* SPDX-License-Identifier: GPL-3.0-or-later */
/* runtime/heap/image.c on memory of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "runtime/heap/image.h"

#define PAGE 4096u
#define BASE UINT64_C(0x7f0000000000)

static unsigned char bytes[64 * PAGE];

static void fill_bytes(void)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 7 + i / PAGE);
}

static void make(struct heap_image *image, const struct heap_span *spans, size_t count, uint64_t max_bytes)
{
    struct memory_fake fake;

    fill_bytes();
    memory_fake_init(&fake, address_of(BASE), bytes, sizeof(bytes));
    assert_null(heap_image_init(image, spans, count, max_bytes));
    assert_null(heap_image_read(image, &fake.memory, NULL));
}

static void test_every_byte_is_found(void **state)
{
    const struct heap_span spans[] = {
        {BASE, 2 * PAGE, true}, {BASE + 4 * PAGE, 3 * PAGE, false}, {BASE + 63 * PAGE, PAGE, false}};
    struct heap_image image;

    (void)state;
    make(&image, spans, 3, 0);
    assert_int_equal(image.size, 6 * PAGE);
    assert_int_equal(image.missing, 0);
    for (size_t s = 0; s < 3; s++)
        for (uint64_t at = 0; at < spans[s].size; at++) {
            const unsigned char *byte = heap_image_get(&image, spans[s].start + at, 1);
            assert_non_null(byte);
            assert_int_equal(*byte, bytes[spans[s].start + at - BASE]);
        }
    heap_image_deinit(&image);
}

static void test_what_is_not_there_is_not_found(void **state)
{
    const struct heap_span spans[] = {{BASE, PAGE, true}, {BASE + 2 * PAGE, PAGE, false}};
    struct heap_image image;

    (void)state;
    make(&image, spans, 2, 0);
    assert_null(heap_image_get(&image, BASE - 1, 1));
    assert_null(heap_image_get(&image, BASE + PAGE, 1));
    assert_null(heap_image_get(&image, BASE + PAGE - 1, 2));
    assert_null(heap_image_get(&image, BASE, PAGE + 1));
    assert_null(heap_image_get(&image, BASE, UINT64_MAX));
    assert_null(heap_image_get(&image, 0, 1));
    assert_null(heap_image_get(&image, UINT64_MAX, 1));
    assert_null(heap_image_get(&image, UINT64_C(1) << 60, 1));
    assert_non_null(heap_image_get(&image, BASE + 2 * PAGE, PAGE));
    assert_int_equal(heap_image_u64(&image, BASE + PAGE), 0);
    heap_image_deinit(&image);
}

static void test_neighbours_are_one(void **state)
{
    const struct heap_span spans[] = {{BASE, PAGE, false}, {BASE + PAGE, PAGE, false}};
    struct heap_image image;

    (void)state;
    make(&image, spans, 2, 0);
    assert_int_equal(image.count, 1);
    assert_non_null(heap_image_get(&image, BASE + PAGE - 4, 8));
    heap_image_deinit(&image);
}

static void test_positions_are_addresses(void **state)
{
    const struct heap_span spans[] = {{BASE + PAGE, 2 * PAGE, false}, {BASE + 40 * PAGE, PAGE, false}};
    struct heap_image image;
    uint32_t last = 0;

    (void)state;
    make(&image, spans, 2, 0);
    for (size_t s = 0; s < 2; s++)
        for (uint64_t at = spans[s].start; at < spans[s].start + spans[s].size; at += 8) {
            uint32_t position = heap_image_position(&image, at);
            assert_int_equal(heap_image_address(&image, position), at);
            assert_true(position >= last);
            last = position;
        }
    assert_int_equal(heap_image_position(&image, BASE + PAGE + 4), HEAP_NO_POSITION);
    assert_int_equal(heap_image_position(&image, BASE), HEAP_NO_POSITION);
    heap_image_deinit(&image);
}

/* Statics first, then as much of the rest as may be; what is left out is said. */
static void test_a_bound_makes_it_partial(void **state)
{
    const struct heap_span spans[] = {{BASE, 4 * PAGE, false}, {BASE + 8 * PAGE, PAGE, true}};
    struct heap_image image;

    (void)state;
    make(&image, spans, 2, 3 * PAGE + 100);
    assert_int_equal(image.size, 3 * PAGE);
    assert_int_equal(image.missing, 2 * PAGE);
    assert_non_null(heap_image_get(&image, BASE + 8 * PAGE, PAGE));
    assert_non_null(heap_image_get(&image, BASE, 2 * PAGE));
    assert_null(heap_image_get(&image, BASE + 2 * PAGE, 1));
    heap_image_deinit(&image);
}

static void test_unreadable_pages_are_missing(void **state)
{
    const struct heap_span spans[] = {{BASE + 62 * PAGE, 4 * PAGE, false}}; /* the fake ends after two */
    struct heap_image image;

    (void)state;
    make(&image, spans, 1, 0);
    assert_int_equal(image.missing, 2 * PAGE);
    assert_int_equal(*heap_image_get(&image, BASE + 63 * PAGE, 1), bytes[63 * PAGE]);
    assert_int_equal(*heap_image_get(&image, BASE + 64 * PAGE, 1), 0);
    heap_image_deinit(&image);
}

static void test_nothing_readable_is_an_error(void **state)
{
    const struct heap_span spans[] = {{BASE + 100 * PAGE, PAGE, false}};
    struct memory_fake fake;
    struct heap_image image;

    (void)state;
    memory_fake_init(&fake, address_of(BASE), bytes, sizeof(bytes));
    assert_null(heap_image_init(&image, spans, 1, 0));
    struct error *error = heap_image_read(&image, &fake.memory, NULL);
    assert_non_null(error);
    error_destroy(error);
    heap_image_deinit(&image);
}

/* Of the mappings: private, readable, writable; a file's, and what follows it, are statics. */
static void test_spans_of_maps(void **state)
{
    static const char text[] = "1000-2000 r--p 00000000 08:01 7 /lib/a.so\n"
                               "2000-3000 rw-p 00001000 08:01 7 /lib/a.so\n"
                               "3000-4000 rw-p 00000000 00:00 0 \n"
                               "6000-7000 rw-p 00000000 00:00 0 [heap]\n"
                               "8000-9000 rw-s 00000000 00:00 9 /dev/shm/x\n"
                               "9000-a000 rw-p 00000000 00:05 9 /dev/x\n";
    struct maps maps;
    struct heap_span *spans;
    size_t count;

    (void)state;
    char *copy = strdup(text);
    assert_null(maps_parse(&maps, copy, strlen(copy)));
    assert_null(heap_spans_find(&maps, 0, &spans, &count));
    assert_int_equal(count, 3);
    assert_int_equal(spans[0].start, 0x2000);
    assert_true(spans[0].statics);
    assert_int_equal(spans[1].start, 0x3000);
    assert_true(spans[1].statics);
    assert_int_equal(spans[2].start, 0x6000);
    assert_false(spans[2].statics);
    free(spans);
    maps_deinit(&maps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_is_found),          cmocka_unit_test(test_what_is_not_there_is_not_found),
        cmocka_unit_test(test_neighbours_are_one),           cmocka_unit_test(test_positions_are_addresses),
        cmocka_unit_test(test_a_bound_makes_it_partial),     cmocka_unit_test(test_unreadable_pages_are_missing),
        cmocka_unit_test(test_nothing_readable_is_an_error), cmocka_unit_test(test_spans_of_maps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
