/* SPDX-License-Identifier: GPL-3.0-or-later */
/* snapshot-dump FILE: all records of a snapshot, a line of fields between tabs each, for tests/live/test_snapshot.py. */
#include <inttypes.h>
#include <stdio.h>

#include "protocol/snapshot.h"

static struct error *fact(void *context, const char *key, const char *value)
{
    (void)context;
    printf("fact\t%s\t%s\n", key, value);
    return NULL;
}

static struct error *count(void *context, uint32_t number)
{
    (void)context;
    printf("count\t%" PRIu32 "\n", number);
    return NULL;
}

static struct error *type(void *context, const struct snapshot_type *one)
{
    (void)context;
    printf("type\t%" PRIu64 "\t%s\t%s\n", one->address, one->name, one->module);
    return NULL;
}

static struct error *node(void *context, const struct snapshot_node *one)
{
    (void)context;
    printf("node\t%" PRIu64 "\t%" PRIu32 "\t%" PRIu64 "\t%" PRIu32 "\t%d\t%d\t%d\n", one->address, one->type, one->size,
           one->refcount, one->immortal, one->tracked, one->generation);
    return NULL;
}

static struct error *edge(void *context, const struct snapshot_edge *one)
{
    (void)context;
    printf("edge\t%" PRIu32 "\t%" PRIu32 "\t%d\t%d\t%" PRIu64 "\t%s\n", one->from, one->target, one->kind, one->counted,
           one->number, one->name ? one->name : "");
    return NULL;
}

static struct error *root(void *context, const struct snapshot_root *one)
{
    (void)context;
    printf("root\t%d\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu64 "\t%" PRIu64 "\t%s\n", one->kind, one->target, one->code,
           one->holder, one->number, one->name ? one->name : "");
    return NULL;
}

static struct error *value(void *context, const struct snapshot_value *one)
{
    (void)context;
    printf("value\t%" PRIu32 "\t%d\t%d\t", one->node, one->kind, one->cut);
    for (size_t i = 0; i < one->size; i++)
        printf("%02x", (unsigned char)one->text[i]);
    printf("\n");
    return NULL;
}

int main(int argc, char **argv)
{
    const struct snapshot_events events = {NULL, fact, count, type, count, node, edge, root, value};
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;

    if (!file)
        return 2;
    struct error *error = snapshot_read(file, &events, NULL);
    fclose(file);
    if (!error)
        return 0;
    fprintf(stderr, "%s\n", error_message(error));
    error_destroy(error);
    return 1;
}
