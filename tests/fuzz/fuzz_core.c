/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A core file of any content: its headers, notes, memory, mappings and threads. No file that it names is looked for below "/". */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attach/core.h"
#include "runtime/heap/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_at(const struct process *process, uint64_t from, size_t size)
{
    static unsigned char bytes[8192];

    error_destroy(memory_read(&process->memory, address_of(from), bytes, size));
}

/* Around each border, where pieces of it come from different places. */
static void read_borders(struct process *process, const struct maps *maps)
{
    for (size_t i = 0; i < maps->count && i < 64; i++) {
        const struct map *map = &maps->entries[i];
        int fd;

        read_at(process, map->start.value, 1);
        read_at(process, map->start.value - 16, 32);
        read_at(process, map->end.value - 4096, 8192);
        struct error *error = core_open_file(process->core, map, &fd);
        if (!error)
            close(fd);
        error_destroy(error);
    }
}

static void find_memory(const struct core *core, const struct maps *maps)
{
    struct heap_span *spans = NULL;
    size_t count;
    uint64_t missing, last = 0;
    struct error *error = heap_spans_find_core(core, maps, &spans, &count, &missing);

    for (size_t i = 0; !error && i < count; i++) {
        if (spans[i].start < last || spans[i].size % 4096 || !spans[i].size)
            abort(); /* what the image relies on */
        last = spans[i].start + spans[i].size;
    }
    error_destroy(error);
    free(spans);
}

static void look(struct process *process)
{
    struct core_file_info file;
    struct maps maps;
    size_t count, size;
    struct core_info info = core_get_info(process->core);
    struct error *error = core_read_maps(process->core, &maps);

    for (size_t i = 0; core_get_file(process->core, i, &file); i++)
        ;
    (void)core_threads(process->core, &count);
    (void)core_auxv(process->core, &size);
    (void)process_find_entry(process);
    if (!info.path || !info.name || !info.arguments)
        abort();
    if (!error) {
        read_borders(process, &maps);
        find_memory(process->core, &maps);
        maps_deinit(&maps);
    }
    error_destroy(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct core_options options = {NULL, "/proc/self/fdinfo"};
    static int kept = -1;
    struct process process;

    if (kept < 0)
        kept = memfd_create("fuzz", MFD_CLOEXEC);
    if (ftruncate(kept, 0) < 0 || pwrite(kept, data, size, 0) != (ssize_t)size)
        abort();
    struct error *error = process_open_core_fd(&process, dup(kept), "fuzzed", &options);
    if (!error) {
        look(&process);
        process_close(&process);
    }
    error_destroy(error);
    return 0;
}
