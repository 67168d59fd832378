/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The threads of a process, as Python and as the kernel know them, and what each is doing: for info and stack. */
#ifndef SAFEPOINT_CLI_THREADS_H
#define SAFEPOINT_CLI_THREADS_H

#include "attach/thread_group.h"
#include "attach/unwind.h"
#include "cli/session.h"
#include "runtime/greenlets.h"
#include "runtime/stack.h"
#include "runtime/reader.h"

/* What a thread waits for. */
enum thread_wait {
    THREAD_RUNS,       /* for nothing, or it isn't alive */
    THREAD_WAITS_GIL,
    THREAD_WAITS_LOCK, /* a futex */
    THREAD_WAITS_WORK, /* idle: something that is ready, a connection, a time */
    THREAD_WAITS_CALL, /* another system call */
};

/* The C stack of a thread. */
struct thread_native {
    struct unwind_copy copy;
    struct unwind_frame *frames; /* innermost first */
    size_t count;
    bool asked;
    struct error *error; /* why there is none; NULL */
};

/* How they are to be read. */
struct thread_request {
    bool hold;        /* with every thread stopped as long as it takes */
    bool native;      /* the C stacks too, each thread stopped for an instant */
    bool outsiders;   /* C stacks also of threads that are none of Python's */
    bool greenlets;   /* those that don't run, too */
    bool only_main;   /* C stacks of the main thread alone */
    pid_t only;       /* C stack of this thread alone; 0: all */
};

struct thread_row {
    const struct activity *activity;
    int64_t blocked_ns; /* -1 unknown, or it runs */
    enum thread_wait wait;
    const struct thread_state *state; /* NULL: the thread is none of Python's */
    const struct stack *stack;        /* of that state */
    const struct thread_native *native; /* its C stack; NULL: not asked for, or shown with another row of the thread */
    bool main;                        /* the first thread of the process */
    char *name;                       /* as threading knows it; NULL */
};

struct thread_rows {
    struct thread_row *items; /* by rising tid; a thread with states in two interpreters is in two rows, the inner first */
    size_t count;
    struct activity *activities; /* of each thread once */
    int64_t *blocked;
    struct thread_native *natives; /* of each activity; NULL: not asked for */
    size_t activity_count, python_count;
    struct thread_state *states;
    size_t state_count;
    struct stacks stacks;
    struct greenlets greenlets; /* empty: not asked for, or there are none; their threads are numbers of `states` */
    struct object_reader reader; /* through the stacks' view */
    bool objects_known;          /* this version's can be read */
    uint64_t reading_ns; /* how long reading the stacks took */
    uint64_t search_ns;  /* how long the search for greenlets took */
    uint64_t pause_ns;   /* how long the process, or one of its threads, was stopped for it */
};

/* Reads them all. End it with thread_rows_deinit(), also after an error. */
struct error *thread_rows_read(struct thread_rows *rows, const struct session *session,
                               const struct thread_request *request)
    __attribute__((warn_unused_result));
void thread_rows_deinit(struct thread_rows *rows);

/* Is it one of C's frames that run Python's: CPython's eval loop? */
bool thread_native_is_loop(const struct unwind_frame *frame);

/* "running", "waits for the GIL", "idle in epoll_wait", "blocked in read"; returns it. */
const char *thread_row_describe(const struct thread_row *row, char *text, size_t room);

/* For how long it has waited: "120 ms", "3.2 s"; "" where it isn't known, or it runs. Returns it. */
const char *thread_row_since(const struct thread_row *row, char *text, size_t room);

/* The word of JSON: running, blocked, stopped, traced, ended, unknown. */
const char *thread_row_state(const struct thread_row *row);
/* And what it waits for: gil, lock, work, call; NULL. */
const char *thread_row_wait(const struct thread_row *row);

/* The fields that info and stack have in common, into an object that is open. */
void thread_row_json(struct json *json, const struct thread_row *row);

#endif
