/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The greenlets of a process (the module `greenlet`, on which gevent and SQLAlchemy's asyncio stand): the Python stacks of
 * those that don't run, read from outside.
 *
 * Nothing lists them: they are searched for among what the collector tracks, which takes time by the number of objects.
 * So first greenlets_find(), while the process runs, then greenlets_read(), which is quick.
 */
#ifndef SAFEPOINT_RUNTIME_GREENLETS_H
#define SAFEPOINT_RUNTIME_GREENLETS_H

#include "runtime/greenlet_layout.h"
#include "runtime/stack.h"

enum greenlet_state {
    GREENLET_NEW,       /* not switched to yet: it has no stack */
    GREENLET_SUSPENDED, /* it has switched to another */
    GREENLET_CURRENT,   /* its stack is that of its thread */
    GREENLET_ENDED,
};

#define GREENLET_NO_THREAD SIZE_MAX

struct greenlet {
    uint64_t address; /* id() of it */
    char type[128];   /* in full */
    enum greenlet_state state;
    bool main;             /* the one that each thread begins with */
    uint64_t parent;       /* address; 0 none */
    size_t thread;         /* number of its thread among those given; GREENLET_NO_THREAD: not known, or ended */
    struct stack stack;    /* of a suspended one; its frames are owned by the greenlets */
};

struct greenlets {
    bool loaded;       /* the module is in this process */
    char version[32];  /* of the module; "" unknown */
    struct error *error; /* why they can't be read although it is; NULL */
    bool incomplete;   /* some may be missing: lists changed under the search, or there were too many objects */
    struct greenlet *items; /* by thread, the main one first, then by address */
    size_t count;

    /* between the two calls, and what the stacks are made of */
    struct object_reader reader;
    struct stacks stacks;
    struct greenlet_layout layout;
    uint64_t *found; /* addresses, rising */
    size_t found_count, found_room;
};

/* Empty; end it with greenlets_deinit(). The runtime must outlive it, and it must not be moved. */
void greenlets_init(struct greenlets *greenlets, const struct runtime *runtime);
void greenlets_deinit(struct greenlets *greenlets);

/* Searches for them, where the module is mapped. What can't be read is told by greenlets->error; an error is that our own
 * memory is out. */
struct error *greenlets_find(struct greenlets *greenlets, const struct maps *maps) __attribute__((warn_unused_result));

/* Reads those that were found. `held`: nothing of the process runs meanwhile; else each is looked at until two looks agree. */
struct error *greenlets_read(struct greenlets *greenlets, const struct maps *maps, const struct thread_state *threads,
                             size_t count, bool held) __attribute__((warn_unused_result));

#endif
