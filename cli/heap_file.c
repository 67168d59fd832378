/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Between a heap and the records of a snapshot file. What people's data may be in is left out unless it is asked for:
 * values, and keys of dicts, but for those that hold names (of a module, a class, an instance).
 */
#include "cli/heap_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_namespaces.h"

#define FILE_NODES_PER_STEP 65536u
#define FILE_NAME_MAX 512
#define FILE_VALUE_MAX 4096

_Static_assert((int)HEAP_EDGE_TYPE == (int)SNAPSHOT_EDGE_TYPE && (int)HEAP_EDGE_WORD == (int)SNAPSHOT_EDGE_WORD &&
                   (int)HEAP_EDGE_VALUE == (int)SNAPSHOT_EDGE_VALUE && (int)HEAP_EDGE_LOCAL == (int)SNAPSHOT_EDGE_LOCAL &&
                   (int)HEAP_EDGE_STATE + 1 == (int)SNAPSHOT_EDGE_KINDS,
               "a file's kinds of edge are the heap's");
_Static_assert((int)HEAP_ROOT_FRAME == (int)SNAPSHOT_ROOT_FRAME && (int)HEAP_ROOT_THREAD == (int)SNAPSHOT_ROOT_THREAD &&
                   (int)HEAP_ROOT_OBJECT + 1 == (int)SNAPSHOT_ROOT_KINDS,
               "a file's kinds of root are the heap's");
_Static_assert((int)HEAP_VALUE_STR == (int)SNAPSHOT_STR && (int)HEAP_VALUE_BYTES == (int)SNAPSHOT_BYTES,
               "a file's kinds of value are the heap's");

/* ------------------------------------------------------------------- facts */

enum file_fact_kind { FACT_TEXT, FACT_NUMBER, FACT_FLAG, FACT_DECIMAL };

#define FACT(member, kind)                                                                                                 \
    {                                                                                                                      \
        #member, kind, offsetof(struct heap_origin, member), sizeof(((struct heap_origin *)0)->member)                     \
    }
static const struct file_fact {
    const char *key;
    enum file_fact_kind kind;
    size_t offset, size;
} file_facts[] = {
    FACT(pid, FACT_NUMBER),           FACT(start_time, FACT_NUMBER),    FACT(python, FACT_TEXT),
    FACT(host, FACT_TEXT),            FACT(time, FACT_TEXT),            FACT(container, FACT_TEXT),
    FACT(free_threaded, FACT_FLAG),   FACT(debug, FACT_FLAG),           FACT(method, FACT_TEXT),
    FACT(at_safe_point, FACT_FLAG),   FACT(why, FACT_TEXT),             FACT(refused, FACT_TEXT),
    FACT(pause_us, FACT_DECIMAL),     FACT(read_bytes, FACT_NUMBER),    FACT(missing_bytes, FACT_NUMBER),
    FACT(torn_pools, FACT_NUMBER),    FACT(broken_lists, FACT_NUMBER),  FACT(cut, FACT_FLAG),
    FACT(values, FACT_FLAG),          FACT(allocator, FACT_TEXT),       FACT(identity, FACT_NUMBER),
};
#define FILE_FACTS (sizeof(file_facts) / sizeof(file_facts[0]))

static void file_put_fact(struct snapshot_writer *writer, const struct heap_origin *origin, const struct file_fact *fact)
{
    const char *at = (const char *)origin + fact->offset;
    char text[64] = "";
    uint64_t number;
    double decimal;

    switch (fact->kind) {
    case FACT_TEXT:
        snapshot_put_fact(writer, fact->key, at);
        return;
    case FACT_NUMBER:
        memcpy(&number, at, sizeof(number));
        snprintf(text, sizeof(text), "%" PRIu64, number);
        break;
    case FACT_FLAG:
        snprintf(text, sizeof(text), "%d", *(const bool *)at);
        break;
    case FACT_DECIMAL:
        memcpy(&decimal, at, sizeof(decimal));
        snprintf(text, sizeof(text), "%.3f", decimal);
        break;
    }
    snapshot_put_fact(writer, fact->key, text);
}

/* A fact that we don't know is a later safepoint's. */
static struct error *file_take_fact(void *context, const char *key, const char *value)
{
    struct heap_file *file = context;
    char *at = NULL;
    uint64_t number = strtoull(value, NULL, 10);
    double decimal = strtod(value, NULL);
    const struct file_fact *fact = file_facts;

    for (size_t i = 0; i < FILE_FACTS && !at; i++) {
        fact = &file_facts[i];
        at = strcmp(fact->key, key) ? NULL : (char *)&file->origin + fact->offset;
    }
    if (!at)
        return NULL;
    if (fact->kind == FACT_TEXT) {
        scoped_free char *shown = cli_escape_line(value); /* a stranger's, as a target's */
        snprintf(at, fact->size, "%s", shown ? shown : "?");
    } else if (fact->kind == FACT_NUMBER)
        memcpy(at, &number, sizeof(number));
    else if (fact->kind == FACT_FLAG)
        *(bool *)at = number != 0;
    else
        memcpy(at, &decimal, sizeof(decimal));
    return NULL;
}

/* ----------------------------------------------------------------- reading */

#define FILE_IMMORTAL 8
#define FILE_TRACKED 16
#define FILE_GENERATION 7

static struct error *file_take_memory(struct heap_file *file, uint64_t bytes)
{
    file->taken += bytes;
    if (!file->max_memory || file->taken <= file->max_memory)
        return NULL;
    return error_create(ERROR_SYSTEM, "give it more: --max-memory", "the snapshot has more than --max-memory allows");
}

static bool file_grow(void *array, size_t count, size_t size)
{
    void *larger = realloc(*(void **)array, count * size);

    if (larger)
        *(void **)array = larger;
    return larger;
}

static struct error *file_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the snapshot");
}

/* How many will come is no promise: memory is taken as they do. */
static struct error *file_take_count(void *context, uint32_t count)
{
    (void)context, (void)count;
    return NULL;
}

static struct error *file_take_type(void *context, const struct snapshot_type *type)
{
    struct heap_file *file = context;
    struct error *error =
        file_take_memory(file, sizeof(*file->type_list) + strlen(type->name) + strlen(type->module));

    if (error)
        return error;
    if (file->type_count == file->type_room) {
        file->type_room = file->type_room ? file->type_room * 2 : 1024;
        if (!file_grow(&file->type_list, file->type_room, sizeof(*file->type_list)))
            return file_out_of_memory();
    }
    struct heap_file_type *taken = &file->type_list[file->type_count++];
    /* A stranger's texts, as a target's. */
    *taken = (struct heap_file_type){type->address, cli_escape_line(type->name), cli_escape_line(type->module)};
    return taken->name && taken->module ? NULL : file_out_of_memory();
}

static bool file_grow_nodes(struct heap_file *file)
{
    uint32_t room = file->room < UINT32_MAX / 2 ? (file->room ? file->room * 2 : 65536) : UINT32_MAX;

    if (!file_grow(&file->addresses, room, sizeof(*file->addresses)) ||
        !file_grow(&file->sizes, room, sizeof(*file->sizes)) || !file_grow(&file->types, room, sizeof(*file->types)) ||
        !file_grow(&file->refcounts, room, sizeof(*file->refcounts)) || !file_grow(&file->flags, room, 1))
        return false;
    file->room = room;
    return true;
}

static struct error *file_take_node(void *context, const struct snapshot_node *node)
{
    struct heap_file *file = context;
    struct error *error = file_take_memory(file, 25);

    if (error)
        return error;
    if (file->count == file->room && !file_grow_nodes(file))
        return file_out_of_memory();
    file->addresses[file->count] = node->address;
    file->sizes[file->count] = node->size;
    file->types[file->count] = node->type;
    file->refcounts[file->count] = node->refcount;
    file->flags[file->count++] =
        (uint8_t)(node->generation | (node->immortal ? FILE_IMMORTAL : 0) | (node->tracked ? FILE_TRACKED : 0));
    return NULL;
}

struct error *heap_file_read(struct heap_file *file, const char *path, uint64_t max_memory)
{
    const struct snapshot_events events = {.context = file,
                                           .fact = file_take_fact,
                                           .types = file_take_count,
                                           .type = file_take_type,
                                           .nodes = file_take_count,
                                           .node = file_take_node};

    *file = (struct heap_file){.max_memory = max_memory};
    file->stream = fopen(path, "re");
    if (!file->stream)
        return error_create_errno(ERROR_USAGE, errno, "%s is no process id, and can't be opened as a snapshot", path);
    if (!(file->path = strdup(path)))
        return file_out_of_memory();
    return error_context(snapshot_read(file->stream, &events, &file->known), "%s", path);
}

/* ----------------------------------------------------------- reading again */

struct error *heap_file_read_again(struct heap_file *file, const struct snapshot_events *events)
{
    rewind(file->stream);
    return error_context(snapshot_read_again(file->stream, events, &file->known), "%s", file->path);
}

void heap_file_deinit(struct heap_file *file)
{
    for (uint32_t i = 0; i < file->type_count; i++) {
        free(file->type_list[i].name);
        free(file->type_list[i].module);
    }
    if (file->stream)
        fclose(file->stream);
    free(file->path);
    free(file->type_list);
    free(file->addresses);
    free(file->sizes);
    free(file->types);
    free(file->refcounts);
    free(file->flags);
    *file = (struct heap_file){.count = 0};
}

struct heap_node heap_file_node(const struct heap_file *file, uint32_t number)
{
    return (struct heap_node){
        .address = file->addresses[number],
        .type = file->types[number],
        .size = file->sizes[number],
        .refcount = file->refcounts[number],
        .immortal = file->flags[number] & FILE_IMMORTAL,
        .tracked = file->flags[number] & FILE_TRACKED,
        .generation = file->flags[number] & FILE_GENERATION,
    };
}

/* ----------------------------------------------------------------- writing */

struct file_writing {
    struct snapshot_writer writer;
    struct heap *heap;
    const struct heap_progress *progress;
    struct heap_file_counts *counts;
    struct heap_namespaces namespaces;
    bool values;
    uint32_t from;
};

static struct error *file_step(const struct file_writing *writing, const char *what, uint32_t done)
{
    const struct heap_progress *progress = writing->progress;

    if (done % FILE_NODES_PER_STEP || !progress)
        return NULL;
    return progress->step(progress->context, what, done, heap_count(writing->heap));
}

static void file_write_types(struct file_writing *writing)
{
    uint32_t count = heap_type_count(writing->heap);

    snapshot_begin(&writing->writer, SNAPSHOT_TYPES, count);
    for (uint32_t i = 0; i < count; i++) {
        struct heap_type_info info = heap_get_type(writing->heap, i);
        const struct snapshot_type type = {info.address, info.name, info.module};
        snapshot_put_type(&writing->writer, &type);
    }
}

static struct error *file_write_nodes(struct file_writing *writing)
{
    uint32_t count = heap_count(writing->heap);
    struct error *error = NULL;

    snapshot_begin(&writing->writer, SNAPSHOT_NODES, count);
    for (uint32_t i = 0; i < count && !error; i++) {
        struct heap_node from = heap_get_node(writing->heap, i);
        const struct snapshot_node node = {from.address,  from.size,    from.type,      from.refcount,
                                           from.immortal, from.tracked, from.generation};
        snapshot_put_node(&writing->writer, &node);
        writing->counts->bytes += from.size;
        error = file_step(writing, "writing objects", i);
    }
    writing->counts->objects = count;
    return error;
}

/* An edge's name, and what names that are the same have in common. What is there already isn't made again. */
static const char *file_name_edge(struct file_writing *writing, const struct heap_edge *edge, char *text, uint64_t *id)
{
    *id = 0;
    if (edge->label) {
        *id = (uint64_t)(uintptr_t)edge->label << 2;
        return edge->label;
    }
    if (!edge->name)
        return NULL;
    *id = edge->name | (edge->kind == HEAP_EDGE_VALUE ? 1 : 2); /* objects are at multiples of 8 */
    if (snapshot_knows_name(&writing->writer, *id))
        return NULL;
    if (edge->kind != HEAP_EDGE_VALUE)
        return heap_read_name(writing->heap, edge->name, text, FILE_NAME_MAX) ? text : NULL;
    heap_format_key(writing->heap, edge->name, text, FILE_NAME_MAX);
    return text;
}

static void file_write_edge(void *context, const struct heap_edge *from)
{
    struct file_writing *writing = context;
    char text[FILE_NAME_MAX];
    uint64_t id = 0;
    struct snapshot_edge edge = {.from = writing->from,
                                 .target = heap_find(writing->heap, from->target),
                                 .kind = (uint8_t)from->kind,
                                 .counted = from->counted,
                                 .number = from->number};

    if (from->kind == HEAP_EDGE_VALUE) {
        uint32_t key = from->name ? heap_find(writing->heap, from->name) : HEAP_NONE;
        edge.number = key == HEAP_NONE ? 0 : (uint64_t)key + 1;
    }
    if (writing->values || heap_namespaces_tell(&writing->namespaces, writing->heap, writing->from, from))
        edge.name = file_name_edge(writing, from, text, &id);
    snapshot_put_edge(&writing->writer, &edge, id);
    writing->counts->edges++;
}

static struct error *file_write_edges(struct file_writing *writing)
{
    uint32_t count = heap_count(writing->heap);
    struct error *error = NULL;

    snapshot_begin(&writing->writer, SNAPSHOT_EDGES, 0);
    for (uint32_t i = 0; i < count && !error; i++) {
        writing->from = i;
        heap_visit_edges(writing->heap, i, file_write_edge, writing);
        error = file_step(writing, "writing references", i);
    }
    return error;
}

static void file_write_root(void *context, const struct heap_root *from)
{
    struct file_writing *writing = context;
    char text[FILE_NAME_MAX];
    struct snapshot_root root = {.kind = (uint8_t)from->kind,
                                 .target = heap_find(writing->heap, from->target),
                                 .code = from->code ? heap_find(writing->heap, from->code) : HEAP_NONE,
                                 .holder = from->holder,
                                 .number = from->number,
                                 .name = from->label,
                                 .counted = from->counted};

    if (!root.name && from->name && heap_read_name(writing->heap, from->name, text, sizeof(text)))
        root.name = text;
    snapshot_put_root(&writing->writer, &root);
    writing->counts->roots++;
}

static struct error *file_write_values(struct file_writing *writing)
{
    uint32_t count = heap_count(writing->heap);
    struct error *error = NULL;
    char text[FILE_VALUE_MAX];

    snapshot_begin(&writing->writer, SNAPSHOT_VALUES, 0);
    for (uint32_t i = 0; i < count && !error; i++) {
        struct snapshot_value value = {.node = i, .text = text};

        value.kind = (uint8_t)heap_read_value(writing->heap, i, text, sizeof(text), &value.size, &value.cut);
        if (value.kind != HEAP_VALUE_NONE) {
            snapshot_put_value(&writing->writer, &value);
            writing->counts->values++;
        }
        error = file_step(writing, "writing values", i);
    }
    return error;
}

static struct error *file_write_all(struct file_writing *writing, const struct heap_origin *origin)
{
    struct error *error = heap_namespaces_find(&writing->namespaces, writing->heap, writing->progress);

    if (error)
        return error;
    snapshot_begin(&writing->writer, SNAPSHOT_FACTS, 0);
    for (size_t i = 0; i < FILE_FACTS; i++)
        file_put_fact(&writing->writer, origin, &file_facts[i]);
    file_write_types(writing);
    if ((error = file_write_nodes(writing)) || (error = file_write_edges(writing)))
        return error;
    snapshot_begin(&writing->writer, SNAPSHOT_ROOTS, 0);
    heap_visit_roots(writing->heap, file_write_root, writing);
    if (writing->values && (error = file_write_values(writing)))
        return error;
    return snapshot_finish(&writing->writer);
}

struct error *heap_file_write(FILE *stream, struct heap *heap, const struct heap_origin *origin,
                              const struct heap_progress *progress, struct heap_file_counts *counts)
{
    struct file_writing writing = {.heap = heap, .progress = progress, .counts = counts, .values = origin->values};

    *counts = (struct heap_file_counts){0};
    heap_read_generations(heap);
    snapshot_writer_init(&writing.writer, stream);
    struct error *error = file_write_all(&writing, origin);
    counts->file_bytes = writing.writer.container.written;
    snapshot_writer_deinit(&writing.writer);
    heap_namespaces_deinit(&writing.namespaces);
    return error;
}
