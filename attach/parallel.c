/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attach/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#define PARALLEL_MAX 4

struct parallel {
    parallel_fn *fn;
    void *context;
    size_t count;
    pthread_mutex_t lock;
    size_t next;         /* the first part that nobody has taken */
    struct error *error; /* the first */
};

static bool parallel_take(struct parallel *work, size_t *part)
{
    pthread_mutex_lock(&work->lock);
    *part = work->next;
    bool any = work->next < work->count && !work->error;
    work->next += any;
    pthread_mutex_unlock(&work->lock);
    return any;
}

static void parallel_fail(struct parallel *work, struct error *error)
{
    pthread_mutex_lock(&work->lock);
    if (work->error)
        error_destroy(error);
    else
        work->error = error;
    pthread_mutex_unlock(&work->lock);
}

static void *parallel_work(void *context)
{
    struct parallel *work = context;
    size_t part;

    while (parallel_take(work, &part)) {
        struct error *error = work->fn(work->context, part);
        if (error)
            parallel_fail(work, error);
    }
    return NULL;
}

/* Helpers have the mask of who makes them: signals are the caller's to take. */
static size_t parallel_start(struct parallel *work, pthread_t *helpers, size_t wanted)
{
    sigset_t all, before;
    size_t started = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < wanted && !pthread_create(&helpers[started], NULL, parallel_work, work))
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static size_t parallel_helpers(size_t count)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t threads = processors > PARALLEL_MAX ? PARALLEL_MAX : processors < 1 ? 1 : (size_t)processors;

    return (threads < count ? threads : count) - 1;
}

struct error *parallel_run(size_t count, parallel_fn *fn, void *context)
{
    struct parallel work = {.fn = fn, .context = context, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helpers[PARALLEL_MAX];
    size_t started = count ? parallel_start(&work, helpers, parallel_helpers(count)) : 0;

    parallel_work(&work);
    for (size_t i = 0; i < started; i++)
        pthread_join(helpers[i], NULL);
    return work.error;
}
