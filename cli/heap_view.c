/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/heap_view.h"

#include <stdlib.h>
#include <time.h>

#include "attach/scope.h"
#include "cli/progress.h"

/* Of --max-memory, the part that the copy may have: what is found in it takes at most 7 tenths as much again. */
#define VIEW_COPY_PERCENT 58
/* What everything starts from can be torn, in a few of a hundred copies of a busy process. */
#define VIEW_TRIES 6

static double view_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct error *view_step(void *context, const char *what, uint64_t done, uint64_t all)
{
    return cli_progress_step(context, what, done, all);
}

/* The mappings are read again: a process that runs has others than when it was opened. */
static struct error *view_take_room(struct heap_view *view, const struct cli_options *options)
{
    scoped_free struct heap_span *spans = NULL;
    uint64_t most = options->heap.max_memory / 100 * VIEW_COPY_PERCENT;
    struct maps maps;
    size_t count;
    struct error *error = maps_read(&maps, view->source.pid);

    if (error)
        return error;
    error = heap_spans_find(&maps, view->source.pid, &spans, &count);
    if (!error)
        error = heap_image_init(&view->image, spans, count, most);
    maps_deinit(&maps);
    return error;
}

static struct error *view_read(struct heap_view *view, const struct session *session,
                               const struct heap_progress *progress)
{
    double start = view_now();
    struct error *error = heap_image_read(&view->image, view->source.memory, progress);
    double copied = view_now();

    if (!error)
        error = heap_create(&view->heap, &session->runtime, view->source.memory, &view->image, progress);
    view->copied_s = copied - start;
    view->read_s = view_now() - copied;
    return error;
}

static struct error *view_try(struct heap_view *view, const struct session *session, const struct cli_options *options,
                              const struct heap_progress *progress)
{
    struct error *error = view_take_room(view, options);

    if (error)
        return error;
    error = view_read(view, session, progress);
    if (error && view->image.missing && options->heap.max_memory && error_code(error) == ERROR_UNSUPPORTED)
        error = error_with_hint(error, "give it more room: --max-memory");
    if (error)
        heap_view_close(view);
    return error;
}

struct error *heap_view_open(struct heap_view *view, const struct session *session, const struct heap_source *source,
                             const struct cli_options *options)
{
    struct cli_progress line;
    const struct heap_progress progress = {view_step, &line};

    struct error *error = NULL;

    cli_progress_begin(&line, options);
    for (int tries = source->running ? VIEW_TRIES : 1; tries > 0; tries--) {
        error_destroy(error);
        *view = (struct heap_view){.source = *source};
        error = view_try(view, session, options, &progress);
        if (!error || error_code(error) != ERROR_UNSUPPORTED)
            break;
    }
    cli_progress_end(&line);
    return error;
}

void heap_view_close(struct heap_view *view)
{
    heap_destroy(view->heap);
    heap_image_deinit(&view->image);
    *view = (struct heap_view){.heap = NULL};
}

struct heap_source heap_source_running(const struct session *session)
{
    return (struct heap_source){&session->process.memory, session->process.pid, true, "running"};
}
