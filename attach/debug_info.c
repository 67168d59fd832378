/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One pass over the top level of all units finds the types that are asked for, each by its first complete definition: CPython's
 * are the same in all of its units. dwz puts types into units of their own, and into a second file (the alternative).
 */
#include "attach/debug_info.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach/scope.h"

#define DEBUG_SECONDS         20
#define DEBUG_SECONDS_NETWORK 300
#define DEBUG_MEMORY          (UINT64_C(2) << 30) /* bytes more than we have */
#define DEBUG_DEPTH           16                  /* of unnamed members in members */

static struct {
    const char *root;
    bool debuginfod;
} debug_places;

void debug_info_configure(const char *root, bool debuginfod)
{
    debug_places.root = root;
    debug_places.debuginfod = debuginfod;
}

/* --------------------------------------------------------------- finding types */

struct debug_name {
    const char *name;
    bool enumerator, found;
    Dwarf_Die die; /* peeled of typedefs */
    uint64_t value;
};

struct debug_search {
    struct debug_name *names; /* sorted, each once */
    size_t count, missing;
};

static int debug_compare_names(const void *a, const void *b)
{
    const struct debug_name *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static struct debug_name *debug_find_name(const struct debug_search *search, const char *name)
{
    const struct debug_name wanted = {.name = name};

    return name ? bsearch(&wanted, search->names, search->count, sizeof(wanted), debug_compare_names) : NULL;
}

static bool debug_is_whole(Dwarf_Die *die)
{
    int tag = dwarf_tag(die);

    return (tag == DW_TAG_structure_type || tag == DW_TAG_union_type || tag == DW_TAG_base_type ||
            tag == DW_TAG_pointer_type) && !dwarf_hasattr(die, DW_AT_declaration);
}

/* What a type is, behind its names: false where it isn't told. */
static bool debug_peel(Dwarf_Die *die, Dwarf_Die *peeled)
{
    return dwarf_peel_type(die, peeled) == 0;
}

static bool debug_type_of(Dwarf_Die *die, Dwarf_Die *type)
{
    Dwarf_Attribute attribute;
    Dwarf_Die named;

    return dwarf_attr_integrate(die, DW_AT_type, &attribute) && dwarf_formref_die(&attribute, &named) &&
           debug_peel(&named, type);
}

static void debug_take_enumerators(struct debug_search *search, Dwarf_Die *enumeration)
{
    Dwarf_Die child;

    for (int more = dwarf_child(enumeration, &child); more == 0; more = dwarf_siblingof(&child, &child)) {
        struct debug_name *name = debug_find_name(search, dwarf_diename(&child));
        Dwarf_Attribute attribute;
        Dwarf_Sword value;

        if (!name || !name->enumerator || name->found || !dwarf_attr(&child, DW_AT_const_value, &attribute) ||
            dwarf_formsdata(&attribute, &value) != 0)
            continue;
        name->value = (uint64_t)value;
        name->found = true;
        search->missing--;
    }
}

static void debug_take_type(struct debug_search *search, Dwarf_Die *die)
{
    int tag = dwarf_tag(die);
    struct debug_name *name;
    Dwarf_Die peeled;

    if (tag == DW_TAG_enumeration_type)
        debug_take_enumerators(search, die);
    if (tag != DW_TAG_typedef && tag != DW_TAG_structure_type)
        return;
    name = debug_find_name(search, dwarf_diename(die));
    if (!name || name->found || name->enumerator || !debug_peel(die, &peeled) || !debug_is_whole(&peeled))
        return;
    name->die = peeled;
    name->found = true;
    search->missing--;
}

static void debug_search_file(struct debug_search *search, Dwarf *dwarf)
{
    Dwarf_CU *unit = NULL;
    Dwarf_Die top, child;

    while (search->missing && dwarf_get_units(dwarf, unit, &unit, NULL, NULL, &top, NULL) == 0) {
        for (int more = dwarf_child(&top, &child); more == 0 && search->missing; more = dwarf_siblingof(&child, &child))
            debug_take_type(search, &child);
    }
}

/* The names of all queries, each once. */
static bool debug_search_init(struct debug_search *search, const struct debug_query *queries, size_t count)
{
    size_t kept = 0;

    search->names = calloc(count + 1, sizeof(*search->names));
    if (!search->names)
        return false;
    for (size_t i = 0; i < count; i++)
        search->names[i] = (struct debug_name){.name = queries[i].type ? queries[i].type : queries[i].member,
                                               .enumerator = queries[i].kind == DEBUG_VALUE};
    qsort(search->names, count, sizeof(*search->names), debug_compare_names);
    for (size_t i = 0; i < count; i++)
        if (!kept || strcmp(search->names[kept - 1].name, search->names[i].name) != 0)
            search->names[kept++] = search->names[i];
    search->count = search->missing = kept;
    return true;
}

/* --------------------------------------------------------------------- members */

/* Where a member has been found. */
struct debug_member {
    uint64_t bits; /* from the start of the outermost struct */
    Dwarf_Die die;
};

static uint64_t debug_number(Dwarf_Die *die, unsigned name, uint64_t otherwise)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value;

    return dwarf_attr_integrate(die, name, &attribute) && dwarf_formudata(&attribute, &value) == 0 ? value : otherwise;
}

/* The bit that a member begins with, in its struct: DWARF 4 and earlier count bit fields from the other end. */
static uint64_t debug_member_bits(Dwarf_Die *member)
{
    uint64_t at = debug_number(member, DW_AT_data_member_location, 0) * 8, size = debug_number(member, DW_AT_bit_size, 0);

    if (dwarf_hasattr_integrate(member, DW_AT_data_bit_offset))
        return at + debug_number(member, DW_AT_data_bit_offset, 0);
    if (dwarf_hasattr_integrate(member, DW_AT_bit_offset))
        return at + debug_number(member, DW_AT_byte_size, 0) * 8 - debug_number(member, DW_AT_bit_offset, 0) - size;
    return at;
}

/* A member by its name, of the struct or of an unnamed one in it. */
static bool debug_find_member(Dwarf_Die *holder, const char *name, size_t length, unsigned depth, struct debug_member *found)
{
    Dwarf_Die child, type;

    for (int more = dwarf_child(holder, &child); more == 0; more = dwarf_siblingof(&child, &child)) {
        const char *own = dwarf_tag(&child) == DW_TAG_member ? dwarf_diename(&child) : "";
        uint64_t bits = own && !*own ? 0 : debug_member_bits(&child);

        if (own && strlen(own) == length && !memcmp(own, name, length)) {
            found->bits += bits;
            found->die = child;
            return true;
        }
        if (own || depth == DEBUG_DEPTH || !debug_type_of(&child, &type))
            continue;
        struct debug_member inner = {.bits = found->bits + bits};
        if (debug_find_member(&type, name, length, depth + 1, &inner)) {
            *found = inner;
            return true;
        }
    }
    return false;
}

/* "a.b.c" from a struct on. */
static bool debug_follow(Dwarf_Die *holder, const char *path, struct debug_member *found)
{
    Dwarf_Die type = *holder;

    *found = (struct debug_member){.bits = 0};
    for (;;) {
        size_t length = strcspn(path, ".");
        if (!debug_find_member(&type, path, length, 0, found))
            return false;
        if (!path[length])
            return true;
        path += length + 1;
        if (!debug_type_of(&found->die, &type))
            return false;
    }
}

/* --------------------------------------------------------------------- answers */

static bool debug_array(const struct debug_member *member, uint64_t *count, uint64_t *element)
{
    Dwarf_Die own = member->die, type, item;
    Dwarf_Word whole, size;

    if (!debug_type_of(&own, &type) || dwarf_tag(&type) != DW_TAG_array_type || !debug_type_of(&type, &item) ||
        dwarf_aggregate_size(&type, &whole) != 0 || dwarf_aggregate_size(&item, &size) != 0 || !size)
        return false;
    *element = size;
    *count = whole / size;
    return true;
}

static bool debug_size(Dwarf_Die *type, uint64_t *size)
{
    Dwarf_Word bytes;

    if (dwarf_aggregate_size(type, &bytes) != 0)
        return false;
    *size = bytes;
    return true;
}

static bool debug_answer_member(struct debug_query *query, Dwarf_Die *holder)
{
    struct debug_member member;
    uint64_t count, element;
    Dwarf_Die type;

    if (!debug_follow(holder, query->member, &member))
        return false;
    switch (query->kind) {
    case DEBUG_OFFSET:
        query->answer = member.bits / 8;
        return member.bits % 8 == 0;
    case DEBUG_BIT:
        query->answer = member.bits;
        return true;
    case DEBUG_SIZE:
        return debug_type_of(&member.die, &type) && debug_size(&type, &query->answer);
    default:
        if (!debug_array(&member, &count, &element))
            return false;
        query->answer = query->kind == DEBUG_COUNT ? count : element;
        return true;
    }
}

static void debug_answer(struct debug_query *query, const struct debug_search *search)
{
    struct debug_name *name = debug_find_name(search, query->type ? query->type : query->member);

    if (!name || !name->found)
        return;
    if (name->enumerator)
        query->answer = name->value;
    query->known = name->enumerator ? query->kind == DEBUG_VALUE
                   : query->member  ? debug_answer_member(query, &name->die)
                                    : debug_size(&name->die, &query->answer);
}

/* ------------------------------------------------------------------- in a child */

/* How the child ended. */
enum { DEBUG_DONE, DEBUG_NONE, DEBUG_FAILED };

/* One more place where debug information is installed. */
static void debug_add_place(char *path, size_t room, const char *root)
{
    size_t used = strlen(path);

    if (used < room)
        snprintf(path + used, room - used, ":%s/usr/lib/debug", root);
}

static Dwarf *debug_open(const struct image *image, pid_t pid)
{
    static char places[PATH_MAX * 2] = ":.debug";
    static char *path = places;
    static const Dwfl_Callbacks callbacks = {.find_debuginfo = dwfl_standard_find_debuginfo,
                                             .section_address = dwfl_offline_section_address,
                                             .debuginfo_path = &path};
    char target[64];
    Dwarf_Addr bias;

    if (debug_places.root)
        debug_add_place(places, sizeof(places), debug_places.root);
    snprintf(target, sizeof(target), "/proc/%d/root", pid);
    if (pid)
        debug_add_place(places, sizeof(places), target);
    debug_add_place(places, sizeof(places), "");
    Dwfl *dwfl = dwfl_begin(&callbacks);
    int fd = image_dup_file(image);
    Dwfl_Module *module = dwfl && fd >= 0 ? dwfl_report_offline(dwfl, "python", image_path(image), fd) : NULL;
    return module && dwfl_report_end(dwfl, NULL, NULL) == 0 ? dwfl_module_getdwarf(module, &bias) : NULL;
}

static int debug_work(const struct image *image, pid_t pid, struct debug_query *queries, size_t count)
{
    struct debug_search search;
    Dwarf *dwarf = debug_open(image, pid);

    if (!dwarf)
        return DEBUG_NONE;
    if (!debug_search_init(&search, queries, count))
        return DEBUG_FAILED;
    debug_search_file(&search, dwarf);
    if (search.missing && dwarf_getalt(dwarf))
        debug_search_file(&search, dwarf_getalt(dwarf));
    for (size_t i = 0; i < count; i++)
        debug_answer(&queries[i], &search);
    return DEBUG_DONE;
}

static uint64_t debug_own_memory(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (!file)
        return 0;
    if (fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void debug_limit(int what, uint64_t most)
{
    const struct rlimit limit = {most, most};

    (void)setrlimit(what, &limit);
}

/* Nothing of ours may come of what a hostile file does here: no core, no output, no file. */
static void debug_confine(void)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int number = 1; number < 32; number++)
        (void)signal(number, SIG_DFL);
    debug_limit(RLIMIT_CORE, 0);
    debug_limit(RLIMIT_CPU, DEBUG_SECONDS);
    debug_limit(RLIMIT_AS, debug_own_memory() + DEBUG_MEMORY);
    for (int fd = 0; nowhere >= 0 && fd < 3; fd++)
        (void)dup2(nowhere, fd);
    if (!debug_places.debuginfod) {
        (void)unsetenv("DEBUGINFOD_URLS");
        debug_limit(RLIMIT_FSIZE, 0);
    }
}

/* Its wait status; -1: it didn't end in time. */
static int debug_wait(pid_t child)
{
    int seconds = debug_places.debuginfod ? DEBUG_SECONDS_NETWORK : DEBUG_SECONDS, status = -1;
    scoped_fd int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    bool late = pidfd >= 0 && poll(&ended, 1, seconds * 1000) <= 0;

    if (late)
        kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child || late)
        return -1;
    return status;
}

static struct error *debug_explain(const struct image *image, int status)
{
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == DEBUG_NONE)
        return error_create(ERROR_UNSUPPORTED, "install its debug information (python3-dbg, python3-debuginfo), or let it be "
                            "fetched: --debuginfod with DEBUGINFOD_URLS", "there is no debug information for %s",
                            image_path(image));
    return error_create(ERROR_UNSUPPORTED, NULL, "the debug information of %s can't be read", image_path(image));
}

struct error *debug_info_ask(const struct image *image, pid_t pid, struct debug_query *queries, size_t count)
{
    size_t size = (count + 1) * sizeof(*queries);
    struct debug_query *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for debug information");
    memcpy(shared, queries, count * sizeof(*queries));
    pid_t child = fork();
    if (child == 0) {
        debug_confine();
        _exit(debug_work(image, pid, shared, count)); /* lint: a child's end */
    }
    int status = child < 0 ? -1 : debug_wait(child);
    bool done = status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == DEBUG_DONE;
    for (size_t i = 0; done && i < count; i++) {
        queries[i].answer = shared[i].answer;
        queries[i].known = shared[i].known;
    }
    munmap(shared, size);
    return done ? NULL : debug_explain(image, status);
}
