/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The JSON writer: commas, names, escapes, and bytes that are no UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/json.h"

struct page {
    char *text;
    size_t size;
    struct json json;
};

static void page_open(struct page *page)
{
    json_init(&page->json, open_memstream(&page->text, &page->size));
    assert_non_null(page->json.file);
}

/* Compares all that was written, and ends it. */
static void page_close(struct page *page, const char *expected)
{
    fclose(page->json.file);
    assert_string_equal(page->text, expected);
    free(page->text);
}

static void test_nesting(void **state)
{
    struct page page;

    (void)state;
    page_open(&page);
    json_begin_object(&page.json, NULL);
    json_integer(&page.json, "v", 1);
    json_begin_array(&page.json, "list");
    json_integer(&page.json, NULL, -2);
    json_begin_object(&page.json, NULL);
    json_end_object(&page.json);
    json_begin_array(&page.json, NULL);
    json_end_array(&page.json);
    json_end_array(&page.json);
    json_boolean(&page.json, "yes", true);
    json_null(&page.json, "none");
    json_end_object(&page.json);
    page_close(&page, "{\"v\":1,\"list\":[-2,{},[]],\"yes\":true,\"none\":null}");
}

static void test_numbers(void **state)
{
    struct page page;

    (void)state;
    page_open(&page);
    json_begin_array(&page.json, NULL);
    json_integer(&page.json, NULL, INT64_MIN);
    json_unsigned(&page.json, NULL, UINT64_MAX);
    json_decimal(&page.json, NULL, 1.5);
    json_end_array(&page.json);
    page_close(&page, "[-9223372036854775808,18446744073709551615,1.500]");
}

static void assert_written(const char *bytes, size_t size, const char *expected)
{
    struct page page;

    page_open(&page);
    json_bytes(&page.json, NULL, bytes, size);
    page_close(&page, expected);
}

static void test_escapes(void **state)
{
    (void)state;
    assert_written("", 0, "\"\"");
    assert_written("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    assert_written("\n\t\r", 3, "\"\\n\\t\\r\"");
    assert_written("\0\x01\x1f", 3, "\"\\u0000\\u0001\\u001f\"");
    assert_written("\xc3\xa9\xf0\x9f\x90\x8d", 6, "\"\xc3\xa9\xf0\x9f\x90\x8d\"");
}

#define BAD "\xef\xbf\xbd"

/* Alone, cut, too long a form, a surrogate, past the last code point. Each becomes U+FFFD, and what follows is kept. */
static void test_no_utf8(void **state)
{
    static const char *const texts[] = {
        "\xff", "\x80", "\xc3", "\xe4\xb8", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct page page;
        char text[32];

        snprintf(text, sizeof(text), "a%sb", texts[i]);
        page_open(&page);
        json_bytes(&page.json, NULL, text, strlen(text));
        fclose(page.json.file);
        assert_memory_equal(page.text, "\"a" BAD, 5);
        assert_string_equal(page.text + page.size - 2, "b\"");
        for (const char *at = page.text + 2; at < page.text + page.size - 2; at += 3)
            assert_memory_equal(at, BAD, 3);
        free(page.text);
    }
    assert_written("\xc3", 1, "\"" BAD "\"");
}

static void test_strings(void **state)
{
    struct page page;

    (void)state;
    page_open(&page);
    json_begin_object(&page.json, NULL);
    json_string(&page.json, "a\"b", "text");
    json_string(&page.json, "none", NULL);
    json_end_object(&page.json);
    page_close(&page, "{\"a\\\"b\":\"text\",\"none\":null}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nesting), cmocka_unit_test(test_numbers), cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_no_utf8), cmocka_unit_test(test_strings),
    };

    return cmocka_run_group_tests_name("protocol json", tests, NULL, NULL);
}
