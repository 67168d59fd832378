/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A heap layout is a row of ours under what the process says of itself. Where
 * both speak, the process is right: it was compiled with the very headers.
 */
#include "runtime/heap/layout.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/heap/layout_tables.h"

struct said {
    size_t from; /* in struct layout */
    size_t to;   /* in struct heap_layout */
};

#define SAID(from, to)                                                       \
    {                                                                        \
        offsetof(struct layout, heap.from), offsetof(struct heap_layout, to) \
    }

static const struct said said_fields[] = {
    SAID(modules, interpreter.modules),
    SAID(sysdict, interpreter.sysdict),
    SAID(builtins, interpreter.builtins),
    SAID(type_flags, type.flags),
    SAID(tuple_items, tuple.items),
    SAID(list_items, list.items),
    SAID(set_mask, set.mask),
    SAID(set_table, set.table),
    SAID(dict_keys, dict.keys),
    SAID(dict_values, dict.values),
    SAID(int_tag, integer.tag),
    SAID(int_digits, integer.digits),
    SAID(code_localsplusnames, code.localsplusnames),
    SAID(frame_localsplus, iframe.localsplus),
    SAID(frame_stackpointer, iframe.stackpointer),
    SAID(generator_frame, generator.iframe),
    SAID(generator_frame_state, generator.frame_state),
};

static const struct heap_layout *find_row(unsigned minor, bool free_threaded)
{
    for (size_t i = 0; i < heap_layout_tables_count; i++)
        if (heap_layout_tables[i].minor == minor && heap_layout_tables[i].free_threaded == free_threaded)
            return &heap_layout_tables[i];
    return NULL;
}

static void lay_over(const struct layout *said, struct heap_layout *layout)
{
    for (size_t i = 0; i < sizeof(said_fields) / sizeof(said_fields[0]); i++) {
        uint32_t value;

        memcpy(&value, (const char *)said + said_fields[i].from, sizeof(value));
        if (value != OFF_NONE)
            memcpy((char *)layout + said_fields[i].to, &value, sizeof(value));
    }
}

static void lay_variants(const struct runtime *runtime, struct heap_layout *layout)
{
    int patch = (int)(runtime->version_hex >> 8 & 0xff);

    for (size_t i = 0; i < heap_layout_variants_count; i++) {
        const struct heap_layout_variant *variant = &heap_layout_variants[i];

        if (variant->minor == layout->minor && (variant->patch == HEAP_ANY_PATCH || variant->patch == patch) &&
            (!variant->debug_build || runtime->debug_build))
            memcpy((char *)layout + variant->field, &variant->value, sizeof(variant->value));
    }
}

struct error *heap_layout_find(const struct runtime *runtime, struct heap_layout *layout)
{
    const struct layout *said = &runtime->layout;
    const struct heap_layout *row = find_row(said->minor, runtime->free_threaded);

    if (!row)
        return error_create(ERROR_UNSUPPORTED, NULL, "the heap of a %sCPython 3.%u is not known",
                            runtime->free_threaded ? "free-threaded " : "", said->minor);
    *layout = *row;
    lay_variants(runtime, layout);
    if (said->minor >= LAYOUT_MINOR_DEBUG_OFFSETS)
        lay_over(said, layout);
    if (layout->object.type != said->object.ob_type)
        return error_create(ERROR_UNSUPPORTED, "a build whose layout we don't know; please report it",
                            "ob_type is at %u, %s has it at %u", said->object.ob_type, row->origin,
                            layout->object.type);
    return NULL;
}

void heap_layout_deinit(struct heap_layout *layout)
{
    free(layout->own_names);
    layout->own_names = NULL;
}
