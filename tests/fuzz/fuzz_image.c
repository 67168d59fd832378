/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An ELF file of a hostile target, from a descriptor and from memory. The last byte of the
 * input says which mapping of the file it was; the rest is the file.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attach/image.h"

#define START 0x7f0000000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct image *image)
{
    static const char *const names[] = {"_PyRuntime", "munmap", "", "abs", "no_such_name"};
    static const char code[] = "\x0f\x05\xc3";
    struct image_range range = {ADDRESS_NULL, 0};
    struct address found;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        image_find_export(image, names[i], &range);
        image_find_symbol(image, names[i], &range);
        image_find_section(image, names[i], &range);
    }
    image_find_section(image, ".PyRuntime", &range);
    image_find_code(image, code, 3, ADDRESS_NULL, &found);
    image_find_code(image, code, 3, range.start, &found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int kept = -1;
    unsigned kind = size ? data[--size] : 0;
    struct map map = {.start = {START}, .end = {START + 65536}, .offset = (kind & 15) * 4096, .inode = 1,
                      .readable = true, .executable = kind & 16, .path = "/fuzzed"};
    struct image *image;
    struct memory_fake fake;

    if (kept < 0)
        kept = memfd_create("fuzz", MFD_CLOEXEC);
    if (ftruncate(kept, 0) < 0 || pwrite(kept, data, size, 0) != (ssize_t)size)
        abort();
    struct error *error = image_open_fd(&image, dup(kept), &map);
    if (!error)
        ask(image);
    error_destroy(error);
    image_close(image);

    unsigned char *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = data[i];
    memory_fake_init(&fake, map.start, bytes, size);
    error = image_open_memory(&image, &fake.memory, &map);
    if (!error)
        ask(image);
    error_destroy(error);
    image_close(image);
    free(bytes);
    return 0;
}
