/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The private directory: in our own root, and in that of a child whose root is a trap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/directory.h"

#define NOBODY 65534

static int connect_to(const struct directory *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/channel", directory->path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void assert_mode(const char *directory, const char *name, mode_t mode, uid_t owner)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
    assert_int_equal(st.st_uid, owner);
}

static void test_private(void **state)
{
    struct directory directory;
    char path[128];
    int fd;

    (void)state;
    umask(022);
    assert_null(directory_open(&directory, getpid(), 1234, geteuid(), getegid()));
    assert_mode(directory.path, "", 0700, geteuid());
    assert_mode(directory.path, "channel", 0600, geteuid());
    assert_int_equal(umask(022), 022);
    assert_null(directory_write_file(&directory, "agent.py", geteuid(), getegid(), "text", path, sizeof(path)));
    assert_mode(directory.path, "agent.py", 0600, geteuid());
    assert_null(directory_accept(&directory, getpid(), &fd));
    assert_int_equal(fd, -1);
    int ours = connect_to(&directory);
    assert_null(directory_accept(&directory, getpid(), &fd));
    assert_true(fd >= 0);
    close(fd);
    close(ours);
    snprintf(path, sizeof(path), "%s", directory.path);
    directory_close(&directory);
    assert_int_equal(access(path, F_OK), -1);
}

/* Who isn't the target is not let in. */
static void test_stranger(void **state)
{
    struct directory directory;
    int fd, status;

    (void)state;
    assert_null(directory_open(&directory, getpid(), 1234, geteuid(), getegid()));
    pid_t child = fork();
    if (!child) {
        connect_to(&directory);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_null(directory_accept(&directory, getpid(), &fd));
    assert_int_equal(fd, -1);
    directory_close(&directory);
}

static void test_given(void **state)
{
    struct directory directory;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_null(directory_open(&directory, getpid(), 1234, NOBODY, NOBODY));
    assert_mode(directory.path, "", 0700, NOBODY);
    assert_mode(directory.path, "channel", 0600, NOBODY);
    directory_close(&directory);
}

/* As when its owner is killed: the descriptors are closed, the rest stays. */
static void leave(struct directory *directory)
{
    close(directory->listen_fd);
    close(directory->fd);
    close(directory->parent_fd);
}

static void test_left(void **state)
{
    struct directory left, another;
    char path[128];

    (void)state;
    assert_null(directory_open(&left, getpid(), 1234, geteuid(), getegid()));
    assert_null(directory_write_file(&left, "agent.py", geteuid(), getegid(), "text", path, sizeof(path)));
    leave(&left);
    assert_int_equal(directory_clear(getpid(), 1235, geteuid()), 0); /* another process's */
    assert_int_equal(access(left.path, F_OK), 0);
    /* As long as it is there, a new one has another name. */
    assert_null(directory_open(&another, getpid(), 1234, geteuid(), getegid()));
    assert_string_not_equal(another.path, left.path);
    directory_close(&another);
    assert_int_equal(directory_clear(getpid(), 1234, geteuid()), 1);
    assert_int_equal(access(left.path, F_OK), -1);
    assert_int_equal(directory_clear(getpid(), 1234, geteuid()), 0);
}

/* A stranger's is left alone, whatever its name. */
static void test_left_by_a_stranger(void **state)
{
    struct directory left;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_null(directory_open(&left, getpid(), 1234, NOBODY, NOBODY));
    leave(&left);
    assert_int_equal(directory_clear(getpid(), 1234, NOBODY - 1), 0);
    assert_mode(left.path, "channel", 0600, NOBODY);
    assert_int_equal(directory_clear(getpid(), 1234, NOBODY), 1);
    assert_int_equal(access(left.path, F_OK), -1);
}

/* ------------------------------------------------------------------ a trap */

struct trap {
    char root[64];
    pid_t child;
    int gate;
};

static void trap_start(struct trap *trap)
{
    int ends[2], ready[2];
    char byte;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(ready), 0);
    trap->child = fork();
    if (!trap->child) {
        close(ends[1]);
        _exit(chroot(trap->root) || write(ready[1], "", 1) != 1 || read(ends[0], &byte, 1));
    }
    close(ends[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    trap->gate = ends[1];
}

static void trap_end(const struct trap *trap)
{
    int status;

    close(trap->gate);
    assert_int_equal(waitpid(trap->child, &status, 0), trap->child);
    assert_int_equal(status, 0);
}

static void trap_path(const struct trap *trap, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", trap->root, name);
}

/* The target's /tmp and /var are links into our root, its /run is a directory: that is used,
 * and where the links lead nothing is made. */
static void test_links(void **state)
{
    struct trap trap = {.root = "/tmp/safepoint-test-XXXXXX"};
    char path[96], outside[96];
    struct directory directory;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(trap.root));
    trap_path(&trap, "outside", outside, sizeof(outside));
    assert_int_equal(mkdir(outside, 0777), 0);
    trap_path(&trap, "tmp", path, sizeof(path));
    assert_int_equal(symlink(outside, path), 0);
    trap_path(&trap, "var", path, sizeof(path));
    assert_int_equal(symlink("/var", path), 0);
    trap_path(&trap, "run", path, sizeof(path));
    assert_int_equal(mkdir(path, 0755), 0);
    trap_start(&trap);
    assert_null(directory_open(&directory, trap.child, 1234, geteuid(), getegid()));
    assert_int_equal(strncmp(directory.path, "/run/safepoint-", 15), 0);
    directory_close(&directory);
    assert_int_equal(rmdir(path), 0);
    struct error *error = directory_open(&directory, trap.child, 1234, geteuid(), getegid());
    assert_non_null(error);
    assert_int_equal(error_code(error), ERROR_UNSUPPORTED);
    error_destroy(error);
    trap_end(&trap);
    assert_int_equal(rmdir(outside), 0); /* empty, still */
    trap_path(&trap, "tmp", path, sizeof(path));
    unlink(path);
    trap_path(&trap, "var", path, sizeof(path));
    unlink(path);
    assert_int_equal(rmdir(trap.root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_private),
        cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_left_by_a_stranger),
        cmocka_unit_test(test_links),
    };

    return cmocka_run_group_tests_name("protocol directory", tests, NULL, NULL);
}
