/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Finding CPython in a process.
 *
 *   candidates   executable mappings of files: those named "python", the program
 *                itself, the rest. Each load of a file is one of its own: a process
 *                can have mapped libpython twice
 *   runtime      symbol _PyRuntime, section .PyRuntime; when no file has it, the
 *                debug offsets' cookie in the writable mappings
 *   version      debug offsets (3.13+), Py_Version (3.11+), the text of sys.version
 *   layout       the table, or the debug offsets
 *   check        the lists of interpreters and threads make sense with it
 *
 * All of it is untrusted: mappings, files and memory can be made to keep us busy for hours, so
 * the whole search has a time limit, which no honest process comes near to.
 *
 * The first candidate that passes the check is it. A second copy of libpython
 * that nobody has started, or a mere mapping of its file, comes out as a runtime that is not
 * initialized: such a one is taken only when there is no other. When none passes, the
 * most telling error of the candidates is returned: a file that we may not open is
 * not "no Python".
 */
#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>

#include "attach/core.h"
#include "attach/scope.h"
#include "attach/tracee.h"
#include "runtime/debug_layout.h"
#include "runtime/debug_offsets.h"
#include "runtime/family.h"
#include "runtime/pending.h"
#include "runtime/version.h"

#define CANDIDATES_MAX 1024
/* What is searched of a file's writable memory for a text, and of all for the cookie. */
#define TEXT_SEARCH_MAX (32u << 20)
#define COOKIE_MAP_MAX  (64u << 20)
#define SEARCH_NS       (UINT64_C(5) * 1000 * 1000 * 1000)
#define USER_END        (UINT64_C(1) << 47)

enum rank { RANK_NAMED, RANK_PROGRAM, RANK_OTHER, RANKS };

/* ---------------------------------------------------------------- candidates */

struct candidates {
    const struct map *maps[CANDIDATES_MAX];
    enum rank ranks[CANDIDATES_MAX];
    size_t count;
    const struct map *program; /* of the executable; NULL when not known */
};

static bool is_same_file(const struct map *a, const struct map *b)
{
    return a->inode == b->inode && a->device_major == b->device_major && a->device_minor == b->device_minor;
}

/* The program's mapping by its entry point: paths and device numbers can lie. */
static const struct map *find_program(const struct process *process, const struct maps *maps)
{
    struct address entry = process_find_entry(process);

    return entry.value ? maps_find(maps, entry) : NULL;
}

static bool is_named_python(const struct map *map)
{
    return strstr(map_basename(map), "python") != NULL;
}

static void find_candidates(struct candidates *candidates, const struct process *process, const struct maps *maps)
{
    const struct map *last = NULL;

    candidates->count = 0;
    candidates->program = find_program(process, maps);
    for (size_t i = 0; i < maps->count && candidates->count < CANDIDATES_MAX; i++) {
        const struct map *map = &maps->entries[i];

        if (!map->executable || !map->inode || map->path[0] != '/')
            continue;
        /* Neighbours of one load: mprotect() has split it. */
        if (last && is_same_file(last, map) && last->start.value - last->offset == map->start.value - map->offset)
            continue;
        last = map;
        enum rank rank = RANK_OTHER;
        if (is_named_python(map))
            rank = RANK_NAMED;
        else if (candidates->program && is_same_file(candidates->program, map))
            rank = RANK_PROGRAM;
        candidates->maps[candidates->count] = map;
        candidates->ranks[candidates->count++] = rank;
    }
}

/* ------------------------------------------------------------- the runtime */

static bool find_runtime_symbol(const struct image *image, struct image_range *range)
{
    return image_find_symbol(image, "_PyRuntime", range) || image_find_section(image, ".PyRuntime", range);
}

const struct map *runtime_find_map(const struct process *process, const struct maps *maps)
{
    scoped_free struct candidates *candidates = malloc(sizeof(*candidates));

    if (!candidates)
        return NULL;
    uint64_t until = tracee_clock() + SEARCH_NS;
    find_candidates(candidates, process, maps);
    for (enum rank rank = 0; rank < RANKS; rank++) {
        for (size_t i = 0; i < candidates->count && tracee_clock() < until; i++) {
            struct image_range range;
            struct image *image = NULL;

            if (candidates->ranks[i] != rank)
                continue;
            struct error *error = image_open(&image, process, candidates->maps[i]);
            bool found = !error && find_runtime_symbol(image, &range);
            error_destroy(error);
            image_close(image);
            if (found)
                return candidates->maps[i];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------- the version */

/* Whether a mapping is writable memory of the file: its data, or the .bss behind. */
static bool is_data_of(const struct maps *maps, size_t i, const struct map *file)
{
    const struct map *map = &maps->entries[i];

    if (!map->writable || !map->readable)
        return false;
    if (map->inode)
        return is_same_file(map, file);
    return i > 0 && map->path[0] == '\0' && maps->entries[i - 1].end.value == map->start.value &&
           maps->entries[i - 1].inode && is_same_file(&maps->entries[i - 1], file);
}

/* The text of sys.version, in the static buffer of Py_GetVersion(). */
static bool find_version_text(struct runtime *runtime, const struct maps *maps, const struct map *file, uint32_t wanted,
                              uint32_t *hex)
{
    uint64_t searched = 0;

    for (size_t i = 0; i < maps->count && searched <= TEXT_SEARCH_MAX; i++) {
        const struct map *map = &maps->entries[i];
        size_t size = (size_t)(map->end.value - map->start.value);

        if (!is_data_of(maps, i, file) || size > TEXT_SEARCH_MAX)
            continue;
        searched += size;
        scoped_free char *bytes = malloc(size);
        struct error *error = bytes ? memory_read(&runtime->process->memory, map->start, bytes, size) : NULL;
        bool found =
            bytes && !error && version_search(bytes, size, wanted, hex, runtime->build, sizeof(runtime->build));
        error_destroy(error);
        if (found)
            return true;
    }
    return false;
}

void runtime_read_build(struct runtime *runtime, const struct maps *maps)
{
    uint32_t hex;

    for (size_t i = 0; i < maps->count && !runtime->build[0]; i++) {
        if (!strcmp(maps->entries[i].path, image_path(runtime->image))) {
            find_version_text(runtime, maps, &maps->entries[i], runtime->version_hex, &hex);
            return;
        }
    }
}

static struct error *refuse_version(uint32_t hex, const struct map *map)
{
    char version[32];

    version_format(hex, version, sizeof(version));
    return error_create(ERROR_UNSUPPORTED, "supported: " LAYOUT_SUPPORTED, "CPython %s (%s) is not supported", version,
                        map_basename(map));
}

/* Where a file is mapped like plain data, its symbols point anywhere. */
static bool is_writable(const struct maps *maps, struct address address)
{
    const struct map *map = maps_find(maps, address);

    return map && map->writable && map->readable;
}

static struct error *find_version(struct runtime *runtime, const struct maps *maps, const struct map *map)
{
    struct image_range range;
    unsigned char head[DEBUG_OFFSETS_HEAD];
    uint64_t number;
    uint32_t hex = 0, text_hex;
    struct error *error = memory_read(&runtime->process->memory, runtime->address, head, sizeof(head));

    if (error)
        return error;
    if (!debug_offsets_decode_head(head, sizeof(head), &hex, &runtime->free_threaded) &&
        image_find_symbol(runtime->image, "Py_Version", &range)) {
        if ((error = memory_read_u64(&runtime->process->memory, range.start, &number)))
            return error;
        hex = (uint32_t)number;
    }
    if (!hex && !find_version_text(runtime, maps, map, hex, &text_hex))
        return error_create(ERROR_BUSY, "try again in a moment",
                            "can't tell the version of the CPython in %s: sys.version isn't there; is it starting up?",
                            map_basename(map));
    runtime->version_hex = hex ? hex : text_hex;
    version_format(runtime->version_hex, runtime->version, sizeof(runtime->version));
    if (version_major(runtime->version_hex) != 3 || version_minor(runtime->version_hex) < LAYOUT_MINOR_FIRST)
        return refuse_version(runtime->version_hex, map);
    return NULL;
}

/* -------------------------------------------------------------- the layout */

static struct error *read_debug_offsets(struct runtime *runtime)
{
    unsigned char bytes[DEBUG_OFFSETS_MAX];
    size_t size = runtime->size && runtime->size < sizeof(bytes) ? (size_t)runtime->size : sizeof(bytes);
    struct error *error = memory_read(&runtime->process->memory, runtime->address, bytes, size);

    if (!error)
        error = debug_offsets_decode(bytes, size, &runtime->layout);
    return error_context(error, "CPython %s", runtime->version);
}

static struct error *find_layout(struct runtime *runtime, const struct map *map)
{
    unsigned minor = version_minor(runtime->version_hex);

    if (minor > LAYOUT_MINOR_LAST)
        return refuse_version(runtime->version_hex, map);
    if (minor >= LAYOUT_MINOR_DEBUG_OFFSETS)
        return read_debug_offsets(runtime);
    const struct layout *table = layout_find_table(minor, runtime->debug_build);
    if (!table)
        return error_create(ERROR_UNSUPPORTED, NULL, "no table for CPython %s", runtime->version);
    runtime->layout = *table;
    return NULL;
}

static struct error *find_kind(struct runtime *runtime)
{
    struct image_range range;

    runtime->debug_build = image_find_export(runtime->image, "_Py_NegativeRefcount", &range) ||
                           image_find_export(runtime->image, "_Py_RefTotal", &range);
    /* Every object of such a build has two more words before its head. */
    if (version_minor(runtime->version_hex) < LAYOUT_MINOR_DEBUG_OFFSETS &&
        image_find_export(runtime->image, "_Py_PrintReferences", &range))
        return error_create(ERROR_UNSUPPORTED, NULL, "CPython %s built with --with-trace-refs is not supported",
                            runtime->version);
    return NULL;
}

/* --------------------------------------------------------------- the check */

static bool is_pointer_or_null(struct address address)
{
    return address.value % 8 == 0 && address.value < USER_END;
}

static struct error *read_state(struct runtime *runtime)
{
    const struct memory *memory = &runtime->process->memory;
    const char *wrong = NULL;
    uint32_t initialized;
    struct address finalizing, head;
    struct error *error;

    if ((error = memory_read_u32(memory, address_add(runtime->address, runtime->layout.runtime.initialized),
                                 &initialized)) ||
        (error = memory_read_address(memory, address_add(runtime->address, runtime->layout.runtime.finalizing),
                                     &finalizing)) ||
        (error = memory_read_address(memory, address_add(runtime->address, runtime->layout.runtime.interpreters_head),
                                     &head)))
        return error;
    if (initialized > 1)
        wrong = "runtime.initialized";
    else if (!is_pointer_or_null(finalizing))
        wrong = "runtime.finalizing";
    else if (!is_pointer_or_null(head))
        wrong = "runtime.interpreters_head";
    if (wrong)
        return error_create(ERROR_UNSUPPORTED, "please report this build", "CPython %s: %s makes no sense (by %s)",
                            runtime->version, wrong, runtime->layout.origin);
    runtime->initialized = initialized != 0;
    runtime->finalizing = finalizing.value != 0;
    return NULL;
}

/* Reads the lists, which checks their links, and looks for a thread state of
 * the main interpreter that belongs to some thread. */
static struct error *check_structure(const struct runtime *runtime)
{
    scoped_free struct thread_state *threads = NULL;
    size_t count;
    struct error *error = runtime_read_threads(runtime, &threads, &count);

    if (error)
        return error_context(error, "CPython %s", runtime->version);
    for (size_t i = 0; i < count; i++) {
        uint64_t pthread = threads[i].pthread;

        if (threads[i].interpreter_id == 0 && pthread >= 4096 && pthread < USER_END && pthread % 8 == 0)
            return NULL;
    }
    return error_create(ERROR_UNSUPPORTED, "please report this build",
                        "CPython %s: no thread_state.thread_id of %zu makes sense (by %s)", runtime->version, count,
                        runtime->layout.origin);
}

/* The queue stands before the main interpreter, which lies in _PyRuntime too and has counters that
 * can take any value. */
static size_t pending_search_size(const struct runtime *runtime)
{
    uint64_t known = runtime->size ? runtime->size : runtime->layout.runtime.size;
    size_t size = known < PENDING_SEARCH_SIZE ? (size_t)known : PENDING_SEARCH_SIZE;
    struct address main;
    struct error *error =
        memory_read_address(&runtime->process->memory,
                            address_add(runtime->address, runtime->layout.runtime.interpreters_main), &main);

    if (!error && main.value > runtime->address.value && main.value - runtime->address.value < size)
        size = (size_t)(main.value - runtime->address.value);
    error_destroy(error);
    return size;
}

/* 3.12+; where it isn't found the rest works without. */
static void find_pending(struct runtime *runtime)
{
    struct layout *layout = &runtime->layout;
    size_t size = pending_search_size(runtime);

    if (layout->minor < 12)
        return;
    scoped_free unsigned char *bytes = malloc(size);
    struct error *error = bytes ? memory_read(&runtime->process->memory, runtime->address, bytes, size) : NULL;
    layout->runtime.pending = bytes && !error ? pending_search(layout, bytes, size) : OFF_NONE;
    error_destroy(error);
}

static bool is_live(const struct runtime *runtime)
{
    return runtime->initialized && !runtime->finalizing;
}

/* While it starts or ends the lists are anything. */
static struct error *check_layout(struct runtime *runtime)
{
    struct error *error = read_state(runtime);

    return !error && is_live(runtime) ? check_structure(runtime) : error;
}

/* For a build that no table knows, or that doesn't fit its own. `error` says so, and is returned where the debug information
 * doesn't help. */
static struct error *find_layout_by_debug_info(struct runtime *runtime, struct error *error)
{
    struct layout before = runtime->layout;
    struct error *told = debug_layout_find(runtime, &runtime->layout);

    if (!told)
        told = check_layout(runtime);
    if (!told) {
        runtime->by_debug_info = true;
        error_destroy(error);
        return NULL;
    }
    runtime->layout = before;
    error = error_with_hint(error, "%s%s%s", error_message(told), error_hint(told) ? ": " : "",
                            error_hint(told) ? error_hint(told) : "");
    error_destroy(told);
    return error;
}

/* Everything about a _PyRuntime whose address and image are set. */
static struct error *identify(struct runtime *runtime, const struct maps *maps, const struct map *map)
{
    struct error *error;

    if (!is_writable(maps, runtime->address))
        return error_create(ERROR_UNSUPPORTED, NULL, "%s: no memory of its own at its _PyRuntime, %#llx",
                            map_basename(map), (unsigned long long)runtime->address.value);
    if ((error = find_version(runtime, maps, map)) || (error = find_kind(runtime)))
        return error;
    error = find_layout(runtime, map);
    if (!error)
        error = check_layout(runtime);
    if (error && error_code(error) == ERROR_UNSUPPORTED)
        error = find_layout_by_debug_info(runtime, error);
    if (!error)
        find_pending(runtime);
    return error;
}

/* ------------------------------------------------------------- the search */

struct search {
    struct runtime *runtime;
    const struct process *process;
    const struct maps *maps;
    const struct map *program;
    struct runtime idle; /* one that isn't live, for want of a better one; its image is NULL when there is none */
    struct error *error; /* the most telling one so far */
    uint64_t until;      /* on tracee_clock() */
};

/* Which error is worth returning? One about a Python above one about a file. */
static void keep_error(struct search *search, struct error *error, bool telling)
{
    if (!search->error || telling) {
        error_destroy(search->error);
        search->error = error;
    } else {
        error_destroy(error);
    }
}

/* An interpreter without _PyRuntime: 2.7, or 3.6 and older. */
static struct error *find_old_python(struct search *search, const struct map *map)
{
    struct image_range range;
    uint32_t hex;

    if (!image_find_symbol(search->runtime->image, "Py_GetVersion", &range) ||
        !find_version_text(search->runtime, search->maps, map, 0, &hex))
        return NULL;
    return refuse_version(hex, map);
}

/* Makes room for the next candidate. */
static void forget(struct search *search, bool keep)
{
    if (keep && !search->idle.image)
        search->idle = *search->runtime;
    else
        image_close(search->runtime->image);
    *search->runtime = (struct runtime){.process = search->process};
}

/* True when this mapping's file holds a live runtime; it is then filled in.
 * `at` is its address where it is known already. */
static bool try_map(struct search *search, const struct map *map, enum rank rank, const struct address *at)
{
    struct runtime *runtime = search->runtime;
    struct image_range range = {at ? *at : ADDRESS_NULL, 0};
    bool found = false;
    struct error *error = image_open(&runtime->image, search->process, map);

    if (error) {
        /* A mapped file that is no ELF file is nothing to tell. */
        if (error_code(error) == ERROR_PERMISSION || (error_code(error) != ERROR_NOT_PYTHON && rank != RANK_OTHER))
            keep_error(search, error, false);
        else
            error_destroy(error);
        return false;
    }
    if (!at && !find_runtime_symbol(runtime->image, &range)) {
        error = find_old_python(search, map);
    } else {
        runtime->address = range.start;
        runtime->size = range.size;
        runtime->is_static = search->program ? is_same_file(search->program, map) : !strstr(map_basename(map), "libpython");
        error = identify(runtime, search->maps, map);
        found = !error;
        if (found && is_live(runtime))
            return true;
    }
    if (error)
        keep_error(search, error, true);
    forget(search, found);
    return false;
}

static bool is_late(struct search *search)
{
    if (tracee_clock() < search->until)
        return false;
    keep_error(search, error_create(ERROR_UNSUPPORTED, "its mappings are too many, too large, or too slow to be read",
                                    "no CPython was found in process %d in %d s", search->process->pid,
                                    (int)(SEARCH_NS / 1000000000)), false);
    return true;
}

static bool search_files(struct search *search, const struct candidates *candidates)
{
    for (enum rank rank = 0; rank < RANKS; rank++) {
        for (size_t i = 0; i < candidates->count; i++) {
            if (candidates->ranks[i] != rank)
                continue;
            if (is_late(search))
                return false;
            if (try_map(search, candidates->maps[i], rank, NULL))
                return true;
        }
    }
    return false;
}

/* The debug offsets by their cookie, for files without symbols and section names. */
static bool search_cookie_in(struct search *search, const struct map *map)
{
    size_t size = (size_t)(map->end.value - map->start.value);
    scoped_free unsigned char *bytes = malloc(size);
    struct error *error = bytes ? memory_read(&search->process->memory, map->start, bytes, size) : NULL;
    bool readable = bytes && !error;
    uint32_t version;
    bool free_threaded;

    error_destroy(error);
    for (size_t at = 0; readable && at + DEBUG_OFFSETS_HEAD <= size; at += 8) {
        struct address address = address_add(map->start, at);

        if (!debug_offsets_decode_head(bytes + at, size - at, &version, &free_threaded))
            continue;
        if (is_late(search))
            return false;
        if (try_map(search, map, RANK_NAMED, &address))
            return true;
    }
    return false;
}

static bool search_cookie(struct search *search)
{
    for (size_t i = 0; i < search->maps->count; i++) {
        const struct map *map = &search->maps->entries[i];

        if (!map->writable || !map->readable || map->shared || !map->inode || map->path[0] != '/' ||
            map->end.value - map->start.value > COOKIE_MAP_MAX)
            continue;
        if (is_late(search))
            return false;
        if (search_cookie_in(search, map))
            return true;
    }
    return false;
}

static struct error *refuse_process(const struct process *process)
{
    struct process_status status;
    char hint[256];

    if (process->core)
        return error_create(ERROR_NOT_PYTHON, NULL, "%s (%s) is no core of a Python", core_get_info(process->core).path,
                            core_get_info(process->core).name);
    struct error *error = process_read_status(process->pid, 0, &status);
    if (error)
        return error;
    family_describe(process->pid, hint, sizeof(hint));
    return error_create(ERROR_NOT_PYTHON, hint[0] ? hint : NULL, "process %d (%s) is not Python", process->pid,
                        status.name);
}

struct error *runtime_find(struct runtime *runtime, const struct process *process, const struct maps *maps)
{
    struct search search = {
        .runtime = runtime, .process = process, .maps = maps, .until = tracee_clock() + SEARCH_NS};
    scoped_free struct candidates *candidates = malloc(sizeof(*candidates));

    *runtime = (struct runtime){.process = process};
    if (!candidates)
        return error_create(ERROR_SYSTEM, NULL, "out of memory");
    find_candidates(candidates, process, maps);
    search.program = candidates->program;
    if (search_files(&search, candidates) || (!search.error && !search.idle.image && search_cookie(&search))) {
        image_close(search.idle.image);
        error_destroy(search.error);
        return NULL;
    }
    if (search.idle.image) {
        *runtime = search.idle;
        error_destroy(search.error);
        return NULL;
    }
    return search.error ? search.error : refuse_process(process);
}

void runtime_close(struct runtime *runtime)
{
    image_close(runtime->image);
    runtime->image = NULL;
}
