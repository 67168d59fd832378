/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/unwind.h"

#include <elfutils/libdwfl.h>
#include <stdlib.h>
#include <string.h>

#include "attach/arch/arch.h"
#include "attach/core.h"
#include "attach/image.h"
#include "attach/scope.h"

#define STACK_MAX  (8u << 20)
#define PIECE_FIRST (16u << 10)
#define FRAMES_MAX 65536
#define VDSO_MAX   (64u << 10)

struct unwinder {
    const struct process *process;
    const struct maps *maps;
    Dwfl *dwfl;
    const struct unwind_copy *copy; /* whose turn it is */
    char *vdso;                     /* the kernel's own file, from the target's memory */
};

struct walk {
    struct unwinder *unwinder;
    struct unwind_frame *frames;
    size_t count, room;
    bool failed; /* out of memory */
};

static struct error *explain(const char *what)
{
    const char *why = dwfl_errmsg(-1);

    return error_create(ERROR_SYSTEM, NULL, "%s: %s", what, why ? why : "unknown");
}

/* ------------------------------------------------------------------- the files */

/* The kernel's vdso is a whole file in memory. */
static Elf *open_vdso(struct unwinder *unwinder, const struct map *map)
{
    size_t size = (size_t)(map->end.value - map->start.value);

    if (size > VDSO_MAX || unwinder->vdso || !(unwinder->vdso = malloc(size)))
        return NULL;
    struct error *error = memory_read(&unwinder->process->memory, map->start, unwinder->vdso, size);
    error_destroy(error);
    return error ? NULL : elf_memory(unwinder->vdso, size);
}

/* Called when a module is needed for the first time. */
static int find_elf(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, char **file_name, Elf **elf)
{
    struct unwinder *unwinder = *data;
    const struct map *map = maps_find(unwinder->maps, address_of(base));

    (void)module, (void)name, (void)file_name;
    if (!map)
        return -1;
    if (!strcmp(map->path, "[vdso]")) {
        *elf = open_vdso(unwinder, map);
        return -1;
    }
    return image_open_file(unwinder->process, map);
}

/* Separate debug files are not looked for: what the file itself has must do. */
static int find_no_debug(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file_name,
                         const char *link, GElf_Word crc, char **debug_name)
{
    (void)module, (void)data, (void)name, (void)base, (void)file_name, (void)link, (void)crc, (void)debug_name;
    return -1;
}

static const Dwfl_Callbacks unwinder_callbacks = {.find_elf = find_elf, .find_debuginfo = find_no_debug};

static bool is_same_file(const struct map *a, const struct map *b)
{
    return a->inode == b->inode && a->device_major == b->device_major && a->device_minor == b->device_minor &&
           !strcmp(a->path, b->path);
}

/* A file's mappings follow each other, the one of its begin first. The end of the last of them, from `first` on. */
static size_t find_file_end(const struct maps *maps, size_t first)
{
    size_t last = first;

    for (size_t i = first + 1; i < maps->count; i++) {
        bool same = is_same_file(&maps->entries[i], &maps->entries[first]);

        if (!same && maps->entries[i].path[0])
            break;
        if (same && maps->entries[i].offset == 0)
            break;
        if (same)
            last = i;
    }
    return last;
}

static bool begins_file(const struct map *map)
{
    return !strcmp(map->path, "[vdso]") || (map->path[0] == '/' && map->offset == 0 && map->inode);
}

static bool has_code(const struct maps *maps, size_t first, size_t last)
{
    for (size_t i = first; i <= last; i++) {
        if (maps->entries[i].executable)
            return true;
    }
    return false;
}

static void report_modules(struct unwinder *unwinder)
{
    const struct maps *maps = unwinder->maps;

    dwfl_report_begin(unwinder->dwfl);
    for (size_t i = 0; i < maps->count; i++) {
        if (!begins_file(&maps->entries[i]))
            continue;
        size_t last = find_file_end(maps, i);
        if (!has_code(maps, i, last))
            continue;
        Dwfl_Module *module = dwfl_report_module(unwinder->dwfl, map_basename(&maps->entries[i]),
                                                 maps->entries[i].start.value, maps->entries[last].end.value);
        void **data;
        if (module && dwfl_module_info(module, &data, NULL, NULL, NULL, NULL, NULL, NULL))
            *data = unwinder;
        i = last;
    }
    dwfl_report_end(unwinder->dwfl, NULL, NULL);
}

/* ------------------------------------------------------------------ the thread */

static pid_t next_thread(Dwfl *dwfl, void *context, void **thread)
{
    (void)dwfl, (void)context, (void)thread;
    return 0;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *context, void **thread)
{
    (void)dwfl, (void)tid;
    *thread = context;
    return true;
}

static bool read_word(Dwfl *dwfl, Dwarf_Addr at, Dwarf_Word *word, void *context)
{
    const struct unwinder *unwinder = context;
    const struct unwind_copy *copy = unwinder->copy;
    uint64_t value;

    (void)dwfl;
    if (at >= copy->start && at - copy->start < copy->size && copy->size - (at - copy->start) >= sizeof(value)) {
        memcpy(&value, copy->bytes + (at - copy->start), sizeof(value));
    } else {
        struct error *error = memory_read_u64(&unwinder->process->memory, address_of(at), &value);
        error_destroy(error);
        if (error)
            return false;
    }
    *word = value;
    return true;
}

static bool set_registers(Dwfl_Thread *thread, void *context)
{
    const struct unwinder *unwinder = context;
    const struct unwind_copy *copy = unwinder->copy;

    dwfl_thread_state_register_pc(thread, copy->counter);
    return dwfl_thread_state_registers(thread, 0, (unsigned)copy->register_count, copy->registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
    .next_thread = next_thread,
    .get_thread = get_thread,
    .memory_read = read_word,
    .set_initial_registers = set_registers,
};

struct error *unwinder_create(struct unwinder **created, const struct process *process, const struct maps *maps)
{
    struct unwinder *unwinder = calloc(1, sizeof(*unwinder));

    *created = NULL;
    if (!unwinder)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the C stacks");
    unwinder->process = process;
    unwinder->maps = maps;
    unwinder->dwfl = dwfl_begin(&unwinder_callbacks);
    if (unwinder->dwfl)
        report_modules(unwinder);
    if (!unwinder->dwfl || !dwfl_attach_state(unwinder->dwfl, NULL, process->pid, &thread_callbacks, unwinder)) {
        struct error *error = explain("the C stacks can't be read");
        unwinder_destroy(unwinder);
        return error;
    }
    *created = unwinder;
    return NULL;
}

void unwinder_destroy(struct unwinder *unwinder)
{
    if (!unwinder)
        return;
    if (unwinder->dwfl)
        dwfl_end(unwinder->dwfl);
    free(unwinder->vdso);
    free(unwinder);
}

/* --------------------------------------------------------------------- the copy */

/* Where the stack that holds `top` may end. The C library keeps a thread's descriptor at the end of its stack; the
 * mapping can go on, with the next thread's. */
static uint64_t find_stack_end(const struct unwinder *unwinder, const struct arch_state *state, uint64_t top)
{
    const struct map *map = maps_find(unwinder->maps, address_of(top));
    uint64_t descriptor = arch_native.thread_pointer(state);
    /* A thread that is newer than the maps has a descriptor too. */
    uint64_t end = map ? map->end.value : descriptor;

    if (descriptor > top && descriptor < end)
        end = descriptor;
    return end > top && end - top < STACK_MAX ? end : top + STACK_MAX;
}

/* Copies from copy->start on as far as there is memory. */
static struct error *copy_stack(const struct unwinder *unwinder, uint64_t end, struct unwind_copy *copy)
{
    for (size_t piece = PIECE_FIRST; copy->start + copy->size < end; piece *= 2) {
        uint64_t left = end - copy->start - copy->size;
        size_t size = left < piece ? (size_t)left : piece;
        unsigned char *larger = realloc(copy->bytes, copy->size + size);
        if (!larger)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for a thread's stack");
        copy->bytes = larger;
        struct error *error = memory_read(&unwinder->process->memory, address_of(copy->start + copy->size),
                                          copy->bytes + copy->size, size);
        error_destroy(error);
        if (error)
            return NULL;
        copy->size += size;
    }
    return NULL;
}

/* Of a core, as it has them. */
static struct error *read_core_state(const struct core *core, pid_t tid, struct arch_state *state)
{
    size_t count;
    const struct core_thread *threads = core_threads(core, &count);

    for (size_t i = 0; i < count; i++) {
        if (threads[i].tid != tid)
            continue;
        *state = (struct arch_state){.register_size = threads[i].register_size};
        memcpy(state->registers, threads[i].registers, sizeof(state->registers));
        return NULL;
    }
    return error_create(ERROR_BAD_FILE, NULL, "the core has no registers of thread %d", tid);
}

struct error *unwinder_copy(const struct unwinder *unwinder, pid_t tid, struct unwind_copy *copy)
{
    const struct core *core = unwinder->process->core;
    struct arch_state state;
    struct error *error = core ? read_core_state(core, tid, &state) : arch_native.read_state(tid, &state);

    *copy = (struct unwind_copy){0};
    if (error)
        return error;
    copy->counter = arch_native.instruction_pointer(&state);
    copy->register_count = arch_native.number_registers(&state, copy->registers);
    copy->start = arch_native.stack_pointer(&state) - arch_native.red_zone;
    return copy_stack(unwinder, find_stack_end(unwinder, &state, copy->start), copy);
}

void unwind_copy_deinit(struct unwind_copy *copy)
{
    free(copy->bytes);
    *copy = (struct unwind_copy){0};
}

/* --------------------------------------------------------------------- the walk */

static struct unwind_frame *add_frame(struct walk *walk)
{
    if (walk->count == walk->room) {
        size_t room = walk->room ? walk->room * 2 : 64;
        struct unwind_frame *larger = reallocarray(walk->frames, room, sizeof(*larger));
        if (!larger)
            return NULL;
        walk->frames = larger;
        walk->room = room;
    }
    struct unwind_frame *frame = &walk->frames[walk->count++];
    *frame = (struct unwind_frame){0};
    return frame;
}

static void name_frame(Dwfl *dwfl, struct unwind_frame *frame, uint64_t at)
{
    Dwfl_Module *module = dwfl_addrmodule(dwfl, at);
    Dwarf_Addr start = 0;
    GElf_Off offset = 0;
    GElf_Sym symbol;

    if (!module)
        return;
    const char *object = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
    const char *name = dwfl_module_addrinfo(module, at, &offset, &symbol, NULL, NULL, NULL);
    frame->object = object ? strdup(object) : NULL;
    frame->function = name && name[0] ? strdup(name) : NULL;
    frame->offset = frame->function ? offset + (frame->address - at) : frame->address - start;
}

static int take_frame(Dwfl_Frame *state, void *context)
{
    struct walk *walk = context;
    Dwarf_Addr counter;
    bool exact;

    if (walk->count == FRAMES_MAX || !dwfl_frame_pc(state, &counter, &exact) || !counter)
        return DWARF_CB_ABORT;
    struct unwind_frame *frame = add_frame(walk);
    if (!frame) {
        walk->failed = true;
        return DWARF_CB_ABORT;
    }
    frame->address = counter;
    if (dwfl_frame_reg(state, arch_native.dwarf_stack_pointer, &frame->stack) != 0)
        frame->stack = 0;
    /* A return address may be the next function's first. */
    name_frame(walk->unwinder->dwfl, frame, counter - (exact ? 0 : 1));
    return DWARF_CB_OK;
}

struct error *unwinder_walk(struct unwinder *unwinder, const struct unwind_copy *copy, struct unwind_frame **frames,
                            size_t *count)
{
    struct walk walk = {.unwinder = unwinder};

    *frames = NULL;
    *count = 0;
    unwinder->copy = copy;
    int result = dwfl_getthread_frames(unwinder->dwfl, unwinder->process->pid, take_frame, &walk);
    unwinder->copy = NULL;
    if (walk.failed || (result && !walk.count)) {
        unwind_frames_destroy(walk.frames, walk.count);
        return walk.failed ? error_create(ERROR_SYSTEM, NULL, "out of memory for the C stacks")
                           : explain("the C stack can't be read");
    }
    *frames = walk.frames;
    *count = walk.count;
    return NULL;
}

void unwind_frames_destroy(struct unwind_frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(frames[i].function);
        free(frames[i].object);
    }
    free(frames);
}
