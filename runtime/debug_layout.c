/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/debug_layout.h"

#include <stdlib.h>
#include <string.h>

#include "attach/debug_info.h"
#include "attach/scope.h"
#include "runtime/version.h"

/* No structure of CPython's is larger, nor has more elements. */
#define FIELD_MAX (16u << 20)

#define TO(member) #member, (uint32_t)offsetof(struct layout, member)
#define LAST       FIELD_LAST
#define ROW(to, kind, since, until, type, member) {TO(to), FIELD_##kind, since, until, type, member, NULL, 0, false}
#define NUMBER(to, since, until, number) {TO(to), FIELD_NUMBER, since, until, NULL, NULL, NULL, number, false}
#define DISTANCE(to, kind, since, until, type, member, minus) \
    {TO(to), FIELD_##kind, since, until, type, member, minus, 0, false}
#define OPTIONAL(to, kind, since, until, type, member) {TO(to), FIELD_##kind, since, until, type, member, NULL, 0, true}

/* clang-format off: a row a line */
const struct layout_field layout_debug_fields[] = {
    ROW(runtime.size, SIZE, 8, LAST, "_PyRuntimeState", NULL),
    ROW(runtime.interpreters_head, OFFSET, 8, LAST, "_PyRuntimeState", "interpreters.head"),
    ROW(runtime.interpreters_main, OFFSET, 8, LAST, "_PyRuntimeState", "interpreters.main"),
    ROW(runtime.main_thread, OFFSET, 8, LAST, "_PyRuntimeState", "main_thread"),
    ROW(runtime.finalizing, OFFSET, 8, 8, "_PyRuntimeState", "finalizing"),
    ROW(runtime.finalizing, OFFSET, 9, LAST, "_PyRuntimeState", "_finalizing"),
    ROW(runtime.initialized, OFFSET, 8, LAST, "_PyRuntimeState", "initialized"),
    ROW(runtime.gil, OFFSET, 8, 11, "_PyRuntimeState", "ceval.gil"),
    ROW(runtime.pending, OFFSET, 8, 8, "_PyRuntimeState", "ceval.pending"),
    ROW(runtime.pending, OFFSET, 12, LAST, "_PyRuntimeState", "ceval.pending_mainthread"),
    ROW(runtime.eval_breaker, OFFSET, 8, 8, "_PyRuntimeState", "ceval.eval_breaker"),
    ROW(interpreter.size, SIZE, 8, LAST, "PyInterpreterState", NULL),
    ROW(interpreter.next, OFFSET, 8, LAST, "PyInterpreterState", "next"),
    ROW(interpreter.id, OFFSET, 8, LAST, "PyInterpreterState", "id"),
    ROW(interpreter.threads_head, OFFSET, 8, 10, "PyInterpreterState", "tstate_head"),
    ROW(interpreter.threads_head, OFFSET, 11, LAST, "PyInterpreterState", "threads.head"),
    ROW(interpreter.threads_main, OFFSET, 14, LAST, "PyInterpreterState", "threads.main"),
    ROW(interpreter.ceval_gil, OFFSET, 12, LAST, "PyInterpreterState", "ceval.gil"),
    ROW(interpreter.pending, OFFSET, 9, 11, "PyInterpreterState", "ceval.pending"),
    ROW(interpreter.eval_breaker, OFFSET, 9, 12, "PyInterpreterState", "ceval.eval_breaker"),
    ROW(interpreter.config_remote_debug, OFFSET, 14, LAST, "PyInterpreterState", "config.remote_debug"),
    ROW(gil.locked, OFFSET, 8, LAST, "_gil_runtime_state", "locked"),
    ROW(gil.last_holder, OFFSET, 8, LAST, "_gil_runtime_state", "last_holder"),
    OPTIONAL(gil.enabled, OFFSET, 13, LAST, "_gil_runtime_state", "enabled"),
    ROW(thread_state.size, SIZE, 8, LAST, "PyThreadState", NULL),
    ROW(thread_state.next, OFFSET, 8, LAST, "PyThreadState", "next"),
    ROW(thread_state.interp, OFFSET, 8, LAST, "PyThreadState", "interp"),
    ROW(thread_state.thread_id, OFFSET, 8, LAST, "PyThreadState", "thread_id"),
    ROW(thread_state.async_exc, OFFSET, 8, LAST, "PyThreadState", "async_exc"),
    ROW(thread_state.native_thread_id, OFFSET, 11, LAST, "PyThreadState", "native_thread_id"),
    ROW(thread_state.eval_breaker, OFFSET, 13, LAST, "PyThreadState", "eval_breaker"),
    ROW(thread_state.remote_debugger_support, OFFSET, 14, LAST, "PyThreadState", "remote_debugger_support"),
    ROW(thread_state.frame, OFFSET, 8, 10, "PyThreadState", "frame"),
    ROW(thread_state.cframe, OFFSET, 11, 12, "PyThreadState", "cframe"),
    ROW(thread_state.current_frame, OFFSET, 13, LAST, "PyThreadState", "current_frame"),
    ROW(cframe.current_frame, OFFSET, 11, 12, "_PyCFrame", "current_frame"),
    ROW(debugger_support.pending_call, OFFSET, 14, LAST, "_PyRemoteDebuggerSupport", "debugger_pending_call"),
    ROW(debugger_support.script_path, OFFSET, 14, LAST, "_PyRemoteDebuggerSupport", "debugger_script_path"),
    NUMBER(debugger_support.script_path_size, 8, 13, 0),
    ROW(debugger_support.script_path_size, COUNT, 14, LAST, "_PyRemoteDebuggerSupport", "debugger_script_path"),
    ROW(pending.finishing, OFFSET, 8, 8, "_pending_calls", "finishing"),
    ROW(pending.lock, OFFSET, 8, 12, "_pending_calls", "lock"),
    ROW(pending.mutex, OFFSET, 13, LAST, "_pending_calls", "mutex"),
    ROW(pending.calls_to_do, OFFSET, 8, 12, "_pending_calls", "calls_to_do"),
    ROW(pending.calls_to_do, OFFSET, 13, LAST, "_pending_calls", "npending"),
    ROW(pending.max, OFFSET, 13, LAST, "_pending_calls", "max"),
    ROW(pending.first, OFFSET, 8, LAST, "_pending_calls", "first"),
    ROW(pending.last, OFFSET, 8, 12, "_pending_calls", "last"),
    ROW(pending.last, OFFSET, 13, LAST, "_pending_calls", "next"),
    ROW(pending.calls, OFFSET, 8, LAST, "_pending_calls", "calls"),
    ROW(pending.entry_size, ELEMENT, 8, LAST, "_pending_calls", "calls"),
    ROW(pending.capacity, COUNT, 8, LAST, "_pending_calls", "calls"),
    ROW(frame.f_code, OFFSET, 8, 10, "PyFrameObject", "f_code"),
    ROW(frame.f_lasti, OFFSET, 8, 10, "PyFrameObject", "f_lasti"),
    NUMBER(frame.lasti_unit, 8, 9, 1),
    NUMBER(frame.lasti_unit, 10, 10, 2),
    NUMBER(frame.lasti_unit, 11, LAST, 1),
    NUMBER(interpreter_frame.size, 8, 10, 0),
    ROW(interpreter_frame.size, SIZE, 11, LAST, "_PyInterpreterFrame", NULL),
    ROW(interpreter_frame.previous, OFFSET, 11, LAST, "_PyInterpreterFrame", "previous"),
    ROW(interpreter_frame.executable, OFFSET, 11, 12, "_PyInterpreterFrame", "f_code"),
    ROW(interpreter_frame.executable, OFFSET, 13, LAST, "_PyInterpreterFrame", "f_executable"),
    ROW(interpreter_frame.instr_ptr, OFFSET, 11, 12, "_PyInterpreterFrame", "prev_instr"),
    ROW(interpreter_frame.instr_ptr, OFFSET, 13, LAST, "_PyInterpreterFrame", "instr_ptr"),
    ROW(interpreter_frame.owner, OFFSET, 11, LAST, "_PyInterpreterFrame", "owner"),
    ROW(interpreter_frame.owner_shim, VALUE, 12, 13, NULL, "FRAME_OWNED_BY_CSTACK"),
    ROW(interpreter_frame.owner_shim, VALUE, 14, LAST, NULL, "FRAME_OWNED_BY_INTERPRETER"),
    OPTIONAL(interpreter_frame.tlbc_index, OFFSET, 14, LAST, "_PyInterpreterFrame", "tlbc_index"),
    ROW(code.size, SIZE, 8, LAST, "PyCodeObject", NULL),
    ROW(code.filename, OFFSET, 8, LAST, "PyCodeObject", "co_filename"),
    ROW(code.name, OFFSET, 8, LAST, "PyCodeObject", "co_name"),
    ROW(code.qualname, OFFSET, 11, LAST, "PyCodeObject", "co_qualname"),
    ROW(code.firstlineno, OFFSET, 8, LAST, "PyCodeObject", "co_firstlineno"),
    ROW(code.linetable, OFFSET, 8, 9, "PyCodeObject", "co_lnotab"),
    ROW(code.linetable, OFFSET, 10, LAST, "PyCodeObject", "co_linetable"),
    ROW(code.co_code_adaptive, OFFSET, 11, LAST, "PyCodeObject", "co_code_adaptive"),
    OPTIONAL(code.co_tlbc, OFFSET, 14, LAST, "PyCodeObject", "co_tlbc"),
    ROW(object.ob_type, OFFSET, 8, LAST, "PyObject", "ob_type"),
    ROW(type.tp_name, OFFSET, 8, LAST, "PyTypeObject", "tp_name"),
    ROW(bytes.ob_size, OFFSET, 8, LAST, "PyBytesObject", "ob_base.ob_size"),
    ROW(bytes.ob_sval, OFFSET, 8, LAST, "PyBytesObject", "ob_sval"),
    ROW(unicode.length, OFFSET, 8, LAST, "PyASCIIObject", "length"),
    ROW(unicode.state, OFFSET, 8, LAST, "PyASCIIObject", "state"),
    DISTANCE(unicode.kind_bit, BIT, 8, LAST, "PyASCIIObject", "state.kind", "state"),
    DISTANCE(unicode.compact_bit, BIT, 8, LAST, "PyASCIIObject", "state.compact", "state"),
    DISTANCE(unicode.ascii_bit, BIT, 8, LAST, "PyASCIIObject", "state.ascii", "state"),
    ROW(unicode.ascii_size, SIZE, 8, LAST, "PyASCIIObject", NULL),
    ROW(unicode.compact_size, SIZE, 8, LAST, "PyCompactUnicodeObject", NULL),
};
/* clang-format on */
const size_t layout_debug_field_count = sizeof(layout_debug_fields) / sizeof(layout_debug_fields[0]);

/* A version that we don't know is taken for the last one that we do. */
static unsigned known_minor(const struct runtime *runtime)
{
    unsigned minor = version_minor(runtime->version_hex);

    return minor > LAYOUT_MINOR_LAST ? LAYOUT_MINOR_LAST : minor;
}

static enum debug_kind query_kind(enum layout_field_kind kind)
{
    static const enum debug_kind kinds[] = {
        [FIELD_OFFSET] = DEBUG_OFFSET, [FIELD_BIT] = DEBUG_BIT,         [FIELD_SIZE] = DEBUG_SIZE, [FIELD_WORDS] = DEBUG_SIZE,
        [FIELD_COUNT] = DEBUG_COUNT,   [FIELD_ELEMENT] = DEBUG_ELEMENT, [FIELD_VALUE] = DEBUG_VALUE,
    };

    return kinds[kind];
}

/* What is asked for a row: two queries, the second for `minus`. */
static void ask_field(const struct layout_field *field, struct debug_query *queries)
{
    queries[0] = (struct debug_query){query_kind(field->kind), field->type, field->member, 0, false};
    queries[1] = queries[0];
    queries[1].member = field->minus ? field->minus : field->member;
}

static struct error *take_field(const struct layout_field *field, const struct debug_query *queries, void *layout)
{
    uint64_t value = field->kind == FIELD_NUMBER ? field->number : queries[0].answer;

    if (field->kind != FIELD_NUMBER && (!queries[0].known || !queries[1].known)) {
        if (field->optional)
            return NULL;
        return error_create(ERROR_UNSUPPORTED, NULL, "the debug information doesn't tell %s (%s%s%s)", field->name,
                            field->type ? field->type : "", field->type && field->member ? "." : "",
                            field->member ? field->member : "");
    }
    if (field->minus)
        value -= queries[1].answer;
    if (field->kind == FIELD_WORDS)
        value /= 8;
    if (value >= FIELD_MAX)
        return error_create(ERROR_UNSUPPORTED, NULL, "the debug information has nonsense for %s", field->name);
    uint32_t offset = (uint32_t)value;
    memcpy((char *)layout + field->to, &offset, sizeof(offset));
    return NULL;
}

struct error *debug_layout_ask(const struct runtime *runtime, struct debug_query *queries, size_t count)
{
    return debug_info_ask(runtime->image, runtime->process->core ? 0 : runtime->process->pid, queries, count);
}

struct error *debug_layout_fill(const struct runtime *runtime, const struct layout_field *fields, size_t count, void *layout)
{
    scoped_free struct debug_query *queries = calloc(2 * count + 1, sizeof(*queries));
    scoped_free const struct layout_field **chosen = calloc(count + 1, sizeof(*chosen));
    unsigned minor = known_minor(runtime);
    size_t used = 0;

    if (!queries || !chosen)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a layout");
    for (size_t i = 0; i < count; i++) {
        const struct layout_field *field = &fields[i];
        if (minor < field->since || minor > field->until)
            continue;
        if (field->kind == FIELD_NUMBER) {
            memcpy((char *)layout + field->to, &field->number, sizeof(field->number));
            continue;
        }
        chosen[used] = field;
        ask_field(field, &queries[2 * used++]);
    }
    struct error *error = debug_layout_ask(runtime, queries, 2 * used);
    for (size_t i = 0; !error && i < used; i++)
        error = take_field(chosen[i], &queries[2 * i], layout);
    return error;
}

struct error *debug_layout_find(const struct runtime *runtime, struct layout *layout)
{
    unsigned minor = known_minor(runtime);

    layout_init(layout);
    layout->origin = "the debug information of its build";
    layout->minor = minor;
    layout->debug_build = runtime->debug_build;
    layout->line_format = minor < 10 ? LINES_LNOTAB : minor == 10 ? LINES_LINETABLE : LINES_LOCATIONS;
    return debug_layout_fill(runtime, layout_debug_fields, layout_debug_field_count, layout);
}
