/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/memory.h"

#include <string.h>

struct error *memory_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    return size ? memory->ops->read(memory, from, to, size) : NULL;
}

struct error *memory_write(const struct memory *memory, struct address to, const void *from, size_t size)
{
    return size ? memory->ops->write(memory, to, from, size) : NULL;
}

struct error *memory_read_u8(const struct memory *memory, struct address from, uint8_t *value)
{
    return memory_read(memory, from, value, sizeof(*value));
}

struct error *memory_read_u32(const struct memory *memory, struct address from, uint32_t *value)
{
    return memory_read(memory, from, value, sizeof(*value));
}

struct error *memory_read_u64(const struct memory *memory, struct address from, uint64_t *value)
{
    return memory_read(memory, from, value, sizeof(*value));
}

struct error *memory_read_address(const struct memory *memory, struct address from, struct address *value)
{
    return memory_read(memory, from, &value->value, sizeof(value->value));
}

struct error *memory_read_string(const struct memory *memory, struct address from, char *buffer, size_t size)
{
    const size_t page = 4096;
    size_t length = 0;

    /* Page by page: what lies behind the string may not be readable. */
    while (length + 1 < size) {
        struct address at = address_add(from, length);
        size_t part = page - at.value % page;

        if (part > size - 1 - length)
            part = size - 1 - length;
        struct error *error = memory_read(memory, at, buffer + length, part);
        if (error) {
            buffer[length] = '\0';
            return error;
        }
        if (memchr(buffer + length, '\0', part))
            return NULL;
        length += part;
    }
    if (size)
        buffer[length] = '\0';
    return NULL;
}

/* Where in the fake's bytes an access begins, or NULL when it leaves them. */
static unsigned char *memory_fake_locate(const struct memory *memory, struct address at, size_t size)
{
    const struct memory_fake *fake = memory->source;
    uint64_t offset = at.value - fake->base.value;

    if (at.value < fake->base.value || offset > fake->size || size > fake->size - offset)
        return NULL;
    return fake->bytes + offset;
}

static struct error *memory_fake_read(const struct memory *memory, struct address from, void *to, size_t size)
{
    const unsigned char *bytes = memory_fake_locate(memory, from, size);

    if (!bytes)
        return error_create(ERROR_FAULT, NULL, "no memory at 0x%llx", (unsigned long long)from.value);
    memcpy(to, bytes, size);
    return NULL;
}

static struct error *memory_fake_write(const struct memory *memory, struct address to, const void *from, size_t size)
{
    unsigned char *bytes = memory_fake_locate(memory, to, size);

    if (!bytes)
        return error_create(ERROR_FAULT, NULL, "no memory at 0x%llx", (unsigned long long)to.value);
    memcpy(bytes, from, size);
    return NULL;
}

static const struct memory_ops memory_fake_ops = {memory_fake_read, memory_fake_write, false};

void memory_fake_init(struct memory_fake *fake, struct address base, void *bytes, size_t size)
{
    *fake = (struct memory_fake){{&memory_fake_ops, fake}, base, bytes, size};
}
