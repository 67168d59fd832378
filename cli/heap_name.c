/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The names of paths. What the references of a path are called is asked of the heap in one go; then each path becomes a root
 * and the steps behind it. References that Python doesn't write (of an instance to its __dict__) make one step with the next.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_search.h"

/* -------------------------------------------------------------- known edges */

/* A reference that is asked for: from one node to another; and its best name. */
struct name_edge {
    uint32_t from, target;
    enum heap_edge_kind kind;
    uint64_t number;
    uint32_t key;
    char *name;
    unsigned rank; /* 0: not met yet */
};

/* Of a path that is longer than two of these, what lies between isn't named. */
#define NAME_END 100u

struct names {
    struct heap_search *search;
    struct name_edge *edges; /* by from, target */
    size_t count;
    bool out_of_memory;
};

static struct error *name_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for names");
}

static int name_compare(const void *a, const void *b)
{
    const struct name_edge *left = a, *right = b;

    if (left->from != right->from)
        return left->from < right->from ? -1 : 1;
    return left->target < right->target ? -1 : left->target > right->target;
}

static struct name_edge *name_find(const struct names *names, uint32_t from, uint32_t target)
{
    const struct name_edge key = {.from = from, .target = target};

    return bsearch(&key, names->edges, names->count, sizeof(key), name_compare);
}

/* Two references between the same objects: the one that says more. */
static unsigned name_rank(enum heap_edge_kind kind)
{
    switch (kind) {
    case HEAP_EDGE_VALUE:
    case HEAP_EDGE_ATTRIBUTE:
    case HEAP_EDGE_SLOT:
    case HEAP_EDGE_FIELD:
    case HEAP_EDGE_INDEX:
    case HEAP_EDGE_LOCAL:
        return 4;
    case HEAP_EDGE_ELEMENT:
    case HEAP_EDGE_KEY:
        return 3;
    case HEAP_EDGE_WORD:
    case HEAP_EDGE_STATE:
    case HEAP_EDGE_STACK:
        return 2;
    case HEAP_EDGE_TYPE:
        break;
    }
    return 1;
}

static void name_take(void *context, const struct heap_graph_edge *edge)
{
    struct names *names = context;
    struct name_edge *known = edge->counted ? name_find(names, edge->from, edge->target) : NULL;
    unsigned rank = name_rank(edge->kind);

    if (!known || known->rank >= rank)
        return;
    free(known->name);
    known->rank = rank;
    known->kind = edge->kind;
    known->number = edge->number;
    known->key = edge->key;
    known->name = edge->name ? strdup(edge->name) : NULL;
    names->out_of_memory |= edge->name && !known->name;
}

static void names_deinit(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->edges[i].name);
    free(names->edges);
}

/* The place of the path from which on it is named again. */
static size_t name_next(const struct paths_path *path, size_t at)
{
    return at >= NAME_END && at + NAME_END < path->count ? path->count - NAME_END : at;
}

/* All references of these paths that are named, each once, by rising holder. */
static struct error *names_list(struct names *names, const struct paths_path *paths, size_t count)
{
    size_t most = 0, kept = 0;

    for (size_t i = 0; i < count; i++)
        most += paths[i].count < 3 * NAME_END ? paths[i].count : 3 * NAME_END;
    if (!(names->edges = calloc(most + 1, sizeof(*names->edges))))
        return name_out_of_memory();
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j + 1 < paths[i].count; j = name_next(&paths[i], j + 1))
            names->edges[names->count++] = (struct name_edge){.from = paths[i].nodes[j], .target = paths[i].nodes[j + 1]};
    }
    qsort(names->edges, names->count, sizeof(*names->edges), name_compare);
    for (size_t i = 0; i < names->count; i++) {
        if (!i || name_compare(&names->edges[i], &names->edges[kept - 1]))
            names->edges[kept++] = names->edges[i];
    }
    names->count = kept;
    return NULL;
}

static struct error *names_read(struct names *names)
{
    scoped_free uint32_t *nodes = malloc(names->count * sizeof(*nodes) + 1);
    size_t count = 0;

    if (!nodes)
        return name_out_of_memory();
    for (size_t i = 0; i < names->count; i++) {
        if (!count || nodes[count - 1] != names->edges[i].from)
            nodes[count++] = names->edges[i].from;
    }
    struct error *error = heap_graph_visit(names->search->view, nodes, count, name_take, names);
    return error || !names->out_of_memory ? error : name_out_of_memory();
}

/* ---------------------------------------------------------------- one edge */

static const char *name_type(const struct heap_view *view, uint32_t node)
{
    return heap_view_type_name(view, heap_view_node(view, node).type);
}

/* 'name', as a key is written that can be an attribute. */
static bool name_is_identifier(const char *key)
{
    size_t length = key ? strlen(key) : 0;

    if (length < 3 || key[0] != '\'' || key[length - 1] != '\'' || (key[1] >= '0' && key[1] <= '9'))
        return false;
    for (size_t i = 1; i + 1 < length; i++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", key[i]) && !(key[i] & 0x80))
            return false;
    }
    return true;
}

/* gi_, cr_, ag_: what a generator's attributes begin with; NULL of another type. */
static const char *name_generator_prefix(const char *type)
{
    return !strcmp(type, "generator")         ? "gi"
           : !strcmp(type, "coroutine")       ? "cr"
           : !strcmp(type, "async_generator") ? "ag"
                                              : NULL;
}

static int name_local(char **text, const char *type, const char *name)
{
    const char *prefix = name_generator_prefix(type);

    if (prefix)
        return asprintf(text, ".%s_frame.f_locals['%s']", prefix, name);
    return asprintf(text, strcmp(type, "frame") ? ".<local %s>" : ".f_locals['%s']", name);
}

static int name_field(char **text, const char *type, const char *name)
{
    const char *prefix = name_generator_prefix(type);

    if (prefix && (!strcmp(name, "frame") || !strcmp(name, "code")))
        return asprintf(text, ".%s_%s", prefix, name);
    if (!strcmp(type, "functools._lru_cache_wrapper") && (!strcmp(name, "key") || !strcmp(name, "result")))
        return asprintf(text, ".<cached %s>", name);
    return asprintf(text, ".%s", name);
}

/* Of a value stack: what a generator waits for is all of it that has a name. */
static int name_stack(char **text, const char *type, const char *target, uint64_t number)
{
    const char *prefix = name_generator_prefix(type);

    if (prefix && (name_generator_prefix(target) || strstr(target, "FutureIter") || strstr(target, "coroutine")))
        return asprintf(text, strcmp(prefix, "gi") ? ".%s_await" : ".%s_yieldfrom", prefix);
    return asprintf(text, ".<stack %" PRIu64 ">", number);
}

static int name_word(char **text, const char *type, const char *target, uint64_t number)
{
    if (strstr(type, "Task") && name_generator_prefix(target))
        return asprintf(text, ".get_coro()");
    if (!strcmp(type, "functools._lru_cache_wrapper") && !strcmp(target, "dict"))
        return asprintf(text, ".<cache>");
    return asprintf(text, ".<+%" PRIu64 ">", number);
}

static int name_value(char **text, const struct heap_view *view, const char *name, uint32_t key)
{
    if (name)
        return asprintf(text, "[%s]", name);
    if (key == HEAP_NONE)
        return asprintf(text, "[?]");
    return asprintf(text, "[<%s at 0x%" PRIx64 ">]", name_type(view, key), heap_view_node(view, key).address);
}

char *heap_edge_text(const struct heap_view *view, const struct heap_graph_edge *edge)
{
    const char *type = name_type(view, edge->from), *target = name_type(view, edge->target);
    char *text = NULL;
    int length = -1;

    switch (edge->kind) {
    case HEAP_EDGE_TYPE:
        length = asprintf(&text, ".__class__");
        break;
    case HEAP_EDGE_FIELD:
    case HEAP_EDGE_SLOT:
        length = name_field(&text, type, edge->name ? edge->name : "?");
        break;
    case HEAP_EDGE_ATTRIBUTE:
        length = asprintf(&text, ".%s", edge->name ? edge->name : "?");
        break;
    case HEAP_EDGE_WORD:
        length = name_word(&text, type, target, edge->number);
        break;
    case HEAP_EDGE_INDEX:
        length = asprintf(&text, "[%" PRIu64 "]", edge->number);
        break;
    case HEAP_EDGE_ELEMENT:
        length = asprintf(&text, ".<element>");
        break;
    case HEAP_EDGE_KEY:
        length = asprintf(&text, ".<key>");
        break;
    case HEAP_EDGE_VALUE:
        length = name_value(&text, view, edge->name, edge->key);
        break;
    case HEAP_EDGE_LOCAL:
        length = name_local(&text, type, edge->name ? edge->name : "?");
        break;
    case HEAP_EDGE_STACK:
        length = name_stack(&text, type, target, edge->number);
        break;
    case HEAP_EDGE_STATE:
        length = asprintf(&text, ".<state +%" PRIu64 ">", edge->number);
        break;
    }
    return length < 0 ? NULL : text;
}

/* ---------------------------------------------------------------- one path */

struct naming {
    const struct names *names;
    const struct paths_path *path;
    struct heap_named_path *named;
    size_t at; /* the node of the path that has been named */
    bool failed;
};

static const struct name_edge *name_edge_at(const struct naming *naming, size_t at)
{
    const uint32_t *nodes = naming->path->nodes;

    return at + 1 < naming->path->count ? name_find(naming->names, nodes[at], nodes[at + 1]) : NULL;
}

static bool name_node_is(const struct naming *naming, size_t at, const char *type)
{
    return at < naming->path->count && !strcmp(name_type(naming->names->search->view, naming->path->nodes[at]), type);
}

/* Takes a text over; it leads to the path's node `at`. */
static void name_add(struct naming *naming, char *text, size_t at)
{
    naming->failed |= !text;
    naming->named->steps[naming->named->count++] = (struct heap_step){text, naming->path->nodes[at], NULL};
    naming->at = at;
}

static void name_format(struct naming *naming, size_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void name_format(struct naming *naming, size_t at, const char *fmt, ...)
{
    char *text = NULL;
    va_list arguments;

    va_start(arguments, fmt);
    if (vasprintf(&text, fmt, arguments) < 0)
        text = NULL;
    va_end(arguments);
    name_add(naming, text, at);
}

static bool name_is_attribute(const struct name_edge *edge)
{
    return edge && edge->kind == HEAP_EDGE_VALUE && name_is_identifier(edge->name);
}

/* "__dict__" and then a key that is a name: an attribute. */
static bool name_dict(struct naming *naming)
{
    const struct name_edge *edge = name_edge_at(naming, naming->at), *next = name_edge_at(naming, naming->at + 1);

    if (!edge || edge->kind != HEAP_EDGE_FIELD || !edge->name || strcmp(edge->name, "__dict__") != 0 ||
        !name_is_attribute(next))
        return false;
    name_format(naming, naming->at + 2, ".%.*s", (int)strlen(next->name) - 2, next->name + 1);
    return true;
}

/* threading.local(): a dict for each thread, by a key of its own, in a dict. */
static bool name_thread_local(struct naming *naming)
{
    const struct name_edge *next = name_edge_at(naming, naming->at + 2);

    if (!name_node_is(naming, naming->at, "_thread._local") || !name_node_is(naming, naming->at + 1, "dict") ||
        !name_node_is(naming, naming->at + 2, "dict"))
        return false;
    if (name_is_attribute(next))
        name_format(naming, naming->at + 3, ".%.*s", (int)strlen(next->name) - 2, next->name + 1);
    else
        name_format(naming, naming->at + 2, ".__dict__");
    return true;
}

static void name_step(struct naming *naming)
{
    if (name_dict(naming) || name_thread_local(naming))
        return;
    const struct name_edge *edge = name_edge_at(naming, naming->at);
    if (!edge || !edge->rank) {
        name_format(naming, naming->at + 1, ".<?>");
        return;
    }
    const struct heap_graph_edge named = {.from = edge->from,
                                          .target = edge->target,
                                          .kind = edge->kind,
                                          .number = edge->number,
                                          .key = edge->key,
                                          .name = edge->name};
    name_add(naming, heap_edge_text(naming->names->search->view, &named), naming->at + 1);
}

/* ------------------------------------------------------------------- roots */

/* A static type is called by its name. */
static const char *name_of_type_at(const struct heap_view *view, uint64_t address)
{
    for (uint32_t i = 0; i < heap_view_type_count(view); i++) {
        uint64_t at = view->heap ? heap_get_type(view->heap, i).address : view->file.type_list[i].address;
        if (at == address)
            return heap_view_type_name(view, i);
    }
    return NULL;
}

/* sys.modules, one of its modules, or a name in one of them. */
static void name_module_root(struct naming *naming)
{
    const struct name_edge *edge = name_edge_at(naming, 0);

    if (!name_is_attribute(edge) && !(edge && edge->kind == HEAP_EDGE_VALUE && edge->name && edge->name[0] == '\''))
        name_format(naming, 0, "sys.modules");
    else
        name_format(naming, 1, "%.*s", (int)strlen(edge->name) - 2, edge->name + 1);
}

static void name_frame_root(struct naming *naming)
{
    const struct graph_root *root = naming->named->root;
    const struct name_edge *edge = name_edge_at(naming, 0);

    if (graph_node(naming->names->search->graph, root->target).address == root->holder && edge && edge->kind == HEAP_EDGE_LOCAL)
        name_format(naming, 1, "%s", edge->name ? edge->name : "?");
    else if (root->name)
        name_format(naming, 0, "%s", root->name);
    else
        name_format(naming, 0, "<stack %" PRIu64 ">", root->number);
}

static void name_root(struct naming *naming)
{
    const struct heap_view *view = naming->names->search->view;
    const struct graph_root *root = naming->named->root;
    const char *type;

    switch (root->kind) {
    case HEAP_ROOT_MODULE:
        name_module_root(naming);
        return;
    case HEAP_ROOT_FRAME:
        name_frame_root(naming);
        return;
    case HEAP_ROOT_BUILTINS:
        name_format(naming, 0, "<builtins>");
        return;
    case HEAP_ROOT_INTERPRETER:
        name_format(naming, 0, "<interpreter +%" PRIu64 ">", root->number);
        return;
    case HEAP_ROOT_THREAD:
        name_format(naming, 0, "<thread state +%" PRIu64 ">", root->number);
        return;
    case HEAP_ROOT_INTERNED:
        name_format(naming, 0, "<interned strings>");
        return;
    case HEAP_ROOT_OBJECT:
        type = name_of_type_at(view, root->holder);
        name_format(naming, 0, "%s", type ? type : "<static object>");
        return;
    case HEAP_ROOT_STATIC:
        break;
    }
    name_format(naming, 0, "<variable at 0x%" PRIx64 ">", root->holder);
}

/* ------------------------------------------------------------------ public */

static char *name_join(const struct heap_named_path *named)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    for (size_t i = 0; i < named->count; i++)
        fputs(named->steps[i].text, stream);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static struct error *name_path(const struct names *names, const struct paths_path *path, struct heap_named_path *named)
{
    struct naming naming = {.names = names, .path = path, .named = named};

    named->root = &names->search->graph->roots[path->origin];
    if (!(named->steps = calloc((path->count < 3 * NAME_END ? path->count : 3 * NAME_END) + 1, sizeof(*named->steps))))
        return name_out_of_memory();
    name_root(&naming);
    while (!naming.failed && naming.at + 1 < path->count) {
        size_t next = name_next(path, naming.at);
        if (next > naming.at)
            name_format(&naming, next, ".<%zu more>", next - naming.at);
        else
            name_step(&naming);
    }
    if (!naming.failed)
        named->expression = name_join(named);
    return named->expression ? NULL : name_out_of_memory();
}

struct error *heap_name_paths(struct heap_search *search, const struct paths_path *paths, size_t count,
                              struct heap_named_path *named)
{
    struct names names = {.search = search};
    struct error *error;

    memset(named, 0, count * sizeof(*named));
    if (!(error = names_list(&names, paths, count)))
        error = names_read(&names);
    for (size_t i = 0; i < count && !error; i++)
        error = name_path(&names, &paths[i], &named[i]);
    names_deinit(&names);
    return error ? error : heap_name_frames(search, named, count);
}

static void name_put_frame(FILE *stream, const struct heap_named_path *named)
{
    fprintf(stream, " of %s", named->function ? named->function : "a running frame");
    if (!named->file && !named->thread)
        return;
    fprintf(stream, " (%s", named->file ? named->file : "");
    if (named->file && named->line)
        fprintf(stream, ":%d", named->line);
    fprintf(stream, "%s%s%s)", named->file && named->thread ? ", " : "", named->thread ? "thread " : "",
            named->thread ? named->thread : "");
}

char *heap_describe_path(const struct heap_named_path *named)
{
    bool frame = named->root->kind == HEAP_ROOT_FRAME;
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    fprintf(stream, "%s%s", frame ? "local " : "", named->expression);
    if (frame)
        name_put_frame(stream, named);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

void heap_named_paths_deinit(struct heap_named_path *named, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < named[i].count; j++) {
            free(named[i].steps[j].text);
            free(named[i].steps[j].of);
        }
        free(named[i].steps);
        free(named[i].expression);
        free(named[i].function);
        free(named[i].file);
        free(named[i].thread);
    }
}
