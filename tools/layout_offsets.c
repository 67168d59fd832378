/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Prints the row of runtime/layout_tables.c for one version of CPython, from
 * that version's own headers. It is compiled against them and run here; it is
 * no part of safepoint.
 *
 *   for v in 3.8.18 3.9.18 3.10.13 3.11.7 3.12.1 3.13.0; do
 *       i=~/.pyenv/versions/$v/include/python${v%.*}
 *       cc -DPy_BUILD_CORE -I$i -I$i/internal -o /tmp/layout_offsets tools/layout_offsets.c && /tmp/layout_offsets
 *   done
 *
 * The same with -DPy_DEBUG for a --with-pydebug build, -DPy_GIL_DISABLED for a
 * free-threaded one. Debian's python3.X-dev packages carry the internal headers too
 * (-I/usr/include/python3.14 -I/usr/include/python3.14/internal, on multi-arch
 * systems -I/usr/include).
 *
 * For 3.13 and later it prints the row of what the debug offsets don't say first,
 * and the whole layout for comparison alone. For a new version: paste its row (and
 * that of -DPy_GIL_DISABLED), add the new fields of _Py_DebugOffsets to
 * runtime/debug_offsets.c, raise LAYOUT_MINOR_LAST, and compare the rest with the
 * last version's.
 */
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MINOR ((PY_VERSION_HEX >> 16) & 0xff)

#if PY_VERSION_HEX < 0x03090000
#include <internal/pycore_pystate.h>
#include <code.h>
#include <frameobject.h>
#else
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX < 0x030B0000
#include <frameobject.h>
#else
#include <internal/pycore_frame.h>
#endif
#endif
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe_structs.h>
#endif

#define OFFSET(path, type, field) printf("        .%s = %zu,\n", path, offsetof(type, field))
#define NUMBER(path, number)      printf("        .%s = %zu,\n", path, (size_t)(number))
#define NONE(path)                printf("        .%s = OFF_NONE,\n", path)

/* The first bit of a bit field, counted from the start of its struct. */
#define FIRST_BIT(variable, member) \
    (memset(&variable, 0, sizeof variable), variable.member = -1, first_bit(&variable, sizeof variable))

static size_t first_bit(const void *bytes, size_t size)
{
    for (size_t bit = 0; bit < size * 8; bit++)
        if (((const unsigned char *)bytes)[bit / 8] >> bit % 8 & 1)
            return bit;
    return size * 8;
}

static void print_runtime(void)
{
    NUMBER("runtime.size", sizeof(_PyRuntimeState));
    OFFSET("runtime.interpreters_head", _PyRuntimeState, interpreters.head);
    OFFSET("runtime.interpreters_main", _PyRuntimeState, interpreters.main);
    OFFSET("runtime.main_thread", _PyRuntimeState, main_thread);
#if PY_VERSION_HEX < 0x03090000
    OFFSET("runtime.finalizing", _PyRuntimeState, finalizing);
#else
    OFFSET("runtime.finalizing", _PyRuntimeState, _finalizing);
#endif
    OFFSET("runtime.initialized", _PyRuntimeState, initialized);
#if PY_VERSION_HEX < 0x030C0000
    OFFSET("runtime.gil", _PyRuntimeState, ceval.gil);
#else
    NONE("runtime.gil");
#endif
#if PY_VERSION_HEX < 0x03090000
    OFFSET("runtime.pending", _PyRuntimeState, ceval.pending);
    OFFSET("runtime.eval_breaker", _PyRuntimeState, ceval.eval_breaker);
#elif PY_VERSION_HEX < 0x030C0000
    NONE("runtime.pending");
    NONE("runtime.eval_breaker");
#else
    OFFSET("runtime.pending", _PyRuntimeState, ceval.pending_mainthread);
    NONE("runtime.eval_breaker");
#endif
}

static void print_interpreter(void)
{
    NUMBER("interpreter.size", sizeof(PyInterpreterState));
    OFFSET("interpreter.next", PyInterpreterState, next);
    OFFSET("interpreter.id", PyInterpreterState, id);
#if PY_VERSION_HEX < 0x030B0000
    OFFSET("interpreter.threads_head", PyInterpreterState, tstate_head);
#else
    OFFSET("interpreter.threads_head", PyInterpreterState, threads.head);
#endif
#if PY_VERSION_HEX < 0x030D0000
    NONE("interpreter.threads_main");
#else
    OFFSET("interpreter.threads_main", PyInterpreterState, threads.main);
#endif
#if PY_VERSION_HEX < 0x030C0000
    NONE("interpreter.ceval_gil");
#else
    OFFSET("interpreter.ceval_gil", PyInterpreterState, ceval.gil);
#endif
#if PY_VERSION_HEX >= 0x03090000 && PY_VERSION_HEX < 0x030C0000
    OFFSET("interpreter.pending", PyInterpreterState, ceval.pending);
#else
    NONE("interpreter.pending");
#endif
#if PY_VERSION_HEX >= 0x03090000 && PY_VERSION_HEX < 0x030D0000
    OFFSET("interpreter.eval_breaker", PyInterpreterState, ceval.eval_breaker);
#else
    NONE("interpreter.eval_breaker");
#endif
#if PY_VERSION_HEX < 0x030E0000
    NONE("interpreter.config_remote_debug");
#else
    OFFSET("interpreter.config_remote_debug", PyInterpreterState, config.remote_debug);
#endif
    OFFSET("gil.locked", struct _gil_runtime_state, locked);
    OFFSET("gil.last_holder", struct _gil_runtime_state, last_holder);
#ifdef Py_GIL_DISABLED
    OFFSET("gil.enabled", struct _gil_runtime_state, enabled);
#else
    NONE("gil.enabled");
#endif
}

static void print_thread_state(void)
{
    NUMBER("thread_state.size", sizeof(PyThreadState));
    OFFSET("thread_state.next", PyThreadState, next);
    OFFSET("thread_state.interp", PyThreadState, interp);
    OFFSET("thread_state.thread_id", PyThreadState, thread_id);
#if PY_VERSION_HEX < 0x030B0000
    NONE("thread_state.native_thread_id");
#else
    OFFSET("thread_state.native_thread_id", PyThreadState, native_thread_id);
#endif
    OFFSET("thread_state.async_exc", PyThreadState, async_exc);
#if PY_VERSION_HEX < 0x030D0000
    NONE("thread_state.eval_breaker");
#else
    OFFSET("thread_state.eval_breaker", PyThreadState, eval_breaker);
#endif
#if PY_VERSION_HEX < 0x030E0000
    NONE("thread_state.remote_debugger_support");
#else
    OFFSET("thread_state.remote_debugger_support", PyThreadState, remote_debugger_support);
#endif
#if PY_VERSION_HEX < 0x030B0000
    OFFSET("thread_state.frame", PyThreadState, frame);
    NONE("thread_state.cframe");
    NONE("thread_state.current_frame");
    NONE("cframe.current_frame");
#elif PY_VERSION_HEX < 0x030D0000
    NONE("thread_state.frame");
    OFFSET("thread_state.cframe", PyThreadState, cframe);
    NONE("thread_state.current_frame");
    OFFSET("cframe.current_frame", _PyCFrame, current_frame);
#else
    NONE("thread_state.frame");
    NONE("thread_state.cframe");
    OFFSET("thread_state.current_frame", PyThreadState, current_frame);
    NONE("cframe.current_frame");
#endif
#if PY_VERSION_HEX < 0x030E0000
    NONE("debugger_support.pending_call");
    NONE("debugger_support.script_path");
    NUMBER("debugger_support.script_path_size", 0);
#else
    OFFSET("debugger_support.pending_call", _PyRemoteDebuggerSupport, debugger_pending_call);
    OFFSET("debugger_support.script_path", _PyRemoteDebuggerSupport, debugger_script_path);
    NUMBER("debugger_support.script_path_size", _Py_MAX_SCRIPT_PATH_SIZE);
#endif
}

static void print_pending(void)
{
    struct _pending_calls *pending = NULL;
#if PY_VERSION_HEX < 0x03090000
    OFFSET("pending.finishing", struct _pending_calls, finishing);
#else
    NONE("pending.finishing");
#endif
#if PY_VERSION_HEX < 0x030D0000
    OFFSET("pending.lock", struct _pending_calls, lock);
    NONE("pending.mutex");
    OFFSET("pending.calls_to_do", struct _pending_calls, calls_to_do);
    NONE("pending.max");
    OFFSET("pending.first", struct _pending_calls, first);
    OFFSET("pending.last", struct _pending_calls, last);
#else
    NONE("pending.lock");
    OFFSET("pending.mutex", struct _pending_calls, mutex);
    OFFSET("pending.calls_to_do", struct _pending_calls, npending);
    OFFSET("pending.max", struct _pending_calls, max);
    OFFSET("pending.first", struct _pending_calls, first);
    OFFSET("pending.last", struct _pending_calls, next);
#endif
    OFFSET("pending.calls", struct _pending_calls, calls);
    NUMBER("pending.entry_size", sizeof pending->calls[0]);
    NUMBER("pending.capacity", sizeof pending->calls / sizeof pending->calls[0]);
}

static void print_frame(void)
{
#if PY_VERSION_HEX < 0x030B0000
    OFFSET("frame.f_code", PyFrameObject, f_code);
    OFFSET("frame.f_lasti", PyFrameObject, f_lasti);
    NUMBER("frame.lasti_unit", MINOR < 10 ? 1 : 2);
    NUMBER("interpreter_frame.size", 0);
    NONE("interpreter_frame.previous");
    NONE("interpreter_frame.executable");
    NONE("interpreter_frame.instr_ptr");
    NONE("interpreter_frame.owner");
    NONE("interpreter_frame.owner_shim");
#else
    NONE("frame.f_code");
    NONE("frame.f_lasti");
    NUMBER("frame.lasti_unit", 1);
    NUMBER("interpreter_frame.size", sizeof(_PyInterpreterFrame));
    OFFSET("interpreter_frame.previous", _PyInterpreterFrame, previous);
#if PY_VERSION_HEX < 0x030D0000
    OFFSET("interpreter_frame.executable", _PyInterpreterFrame, f_code);
    OFFSET("interpreter_frame.instr_ptr", _PyInterpreterFrame, prev_instr);
#else
    OFFSET("interpreter_frame.executable", _PyInterpreterFrame, f_executable);
    OFFSET("interpreter_frame.instr_ptr", _PyInterpreterFrame, instr_ptr);
#endif
    OFFSET("interpreter_frame.owner", _PyInterpreterFrame, owner);
#if PY_VERSION_HEX < 0x030C0000
    NONE("interpreter_frame.owner_shim");
#elif PY_VERSION_HEX < 0x030E0000
    NUMBER("interpreter_frame.owner_shim", FRAME_OWNED_BY_CSTACK);
#else
    NUMBER("interpreter_frame.owner_shim", FRAME_OWNED_BY_INTERPRETER);
#endif
#endif
#if PY_VERSION_HEX >= 0x030E0000 && defined(Py_GIL_DISABLED)
    OFFSET("interpreter_frame.tlbc_index", _PyInterpreterFrame, tlbc_index);
    OFFSET("code.co_tlbc", PyCodeObject, co_tlbc);
#else
    NONE("interpreter_frame.tlbc_index");
    NONE("code.co_tlbc");
#endif
}

static void print_objects(void)
{
    static PyASCIIObject ascii;

    NUMBER("code.size", sizeof(PyCodeObject));
    OFFSET("code.filename", PyCodeObject, co_filename);
    OFFSET("code.name", PyCodeObject, co_name);
    OFFSET("code.firstlineno", PyCodeObject, co_firstlineno);
#if PY_VERSION_HEX < 0x030A0000
    OFFSET("code.linetable", PyCodeObject, co_lnotab);
#else
    OFFSET("code.linetable", PyCodeObject, co_linetable);
#endif
#if PY_VERSION_HEX < 0x030B0000
    NONE("code.qualname");
    NONE("code.co_code_adaptive");
#else
    OFFSET("code.qualname", PyCodeObject, co_qualname);
    OFFSET("code.co_code_adaptive", PyCodeObject, co_code_adaptive);
#endif
    OFFSET("object.ob_type", PyObject, ob_type);
    OFFSET("type.tp_name", PyTypeObject, tp_name);
    OFFSET("bytes.ob_size", PyBytesObject, ob_base.ob_size);
    OFFSET("bytes.ob_sval", PyBytesObject, ob_sval);
    OFFSET("unicode.length", PyASCIIObject, length);
    OFFSET("unicode.state", PyASCIIObject, state);
    NUMBER("unicode.kind_bit", FIRST_BIT(ascii.state, kind));
    NUMBER("unicode.compact_bit", FIRST_BIT(ascii.state, compact));
    NUMBER("unicode.ascii_bit", FIRST_BIT(ascii.state, ascii));
    NUMBER("unicode.ascii_size", sizeof(PyASCIIObject));
    NUMBER("unicode.compact_size", sizeof(PyCompactUnicodeObject));
}

#if PY_VERSION_HEX >= 0x030D0000
/* The row of layout_supplements, of what debug offsets don't say. */
static void print_supplement(int free_threaded)
{
    static PyASCIIObject ascii;

    printf("        .minor = %d,\n        .free_threaded = %s,\n", MINOR, free_threaded ? "true" : "false");
    NUMBER("debug_offsets_size", sizeof(_Py_DebugOffsets));
    NUMBER("initialized_before_finalizing",
           offsetof(_PyRuntimeState, _finalizing) - offsetof(_PyRuntimeState, initialized));
    NUMBER("main_after_head",
           offsetof(_PyRuntimeState, interpreters.main) - offsetof(_PyRuntimeState, interpreters.head));
    NUMBER("main_thread_after_head",
           offsetof(_PyRuntimeState, main_thread) - offsetof(_PyRuntimeState, interpreters.head));
    NUMBER("async_exc_before_thread_id", offsetof(PyThreadState, thread_id) - offsetof(PyThreadState, async_exc));
    if (MINOR == 13)
        OFFSET("eval_breaker", PyThreadState, eval_breaker);
    else
        NONE("eval_breaker");
    NUMBER("compact_after_ascii", sizeof(PyCompactUnicodeObject) - sizeof(PyASCIIObject));
#if PY_VERSION_HEX < 0x030E0000
    NUMBER("owner_shim", FRAME_OWNED_BY_CSTACK);
#else
    NUMBER("owner_shim", FRAME_OWNED_BY_INTERPRETER);
#endif
    NUMBER("kind_bit", FIRST_BIT(ascii.state, kind));
    NUMBER("compact_bit", FIRST_BIT(ascii.state, compact));
    NUMBER("ascii_bit", FIRST_BIT(ascii.state, ascii));
}
#endif

static void print_head(int debug_build)
{
    printf("        .origin = \"the table for 3.%d%s\",\n", MINOR, debug_build ? " --with-pydebug" : "");
    printf("        .minor = %d,\n        .debug_build = %s,\n", MINOR, debug_build ? "true" : "false");
    printf("        .line_format = %s,\n", MINOR < 10    ? "LINES_LNOTAB"
                                           : MINOR == 10 ? "LINES_LINETABLE"
                                                         : "LINES_LOCATIONS");
}

int main(void)
{
    int debug_build = 0, free_threaded = 0;

#ifdef Py_DEBUG
    debug_build = 1;
#endif
#ifdef Py_GIL_DISABLED
    free_threaded = 1;
#endif
#if PY_VERSION_HEX >= 0x030D0000
    printf("    {\n        /* %s */\n", PY_VERSION);
    print_supplement(free_threaded);
    printf("    },\n    /* the whole, for comparison */\n");
#endif
    printf("    {\n        /* %s%s */\n", PY_VERSION, free_threaded ? ", free-threaded" : "");
    print_head(debug_build);
    print_runtime();
    print_interpreter();
    print_thread_state();
    print_pending();
    print_frame();
    print_objects();
    printf("    },\n");
    return 0;
}
