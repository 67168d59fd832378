/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/progress.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_AFTER_NS UINT64_C(300000000) /* shorter work shows nothing */
#define PROGRESS_EVERY_NS UINT64_C(100000000)

static uint64_t progress_clock(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

void cli_progress_begin(struct cli_progress *progress, const struct cli_options *options)
{
    progress->shown = !options->quiet && isatty(STDERR_FILENO);
    progress->drawn = false;
    progress->next_ns = progress_clock() + PROGRESS_AFTER_NS;
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}

struct error *cli_progress_step(struct cli_progress *progress, const char *what, uint64_t done, uint64_t all)
{
    if (cli_signals_pending())
        return error_create(ERROR_INTERRUPTED, NULL, "interrupted");
    if (!progress->shown)
        return NULL;
    uint64_t now = progress_clock();
    if (now < progress->next_ns)
        return NULL;
    progress->next_ns = now + PROGRESS_EVERY_NS;
    progress->drawn = true;
    fprintf(stderr, "\r%s %" PRIu64 "%%\033[K", what, all ? done * 100 / all : 0);
    fflush(stderr);
    return NULL;
}
