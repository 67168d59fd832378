/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Processes held by identity, their memory and their ELF files; on children of the test and on the test itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach/image.h"
#include "attach/maps.h"
#include "attach/process.h"

const char test_mark[] = "a text that is easy to find again";

static void assert_error(struct error *error, enum error_code code, const char *word)
{
    assert_non_null(error);
    assert_int_equal(error_code(error), code);
    if (!strstr(error_message(error), word))
        fail_msg("\"%s\" is not in \"%s\"", word, error_message(error));
    error_destroy(error);
}

/* A child that waits until its end of the pipe is closed. */
static pid_t child_start(int *gate)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        char byte;

        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ends[0]);
    *gate = ends[1];
    return child;
}

static void child_end(pid_t child, int gate)
{
    int status;

    close(gate);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_open_and_read(void **state)
{
    struct process process;
    char copy[sizeof(test_mark)];
    uint64_t ticks;
    int gate;
    pid_t child = child_start(&gate);

    (void)state;
    assert_null(process_open(&process, child));
    assert_int_equal(process.pid, child);
    assert_null(process_check(&process));
    assert_null(process_read_start_time(child, &ticks));
    assert_true(ticks == process.start_time);
    assert_null(memory_read(&process.memory, address_of((uintptr_t)test_mark), copy, sizeof(copy)));
    assert_string_equal(copy, test_mark);
    assert_error(memory_read(&process.memory, address_of(16), copy, sizeof(copy)), ERROR_FAULT, "");
    child_end(child, gate);
    assert_error(process_check(&process), ERROR_TARGET_ENDED, "");
    process_close(&process);
}

/* Also where the target itself may not write: a page of its own is made. */
static void test_write(void **state)
{
    static int value = 5;
    struct process process;
    int gate, other = 6;
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t child = child_start(&gate);

    (void)state;
    assert_null(process_open(&process, child));
    assert_null(memory_write(&process.memory, address_of((uintptr_t)&value), &other, sizeof(other)));
    assert_int_equal(value, 5);
    other = 0;
    assert_null(memory_read(&process.memory, address_of((uintptr_t)&value), &other, sizeof(other)));
    assert_int_equal(other, 6);
    assert_null(memory_write(&process.memory, address_of((uintptr_t)page), "text", 5));
    char copy[5];
    assert_null(memory_read(&process.memory, address_of((uintptr_t)page), copy, 5));
    assert_string_equal(copy, "text");
    process_close(&process);
    child_end(child, gate);
    munmap(page, 4096);
}

static void test_zombie(void **state)
{
    struct process process;
    siginfo_t info;
    pid_t child = fork();

    (void)state;
    if (!child)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    struct error *error = process_open(&process, child);
    assert_non_null(error);
    assert_non_null(strstr(error_message(error), "zombie"));
    error_destroy(error);
    assert_int_equal(waitpid(child, NULL, 0), child);
    error = process_open(&process, child);
    assert_error(error, ERROR_NO_PROCESS, "");
}

static void test_no_process(void **state)
{
    struct process process;

    (void)state;
    assert_error(process_open(&process, INT_MAX), ERROR_NO_PROCESS, "");
}

static void *thread_wait(void *slot)
{
    int *ends = slot;
    char byte;
    pid_t tid = (pid_t)syscall(SYS_gettid);

    if (write(ends[3], &tid, sizeof(tid)) != sizeof(tid) || read(ends[0], &byte, 1) < 0)
        return slot;
    return NULL;
}

static void test_thread(void **state)
{
    struct process process;
    struct process_status status;
    int ends[4];
    pid_t tid, *tids;
    size_t count;
    pthread_t thread;
    void *failed;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(ends + 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, thread_wait, ends), 0);
    assert_int_equal(read(ends[2], &tid, sizeof(tid)), sizeof(tid));

    char number[16];
    snprintf(number, sizeof(number), "%d", getpid());
    assert_error(process_open(&process, tid), ERROR_NO_PROCESS, number);
    assert_null(process_list_threads(getpid(), &tids, &count));
    assert_int_equal(count, 2);
    assert_int_equal(tids[0], getpid());
    assert_int_equal(tids[1], tid);
    free(tids);
    assert_null(process_read_status(getpid(), 0, &status));
    assert_int_equal(status.threads, 2);
    assert_int_equal(status.tgid, getpid());
    assert_int_equal(status.parent, getppid());
    assert_int_equal(status.uid, getuid());
    assert_int_equal(status.tracer, 0);
    assert_true(status.rss_bytes > 100000 && !status.kernel_thread);
    assert_null(process_read_status(getpid(), tid, &status));
    close(ends[1]);
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    close(ends[0]);
    close(ends[2]);
    close(ends[3]);
}

/* Symbols of our own program and of libc, compared with where they are. */
static void test_image(void **state)
{
    struct process process;
    struct maps maps;
    struct image *image;
    struct image_range range;
    int gate;
    pid_t child = child_start(&gate);

    (void)state;
    assert_null(process_open(&process, child));
    assert_null(maps_read(&maps, child));
    const struct map *map = maps_find(&maps, address_of((uintptr_t)test_mark));
    assert_non_null(map);
    assert_null(image_open(&image, &process, map));
    assert_true(image_find_symbol(image, "test_mark", &range));
    assert_true(range.start.value == (uintptr_t)test_mark && range.size == sizeof(test_mark));
    assert_false(image_find_symbol(image, "no_such_symbol", &range));
    /* Defined elsewhere: not ours. */
    assert_false(image_find_symbol(image, "waitpid", &range));
    assert_true(image_find_section(image, ".data", &range));
    assert_true(range.start.value && range.size);
    assert_false(image_find_section(image, ".no-such-section", &range));
    image_close(image);

    map = maps_find(&maps, address_of((uintptr_t)&getpid));
    struct address found;
    unsigned char code[16];
    assert_non_null(map);
    assert_null(image_open(&image, &process, map));
    assert_true(image_find_symbol(image, "getpid", &range));
    assert_null(memory_read(&process.memory, range.start, code, sizeof(code)));
    assert_true(image_find_code(image, code, sizeof(code), ADDRESS_NULL, &found));
    unsigned char again[16];
    assert_null(memory_read(&process.memory, found, again, sizeof(again)));
    assert_memory_equal(code, again, sizeof(code));
    image_close(image);
    image_close(NULL);
    maps_deinit(&maps);
    process_close(&process);
    child_end(child, gate);
}

/* Neither the stack nor a file of text is an ELF file. */
static void test_no_image(void **state)
{
    struct process process;
    struct maps maps;
    struct image *image = NULL;
    int gate, local = 0;
    pid_t child = child_start(&gate);

    (void)state;
    assert_null(process_open(&process, child));
    assert_null(maps_read(&maps, child));
    const struct map *map = maps_find(&maps, address_of((uintptr_t)&local));
    if (map) { /* ASan may keep locals elsewhere */
        struct error *error = image_open(&image, &process, map);
        assert_non_null(error);
        error_destroy(error);
    }
    maps_deinit(&maps);
    process_close(&process);
    child_end(child, gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_and_read), cmocka_unit_test(test_write), cmocka_unit_test(test_zombie),
        cmocka_unit_test(test_no_process),    cmocka_unit_test(test_thread), cmocka_unit_test(test_image),
        cmocka_unit_test(test_no_image),
    };

    return cmocka_run_group_tests_name("attach process", tests, NULL, NULL);
}
