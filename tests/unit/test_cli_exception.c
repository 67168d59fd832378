/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A traceback from frames: as Python would print it, and of a target that wants it to have no end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "cli/exception.h"

static const char script[] = "first()\n    second()\nthird()";

static struct error *feed(struct exception *exception, enum wire_kind kind, const char *bytes, size_t size)
{
    const struct wire_frame frame = {kind, (const unsigned char *)bytes, size};

    return exception_frame(exception, &frame);
}

#define FEED(exception, kind, text) assert_null(feed(exception, kind, text, sizeof(text) - 1))

static void test_as_python(void **state)
{
    struct exception exception;

    (void)state;
    exception_init(&exception, "<string>", script, sizeof(script) - 1);
    FEED(&exception, WIRE_EXCEPTION, "KeyError\0context");
    FEED(&exception, WIRE_MESSAGE, "'a'");
    FEED(&exception, WIRE_EXCEPTION, "ValueError\0");
    FEED(&exception, WIRE_MESSAGE, "no");
    FEED(&exception, WIRE_NOTE, "a note");
    FEED(&exception, WIRE_TRACE, "1\0f\0<string>\0" "2\0g\0<string>\0" "3\0h\0<string>\0" "4\0i\0<string>\0" "9\0j\0other.py\0");
    exception_finish(&exception);
    assert_string_equal(exception.text, "KeyError: 'a'\n"
                        "\nDuring handling of the above exception, another exception occurred:\n\n"
                        "Traceback (most recent call last):\n"
                        "  File \"<string>\", line 1, in f\n    first()\n"
                        "  File \"<string>\", line 2, in g\n    second()\n"
                        "  File \"<string>\", line 3, in h\n    third()\n"
                        "  File \"<string>\", line 4, in i\n"
                        "  File \"other.py\", line 9, in j\n"
                        "ValueError: no\na note\n");
    assert_string_equal(exception.type, "ValueError");
    assert_string_equal(exception.message, "no");
    exception_deinit(&exception);
}

static void test_endless_chain(void **state)
{
    struct exception exception;
    struct error *error = NULL;
    unsigned count = 0;

    (void)state;
    exception_init(&exception, "<string>", script, sizeof(script) - 1);
    while (!error && ++count < 100000)
        error = feed(&exception, WIRE_EXCEPTION, "E\0cause", 7);
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_PROTOCOL);
    assert_true(count > 32);
    error_destroy(error);
    exception_deinit(&exception);
}

/* As many lines of a long script as can be named in as many bytes as are taken. */
static void test_endless_trace(void **state)
{
    static char lines[4000000], piece[60000];
    struct exception exception;
    clock_t start = clock();

    (void)state;
    memset(lines, '\n', sizeof(lines));
    exception_init(&exception, "", lines, sizeof(lines));
    FEED(&exception, WIRE_EXCEPTION, "E\0");
    for (unsigned i = 0; i < 400; i++) {
        size_t size = 0;

        for (unsigned k = 0; size + 16 < sizeof(piece); k++)
            size += (size_t)sprintf(piece + size, "%u%c%c", 3900000 + (i * 5000 + k) % 99999, 0, 0) + 1;
        assert_null(feed(&exception, WIRE_TRACE, piece, size));
        assert_null(feed(&exception, WIRE_MESSAGE, piece, size));
        assert_null(feed(&exception, WIRE_NOTE, piece, size));
    }
    exception_finish(&exception);
    assert_true(exception.text_size > 1 << 20 && exception.text_size < 32 << 20);
    assert_true((clock() - start) / CLOCKS_PER_SEC < 10);
    exception_deinit(&exception);
}

/* One line as long as the script. */
static void test_long_line(void **state)
{
    static char line[100000];
    struct exception exception;

    (void)state;
    memset(line, 'x', sizeof(line));
    exception_init(&exception, "s", line, sizeof(line));
    FEED(&exception, WIRE_EXCEPTION, "E\0");
    FEED(&exception, WIRE_TRACE, "1\0f\0s\0" "0\0f\0s\0" "-1\0f\0s\0" "2\0f\0s\0" "99999999999999999999\0f\0s\0");
    exception_finish(&exception);
    assert_true(exception.text_size < 2000);
    exception_deinit(&exception);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_python),
        cmocka_unit_test(test_endless_chain),
        cmocka_unit_test(test_endless_trace),
        cmocka_unit_test(test_long_line),
    };

    return cmocka_run_group_tests_name("cli exception", tests, NULL, NULL);
}
