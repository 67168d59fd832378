/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The program headers and notes are libelf's to read, by pread(): a core is larger than what one maps, and may be cut
 * short while we look. Segments are then split where the files change:
 *
 *   PT_LOAD   |------------------|  |------|
 *   NT_FILE   |--a--||--b--|                  |--c--|    (c: gcore leaves out what it doesn't dump)
 *   segments  |--a--||--b--||----|  |------|  |--c--|
 */
#include "attach/core_internal.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>

#include "attach/scope.h"
#include "attach/sections.h"

/* The kernel's own bounds are far below (vm.max_map_count, and core_file_note_size_limit of 4 to 16 MiB). */
#define CORE_SEGMENTS_MAX (1u << 20)
#define CORE_THREADS_MAX  (1u << 16)
#define CORE_NOTES_MAX    (UINT64_C(64) << 20)
#define CORE_AUXV_MAX     4096u
#define CORE_PATH_MAX     4096u

/* A row of NT_FILE. */
struct core_row {
    uint64_t start, end, offset;
    const char *path;
    bool deleted;
};

/* What is only needed to open one. */
struct core_parse {
    struct core *core;
    Elf *elf;
    struct core_segment *loads;
    size_t load_count;
    struct core_row *rows;
    size_t row_count;
};

struct error *core_refuse(const struct core *core, const char *why)
{
    return error_create(ERROR_BAD_FILE, NULL, "%s %s", core->path, why);
}

struct error *core_out_of_memory(const struct core *core)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for %s", core->path);
}

/* ------------------------------------------------------------------- segments */

static uint64_t core_less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t core_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int core_by_start(const void *a, const void *b)
{
    uint64_t left = ((const struct core_segment *)a)->start, right = ((const struct core_segment *)b)->start;

    return (left > right) - (left < right);
}

/* Sorts them, and cuts off what two of them claim. */
static void core_part_segments(struct core_segment *segments, size_t *count)
{
    size_t kept = 0;
    uint64_t last = 0;

    qsort(segments, *count, sizeof(*segments), core_by_start);
    for (size_t i = 0; i < *count; i++) {
        struct core_segment segment = segments[i];

        if (segment.end <= last)
            continue;
        if (segment.start < last) {
            uint64_t skip = last - segment.start;
            segment.start = last;
            segment.offset += skip;
            segment.file_offset += skip;
            segment.stored = core_less(segment.stored, skip);
            segment.claimed = core_less(segment.claimed, skip);
        }
        last = segment.end;
        segments[kept++] = segment;
    }
    *count = kept;
}

/* One PT_LOAD. What the core should have and hasn't is counted. */
static void core_take_load(struct core_parse *parse, const GElf_Phdr *header)
{
    struct core *core = parse->core;
    uint64_t stored = header->p_filesz, there;

    if (!header->p_memsz || header->p_filesz > header->p_memsz || header->p_vaddr + header->p_memsz < header->p_vaddr ||
        header->p_vaddr % CORE_PAGE || header->p_memsz % CORE_PAGE)
        return;
    there = header->p_offset < core->size ? core->size - header->p_offset : 0;
    if (stored > there) {
        core->missing_bytes += stored - there;
        stored = there;
    }
    parse->loads[parse->load_count++] = (struct core_segment){
        .start = header->p_vaddr,
        .end = header->p_vaddr + header->p_memsz,
        .offset = header->p_offset,
        .stored = stored,
        .claimed = header->p_filesz,
        .readable = header->p_flags & PF_R,
        .writable = header->p_flags & PF_W,
        .executable = header->p_flags & PF_X,
    };
}

/* The part of a segment that a row of NT_FILE covers, or the part before it (row: NULL). */
static struct core_segment core_cut(const struct core_segment *from, uint64_t start, uint64_t end,
                                    const struct core_row *row, uint32_t file)
{
    struct core_segment part = *from;
    uint64_t skip = start - from->start;

    part.start = start;
    part.end = end;
    part.offset += skip;
    part.stored = core_least(core_less(from->stored, skip), end - start);
    part.claimed = core_least(core_less(from->claimed, skip), end - start);
    part.file = row ? file : 0;
    part.file_offset = row ? row->offset + (start - row->start) : 0;
    return part;
}

/* Files by runs of rows with one path: the kernel writes them by rising address, and a library's lie together. */
static struct error *core_number_files(struct core_parse *parse, uint32_t *numbers)
{
    struct core *core = parse->core;

    core->files = calloc(parse->row_count + 1, sizeof(*core->files));
    if (!core->files)
        return core_out_of_memory(core);
    for (size_t i = 0; i < parse->row_count; i++) {
        const struct core_row *row = &parse->rows[i];
        struct core_file *file = core->file_count ? &core->files[core->file_count - 1] : NULL;

        if (!file || strcmp(file->path, row->path) != 0) {
            file = &core->files[core->file_count++];
            *file = (struct core_file){.path = row->path, .deleted = row->deleted, .start = row->start, .fd = -1};
        }
        file->end = row->end;
        if (!row->offset && !file->head)
            file->head = row->start;
        numbers[i] = (uint32_t)core->file_count;
    }
    return NULL;
}

/* Splits the loads at the rows; a row outside every load is memory that the core leaves out. */
static void core_join(struct core_parse *parse, const uint32_t *numbers)
{
    struct core *core = parse->core;
    size_t row = 0, added = 0;

    for (size_t i = 0; i < parse->load_count; i++) {
        const struct core_segment *load = &parse->loads[i];
        uint64_t at = load->start;

        while (row < parse->row_count && parse->rows[row].end <= at)
            row++;
        for (; at < load->end; row++) {
            const struct core_row *next = row < parse->row_count ? &parse->rows[row] : NULL;
            uint64_t start = next && next->start < load->end ? next->start : load->end;
            if (start > at)
                core->segments[core->count++] = core_cut(load, at, start, NULL, 0);
            if (start == load->end)
                break;
            uint64_t end = next->end < load->end ? next->end : load->end;
            core->segments[core->count++] = core_cut(load, start > at ? start : at, end, next, numbers[row]);
            at = end;
            if (next->end > load->end)
                break;
        }
    }
    added = core->count;
    for (size_t i = 0; i < parse->row_count; i++) {
        const struct core_row *next = &parse->rows[i];
        const struct core_segment key = {.start = next->start};
        if (!bsearch(&key, core->segments, added, sizeof(key), core_by_start))
            core->segments[core->count++] = (struct core_segment){
                .start = next->start, .end = next->end, .file = numbers[i], .file_offset = next->offset,
                .readable = true, .executable = true};
    }
    core_part_segments(core->segments, &core->count);
}

static struct error *core_make_segments(struct core_parse *parse)
{
    struct core *core = parse->core;
    scoped_free uint32_t *numbers = calloc(parse->row_count + 1, sizeof(*numbers));

    core->segments = calloc(parse->load_count + 3 * parse->row_count + 1, sizeof(*core->segments));
    if (!numbers || !core->segments)
        return core_out_of_memory(core);
    struct error *error = core_number_files(parse, numbers);
    if (!error)
        core_join(parse, numbers);
    return error;
}

/* ---------------------------------------------------------------------- notes */

static int core_row_by_start(const void *a, const void *b)
{
    uint64_t left = ((const struct core_row *)a)->start, right = ((const struct core_row *)b)->start;

    return (left > right) - (left < right);
}

/* Those that make sense, by rising address and apart. */
static void core_part_rows(struct core_parse *parse)
{
    size_t kept = 0;
    uint64_t last = 0;

    qsort(parse->rows, parse->row_count, sizeof(*parse->rows), core_row_by_start);
    for (size_t i = 0; i < parse->row_count; i++) {
        const struct core_row *row = &parse->rows[i];
        if (row->start < last || row->start >= row->end || row->start % CORE_PAGE || row->end % CORE_PAGE ||
            row->path[0] != '/' || strlen(row->path) > CORE_PATH_MAX)
            continue;
        last = row->end;
        parse->rows[kept++] = *row;
    }
    parse->row_count = kept;
}

/* Of a file that had lost its name; the mark is cut off. */
static bool core_cut_deleted(char *path)
{
    static const char mark[] = " (deleted)";
    size_t length = strlen(path), cut = sizeof(mark) - 1;
    bool deleted = length > cut && !strcmp(path + length - cut, mark);

    if (deleted)
        path[length - cut] = '\0';
    return deleted;
}

/* count, page size, count x {start, end, offset in pages}, count paths that end with NUL. */
static struct error *core_take_files(struct core_parse *parse, const unsigned char *note, size_t size)
{
    struct core *core = parse->core;
    uint64_t head[2], row[3];

    if (core->names || size < sizeof(head))
        return NULL;
    memcpy(head, note, sizeof(head));
    if (head[0] > (size - sizeof(head)) / sizeof(row) || head[0] > CORE_SEGMENTS_MAX || head[1] > UINT32_MAX)
        return NULL;
    size_t rows_size = sizeof(head) + (size_t)head[0] * sizeof(row), names_size = size - rows_size;
    core->names = malloc(names_size + 1);
    parse->rows = calloc((size_t)head[0] + 1, sizeof(*parse->rows));
    if (!core->names || !parse->rows)
        return core_out_of_memory(core);
    memcpy(core->names, note + rows_size, names_size);
    core->names[names_size] = '\0';
    char *name = core->names;
    for (uint64_t i = 0; i < head[0] && name < core->names + names_size; i++) {
        char *next = name + strlen(name) + 1;
        bool deleted = core_cut_deleted(name);
        memcpy(row, note + sizeof(head) + i * sizeof(row), sizeof(row));
        parse->rows[parse->row_count++] = (struct core_row){row[0], row[1], row[2] * head[1], name, deleted};
        name = next;
    }
    core_part_rows(parse);
    return NULL;
}

static struct error *core_take_thread(struct core_parse *parse, const unsigned char *note, size_t size)
{
    struct core *core = parse->core;
    struct elf_prstatus status;
    struct arch_state state = {.register_size = sizeof(status.pr_reg)};

    if (size != sizeof(status) || core->thread_count == CORE_THREADS_MAX)
        return NULL;
    if (!(core->thread_count & (core->thread_count - 1))) { /* full at each power of two */
        size_t room = core->thread_count ? core->thread_count * 2 : 1;
        struct core_thread *larger = reallocarray(core->threads, room, sizeof(*larger));
        if (!larger)
            return core_out_of_memory(core);
        core->threads = larger;
    }
    memcpy(&status, note, sizeof(status));
    _Static_assert(sizeof(status.pr_reg) <= sizeof(state.registers), "a thread's registers fit");
    memcpy(state.registers, status.pr_reg, sizeof(status.pr_reg));
    if (!core->thread_count && status.pr_cursig > 0 && status.pr_cursig < 65)
        core->signal = status.pr_cursig;
    struct core_thread *thread = &core->threads[core->thread_count++];
    *thread = (struct core_thread){.tid = status.pr_pid,
                                   .pthread = arch_native.thread_pointer(&state),
                                   .register_size = sizeof(status.pr_reg)};
    memcpy(thread->registers, status.pr_reg, sizeof(status.pr_reg));
    return NULL;
}

static void core_take_program(struct core *core, const unsigned char *note, size_t size)
{
    struct elf_prpsinfo program;

    if (size != sizeof(program))
        return;
    memcpy(&program, note, sizeof(program));
    core->pid = program.pr_pid;
    core->uid = (uid_t)program.pr_uid;
    memcpy(core->name, program.pr_fname, sizeof(program.pr_fname));
    memcpy(core->arguments, program.pr_psargs, sizeof(program.pr_psargs));
}

static struct error *core_take_auxv(struct core *core, const unsigned char *note, size_t size)
{
    if (core->auxv || !size || size > CORE_AUXV_MAX)
        return NULL;
    if (!(core->auxv = malloc(size)))
        return core_out_of_memory(core);
    memcpy(core->auxv, note, size);
    core->auxv_size = size;
    return NULL;
}

static struct error *core_take_note(struct core_parse *parse, uint32_t type, const unsigned char *note, size_t size)
{
    switch (type) {
    case NT_PRSTATUS:
        return core_take_thread(parse, note, size);
    case NT_PRPSINFO:
        core_take_program(parse->core, note, size);
        return NULL;
    case NT_AUXV:
        return core_take_auxv(parse->core, note, size);
    case NT_FILE:
        return core_take_files(parse, note, size);
    default:
        return NULL;
    }
}

/* What there is of one PT_NOTE. */
static struct error *core_take_notes(struct core_parse *parse, const GElf_Phdr *header)
{
    struct core *core = parse->core;
    uint64_t there = header->p_offset < core->size ? core->size - header->p_offset : 0;
    size_t size = (size_t)(header->p_filesz < there ? header->p_filesz : there), next = 0, name, description;
    Elf_Data *data;
    GElf_Nhdr note;

    core->missing_notes += header->p_filesz - size;
    core->missing_bytes += header->p_filesz - size;
    if (size > CORE_NOTES_MAX)
        return core_refuse(core, "has notes that are too long");
    if (!size || !(data = elf_getdata_rawchunk(parse->elf, (int64_t)header->p_offset, size, ELF_T_NHDR)))
        return NULL;
    while (next < data->d_size && (next = gelf_getnote(data, next, &note, &name, &description))) {
        const char *bytes = data->d_buf;
        if (note.n_namesz != sizeof("CORE") || memcmp(bytes + name, "CORE", sizeof("CORE")) != 0)
            continue;
        struct error *error =
            core_take_note(parse, note.n_type, (const unsigned char *)bytes + description, note.n_descsz);
        if (error)
            return error;
    }
    return NULL;
}

/* --------------------------------------------------------------------- parsing */

static struct error *core_check_kind(const struct core *core)
{
    Elf64_Ehdr header;

    if (!sections_read_file(core->fd, 0, &header, sizeof(header)) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return core_refuse(core, "is no core file");
    if (header.e_type != ET_CORE)
        return core_refuse(core, "is a program or a library, no core file");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != arch_native.elf_machine)
        return error_create(ERROR_BAD_FILE, NULL, "%s is a core of another kind of machine, not of 64-bit %s", core->path,
                            arch_native.name);
    return NULL;
}

static struct error *core_take_headers(struct core_parse *parse)
{
    struct core *core = parse->core;
    struct error *error = NULL;
    GElf_Phdr header;
    size_t count;

    if (elf_getphdrnum(parse->elf, &count) != 0 || !count || count > CORE_SEGMENTS_MAX ||
        !gelf_getphdr(parse->elf, (int)count - 1, &header))
        return core_refuse(core, "is cut short, or its program headers make no sense");
    if (!(parse->loads = calloc(count, sizeof(*parse->loads))))
        return core_out_of_memory(core);
    for (size_t i = 0; !error && i < count; i++) {
        if (!gelf_getphdr(parse->elf, (int)i, &header))
            return core_refuse(core, "has program headers that make no sense");
        if (header.p_type == PT_LOAD)
            core_take_load(parse, &header);
        else if (header.p_type == PT_NOTE)
            error = core_take_notes(parse, &header);
    }
    core_part_segments(parse->loads, &parse->load_count);
    return error;
}

struct error *core_parse(struct core *core)
{
    struct core_parse parse = {.core = core};
    struct error *error = core_check_kind(core);

    if (error)
        return error;
    parse.elf = elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_begin(core->fd, ELF_C_READ, NULL);
    if (!parse.elf || elf_kind(parse.elf) != ELF_K_ELF)
        error = core_refuse(core, "is no core file that libelf can read");
    else
        error = core_take_headers(&parse);
    if (!error && !parse.load_count)
        error = core_refuse(core, "has no memory in it");
    if (!error)
        error = core_make_segments(&parse);
    elf_end(parse.elf);
    free(parse.loads);
    free(parse.rows);
    return error;
}
