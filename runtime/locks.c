/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From the address that a thread is blocked on to the lock:
 *
 *   3.8-3.13  lock object --> sem_t (malloc'd)                         the futex is the semaphore's first word
 *   3.13+     lock object: {head, PyMutex...}, SimpleQueue, PyEvent    the thread is parked: the futex is in an entry on
 *             its own stack, {void *arg; uintptr_t address; semaphore...}, that says for which address
 *
 * The objects that are tried are those that the innermost frames hold: arguments, locals, and the value stack, where the
 * bound method of the call lies.
 */
#include "runtime/locks.h"

#include <stdio.h>
#include <string.h>

#include "attach/scope.h"
#include "attach/syscalls.h"
#include "runtime/withs.h"

#define FRAMES_MAX      64 /* innermost, that are looked into for what a thread waits for */
#define SEARCHED_FRAMES 3  /* innermost, whose words are tried */
#define STACKSIZE_MAX   4096
#define PARKED_BEFORE   8   /* wait_entry.addr before wait_entry.sema */
#define PARKING_MINOR   13  /* from which on there are parking lots */
#define HANDLE_SIZE     128 /* struct ThreadHandle of _threadmodule.c, or a little more */
#define FUTEX_TIMEOUT   3   /* its argument */

/* What a lock's type keeps, in fields of 8 bytes behind its head: the first leads to the semaphore, or is the mutex. */
static const struct lock_type {
    const char *name, *kind;
    bool owned; /* its second field is its owner, 0 for none, its third how often it is held */
} lock_types[] = {
    {"_thread.lock", "lock", false},
    {"_thread.RLock", "rlock", true},
    {"_queue.SimpleQueue", "queue", false},
    {"_multiprocessing.SemLock", "semlock", false},
};

/* Functions of the library in which threads wait. The outermost of those that follow each other tells for what. */
static const struct lock_place {
    const char *file, *function;
    const char *type; /* of `self`; NULL: there is none */
    const char *kind;
} lock_places[] = {
    {"threading.py", "wait", "Condition", "condition"},
    {"threading.py", "wait_for", "Condition", "condition"},
    {"threading.py", "__enter__", "Condition", "lock"}, /* whichever it has */
    {"threading.py", "wait", "Event", "event"},
    {"threading.py", "acquire", "Semaphore", "semaphore"},
    {"threading.py", "wait", "Barrier", "barrier"},
    {"threading.py", "_wait", "Barrier", "barrier"},
    {"threading.py", "_enter", "Barrier", "barrier"},
    {"threading.py", "acquire", "_RLock", "rlock"},
    {"threading.py", "join", "Thread", "join"},
    {"threading.py", "_wait_for_tstate_lock", "Thread", "join"},
    {"threading.py", "start", "Thread", "start"},
    {"threading.py", "_shutdown", NULL, "shutdown"},
    {"queue.py", "get", "Queue", "queue"},
    {"queue.py", "put", "Queue", "queue"},
    {"queue.py", "join", "Queue", "queue"},
    {"concurrent/futures/_base.py", "result", "Future", "future"},
    {"concurrent/futures/_base.py", "exception", "Future", "future"},
    {"concurrent/futures/_base.py", "wait", NULL, "future"},
    {"concurrent/futures/_base.py", "as_completed", NULL, "future"},
    {"concurrent/futures/thread.py", "_worker", NULL, "worker"},
    {"<frozen importlib._bootstrap>", "acquire", "_ModuleLock", "import"},
};

/* Their other functions, too, are passed over on the way to the caller. */
static const char *const lock_files[] = {"/threading.py",
                                         "/queue.py",
                                         "/concurrent/futures/_base.py",
                                         "/concurrent/futures/thread.py",
                                         "<frozen importlib._bootstrap>",
                                         "<frozen importlib._bootstrap_external>"};

/* One thread that is blocked, as it is looked into. */
struct lock_search {
    struct object_reader *reader;
    const struct thread_state *threads;
    size_t thread_count;
    const struct activity *activity;
    struct lock_wait *wait;
    const struct lock_wait *others;  /* those before this one */
    struct frame frames[FRAMES_MAX]; /* innermost first */
    size_t frame_count;
    uint64_t parked; /* what for, where it is parked; 0 */
};

/* ---------------------------------------------------------------- its frames */

static void read_frames(struct lock_search *search)
{
    struct frame frame;
    bool found = reader_first_frame(search->reader, &search->threads[search->wait->thread], &frame);

    for (; found && search->frame_count < FRAMES_MAX; found = reader_next_frame(search->reader, &frame))
        search->frames[search->frame_count++] = frame;
}

/* -------------------------------------------------------------------- the lock */

static const struct lock_type *find_type(struct object_reader *reader, uint64_t object)
{
    for (size_t i = 0; i < sizeof(lock_types) / sizeof(lock_types[0]); i++) {
        if (reader_is_derived(reader, object, lock_types[i].name))
            return &lock_types[i];
    }
    return NULL;
}

/* Is the address that the thread is blocked on this object's? First by the addresses: few words are objects of locks. */
static bool is_blocking(const struct lock_search *search, uint64_t object)
{
    struct object_reader *reader = search->reader;

    if (!object || object % 8)
        return false;
    uint64_t first = reader_u64(reader, object + reader->head);
    bool same = first == search->wait->address ||
                (search->parked && (first == search->parked || object + reader->head == search->parked));
    return same && find_type(reader, object);
}

/* The object itself, or the `self` of a bound method. */
static uint64_t try_word(const struct lock_search *search, uint64_t word)
{
    if (!word || word % 8)
        return 0;
    if (is_blocking(search, word))
        return word;
    uint64_t self = reader_field(search->reader, word, 1);
    return is_blocking(search, self) ? self : 0;
}

/* Variables and the whole value stack: what is left over there from before can't have the address. */
static uint64_t try_frame(const struct lock_search *search, const struct frame *frame)
{
    struct object_reader *reader = search->reader;
    uint64_t variables, words = reader_frame_words(reader, frame, &variables), found = 0;
    uint64_t stack = reader_u32(reader, frame->code.value + reader->layout.code.stacksize);

    for (uint64_t i = 0; i < variables + stack && stack <= STACKSIZE_MAX && !found; i++)
        found = try_word(search, reader_untag(reader, reader_u64(reader, words + i * 8)));
    return found;
}

static void find_object(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;

    for (size_t i = 0; i < search->frame_count && i < SEARCHED_FRAMES && !wait->object; i++)
        wait->object = try_frame(search, &search->frames[i]);
    if (!wait->object)
        return;
    wait->checked = true;
    wait->kind = find_type(search->reader, wait->object)->kind;
    reader_full_type_name(search->reader, wait->object, wait->type, sizeof(wait->type));
}

/* ---------------------------------------------------------------- what it is for */

static const struct lock_place *find_place(struct object_reader *reader, const struct frame *frame,
                                           const struct python_frame *text, uint64_t *self)
{
    *self = reader_local(reader, frame, "self");
    for (size_t i = 0; i < sizeof(lock_places) / sizeof(lock_places[0]); i++) {
        const struct lock_place *place = &lock_places[i];
        if (reader_frame_is(text, place->file, place->function) &&
            (!place->type || reader_is_derived(reader, *self, place->type)))
            return place;
    }
    return NULL;
}

static bool is_in_library(const struct python_frame *text)
{
    for (size_t i = 0; i < sizeof(lock_files) / sizeof(lock_files[0]); i++) {
        if (reader_frame_is(text, lock_files[i], NULL))
            return true;
    }
    return false;
}

static void set_subject(struct lock_search *search, uint64_t subject)
{
    struct lock_wait *wait = search->wait;
    struct object_reader *reader = search->reader;

    if (!subject)
        return;
    wait->subject = subject;
    reader_full_type_name(reader, subject, wait->subject_type, sizeof(wait->subject_type));
    uint64_t name = reader_attribute(reader, subject, "_name");
    if (!reader_text(reader, name ? name : reader_attribute(reader, subject, "name"), wait->subject_name,
                     sizeof(wait->subject_name)))
        wait->subject_name[0] = '\0';
}

/* Does the innermost frame alone say what kind of wait it is, whatever lock of C's it uses for that? */
static bool is_decisive(const struct lock_place *place)
{
    static const char *const kinds[] = {"condition", "event", "join", "shutdown", "import", "rlock"};

    for (size_t i = 0; place && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!strcmp(place->kind, kinds[i]))
            return true;
    }
    return false;
}

/* Walks out through the frames of the library: what is waited for, and for whom the library waits. */
static void find_subject(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;
    bool decided = false;

    for (size_t i = 0; i < search->frame_count; i++) {
        uint64_t self;
        struct python_frame text;
        if (!reader_describe_frame(search->reader, &search->frames[i], &text))
            break;
        const struct lock_place *place = find_place(search->reader, &search->frames[i], &text, &self);
        if (i == 0)
            decided = is_decisive(place);
        if (place && (decided || !wait->object || !strcmp(place->kind, "worker")))
            wait->kind = place->kind;
        if (place)
            set_subject(search, place->type ? self : 0);
        if (!wait->has_frame || place || !is_in_library(&text)) {
            wait->frame = text;
            wait->has_frame = true;
        }
        if (!is_in_library(&text))
            break;
    }
}

/* ---------------------------------------------------------------------- threads */

/* Has this Thread of threading's what the thread is blocked on: the lock (3.8-3.12) or handle (3.13+) of its end? */
static bool is_thread_end(const struct lock_search *search, uint64_t thread)
{
    struct object_reader *reader = search->reader;
    uint64_t lock = reader_attribute(reader, thread, "_tstate_lock");
    uint64_t object = reader_attribute(reader, thread, "_os_thread_handle"); /* 3.14+ */
    uint64_t handle = reader_field(reader, object ? object : reader_attribute(reader, thread, "_handle"), 0);

    if (search->wait->object && lock == search->wait->object)
        return true;
    return handle && search->parked - handle < HANDLE_SIZE;
}

/* Any Thread: of main, at the end of Python, who waits for all of them. */
static uint64_t find_ending_thread(const struct lock_search *search)
{
    struct object_reader *reader = search->reader;
    uint64_t interpreter = search->threads[search->wait->thread].interpreter.value;
    uint64_t dict = reader_module_dict(reader, interpreter, "threading"), found = 0;
    scoped_free uint64_t *items = NULL;
    size_t count;

    if (!dict || !reader_items(reader, reader_dict_get(reader, dict, "_active"), &items, &count))
        return 0;
    for (size_t i = 0; i < count && !found; i++)
        found = is_thread_end(search, items[i]) ? items[i] : 0;
    return found;
}

static void find_target(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;
    int64_t ident;

    if (!strcmp(wait->kind, "shutdown"))
        set_subject(search, find_ending_thread(search));
    wait->checked |= wait->subject && is_thread_end(search, wait->subject);
    if (wait->subject &&
        reader_int(search->reader, reader_attribute(search->reader, wait->subject, "_ident"), &ident)) {
        wait->owner_pthread = (uint64_t)ident;
        wait->witness = LOCK_BY_TARGET;
    }
}

/* ------------------------------------------------------------------------ owners */

static void find_noted_owner(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;

    wait->owner_pthread = reader_field(search->reader, wait->object, 1);
    wait->count = (int64_t)reader_field(search->reader, wait->object, 2);
    /* 3.14+ counts what comes on top of the first. */
    wait->count += search->reader->layout.minor >= 14 && wait->owner_pthread;
    wait->witness = wait->owner_pthread ? LOCK_BY_FIELD : LOCK_NOBODY;
}

/* A lock that is written in Python: the import system's, threading's. */
static void find_attribute_owner(struct lock_search *search, const char *attribute)
{
    struct lock_wait *wait = search->wait;
    int64_t ident;

    if (!reader_int(search->reader, reader_attribute(search->reader, wait->subject, attribute), &ident))
        return;
    wait->owner_pthread = (uint64_t)ident;
    wait->witness = LOCK_BY_FIELD;
}

static bool is_inside_with(struct with_walk *walk, struct object_reader *reader, const struct frame *frame,
                           uint64_t object)
{
    with_walk_frame(walk, reader, frame, false);
    for (size_t i = 0; i < walk->count; i++) {
        if (walk->objects[i] == object)
            return true;
    }
    return false;
}

/* Is a thread inside a `with` of the lock? Its frame. */
static bool search_thread(struct lock_search *search, size_t thread)
{
    struct with_walk walk = {.count = 0};
    struct frame frame;
    bool found = reader_first_frame(search->reader, &search->threads[thread], &frame);
    unsigned depth = 0;

    while (found && !is_inside_with(&walk, search->reader, &frame, search->wait->object))
        found = depth++ < READER_DEPTH_MAX && reader_next_frame(search->reader, &frame);
    return found && reader_describe_frame(search->reader, &frame, &search->wait->owner_frame);
}

/* Another thread waits for the same lock, and its owner has been looked for. */
static bool copy_owner(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;

    for (const struct lock_wait *other = search->others; other < wait; other++) {
        if (other->object != wait->object || strcmp(other->kind, wait->kind) != 0)
            continue;
        wait->witness = other->witness;
        wait->owner_pthread = other->owner_pthread;
        wait->owner_frame = other->owner_frame;
        return true;
    }
    return false;
}

static void find_with(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;

    if (copy_owner(search))
        return;
    wait->witness = LOCK_UNKNOWN;
    for (size_t i = 0; i < search->thread_count; i++) {
        if (!search_thread(search, i))
            continue;
        wait->owner_pthread = search->threads[i].pthread;
        wait->witness = LOCK_BY_FRAME;
        return;
    }
}

static void find_gil_owner(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;

    for (size_t i = 0; i < search->thread_count; i++) {
        bool holds = false;
        if (search->threads[i].interpreter.value == search->threads[wait->thread].interpreter.value)
            error_destroy(runtime_holds_gil(search->reader->view.base, &search->threads[i], &holds));
        if (!holds)
            continue;
        wait->owner_pthread = search->threads[i].pthread;
        wait->witness = LOCK_BY_FIELD;
    }
}

static void find_owner(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;

    if (!strcmp(wait->kind, "gil"))
        find_gil_owner(search);
    else if (!strcmp(wait->kind, "join") || !strcmp(wait->kind, "shutdown"))
        find_target(search);
    else if (!strcmp(wait->kind, "import"))
        find_attribute_owner(search, "owner");
    else if (!strcmp(wait->kind, "rlock") && wait->subject &&
             reader_is_derived(search->reader, wait->subject, "_RLock"))
        find_attribute_owner(search, "_owner");
    else if (!strcmp(wait->kind, "rlock"))
        find_noted_owner(search);
    else if (!strcmp(wait->kind, "lock"))
        find_with(search);
    wait->owner = SIZE_MAX;
    for (size_t i = 0; i < search->thread_count && wait->owner_pthread; i++) {
        if (search->threads[i].pthread == wait->owner_pthread && wait->owner == SIZE_MAX)
            wait->owner = i;
    }
}

/* ------------------------------------------------------------------- one thread */

/* Fills in a wait; false: the thread waits for no lock of ours (no frame of Python's is waiting). */
static bool look_into(struct lock_search *search)
{
    struct lock_wait *wait = search->wait;
    const struct runtime *runtime = &search->reader->view.runtime;

    wait->address = search->activity->arguments[0];
    wait->timed = search->activity->arguments[FUTEX_TIMEOUT] != 0;
    wait->kind = "futex";
    read_frames(search);
    if (!search->frame_count)
        return false;
    if (runtime_is_gil_wait(runtime, &search->threads[wait->thread], address_of(wait->address))) {
        wait->kind = "gil";
        wait->checked = true;
        wait->has_frame = reader_describe_frame(search->reader, &search->frames[0], &wait->frame);
    } else {
        if (search->reader->layout.minor >= PARKING_MINOR)
            search->parked = reader_u64(search->reader, wait->address - PARKED_BEFORE);
        find_object(search);
        find_subject(search);
    }
    find_owner(search);
    return true;
}

static void add_wait(struct locks *locks, struct object_reader *reader, const struct thread_state *threads,
                     const struct activity *const *activities, size_t count, size_t thread)
{
    struct lock_wait *wait = &locks->waits[locks->count];
    struct lock_search search = {.reader = reader,
                                 .threads = threads,
                                 .thread_count = count,
                                 .activity = activities[thread],
                                 .wait = wait,
                                 .others = locks->waits};

    *wait = (struct lock_wait){.thread = thread, .owner = SIZE_MAX};
    if (!look_into(&search))
        return;
    locks->count++;
}

/* ----------------------------------------------------------------------- circles */

/* The wait of the thread that a wait's owner is, which isn't for the GIL; SIZE_MAX: it doesn't wait. */
static size_t next_wait(const struct locks *locks, size_t wait, const struct thread_state *threads)
{
    const struct lock_wait *from = &locks->waits[wait];

    if (from->owner == SIZE_MAX || !strcmp(from->kind, "gil"))
        return SIZE_MAX;
    for (size_t i = 0; i < locks->count; i++) {
        if (threads[locks->waits[i].thread].pthread == threads[from->owner].pthread &&
            strcmp(locks->waits[i].kind, "gil") != 0)
            return i;
    }
    return SIZE_MAX;
}

static void add_circle(struct locks *locks, size_t start, const struct thread_state *threads)
{
    size_t end = locks->circle_first[locks->circle_count], at = start;

    do {
        locks->circles[end++] = at;
        at = next_wait(locks, at, threads);
    } while (at != start);
    locks->circle_first[++locks->circle_count] = end;
}

/* From each wait along the owners: one way out of each, so a circle is met by who comes back to his own walk. */
static void find_circles(struct locks *locks, const struct thread_state *threads, size_t *seen)
{
    for (size_t i = 0; i < locks->count; i++) {
        size_t at = i;
        while (at != SIZE_MAX && !seen[at]) {
            seen[at] = i + 1;
            at = next_wait(locks, at, threads);
        }
        if (at != SIZE_MAX && seen[at] == i + 1)
            add_circle(locks, at, threads);
    }
}

/* --------------------------------------------------------------------------- all */

static struct error *locks_init(struct locks *locks, size_t count)
{
    *locks = (struct locks){.waits = calloc(count + 1, sizeof(*locks->waits)),
                            .circles = calloc(count + 1, sizeof(*locks->circles)),
                            .circle_first = calloc(count + 2, sizeof(*locks->circle_first))};
    if (locks->waits && locks->circles && locks->circle_first)
        return NULL;
    return error_create(ERROR_SYSTEM, NULL, "out of memory for the locks");
}

struct error *locks_read(struct locks *locks, const struct runtime *runtime, const struct thread_state *threads,
                         const struct activity *const *activities, size_t count, bool held)
{
    struct object_reader reader;
    scoped_free size_t *seen = calloc(count + 1, sizeof(*seen));
    struct error *error = locks_init(locks, count);

    if (error || !seen)
        return error ? error : error_create(ERROR_SYSTEM, NULL, "out of memory for the locks");
    error = reader_init(&reader, runtime);
    for (size_t i = count; i-- > 0 && !error;) { /* the newest is the first of the list */
        if (activities[i] && activities[i]->state != 'R' && syscall_is_futex(activities[i]->syscall))
            add_wait(locks, &reader, threads, activities, count, i);
    }
    for (size_t i = 0; i < locks->count; i++)
        locks->waits[i].changing = !held && !activity_stayed(activities[locks->waits[i].thread]);
    if (!error)
        find_circles(locks, threads, seen);
    reader_deinit(&reader);
    return error;
}

void locks_deinit(struct locks *locks)
{
    free(locks->waits);
    free(locks->circles);
    free(locks->circle_first);
    *locks = (struct locks){0};
}
