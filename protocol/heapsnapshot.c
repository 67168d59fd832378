/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/heapsnapshot.h"

#include <inttypes.h>

#include "protocol/digits.h"

#define SNAPSHOT_NODE_FIELDS 7
#define SNAPSHOT_CHUNK_BITS 20
#define SNAPSHOT_UNIT_BITS 3

static const char snapshot_head[] =
    "{\"snapshot\":{\"meta\":{"
    "\"node_fields\":[\"type\",\"name\",\"id\",\"self_size\",\"edge_count\",\"trace_node_id\",\"detachedness\"],"
    "\"node_types\":[[\"hidden\",\"array\",\"string\",\"object\",\"code\",\"closure\",\"regexp\",\"number\",\"native\","
    "\"synthetic\",\"concatenated string\",\"sliced string\",\"symbol\",\"bigint\",\"object shape\"],"
    "\"string\",\"number\",\"number\",\"number\",\"number\",\"number\"],"
    "\"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],"
    "\"edge_types\":[[\"context\",\"element\",\"property\",\"internal\",\"hidden\",\"shortcut\",\"weak\"],"
    "\"string_or_number\",\"node\"],"
    "\"trace_function_info_fields\":[\"function_id\",\"name\",\"script_name\",\"script_id\",\"line\",\"column\"],"
    "\"trace_node_fields\":[\"id\",\"function_info_index\",\"count\",\"size\",\"children\"],"
    "\"sample_fields\":[\"timestamp_us\",\"last_assigned_id\"],"
    "\"location_fields\":[\"object_index\",\"script_id\",\"line\",\"column\"]},";

void heapsnapshot_init(struct heapsnapshot *snapshot, FILE *file, FILE *strings, uint32_t nodes, uint32_t edges)
{
    *snapshot = (struct heapsnapshot){.file = file,
                                      .nodes = nodes,
                                      .edges = edges,
                                      .nodes_left = nodes,
                                      .edges_left = edges,
                                      .chunk = UINT64_MAX};
    strings_init(&snapshot->strings, strings);
    for (uint32_t slot = 0; slot < HEAPSNAPSHOT_OWN_IDS >> (SNAPSHOT_CHUNK_BITS - SNAPSHOT_UNIT_BITS); slot++)
        snapshot->slots[slot / 8] |= (uint8_t)(1 << slot % 8);
    fputs(snapshot_head, file);
    fprintf(file, "\"node_count\":%" PRIu32 ",\"edge_count\":%" PRIu32 ",\"trace_function_count\":0},\n\"nodes\":[", nodes,
            edges);
}

void heapsnapshot_deinit(struct heapsnapshot *snapshot)
{
    strings_deinit(&snapshot->strings);
}

/* ---------------------------------------------------------------------- ids */

static bool snapshot_is_taken(const struct heapsnapshot *snapshot, uint32_t slot)
{
    return snapshot->slots[slot / 8] >> slot % 8 & 1;
}

static struct error *snapshot_take_slot(struct heapsnapshot *snapshot, uint64_t chunk)
{
    uint32_t slot = (uint32_t)(chunk % HEAPSNAPSHOT_SLOTS), tries = HEAPSNAPSHOT_SLOTS;

    while (snapshot_is_taken(snapshot, slot) && --tries)
        slot = (slot + 1) % HEAPSNAPSHOT_SLOTS;
    if (!tries)
        return error_create(ERROR_UNSUPPORTED, "--format jsonl has no such bound",
                            "a .heapsnapshot can't number objects that are in more than 32 GiB");
    snapshot->slots[slot / 8] |= (uint8_t)(1 << slot % 8);
    snapshot->slot = slot;
    snapshot->chunk = chunk;
    return NULL;
}

struct error *heapsnapshot_id(struct heapsnapshot *snapshot, uint64_t address, uint32_t *id)
{
    uint64_t chunk = address >> SNAPSHOT_CHUNK_BITS, rest = address & ((UINT64_C(1) << SNAPSHOT_CHUNK_BITS) - 1);
    struct error *error = chunk == snapshot->chunk ? NULL : snapshot_take_slot(snapshot, chunk);

    *id = snapshot->slot << (SNAPSHOT_CHUNK_BITS - SNAPSHOT_UNIT_BITS) | (uint32_t)(rest >> SNAPSHOT_UNIT_BITS);
    return error;
}

/* ------------------------------------------------------------------ numbers */

/* A row of an array of numbers, on a line of its own. */
static void snapshot_put_row(struct heapsnapshot *snapshot, bool first, const uint32_t *numbers, size_t count)
{
    char line[SNAPSHOT_NODE_FIELDS * (DIGITS_MAX + 1) + 1];
    size_t used = 0;

    if (!first) {
        line[used++] = '\n';
        line[used++] = ',';
    }
    for (size_t i = 0; i < count; i++) {
        if (i)
            line[used++] = ',';
        used += digits_put(line + used, numbers[i]);
    }
    fwrite_unlocked(line, 1, used, snapshot->file);
}

void heapsnapshot_put_node(struct heapsnapshot *snapshot, const struct heapsnapshot_node *node)
{
    const uint32_t row[SNAPSHOT_NODE_FIELDS] = {
        node->type, node->name, node->id, node->size < UINT32_MAX ? (uint32_t)node->size : UINT32_MAX, node->edges, 0, 0};

    snapshot_put_row(snapshot, snapshot->nodes_left-- == snapshot->nodes, row, SNAPSHOT_NODE_FIELDS);
}

void heapsnapshot_put_edge(struct heapsnapshot *snapshot, const struct heapsnapshot_edge *edge)
{
    const uint32_t row[] = {edge->type, edge->name, edge->target * SNAPSHOT_NODE_FIELDS};

    if (snapshot->edges_left == snapshot->edges)
        fputs("],\n\"edges\":[", snapshot->file);
    snapshot_put_row(snapshot, snapshot->edges_left-- == snapshot->edges, row, 3);
}

struct error *heapsnapshot_finish(struct heapsnapshot *snapshot)
{
    if (snapshot->nodes_left || snapshot->edges_left || !snapshot->edges)
        return error_create(ERROR_BUG, NULL, "a .heapsnapshot of %" PRIu32 " nodes and %" PRIu32 " edges lacks %" PRId32 " and %" PRId32,
                            snapshot->nodes, snapshot->edges, (int32_t)snapshot->nodes_left,
                            (int32_t)snapshot->edges_left);
    fputs("],\n\"trace_function_infos\":[],\n\"trace_tree\":[],\n\"samples\":[],\n\"locations\":[],\n\"strings\":[",
          snapshot->file);
    struct error *error = strings_write(&snapshot->strings, snapshot->file);
    fputs("]}\n", snapshot->file);
    return error;
}
