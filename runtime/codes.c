/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/codes.h"

#include <string.h>

#include "attach/scope.h"
#include "runtime/lines.h"
#include "runtime/objects.h"

#define FUNCTION_MAX   256
#define FILE_MAX_      1024
#define LINE_TABLE_MAX (4u << 20)
/* More than the stacks of any process have; and their texts in bytes. */
#define CODES_MAX 65536
#define BYTES_MAX (256u << 20)

void codes_init(struct codes *codes)
{
    *codes = (struct codes){0};
}

static void code_destroy(struct code *code)
{
    if (!code)
        return;
    free(code->function);
    free(code->file);
    free(code->line_table);
    free(code);
}

void codes_deinit(struct codes *codes)
{
    for (size_t i = 0; i < codes->count; i++)
        code_destroy(codes->items[i]);
    free(codes->items);
    *codes = (struct codes){0};
}

/* -------------------------------------------------------------------- read */

/* Its parts in the order of `identity`: type, name, file, lines, first line. */
static struct error *read_identity(const struct runtime *runtime, struct address address, uint64_t *identity)
{
    const struct layout *layout = &runtime->layout;
    const struct memory *memory = &runtime->process->memory;
    uint32_t name = layout->code.qualname != OFF_NONE ? layout->code.qualname : layout->code.name;
    uint32_t first;
    struct error *error;

    if ((error = memory_read_u64(memory, address_add(address, layout->object.ob_type), &identity[0])) ||
        (error = memory_read_u64(memory, address_add(address, name), &identity[1])) ||
        (error = memory_read_u64(memory, address_add(address, layout->code.filename), &identity[2])) ||
        (error = memory_read_u64(memory, address_add(address, layout->code.linetable), &identity[3])) ||
        (error = memory_read_u32(memory, address_add(address, layout->code.firstlineno), &first)))
        return error;
    identity[4] = first;
    return NULL;
}

static struct error *read_text(const struct runtime *runtime, uint64_t object, size_t room, char **text)
{
    char buffer[FILE_MAX_];
    struct error *error = object_read_str(runtime, address_of(object), buffer, room < sizeof(buffer) ? room : sizeof(buffer));

    if (!error && !(*text = strdup(buffer)))
        error = error_create(ERROR_SYSTEM, NULL, "out of memory for the names of functions");
    return error;
}

static struct error *code_read(const struct runtime *runtime, struct address address, struct code *code)
{
    struct error *error;

    code->address = address;
    if (address.value % 8 || !object_has_type(runtime, address, "code"))
        return error_create(ERROR_BUSY, "the process is changing; try again", "no code object at %#llx",
                            (unsigned long long)address.value);
    if ((error = read_identity(runtime, address, code->identity)) ||
        (error = read_text(runtime, code->identity[1], FUNCTION_MAX, &code->function)) ||
        (error = read_text(runtime, code->identity[2], FILE_MAX_, &code->file)))
        return error;
    code->first_line = (int)code->identity[4];
    return object_read_bytes(runtime, address_of(code->identity[3]), LINE_TABLE_MAX, &code->line_table,
                             &code->line_table_size);
}

/* -------------------------------------------------------------------- find */

/* The place of an address: of the first item that isn't below it. */
static size_t codes_place(const struct codes *codes, struct address address)
{
    size_t low = 0, high = codes->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (codes->items[middle]->address.value < address.value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct error *codes_insert(struct codes *codes, size_t place, struct code *code)
{
    codes->bytes += code->line_table_size;
    if (codes->count == CODES_MAX || codes->bytes > BYTES_MAX)
        return error_create(ERROR_UNSUPPORTED, "its memory is damaged, or not CPython's",
                            "its frames are of more functions than any program's");
    if (codes->count == codes->room) {
        size_t room = codes->room ? codes->room * 2 : 64;
        struct code **larger = reallocarray(codes->items, room, sizeof(struct code *));
        if (!larger)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for the names of functions");
        codes->items = larger;
        codes->room = room;
    }
    memmove(codes->items + place + 1, codes->items + place, (codes->count - place) * sizeof(struct code *));
    codes->items[place] = code;
    codes->count++;
    return NULL;
}

struct error *codes_find(struct codes *codes, const struct runtime *runtime, struct address address,
                         const struct code **code)
{
    size_t place = codes_place(codes, address);
    uint64_t identity[5];
    struct error *error;

    if (place < codes->count && codes->items[place]->address.value == address.value) {
        *code = codes->items[place];
        if ((error = read_identity(runtime, address, identity)) || !memcmp(identity, (*code)->identity, sizeof(identity)))
            return error;
        /* Frames that were found before may show it: it stays, and the new one is found first. */
    }
    struct code *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the names of functions");
    if ((error = code_read(runtime, address, fresh)) || (error = codes_insert(codes, place, fresh))) {
        code_destroy(fresh);
        return error;
    }
    *code = fresh;
    return NULL;
}

int code_find_line(const struct runtime *runtime, const struct code *code, int64_t instruction)
{
    return lines_find(runtime->layout.line_format, code->line_table, code->line_table_size, code->first_line,
                      instruction);
}
