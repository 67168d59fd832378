/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CPython inside a process: where its runtime is, which version and build, its
 * interpreters and thread states. Everything is read from outside and checked;
 * nothing here stops the target or runs code in it.
 */
#ifndef SAFEPOINT_RUNTIME_RUNTIME_H
#define SAFEPOINT_RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attach/image.h"
#include "attach/maps.h"
#include "attach/process.h"
#include "runtime/layout.h"

struct runtime {
    const struct process *process; /* not owned */
    struct image *image;           /* the ELF file that holds _PyRuntime; owned */
    struct address address;        /* _PyRuntime */
    uint64_t size;                 /* of the symbol or section; 0 when unknown */
    uint32_t version_hex;          /* as PY_VERSION_HEX; the low byte 0 where only the number is known */
    char version[32];              /* "3.14.10", "3.15.0a3" */
    char build[160];               /* the rest of sys.version, after runtime_read_build() */
    bool debug_build;              /* --with-pydebug */
    bool free_threaded;
    bool is_static;   /* the executable itself holds the runtime */
    bool initialized; /* false before start-up is over, and again at the end */
    bool finalizing;
    struct layout layout; /* where the fields are: debug offsets (3.13+) or our table, or debug information; checked */
    bool by_debug_info;   /* the latter: no table knows this build, or it doesn't fit its own */
};

/* Finds CPython in a process and checks what it found. On success the caller
 * ends it with runtime_close(). ERROR_NOT_PYTHON when there is none (the hint
 * names a child that is Python), ERROR_UNSUPPORTED when a version or a layout is
 * not one that we know or fails a check (by the field's name) and there is no debug information that would tell it, ERROR_PERMISSION.
 * A Python that is starting or ending is found too, unchecked as its lists come and
 * go: look at `initialized` and `finalizing` before anything else. ERROR_BUSY when it has
 * only begun to start. */
struct error *runtime_find(struct runtime *runtime, const struct process *process, const struct maps *maps)
    __attribute__((warn_unused_result));
void runtime_close(struct runtime *runtime);

/* Fills in runtime->build, which takes a search: "" where it isn't found. */
void runtime_read_build(struct runtime *runtime, const struct maps *maps);

/* Cheap: does some file of these maps hold a CPython runtime? Which (NULL: none)? */
const struct map *runtime_find_map(const struct process *process, const struct maps *maps);

struct interpreter {
    struct address address;
    int64_t id;
    bool main;
};

/* A Python thread state. */
struct thread_state {
    struct address address;
    struct address interpreter;
    int64_t interpreter_id;
    uint64_t pthread; /* pthread_self() of its thread */
    pid_t tid;        /* in our pid namespace; 0 when it couldn't be mapped */
    bool main;        /* of the main thread of the main interpreter */
    bool holds_gil;   /* at the moment of reading */
};

/* Lists, bounded: a target that feeds cycles gets ERROR_UNSUPPORTED; one that is
 * starting or ending ERROR_BUSY. free() them. The order is CPython's: newest first. */
struct error *runtime_read_interpreters(const struct runtime *runtime, struct interpreter **list, size_t *count)
    __attribute__((warn_unused_result));
struct error *runtime_read_threads(const struct runtime *runtime, struct thread_state **list, size_t *count)
    __attribute__((warn_unused_result));

/* Does that thread state still exist, of the same thread? Only its own thread unlinks one: what
 * is found while that is stopped stays. A list that changes all the time counts as "no". */
bool runtime_is_listed(const struct runtime *runtime, const struct thread_state *thread);

/* Is the GIL of the main interpreter held, and by which thread state (its last
 * holder otherwise)? On a free-threaded build whose GIL is off: not held. */
struct error *runtime_read_gil(const struct runtime *runtime, bool *locked, struct address *holder)
    __attribute__((warn_unused_result));

/* Does this thread state hold the GIL of its interpreter right now? */
struct error *runtime_holds_gil(const struct runtime *runtime, const struct thread_state *thread, bool *holds)
    __attribute__((warn_unused_result));

/* Is a thread that waits on the futex at `word` waiting for the GIL of its interpreter? */
bool runtime_is_gil_wait(const struct runtime *runtime, const struct thread_state *thread, struct address word);

/* 3.14+: does the configuration allow remote debugging? Where the version has
 * no such switch, true. */
struct error *runtime_read_remote_debug(const struct runtime *runtime, bool *enabled)
    __attribute__((warn_unused_result));

/* ERROR_TARGET_ENDED when Python is taken down, or has been: nothing runs in it any more. */
struct error *runtime_check_lives(const struct runtime *runtime) __attribute__((warn_unused_result));

/* 3.8: does the main thread take no pending calls any more, since it shuts down? Later versions take them to the end. */
struct error *runtime_read_pending_finishing(const struct runtime *runtime, bool *finishing)
    __attribute__((warn_unused_result));

/* Is the lock of the main pending-call queue held right now? (A borrowed thread
 * must not post while it may be the holder.) From 3.12 on the queue's place was
 * searched for; ERROR_UNSUPPORTED where it wasn't found. */
struct error *runtime_read_pending_lock(const struct runtime *runtime, bool *held) __attribute__((warn_unused_result));

/* One Python frame, for "what is it doing". The texts are the target's, in
 * UTF-8, cut where they are too long: who prints them escapes control characters. */
struct python_frame {
    char function[256]; /* qualified name where the version has one */
    char file[1024];
    int line; /* 0 unknown */
};
/* The innermost Python frame of a thread; found = false where it runs none. A
 * running target may be torn: checked, and an error rather than nonsense. */
struct error *runtime_read_top_frame(const struct runtime *runtime, const struct thread_state *thread,
                                     struct python_frame *frame, bool *found) __attribute__((warn_unused_result));

#endif
