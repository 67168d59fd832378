/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#include "protocol/snapshot.h"

#define UNKNOWN_SECTION 77

/* A file in memory, and what reading it gave. */
struct made {
    char *bytes;
    size_t size;
};

struct heard {
    char text[8192];
    size_t used;
};

static void hear(struct heard *heard, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void hear(struct heard *heard, const char *fmt, ...)
{
    va_list list;

    va_start(list, fmt);
    heard->used += (size_t)vsnprintf(heard->text + heard->used, sizeof(heard->text) - heard->used, fmt, list);
    va_end(list);
    assert_true(heard->used < sizeof(heard->text));
}

static struct error *hear_fact(void *context, const char *key, const char *value)
{
    hear(context, "%s=%s\n", key, value);
    return NULL;
}

static struct error *hear_types(void *context, uint32_t count)
{
    hear(context, "%u types\n", count);
    return NULL;
}

static struct error *hear_type(void *context, const struct snapshot_type *type)
{
    hear(context, "type %lx %s of %s\n", (unsigned long)type->address, type->name, type->module);
    return NULL;
}

static struct error *hear_nodes(void *context, uint32_t count)
{
    hear(context, "%u nodes\n", count);
    return NULL;
}

static struct error *hear_node(void *context, const struct snapshot_node *node)
{
    hear(context, "node %lx %lu %u %u %d%d%d\n", (unsigned long)node->address, (unsigned long)node->size, node->type,
         node->refcount, node->immortal, node->tracked, node->generation);
    return NULL;
}

static struct error *hear_edge(void *context, const struct snapshot_edge *edge)
{
    hear(context, "edge %u-%u %u %d %lu %s\n", edge->from, edge->target, edge->kind, edge->counted,
         (unsigned long)edge->number, edge->name ? edge->name : "-");
    return NULL;
}

static struct error *hear_root(void *context, const struct snapshot_root *root)
{
    hear(context, "root %u %u %x %lx %lu %s%s\n", root->kind, root->target, root->code, (unsigned long)root->holder,
         (unsigned long)root->number, root->name ? root->name : "-", root->counted ? " counted" : "");
    return NULL;
}

static struct error *hear_value(void *context, const struct snapshot_value *value)
{
    hear(context, "value %u %u %d %.*s\n", value->node, value->kind, value->cut, (int)value->size, value->text);
    return NULL;
}

static struct error *read_back(const struct made *made, struct heard *heard)
{
    const struct snapshot_events events = {heard,      hear_fact, hear_types, hear_type, hear_nodes,
                                           hear_node, hear_edge, hear_root,  hear_value};
    FILE *file = fmemopen(made->bytes, made->size, "r");

    assert_non_null(file);
    *heard = (struct heard){.used = 0};
    struct error *error = snapshot_read(file, &events, NULL);
    fclose(file);
    return error;
}

static void put_records(struct snapshot_writer *writer)
{
    const struct snapshot_type types[] = {{0x5000, "type", "builtins"}, {0x6000, "app.Order", "app"}};
    const struct snapshot_node nodes[] = {{0x5000, 408, 0, UINT32_MAX, true, true, 2},
                                          {0x6000, UINT64_C(1) << 40, 0, 7, false, true, 7},
                                          {0x7ffffffffff8, 16, 1, 0, false, false, 0}};

    snapshot_begin(writer, SNAPSHOT_FACTS, 0);
    snapshot_put_fact(writer, "pid", "4711");
    snapshot_begin(writer, SNAPSHOT_TYPES, 2);
    for (int i = 0; i < 2; i++)
        snapshot_put_type(writer, &types[i]);
    snapshot_begin(writer, SNAPSHOT_NODES, 3);
    for (int i = 0; i < 3; i++)
        snapshot_put_node(writer, &nodes[i]);
    snapshot_begin(writer, SNAPSHOT_EDGES, 0);
    snapshot_put_edge(writer, &(struct snapshot_edge){0, 2, SNAPSHOT_EDGE_FIELD, true, 0, "name"}, 5);
    snapshot_put_edge(writer, &(struct snapshot_edge){2, 0, SNAPSHOT_EDGE_INDEX, false, 99, NULL}, 0);
    snapshot_put_edge(writer, &(struct snapshot_edge){2, 1, SNAPSHOT_EDGE_VALUE, true, 3, "once"}, 0);
    assert_true(snapshot_knows_name(writer, 5) && !snapshot_knows_name(writer, 6));
    snapshot_put_edge(writer, &(struct snapshot_edge){2, 2, SNAPSHOT_EDGE_STATE, true, 0, NULL}, 5);
    snapshot_begin(writer, SNAPSHOT_ROOTS, 0);
    assert_false(snapshot_knows_name(writer, 5));
    snapshot_put_root(writer, &(struct snapshot_root){SNAPSHOT_ROOT_FRAME, 2, 1, 0x1234, 3, "local", true});
    snapshot_put_root(writer, &(struct snapshot_root){SNAPSHOT_ROOT_STATIC, 0, SNAPSHOT_NONE, 0, 0, NULL, false});
    snapshot_begin(writer, SNAPSHOT_VALUES, 0);
    snapshot_put_value(writer, &(struct snapshot_value){1, SNAPSHOT_STR, false, "text", 4});
    snapshot_put_value(writer, &(struct snapshot_value){2, SNAPSHOT_BYTES, true, "\x01\xff", 2});
}

static const char expected[] = "pid=4711\n2 types\ntype 5000 type of builtins\ntype 6000 app.Order of app\n"
                               "3 nodes\nnode 5000 408 0 4294967295 112\nnode 6000 1099511627776 0 7 017\n"
                               "node 7ffffffffff8 16 1 0 000\n"
                               "edge 0-2 1 1 0 name\nedge 2-0 4 0 99 -\nedge 2-1 7 1 3 once\nedge 2-2 11 1 0 name\n"
                               "root 0 2 1 1234 3 local counted\nroot 6 0 ffffffff 0 0 -\n"
                               "value 1 1 0 text\nvalue 2 4 1 \x01\xff\n";

/* With a section that nobody knows at its end. */
static struct made make(bool unknown)
{
    struct made made;
    struct snapshot_writer writer;
    FILE *file = open_memstream(&made.bytes, &made.size);

    snapshot_writer_init(&writer, file);
    put_records(&writer);
    if (unknown) {
        container_begin(&writer.container, UNKNOWN_SECTION);
        for (int i = 0; i < 3000000; i++)
            container_put(&writer.container, &i, 1);
    }
    assert_null(snapshot_finish(&writer));
    assert_int_equal(writer.container.written, ftell(file));
    snapshot_writer_deinit(&writer);
    fclose(file);
    return made;
}

static void test_round_trip(void **state)
{
    struct heard heard;

    (void)state;
    for (int unknown = 0; unknown <= 1; unknown++) {
        struct made made = make(unknown);
        assert_null(read_back(&made, &heard));
        assert_string_equal(heard.text, expected);
        free(made.bytes);
    }
}

static void test_skips_what_is_not_asked_for(void **state)
{
    struct heard heard = {.used = 0};
    const struct snapshot_events events = {.context = &heard, .types = hear_types, .type = hear_type, .nodes = hear_nodes,
                                           .node = hear_node};
    struct made made = make(true);
    FILE *file = fmemopen(made.bytes, made.size, "r");

    (void)state;
    assert_null(snapshot_read(file, &events, NULL));
    assert_null(strstr(heard.text, "edge"));
    assert_non_null(strstr(heard.text, "3 nodes"));
    fclose(file);
    free(made.bytes);
}

static void expect_bad(const struct made *made, const char *what)
{
    struct heard heard;
    struct error *error = read_back(made, &heard);

    if (!error)
        fail_msg("%s is taken for sound", what);
    if (error_code(error) != ERROR_BAD_FILE)
        fail_msg("%s: %s", what, error_message(error));
    error_destroy(error);
}

static void test_cut(void **state)
{
    struct made made = make(false);

    (void)state;
    for (size_t size = 1; size < made.size; size++) {
        char what[64];
        struct made cut = {made.bytes, size};
        snprintf(what, sizeof(what), "cut at %zu", size);
        expect_bad(&cut, what);
    }
    free(made.bytes);
}

static void test_changed(void **state)
{
    struct made made = make(false);

    (void)state;
    for (size_t at = 0; at < made.size; at++) {
        char what[64];
        snprintf(what, sizeof(what), "changed at %zu", at);
        made.bytes[at] ^= (char)(1 << at % 8);
        expect_bad(&made, what);
        made.bytes[at] ^= (char)(1 << at % 8);
    }
    free(made.bytes);
}

static void test_goes_on(void **state)
{
    struct made made = make(false), longer = {malloc(made.size + 1), made.size + 1};

    (void)state;
    memcpy(longer.bytes, made.bytes, made.size);
    longer.bytes[made.size] = 0;
    expect_bad(&longer, "more behind the end");
    free(longer.bytes);
    free(made.bytes);
}

static void test_exchanged_blocks(void **state)
{
    struct made made = make(false);
    uint32_t stored;

    (void)state;
    memcpy(&stored, made.bytes + 24 + 12, sizeof(stored));
    struct made less = {made.bytes, made.size - 32 - stored};
    memmove(made.bytes + 24, made.bytes + 24 + 32 + stored, made.size - 24 - 32 - stored);
    expect_bad(&less, "without its first block");
    free(made.bytes);
}

static void test_later_version(void **state)
{
    struct made made = make(false);
    struct heard heard;
    uint32_t version = 2;

    (void)state;
    memcpy(made.bytes + 8, &version, sizeof(version));
    uint64_t check = XXH64(made.bytes, 16, 0);
    memcpy(made.bytes + 16, &check, sizeof(check));
    struct error *error = read_back(&made, &heard);
    assert_int_equal(error_code(error), ERROR_BAD_FILE);
    assert_non_null(strstr(error_message(error), "later"));
    error_destroy(error);
    free(made.bytes);
}

/* Sound as a container, and nonsense in it. */
static void expect_nonsense(void (*put)(struct snapshot_writer *writer), const char *what)
{
    struct made made;
    struct snapshot_writer writer;
    FILE *file = open_memstream(&made.bytes, &made.size);

    snapshot_writer_init(&writer, file);
    put(&writer);
    assert_null(snapshot_finish(&writer));
    snapshot_writer_deinit(&writer);
    fclose(file);
    expect_bad(&made, what);
    free(made.bytes);
}

static void put_one_of_each(struct snapshot_writer *writer, const struct snapshot_node *node)
{
    snapshot_begin(writer, SNAPSHOT_TYPES, 1);
    snapshot_put_type(writer, &(struct snapshot_type){1, "a", "b"});
    snapshot_begin(writer, SNAPSHOT_NODES, 1);
    snapshot_put_node(writer, node);
}

static const struct snapshot_node sound_node = {8, 1, 0, 1, false, false, 0};

static void put_nothing(struct snapshot_writer *writer)
{
    (void)writer;
}

static void put_type_that_is_not(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &(struct snapshot_node){8, 1, 1, 1, false, false, 0});
}

static void put_address_again(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &(struct snapshot_node){0, 1, 0, 1, false, false, 0});
}

static void put_edge_to_nowhere(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &sound_node);
    snapshot_begin(writer, SNAPSHOT_EDGES, 0);
    snapshot_put_edge(writer, &(struct snapshot_edge){0, 1, SNAPSHOT_EDGE_INDEX, true, 0, NULL}, 0);
}

static void put_edge_from_nowhere(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &sound_node);
    snapshot_begin(writer, SNAPSHOT_EDGES, 0);
    snapshot_put_edge(writer, &(struct snapshot_edge){1, 0, SNAPSHOT_EDGE_INDEX, true, 0, NULL}, 0);
}

static void put_edge_of_no_kind(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &sound_node);
    snapshot_begin(writer, SNAPSHOT_EDGES, 0);
    snapshot_put_edge(writer, &(struct snapshot_edge){0, 0, SNAPSHOT_EDGE_KINDS, true, 0, NULL}, 0);
}

static void put_name_that_is_not(struct snapshot_writer *writer)
{
    const unsigned char edge[] = {2 | 0x40, 0, 2};

    put_one_of_each(writer, &sound_node);
    snapshot_begin(writer, SNAPSHOT_EDGES, 0);
    container_put(&writer->container, edge, sizeof(edge));
}

static void put_root_that_is_not(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &sound_node);
    snapshot_begin(writer, SNAPSHOT_ROOTS, 0);
    snapshot_put_root(writer, &(struct snapshot_root){SNAPSHOT_ROOT_FRAME, 1, SNAPSHOT_NONE, 0, 0, NULL, false});
}

static void put_value_of_nothing(struct snapshot_writer *writer)
{
    put_one_of_each(writer, &sound_node);
    snapshot_begin(writer, SNAPSHOT_VALUES, 0);
    snapshot_put_value(writer, &(struct snapshot_value){1, SNAPSHOT_STR, false, "", 0});
}

static void put_edges_before_nodes(struct snapshot_writer *writer)
{
    snapshot_begin(writer, SNAPSHOT_EDGES, 0);
    snapshot_put_edge(writer, &(struct snapshot_edge){0, 0, SNAPSHOT_EDGE_INDEX, true, 0, NULL}, 0);
    put_one_of_each(writer, &sound_node);
}

static void put_fewer_nodes(struct snapshot_writer *writer)
{
    snapshot_begin(writer, SNAPSHOT_TYPES, 1);
    snapshot_put_type(writer, &(struct snapshot_type){1, "a", "b"});
    snapshot_begin(writer, SNAPSHOT_NODES, 1000);
    snapshot_put_node(writer, &sound_node);
}

static void test_nonsense(void **state)
{
    static const struct {
        void (*put)(struct snapshot_writer *writer);
        const char *what;
    } cases[] = {
        {put_nothing, "an empty file"},
        {put_type_that_is_not, "a node of no type"},
        {put_address_again, "an address twice"},
        {put_edge_to_nowhere, "an edge to nowhere"},
        {put_edge_from_nowhere, "an edge from nowhere"},
        {put_edge_of_no_kind, "an edge of no kind"},
        {put_name_that_is_not, "a name that isn't there"},
        {put_root_that_is_not, "a root that is no node"},
        {put_value_of_nothing, "a value of nothing"},
        {put_edges_before_nodes, "edges before nodes"},
        {put_fewer_nodes, "fewer nodes than it says"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_nonsense(cases[i].put, cases[i].what);
}

static uint32_t named_edges;

static struct error *count_named_edge(void *context, const struct snapshot_edge *edge)
{
    (void)context;
    named_edges += edge->name && !strcmp(edge->name, "x");
    return NULL;
}

/* More than a section keeps: the rest is written out each time. */
static void test_many_names(void **state)
{
    struct made made;
    struct snapshot_writer writer;
    struct heard heard = {.used = 0};
    const struct snapshot_events events = {.context = &heard, .types = hear_types, .type = hear_type, .nodes = hear_nodes,
                                           .node = hear_node, .edge = count_named_edge};
    FILE *file = open_memstream(&made.bytes, &made.size);

    (void)state;
    snapshot_writer_init(&writer, file);
    put_one_of_each(&writer, &sound_node);
    snapshot_begin(&writer, SNAPSHOT_EDGES, 0);
    for (uint64_t i = 1; i <= SNAPSHOT_NAMES_MAX + 10u; i++)
        snapshot_put_edge(&writer, &(struct snapshot_edge){0, 0, SNAPSHOT_EDGE_INDEX, true, 0, "x"}, i);
    assert_true(snapshot_knows_name(&writer, 1) && !snapshot_knows_name(&writer, SNAPSHOT_NAMES_MAX + 5u));
    assert_null(snapshot_finish(&writer));
    snapshot_writer_deinit(&writer);
    fclose(file);
    file = fmemopen(made.bytes, made.size, "r");
    assert_null(snapshot_read(file, &events, NULL));
    assert_int_equal(named_edges, SNAPSHOT_NAMES_MAX + 10u);
    fclose(file);
    free(made.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_skips_what_is_not_asked_for),
        cmocka_unit_test(test_cut),        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_goes_on),    cmocka_unit_test(test_exchanged_blocks),
        cmocka_unit_test(test_later_version), cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_many_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
