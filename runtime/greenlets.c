/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A suspended greenlet's frames begin at the one that switched away:
 *
 *   3.8-3.10  its top_frame, a frame object
 *   3.11+     its current_frame, an interpreter frame, which is that of its top_frame
 *
 * greenlet leads the chain past all that lies on the C stack, which others use meanwhile (3.12+), and ends it where the
 * greenlet began. All greenlets of a thread have been on its C stack: by its addresses we know whose they are.
 */
#include "runtime/greenlets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach/scope.h"
#include "runtime/gc.h"

#define OBJECTS_MAX   UINT64_C(10000000) /* that are searched */
#define GREENLETS_MAX 1000000u
#define BASES_MAX     64
#define LINEAGE_MAX   10000
#define ROUNDS        8 /* looks at one that changes */
#define FRAME_OF_OBJECT 1 /* PyFrameObject.f_frame, 3.11+: its second field */

/* ---------------------------------------------------------------------- search */

/* Is a type greenlet's, or one that is derived from it? As many as a process has are kept, in a table by address. */
#define TYPES_SIZE 16384u

struct known_type {
    uint64_t address;
    bool greenlet;
};

struct search {
    struct greenlets *greenlets;
    uint64_t type; /* greenlet.greenlet */
    struct known_type *types;
    bool out_of_memory;
};

static bool is_derived(struct object_reader *reader, uint64_t type, uint64_t base)
{
    for (unsigned i = 0; type && type % 8 == 0 && i < BASES_MAX; i++) {
        if (type == base)
            return true;
        type = reader_u64(reader, type + reader->layout.type.base);
    }
    return false;
}

static bool is_greenlet_type(struct search *search, uint64_t type)
{
    struct known_type *known = &search->types[(type >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 50];

    if (known->address != type)
        *known = (struct known_type){type, is_derived(&search->greenlets->reader, type, search->type)};
    return known->greenlet;
}

static void add_found(struct search *search, uint64_t address)
{
    struct greenlets *greenlets = search->greenlets;

    if (greenlets->found_count == greenlets->found_room) {
        size_t room = greenlets->found_room ? greenlets->found_room * 2 : 64;
        uint64_t *larger = reallocarray(greenlets->found, room, sizeof(*larger));

        search->out_of_memory |= !larger;
        if (!larger)
            return;
        greenlets->found = larger;
        greenlets->found_room = room;
    }
    greenlets->found[greenlets->found_count++] = address;
}

static void look_at_object(void *context, struct address object, struct address type)
{
    struct search *search = context;

    if (!is_greenlet_type(search, type.value))
        return;
    if (search->greenlets->found_count < GREENLETS_MAX)
        add_found(search, object.value);
    else
        search->greenlets->incomplete = true;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* An object may be met more than once. */
static void sort_found(struct greenlets *greenlets)
{
    size_t kept = 0;

    if (greenlets->found_count)
        qsort(greenlets->found, greenlets->found_count, sizeof(*greenlets->found), compare_addresses);
    for (size_t i = 0; i < greenlets->found_count; i++) {
        if (!kept || greenlets->found[i] != greenlets->found[kept - 1])
            greenlets->found[kept++] = greenlets->found[i];
    }
    greenlets->found_count = kept;
}

static struct error *search_interpreter(struct search *search, const struct interpreter *interpreter)
{
    struct greenlets *greenlets = search->greenlets;
    struct object_reader *reader = &greenlets->reader;
    uint64_t module = reader_module_dict(reader, interpreter->address.value, "greenlet");
    uint64_t inner = reader_module_dict(reader, interpreter->address.value, "greenlet._greenlet");
    uint64_t type = reader_dict_get(reader, inner, "greenlet");
    bool whole;

    if (!type)
        return NULL;
    if (!greenlets->version[0])
        reader_text(reader, reader_dict_get(reader, module, "__version__"), greenlets->version, sizeof(greenlets->version));
    search->type = type;
    struct error *error =
        gc_visit(reader->view.base, interpreter, OBJECTS_MAX, look_at_object, search, &whole);
    greenlets->incomplete |= !whole;
    return error;
}

static struct error *search_all(struct search *search, const struct runtime *runtime)
{
    scoped_free struct interpreter *interpreters = NULL;
    size_t count;
    struct error *error = runtime_read_interpreters(runtime, &interpreters, &count);

    for (size_t i = 0; !error && i < count; i++)
        error = search_interpreter(search, &interpreters[i]);
    if (search->out_of_memory) {
        error_destroy(error);
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the greenlets");
    }
    return error;
}

/* ------------------------------------------------------------------ begin and end */

void greenlets_init(struct greenlets *greenlets, const struct runtime *runtime)
{
    *greenlets = (struct greenlets){0};
    greenlets->error = reader_init(&greenlets->reader, runtime);
    stacks_init(&greenlets->stacks, runtime);
}

static void clear_items(struct greenlets *greenlets)
{
    for (size_t i = 0; i < greenlets->count; i++)
        stack_clear(&greenlets->items[i].stack);
    free(greenlets->items);
    greenlets->items = NULL;
    greenlets->count = 0;
}

void greenlets_deinit(struct greenlets *greenlets)
{
    clear_items(greenlets);
    free(greenlets->found);
    error_destroy(greenlets->error);
    stacks_deinit(&greenlets->stacks);
    reader_deinit(&greenlets->reader);
    *greenlets = (struct greenlets){0};
}

static struct error *say_unknown(const struct greenlets *greenlets)
{
    return error_create(ERROR_UNSUPPORTED, "a build whose layout we don't know; please report it",
                        "no layout that we know fits those of greenlet %s",
                        greenlets->version[0] ? greenlets->version : "(of no known version)");
}

struct error *greenlets_find(struct greenlets *greenlets, const struct maps *maps)
{
    const struct runtime *runtime = greenlets->reader.view.base;
    struct search search = {.greenlets = greenlets};

    greenlets->loaded = greenlet_is_mapped(maps);
    if (!greenlets->loaded || greenlets->error || !runtime->initialized || runtime->finalizing)
        return NULL;
    scoped_free struct known_type *types = calloc(TYPES_SIZE, sizeof(*types));
    if (!types)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the greenlets");
    search.types = types;
    greenlets->error = search_all(&search, runtime);
    sort_found(greenlets);
    if (!greenlets->error && greenlets->found_count &&
        !greenlet_layout_find(&greenlets->layout, &greenlets->reader, maps, search.type, greenlets->found,
                              greenlets->found_count))
        greenlets->error = say_unknown(greenlets);
    if (!greenlets->error || error_code(greenlets->error) != ERROR_SYSTEM)
        return NULL;
    struct error *error = greenlets->error;
    greenlets->error = NULL;
    return error;
}

/* ------------------------------------------------------------------------ a look */

/* What one look at one of them showed. */
struct greenlet_look {
    struct greenlet_fields fields;
    struct frame *frames;
    size_t count, room;
    bool sound; /* all of it fitted */
    bool cut;
};

static enum greenlet_state state_of(const struct greenlet_fields *fields)
{
    if (!fields->stack_stop)
        return GREENLET_NEW;
    if (!fields->stack_start)
        return GREENLET_ENDED;
    return fields->top_frame ? GREENLET_SUSPENDED : GREENLET_CURRENT;
}

static bool look_add(struct greenlet_look *look, const struct frame *frame)
{
    if (look->count == look->room) {
        size_t room = look->room ? look->room * 2 : 16;
        struct frame *larger = reallocarray(look->frames, room, sizeof(*larger));

        if (!larger)
            return false;
        look->frames = larger;
        look->room = room;
    }
    look->frames[look->count++] = *frame;
    return true;
}

/* Where its chain begins; ADDRESS_NULL where what it says of it doesn't agree. */
static struct address find_first_frame(struct object_reader *reader, const struct greenlet_layout *layout,
                                       const struct greenlet_fields *fields)
{
    if (!reader_is(reader, fields->top_frame, "frame"))
        return ADDRESS_NULL;
    if (layout->current_frame == OFF_NONE)
        return address_of(fields->top_frame);
    uint64_t frame = reader_field(reader, fields->top_frame, FRAME_OF_OBJECT);
    return frame == fields->current_frame ? address_of(frame) : ADDRESS_NULL;
}

/* On the part of the C stack that is its own as long as it runs? */
static bool is_on_c_stack(const struct greenlet_fields *fields, struct address at)
{
    return at.value >= fields->stack_start && at.value < fields->stack_stop && !fields->main;
}

static bool look_at_frames(struct greenlet_look *look, struct object_reader *reader, const struct greenlet_layout *layout)
{
    struct address at = find_first_frame(reader, layout, &look->fields);
    bool any = at.value != 0;

    while (at.value) {
        struct frame frame;
        struct error *error;

        look->cut = look->count == READER_DEPTH_MAX || !reader->frames_left;
        if (look->cut)
            return true;
        reader->frames_left--;
        if (is_on_c_stack(&look->fields, at))
            return false;
        if ((error = frames_read(&reader->view.runtime, at, &frame))) {
            error_destroy(error);
            return false;
        }
        if (!frame.shim && !look_add(look, &frame))
            return false;
        at = frame.previous;
    }
    return any;
}

static void look_at_greenlet(struct greenlet_look *look, struct greenlets *greenlets, uint64_t address)
{
    struct object_reader *reader = &greenlets->reader;

    look->count = 0;
    look->cut = false;
    look->sound = greenlet_read_fields(&greenlets->layout, reader, address, &look->fields);
    if (look->sound && state_of(&look->fields) == GREENLET_SUSPENDED)
        look->sound = look_at_frames(look, reader, &greenlets->layout);
}

static bool is_same_state(const struct greenlet_fields *a, const struct greenlet_fields *b)
{
    return a->stack_start == b->stack_start && a->stack_stop == b->stack_stop && a->top_frame == b->top_frame &&
           a->current_frame == b->current_frame && a->parent == b->parent;
}

static bool is_same_look(const struct greenlet_look *a, const struct greenlet_look *b)
{
    if (!a->sound || !b->sound || a->count != b->count || !is_same_state(&a->fields, &b->fields))
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct frame *left = &a->frames[i], *right = &b->frames[i];
        if (left->at.value != right->at.value || left->code.value != right->code.value ||
            left->instruction != right->instruction)
            return false;
    }
    return true;
}

/* --------------------------------------------------------------------- all of them */

/* One of those that were found, as it is being read. */
struct greenlet_read {
    struct greenlet_look now, before;
    bool settled;
};

static struct error *greenlet_take(struct greenlets *greenlets, struct greenlet *greenlet, const struct greenlet_read *read)
{
    const struct greenlet_look *look = &read->now;
    struct error *error = NULL;

    reader_full_type_name(&greenlets->reader, greenlet->address, greenlet->type, sizeof(greenlet->type));
    greenlet->state = state_of(&look->fields);
    greenlet->main = look->fields.main;
    greenlet->parent = look->fields.parent;
    greenlet->stack.cut = look->cut;
    greenlet->stack.steady = read->settled;
    greenlet->stack.changing = !read->settled;
    if (read->settled && greenlet->state == GREENLET_SUSPENDED)
        error = stacks_take(&greenlets->stacks, &greenlet->stack, look->frames, look->count);
    if (error && error_code(error) != ERROR_SYSTEM) {
        greenlet->stack.error = error;
        error = NULL;
    }
    return error;
}

/* Looks until two in a row are the same; of what doesn't change meanwhile once. */
static void read_until_settled(struct greenlets *greenlets, struct greenlet_read *reads, bool held)
{
    size_t left = greenlets->found_count;

    for (unsigned round = 0; left && round < ROUNDS; round++) {
        pages_forget(&greenlets->reader.view.pages);
        for (size_t i = 0; i < greenlets->found_count; i++) {
            struct greenlet_read *read = &reads[i];
            struct greenlet_look spare = read->before;

            if (read->settled)
                continue;
            read->before = read->now;
            read->now = spare;
            look_at_greenlet(&read->now, greenlets, greenlets->found[i]);
            read->settled = held ? read->now.sound : round && is_same_look(&read->now, &read->before);
            left -= read->settled || held;
        }
    }
}

/* ------------------------------------------------------------------------- threads */

/* The main greenlet that one descends from; SIZE_MAX none. Greenlets are by rising address. */
static size_t find_main(const struct greenlets *greenlets, size_t index)
{
    for (unsigned i = 0; i < LINEAGE_MAX; i++) {
        const struct greenlet *greenlet = &greenlets->items[index];

        if (greenlet->main)
            return index;
        const uint64_t *found = greenlet->parent ? bsearch(&greenlet->parent, greenlets->found, greenlets->count,
                                                           sizeof(*greenlets->found), compare_addresses)
                                                 : NULL;
        if (!found)
            return SIZE_MAX;
        index = (size_t)(found - greenlets->found);
    }
    return SIZE_MAX;
}

/* The thread whose C stack holds an address: the C library keeps a thread's own data at the top of the stack that it makes. The
 * first thread's is the kernel's. */
static size_t find_thread(uint64_t at, const struct maps *maps, const struct thread_state *threads, size_t count)
{
    const struct map *map = maps_find(maps, address_of(at));
    size_t found = GREENLET_NO_THREAD, first = GREENLET_NO_THREAD;

    if (!map)
        return GREENLET_NO_THREAD;
    for (size_t i = 0; i < count; i++) {
        uint64_t top = threads[i].pthread;

        if (threads[i].main)
            first = i;
        if (top >= at && top < map->end.value && (found == GREENLET_NO_THREAD || top < threads[found].pthread))
            found = i;
    }
    /* A core doesn't say which is the first thread's. */
    if (found == GREENLET_NO_THREAD && (!strcmp(map->path, "[stack]") || !*map->path))
        return first;
    return found;
}

/* By an address on the stack: where it began, or where it stands; the main one's stack has no such end. */
static uint64_t stack_address(const struct greenlet_fields *fields)
{
    uint64_t at = fields->main ? fields->stack_start : fields->stack_stop - 1;

    return at > 1 && fields->stack_stop ? at : 0;
}

static void find_threads(struct greenlets *greenlets, const struct greenlet_read *reads, const struct maps *maps,
                         const struct thread_state *threads, size_t count)
{
    for (size_t i = 0; i < greenlets->count; i++) {
        uint64_t at = stack_address(&reads[i].now.fields);
        size_t main = find_main(greenlets, i);
        size_t thread = at ? find_thread(at, maps, threads, count) : GREENLET_NO_THREAD;

        greenlets->items[i].thread = thread;
        if (main != SIZE_MAX && reads[main].now.fields.thread_ended)
            greenlets->items[i].state = GREENLET_ENDED;
        else if (main != SIZE_MAX && thread != GREENLET_NO_THREAD)
            greenlets->items[main].thread = thread;
    }
    for (size_t i = 0; i < greenlets->count; i++) {
        size_t main = find_main(greenlets, i);
        if (main != SIZE_MAX && greenlets->items[i].thread == GREENLET_NO_THREAD)
            greenlets->items[i].thread = count == 1 ? 0 : greenlets->items[main].thread;
    }
}

static int compare_greenlets(const void *a, const void *b)
{
    const struct greenlet *left = a, *right = b;

    if (left->thread != right->thread)
        return left->thread < right->thread ? -1 : 1;
    if (left->main != right->main)
        return left->main ? -1 : 1;
    return (left->address > right->address) - (left->address < right->address);
}

static struct error *take_all(struct greenlets *greenlets, const struct greenlet_read *reads)
{
    struct error *error = NULL;

    for (size_t i = 0; !error && i < greenlets->found_count; i++) {
        greenlets->items[i].address = greenlets->found[i];
        error = greenlet_take(greenlets, &greenlets->items[i], &reads[i]);
        greenlets->count++;
    }
    return error;
}

struct error *greenlets_read(struct greenlets *greenlets, const struct maps *maps, const struct thread_state *threads,
                             size_t count, bool held)
{
    if (greenlets->error || !greenlets->found_count)
        return NULL;
    clear_items(greenlets);
    struct greenlet_read *reads = calloc(greenlets->found_count, sizeof(*reads));
    struct error *error = reads ? stacks_prepare(&greenlets->stacks, 0)
                                : error_create(ERROR_SYSTEM, NULL, "out of memory for the greenlets");

    if (!error && !(greenlets->items = calloc(greenlets->found_count, sizeof(*greenlets->items))))
        error = error_create(ERROR_SYSTEM, NULL, "out of memory for the greenlets");
    if (!error) {
        read_until_settled(greenlets, reads, held);
        error = take_all(greenlets, reads);
    }
    if (!error) {
        find_threads(greenlets, reads, maps, threads, count);
        qsort(greenlets->items, greenlets->count, sizeof(*greenlets->items), compare_greenlets);
    }
    for (size_t i = 0; reads && i < greenlets->found_count; i++) {
        free(reads[i].now.frames);
        free(reads[i].before.frames);
    }
    free(reads);
    return error;
}
