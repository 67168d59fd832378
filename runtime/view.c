/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/view.h"

void view_init(struct view *view, const struct runtime *runtime)
{
    view->base = runtime;
    pages_init(&view->pages, runtime->process);
    view->process = *runtime->process;
    view->process.memory = view->pages.memory;
    view->runtime = *runtime;
    view->runtime.process = &view->process;
}

void view_deinit(struct view *view)
{
    pages_deinit(&view->pages);
}
