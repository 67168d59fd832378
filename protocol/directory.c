/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "attach/scope.h"

#define DIRECTORY_SOCKET "channel"

/* None of them by a symbolic link: those of the target's root would lead into ours. */
static const char *const directory_parents[] = {"tmp", "var/tmp", "dev/shm", "run"};

static struct error *directory_random_hex(char *text, size_t digits)
{
    unsigned char bytes[32];

    if (getrandom(bytes, digits / 2, 0) != (ssize_t)(digits / 2))
        return error_create_errno(ERROR_SYSTEM, errno, "no random numbers");
    for (size_t i = 0; i < digits / 2; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return NULL;
}

/* A directory of the target's root, component by component; -1 where one is a link. */
static int directory_open_parent(pid_t pid, const char *parent)
{
    char root[64], components[32], *rest = components, *name;

    snprintf(components, sizeof(components), "%s", parent);
    snprintf(root, sizeof(root), "/proc/%d/root", pid);
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && (name = strsep(&rest, "/"))) {
        int next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    return fd;
}

/* The mount that a descriptor's file is on; -1 when it can't be told. */
static long directory_mount(int fd)
{
    char path[64], line[128];
    long mount = -1;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "re");
    while (file && mount < 0 && fgets(line, sizeof(line), file))
        if (sscanf(line, "mnt_id: %ld", &mount) != 1)
            mount = -1;
    if (file)
        fclose(file);
    return mount;
}

static int directory_open_entry(const struct directory *directory)
{
    return openat(directory->parent_fd, directory->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Is it the one that we have just made? The target may have mounted another over it. */
static bool directory_is_ours(const struct directory *directory)
{
    struct stat st;
    long mount = directory_mount(directory->fd);

    return mount >= 0 && mount == directory_mount(directory->parent_fd) && fstat(directory->fd, &st) == 0 &&
           st.st_uid == geteuid() && (st.st_mode & 07777) == 0700;
}

/* Where somebody else has taken that name, a random one. */
static bool directory_make_entry(struct directory *directory)
{
    size_t length = strlen(directory->name);

    if (mkdirat(directory->parent_fd, directory->name, 0700) == 0)
        return true;
    if (errno != EEXIST || length + 18 > sizeof(directory->name))
        return false;
    directory->name[length] = '-';
    struct error *error = directory_random_hex(directory->name + length + 1, 16);
    error_destroy(error);
    return !error && mkdirat(directory->parent_fd, directory->name, 0700) == 0;
}

/* 0700, ours and new. */
static bool directory_make(struct directory *directory, pid_t pid, const char *parent)
{
    directory->parent_fd = directory_open_parent(pid, parent);
    if (directory->parent_fd < 0)
        return false;
    if (directory_make_entry(directory)) {
        directory->fd = directory_open_entry(directory);
        if (directory->fd >= 0 && directory_is_ours(directory)) {
            snprintf(directory->path, sizeof(directory->path), "/%s/%s", parent, directory->name);
            return true;
        }
        if (directory->fd >= 0)
            close(directory->fd);
        directory->fd = -1;
        unlinkat(directory->parent_fd, directory->name, AT_REMOVEDIR);
    }
    close(directory->parent_fd);
    directory->parent_fd = -1;
    return false;
}

/* bind() knows paths only: the descriptor's own, which is short and can't be moved. The
 * directory is given to the target's user last: as long as it is ours, nobody can
 * put something else in the socket's place. */
static struct error *directory_listen(struct directory *directory, uid_t uid, gid_t gid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool give = uid != geteuid() || gid != getegid();

    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" DIRECTORY_SOCKET, directory->fd);
    directory->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    bool bound = directory->listen_fd >= 0 &&
                 bind(directory->listen_fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    umask(mask);
    if (!bound || listen(directory->listen_fd, 4) < 0 ||
        (give && fchownat(directory->fd, DIRECTORY_SOCKET, uid, gid, AT_SYMLINK_NOFOLLOW) < 0) ||
        (give && fchown(directory->fd, uid, gid) < 0))
        return error_create_errno(ERROR_SYSTEM, errno, "can't make a socket in %s", directory->path);
    return NULL;
}

static struct error *directory_try(struct directory *directory, pid_t pid, const char *parent, uid_t uid, gid_t gid)
{
    struct error *error = NULL;

    if (directory_make(directory, pid, parent) && !(error = directory_listen(directory, uid, gid)))
        return NULL;
    if (!error)
        error = error_create(ERROR_UNSUPPORTED, "give it a writable /tmp, or a kernel with pidfd_getfd (5.6)",
                             "process %d has no directory in which we may put a socket", pid);
    directory_close(directory);
    return error;
}

static void directory_init(struct directory *directory, pid_t pid, uint64_t start_time)
{
    *directory = (struct directory){.parent_fd = -1, .fd = -1, .listen_fd = -1};
    snprintf(directory->name, sizeof(directory->name), "safepoint-%d-%llu", pid, (unsigned long long)start_time);
}

struct error *directory_open(struct directory *directory, pid_t pid, uint64_t start_time, uid_t uid, gid_t gid)
{
    char nonce[sizeof(directory->nonce)];
    struct error *error = directory_random_hex(nonce, sizeof(nonce) - 1);

    for (size_t i = 0; i < sizeof(directory_parents) / sizeof(directory_parents[0]); i++) {
        directory_init(directory, pid, start_time);
        memcpy(directory->nonce, nonce, sizeof(nonce));
        error_destroy(error);
        if (!(error = directory_try(directory, pid, directory_parents[i], uid, gid)))
            return NULL;
    }
    return error;
}

struct error *directory_write_file(struct directory *directory, const char *name, uid_t uid, gid_t gid,
                                   const char *text, char *path, size_t path_size)
{
    size_t size = strlen(text);
    scoped_fd int fd = openat(directory->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    snprintf(path, path_size, "%s/%s", directory->path, name);
    if (fd < 0 || (uid != geteuid() && fchown(fd, uid, gid) < 0) || write(fd, text, size) != (ssize_t)size)
        return error_create_errno(ERROR_SYSTEM, errno, "can't write %s", path);
    return NULL;
}

void directory_preamble(const struct directory *directory, char *lines, size_t size)
{
    snprintf(lines, size, "CONNECT = lambda: connect(\"%s/" DIRECTORY_SOCKET "\")\nNONCE = b\"%s\"\n", directory->path,
             directory->nonce);
}

struct error *directory_accept(struct directory *directory, pid_t pid, int *fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    *fd = accept4(directory->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (*fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED)
            return NULL;
        return error_create_errno(ERROR_SYSTEM, errno, "can't accept the target's connection");
    }
    if (getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == pid)
        return NULL;
    close(*fd);
    *fd = -1;
    return NULL;
}

static void directory_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void directory_close(struct directory *directory)
{
    directory_close_fd(&directory->listen_fd);
    if (directory->fd >= 0) {
        unlinkat(directory->fd, DIRECTORY_SOCKET, 0);
        unlinkat(directory->fd, "agent.py", 0);
    }
    directory_close_fd(&directory->fd);
    if (directory->parent_fd >= 0)
        unlinkat(directory->parent_fd, directory->name, AT_REMOVEDIR);
    directory_close_fd(&directory->parent_fd);
}

unsigned directory_clear(pid_t pid, uint64_t start_time, uid_t uid)
{
    unsigned cleared = 0;

    for (size_t i = 0; i < sizeof(directory_parents) / sizeof(directory_parents[0]); i++) {
        struct directory left;
        struct stat st;

        directory_init(&left, pid, start_time);
        left.parent_fd = directory_open_parent(pid, directory_parents[i]);
        left.fd = left.parent_fd < 0 ? -1 : directory_open_entry(&left);
        if (left.fd >= 0 && fstat(left.fd, &st) == 0 && (st.st_uid == uid || st.st_uid == geteuid()) &&
            directory_mount(left.fd) == directory_mount(left.parent_fd)) {
            directory_close(&left);
            cleared++;
        }
        directory_close_fd(&left.fd);
        directory_close_fd(&left.parent_fd);
    }
    return cleared;
}
