/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/core_internal.h"
#include "attach/image.h"
#include "attach/scope.h"
#include "attach/sections.h"

#define CORE_MAPS_MAX (256L << 20) /* of text: what a mapping of a path that is long, and cut by many, can't pass */

/* --------------------------------------------------------------------- reading */

static const struct core_segment *core_find(const struct core *core, uint64_t address)
{
    size_t low = 0, high = core->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct core_segment *segment = &core->segments[middle];

        if (address < segment->start)
            high = middle;
        else if (address >= segment->end)
            low = middle + 1;
        else
            return segment;
    }
    return NULL;
}

size_t core_read_stored(const struct core *core, uint64_t from, void *to, size_t size)
{
    const struct core_segment *segment = core_find(core, from);
    uint64_t skip = segment ? from - segment->start : 0;

    if (!segment || skip >= segment->stored)
        return 0;
    if (size > segment->stored - skip)
        size = (size_t)(segment->stored - skip);
    return sections_read_file(core->fd, segment->offset + skip, to, size) ? size : 0;
}

/* What the core left out of a file: as it is there, with zeros behind its end. */
static struct error *core_read_file(struct core *core, const struct core_segment *segment, uint64_t from, void *to,
                                    size_t size)
{
    struct core_file *file = &core->files[segment->file - 1];
    uint64_t offset = segment->file_offset + (from - segment->start);
    struct stat st;
    int fd;
    struct error *error = core_find_file(core, file, &fd);

    if (error || fstat(fd, &st) < 0) {
        struct error *fault = error_create(ERROR_FAULT, error ? error_hint(error) : NULL,
                                           "%zu bytes at 0x%llx aren't in %s: %s", size, (unsigned long long)from,
                                           core->path, error ? error_message(error) : "their file can't be read");
        error_destroy(error);
        return fault;
    }
    uint64_t there = offset < (uint64_t)st.st_size ? (uint64_t)st.st_size - offset : 0;
    if (there < size)
        memset((char *)to + there, 0, size - (size_t)there);
    else
        there = size;
    if (there && !sections_read_file(fd, offset, to, (size_t)there))
        return error_create(ERROR_FAULT, NULL, "can't read %s", file->found);
    return NULL;
}

static struct error *core_memory_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    struct core *core = memory->source;

    for (size_t done = 0, part; done < size; done += part) {
        uint64_t at = from.value + done;
        const struct core_segment *segment = core_find(core, at);

        part = size - done;
        if (segment && part > segment->end - at)
            part = (size_t)(segment->end - at);
        size_t got = core_read_stored(core, at, (char *)to + done, part);
        if (got) {
            part = got;
        } else if (segment && segment->file && at - segment->start >= segment->claimed) {
            struct error *error = core_read_file(core, segment, at, (char *)to + done, part);
            if (error)
                return error;
        } else {
            return error_create(ERROR_FAULT, NULL, "%zu bytes at 0x%llx aren't in %s", size, (unsigned long long)at,
                                core->path);
        }
    }
    return NULL;
}

static struct error *core_memory_write(const struct memory *memory, struct address to, const void *from, size_t size)
{
    const struct core *core = memory->source;

    (void)from, (void)size;
    return error_create(ERROR_BUG, NULL, "%s is not to be written at 0x%llx", core->path, (unsigned long long)to.value);
}

static const struct memory_ops core_memory_ops = {core_memory_read, core_memory_write, false};

/* ------------------------------------------------------------------- the process */

static struct error *core_create(struct core **made, int fd, const char *path, const struct core_options *options)
{
    struct core *core = calloc(1, sizeof(*core));
    struct stat st;

    *made = core;
    if (!core || !(core->path = strdup(path))) {
        close(fd);
        free(core);
        *made = NULL;
        return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", path);
    }
    core->fd = fd;
    core->options = *options;
    if (fstat(fd, &st) < 0)
        return error_create_errno(ERROR_USAGE, errno, "can't read %s", path);
    core->size = (uint64_t)st.st_size;
    core->written = st.st_mtim.tv_sec;
    return core_parse(core);
}

/* A program that was named must be the one, also where nothing is read of it. */
static struct error *core_check_program(struct core *core)
{
    const struct core_segment *segment = core_find(core, core->entry);
    int fd;

    if (!core->entry || !segment || !segment->file)
        return core_refuse(core, "doesn't tell which file its program was, for --exe");
    return core_find_file(core, &core->files[segment->file - 1], &fd);
}

struct error *process_open_core_fd(struct process *process, int fd, const char *path, const struct core_options *options)
{
    struct core *core;
    struct error *error = core_create(&core, fd, path, options);

    *process = (struct process){.pidfd = -1, .memory_fd = -1, .lock_fd = -1};
    if (error) {
        core_close(core);
        return error;
    }
    process->core = core;
    process->pid = core->pid ? core->pid : core->thread_count ? core->threads[0].tid : 0;
    process->memory = (struct memory){&core_memory_ops, core};
    core->entry = process_find_entry(process).value;
    error = options->program ? core_check_program(core) : NULL;
    if (error)
        process_close(process);
    return error;
}

struct error *process_open_core(struct process *process, const char *path, const struct core_options *options)
{
    int fd = image_open_regular(path, 0), err = errno;

    *process = (struct process){.pidfd = -1, .memory_fd = -1, .lock_fd = -1};
    if (fd < 0)
        return error_create_errno(ERROR_USAGE, err, "can't open %s", path);
    return process_open_core_fd(process, fd, path, options);
}

bool core_is_core(const char *path)
{
    scoped_fd int fd = image_open_regular(path, 0);
    Elf64_Ehdr header;

    return fd >= 0 && sections_read_file(fd, 0, &header, sizeof(header)) &&
           !memcmp(header.e_ident, ELFMAG, SELFMAG) && header.e_type == ET_CORE;
}

void core_close(struct core *core)
{
    if (!core)
        return;
    for (size_t i = 0; i < core->file_count; i++) {
        if (core->files[i].fd >= 0)
            close(core->files[i].fd);
        free(core->files[i].found);
        free(core->files[i].refused);
    }
    close(core->fd);
    free(core->files);
    free(core->names);
    free(core->segments);
    free(core->threads);
    free(core->auxv);
    free(core->path);
    free(core);
}

/* ------------------------------------------------------------------------- data */

/* Variables of a file, the pages that began as zeros too, are taken whole: what is next to what tells them. */
#define CORE_WHOLE_MAX (UINT64_C(256) << 20)

/* Anonymous memory of which nothing is there: smaller than malloc's mappings and arenas are, it is what the process itself
 * asked to leave out, such as the C library's random state. */
#define CORE_LEFT_OUT (UINT64_C(128) << 10)

struct core_runs {
    struct copy_run *items;
    size_t count, room;
};

static bool core_add_run(struct core_runs *runs, uint64_t start, uint64_t size, uint64_t offset)
{
    if (!size)
        return true;
    if (runs->count == runs->room) {
        size_t room = runs->room ? runs->room * 2 : 256;
        struct copy_run *larger = reallocarray(runs->items, room, sizeof(*larger));
        if (!larger)
            return false;
        runs->items = larger;
        runs->room = room;
    }
    runs->items[runs->count++] = (struct copy_run){start, size, offset};
    return true;
}

/* The parts of a segment that aren't holes in the core file. */
static bool core_add_data(const struct core *core, const struct core_segment *segment, struct core_runs *runs)
{
    uint64_t end = segment->offset + segment->stored;

    for (uint64_t at = segment->offset; at < end;) {
        off_t data = lseek(core->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return true;
        off_t hole = data < 0 ? -1 : lseek(core->fd, data, SEEK_HOLE);
        uint64_t from = data < 0 ? at : (uint64_t)data, past = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
        if (from >= end)
            return true;
        from -= (from - segment->offset) % CORE_PAGE;
        uint64_t skip = from - segment->offset, size = (past - from + CORE_PAGE - 1) / CORE_PAGE * CORE_PAGE;
        if (size > (segment->stored - skip) / CORE_PAGE * CORE_PAGE)
            size = (segment->stored - skip) / CORE_PAGE * CORE_PAGE; /* one that is cut short */
        if (!size)
            return true;
        if (!core_add_run(runs, segment->start + skip, size, from))
            return false;
        at = from + size;
    }
    return true;
}

struct error *core_find_data(const struct core *core, struct copy_run **runs, size_t *count, uint64_t *missing)
{
    struct core_runs found = {.count = 0};
    bool whole = false, well = true;

    *missing = core->missing_notes;
    for (size_t i = 0; well && i < core->count; i++) {
        const struct core_segment *segment = &core->segments[i];

        whole = segment->file || (whole && i && segment[-1].end == segment->start && segment[-1].file);
        if (!segment->readable || !segment->writable || (segment->file && !segment->claimed)) {
            *missing += segment->claimed - segment->stored;
            continue;
        }
        if (segment->claimed || segment->end - segment->start >= CORE_LEFT_OUT)
            *missing += segment->end - segment->start - segment->stored;
        if (whole && segment->stored <= CORE_WHOLE_MAX)
            well = core_add_run(&found, segment->start, segment->stored / CORE_PAGE * CORE_PAGE, segment->offset);
        else
            well = core_add_data(core, segment, &found);
    }
    *runs = found.items;
    *count = found.count;
    if (well)
        return NULL;
    free(found.items);
    *runs = NULL;
    return core_out_of_memory(core);
}

/* ------------------------------------------------------------------- what it has */

struct core_info core_get_info(const struct core *core)
{
    return (struct core_info){.path = core->path,
                              .name = core->name,
                              .arguments = core->arguments,
                              .uid = core->uid,
                              .signal = core->signal,
                              .size = core->size,
                              .missing_bytes = core->missing_bytes,
                              .written = core->written};
}

const struct core_thread *core_threads(const struct core *core, size_t *count)
{
    *count = core->thread_count;
    return core->threads;
}

const unsigned char *core_auxv(const struct core *core, size_t *size)
{
    *size = core->auxv_size;
    return core->auxv;
}

/* ---------------------------------------------------------------------- mappings */

/* A map's name. The core tells neither of "[heap]" nor of what is shared: what is anonymous and follows a file's own zeros is
 * the first; a file's writable memory that isn't in the core was never written as private memory. */
static const char *core_map_path(const struct core *core, size_t i)
{
    const struct core_segment *segment = &core->segments[i], *before = i ? segment - 1 : NULL;

    if (segment->file)
        return core->files[segment->file - 1].path;
    return before && !before->file && before->writable && before->end == segment->start && i > 1 && before[-1].file &&
                   before[-1].end == before->start
               ? "[heap]"
               : "";
}

/* As /proc/PID/maps has it. */
static void core_print_map(const struct core *core, size_t i, FILE *text)
{
    const struct core_segment *segment = &core->segments[i];
    bool shared = segment->file && segment->writable && !segment->stored;

    fprintf(text, "%llx-%llx %c%c%c%c %llx 00:00 %u ", (unsigned long long)segment->start,
            (unsigned long long)segment->end, segment->readable ? 'r' : '-', segment->writable ? 'w' : '-',
            segment->executable ? 'x' : '-', shared ? 's' : 'p', (unsigned long long)segment->file_offset, segment->file);
    for (const char *at = core_map_path(core, i); *at; at++)
        fputc(*at == '\n' ? '?' : *at, text);
    if (segment->file && core->files[segment->file - 1].deleted)
        fputs(" (deleted)", text);
    fputc('\n', text);
}

struct error *core_read_maps(const struct core *core, struct maps *maps)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *text = open_memstream(&bytes, &size);

    *maps = (struct maps){0};
    for (size_t i = 0; text && i < core->count && ftell(text) < CORE_MAPS_MAX; i++)
        core_print_map(core, i, text);
    if (!text || fclose(text) != 0) {
        free(bytes);
        return core_out_of_memory(core);
    }
    return maps_parse(maps, bytes, size);
}

bool core_get_file(struct core *core, size_t number, struct core_file_info *info)
{
    if (number >= core->file_count)
        return false;
    struct core_file *file = &core->files[number];
    core_read_build_id(core, file);
    *info = (struct core_file_info){.path = file->path, .found = file->found, .refused = file->refused};
    for (size_t i = 0; i < file->id_size; i++)
        snprintf(info->build_id + 2 * i, 3, "%02x", file->build_id[i]);
    return true;
}
