/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Staging: the mapping with the stub, the socket pair and the script's memory file,
 * made by system calls of the borrowed thread in one chain.
 *
 * The results can't be seen in its registers, since it is let go at once: they are
 * written to a page of ours in the target, mapped by the first step at a place
 * where nothing is and nothing will be put by chance (the middle of the largest gap).
 *
 *      mapping ->  | stub, agent's source (read, execute) |   STAGING_STUB only
 *                  | page of results      (read, write)   |
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "attach/scope.h"
#include "inject/internal.h"
#include "inject/stub.h"

#define STAGE_MEMFD_CLOEXEC 1u
#define STAGE_FIXED_NOREPLACE 0x100000
#define STAGE_WAIT_MS 3000
#define STAGE_CHAIN_MS 1000
#define STAGE_STACK (1 << 20) /* bytes of it that are searched: more than the stub and the compiler use */
#define STAGE_SOURCE_HEAD 512 /* room for the lines that stage_source() puts first */

/* ------------------------------------------------------------ descriptors */

static ino_t stage_inode(pid_t pid, int number)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, number);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

struct inject_descriptor stage_descriptor(const struct inject_request *request, int number)
{
    return (struct inject_descriptor){number, stage_inode(request->target->process->pid, number)};
}

bool stage_descriptor_is_ours(const struct inject_request *request, const struct inject_descriptor *descriptor)
{
    return descriptor->number >= 0 && descriptor->inode &&
           stage_inode(request->target->process->pid, descriptor->number) == descriptor->inode;
}

static struct error *stage_take(const struct inject_request *request, int number, int *fd)
{
    *fd = (int)syscall(SYS_pidfd_getfd, request->target->process->pidfd, number, 0);
    if (*fd < 0)
        return error_create_errno(ERROR_PERMISSION, errno, "can't take over a descriptor of process %d",
                                  request->target->process->pid);
    return NULL;
}

/* The memory file's name, by which it is found. */
static void stage_script_name(const struct inject_request *request, char *name, size_t size)
{
    snprintf(name, size, STAGE_SCRIPT_NAME "%016llx", (unsigned long long)request->id);
}

bool stage_is_script(const struct inject_request *request, int number)
{
    char path[64], link[96], wanted[96] = "/memfd:" STAGE_SCRIPT_NAME;

    if (request->id) /* else one of any request: a leftover */
        stage_script_name(request, wanted + 7, sizeof(wanted) - 7);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", request->target->process->pid, number);
    ssize_t length = readlink(path, link, sizeof(link) - 1);
    return length > 0 && !strncmp(link, wanted, strlen(wanted));
}

/* Most often the number after the socket pair's; else wherever it is. -1: nowhere. */
static int stage_find_script(const struct inject_request *request)
{
    char path[64];
    int found = -1;

    for (int number = request->theirs.number + 1; number <= request->theirs.number + 2; number++) {
        if (stage_is_script(request, number))
            return number;
    }
    snprintf(path, sizeof(path), "/proc/%d/fd", request->target->process->pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && found < 0 && (entry = readdir(directory));) {
        if (stage_is_script(request, atoi(entry->d_name)))
            found = atoi(entry->d_name);
    }
    if (directory)
        closedir(directory);
    return found;
}

/* -------------------------------------------------------- the first half */

/* A place in the middle half of the largest gap between two mappings: mmap() puts new
 * ones at the gaps' ends. */
static struct address stage_find_place(const struct maps *maps, size_t size)
{
    uint64_t best = 0, start = 0, random;

    for (size_t i = 0; i + 1 < maps->count; i++) {
        uint64_t gap = maps->entries[i + 1].start.value - maps->entries[i].end.value;

        if (gap <= best || maps->entries[i + 1].start.value >> 47)
            continue;
        best = gap;
        start = maps->entries[i].end.value;
    }
    if (best / 4 < size || getrandom(&random, sizeof(random), 0) != sizeof(random))
        return ADDRESS_NULL;
    return address_of((start + best / 4 + random % (best / 2 - size)) & ~(uint64_t)(STAGE_PAGE - 1));
}

static struct address stage_results_at(const struct inject_request *request)
{
    return address_add(request->mapping, request->stub_size);
}

static struct arch_step stage_map_step(struct address at, size_t size, int protection)
{
    return (struct arch_step){.is_syscall = true,
                              .target = (uint64_t)arch_native.nr.mmap,
                              .arguments = {at.value, size, (uint64_t)protection,
                                            MAP_PRIVATE | MAP_ANONYMOUS | STAGE_FIXED_NOREPLACE, (uint64_t)-1, 0}};
}

/* SEQPACKET: the reader sees the end when we die, and a writer gets EPIPE without
 * the SIGPIPE that a stream would send (a target may have it on default). */
static struct arch_step stage_socketpair_step(const struct inject_request *request)
{
    return (struct arch_step){
        .is_syscall = true,
        .target = (uint64_t)arch_native.nr.socketpair,
        .arguments = {AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
                      stage_results_at(request).value + offsetof(struct stage_results, pair)}};
}

static struct arch_step stage_memfd_step(const struct borrow *borrow)
{
    return (struct arch_step){.is_syscall = true,
                              .target = (uint64_t)arch_native.nr.memfd_create,
                              .arguments = {borrow->scratch.value, STAGE_MEMFD_CLOEXEC}};
}

static struct arch_step stage_clock_step(const struct inject_request *request, size_t field)
{
    return (struct arch_step){.is_syscall = true,
                              .target = (uint64_t)arch_native.nr.clock_gettime,
                              .arguments = {CLOCK_MONOTONIC, stage_results_at(request).value + field}};
}

struct arch_step stage_posted_step(const struct inject_request *request)
{
    return stage_clock_step(request, offsetof(struct stage_results, posted));
}

static struct error *stage_place(struct inject_stop *stop, enum inject_staging staging)
{
    struct inject_request *request = stop->request;
    size_t source = STAGE_SOURCE_HEAD + strlen(stop->options->source) +
                    (stop->options->preamble ? strlen(stop->options->preamble) : 0);
    size_t stub = (size_t)(stub_image_end - stub_image) + source + 1;

    request->stub_size = staging == STAGING_STUB ? (stub + STAGE_PAGE - 1) & ~(size_t)(STAGE_PAGE - 1) : 0;
    request->mapping_size = request->stub_size + STAGE_PAGE;
    request->mapping = stage_find_place(request->target->maps, request->mapping_size);
    if (!request->mapping.value)
        return error_create(ERROR_UNSUPPORTED, NULL, "the address space of process %d has no gap for a page of ours",
                            request->target->process->pid);
    return NULL;
}

struct error *stage_begin(struct inject_stop *stop, enum inject_staging staging)
{
    struct inject_request *request = stop->request;
    struct arch_step steps[BORROW_STEPS_MAX];
    char name[BORROW_SCRATCH_SIZE] = "";
    size_t count = 0;
    struct error *error = stage_place(stop, staging);

    if (error)
        return error;
    steps[count++] = stage_map_step(stage_results_at(request), STAGE_PAGE, PROT_READ | PROT_WRITE);
    if (staging == STAGING_STUB)
        steps[count++] = stage_map_step(request->mapping, request->stub_size, PROT_READ | PROT_EXEC);
    if (stop->options->pass_channel)
        steps[count++] = stage_socketpair_step(request);
    if (staging == STAGING_SCRIPT) {
        stage_script_name(request, name, sizeof(name));
        error = memory_write(&request->target->process->memory, stop->borrow.scratch, name, sizeof(name));
        if (error)
            return error;
        steps[count++] = stage_memfd_step(&stop->borrow);
    }
    steps[count++] = stage_clock_step(request, offsetof(struct stage_results, done));
    return borrow_chain(&stop->borrow, steps, count, ARCH_RESUME_SAME);
}

/* ------------------------------------------------------- the second half */

static void stage_nap(uint64_t waited)
{
    struct timespec nap = {0, waited < 200000 ? 5000 : 200000};

    nanosleep(&nap, NULL);
}

/* By SIGSTOP, say. It does its steps when it goes on. */
static bool stage_is_stopped(const struct process *process)
{
    struct process_status status;
    struct error *error = process_read_status(process->pid, 0, &status);
    bool stopped = !error && status.state == 'T';

    error_destroy(error);
    return stopped;
}

/* After so long: has the target ended, or no more time? */
static struct error *stage_check_wait(const struct process *process, uint64_t start, uint64_t deadline)
{
    uint64_t now = tracee_clock();
    bool late = now - start > STAGE_WAIT_MS * 1000000ULL;
    struct error *error = process_check(process);

    if (error || (!late && now < deadline))
        return error;
    if (stage_is_stopped(process)) {
        if (now < deadline)
            return NULL;
        return error_create(ERROR_NO_SAFE_POINT, "let it go on first: kill -CONT the process; the next safepoint clears away "
                            "what this one began", "process %d is stopped (SIGSTOP)", process->pid);
    }
    if (!late)
        return NULL;
    return error_create(ERROR_UNSUPPORTED, "it may be at a limit of its memory, or starved of processor time",
                        "process %d did not map a page for us", process->pid);
}

static struct error *stage_wait(const struct inject_request *request, uint64_t deadline, struct stage_results *results)
{
    const struct process *process = request->target->process;
    uint64_t start = tracee_clock();

    while (true) {
        uint64_t waited = tracee_clock() - start;
        struct error *error = memory_read(&process->memory, stage_results_at(request), results, sizeof(*results));

        if (error && error_code(error) != ERROR_FAULT)
            return error;
        if (!error && (results->done[0] || results->done[1]))
            return NULL;
        error_destroy(error); /* not mapped yet */
        if (waited > 50000000 && (error = stage_check_wait(process, start, deadline)))
            return error;
        stage_nap(waited);
    }
}

/* The agent's source, headed by what it must know: the channel with its inode, and
 * what it closes. free() it. */
static char *stage_source(const struct inject_request *request, const struct inject_options *options)
{
    char *text;
    int length = asprintf(&text, "CHANNEL = (%d, %llu)\nCLOSE = ((%d, %llu), (%d, %llu))\nREQUEST = %llu\n%s%s",
                          request->theirs.number, (unsigned long long)request->theirs.inode, request->ours.number,
                          (unsigned long long)request->ours.inode, request->script.number,
                          (unsigned long long)request->script.inode, (unsigned long long)request->id,
                          options->preamble ? options->preamble : "", options->source);

    return length < 0 ? NULL : text;
}

static struct error *stage_take_channel(struct inject_request *request, const struct stage_results *results)
{
    if (results->pair[0] == results->pair[1])
        return error_create(ERROR_UNSUPPORTED, "it may be at its limit of open files; try --channel directory",
                            "process %d can't make a socket pair", request->target->process->pid);
    request->ours = stage_descriptor(request, results->pair[0]);
    request->theirs = stage_descriptor(request, results->pair[1]);
    return stage_take(request, results->pair[0], &request->channel_fd);
}

static struct error *stage_write_script(struct inject_request *request, const struct inject_options *options)
{
    int number = stage_find_script(request);

    if (number < 0)
        return error_create(ERROR_UNSUPPORTED, "it may be at its limit of open files; try --channel directory",
                            "process %d can't make a memory file", request->target->process->pid);
    request->script = stage_descriptor(request, number);
    snprintf(request->script_path, sizeof(request->script_path), "/proc/self/fd/%d", number);

    scoped_fd int fd = -1;
    scoped_free char *source = stage_source(request, options);
    if (!source)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the agent");
    struct error *error = stage_take(request, number, &fd);
    size_t size = strlen(source);
    if (!error && pwrite(fd, source, size, 0) != (ssize_t)size)
        error = error_create_errno(ERROR_SYSTEM, errno, "can't write the agent into the target's memory file");
    return error;
}

/* In the order of inject/stub_*.S. */
static const char *const stub_functions[] = {
    "PyDict_New", "PyImport_AddModule", "PyDict_SetItemString", "PyRun_StringFlags", "Py_DecRef",
    "PyErr_Clear", "munmap",            "PyGILState_Ensure",    "PyGILState_Release",
};

struct error *stage_no_symbol(const struct inject_target *target, const char *name)
{
    return error_create(ERROR_UNSUPPORTED, "link it with -rdynamic, as python itself is",
                        "%s has no symbol %s: a program that holds Python and names none of its functions",
                        image_path(target->runtime->image), name);
}

static struct error *stage_find_functions(const struct inject_target *target, struct stub_header *header)
{
    for (size_t i = 0; i < sizeof(stub_functions) / sizeof(stub_functions[0]); i++) {
        struct image_range range = {target->code.munmap, 0};

        if (strcmp(stub_functions[i], "munmap") != 0 &&
            !image_find_symbol(target->runtime->image, stub_functions[i], &range))
            return stage_no_symbol(target, stub_functions[i]);
        header->functions[i] = range.start.value;
    }
    return NULL;
}

/* That the executable pages are there, and ours, is seen in the map: a write by force
 * (they aren't writable) must hit nobody else's. */
static struct error *stage_check_stub_pages(const struct inject_request *request)
{
    struct maps maps;
    struct error *error = maps_read(&maps, request->target->process->pid);

    if (error)
        return error;
    const struct map *map = maps_find(&maps, request->mapping);
    bool ours = map && map->start.value == request->mapping.value && map->executable && !map->writable &&
                !map->inode && map->end.value - map->start.value == request->stub_size;
    maps_deinit(&maps);
    if (!ours)
        return error_create(ERROR_UNSUPPORTED, "a security policy (SELinux execmem) or a limit on its memory forbids it",
                            "process %d can't map a page for code", request->target->process->pid);
    return NULL;
}

static struct error *stage_write_stub(struct inject_request *request, const struct inject_options *options)
{
    size_t template_size = (size_t)(stub_image_end - stub_image);
    struct stub_header header = {.size = request->mapping_size, .source = request->mapping.value + template_size};
    scoped_free char *source = stage_source(request, options);
    size_t source_size = source ? strlen(source) + 1 : 0;
    scoped_free unsigned char *bytes = malloc(template_size + source_size);
    struct error *error;

    if (!bytes || !source || template_size + source_size > request->stub_size)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the agent");
    if ((error = stage_find_functions(request->target, &header)) || (error = stage_check_stub_pages(request)))
        return error;
    memcpy(bytes, stub_image, template_size);
    memcpy(bytes, &header, sizeof(header));
    memcpy(bytes + template_size, source, source_size);
    error = memory_write(&request->target->process->memory, request->mapping, bytes, template_size + source_size);
    request->stub_written = !error;
    return error;
}

/* Is the thread still in the chain? Its mask says so. */
static bool stage_is_in_chain(const struct inject_request *request)
{
    struct process_status status;
    struct error *error = process_read_status(request->target->process->pid, request->thread.tid, &status);
    bool runs = !error && status.state != 'T' && process_blocks_all_signals(&status);

    error_destroy(error);
    return runs;
}

/* What the chain of a failed request has made after all, once it is done. */
static void stage_find_made(struct inject_request *request)
{
    uint64_t until = tracee_clock() + STAGE_CHAIN_MS * 1000000ULL;
    struct stage_results results;

    while (stage_is_in_chain(request) && tracee_clock() < until)
        stage_nap(0);
    struct error *error =
        memory_read(&request->target->process->memory, stage_results_at(request), &results, sizeof(results));

    if (!error && results.pair[0] != results.pair[1]) {
        request->ours = stage_descriptor(request, results.pair[0]);
        request->theirs = stage_descriptor(request, results.pair[1]);
    }
    error_destroy(error);
    int number = stage_find_script(request);
    if (number >= 0)
        request->script = stage_descriptor(request, number);
}

struct error *stage_finish(struct inject_request *request, const struct inject_options *options,
                           enum inject_staging staging)
{
    struct stage_results results;
    struct error *error = stage_wait(request, options->deadline, &results);

    if (error) {
        stage_find_made(request);
        return error;
    }
    if (options->pass_channel && (error = stage_take_channel(request, &results)))
        return error;
    return staging == STAGING_STUB ? stage_write_stub(request, options) : stage_write_script(request, options);
}

/* -------------------------------------------------------------- the stub */

bool stage_is_referenced(const struct inject_stop *stop)
{
    const struct inject_request *request = stop->request;
    struct address stack = address_of(arch_native.stack_pointer(&stop->borrow.state));
    const struct map *map = maps_find(request->target->maps, stack);
    size_t size = map ? map->end.value - stack.value : 0;
    bool found = false;

    size = (size < STAGE_STACK ? size : STAGE_STACK) / sizeof(uint64_t) * sizeof(uint64_t);
    scoped_free uint64_t *words = malloc(sizeof(stop->borrow.state.registers) + size);
    struct error *error = words && size ? memory_read(&request->target->process->memory, stack, words, size)
                                        : error_create(ERROR_SYSTEM, NULL, "no stack");
    if (error) {
        error_destroy(error);
        return true; /* for all we know */
    }
    memcpy(words + size / sizeof(uint64_t), stop->borrow.state.registers, sizeof(stop->borrow.state.registers));
    for (size_t i = 0; !found && i < (size + sizeof(stop->borrow.state.registers)) / sizeof(uint64_t); i++)
        found = words[i] - request->mapping.value < request->mapping_size;
    return found;
}

struct address stage_stub_entry(const struct inject_request *request, const unsigned char *entry)
{
    return address_add(request->mapping, (uint64_t)(entry - stub_image));
}

/* ------------------------------------------------------------------ removal */

/* An anonymous mapping of ours begins there, at a place that nobody else has drawn by lot. */
static bool stage_is_mapped(const struct inject_request *request, struct address at)
{
    struct maps maps;
    struct error *error = maps_read(&maps, request->target->process->pid);
    const struct map *map = error ? NULL : maps_find(&maps, at);
    bool mapped = map && map->start.value == at.value && !map->inode && !map->path[0];

    if (!error)
        maps_deinit(&maps);
    error_destroy(error);
    return mapped;
}

static bool stage_stub_is_left(const struct inject_request *request)
{
    size_t skip = sizeof(struct stub_header);
    unsigned char code[64];

    if (!request->stub_written)
        return stage_is_mapped(request, request->mapping);
    struct error *error =
        memory_read(&request->target->process->memory, address_add(request->mapping, skip), code, sizeof(code));
    error_destroy(error);
    return !error && !memcmp(code, stub_image + skip, sizeof(code));
}

bool stage_mapping_is_left(const struct inject_request *request)
{
    struct stage_results results;

    if (!request->mapping.value)
        return false;
    if (request->stub_size && stage_stub_is_left(request))
        return true;
    struct error *error =
        memory_read(&request->target->process->memory, stage_results_at(request), &results, sizeof(results));
    error_destroy(error);
    return !error && (results.done[0] || results.done[1] || stage_is_mapped(request, stage_results_at(request)));
}

bool stage_is_left(const struct inject_request *request)
{
    return stage_mapping_is_left(request) || stage_descriptor_is_ours(request, &request->theirs) ||
           stage_descriptor_is_ours(request, &request->ours) || stage_descriptor_is_ours(request, &request->script);
}

struct error *stage_remove(struct inject_stop *stop)
{
    const struct inject_request *request = stop->request;
    const struct inject_descriptor *const descriptors[] = {&request->script, &request->theirs, &request->ours};
    struct arch_step steps[BORROW_STEPS_MAX];
    size_t count = 0;

    if (stage_mapping_is_left(request))
        steps[count++] = (struct arch_step){.is_syscall = true,
                                            .target = (uint64_t)arch_native.nr.munmap,
                                            .arguments = {request->mapping.value, request->mapping_size}};
    for (size_t i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++) {
        if (stage_descriptor_is_ours(request, descriptors[i]))
            steps[count++] = (struct arch_step){.is_syscall = true,
                                                .target = (uint64_t)arch_native.nr.close,
                                                .arguments = {(uint64_t)descriptors[i]->number}};
    }
    /* What is repeated anyhow is woken: a signal may have been handled just before it is begun again. */
    return count ? borrow_chain(&stop->borrow, steps, count,
                                block_is_repeated(stop) ? ARCH_RESUME_EINTR : ARCH_RESUME_SAME) : NULL;
}
