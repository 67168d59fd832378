/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/export_frames.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/heap_graph.h"

enum { FRAMES_QUALNAME, FRAMES_NAME, FRAMES_FILE, FRAMES_TEXTS };

static struct error *frames_out_of_memory(void)
{
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the names of frames");
}

static int frames_compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

/* Sorts numbers, and leaves each once. */
static size_t frames_sort(uint32_t *numbers, size_t count)
{
    size_t kept = 0;

    qsort(numbers, count, sizeof(*numbers), frames_compare);
    for (size_t i = 0; i < count; i++) {
        if (!kept || numbers[kept - 1] != numbers[i])
            numbers[kept++] = numbers[i];
    }
    return kept;
}

/* `node` is an export_code's first member. */
static struct export_code *frames_find(const struct export_frames *frames, uint32_t node)
{
    return bsearch(&node, frames->codes, frames->count, sizeof(*frames->codes), frames_compare);
}

static struct error *frames_list_codes(struct export_frames *frames, const struct export_groups *groups)
{
    scoped_free uint32_t *nodes = malloc(groups->count * sizeof(*nodes) + 1);
    size_t count = 0;

    if (!nodes)
        return frames_out_of_memory();
    for (uint32_t i = 0; i < groups->count; i++) {
        if (groups->groups[i].code != HEAP_NONE)
            nodes[count++] = groups->groups[i].code;
    }
    count = frames_sort(nodes, count);
    if (!(frames->codes = calloc(count + 1, sizeof(*frames->codes))))
        return frames_out_of_memory();
    for (; frames->count < count; frames->count++)
        frames->codes[frames->count] = (struct export_code){nodes[frames->count], {HEAP_NONE, HEAP_NONE, HEAP_NONE}, {NULL}};
    return NULL;
}

static void frames_take_edge(void *context, const struct heap_graph_edge *edge)
{
    static const char *const fields[] = {"co_qualname", "co_name", "co_filename"};
    struct export_code *code = frames_find(context, edge->from);

    for (size_t i = 0; code && edge->name && edge->kind == HEAP_EDGE_FIELD && i < FRAMES_TEXTS; i++) {
        if (!strcmp(edge->name, fields[i]))
            code->strings[i] = edge->target;
    }
}

/* A string that is asked for, and where it belongs. */
struct frames_text {
    uint32_t node; /* first: frames_compare() */
    char **to;
};

struct frames_texts {
    struct frames_text *texts; /* by rising node; some of them have the same */
    size_t count, next;
};

static void frames_take_text(void *context, uint32_t node, enum heap_value_kind kind, const char *text, size_t size, bool cut)
{
    struct frames_texts *wanted = context;

    (void)cut;
    while (wanted->next < wanted->count && wanted->texts[wanted->next].node < node)
        wanted->next++;
    for (; wanted->next < wanted->count && wanted->texts[wanted->next].node == node; wanted->next++) {
        if (kind == HEAP_VALUE_STR)
            *wanted->texts[wanted->next].to = strndup(text, size);
    }
}

static void frames_list_texts(const struct export_frames *frames, struct frames_texts *wanted)
{
    for (size_t i = 0; i < frames->count; i++) {
        for (size_t k = 0; k < FRAMES_TEXTS; k++) {
            if (frames->codes[i].strings[k] != HEAP_NONE)
                wanted->texts[wanted->count++] = (struct frames_text){frames->codes[i].strings[k], &frames->codes[i].texts[k]};
        }
    }
    qsort(wanted->texts, wanted->count, sizeof(*wanted->texts), frames_compare);
}

/* Two rounds for all of them: their strings, then what those are. */
static struct error *frames_read(struct export_frames *frames)
{
    scoped_free uint32_t *nodes = malloc(frames->count * FRAMES_TEXTS * sizeof(*nodes) + 1);
    scoped_free struct frames_text *texts = malloc(frames->count * FRAMES_TEXTS * sizeof(*texts) + 1);
    struct frames_texts wanted = {.texts = texts};

    if (!nodes || !texts)
        return frames_out_of_memory();
    for (size_t i = 0; i < frames->count; i++)
        nodes[i] = frames->codes[i].node;
    struct error *error = heap_graph_visit(frames->view, nodes, frames->count, frames_take_edge, frames);
    if (error)
        return error;
    frames_list_texts(frames, &wanted);
    for (size_t i = 0; i < wanted.count; i++)
        nodes[i] = wanted.texts[i].node;
    return heap_graph_values(frames->view, nodes, frames_sort(nodes, wanted.count), frames_take_text, &wanted);
}

struct error *export_frames_init(struct export_frames *frames, struct heap_view *view, const struct export_groups *groups)
{
    *frames = (struct export_frames){.view = view};
    struct error *error = frames_list_codes(frames, groups);
    return error ? error : frames_read(frames);
}

void export_frames_deinit(struct export_frames *frames)
{
    for (size_t i = 0; i < frames->count; i++) {
        for (size_t k = 0; k < FRAMES_TEXTS; k++)
            free(frames->codes[i].texts[k]);
    }
    free(frames->codes);
    *frames = (struct export_frames){.count = 0};
}

static void frames_name(const struct export_frames *frames, const struct export_group *group, char *text)
{
    const struct export_code *code = group->code == HEAP_NONE ? NULL : frames_find(frames, group->code);
    const char *function = !code ? NULL : code->texts[FRAMES_QUALNAME] ? code->texts[FRAMES_QUALNAME] : code->texts[FRAMES_NAME];
    const char *file = code ? code->texts[FRAMES_FILE] : NULL;
    int line = frames->view->heap && code ? heap_read_frame_line(frames->view->heap, group->holder, group->code) : 0;

    if (!function)
        snprintf(text, EXPORT_GROUP_NAME_MAX, "(frame %" PRIu32 ")", group->number);
    else if (!file)
        snprintf(text, EXPORT_GROUP_NAME_MAX, "(frame %.400s)", function);
    else if (line)
        snprintf(text, EXPORT_GROUP_NAME_MAX, "(frame %.400s, %.500s:%d)", function, file, line);
    else
        snprintf(text, EXPORT_GROUP_NAME_MAX, "(frame %.400s, %.500s)", function, file);
}

void export_name_group(const struct export_frames *frames, const struct export_group *group, char *text)
{
    static const char *const names[] = {"(modules)",          "(builtins)",       "(interpreter)", "(interned strings)",
                                        "(static variables)", "(static objects)", "(unreachable)"};

    if (group->kind == EXPORT_GROUP_FRAME)
        frames_name(frames, group, text);
    else if (group->kind == EXPORT_GROUP_THREAD)
        snprintf(text, EXPORT_GROUP_NAME_MAX, "(thread %" PRIu32 ")", group->number);
    else
        snprintf(text, EXPORT_GROUP_NAME_MAX, "%s", names[group->kind]);
}
