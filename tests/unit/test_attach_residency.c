/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which pages are resident: the text of smaps, ranges, pages of zeros, what a child knows better. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "attach/residency.h"

#define PAGE 4096u

static const char text_of_two[] = "00400000-00452000 r-xp 00000000 08:02 173521                             /usr/bin/dbus-daemon\n"
                                  "Size:                328 kB\n"
                                  "Rss:                 100 kB\n"
                                  "Anonymous:             0 kB\n"
                                  "Swap:                  0 kB\n"
                                  "VmFlags: rd ex mr mw me dw\n"
                                  "7f0000000000-7f0000010000 rw-p 00000000 00:00 0 \n"
                                  "Size:                 64 kB\n"
                                  "Rss:                  12 kB\n"
                                  "Pss:                   4 kB\n"
                                  "Anonymous:            12 kB\n"
                                  "Swap:                  8 kB\n"
                                  "VmFlags: rd wr mr mw me ac\n";

static void parse(struct residency *residency, const char *text)
{
    struct error *error = residency_parse(residency, strdup(text), strlen(text));

    assert_null(error);
}

static void test_parses(void **state)
{
    struct residency residency;

    (void)state;
    parse(&residency, text_of_two);
    assert_int_equal(residency.maps.count, 2);
    assert_string_equal(residency.maps.entries[0].path, "/usr/bin/dbus-daemon");
    assert_int_equal(residency.list[0].resident, 100 * 1024);
    assert_int_equal(residency.list[1].start, 0x7f0000000000);
    assert_int_equal(residency.list[1].anonymous, 12 * 1024);
    assert_int_equal(residency.list[1].swapped, 8 * 1024);
    assert_int_equal(residency.resident, 112 * 1024);
    residency_deinit(&residency);
    parse(&residency, ""); /* nothing is mapped */
    assert_int_equal(residency.maps.count, 0);
    residency_deinit(&residency);
    struct error *error = residency_parse(&residency, strdup("12-nonsense\nRss: 4 kB\n"), 22);
    assert_non_null(error);
    error_destroy(error);
}

static void test_ranges(void **state)
{
    uint64_t pages[4] = {UINT64_MAX, 0, 0x6, 0}; /* the first 64, and two of the third 64 */
    struct residency_map map = {.start = 0x100000, .end = 0x100000 + 256 * PAGE, .resident = 66 * PAGE, .pages = pages};

    (void)state;
    assert_int_equal(residency_of(&map, map.start, map.end), 66 * PAGE);
    assert_int_equal(residency_of(&map, map.start + 10, map.start + 30), 20);
    assert_int_equal(residency_of(&map, map.start + 63 * PAGE + 4000, map.start + 70 * PAGE), 96);
    assert_int_equal(residency_of(&map, map.start + 128 * PAGE, map.start + 130 * PAGE + 7), PAGE + 7);
    assert_int_equal(residency_of(&map, map.start + 200 * PAGE, map.end), 0);
    map.pages = NULL;
    assert_int_equal(residency_of(&map, map.start, map.end), 0); /* where they are isn't known */
    map.resident = map.end - map.start;
    assert_int_equal(residency_of(&map, map.start + 5, map.end - 5), 256 * PAGE - 10);
}

static bool is_odd(void *context, uint64_t page)
{
    ++*(unsigned *)context;
    return page / PAGE % 2;
}

static void test_zeros(void **state)
{
    uint64_t pages[1] = {0xff};
    unsigned asked = 0;
    struct residency_map map = {.start = 0, .end = 8 * PAGE, .resident = 6 * PAGE, .pages = pages, .excess = 2 * PAGE};

    (void)state;
    residency_drop_zeros(&map, is_odd, &asked);
    assert_int_equal(map.excess, 0);
    assert_int_equal(pages[0], 0x5f); /* the last two odd ones */
    assert_int_equal(residency_of(&map, 0, 8 * PAGE), map.resident);
    asked = 0;
    residency_drop_zeros(&map, is_odd, &asked);
    assert_int_equal(asked, 0);
}

static void test_child(void **state)
{
    struct residency residency, child;

    (void)state;
    parse(&residency, text_of_two);
    parse(&child, "00400000-00452000 r-xp 00000000 08:02 173521  /usr/bin/dbus-daemon\nRss: 0 kB\n"
                  "7f0000000000-7f0000010000 rw-p 00000000 00:00 0 \nRss: 16 kB\n"
                  "7f0000020000-7f0000030000 rw-p 00000000 00:00 0 \nRss: 64 kB\n");
    residency_take_child(&residency, &child);
    assert_int_equal(residency.list[0].resident, 100 * 1024); /* a file's, which a child has without its pages */
    assert_int_equal(residency.list[1].resident, 16 * 1024);
    assert_int_equal(residency.resident, 116 * 1024);
    residency_deinit(&residency);
    residency_deinit(&child);
}

/* Our own memory: written to, only read (the kernel's page of zeros), untouched. */
static void test_of_a_process(void **state)
{
    const size_t size = 256 * PAGE;
    volatile char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), sum = 0;
    uint64_t start = (uint64_t)(uintptr_t)bytes;
    struct residency residency;

    (void)state;
    assert_true(bytes != MAP_FAILED);
    madvise((void *)(uintptr_t)start, size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < 10; i++)
        bytes[i * PAGE] = 1;
    for (size_t i = 10; i < 30; i++)
        sum += bytes[i * PAGE];
    struct error *error = residency_read(&residency, getpid());
    assert_null(error);
    const struct map *map = maps_find(&residency.maps, address_of(start));
    assert_non_null(map);
    struct residency_map *pages = &residency.list[map - residency.maps.entries];
    if (!pages->excess) /* the kernel told which are of zeros */
        assert_int_equal(residency_of(pages, start, start + size), 10 * PAGE);
    assert_int_equal(residency_of(pages, start, start + 10 * PAGE), 10 * PAGE);
    assert_int_equal(residency_of(pages, start + 30 * PAGE, start + size), 0);
    assert_int_equal(sum, 0);
    residency_deinit(&residency);
    munmap((void *)(uintptr_t)start, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parses), cmocka_unit_test(test_ranges), cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_child),  cmocka_unit_test(test_of_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
