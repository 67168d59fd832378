/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who awaits whom, of tasks that are made here: each is a letter, and its address the letter's number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/task_tree.h"

#define TASKS_MAX 26

struct made {
    struct tasks tasks;
    struct task items[TASKS_MAX];
    uint64_t awaiters[TASKS_MAX][TASKS_MAX];
    size_t by_address[TASKS_MAX];
    struct task_tree tree;
};

/* "ab": a awaits b; "a>b": a waits for a lock of b's. Separated by blanks. */
static void make(struct made *made, size_t count, const char *edges)
{
    memset(made, 0, sizeof(*made));
    made->tasks = (struct tasks){.items = made->items, .count = count, .by_address = made->by_address};
    for (size_t i = 0; i < count; i++) {
        made->items[i].address = 'a' + i;
        made->items[i].awaited_by = made->awaiters[i];
        made->by_address[i] = i;
    }
    for (const char *at = edges; *at; at += *at == ' ') {
        if (at[1] == '>') {
            made->items[at[0] - 'a'].wait.holder = (unsigned char)at[2];
            at += 3;
        } else {
            struct task *task = &made->items[at[1] - 'a'];
            task->awaited_by[task->awaiter_count++] = (unsigned char)at[0];
            at += 2;
        }
    }
    assert_null(task_tree_init(&made->tree, &made->tasks));
}

static void check_roots(const struct made *made, const char *roots)
{
    assert_int_equal(made->tree.root_count, strlen(roots));
    for (size_t i = 0; roots[i]; i++)
        assert_int_equal(made->tree.roots[i], roots[i] - 'a');
}

static void check_children(const struct made *made, char parent, const char *children)
{
    size_t first = made->tree.first[parent - 'a'], last = made->tree.first[parent - 'a' + 1];

    assert_int_equal(last - first, strlen(children));
    for (size_t i = first; i < last; i++)
        assert_int_equal(made->tree.children[i], children[i - first] - 'a');
}

static void check_circle(const struct made *made, size_t number, const char *circle)
{
    size_t first = made->tree.circle_first[number], last = made->tree.circle_first[number + 1];

    assert_int_equal(last - first, strlen(circle));
    for (size_t i = first; i < last; i++)
        assert_int_equal(made->tree.circles[i], circle[i - first] - 'a');
}

static void test_none(void **state)
{
    struct made made;

    (void)state;
    make(&made, 0, "");
    check_roots(&made, "");
    assert_int_equal(made.tree.circle_count, 0);
    task_tree_deinit(&made.tree);
}

static void test_forest(void **state)
{
    struct made made;

    (void)state;
    make(&made, 6, "ab ac cd ed");
    check_roots(&made, "aef");
    check_children(&made, 'a', "bc");
    check_children(&made, 'c', "d");
    check_children(&made, 'e', "d");
    check_children(&made, 'b', "");
    assert_int_equal(made.tree.circle_count, 0);
    task_tree_deinit(&made.tree);
}

/* One that is awaited by a task that isn't there any more is a root. */
static void test_unknown_awaiter(void **state)
{
    struct made made;

    (void)state;
    make(&made, 2, "za ab");
    check_roots(&made, "a");
    task_tree_deinit(&made.tree);
}

static void test_circles(void **state)
{
    struct made made;

    (void)state;
    make(&made, 6, "ab bc cb de ed ff");
    assert_int_equal(made.tree.circle_count, 3);
    check_circle(&made, 0, "bc");
    check_circle(&made, 1, "de");
    check_circle(&made, 2, "f");
    check_roots(&made, "adf");
    task_tree_deinit(&made.tree);
}

/* Locks make circles, and no tree: each of the two is a root. */
static void test_locks(void **state)
{
    struct made made;

    (void)state;
    make(&made, 5, "a>b b>a c>d de");
    assert_int_equal(made.tree.circle_count, 1);
    check_circle(&made, 0, "ab");
    check_roots(&made, "abcd");
    check_children(&made, 'a', "");
    assert_int_equal(made.tree.holders[2], 3);
    assert_int_equal(made.tree.holders[4], SIZE_MAX);
    task_tree_deinit(&made.tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),    cmocka_unit_test(test_forest), cmocka_unit_test(test_unknown_awaiter),
        cmocka_unit_test(test_circles), cmocka_unit_test(test_locks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
