/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Scope guards: a local resource that is released on every way out. */
#ifndef SAFEPOINT_ATTACH_SCOPE_H
#define SAFEPOINT_ATTACH_SCOPE_H

#include <stdlib.h>
#include <unistd.h>

static inline void scope_free_pointer(void *slot)
{
    free(*(void **)slot);
}

static inline void scope_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define scoped_free __attribute__((cleanup(scope_free_pointer)))
#define scoped_fd __attribute__((cleanup(scope_close_fd)))

/* Hands a guarded resource over: the guard then does nothing. */
static inline int scope_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline void *scope_take_pointer(void *slot)
{
    void *taken = *(void **)slot;
    *(void **)slot = NULL;
    return taken;
}

#endif
