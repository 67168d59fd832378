/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Snapshot files of any bytes. The first byte says what the rest is: even, a file as it is; odd, sections to be put into a
 * sound container (a byte of kind, two of size, the bytes), since no mutation finds a checksum.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/snapshot.h"

static volatile uint64_t sum; /* what is called back is looked at */

static void look(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum += (unsigned char)text[i];
}

static struct error *fact(void *context, const char *key, const char *value)
{
    (void)context;
    look(key, strlen(key));
    look(value, strlen(value));
    return NULL;
}

static struct error *count(void *context, uint32_t number)
{
    (void)context;
    sum += number;
    return NULL;
}

static struct error *type(void *context, const struct snapshot_type *one)
{
    (void)context;
    look(one->name, strlen(one->name));
    look(one->module, strlen(one->module));
    return NULL;
}

static struct error *node(void *context, const struct snapshot_node *one)
{
    uint64_t *last = context;

    if (one->address <= last[0] && last[0])
        abort();
    last[0] = one->address;
    last[1]++;
    return NULL;
}

static struct error *edge(void *context, const struct snapshot_edge *one)
{
    const uint64_t *last = context;

    if (one->from >= last[1] || one->target >= last[1] || one->kind >= SNAPSHOT_EDGE_KINDS)
        abort();
    if (one->name)
        look(one->name, strlen(one->name));
    return NULL;
}

static struct error *root(void *context, const struct snapshot_root *one)
{
    const uint64_t *last = context;

    if (one->target >= last[1] || (one->code != SNAPSHOT_NONE && one->code >= last[1]))
        abort();
    if (one->name)
        look(one->name, strlen(one->name));
    return NULL;
}

static struct error *value(void *context, const struct snapshot_value *one)
{
    const uint64_t *last = context;

    if (one->node >= last[1])
        abort();
    look(one->text, one->size);
    return NULL;
}

static void read_file(const void *bytes, size_t size)
{
    uint64_t last[2] = {0, 0};
    const struct snapshot_events events = {last, fact, count, type, count, node, edge, root, value};
    FILE *file = size ? fmemopen((void *)(uintptr_t)bytes, size, "r") : NULL;

    if (!file)
        return;
    struct error *error = snapshot_read(file, &events, NULL);
    error_destroy(error);
    fclose(file);
}

static void put_sections(struct container_writer *writer, const uint8_t *data, size_t size)
{
    while (size > 3) {
        size_t wanted = data[1] | (size_t)data[2] << 8, part = wanted < size - 3 ? wanted : size - 3;

        container_begin(writer, data[0] % 8 ? data[0] % 8 : 1);
        container_put(writer, data + 3, part);
        data += 3 + part;
        size -= 3 + part;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct container_writer writer;
    char *bytes = NULL;
    size_t made = 0;

    if (!size || !(data[0] & 1)) {
        if (size)
            read_file(data + 1, size - 1);
        return 0;
    }
    FILE *file = open_memstream(&bytes, &made);
    if (!file)
        return 0;
    container_writer_init(&writer, file);
    put_sections(&writer, data + 1, size - 1);
    struct error *error = container_finish(&writer);
    error_destroy(error);
    container_writer_deinit(&writer);
    fclose(file);
    read_file(bytes, made);
    free(bytes);
    return 0;
}
