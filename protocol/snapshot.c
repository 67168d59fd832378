/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/snapshot.h"

#include <stdlib.h>
#include <string.h>

/* An edge begins with its kind + 1, and these; 0 ends a node's edges. */
#define EDGE_KIND 0x1f
#define EDGE_UNCOUNTED 0x20
#define EDGE_NAMED 0x40
#define EDGE_NUMBERED 0x80

#define NODE_GENERATION 0x07
#define NODE_IMMORTAL 0x08
#define NODE_TRACKED 0x10

#define ROOT_COUNTED 0x80

#define VALUE_KIND 0x7f
#define VALUE_CUT 0x80

/* A name is a number: of an earlier one + NAME_FIRST, or one of these before the text. */
#define NAME_ONCE 0
#define NAME_KEPT 1
#define NAME_FIRST 2

/* ------------------------------------------------------------------- names */

static uint32_t names_slot(const struct snapshot_names *names, uint64_t id)
{
    uint32_t at = (uint32_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (names->room - 1);

    while (names->ids[at] && names->ids[at] != id)
        at = (at + 1) & (names->room - 1);
    return at;
}

static bool names_grow(struct snapshot_names *names)
{
    struct snapshot_names larger = {.count = names->count, .bytes = names->bytes, .room = names->room ? names->room * 2 : 4096};

    larger.ids = calloc(larger.room, sizeof(*larger.ids));
    larger.numbers = calloc(larger.room, sizeof(*larger.numbers));
    if (!larger.ids || !larger.numbers) {
        free(larger.ids);
        free(larger.numbers);
        return false;
    }
    for (uint32_t i = 0; i < names->room; i++) {
        uint32_t at;

        if (!names->ids[i])
            continue;
        at = names_slot(&larger, names->ids[i]);
        larger.ids[at] = names->ids[i];
        larger.numbers[at] = names->numbers[i];
    }
    free(names->ids);
    free(names->numbers);
    *names = larger;
    return true;
}

/* False: the table is full, or there is no memory for more. */
static bool names_add(struct snapshot_names *names, uint64_t id, size_t size)
{
    if (!id || names->count == SNAPSHOT_NAMES_MAX || names->bytes + size > SNAPSHOT_NAMES_BYTES ||
        (names->count * 2 >= names->room && !names_grow(names)))
        return false;
    uint32_t at = names_slot(names, id);
    names->ids[at] = id;
    names->numbers[at] = names->count++;
    names->bytes += size;
    return true;
}

static void names_clear(struct snapshot_names *names)
{
    free(names->ids);
    free(names->numbers);
    *names = (struct snapshot_names){0};
}

bool snapshot_knows_name(const struct snapshot_writer *writer, uint64_t name_id)
{
    return name_id && writer->names.room && writer->names.ids[names_slot(&writer->names, name_id)] == name_id;
}

/* ----------------------------------------------------------------- writing */

void snapshot_writer_init(struct snapshot_writer *writer, FILE *file)
{
    *writer = (struct snapshot_writer){.from = 0};
    container_writer_init(&writer->container, file);
}

void snapshot_writer_deinit(struct snapshot_writer *writer)
{
    container_writer_deinit(&writer->container);
    names_clear(&writer->names);
}

void snapshot_begin(struct snapshot_writer *writer, enum snapshot_section section, uint64_t count)
{
    container_begin(&writer->container, section);
    names_clear(&writer->names);
    writer->from = 0;
    writer->address = 0;
    if (section == SNAPSHOT_TYPES || section == SNAPSHOT_NODES)
        container_put_number(&writer->container, count);
}

static void put_text(struct snapshot_writer *writer, const char *text)
{
    size_t size = strlen(text);

    container_put_text(&writer->container, text, size < SNAPSHOT_TEXT_MAX ? size : SNAPSHOT_TEXT_MAX);
}

static void put_name(struct snapshot_writer *writer, const char *name, uint64_t id)
{
    if (snapshot_knows_name(writer, id)) {
        container_put_number(&writer->container, NAME_FIRST + writer->names.numbers[names_slot(&writer->names, id)]);
        return;
    }
    container_put_number(&writer->container, names_add(&writer->names, id, strlen(name)) ? NAME_KEPT : NAME_ONCE);
    put_text(writer, name);
}

static void put_byte(struct snapshot_writer *writer, unsigned value)
{
    unsigned char byte = (unsigned char)value;

    container_put(&writer->container, &byte, 1);
}

void snapshot_put_fact(struct snapshot_writer *writer, const char *key, const char *value)
{
    put_text(writer, key);
    put_text(writer, value);
}

void snapshot_put_type(struct snapshot_writer *writer, const struct snapshot_type *type)
{
    container_put_number(&writer->container, type->address);
    put_text(writer, type->name);
    put_text(writer, type->module);
}

void snapshot_put_node(struct snapshot_writer *writer, const struct snapshot_node *node)
{
    container_put_number(&writer->container, (node->address - writer->address) / 8);
    container_put_number(&writer->container, node->type);
    container_put_number(&writer->container, node->size);
    container_put_number(&writer->container, node->refcount);
    put_byte(writer, (node->generation & NODE_GENERATION) | (node->immortal ? NODE_IMMORTAL : 0) |
                         (node->tracked ? NODE_TRACKED : 0));
    writer->address = node->address;
}

void snapshot_put_edge(struct snapshot_writer *writer, const struct snapshot_edge *edge, uint64_t name_id)
{
    bool named = edge->name || snapshot_knows_name(writer, name_id);

    for (; writer->from < edge->from; writer->from++)
        put_byte(writer, 0);
    put_byte(writer, (edge->kind + 1u) | (edge->counted ? 0 : EDGE_UNCOUNTED) | (named ? EDGE_NAMED : 0) |
                         (edge->number ? EDGE_NUMBERED : 0));
    container_put_signed(&writer->container, (int64_t)edge->target - edge->from);
    if (edge->number)
        container_put_number(&writer->container, edge->number);
    if (named)
        put_name(writer, edge->name, name_id);
}

void snapshot_put_root(struct snapshot_writer *writer, const struct snapshot_root *root)
{
    put_byte(writer, root->kind | (root->counted ? ROOT_COUNTED : 0));
    container_put_number(&writer->container, root->target);
    container_put_number(&writer->container, (uint32_t)(root->code + 1u));
    container_put_number(&writer->container, root->holder);
    container_put_number(&writer->container, root->number);
    put_text(writer, root->name ? root->name : "");
}

void snapshot_put_value(struct snapshot_writer *writer, const struct snapshot_value *value)
{
    container_put_number(&writer->container, value->node - writer->from);
    put_byte(writer, value->kind | (value->cut ? VALUE_CUT : 0));
    container_put_text(&writer->container, value->text, value->size);
    writer->from = value->node;
}

struct error *snapshot_finish(struct snapshot_writer *writer)
{
    return container_finish(&writer->container);
}

/* ----------------------------------------------------------------- reading */

struct snapshot_reader {
    struct container_reader container;
    const struct snapshot_events *events;
    bool again;            /* types and nodes are known */
    uint32_t types, nodes; /* that there are */
    uint32_t last;         /* the section before this one */
    char **names;
    uint32_t name_count, name_room;
    uint64_t name_bytes;
};

static struct error *snapshot_bad(const char *why)
{
    return error_create(ERROR_BAD_FILE, NULL, "the snapshot is damaged: %s", why);
}

static struct error *get_text(struct snapshot_reader *reader, char **text)
{
    size_t size;
    struct error *error = container_get_text(&reader->container, SNAPSHOT_TEXT_MAX, text, &size);

    if (error || strlen(*text) == size)
        return error;
    free(*text);
    *text = NULL;
    return snapshot_bad("a text has a NUL");
}

/* A number below a bound. */
static struct error *get_below(struct snapshot_reader *reader, uint64_t bound, uint32_t *value, const char *why)
{
    uint64_t number;
    struct error *error = container_get_number(&reader->container, &number);

    if (!error && number >= bound)
        error = snapshot_bad(why);
    *value = error ? 0 : (uint32_t)number;
    return error;
}

static struct error *get_byte(struct snapshot_reader *reader, uint8_t *byte)
{
    return container_get_byte(&reader->container, byte);
}

static struct error *keep_name(struct snapshot_reader *reader, char *text)
{
    size_t size = strlen(text);

    if (reader->name_count == SNAPSHOT_NAMES_MAX || reader->name_bytes + size > SNAPSHOT_NAMES_BYTES)
        return snapshot_bad("it has too many names");
    if (reader->name_count == reader->name_room) {
        uint32_t room = reader->name_room ? reader->name_room * 2 : 1024;
        char **larger = realloc(reader->names, room * sizeof(*larger));
        if (!larger)
            return error_create(ERROR_SYSTEM, NULL, "out of memory for the names of the snapshot");
        reader->names = larger;
        reader->name_room = room;
    }
    reader->names[reader->name_count++] = text;
    reader->name_bytes += size;
    return NULL;
}

static void forget_names(struct snapshot_reader *reader)
{
    for (uint32_t i = 0; i < reader->name_count; i++)
        free(reader->names[i]);
    free(reader->names);
    reader->names = NULL;
    reader->name_count = reader->name_room = 0;
    reader->name_bytes = 0;
}

/* `once`: to be freed after use. */
static struct error *get_name(struct snapshot_reader *reader, const char **name, char **once)
{
    uint32_t number;
    struct error *error =
        get_below(reader, (uint64_t)reader->name_count + NAME_FIRST, &number, "a name isn't there");

    *once = NULL;
    if (error)
        return error;
    if (number >= NAME_FIRST) {
        *name = reader->names[number - NAME_FIRST];
        return NULL;
    }
    if ((error = get_text(reader, once)))
        return error;
    *name = *once;
    if (number == NAME_ONCE)
        return NULL;
    if ((error = keep_name(reader, *once)))
        free(*once);
    *once = NULL;
    return error;
}

/* ---------------------------------------------------------------- sections */

static struct error *read_fact(struct snapshot_reader *reader)
{
    char *key = NULL, *value = NULL;
    struct error *error = get_text(reader, &key);

    if (!error)
        error = get_text(reader, &value);
    if (!error)
        error = reader->events->fact(reader->events->context, key, value);
    free(key);
    free(value);
    return error;
}

static struct error *read_facts(struct snapshot_reader *reader)
{
    struct error *error;
    bool more;

    while (!(error = container_has_more(&reader->container, &more)) && more) {
        if ((error = read_fact(reader)))
            break;
    }
    return error;
}

static struct error *read_type(struct snapshot_reader *reader)
{
    struct snapshot_type type;
    char *name = NULL, *module = NULL;
    struct error *error = container_get_number(&reader->container, &type.address);

    if (!error)
        error = get_text(reader, &name);
    if (!error)
        error = get_text(reader, &module);
    type.name = name;
    type.module = module;
    if (!error)
        error = reader->events->type(reader->events->context, &type);
    free(name);
    free(module);
    return error;
}

static struct error *read_types(struct snapshot_reader *reader)
{
    struct error *error = get_below(reader, UINT32_MAX, &reader->types, "it has too many types");

    if (!error)
        error = reader->events->types(reader->events->context, reader->types);
    for (uint32_t i = 0; i < reader->types && !error; i++)
        error = read_type(reader);
    return error;
}

static struct error *read_node(struct snapshot_reader *reader, uint64_t *address)
{
    struct snapshot_node node;
    uint64_t delta;
    uint8_t flags;
    struct error *error = container_get_number(&reader->container, &delta);

    if (error || (error = get_below(reader, reader->types, &node.type, "a type isn't there")) ||
        (error = container_get_number(&reader->container, &node.size)) ||
        (error = get_below(reader, (uint64_t)UINT32_MAX + 1, &node.refcount, "a refcount is too large")) ||
        (error = get_byte(reader, &flags)))
        return error;
    if (!delta || delta > (UINT64_MAX - *address) / 8)
        return snapshot_bad("addresses don't rise");
    *address += delta * 8;
    node.address = *address;
    node.generation = flags & NODE_GENERATION;
    node.immortal = flags & NODE_IMMORTAL;
    node.tracked = flags & NODE_TRACKED;
    return reader->events->node(reader->events->context, &node);
}

static struct error *read_nodes(struct snapshot_reader *reader)
{
    uint64_t address = 0;
    struct error *error = get_below(reader, SNAPSHOT_NONE, &reader->nodes, "it has too many nodes");

    if (!error)
        error = reader->events->nodes(reader->events->context, reader->nodes);
    for (uint32_t i = 0; i < reader->nodes && !error; i++)
        error = read_node(reader, &address);
    return error;
}

static struct error *read_edge(struct snapshot_reader *reader, uint32_t from, uint8_t tag)
{
    struct snapshot_edge edge = {.from = from, .counted = !(tag & EDGE_UNCOUNTED)};
    char *once = NULL;
    int64_t delta;
    struct error *error = container_get_signed(&reader->container, &delta);

    if (!error && (tag & EDGE_NUMBERED))
        error = container_get_number(&reader->container, &edge.number);
    if (!error && (tag & EDGE_NAMED))
        error = get_name(reader, &edge.name, &once);
    if (error)
        return error;
    edge.kind = (uint8_t)((tag & EDGE_KIND) - 1);
    if (!(tag & EDGE_KIND) || edge.kind >= SNAPSHOT_EDGE_KINDS)
        error = snapshot_bad("an edge is of no kind");
    else if (delta < -(int64_t)from || delta >= (int64_t)reader->nodes - from)
        error = snapshot_bad("an edge leads to no node");
    else if (edge.kind == SNAPSHOT_EDGE_VALUE && edge.number > reader->nodes)
        error = snapshot_bad("a key isn't there");
    edge.target = (uint32_t)(from + delta);
    if (!error)
        error = reader->events->edge(reader->events->context, &edge);
    free(once);
    return error;
}

static struct error *read_edges(struct snapshot_reader *reader)
{
    uint32_t from = 0;
    struct error *error = NULL;
    uint8_t tag;
    bool more;

    while (container_has_byte(&reader->container) || (!(error = container_has_more(&reader->container, &more)) && more)) {
        if ((error = get_byte(reader, &tag)))
            break;
        if (!tag)
            from++;
        if (from >= reader->nodes)
            return snapshot_bad("edges of no node");
        if (tag && (error = read_edge(reader, from, tag)))
            break;
    }
    return error;
}

static struct error *read_root(struct snapshot_reader *reader)
{
    struct snapshot_root root;
    char *name = NULL;
    struct error *error = get_byte(reader, &root.kind);

    if (error || (error = get_below(reader, reader->nodes, &root.target, "a root is no node")) ||
        (error = get_below(reader, (uint64_t)reader->nodes + 1, &root.code, "a root's code is no node")) ||
        (error = container_get_number(&reader->container, &root.holder)) ||
        (error = container_get_number(&reader->container, &root.number)) || (error = get_text(reader, &name)))
        return error;
    root.counted = root.kind & ROOT_COUNTED;
    root.kind &= (uint8_t)~ROOT_COUNTED;
    root.code--; /* 0: SNAPSHOT_NONE */
    root.name = name[0] ? name : NULL;
    error = root.kind < SNAPSHOT_ROOT_KINDS ? reader->events->root(reader->events->context, &root)
                                            : snapshot_bad("a root is of no kind");
    free(name);
    return error;
}

static struct error *read_roots(struct snapshot_reader *reader)
{
    struct error *error;
    bool more;

    while (!(error = container_has_more(&reader->container, &more)) && more) {
        if ((error = read_root(reader)))
            break;
    }
    return error;
}

static struct error *read_value(struct snapshot_reader *reader, uint32_t *node)
{
    struct snapshot_value value;
    char *text = NULL;
    uint32_t delta;
    struct error *error = get_below(reader, reader->nodes - *node, &delta, "a value is of no node");

    if (error || (error = get_byte(reader, &value.kind)) ||
        (error = container_get_text(&reader->container, SNAPSHOT_TEXT_MAX, &text, &value.size)))
        return error;
    value.node = *node += delta;
    value.cut = value.kind & VALUE_CUT;
    value.kind &= VALUE_KIND;
    value.text = text;
    error = reader->events->value(reader->events->context, &value);
    free(text);
    return error;
}

static struct error *read_values(struct snapshot_reader *reader)
{
    uint32_t node = 0;
    struct error *error;
    bool more;

    while (!(error = container_has_more(&reader->container, &more)) && more) {
        if ((error = read_value(reader, &node)))
            break;
    }
    return error;
}

/* -------------------------------------------------------------------- file */

static struct error *read_section(struct snapshot_reader *reader, uint32_t kind)
{
    const struct snapshot_events *events = reader->events;

    if (kind > SNAPSHOT_VALUES) /* of a later safepoint */
        return NULL;
    if (kind <= reader->last)
        return snapshot_bad("its sections are out of order");
    if (kind > SNAPSHOT_NODES && reader->last < SNAPSHOT_NODES)
        return snapshot_bad("it has no nodes");
    if (kind == SNAPSHOT_NODES && reader->last != SNAPSHOT_TYPES)
        return snapshot_bad("it has no types");
    reader->last = kind;
    switch (kind) {
    case SNAPSHOT_FACTS:
        return events->fact ? read_facts(reader) : NULL;
    case SNAPSHOT_TYPES:
        return reader->again ? NULL : read_types(reader);
    case SNAPSHOT_NODES:
        return reader->again ? NULL : read_nodes(reader);
    case SNAPSHOT_EDGES:
        return events->edge ? read_edges(reader) : NULL;
    case SNAPSHOT_ROOTS:
        return events->root ? read_roots(reader) : NULL;
    default:
        return events->value ? read_values(reader) : NULL;
    }
}

static struct error *read_sections(struct snapshot_reader *reader)
{
    struct error *error;
    uint32_t kind;

    while (!(error = container_next(&reader->container, &kind)) && kind != CONTAINER_END) {
        if ((error = read_section(reader, kind)))
            return error;
        forget_names(reader);
    }
    if (!error && reader->last < SNAPSHOT_NODES)
        error = snapshot_bad("it has no nodes");
    return error;
}

static struct error *read_file(struct snapshot_reader *reader, FILE *file, uint64_t *digest)
{
    struct error *error = container_reader_init(&reader->container, file);

    if (!error)
        error = read_sections(reader);
    *digest = reader->container.digest;
    forget_names(reader);
    container_reader_deinit(&reader->container);
    return error;
}

struct error *snapshot_read(FILE *file, const struct snapshot_events *events, struct snapshot_known *known)
{
    struct snapshot_reader reader = {.events = events};
    uint64_t digest;
    struct error *error = read_file(&reader, file, &digest);

    if (known)
        *known = (struct snapshot_known){reader.types, reader.nodes, digest};
    return error;
}

struct error *snapshot_read_again(FILE *file, const struct snapshot_events *events, const struct snapshot_known *known)
{
    struct snapshot_reader reader = {.events = events, .again = true, .types = known->types, .nodes = known->nodes};
    uint64_t digest;
    struct error *error = read_file(&reader, file, &digest);

    return error || digest == known->digest ? error : error_create(ERROR_BAD_FILE, NULL, "it has changed while it was read");
}
