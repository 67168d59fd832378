/* SPDX-License-Identifier: GPL-3.0-or-later */
/* snapshot: the heap of a process into a file, for later. */
#include "cli/snapshot.h"

#include <inttypes.h>

#include "cli/new_file.h"
#include "cli/progress.h"

/* ------------------------------------------------------------------- answer */

static void snapshot_print(const struct heap_file_counts *counts, const struct cli_options *options)
{
    char objects[32], edges[32], bytes[24], size[24];

    fprintf(cli_output, "%s: %s objects of %s, %s references, in %s\n", options->output_path,
            cli_format_count(objects, sizeof(objects), counts->objects), cli_format_size(bytes, sizeof(bytes), counts->bytes),
            cli_format_count(edges, sizeof(edges), counts->edges), cli_format_size(size, sizeof(size), counts->file_bytes));
}

static void snapshot_print_json(const struct heap_view *view, const struct heap_file_counts *counts,
                                const struct cli_options *options, struct json *json)
{
    heap_view_json_pause(view, json);
    json_begin_object(json, "result");
    json_string(json, "file", options->output_path);
    json_unsigned(json, "file_bytes", counts->file_bytes);
    json_unsigned(json, "objects", counts->objects);
    json_unsigned(json, "bytes", counts->bytes);
    json_unsigned(json, "edges", counts->edges);
    json_unsigned(json, "roots", counts->roots);
    json_unsigned(json, "values", counts->values);
    heap_view_json(view, json);
    json_end_object(json);
}

static struct error *snapshot_step(void *context, const char *what, uint64_t done, uint64_t all)
{
    return cli_progress_step(context, what, done, all);
}

static struct error *snapshot_write(struct heap_view *view, struct new_file *file, const struct cli_options *options,
                                    struct json *json)
{
    struct heap_file_counts counts;
    struct cli_progress line;
    const struct heap_progress progress = {snapshot_step, &line};

    cli_progress_begin(&line, options);
    struct error *error = heap_file_write(file->stream, view->heap, &view->origin, &progress, &counts);
    cli_progress_end(&line);
    if (error || (error = new_file_finish(file)))
        return error;
    if (options->json)
        snapshot_print_json(view, &counts, options, json);
    else
        snapshot_print(&counts, options);
    heap_view_note(view, options);
    return NULL;
}

static struct error *snapshot_run(const struct cli_options *options, struct json *json)
{
    struct new_file file;
    struct heap_view view;
    struct error *error;

    if (!options->output_path)
        return error_create(ERROR_USAGE, "safepoint snapshot PID -o FILE", "snapshot needs the name of the file: -o FILE");
    if (heap_view_is_file(options) && !core_is_core(options->words[0]))
        return error_create(ERROR_USAGE, NULL, "%s is no process id: snapshot needs a live process", options->words[0]);
    if ((error = new_file_open(&file, options->output_path)))
        return error;
    if (!(error = heap_view_open(&view, options, json))) {
        view.origin.values = options->values;
        error = snapshot_write(&view, &file, options, json);
        heap_view_close(&view);
    }
    new_file_close(&file);
    return error;
}

const struct cli_command cli_command_snapshot = {
    .name = "snapshot",
    .synopsis = "PID -o FILE",
    .summary = "saves the heap of a process: objects, references and their names; heap and info then take the file",
    .description = "The file is readable by its owner alone. It has the names of types, attributes, modules and variables, and\n"
                   "no values: neither those of strings and numbers nor the keys of dicts, but with --values. The process is\n"
                   "held for milliseconds at its safe point.",
    .example = "safepoint snapshot 4711 -o before.sps && safepoint heap before.sps",
    .takes = CLI_MAKES_FILE | CLI_TAKES_VALUES | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = snapshot_run,
};

/* --------------------------------------------------------------------- info */

static void snapshot_print_field(const char *name, const char *text)
{
    if (text[0])
        fprintf(cli_output, "%-14s%s\n", name, text);
}

static void snapshot_print_info(const struct heap_view *view, const struct cli_options *options, uint64_t bytes)
{
    const struct heap_origin *origin = &view->origin;
    char text[512], count[32], size[24];

    fprintf(cli_output, "%s: a snapshot of process %" PRIu64 "\n", options->words[0], origin->pid);
    snapshot_print_field("host", origin->host);
    snapshot_print_field("container", origin->container);
    snapshot_print_field("time", origin->time);
    snprintf(text, sizeof(text), "CPython %s%s%s", origin->python, origin->debug ? ", debug" : "",
             origin->free_threaded ? ", free-threaded" : "");
    snapshot_print_field("python", text);
    snprintf(text, sizeof(text), "%s%s, pause %.1f ms", origin->method, origin->at_safe_point ? " at a safe point" : "",
             origin->pause_us / 1e3);
    snapshot_print_field("taken", text);
    snprintf(text, sizeof(text), "%s of %s, %" PRIu32 " types", cli_format_count(count, sizeof(count), view->file.count),
             cli_format_size(size, sizeof(size), bytes), view->file.type_count);
    snapshot_print_field("objects", text);
    snapshot_print_field("values", origin->values ? "yes" : "no");
}

static void snapshot_print_info_json(const struct heap_view *view, uint64_t bytes, struct json *json)
{
    json_begin_object(json, "result");
    json_string(json, "container", view->origin.container[0] ? view->origin.container : NULL);
    json_unsigned(json, "objects", view->file.count);
    json_unsigned(json, "bytes", bytes);
    json_unsigned(json, "types", view->file.type_count);
    json_boolean(json, "values", view->origin.values);
    json_decimal(json, "taken_pause_us", view->origin.pause_us);
    heap_view_json(view, json);
    json_end_object(json);
}

struct error *snapshot_info(const struct cli_options *options, struct json *json)
{
    struct heap_view view;
    uint64_t bytes = 0;
    struct error *error = heap_view_open(&view, options, json);

    if (error)
        return error;
    for (uint32_t i = 0; i < view.file.count; i++)
        bytes += view.file.sizes[i];
    if (options->json)
        snapshot_print_info_json(&view, bytes, json);
    else
        snapshot_print_info(&view, options, bytes);
    heap_view_close(&view);
    return NULL;
}
