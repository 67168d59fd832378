/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ps: which Python processes are here.
 *
 * Most processes are no Python, and share their libraries: a file that was
 * found to hold no CPython is not looked at again in the next process.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach/scope.h"
#include "cli/host.h"
#include "cli/ps.h"
#include "cli/table.h"

/* ------------------------------------------------- files that hold no CPython */

struct ps_files {
    struct ps_file {
        uint64_t inode; /* 0: a free slot */
        unsigned device_major, device_minor;
    } *slots;
    size_t room, used; /* room is a power of two */
};

static struct ps_file *ps_files_slot(const struct ps_files *files, const struct map *map)
{
    size_t at = (size_t)((map->inode + map->device_minor) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (files->room - 1);

    for (;; at = (at + 1) & (files->room - 1)) {
        struct ps_file *file = &files->slots[at];
        if (!file->inode || (file->inode == map->inode && file->device_major == map->device_major &&
                             file->device_minor == map->device_minor))
            return file;
    }
}

static bool ps_files_grow(struct ps_files *files)
{
    struct ps_files larger = {.room = files->room ? files->room * 2 : 1024, .used = files->used};

    if (files->used * 2 < files->room)
        return true;
    larger.slots = calloc(larger.room, sizeof(*larger.slots));
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < files->room; i++) {
        const struct ps_file *file = &files->slots[i];
        const struct map map = {.inode = file->inode, .device_major = file->device_major,
                                .device_minor = file->device_minor};
        if (file->inode)
            *ps_files_slot(&larger, &map) = *file;
    }
    free(files->slots);
    *files = larger;
    return true;
}

static void ps_files_add(struct ps_files *files, const struct map *map)
{
    if (!ps_files_grow(files))
        return;
    struct ps_file *file = ps_files_slot(files, map);
    files->used += !file->inode;
    *file = (struct ps_file){map->inode, map->device_major, map->device_minor};
}

static bool ps_files_has(const struct ps_files *files, const struct map *map)
{
    return files->room && ps_files_slot(files, map)->inode;
}

/* --------------------------------------------------------------- one process */

struct ps_row {
    pid_t pid;
    char python[32]; /* "" where it isn't known */
    char build[64];
    bool free_threaded, debug, is_static;
    char *container, *command;
    double uptime;
    uint64_t rss;
    struct error *refusal; /* NULL: can be attached to */
};

struct ps_list {
    struct ps_row *rows;
    size_t count;
    unsigned closed; /* processes that we may not look at */
    struct ps_files files;
};

static bool ps_is_file(const struct map *map)
{
    return map->executable && map->inode && map->path[0] == '/';
}

static bool ps_is_named(const struct map *map)
{
    return ps_is_file(map) && strstr(map_basename(map), "python");
}

/* Might it be Python? A file's name may say so (an old one has no _PyRuntime), or a runtime be found. */
static bool ps_may_be_python(struct ps_list *list, const struct process *process, const struct maps *maps)
{
    bool unknown = false;

    for (size_t i = 0; i < maps->count; i++) {
        if (ps_is_named(&maps->entries[i]))
            return true;
        unknown |= ps_is_file(&maps->entries[i]) && !ps_files_has(&list->files, &maps->entries[i]);
    }
    if (!unknown)
        return false;
    if (runtime_find_map(process, maps))
        return true;
    for (size_t i = 0; i < maps->count; i++) {
        if (ps_is_file(&maps->entries[i]))
            ps_files_add(&list->files, &maps->entries[i]);
    }
    return false;
}

/* "CPython 2.7.18 (python2.7) is not supported" -> 2.7.18 */
static void ps_take_version(struct ps_row *row, const char *message)
{
    const char *at = strstr(message, "CPython ");

    if (at)
        snprintf(row->python, sizeof(row->python), "%.*s", (int)strcspn(at + 8, " :"), at + 8);
}

/* False: it is no Python after all, or gone. */
static bool ps_describe(struct ps_row *row, const struct process *process, const struct maps *maps)
{
    struct runtime runtime;
    struct process_status status;
    struct error *error = runtime_find(&runtime, process, maps);

    if (error) {
        if (error_code(error) == ERROR_NOT_PYTHON || error_code(error) == ERROR_NO_PROCESS ||
            error_code(error) == ERROR_TARGET_ENDED) {
            error_destroy(error);
            return false;
        }
        ps_take_version(row, error_message(error));
        row->refusal = error;
    } else {
        memcpy(row->python, runtime.version, sizeof(row->python));
        host_format_build(row->build, sizeof(row->build), &runtime);
        row->free_threaded = runtime.free_threaded;
        row->debug = runtime.debug_build;
        row->is_static = runtime.is_static;
        row->refusal = host_check_attach(process->pid, &runtime);
        runtime_close(&runtime);
    }
    if ((error = process_read_status(process->pid, 0, &status))) {
        error_destroy(error);
        error_destroy(row->refusal);
        return false;
    }
    row->rss = status.rss_bytes;
    row->uptime = host_uptime(process->start_time);
    row->container = host_container(process->pid);
    row->command = host_command(process->pid);
    return true;
}

static struct error *ps_add(struct ps_list *list, const struct process *process, const struct maps *maps)
{
    struct ps_row row = {.pid = process->pid};

    if (!ps_describe(&row, process, maps))
        return NULL;
    struct ps_row *larger = reallocarray(list->rows, list->count + 1, sizeof(*larger));
    if (!larger)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for the list of processes");
    list->rows = larger;
    list->rows[list->count++] = row;
    return NULL;
}

/* What can't be looked at is counted; what ends meanwhile is passed over. */
static struct error *ps_look(struct ps_list *list, pid_t pid)
{
    struct process process;
    struct maps maps;
    struct error *error = maps_read(&maps, pid);

    if (error) {
        list->closed += error_code(error) == ERROR_PERMISSION;
        error_destroy(error);
        return NULL;
    }
    /* Kernel threads and zombies have no memory. */
    if (maps.count && !(error = process_open(&process, pid))) {
        if (ps_may_be_python(list, &process, &maps))
            error = ps_add(list, &process, &maps);
        process_close(&process);
    } else {
        error_destroy(error);
        error = NULL;
    }
    maps_deinit(&maps);
    return error;
}

static int ps_compare(const void *a, const void *b)
{
    const struct ps_row *left = a, *right = b;

    return (left->pid > right->pid) - (left->pid < right->pid);
}

static struct error *ps_collect(struct ps_list *list)
{
    DIR *directory = opendir("/proc");
    struct error *error = NULL;

    if (!directory)
        return error_create_errno(ERROR_SYSTEM, errno, "can't list /proc");
    for (struct dirent *entry; !error && (entry = readdir(directory));) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (cli_signals_pending())
            error = error_create(ERROR_INTERRUPTED, NULL, "interrupted");
        else if (pid > 0)
            error = ps_look(list, pid);
    }
    closedir(directory);
    if (list->count)
        qsort(list->rows, list->count, sizeof(*list->rows), ps_compare);
    return error;
}

static void ps_list_deinit(struct ps_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->rows[i].container);
        free(list->rows[i].command);
        error_destroy(list->rows[i].refusal);
    }
    free(list->rows);
    free(list->files.slots);
}

struct error *ps_count(struct ps_counts *counts)
{
    struct ps_list list = {0};
    struct error *error = ps_collect(&list);

    *counts = (struct ps_counts){.closed = list.closed};
    for (size_t i = 0; i < list.count; i++)
        *(list.rows[i].refusal ? &counts->cannot : &counts->can) += 1;
    ps_list_deinit(&list);
    return error;
}

/* -------------------------------------------------------------------- output */

/* A refusal in a few words. */
static const char *ps_short_refusal(const struct error *refusal)
{
    switch (error_code(refusal)) {
    case ERROR_PERMISSION:
        return strstr(error_message(refusal), "traced by") ? "traced" : "no permission";
    case ERROR_DISABLED:
        return "remote debugging off";
    case ERROR_BUSY:
        return "starting or ending";
    default:
        return "not supported";
    }
}

static struct error *ps_print(const struct ps_list *list, const struct cli_options *options)
{
    static const struct table_column columns[] = {
        {"PID", TABLE_RIGHT}, {"PYTHON", 0}, {"BUILD", TABLE_CUT}, {"CONTAINER", TABLE_CUT}, {"UPTIME", TABLE_RIGHT},
        {"RSS", TABLE_RIGHT}, {"ATTACH", TABLE_CUT}, {"COMMAND", TABLE_CUT}, {NULL, 0},
    };
    struct table *table = table_create(options, columns);
    char text[32];

    for (size_t i = 0; i < list->count; i++) {
        const struct ps_row *row = &list->rows[i];

        table_begin_row(table);
        table_format(table, "%d", row->pid);
        table_cell(table, row->python[0] ? row->python : "?");
        table_cell(table, row->build);
        table_cell(table, row->container ? row->container : "-");
        table_cell(table, cli_format_duration(text, sizeof(text), row->uptime));
        table_size(table, row->rss);
        table_cell(table, row->refusal ? ps_short_refusal(row->refusal) : "yes");
        table_cell(table, row->command ? row->command : "?");
    }
    struct error *error = list->count ? table_print(table) : NULL;
    table_destroy(table);
    return error;
}

static void ps_print_json(const struct ps_list *list, struct json *json)
{
    json_begin_object(json, "result");
    json_begin_array(json, "processes");
    for (size_t i = 0; i < list->count; i++) {
        const struct ps_row *row = &list->rows[i];

        json_begin_object(json, NULL);
        json_integer(json, "pid", row->pid);
        json_string(json, "python", row->python[0] ? row->python : NULL);
        json_boolean(json, "free_threaded", row->free_threaded);
        json_boolean(json, "debug", row->debug);
        json_boolean(json, "static", row->is_static);
        json_string(json, "container", row->container);
        json_decimal(json, "uptime_s", row->uptime);
        json_unsigned(json, "rss_bytes", row->rss);
        json_boolean(json, "can_attach", !row->refusal);
        json_string(json, "why_not", row->refusal ? error_message(row->refusal) : NULL);
        json_string(json, "command", row->command);
        json_end_object(json);
    }
    json_end_array(json);
    json_unsigned(json, "not_looked_at", list->closed);
    json_end_object(json);
}

static void ps_note(const struct ps_list *list, const struct cli_options *options)
{
    if (!list->count)
        cli_note(options, "no Python process was found");
    if (list->closed)
        cli_note(options, "%u process%s of other users could not be looked at%s", list->closed,
                 list->closed == 1 ? "" : "es", geteuid() ? ": run as root" : "");
    for (size_t i = 0; options->verbose && i < list->count; i++) {
        if (list->rows[i].refusal) {
            scoped_free char *why = cli_escape(error_message(list->rows[i].refusal));
            cli_note(options, "%d: %s", list->rows[i].pid, why ? why : "?");
        }
    }
}

static struct error *ps_run(const struct cli_options *options, struct json *json)
{
    struct ps_list list = {0};
    struct error *error = ps_collect(&list);

    if (!error && options->json)
        ps_print_json(&list, json);
    else if (!error)
        error = ps_print(&list, options);
    if (!error)
        ps_note(&list, options);
    ps_list_deinit(&list);
    return error;
}

const struct cli_command cli_command_ps = {
    .name = "ps",
    .synopsis = "",
    .summary = "which Python processes are here, and whether we can attach to them",
    .description =
        "PYTHON is the version; BUILD says what is unusual about it: static (no libpython), debug,\n"
        "free-threaded. CONTAINER is the id or name in its cgroup, or yes where its namespaces alone\n"
        "tell. ATTACH is yes, or why not in short; -v says more.",
    .example = "safepoint ps",
    .run = ps_run,
};
