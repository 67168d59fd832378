/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/version.h"

static void test_format(void **state)
{
    char text[32];

    (void)state;
    version_format(0x030812f0, text, sizeof(text));
    assert_string_equal(text, "3.8.18");
    version_format(0x030f00a3, text, sizeof(text));
    assert_string_equal(text, "3.15.0a3");
    version_format(0x030e00c2, text, sizeof(text));
    assert_string_equal(text, "3.14.0rc2");
    version_format(0x030e0a00, text, sizeof(text)); /* level unknown */
    assert_string_equal(text, "3.14.10");
    version_format(0xffffffff, text, 4);
    assert_int_equal(strlen(text), 3);
}

struct text {
    const char *text;
    uint32_t hex;
    const char *build;
};

static const struct text texts[] = {
    {"3.8.18 (default, May  9 2026, 07:33:04) \n[GCC 12.2.0]", 0x030812f0,
     "(default, May  9 2026, 07:33:04) [GCC 12.2.0]"},
    {"2.7.18 (default, Aug  1 2026, 10:00:00) \n[GCC 12.2.0]", 0x020712f0,
     "(default, Aug  1 2026, 10:00:00) [GCC 12.2.0]"},
    {"3.15.0a0 free-threading build (heads/main:abc, May  1 2025, 10:00:00) [GCC 14]", 0x030f00a0,
     "free-threading build (heads/main:abc, May  1 2025, 10:00:00) [GCC 14]"},
    {"3.9.2+ (default, x) [Clang 16]", 0x030902f0, "(default, x) [Clang 16]"},
    {"3.10.0rc1 (x) [y]", 0x030a00c1, "(x) [y]"},
};

static const char *const no_texts[] = {
    "",
    "3",
    "3.8",
    "3.8.18",
    "3.8.18 ",
    "3.8.18 (default",
    "3.8.18 (default) GCC",
    "3.8.18(default) [GCC]",
    "3.x.1 (a) [b]",
    "3.8.r1 (a) [b]",
    "3.8.1r (a) [b]",
    "3.8.1rx (a) [b]",
    "3.8.999 (a) [b]",
    "3.8.1111 (a) [b]",
    "3.8.18 (a\x01) [b]",
};

static void test_parse(void **state)
{
    char build[160];
    uint32_t hex;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(version_parse(texts[i].text, strlen(texts[i].text) + 1, &hex, build, sizeof(build)));
        assert_int_equal(hex, texts[i].hex);
        assert_string_equal(build, texts[i].build);
        /* Without its NUL it is no text. */
        assert_false(version_parse(texts[i].text, strlen(texts[i].text), &hex, build, sizeof(build)));
    }
    for (size_t i = 0; i < sizeof(no_texts) / sizeof(no_texts[0]); i++)
        assert_false(version_parse(no_texts[i], strlen(no_texts[i]) + 1, &hex, build, sizeof(build)));
}

static void test_search(void **state)
{
    static const char memory[] = "noise 3.8.1 (no) [no]\0.3..3.\0"
                                 "3.7.1 (a) [b]\0\0\0\0003.10.13 (main) [GCC]\0tail";
    char build[8];
    uint32_t hex;

    (void)state;
    assert_true(version_search(memory, sizeof(memory), 0, &hex, build, sizeof(build)));
    assert_int_equal(hex, 0x030701f0);
    assert_true(version_search(memory, sizeof(memory), 0x030a0df0, &hex, build, sizeof(build)));
    assert_int_equal(hex, 0x030a0df0);
    assert_string_equal(build, "(main) "); /* cut */
    assert_false(version_search(memory, sizeof(memory), 0x030a0ef0, &hex, build, sizeof(build)));
    assert_false(version_search(memory, 0, 0, &hex, build, sizeof(build)));
}

static void test_hostile_memory(void **state)
{
    static const char alphabet[] = "3.. 0()[]a\0\0\n";
    char build[16];
    uint32_t hex;

    (void)state;
    srandom(4711);
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = (size_t)random() % 64;
        char *memory = malloc(size + 1);

        assert_non_null(memory);
        for (size_t i = 0; i < size; i++)
            memory[1 + i] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
        version_search(memory + 1, size, 0, &hex, build, sizeof(build));
        free(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_hostile_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
