/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What one of us that was killed has left in the target. The caller holds the process's
 * lock, so nobody is at work on it. What a killed request had reached is told by
 * what lies there, at every instant of its life:
 *
 *   a page of results, `posted` 0     staged and not posted: nobody will run it. Removed. (The
 *                                     target itself writes `posted`, as the first step
 *                                     of the chain that posts a stub.)
 *   a page of results, `posted` set   the stub waits or runs, and removes itself
 *   a memory file, a thread armed     the script waits for its safe point: taken back and removed
 *   with its path
 *   a memory file, nobody armed       its agent begins, and closes it first of all. When it stays, nobody
 *                                     will: removed
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "attach/scope.h"
#include "inject/internal.h"

#define LEFTOVERS_MAX 64
/* A memory file that nobody is armed with may have been taken just now. */
#define LEFTOVERS_PATIENCE_US 50000
#define LEFTOVERS_CHAIN_MS 500
/* Descriptors looked at: new ones get the lowest free number. */
#define LEFTOVERS_DESCRIPTORS_MAX 1024

/* ------------------------------------------------------------------- a page */

static bool leftover_is_socket(pid_t pid, int number)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, number);
    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* One anonymous page far from all others (but for the stub's right before it)... */
static bool leftover_is_lone_page(const struct maps *maps, size_t index)
{
    const struct map *map = &maps->entries[index];

    return !map->inode && map->writable && !map->executable && !map->path[0] &&
           map->end.value - map->start.value == STAGE_PAGE &&
           (index + 1 == maps->count || maps->entries[index + 1].start.value - map->end.value >= 1 << 20);
}

/* ...with a pair of sockets, a time of this boot, and nothing else. */
static bool leftover_read_results(const struct inject_target *target, struct address at,
                                  struct stage_results *results)
{
    struct {
        struct stage_results results;
        unsigned char rest[STAGE_PAGE - sizeof(struct stage_results)];
    } page;
    static const unsigned char nothing[sizeof(page.rest)];
    struct timespec now;
    struct error *error = memory_read(&target->process->memory, at, &page, sizeof(page));

    error_destroy(error);
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (error || page.results.done[0] > (uint64_t)now.tv_sec || page.results.done[1] >= 1000000000 ||
        !(page.results.done[0] || page.results.done[1]) || memcmp(page.rest, nothing, sizeof(nothing)) != 0)
        return false;
    *results = page.results;
    return results->pair[0] == results->pair[1] || (leftover_is_socket(target->process->pid, results->pair[0]) &&
                                                    leftover_is_socket(target->process->pid, results->pair[1]));
}

/* Is some thread still in a chain of ours? */
static bool leftovers_chain_runs(pid_t pid)
{
    scoped_free pid_t *tids = NULL;
    size_t count;
    struct error *error = process_list_threads(pid, &tids, &count);
    bool runs = false;

    for (size_t i = 0; !error && i < count && !runs; i++)
        runs = process_runs_chain(pid, tids[i]);
    error_destroy(error);
    return runs;
}

bool leftovers_await_chain(pid_t pid)
{
    const struct timespec nap = {0, 1000000};
    int naps = 0;

    while (leftovers_chain_runs(pid) && naps++ < LEFTOVERS_CHAIN_MS)
        nanosleep(&nap, NULL);
    return naps <= LEFTOVERS_CHAIN_MS;
}

/* Describes the request whose page this lone one is; false where it is none, or posted. */
static bool leftover_take_page(struct inject_request *request, size_t index)
{
    const struct map *map = &request->target->maps->entries[index], *before = map - 1;
    struct stage_results results;

    if (!leftover_read_results(request->target, map->start, &results) ||
        !leftovers_await_chain(request->target->process->pid) ||
        !leftover_read_results(request->target, map->start, &results) || results.posted[0] || results.posted[1])
        return false;
    bool stub = before->end.value == map->start.value && before->executable && !before->inode;
    request->mapping = stub ? before->start : map->start;
    request->stub_size = stub ? before->end.value - before->start.value : 0;
    request->mapping_size = request->stub_size + STAGE_PAGE;
    if (results.pair[0] != results.pair[1]) {
        request->ours = stage_descriptor(request, results.pair[0]);
        request->theirs = stage_descriptor(request, results.pair[1]);
    }
    return true;
}

/* ------------------------------------------------------------ a memory file */

/* What stage_source() wrote first: the descriptors of its request. An empty file is alone. */
static void leftover_read_script(struct inject_request *request, int number)
{
    unsigned long long inodes[3];
    int numbers[3];
    char path[64], text[512];

    request->script = stage_descriptor(request, number);
    snprintf(request->script_path, sizeof(request->script_path), "/proc/self/fd/%d", number);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", request->target->process->pid, number);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    if (sscanf(text, "CHANNEL = (%d, %llu)\nCLOSE = ((%d, %llu), (%d, %llu))", &numbers[0], &inodes[0], &numbers[1],
               &inodes[1], &numbers[2], &inodes[2]) != 6 || numbers[2] != number)
        return;
    request->theirs = (struct inject_descriptor){numbers[0], inodes[0]};
    request->ours = (struct inject_descriptor){numbers[1], inodes[1]};
}

/* Takes it back where a thread is armed with it; removes it when nobody will. */
static struct error *leftover_end_script(struct inject_request *request, bool *cleared)
{
    const struct timespec patience = {0, LEFTOVERS_PATIENCE_US * 1000};
    bool armed, taken;
    struct error *error = debugger_find_armed(request, &armed);

    *cleared = false;
    if (error)
        return error;
    if (armed) {
        request->posted = true;
        error = inject_withdraw(request, &taken);
        *cleared = !error && !taken && !request->left;
        return error;
    }
    nanosleep(&patience, NULL);
    if (!stage_is_left(request) || (error = debugger_find_armed(request, &armed)) || armed)
        return error;
    *cleared = true;
    return inject_remove(request);
}

static struct error *leftover_clear_scripts(const struct inject_target *target, unsigned *cleared)
{
    const struct inject_options options = {0};
    char path[64];
    struct error *error = NULL;
    unsigned looked = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", target->process->pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && !error && looked++ < LEFTOVERS_DESCRIPTORS_MAX &&
                               (entry = readdir(directory));) {
        struct inject_request leftover = {.target = target};
        int number = atoi(entry->d_name);
        bool gone;

        if (!stage_is_script(&leftover, number))
            continue;
        inject_request_init(&leftover, target, &options);
        leftover_read_script(&leftover, number);
        error = leftover_end_script(&leftover, &gone);
        *cleared += !error && gone;
    }
    if (directory)
        closedir(directory);
    return error;
}

/* ----------------------------------------------------------------- public */

struct error *inject_clear_leftovers(const struct inject_target *target, unsigned *cleared)
{
    const struct inject_options options = {0};
    struct error *error = NULL;

    *cleared = 0;
    for (size_t i = 1; !error && i < target->maps->count && *cleared < LEFTOVERS_MAX; i++) {
        struct inject_request leftover;

        if (!leftover_is_lone_page(target->maps, i))
            continue;
        inject_request_init(&leftover, target, &options);
        if (!leftover_take_page(&leftover, i))
            continue;
        error = inject_remove(&leftover);
        *cleared += !error;
    }
    return error ? error : leftover_clear_scripts(target, cleared);
}
