/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A runtime seen through kept pages (attach/pages.h): all that reads a `struct runtime` can read this one, and what is
 * asked for twice is read once. What it shows is as old as the page: refresh or forget them to look again.
 */
#ifndef SAFEPOINT_RUNTIME_VIEW_H
#define SAFEPOINT_RUNTIME_VIEW_H

#include "attach/pages.h"
#include "runtime/runtime.h"

struct view {
    const struct runtime *base; /* what it is a view of; not owned */
    struct pages pages;
    struct process process; /* the runtime's own, but for its memory; not to be closed */
    struct runtime runtime; /* to be read from; not to be closed */
};

/* A view of `runtime`, which must outlive it. Don't move it. */
void view_init(struct view *view, const struct runtime *runtime);
void view_deinit(struct view *view);

#endif
