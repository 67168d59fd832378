/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/borrow.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "attach/image.h"
#include "attach/scope.h"
#include "attach/syscalls.h"

/* What must be free below the frame: the deepest thing run there is a lazily
 * bound call, whose resolver saves the vector registers. */
#define BORROW_STACK_ROOM 32768

/* How far up the stack the caller of a blocked system call is looked for: the C
 * library's own frames and the caller's. */
#define BORROW_CALLER_WORDS 64

/* A target can map more files than there is time to search. */
#define BORROW_SEARCH_NS (UINT64_C(10) * 1000 * 1000 * 1000)

#define BORROW_GET_RSEQ_CONFIGURATION 0x420f

/* ------------------------------------------------------------ code to use */

static void borrow_search_function(const struct image *image, const char *name, struct address *found)
{
    struct image_range range;

    if (!found->value && image_find_symbol(image, name, &range))
        *found = range.start;
}

static void borrow_search_image(struct borrow_code *code, const struct process *process, const struct map *map)
{
    struct image *image;
    struct error *error = image_open(&image, process, map);

    if (error) {
        error_destroy(error);
        return;
    }
    /* The C libraries have their trampoline beside what installs it. */
    struct image_range near = {ADDRESS_NULL, 0};
    image_find_symbol(image, "sigaction", &near);
    if (!code->places.syscall.value)
        image_find_code(image, arch_native.syscall_code.bytes, arch_native.syscall_code.size, near.start,
                        &code->places.syscall);
    if (!code->places.sigreturn.value)
        image_find_code(image, arch_native.sigreturn_code.bytes, arch_native.sigreturn_code.size, near.start,
                        &code->places.sigreturn);
    borrow_search_function(image, "munmap", &code->munmap);
    borrow_search_function(image, "abs", &code->abs);
    borrow_search_function(image, "raise", &code->raise);
    image_close(image);
}

static bool borrow_is_libc(const struct map *map)
{
    const char *name = map_basename(map);

    return !strncmp(name, "libc.so", 7) || !strncmp(name, "libc-", 5) || !strncmp(name, "ld-musl", 7);
}

struct error *borrow_find_code(struct borrow_code *code, const struct process *process, const struct maps *maps)
{
    uint64_t until = tracee_clock() + BORROW_SEARCH_NS;

    *code = (struct borrow_code){0};
    arch_native.prepare();
    for (int any_file = 0; any_file <= 1; any_file++) {
        for (size_t i = 0; i < maps->count && tracee_clock() < until; i++) {
            const struct map *map = &maps->entries[i];

            if (!map->executable || !map->inode || (!any_file && !borrow_is_libc(map)))
                continue;
            borrow_search_image(code, process, map);
            if (code->places.syscall.value && code->places.sigreturn.value && code->munmap.value && code->abs.value)
                return NULL;
        }
    }
    return error_create(ERROR_UNSUPPORTED, NULL, "no C library that we know how to use is mapped in process %d",
                        process->pid);
}

/* Threads and the loader belong to the C library, whatever file they are in. */
static bool borrow_is_system_code(const struct map *map)
{
    const char *name = map_basename(map);

    return borrow_is_libc(map) || !strncmp(name, "libpthread", 10) || !strncmp(name, "ld-", 3) || name[0] == '[';
}

bool borrow_pauses(const struct borrow *borrow)
{
    return borrow->blocked == ARCH_RESTARTS && borrow->blocked_number == arch_native.nr.pause;
}

/* In the rt_sigsuspend() that stands for a pause(), the caller's stack is where our frame says. */
static struct address borrow_callers_stack(const struct borrow *borrow)
{
    struct address stack = address_of(arch_native.stack_pointer(&borrow->state));
    uint64_t callers;

    if (borrow->blocked_number != arch_native.nr.rt_sigsuspend ||
        borrow->blocked_arguments[0] != stack.value + arch_native.frame_mask)
        return stack;
    struct error *error =
        memory_read_u64(&borrow->process->memory, address_add(stack, arch_native.frame_stack), &callers);
    if (!error)
        return address_of(callers);
    error_destroy(error);
    return stack;
}

size_t borrow_find_callers(const struct borrow *borrow, const struct maps *maps, const struct map **callers,
                           size_t room)
{
    uint64_t words[BORROW_CALLER_WORDS];
    unsigned char before[8];
    struct address stack = borrow_callers_stack(borrow);
    const struct memory *memory = &borrow->process->memory;
    struct error *error = memory_read(memory, stack, words, sizeof(words));
    size_t count = 0;

    for (size_t i = 0; !error && count < room && i < BORROW_CALLER_WORDS; i++) {
        const struct map *map = maps_find(maps, address_of(words[i]));

        if (!map || !map->executable || borrow_is_system_code(map))
            continue;
        error = memory_read(memory, address_of(words[i] - sizeof(before)), before, sizeof(before));
        if (!error && arch_native.follows_call(before))
            callers[count++] = map;
    }
    error_destroy(error);
    return count;
}

/* --------------------------------------------------------------- may we? */

/* A thread in a restartable sequence must not be moved: the kernel would not
 * know that it has to abort it. */
static struct error *borrow_check_rseq(const struct borrow *borrow)
{
    struct {
        uint64_t area;
        uint32_t size, signature, flags, pad;
    } configuration = {0};
    uint64_t critical_section = 0;

    if (ptrace((enum __ptrace_request)BORROW_GET_RSEQ_CONFIGURATION, borrow->tracee->tid, sizeof(configuration),
               &configuration) < 0 || !configuration.area)
        return NULL; /* a kernel without it, or a thread without one */
    struct error *error =
        memory_read_u64(&borrow->process->memory, address_of(configuration.area + 8), &critical_section);
    if (error)
        return error;
    if (critical_section)
        return error_create(ERROR_BUSY, NULL, "thread %d is in a restartable sequence", borrow->tracee->tid);
    return NULL;
}

/* Under a filter a system call of ours may kill the process: its filters are read, and asked before each. */
static struct error *borrow_read_filters(struct borrow *borrow, const struct borrow_limits *limits)
{
    borrow->filters.count = 0;
    if (!limits->seccomp)
        return NULL;
    return error_with_hint(seccomp_read(&borrow->filters, borrow->tracee->tid),
                           "run safepoint as root on the host, outside of any seccomp filter of its own");
}

enum seccomp_answer borrow_ask(const struct borrow *borrow, long number, const uint64_t arguments[6])
{
    return seccomp_ask(&borrow->filters, number, arguments,
                       borrow->code.places.syscall.value + arch_native.syscall_code.size - 1);
}

void borrow_deinit(struct borrow *borrow)
{
    seccomp_deinit(&borrow->filters);
}

/* The caller has chosen calls that are allowed; this is the last gate. */
static struct error *borrow_check_steps(const struct borrow *borrow, const struct arch_step *steps, size_t count)
{
    static const uint64_t nothing[6];
    long refused = borrow_ask(borrow, SYS_rt_sigreturn, nothing) == SECCOMP_ALLOWED ? -1 : SYS_rt_sigreturn;

    for (size_t i = 0; i < count && refused < 0; i++) {
        if (steps[i].is_syscall && borrow_ask(borrow, (long)steps[i].target, steps[i].arguments) == SECCOMP_DEADLY)
            refused = (long)steps[i].target;
    }
    if (refused < 0)
        return NULL;
    return error_create(ERROR_UNSUPPORTED, NULL, "the seccomp filter of process %d would kill it for %s",
                        borrow->process->pid, syscall_name(refused));
}

struct error *borrow_read_limits(struct borrow_limits *limits, const struct process *process, pid_t tid)
{
    scoped_free char *text = NULL;
    size_t length;
    char name[64];

    *limits = (struct borrow_limits){0};
    snprintf(name, sizeof(name), "task/%d/status", tid);
    struct error *error = process_read_file(process->pid, name, &text, &length);
    if (error)
        return error;
    const char *seccomp = process_status_field(text, "Seccomp");
    limits->seccomp = seccomp && atoi(seccomp) != 0;
    const char *features = process_status_field(text, "x86_Thread_features");
    const char *end = features ? strchr(features, '\n') : NULL;
    const char *shadow = features ? strstr(features, "shstk") : NULL;
    if (shadow && end && shadow < end)
        return error_create(ERROR_UNSUPPORTED, "start the target without GLIBC_TUNABLES=glibc.cpu.x86_shstk=on",
                            "thread %d has a shadow stack, which our frame doesn't fit", tid);
    return NULL;
}

/* The stack that the thread was made with: the process's own, or the mapping that holds
 * its thread block too. Others (a signal stack, a coroutine's) may be small and
 * have other data below them. */
static bool borrow_is_own_stack(const struct borrow *borrow, const struct map *map)
{
    uint64_t thread_block = arch_native.thread_pointer(&borrow->state);

    return !strcmp(map->path, "[stack]") || !thread_block ||
           (thread_block >= map->start.value && thread_block < map->end.value);
}

/* Where the frame goes, and whether the whole of it lies in the mapping that holds
 * the stack pointer, clear of what is below. */
static struct error *borrow_place(struct borrow *borrow, const struct maps *maps)
{
    uint64_t stack = arch_native.stack_pointer(&borrow->state);
    uint64_t top = (stack - arch_native.red_zone - BORROW_SCRATCH_SIZE) & ~63ULL;
    uint64_t frame = ((top - arch_native.frame_size(&borrow->state)) & ~15ULL) - 16 + arch_native.frame_skew;
    uint64_t lowest = frame - BORROW_STEPS_MAX * arch_native.step_size - BORROW_STACK_ROOM;
    const struct map *map = maps_find(maps, address_of(stack));

    if (!map || !map->writable || lowest < map->start.value || lowest > stack)
        return error_create(ERROR_BUSY, NULL, "thread %d has no room on its stack just now", borrow->tracee->tid);
    if (!borrow_is_own_stack(borrow, map))
        return error_create(ERROR_BUSY, NULL, "thread %d isn't on its own stack just now", borrow->tracee->tid);
    borrow->scratch = address_of(top);
    borrow->frame = address_of(frame);
    return NULL;
}

struct error *borrow_inspect(struct borrow *borrow, const struct process *process, struct tracee *tracee,
                             const struct maps *maps, const struct borrow_code *code,
                             const struct borrow_limits *limits)
{
    struct error *error;

    borrow->process = process;
    borrow->tracee = tracee;
    borrow->code = *code;
    borrow->blocked_number = -1;
    borrow->filters.count = 0;
    if (tracee->group_stopped)
        return error_create(ERROR_BUSY, "let it go on first: kill -CONT the process", "process %d is stopped (SIGSTOP)",
                            process->pid);
    if ((error = arch_native.read_state(tracee->tid, &borrow->state)))
        return error;
    borrow->blocked = arch_native.blocked(&borrow->state, &borrow->blocked_number, borrow->blocked_arguments);
    borrow->blocked_number = syscall_unrestarted(borrow->blocked_number, borrow->blocked_arguments);
    if ((error = borrow_place(borrow, maps)) || (error = borrow_check_rseq(borrow)))
        return error;
    return borrow_read_filters(borrow, limits);
}

/* ------------------------------------------------------------- running */

/* Frames from the lowest (step 2's) up; the thread's own state is the highest. */
static void borrow_build(const struct borrow *borrow, const struct arch_step *steps, size_t count,
                         enum arch_resume resume, unsigned char *bytes)
{
    struct address at = address_of(borrow->frame.value - (count - 1) * arch_native.step_size);

    for (size_t i = 1; i < count; i++) {
        at = address_add(at, arch_native.step_size);
        arch_native.build_step(&borrow->state, &steps[i], at, &borrow->code.places, bytes);
        bytes += arch_native.step_size;
    }
    arch_native.build_frame(&borrow->state, borrow->frame, &borrow->code.places, resume, bytes);
}

/* Takes the step back, in the same stop: the thread hasn't run yet, so this is no restoring behind
 * its back, and our death before it only leaves the chain to be done. */
static void borrow_point_back(const struct borrow *borrow)
{
    struct iovec registers = {(void *)(uintptr_t)borrow->state.registers, borrow->state.register_size};

    ptrace(PTRACE_SETREGSET, borrow->tracee->tid, NT_PRSTATUS, &registers);
}

static struct error *borrow_lay(struct borrow *borrow, const struct arch_step *steps, size_t count,
                                enum arch_resume resume)
{
    size_t below = (count - 1) * arch_native.step_size, size = below + arch_native.frame_size(&borrow->state);
    struct address first = address_of(borrow->frame.value - below);
    const uint64_t blocked = arch_step_mask(&borrow->state, &steps[0]);
    pid_t tid = borrow->tracee->tid;
    scoped_free unsigned char *bytes = malloc(size);
    struct error *error;

    if (!bytes)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a frame");
    if ((error = borrow_check_steps(borrow, steps, count)))
        return error;
    borrow_build(borrow, steps, count, resume, bytes);
    if ((error = memory_write(&borrow->process->memory, first, bytes, size)) ||
        (error = arch_native.point_at_step(tid, &borrow->state, &steps[0], first, &borrow->code.places)))
        return error;
    /* Only now that the frames are sure to bring the mask back. */
    if (!steps[0].own_signal_mask && ptrace(PTRACE_SETSIGMASK, tid, sizeof(blocked), &blocked) < 0) {
        error = error_create_errno(ERROR_SYSTEM, errno, "can't block the signals of thread %d", tid);
        borrow_point_back(borrow);
    }
    return error;
}

struct error *borrow_chain(struct borrow *borrow, const struct arch_step *steps, size_t count,
                           enum arch_resume resume)
{
    const struct arch_step suspend = {
        .is_syscall = true,
        .target = (uint64_t)arch_native.nr.rt_sigsuspend,
        .arguments = {borrow->frame.value + arch_native.frame_mask, sizeof(borrow->state.signal_mask)}};
    struct arch_step more[BORROW_STEPS_MAX];

    if (count >= BORROW_STEPS_MAX)
        return error_create(ERROR_SYSTEM, NULL, "no room for a chain of %zu steps", count);
    if (resume != ARCH_RESUME_SAME || !borrow_pauses(borrow) ||
        borrow_ask(borrow, (long)suspend.target, suspend.arguments) != SECCOMP_ALLOWED)
        return borrow_lay(borrow, steps, count, resume);
    memcpy(more, steps, count * sizeof(*steps));
    more[count] = suspend;
    return borrow_lay(borrow, more, count + 1, ARCH_RESUME_EINTR);
}
