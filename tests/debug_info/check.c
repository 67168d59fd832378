/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Compares the layouts that a running Python is read by (the tables, the debug offsets) with what its debug information says,
 * field by field: check PID. Exit status 0: all the same; 1: not, each difference on a line; 2: can't be compared, and why.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap/debug_layout.h"

static unsigned compared, wrong;

static int fail(struct error *error)
{
    printf("%s\n", error_message(error));
    error_destroy(error);
    return 2;
}

static uint32_t read_field(const void *layout, uint32_t at)
{
    uint32_t value;

    memcpy(&value, (const char *)layout + at, sizeof(value));
    return value;
}

static const char *name_at(const struct layout_field *fields, size_t count, uint32_t at)
{
    for (size_t i = 0; i < count; i++)
        if (fields[i].to == at)
            return fields[i].name;
    return "a field without a row";
}

/* Each number of the layout from `first` up to `end`, except `but`. */
static void compare(const char *what, const void *ours, const void *theirs, size_t first, size_t end, size_t but,
                    const struct layout_field *fields, size_t count)
{
    for (size_t at = first; at < end; at += sizeof(uint32_t)) {
        uint32_t a = read_field(ours, (uint32_t)at), b = read_field(theirs, (uint32_t)at);

        if (at == but || (a == OFF_NONE && b == OFF_NONE))
            continue;
        compared++;
        if (a == b)
            continue;
        wrong++;
        printf("%s %s (%zu): ours %d, the debug information's %d\n", what, name_at(fields, count, (uint32_t)at), at, (int)a,
               (int)b);
    }
}

static const struct heap_name *find_name(const struct heap_layout *layout, const struct heap_name *wanted)
{
    for (const struct heap_name *name = layout->names; name->type; name++)
        if (!strcmp(name->type, wanted->type) && !strcmp(name->name, wanted->name))
            return name;
    return NULL;
}

static void compare_names(const struct heap_layout *ours, const struct heap_layout *theirs)
{
    for (const struct heap_name *name = ours->names; name->type; name++) {
        const struct heap_name *other = find_name(theirs, name);

        compared++;
        if (other && other->offset == name->offset)
            continue;
        wrong++;
        printf("name %s.%s: ours %u, the debug information's %d\n", name->type, name->name, name->offset,
               other ? (int)other->offset : -1);
    }
}

static struct error *compare_all(struct runtime *runtime)
{
    struct layout layout;
    struct heap_layout ours, theirs;
    /* From 3.12 on we search for the queue. */
    size_t searched = runtime->layout.minor >= 12 ? offsetof(struct layout, runtime.pending) : SIZE_MAX;
    struct error *error = debug_layout_find(runtime, &layout);

    if (error)
        return error;
    compare("layout", &runtime->layout, &layout, offsetof(struct layout, runtime), offsetof(struct layout, heap), searched,
            layout_debug_fields, layout_debug_field_count);
    if ((error = heap_layout_find(runtime, &ours)) ||
        (error = heap_debug_layout_find(runtime, &theirs)))
        return error;
    compare_names(&ours, &theirs);
    compare("heap", &ours, &theirs, offsetof(struct heap_layout, interpreter),
            offsetof(struct heap_layout, weakref) + sizeof(ours.weakref), SIZE_MAX, heap_debug_fields, heap_debug_field_count);
    heap_layout_deinit(&theirs);
    return NULL;
}

int main(int argc, char **argv)
{
    struct process process;
    struct maps maps;
    struct runtime runtime;
    struct error *error = process_open(&process, argc > 1 ? atoi(argv[1]) : 0);

    if (error)
        return fail(error);
    if ((error = process_read_maps(&process, &maps)) || (error = runtime_find(&runtime, &process, &maps)))
        return fail(error);
    error = compare_all(&runtime);
    runtime_close(&runtime);
    maps_deinit(&maps);
    process_close(&process);
    if (error)
        return fail(error);
    printf("%u compared, %u wrong\n", compared, wrong);
    return wrong != 0;
}
