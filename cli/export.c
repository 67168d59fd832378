/* SPDX-License-Identifier: GPL-3.0-or-later */
/* export: the heap of a process or of a snapshot, for other programs. */
#include "cli/export.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "attach/scope.h"
#include "cli/new_file.h"

#define EXPORT_BUFFER (1u << 20)

static const struct export_format {
    const char *name;
    bool whole; /* all of the heap, and no part of it */
    struct error *(*write)(struct export *export);
} export_formats[] = {
    [CLI_FORMAT_HEAPSNAPSHOT] = {"heapsnapshot", true, export_heapsnapshot},
    [CLI_FORMAT_JSONL] = {"jsonl", true, export_jsonl},
    [CLI_FORMAT_DOT] = {"dot", false, export_dot},
};

/* ------------------------------------------------------------------ answer */

static bool export_to_stdout(const struct cli_options *options)
{
    return !strcmp(options->output_path, "-");
}

static void export_print(const struct export *export)
{
    bool to_stdout = export_to_stdout(export->options);
    char objects[32], edges[32], bytes[24];

    cli_note(export->options, "%s%s%s objects of %s, %s references", to_stdout ? "" : export->options->output_path,
             to_stdout ? "" : ": ", cli_format_count(objects, sizeof(objects), export->objects), cli_format_size(bytes, sizeof(bytes), export->bytes),
             cli_format_count(edges, sizeof(edges), export->edges));
}

static void export_print_json(const struct export *export, uint64_t file_bytes, struct json *json)
{
    heap_view_json_pause(&export->view, json);
    json_begin_object(json, "result");
    json_string(json, "file", export->options->output_path);
    json_string(json, "format", export_formats[export->options->export.format].name);
    json_unsigned(json, "file_bytes", file_bytes);
    json_unsigned(json, "objects", export->objects);
    json_unsigned(json, "bytes", export->bytes);
    json_unsigned(json, "edges", export->edges);
    json_unsigned(json, "roots", export->roots);
    json_unsigned(json, "values", export->values);
    heap_view_json(&export->view, json);
    json_end_object(json);
}

/* -------------------------------------------------------------------- run */

static struct error *export_check(const struct cli_options *options)
{
    const char *path = options->output_path;

    if (!options->export.format)
        return error_create(ERROR_USAGE, "safepoint export TARGET --format heapsnapshot -o FILE", "export needs --format");
    if (!path)
        return error_create(ERROR_USAGE, "-o - for standard output", "export needs the name of the file: -o FILE");
    if (options->json && export_to_stdout(options))
        return error_create(ERROR_USAGE, NULL, "--json and -o - both write to standard output");
    if (export_formats[options->export.format].whole && (options->export.of || options->depth))
        return error_create(ERROR_USAGE, NULL, "--of and --depth are for --format dot");
    if (!export_formats[options->export.format].whole && !options->export.of)
        return error_create(ERROR_USAGE, "--of 0x7f12..., or a type's name as heap has it", "--format dot needs --of");
    return NULL;
}

static struct error *export_write(struct export *export)
{
    struct error *error = export_records_init(&export->records, &export->view, export->options);

    if (!error)
        error = export_formats[export->options->export.format].write(export);
    if (!error && (fflush(export->file) != 0 || ferror(export->file)))
        error = error_create_errno(ERROR_SYSTEM, errno, "can't write %s", export->options->output_path);
    export_records_deinit(&export->records);
    return error;
}

static struct error *export_finish(struct export *export, struct new_file *file, struct json *json)
{
    uint64_t bytes = (uint64_t)ftello(export->file);
    struct error *error = file->stream ? new_file_finish(file) : NULL;

    if (error)
        return error;
    if (export->options->json)
        export_print_json(export, bytes, json);
    else
        export_print(export);
    heap_view_note(&export->view, export->options);
    return NULL;
}

static struct error *export_to(struct export *export, struct new_file *file, struct json *json)
{
    struct error *error = heap_view_open_graph(&export->view, export->options, json);

    if (error)
        return error;
    if (!(error = export_write(export)))
        error = export_finish(export, file, json);
    heap_view_close(&export->view);
    return error;
}

/* A file without a name, where there is room for the one that is made; or wherever the system has them. */
static FILE *export_open_waiting(const struct cli_options *options)
{
    const char *slash = strrchr(options->output_path, '/');
    scoped_free char *directory = strndup(options->output_path, slash ? (size_t)(slash - options->output_path) + 1 : 0);
    scoped_fd int fd = -1;
    FILE *file = NULL;

    if (directory && !export_to_stdout(options))
        fd = open(slash ? directory : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 && (file = fdopen(fd, "w+")))
        scope_take_fd(&fd);
    return file ? file : tmpfile();
}

static struct error *export_run(const struct cli_options *options, struct json *json)
{
    struct export export = {.options = options, .file = cli_output};
    struct new_file file = {.path = options->output_path};
    struct error *error = export_check(options);

    if (!error && !export_to_stdout(options) && !(error = new_file_open(&file, options->output_path)))
        export.file = file.stream;
    if (error)
        return error;
    export.waiting = export_open_waiting(options);
    if (!export.waiting)
        error = error_create_errno(ERROR_SYSTEM, errno, "can't make a temporary file");
    else {
        setvbuf(export.file, NULL, _IOFBF, EXPORT_BUFFER);
        error = export_to(&export, &file, json);
        fclose(export.waiting);
    }
    new_file_close(&file);
    return error;
}

const struct cli_command cli_command_export = {
    .name = "export",
    .synopsis = "PID or FILE --format heapsnapshot|jsonl|dot -o FILE",
    .summary = "the heap for other programs: Chrome's DevTools and memlab, DuckDB, Graphviz",
    .description = "heapsnapshot: every object and every reference with its name, under the roots that hold them. jsonl: the same\n"
                   "as lines of JSON. dot: what is around some objects (--of). No values, neither of strings and numbers nor the\n"
                   "keys of dicts, but with --values. The file is readable by its owner alone.",
    .example = "safepoint export 4711 --format heapsnapshot -o app.heapsnapshot",
    .takes = CLI_MAKES_FILE | CLI_TAKES_VALUES | CLI_TAKES_EXPORT | CLI_TAKES_DEPTH | CLI_TAKES_FREEZE | CLI_TAKES_WAIT,
    .words_min = 1,
    .words_max = 1,
    .run = export_run,
};
