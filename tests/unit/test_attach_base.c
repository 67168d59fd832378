/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The base of attach/: errors, the choke point for memory, the parser of maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "attach/error.h"
#include "attach/maps.h"
#include "attach/memory.h"

static void test_error_message_context_hint(void **state)
{
    struct error *error = error_create(ERROR_PERMISSION, "become root", "cannot open %s", "x");

    (void)state;
    assert_string_equal(error_message(error), "cannot open x");
    assert_string_equal(error_hint(error), "become root");
    error = error_context(error, "process %d", 12);
    assert_string_equal(error_message(error), "process 12: cannot open x");
    error = error_with_hint(error, "ask %s", "root");
    assert_string_equal(error_hint(error), "ask root");
    assert_int_equal(error_code(error), ERROR_PERMISSION);
    error_destroy(error);
    error_destroy(NULL);
    assert_null(error_context(NULL, "x"));
    assert_null(error_with_hint(NULL, "x"));
}

static void test_error_of_errno(void **state)
{
    struct error *error = error_create_errno(ERROR_SYSTEM, ENOENT, "open %d", 1);

    (void)state;
    assert_int_equal(error_code(error), ERROR_SYSTEM);
    assert_non_null(strstr(error_message(error), "open 1: No such file"));
    assert_null(error_hint(error));
    error_destroy(error);
    error = error_create_errno(ERROR_SYSTEM, ESRCH, "read");
    assert_int_equal(error_code(error), ERROR_TARGET_ENDED);
    error_destroy(error);
}

/* The contract's exit statuses. */
static void test_error_statuses(void **state)
{
    static const struct {
        enum error_code code;
        const char *name;
        int status;
    } contract[] = {
        {ERROR_USAGE, "USAGE", 2},           {ERROR_NO_PROCESS, "NO_PROCESS", 3},
        {ERROR_NOT_PYTHON, "NOT_PYTHON", 3}, {ERROR_PERMISSION, "PERMISSION", 4},
        {ERROR_DISABLED, "DISABLED", 5},     {ERROR_UNSUPPORTED, "UNSUPPORTED", 5},
        {ERROR_NO_SAFE_POINT, "NO_SAFE_POINT", 6}, {ERROR_SCRIPT, "SCRIPT", 7},
        {ERROR_TARGET_ENDED, "TARGET_ENDED", 8},   {ERROR_BAD_FILE, "BAD_FILE", 9},
        {ERROR_INTERRUPTED, "INTERRUPTED", 130},   {ERROR_BUG, "BUG", 70},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(contract) / sizeof(*contract); i++) {
        assert_string_equal(error_code_name(contract[i].code), contract[i].name);
        assert_int_equal(error_exit_status(contract[i].code), contract[i].status);
    }
    for (int code = 0; code < ERROR_CODES; code++) {
        assert_non_null(error_code_name((enum error_code)code));
        assert_true(error_exit_status((enum error_code)code) > 0);
    }
}

static void assert_fault(struct error *error)
{
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_FAULT);
    error_destroy(error);
}

static void test_memory_fake(void **state)
{
    unsigned char bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, copy[16] = {0};
    struct memory_fake fake;
    uint8_t u8;
    uint32_t u32;
    uint64_t u64;
    struct address address, base = address_of(0x1000);

    (void)state;
    memory_fake_init(&fake, base, bytes, sizeof(bytes));
    assert_null(memory_read(&fake.memory, base, copy, 16));
    assert_memory_equal(copy, bytes, 16);
    assert_null(memory_read_u8(&fake.memory, address_add(base, 1), &u8));
    assert_int_equal(u8, 2);
    assert_null(memory_read_u32(&fake.memory, base, &u32));
    assert_int_equal(u32, 0x04030201);
    assert_null(memory_read_u64(&fake.memory, base, &u64));
    assert_true(u64 == 0x0807060504030201);
    assert_null(memory_read_address(&fake.memory, base, &address));
    assert_true(address.value == u64);
    assert_null(memory_write(&fake.memory, address_add(base, 12), "wxyz", 4));
    assert_memory_equal(bytes + 12, "wxyz", 4);
}

static void test_memory_fake_bounds(void **state)
{
    unsigned char bytes[16] = {0}, copy[32];
    struct memory_fake fake;
    struct address base = address_of(0x1000);

    (void)state;
    memory_fake_init(&fake, base, bytes, sizeof(bytes));
    assert_fault(memory_read(&fake.memory, base, copy, 17));
    assert_fault(memory_read(&fake.memory, address_of(0xfff), copy, 1));
    assert_fault(memory_read(&fake.memory, address_of(0x1010), copy, 1));
    assert_fault(memory_read(&fake.memory, address_of(UINT64_MAX), copy, 2));
    assert_fault(memory_read(&fake.memory, base, copy, SIZE_MAX));
    assert_fault(memory_write(&fake.memory, address_add(base, 13), "wxyz", 4));
    assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    assert_null(memory_read(&fake.memory, ADDRESS_NULL, copy, 0));
}

static void test_memory_string(void **state)
{
    static unsigned char bytes[2 * 4096];
    struct memory_fake fake;
    char buffer[64], small[4];

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes + 4090, "across the page", 16);
    /* Its end is the end of the memory. */
    memcpy(bytes + sizeof(bytes) - 5, "last", 5);
    memory_fake_init(&fake, address_of(0x10000), bytes, sizeof(bytes));
    assert_null(memory_read_string(&fake.memory, address_of(0x10000 + 4090), buffer, sizeof(buffer)));
    assert_string_equal(buffer, "across the page");
    assert_null(memory_read_string(&fake.memory, address_of(0x10000 + sizeof(bytes) - 5), buffer, sizeof(buffer)));
    assert_string_equal(buffer, "last");
    assert_null(memory_read_string(&fake.memory, address_of(0x10000 + 4090), small, sizeof(small)));
    assert_string_equal(small, "acr");
    assert_fault(memory_read_string(&fake.memory, address_of(0x4000), buffer, sizeof(buffer)));
    assert_string_equal(buffer, "");
}

static struct error *parse(struct maps *maps, const char *text)
{
    return maps_parse(maps, strdup(text), strlen(text));
}

static void test_maps(void **state)
{
    struct maps maps;

    (void)state;
    assert_null(parse(&maps, "00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/python3.11\n"
                             "00651000-00652000 rw-s 00000000 00:00 0 \n"
                             "7f0000000000-7f0000001000 r--p 00000000 fe:01 99   /tmp/with blank/lib.so (deleted)\n"
                             "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0    [stack]\n"
                             "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n"));
    assert_int_equal(maps.count, 5);
    const struct map *map = &maps.entries[0];
    assert_true(map->start.value == 0x400000 && map->end.value == 0x452000 && map->offset == 0x1000);
    assert_true(map->readable && !map->writable && map->executable && !map->shared && !map->deleted);
    assert_int_equal(map->device_major, 8);
    assert_int_equal(map->device_minor, 2);
    assert_int_equal(map->inode, 173521);
    assert_string_equal(map->path, "/usr/bin/python3.11");
    assert_string_equal(map_basename(map), "python3.11");
    assert_true(maps.entries[1].shared && maps.entries[1].writable);
    assert_string_equal(maps.entries[1].path, "");
    assert_true(maps.entries[2].deleted);
    assert_string_equal(maps.entries[2].path, "/tmp/with blank/lib.so");
    assert_string_equal(maps.entries[3].path, "[stack]");

    assert_ptr_equal(maps_find(&maps, address_of(0x400000)), &maps.entries[0]);
    assert_ptr_equal(maps_find(&maps, address_of(0x451fff)), &maps.entries[0]);
    assert_null(maps_find(&maps, address_of(0x452000)));
    assert_null(maps_find(&maps, address_of(0)));
    assert_null(maps_find(&maps, address_of(UINT64_MAX)));
    assert_ptr_equal(maps_find(&maps, address_of(0x7ffd00000010)), &maps.entries[3]);
    maps_deinit(&maps);
}

static void test_maps_empty(void **state)
{
    struct maps maps;

    (void)state;
    assert_null(parse(&maps, ""));
    assert_int_equal(maps.count, 0);
    assert_null(maps_find(&maps, address_of(1)));
    maps_deinit(&maps);
    /* A last line that was cut is left out. */
    assert_null(parse(&maps, "1000-2000 r--p 0 00:00 0 \n2000-3000 r--"));
    assert_int_equal(maps.count, 1);
    maps_deinit(&maps);
}

static void test_maps_nonsense(void **state)
{
    static const char *const texts[] = {
        "\n", "nonsense\n", "2000-1000 r--p 0 00:00 0\n", "1000-1000 r--p 0 00:00 0\n", "1000-2000 r- 0 00:00 0\n",
        "1000-2000\n", "1000-2000 r--p 0 00:00\n",
    };
    struct maps maps;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct error *error = parse(&maps, texts[i]);
        assert_non_null(error);
        error_destroy(error);
        maps_deinit(&maps);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_message_context_hint),
        cmocka_unit_test(test_error_of_errno),
        cmocka_unit_test(test_error_statuses),
        cmocka_unit_test(test_memory_fake),
        cmocka_unit_test(test_memory_fake_bounds),
        cmocka_unit_test(test_memory_string),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_maps_empty),
        cmocka_unit_test(test_maps_nonsense),
    };

    return cmocka_run_group_tests_name("attach base", tests, NULL, NULL);
}
