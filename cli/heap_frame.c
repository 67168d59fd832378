/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which frame holds something: its function and file by the strings of its code object, its line by the memory that was
 * copied, its thread by the object that the outermost frame of a threading.Thread has as `self`.
 */
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_search.h"

#define FRAME_FIELDS_MAX 4

static struct error *frame_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for names");
}

/* ------------------------------------------------------------------- fields */

/* What some fields of one object refer to. */
struct frame_fields {
    const char *const *labels; /* ended by NULL */
    uint32_t *targets;         /* HEAP_NONE where there is none */
};

static bool frame_is_called(const struct heap_graph_edge *edge, const char *label)
{
    size_t length = strlen(label);

    if (!edge->name)
        return false;
    if (edge->kind == HEAP_EDGE_VALUE) /* 'label' */
        return edge->name[0] == '\'' && !strncmp(edge->name + 1, label, length) && !strcmp(edge->name + 1 + length, "'");
    return !strcmp(edge->name, label);
}

static void frame_take_field(void *context, const struct heap_graph_edge *edge)
{
    struct frame_fields *fields = context;

    for (size_t i = 0; fields->labels[i]; i++) {
        if (fields->targets[i] == HEAP_NONE && frame_is_called(edge, fields->labels[i]))
            fields->targets[i] = edge->target;
    }
}

static struct error *frame_read_fields(struct heap_view *view, uint32_t node, const char *const *labels, uint32_t *targets)
{
    struct frame_fields fields = {labels, targets};

    for (size_t i = 0; labels[i]; i++)
        targets[i] = HEAP_NONE;
    return node == HEAP_NONE ? NULL : heap_graph_visit(view, &node, 1, frame_take_field, &fields);
}

/* ------------------------------------------------------------------- values */

struct frame_value {
    char *text;
};

static void frame_take_value(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size, bool cut)
{
    struct frame_value *value = context;

    (void)node;
    (void)cut;
    if (kind == HEAP_VALUE_STR && !value->text)
        value->text = strndup(text, size);
}

/* A str as a line of text; NULL where it has no value. */
static struct error *frame_read_text(struct heap_view *view, uint32_t node, char **text)
{
    struct frame_value value = {NULL};
    struct error *error = node == HEAP_NONE ? NULL : heap_graph_values(view, &node, 1, frame_take_value, &value);

    *text = value.text ? cli_escape_line(value.text) : NULL;
    free(value.text);
    return error;
}

/* ---------------------------------------------------------------- function */

static bool frame_is(const struct heap_search *search, uint32_t node, const char *type)
{
    return !strcmp(heap_view_type_name(search->view, heap_view_node(search->view, node).type), type);
}

/* A function that has this code, the nearest; HEAP_NONE where there is none. */
static uint32_t frame_find_function(const struct heap_search *search, uint32_t code)
{
    const struct graph *graph = search->graph;

    for (uint32_t i = 0; i < search->paths.reached; i++) {
        uint32_t node = search->paths.order[i];
        for (uint32_t e = graph->first[node]; e < graph->first[node + 1]; e++) {
            if (graph_target(graph, e) == code && frame_is(search, node, "function"))
                return node;
        }
    }
    return HEAP_NONE;
}

/* As the module writes it that has it. */
static struct error *frame_name_by_path(struct heap_search *search, uint32_t function, char **text)
{
    struct paths_path path;
    struct heap_named_path named;
    struct error *error = paths_get(&search->paths, function, &path);

    if (error)
        return error;
    if (search->graph->roots[path.origin].kind == HEAP_ROOT_FRAME) { /* the frame itself has it, perhaps */
        free(path.nodes);
        return NULL;
    }
    if (!(error = heap_name_paths(search, &path, 1, &named)))
        *text = scope_take_pointer(&named.expression);
    heap_named_paths_deinit(&named, 1);
    free(path.nodes);
    return error;
}

static struct error *frame_name_function(struct heap_search *search, struct heap_named_path *named)
{
    static const char *const code_labels[] = {"co_qualname", "co_filename", "co_name", NULL};
    static const char *const function_labels[] = {"__qualname__", NULL};
    uint32_t strings[FRAME_FIELDS_MAX], function, qualname;
    struct error *error = frame_read_fields(search->view, named->root->code, code_labels, strings);

    if (error || (error = frame_read_text(search->view, strings[0], &named->function)) ||
        (error = frame_read_text(search->view, strings[1], &named->file)) || named->function)
        return error;
    function = frame_find_function(search, named->root->code);
    if ((error = frame_read_fields(search->view, function, function_labels, &qualname)) ||
        (error = frame_read_text(search->view, qualname, &named->function)) || named->function)
        return error;
    if ((error = frame_read_text(search->view, strings[2], &named->function)) || named->function || function == HEAP_NONE)
        return error;
    return frame_name_by_path(search, function, &named->function);
}

/* ------------------------------------------------------------------ thread */

/* The first root of a frame has its thread's number. */
static uint64_t frame_thread_number(const struct graph *graph, uint32_t root)
{
    const struct graph_root *roots = graph->roots;

    while (root > 0 && roots[root - 1].kind == HEAP_ROOT_FRAME && roots[root - 1].holder == roots[root].holder)
        root--;
    return roots[root].number;
}

struct frame_thread {
    uint32_t outermost; /* a root of its outermost frame */
    bool main;          /* it is the oldest */
};

static struct frame_thread frame_find_thread(const struct graph *graph, uint32_t root)
{
    struct frame_thread thread = {.outermost = root, .main = true};
    uint64_t number = frame_thread_number(graph, root);

    for (uint32_t at = root + 1; at < graph->root_count; at++) {
        if (graph->roots[at].kind != HEAP_ROOT_FRAME || graph->roots[at].holder == graph->roots[at - 1].holder)
            continue;
        if (graph->roots[at].number == number)
            thread.outermost = at;
        else
            thread.main = false;
    }
    return thread;
}

/* The variable `self` of a frame: a root from 3.11 on, before a reference of the frame object. */
static struct error *frame_find_self(struct heap_search *search, uint32_t frame, uint32_t *self)
{
    static const char *const labels[] = {"self", NULL};
    const struct graph_root *roots = search->graph->roots;

    *self = HEAP_NONE;
    while (frame > 0 && roots[frame - 1].kind == HEAP_ROOT_FRAME && roots[frame - 1].holder == roots[frame].holder)
        frame--;
    for (uint32_t i = frame; i < search->graph->root_count && roots[i].holder == roots[frame].holder; i++) {
        if (roots[i].name && !strcmp(roots[i].name, "self"))
            *self = roots[i].target;
    }
    if (*self != HEAP_NONE || !frame_is(search, roots[frame].target, "frame"))
        return NULL;
    return frame_read_fields(search->view, roots[frame].target, labels, self);
}

static struct error *frame_name_thread(struct heap_search *search, struct heap_named_path *named)
{
    static const char *const labels[] = {"_name", "__dict__", NULL};
    uint32_t root = (uint32_t)(named->root - search->graph->roots), self, fields[FRAME_FIELDS_MAX];
    struct frame_thread thread = frame_find_thread(search->graph, root);
    struct error *error = frame_find_self(search, thread.outermost, &self);

    if (!error)
        error = frame_read_fields(search->view, self, labels, fields);
    if (!error && self != HEAP_NONE && fields[0] == HEAP_NONE)
        error = frame_read_fields(search->view, fields[1], labels, fields);
    if (!error && self != HEAP_NONE)
        error = frame_read_text(search->view, fields[0], &named->thread);
    if (!error && !named->thread && thread.main && !(named->thread = strdup("MainThread")))
        error = frame_out_of_memory();
    return error;
}

/* ------------------------------------------------------------------ public */

/* Another path from the same frame has it all. */
static struct error *frame_copy(struct heap_named_path *to, const struct heap_named_path *from)
{
    to->line = from->line;
    if ((from->function && !(to->function = strdup(from->function))) || (from->file && !(to->file = strdup(from->file))) ||
        (from->thread && !(to->thread = strdup(from->thread))))
        return frame_out_of_memory();
    return NULL;
}

static struct error *frame_name(struct heap_search *search, struct heap_named_path *named)
{
    struct error *error = frame_name_function(search, named);

    if (!error && search->view->heap && named->root->code != HEAP_NONE)
        named->line = heap_read_frame_line(search->view->heap, named->root->holder, named->root->code);
    return error ? error : frame_name_thread(search, named);
}

struct error *heap_name_frames(struct heap_search *search, struct heap_named_path *named, size_t count)
{
    struct error *error = NULL;

    for (size_t i = 0; i < count && !error; i++) {
        size_t same = 0;
        if (named[i].root->kind != HEAP_ROOT_FRAME)
            continue;
        while (named[same].root->kind != HEAP_ROOT_FRAME || named[same].root->holder != named[i].root->holder)
            same++;
        error = same < i ? frame_copy(&named[i], &named[same]) : frame_name(search, &named[i]);
    }
    return error;
}

/* ------------------------------------------------------------------- steps */

/* The item of a tuple that is asked for. */
struct frame_item {
    uint64_t index;
    uint32_t target;
};

static void frame_take_item(void *context, const struct heap_graph_edge *edge)
{
    struct frame_item *item = context;

    if (edge->kind == HEAP_EDGE_INDEX && edge->number == item->index)
        item->target = edge->target;
}

static struct error *frame_read_item(struct heap_view *view, uint32_t tuple, uint64_t index, uint32_t *item)
{
    struct frame_item wanted = {index, HEAP_NONE};
    struct error *error = heap_graph_visit(view, &tuple, 1, frame_take_item, &wanted);

    *item = wanted.target;
    return error;
}

static uint32_t frame_count_items(const struct graph *graph, uint32_t tuple)
{
    return graph->first[tuple + 1] - graph->first[tuple];
}

/* The variables of an enclosing function are the last of a code's names, in the order of the cells. */
static struct error *frame_name_cell(struct heap_search *search, uint32_t function, uint32_t closure, const char *place, char **name)
{
    static const char *const function_labels[] = {"__code__", NULL};
    static const char *const code_labels[] = {"co_freevars", "co_localsplusnames", NULL};
    uint32_t code, names[FRAME_FIELDS_MAX], string;
    struct error *error = frame_read_fields(search->view, function, function_labels, &code);

    if (error || (error = frame_read_fields(search->view, code, code_labels, names)))
        return error;
    uint32_t tuple = code == HEAP_NONE ? HEAP_NONE : names[0] != HEAP_NONE ? names[0] : names[1];
    uint64_t index = place[0] == '[' ? strtoull(place + 1, NULL, 10) : UINT64_MAX;
    if (tuple == HEAP_NONE || index >= frame_count_items(search->graph, closure) ||
        frame_count_items(search->graph, tuple) < frame_count_items(search->graph, closure))
        return NULL;
    index += frame_count_items(search->graph, tuple) - frame_count_items(search->graph, closure);
    error = frame_read_item(search->view, tuple, index, &string);
    return error ? error : frame_read_text(search->view, string, name);
}

/* A function, a generator or a frame: by its own name, or by its code's. */
static struct error *frame_name_callable(struct heap_search *search, uint32_t node, char **name)
{
    static const char *const labels[] = {"__qualname__", "code", "f_code", NULL};
    static const char *const code_labels[] = {"co_qualname", "co_name", NULL};
    uint32_t fields[FRAME_FIELDS_MAX], strings[FRAME_FIELDS_MAX];
    struct error *error = frame_read_fields(search->view, node, labels, fields);

    if (error || (error = frame_read_text(search->view, fields[0], name)) || *name)
        return error;
    if ((error = frame_read_fields(search->view, fields[1] != HEAP_NONE ? fields[1] : fields[2], code_labels, strings)))
        return error;
    return frame_read_text(search->view, strings[0] != HEAP_NONE ? strings[0] : strings[1], name);
}

static bool frame_is_callable(const struct heap_search *search, uint32_t node)
{
    static const char *const types[] = {"function", "generator", "coroutine", "async_generator", "frame"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (frame_is(search, node, types[i]))
            return true;
    }
    return false;
}

struct error *heap_name_steps(struct heap_search *search, struct heap_named_path *named)
{
    struct heap_step *steps = named->steps;
    struct error *error = NULL;

    if (!search->view->heap && !search->view->origin.values)
        return NULL;
    for (size_t i = 0; i < named->count && !error; i++) {
        if (frame_is_callable(search, steps[i].node))
            error = frame_name_callable(search, steps[i].node, &steps[i].of);
        else if (i >= 2 && frame_is(search, steps[i].node, "cell") && frame_is(search, steps[i - 2].node, "function"))
            error = frame_name_cell(search, steps[i - 2].node, steps[i - 1].node, steps[i].text, &steps[i].of);
    }
    return error;
}
