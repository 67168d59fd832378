/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/mem_verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#define VERDICT_SHARE    10                  /* percent of the RSS that are worth a word */
#define VERDICT_LEAST    (UINT64_C(1) << 20) /* and so many bytes */
#define VERDICT_PINS     3
#define VERDICT_PART     10 /* a type in less than this part of the arenas that the first one is in isn't named */

struct verdict {
    const struct mem_account *account;
    const struct heap_view *view;
    const char *target;
    char *text;
    size_t room, used;
};

static void verdict_say(struct verdict *verdict, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void verdict_say(struct verdict *verdict, const char *fmt, ...)
{
    va_list arguments;

    va_start(arguments, fmt);
    int length = vsnprintf(verdict->text + verdict->used, verdict->room - verdict->used, fmt, arguments);
    va_end(arguments);
    if (length > 0)
        verdict->used += (size_t)length;
    if (verdict->used >= verdict->room)
        verdict->used = verdict->room - 1;
}

static bool verdict_is_worth(const struct mem_account *account, uint64_t bytes)
{
    return bytes >= VERDICT_LEAST && bytes >= account->residency.resident / 100 * VERDICT_SHARE;
}

static uint64_t verdict_python_free(const struct mem_account *account)
{
    return account->resident[MEM_PYMALLOC_BLOCKS] + account->resident[MEM_PYMALLOC_POOLS];
}

bool mem_is_pinned(const struct mem_account *account)
{
    return account->sparse_arenas && verdict_is_worth(account, account->sparse_resident - account->sparse_used) &&
           account->sparse_resident > account->sparse_used;
}

/* ---------------------------------------------------------------- sentences */

/* "Most of it is", "The largest part is": 400.0 MiB of 512.0 MiB */
static void verdict_open(struct verdict *verdict, uint64_t bytes, const char *what)
{
    uint64_t rss = verdict->account->residency.resident;
    char size[24], all[24];

    verdict_say(verdict, "%s is %s: %s of %s", bytes > rss / 2 ? "Most of it" : "The largest part", what,
                cli_format_size(size, sizeof(size), bytes), cli_format_size(all, sizeof(all), rss));
}

static void verdict_say_objects(struct verdict *verdict, uint64_t bytes)
{
    char count[32];

    verdict_open(verdict, bytes, "live Python objects");
    verdict_say(verdict, ", %s objects. What they are: safepoint heap %s; what keeps them: safepoint retained %s.",
                cli_format_count(count, sizeof(count), heap_get_report(verdict->view->heap)->objects), verdict->target,
                verdict->target);
}

static void verdict_say_native(struct verdict *verdict, uint64_t bytes)
{
    verdict_open(verdict, bytes, "what C code took by malloc");
    verdict_say(verdict, ", which is no Python object's%s.",
                verdict->view->heap ? "" : " as far as can be told: its objects can't be read");
}

/* The types that pin most of them: not those that happen to be in one, too. */
static void verdict_say_pins(struct verdict *verdict)
{
    const struct mem_account *account = verdict->account;
    const struct mem_pin *pins = account->pins;
    char size[24], count[32];
    size_t said = 0;

    verdict_say(verdict, "%" PRIu64 " of its %zu arenas (%s) are nearly empty, and pinned by", account->sparse_arenas,
                account->arenas.count, cli_format_size(size, sizeof(size), account->sparse_resident));
    for (size_t i = 0; i < account->pin_count && said < VERDICT_PINS; i++) {
        if (pins[i].arenas < (pins[0].arenas + VERDICT_PART - 1) / VERDICT_PART)
            continue;
        verdict_say(verdict, "%s %s %s in %" PRIu64 " of them", said ? "," : "",
                    cli_format_count(count, sizeof(count), pins[i].objects), pins[i].type, pins[i].arenas);
        said++;
    }
    verdict_say(verdict, said ? "." : " what is no object.");
    if (said && pins[0].alone)
        verdict_say(verdict, " Without the %s, %" PRIu64 " arena%s would go back to the system.", pins[0].type, pins[0].alone,
                    pins[0].alone == 1 ? "" : "s");
}

static void verdict_say_python_free(struct verdict *verdict, uint64_t bytes)
{
    char size[24];

    verdict_say(verdict, "pymalloc keeps %s free in arenas that have blocks in use", cli_format_size(size, sizeof(size), bytes));
    if (mem_is_pinned(verdict->account)) {
        verdict_say(verdict, ". ");
        verdict_say_pins(verdict);
    } else {
        verdict_say(verdict, ", spread among them: an arena goes back when all of it is free.");
    }
}

static void verdict_say_malloc_free(struct verdict *verdict, uint64_t bytes)
{
    uint64_t trimmable = verdict->account->trimmable;
    char size[24], back[24];

    verdict_say(verdict, "%s keeps %s free", verdict->account->glibc.arena_count ? "glibc" : verdict->account->allocator,
                cli_format_size(size, sizeof(size), bytes));
    if (trimmable >= bytes / 2)
        verdict_say(verdict, ", of which malloc_trim() would give back %s: safepoint mem %s --trim.",
                    cli_format_size(back, sizeof(back), trimmable), verdict->target);
    else
        verdict_say(verdict, " that malloc_trim() would not give back, but for %s: in pieces of less than a page, in caches of "
                    "threads, or at the end of a thread's arena.", cli_format_size(back, sizeof(back), trimmable));
}

static void verdict_say_anonymous(struct verdict *verdict, uint64_t bytes)
{
    const struct mem_account *account = verdict->account;

    verdict_open(verdict, bytes, "anonymous mappings");
    if (strcmp(account->allocator, "glibc") != 0)
        verdict_say(verdict, ". Its malloc is that of %s, whose heap lies in them and can't be read.", account->allocator);
    else if (verdict->view->no_objects)
        verdict_say(verdict, ". Python's own heap lies in them, and can't be read: %s.", error_message(verdict->view->no_objects));
    else
        verdict_say(verdict, ", that neither Python nor malloc made: of mmap, or of an extension's own allocator.");
}

static void verdict_say_itself(struct verdict *verdict, uint64_t bytes)
{
    verdict_open(verdict, bytes, "the interpreter and the libraries that it loaded");
    verdict_say(verdict, ", shared with other processes for the most part.");
}

static void verdict_say_files(struct verdict *verdict, uint64_t bytes)
{
    verdict_open(verdict, bytes, "mapped files");
    verdict_say(verdict, ", which the kernel takes back when memory is short, but for what was written to them.");
}

static void verdict_say_shared(struct verdict *verdict, uint64_t bytes)
{
    verdict_open(verdict, bytes, "shared memory");
    verdict_say(verdict, ", which other processes may have too.");
}

static void verdict_say_stacks(struct verdict *verdict, uint64_t bytes)
{
    verdict_open(verdict, bytes, "stacks");
    verdict_say(verdict, ", of %zu threads.", verdict->account->stack_count);
}

static void verdict_say_unread(struct verdict *verdict, uint64_t bytes)
{
    const char *allocator = verdict->account->allocator;

    verdict_open(verdict, bytes, "a heap of malloc that can't be read");
    if (!strcmp(allocator, "unknown"))
        verdict_say(verdict, ": its malloc is none that is known.");
    else
        verdict_say(verdict, ": that of %s.", allocator);
}

/* ------------------------------------------------------------------ weighing */

struct verdict_side {
    uint64_t bytes;
    void (*say)(struct verdict *verdict, uint64_t bytes);
};

enum { SIDE_OBJECTS, SIDE_NATIVE, SIDE_PYTHON_FREE, SIDE_MALLOC_FREE, SIDE_ANONYMOUS, SIDE_ITSELF, SIDE_FILES, SIDE_SHARED,
       SIDE_STACKS, SIDE_UNREAD, SIDES };

/* What of the objects is not accounted for yet and can be in `bytes`. */
static uint64_t verdict_take(uint64_t objects, uint64_t *live, uint64_t bytes)
{
    uint64_t taken = objects > *live ? objects - *live : 0;

    taken = taken < bytes ? taken : bytes;
    *live += taken;
    return taken;
}

static void verdict_weigh(const struct mem_account *account, const struct heap_view *view, struct verdict_side *sides)
{
    const uint64_t *resident = account->resident;
    uint64_t small = resident[MEM_PYMALLOC_LIVE] + resident[MEM_PYMALLOC_HEADS];
    uint64_t live = small + resident[MEM_MALLOC_LIVE] + resident[MEM_MALLOC_MAPPED];
    uint64_t objects = view->heap ? heap_get_report(view->heap)->bytes : 0;
    uint64_t anonymous = resident[MEM_ANONYMOUS], unread = resident[MEM_MALLOC_UNREAD];

    /* What objects have of an allocator that can't be read lies in what is nobody's. */
    anonymous -= verdict_take(objects, &live, anonymous);
    unread -= verdict_take(objects, &live, unread);
    objects = objects < live ? objects : live;
    sides[SIDE_OBJECTS] = (struct verdict_side){objects, verdict_say_objects};
    sides[SIDE_NATIVE] = (struct verdict_side){live - objects, verdict_say_native};
    sides[SIDE_PYTHON_FREE] = (struct verdict_side){verdict_python_free(account), verdict_say_python_free};
    sides[SIDE_MALLOC_FREE] = (struct verdict_side){resident[MEM_MALLOC_FREE], verdict_say_malloc_free};
    sides[SIDE_ANONYMOUS] = (struct verdict_side){anonymous, verdict_say_anonymous};
    sides[SIDE_ITSELF] = (struct verdict_side){resident[MEM_INTERPRETER] + resident[MEM_LIBRARIES], verdict_say_itself};
    sides[SIDE_FILES] = (struct verdict_side){resident[MEM_FILES], verdict_say_files};
    sides[SIDE_SHARED] = (struct verdict_side){resident[MEM_SHARED], verdict_say_shared};
    sides[SIDE_STACKS] = (struct verdict_side){resident[MEM_STACKS], verdict_say_stacks};
    sides[SIDE_UNREAD] = (struct verdict_side){unread, verdict_say_unread};
}

void mem_judge(const struct mem_account *account, const struct heap_view *view, const char *target, char *text,
               size_t room)
{
    struct verdict verdict = {account, view, target, text, room, 0};
    struct verdict_side sides[SIDES];
    int most = 0;

    text[0] = '\0';
    verdict_weigh(account, view, sides);
    for (int i = 1; i < SIDES; i++)
        most = sides[i].bytes > sides[most].bytes ? i : most;
    sides[most].say(&verdict, sides[most].bytes);
    for (int i = SIDE_PYTHON_FREE; i <= SIDE_MALLOC_FREE; i++) {
        if (i == most || !verdict_is_worth(account, sides[i].bytes))
            continue;
        verdict_say(&verdict, " ");
        sides[i].say(&verdict, sides[i].bytes);
    }
}
