/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The files that a core's memory is of. Where they are looked for, the first that is the right one wins:
 *
 *   program   --exe FILE, which must be the right one
 *   root      DIR/path, with links as DIR has them (openat2, RESOLVE_IN_ROOT), then DIR/usr/lib/debug/.build-id
 *   here      /path, then /usr/lib/debug/.build-id
 *
 * Right: the build-id in the core's copy of the file's head is that of the file; where a file has none, its ELF header and
 * program headers are the same. Where the core has no copy of the head, nothing can be compared, and the path must do.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach/core_internal.h"
#include "attach/image.h"
#include "attach/scope.h"
#include "attach/sections.h"

#define FILES_HEADERS_MAX 64u
#define FILES_NOTES_MAX   4096u

/* A file's bytes, by their offset: of itself, or of the core's copy of its head. */
struct files_source {
    const struct core *core; /* NULL: `fd` */
    uint64_t head;
    int fd;
};

static bool files_read(const struct files_source *source, uint64_t offset, void *to, size_t size)
{
    if (source->core)
        return core_read_stored(source->core, source->head + offset, to, size) == size;
    return sections_read_file(source->fd, offset, to, size);
}

/* ------------------------------------------------------------------- build-ids */

struct files_head {
    Elf64_Ehdr header;
    Elf64_Phdr segments[FILES_HEADERS_MAX];
    unsigned char id[40];
    size_t id_size;
};

static bool files_find_id(struct files_head *head, const unsigned char *notes, size_t size)
{
    Elf64_Nhdr note;

    for (size_t at = 0; at + sizeof(note) <= size;) {
        memcpy(&note, notes + at, sizeof(note));
        size_t name = at + sizeof(note), left = size - name;
        if (note.n_namesz > left || note.n_descsz > left)
            return false;
        size_t value = name + ((note.n_namesz + 3) & ~3u);
        if (value > size || note.n_descsz > size - value)
            return false;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(notes + name, "GNU", 4) && note.n_descsz &&
            note.n_descsz <= sizeof(head->id)) {
            memcpy(head->id, notes + value, note.n_descsz);
            head->id_size = note.n_descsz;
            return true;
        }
        at = value + ((note.n_descsz + 3) & ~3u);
    }
    return false;
}

/* False where there is no head of an ELF file. */
static bool files_read_head(struct files_head *head, const struct files_source *source)
{
    unsigned char notes[FILES_NOTES_MAX];

    *head = (struct files_head){.id_size = 0};
    if (!files_read(source, 0, &head->header, sizeof(head->header)) ||
        memcmp(head->header.e_ident, ELFMAG, SELFMAG) != 0 || head->header.e_phentsize != sizeof(*head->segments) ||
        !head->header.e_phnum || head->header.e_phnum > FILES_HEADERS_MAX ||
        !files_read(source, head->header.e_phoff, head->segments, head->header.e_phnum * sizeof(*head->segments)))
        return false;
    for (size_t i = 0; i < head->header.e_phnum; i++) {
        const Elf64_Phdr *segment = &head->segments[i];
        if (segment->p_type == PT_NOTE && segment->p_filesz <= sizeof(notes) &&
            files_read(source, segment->p_offset, notes, (size_t)segment->p_filesz) &&
            files_find_id(head, notes, (size_t)segment->p_filesz))
            break;
    }
    return true;
}

static bool files_read_core_head(struct files_head *head, const struct core *core, const struct core_file *file)
{
    const struct files_source source = {core, file->head, -1};

    return file->head && files_read_head(head, &source);
}

void core_read_build_id(struct core *core, struct core_file *file)
{
    struct files_head head;

    if (!file->head_read && files_read_core_head(&head, core, file)) {
        memcpy(file->build_id, head.id, sizeof(file->build_id));
        file->id_size = head.id_size;
    }
    file->head_read = true;
}

/* ---------------------------------------------------------------- is it the one? */

static void files_format_id(char *text, size_t room, const unsigned char *id, size_t size)
{
    snprintf(text, room, "none");
    for (size_t i = 0; i < size && 2 * i + 3 <= room; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
}

/* NULL: it is; else why it isn't (free() it). */
static char *files_compare(const struct core *core, const struct core_file *file, int fd, const char *place)
{
    const struct files_source source = {NULL, 0, fd};
    struct files_head here, there;
    char wanted[81], got[81], *why = NULL;

    if (!files_read_core_head(&there, core, file))
        return NULL;
    if (!files_read_head(&here, &source))
        return asprintf(&why, "%s is no ELF file", place) < 0 ? NULL : why;
    files_format_id(wanted, sizeof(wanted), there.id, there.id_size);
    files_format_id(got, sizeof(got), here.id, here.id_size);
    if (there.id_size ? there.id_size == here.id_size && !memcmp(there.id, here.id, there.id_size)
                      : !memcmp(&there.header, &here.header, offsetof(Elf64_Ehdr, e_shoff)) &&
                            there.header.e_phnum == here.header.e_phnum &&
                            !memcmp(there.segments, here.segments, there.header.e_phnum * sizeof(*there.segments)))
        return NULL;
    if (asprintf(&why, "%s is another file than the core's: its build-id is %s, not %s", place, got, wanted) < 0)
        why = strdup("out of memory");
    return why;
}

/* ---------------------------------------------------------------------- looking */

/* Below a directory, as if that were "/": links can't lead out of it. */
static int files_open_below(const char *root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    scoped_fd int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    scoped_fd int place = directory < 0 ? -1 : (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
    char again[64];

    if (place < 0)
        return -1;
    snprintf(again, sizeof(again), "/proc/self/fd/%d", place);
    return image_open_regular(again, 0);
}

/* Tries one place. True when it is to be looked no further: found, or out of memory. */
static bool files_try(const struct core *core, struct core_file *file, const char *root, const char *path)
{
    char *place = NULL;
    int fd = root ? files_open_below(root, path) : image_open_regular(path, 0), err = errno;

    if (asprintf(&place, "%s%s%s", root ? root : "", root && path[0] != '/' ? "/" : "", path) < 0) {
        if (fd >= 0)
            close(fd);
        return true;
    }
    if (fd < 0) { /* a file that is another one tells more than one that isn't there */
        if (!file->refused && err != ENOENT && asprintf(&file->refused, "%s: %s", place, strerror(err)) < 0)
            file->refused = NULL;
        free(place);
        return false;
    }
    char *why = files_compare(core, file, fd, place);
    if (why) {
        close(fd);
        free(place);
        free(file->refused);
        file->refused = why;
        return false;
    }
    free(file->refused);
    file->refused = NULL;
    file->fd = fd;
    file->found = place;
    return true;
}

/* Where Debian and others keep files, or links to them, by build-id: the file itself, without ".debug". */
static bool files_try_id(const struct core *core, struct core_file *file, const char *root)
{
    char id[81], path[160];

    if (file->id_size < 2)
        return false;
    files_format_id(id, sizeof(id), file->build_id, file->id_size);
    snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s", id, id + 2);
    return files_try(core, file, root, path);
}

static bool files_is_program(const struct core *core, const struct core_file *file)
{
    return core->entry && core->entry >= file->start && core->entry < file->end;
}

static void files_look(struct core *core, struct core_file *file)
{
    const struct core_options *options = &core->options;

    core_read_build_id(core, file);
    if (options->program && files_is_program(core, file)) {
        (void)files_try(core, file, NULL, options->program);
        return;
    }
    if (options->root && (files_try(core, file, options->root, file->path) || files_try_id(core, file, options->root)))
        return;
    if (!files_try(core, file, NULL, file->path))
        (void)files_try_id(core, file, NULL);
}

struct error *core_find_file(struct core *core, struct core_file *file, int *fd)
{
    if (!file->looked)
        files_look(core, file);
    file->looked = true;
    *fd = file->fd;
    if (file->fd >= 0)
        return NULL;
    if (file->refused)
        return error_create(ERROR_BAD_FILE, "give the right one: --exe FILE, or --root DIR", "%s", file->refused);
    return error_create(ERROR_BAD_FILE, "say where it is: --root DIR, where its path begins; the program itself: --exe FILE",
                        "%s, of which %s leaves out a part, isn't there", file->path, core->path);
}

struct error *core_open_file(struct core *core, const struct map *map, int *fd)
{
    int own;

    *fd = -1;
    if (!map->inode || map->inode > core->file_count)
        return error_create(ERROR_NOT_PYTHON, NULL, "0x%llx is in no file", (unsigned long long)map->start.value);
    struct error *error = core_find_file(core, &core->files[map->inode - 1], &own);
    if (error)
        return error;
    *fd = fcntl(own, F_DUPFD_CLOEXEC, 0);
    return *fd < 0 ? error_create_errno(ERROR_SYSTEM, errno, "can't open %s", map->path) : NULL;
}

struct error *core_get_lost(struct core *core)
{
    int fd;

    for (size_t i = 0; i < core->file_count; i++)
        if (core->files[i].looked && core->files[i].fd < 0)
            return core_find_file(core, &core->files[i], &fd);
    return NULL;
}
