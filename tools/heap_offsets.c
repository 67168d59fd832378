/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Prints the row of runtime/heap/layout_tables.c for one version of CPython, from
 * that version's own headers, as tools/layout_offsets.c does for the runtime:
 * compiled against them, run here, no part of safepoint. tools/heap_tables.sh runs
 * it for every set of headers it is given and writes the whole file.
 */
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <structmember.h>

#define MINOR ((PY_VERSION_HEX >> 16) & 0xff)

#if MINOR == 8
#include <internal/pycore_pystate.h>
#include <internal/pycore_pymem.h>
#include <code.h>
#include <frameobject.h>
#else
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#include <internal/pycore_gc.h>
#if MINOR < 11
#include <frameobject.h>
#else
#include <internal/pycore_frame.h>
#include <internal/pycore_dict.h>
#endif
#endif
#if MINOR >= 14
#include <internal/pycore_interpframe_structs.h>
#endif
#if MINOR >= 10
#include <internal/pycore_moduleobject.h>
#else
typedef struct {
    PyObject_HEAD PyObject *md_dict;
    struct PyModuleDef *md_def;
    void *md_state;
    PyObject *md_weaklist;
    PyObject *md_name;
} PyModuleObject;
#endif
#if MINOR >= 12
#include <internal/pycore_obmalloc.h>
#include <internal/pycore_function.h>
#include <internal/pycore_typeobject.h>
#endif

#define OFFSET(path, type, field) printf("        .%s = %zu,\n", path, offsetof(type, field))
#define NUMBER(path, number)      printf("        .%s = %zu,\n", path, (size_t)(number))
#define NONE(path)                printf("        .%s = OFF_NONE,\n", path)

/* dictobject.c kept it to itself up to 3.9, dict-common.h up to 3.10. */
#if MINOR <= 10
struct dict_keys {
    Py_ssize_t dk_refcnt, dk_size;
    void *dk_lookup;
    Py_ssize_t dk_usable, dk_nentries;
    char dk_indices[];
};
#endif

static void print_interpreter(void)
{
#if MINOR == 8
    OFFSET("interpreter.generations", _PyRuntimeState, gc.generations);
    NUMBER("interpreter.generation_stride", sizeof(struct gc_generation));
    NUMBER("interpreter.permanent_after",
           offsetof(_PyRuntimeState, gc.permanent_generation) - offsetof(_PyRuntimeState, gc.generations));
    OFFSET("interpreter.collecting", _PyRuntimeState, gc.collecting);
#else
#if MINOR >= 14 && defined(Py_GIL_DISABLED)
    OFFSET("interpreter.generations", PyInterpreterState, gc.young);
#else
    OFFSET("interpreter.generations", PyInterpreterState, gc.generations);
#endif
    NUMBER("interpreter.generation_stride", sizeof(struct gc_generation));
    NUMBER("interpreter.permanent_after", offsetof(struct _gc_runtime_state, permanent_generation) -
#if MINOR >= 14 && defined(Py_GIL_DISABLED)
                                              offsetof(struct _gc_runtime_state, young));
#else
                                              offsetof(struct _gc_runtime_state, generations));
#endif
    OFFSET("interpreter.collecting", PyInterpreterState, gc.collecting);
#endif
#if MINOR < 12
    OFFSET("interpreter.modules", PyInterpreterState, modules);
#else
    OFFSET("interpreter.modules", PyInterpreterState, imports.modules);
#endif
    OFFSET("interpreter.sysdict", PyInterpreterState, sysdict);
    OFFSET("interpreter.builtins", PyInterpreterState, builtins);
#if MINOR < 12
    NONE("interpreter.obmalloc");
    NUMBER("obmalloc.indirect", 0);
    NONE("obmalloc.arenas");
    NONE("obmalloc.maxarenas");
#else
    OFFSET("interpreter.obmalloc", PyInterpreterState, obmalloc);
    NUMBER("obmalloc.indirect", MINOR >= 13);
    OFFSET("obmalloc.arenas", struct _obmalloc_state, mgmt.arenas);
    OFFSET("obmalloc.maxarenas", struct _obmalloc_state, mgmt.maxarenas);
#endif
    NUMBER("obmalloc.arena_size", MINOR < 10 ? 256 << 10 : 1 << 20);
    NUMBER("obmalloc.pool_size", MINOR < 10 ? 4 << 10 : 16 << 10);
#if MINOR >= 11
    OFFSET("thread_state.datastack_chunk", PyThreadState, datastack_chunk);
#else
    NONE("thread_state.datastack_chunk");
#endif
}

static void print_type(void)
{
    NUMBER("object.size", sizeof(PyObject));
    OFFSET("object.refcount", PyObject, ob_refcnt);
    OFFSET("object.type", PyObject, ob_type);
    OFFSET("object.ob_size", PyVarObject, ob_size);
    NUMBER("type.size", sizeof(PyTypeObject));
    OFFSET("type.name", PyTypeObject, tp_name);
    OFFSET("type.basicsize", PyTypeObject, tp_basicsize);
    OFFSET("type.itemsize", PyTypeObject, tp_itemsize);
    OFFSET("type.flags", PyTypeObject, tp_flags);
    OFFSET("type.is_gc", PyTypeObject, tp_is_gc);
    OFFSET("type.members", PyTypeObject, tp_members);
    OFFSET("type.base", PyTypeObject, tp_base);
    OFFSET("type.dict", PyTypeObject, tp_dict);
    OFFSET("type.dictoffset", PyTypeObject, tp_dictoffset);
    OFFSET("type.bases", PyTypeObject, tp_bases);
    OFFSET("type.mro", PyTypeObject, tp_mro);
    OFFSET("type.cache", PyTypeObject, tp_cache);
    OFFSET("type.subclasses", PyTypeObject, tp_subclasses);
    OFFSET("type.weaklist", PyTypeObject, tp_weaklist);
    OFFSET("type.weaklistoffset", PyTypeObject, tp_weaklistoffset);
    NUMBER("type.heap_size", sizeof(PyHeapTypeObject));
    OFFSET("type.ht_name", PyHeapTypeObject, ht_name);
    OFFSET("type.ht_slots", PyHeapTypeObject, ht_slots);
    OFFSET("type.ht_qualname", PyHeapTypeObject, ht_qualname);
    OFFSET("type.ht_cached_keys", PyHeapTypeObject, ht_cached_keys);
#if MINOR >= 9
    OFFSET("type.ht_module", PyHeapTypeObject, ht_module);
#else
    NONE("type.ht_module");
#endif
    NUMBER("member.size", sizeof(PyMemberDef));
    OFFSET("member.type", PyMemberDef, type);
    OFFSET("member.offset", PyMemberDef, offset);
}

static void print_containers(void)
{
    OFFSET("list.items", PyListObject, ob_item);
    OFFSET("list.allocated", PyListObject, allocated);
    OFFSET("tuple.items", PyTupleObject, ob_item);
    OFFSET("set.mask", PySetObject, mask);
    OFFSET("set.table", PySetObject, table);
    OFFSET("set.smalltable", PySetObject, smalltable);
    NUMBER("set.size", sizeof(PySetObject));
    OFFSET("dict.used", PyDictObject, ma_used);
    OFFSET("dict.keys", PyDictObject, ma_keys);
    OFFSET("dict.values", PyDictObject, ma_values);
    NUMBER("dict.size", sizeof(PyDictObject));
#if MINOR <= 10
    OFFSET("dict_keys.size", struct dict_keys, dk_size);
    NONE("dict_keys.log2_size");
    NONE("dict_keys.log2_index_bytes");
    NONE("dict_keys.kind");
    OFFSET("dict_keys.refcount", struct dict_keys, dk_refcnt);
    OFFSET("dict_keys.usable", struct dict_keys, dk_usable);
    OFFSET("dict_keys.nentries", struct dict_keys, dk_nentries);
    OFFSET("dict_keys.indices", struct dict_keys, dk_indices);
#else
    NONE("dict_keys.size");
    OFFSET("dict_keys.log2_size", PyDictKeysObject, dk_log2_size);
    OFFSET("dict_keys.log2_index_bytes", PyDictKeysObject, dk_log2_index_bytes);
    OFFSET("dict_keys.kind", PyDictKeysObject, dk_kind);
    OFFSET("dict_keys.refcount", PyDictKeysObject, dk_refcnt);
    OFFSET("dict_keys.usable", PyDictKeysObject, dk_usable);
    OFFSET("dict_keys.nentries", PyDictKeysObject, dk_nentries);
    OFFSET("dict_keys.indices", PyDictKeysObject, dk_indices);
#endif
#if MINOR >= 13
    OFFSET("dict_values.items", PyDictValues, values);
    OFFSET("dict_values.capacity", PyDictValues, capacity);
    OFFSET("dict_values.embedded", PyDictValues, embedded);
    OFFSET("dict_values.valid", PyDictValues, valid);
#else
    NUMBER("dict_values.items", 0);
    NONE("dict_values.capacity");
    NONE("dict_values.embedded");
    NONE("dict_values.valid");
#endif
#if MINOR >= 12
    OFFSET("integer.digits", PyLongObject, long_value.ob_digit);
    OFFSET("integer.tag", PyLongObject, long_value.lv_tag);
#else
    OFFSET("integer.digits", PyLongObject, ob_digit);
    NONE("integer.tag");
#endif
    OFFSET("bytearray.alloc", PyByteArrayObject, ob_alloc);
    OFFSET("unicode.length", PyASCIIObject, length);
    OFFSET("unicode.state", PyASCIIObject, state);
    OFFSET("unicode.utf8_length", PyCompactUnicodeObject, utf8_length);
    OFFSET("unicode.utf8", PyCompactUnicodeObject, utf8);
#if MINOR < 12
    OFFSET("unicode.wstr", PyASCIIObject, wstr);
    OFFSET("unicode.wstr_length", PyCompactUnicodeObject, wstr_length);
#else
    NONE("unicode.wstr");
    NONE("unicode.wstr_length");
#endif
    OFFSET("unicode.data", PyUnicodeObject, data);
    NUMBER("unicode.ascii_size", sizeof(PyASCIIObject));
    NUMBER("unicode.compact_size", sizeof(PyCompactUnicodeObject));
}

static void print_code(void)
{
    NUMBER("code.size", sizeof(PyCodeObject));
    OFFSET("code.consts", PyCodeObject, co_consts);
    OFFSET("code.name", PyCodeObject, co_name);
    OFFSET("code.stacksize", PyCodeObject, co_stacksize);
    OFFSET("code.weaklist", PyCodeObject, co_weakreflist);
#if MINOR <= 10
    OFFSET("code.nlocals", PyCodeObject, co_nlocals);
    OFFSET("code.varnames", PyCodeObject, co_varnames);
    OFFSET("code.cellvars", PyCodeObject, co_cellvars);
    OFFSET("code.freevars", PyCodeObject, co_freevars);
    OFFSET("code.cell2arg", PyCodeObject, co_cell2arg);
    OFFSET("code.code", PyCodeObject, co_code);
    OFFSET("code.opcache", PyCodeObject, co_opcache);
    OFFSET("code.opcache_size", PyCodeObject, co_opcache_size);
    NONE("code.nlocalsplus");
    NONE("code.localsplusnames");
    NONE("code.adaptive");
#else
    NONE("code.nlocals");
    NONE("code.varnames");
    NONE("code.cellvars");
    NONE("code.freevars");
    NONE("code.cell2arg");
    NONE("code.code");
    NONE("code.opcache");
    NONE("code.opcache_size");
    OFFSET("code.nlocalsplus", PyCodeObject, co_nlocalsplus);
    OFFSET("code.localsplusnames", PyCodeObject, co_localsplusnames);
    OFFSET("code.adaptive", PyCodeObject, co_code_adaptive);
#endif
    OFFSET("code.extra", PyCodeObject, co_extra);
#if MINOR == 11
    OFFSET("code.cached", PyCodeObject, _co_code);
    NUMBER("code.cached_count", 0);
#elif MINOR >= 12
    OFFSET("code.cached", PyCodeObject, _co_cached);
    NUMBER("code.cached_count", sizeof(_PyCoCached) / sizeof(PyObject *));
#else
    NONE("code.cached");
    NUMBER("code.cached_count", 0);
#endif
}

static void print_frame(void)
{
#if MINOR <= 10
    OFFSET("frame.back", PyFrameObject, f_back);
    OFFSET("frame.code", PyFrameObject, f_code);
    OFFSET("frame.localsplus", PyFrameObject, f_localsplus);
    OFFSET("frame.valuestack", PyFrameObject, f_valuestack);
#if MINOR < 10
    OFFSET("frame.stacktop", PyFrameObject, f_stacktop);
    NONE("frame.stackdepth");
#else
    NONE("frame.stacktop");
    OFFSET("frame.stackdepth", PyFrameObject, f_stackdepth);
#endif
    NONE("frame.data");
    NONE("frame.frame");
    NONE("iframe.code");
    NONE("iframe.previous");
    NONE("iframe.function");
    NONE("iframe.globals");
    NONE("iframe.builtins");
    NONE("iframe.locals");
    NONE("iframe.frame_obj");
    NONE("iframe.stacktop");
    NONE("iframe.stackpointer");
    NONE("iframe.owner");
    NONE("iframe.localsplus");
#else
    OFFSET("frame.back", PyFrameObject, f_back);
    NONE("frame.code");
    NONE("frame.localsplus");
    NONE("frame.valuestack");
    NONE("frame.stacktop");
    NONE("frame.stackdepth");
    OFFSET("frame.data", PyFrameObject, _f_frame_data);
    OFFSET("frame.frame", PyFrameObject, f_frame);
#if MINOR == 11
    OFFSET("iframe.code", _PyInterpreterFrame, f_code);
    OFFSET("iframe.function", _PyInterpreterFrame, f_func);
#else
#if MINOR == 12
    OFFSET("iframe.code", _PyInterpreterFrame, f_code);
#else
    OFFSET("iframe.code", _PyInterpreterFrame, f_executable);
#endif
    OFFSET("iframe.function", _PyInterpreterFrame, f_funcobj);
#endif
    OFFSET("iframe.previous", _PyInterpreterFrame, previous);
    OFFSET("iframe.globals", _PyInterpreterFrame, f_globals);
    OFFSET("iframe.builtins", _PyInterpreterFrame, f_builtins);
    OFFSET("iframe.locals", _PyInterpreterFrame, f_locals);
    OFFSET("iframe.frame_obj", _PyInterpreterFrame, frame_obj);
#if MINOR < 14
    OFFSET("iframe.stacktop", _PyInterpreterFrame, stacktop);
    NONE("iframe.stackpointer");
#else
    NONE("iframe.stacktop");
    OFFSET("iframe.stackpointer", _PyInterpreterFrame, stackpointer);
#endif
    OFFSET("iframe.owner", _PyInterpreterFrame, owner);
    OFFSET("iframe.localsplus", _PyInterpreterFrame, localsplus);
#endif
#if MINOR <= 10
    OFFSET("generator.frame", PyGenObject, gi_frame);
    NONE("generator.iframe");
    NONE("generator.frame_state");
    OFFSET("generator.exc_value", PyGenObject, gi_exc_state.exc_value);
    NUMBER("generator.exc_previous", offsetof(PyGenObject, gi_exc_state.previous_item));
#else
    NONE("generator.frame");
    OFFSET("generator.iframe", PyGenObject, gi_iframe);
    OFFSET("generator.frame_state", PyGenObject, gi_frame_state);
    OFFSET("generator.exc_value", PyGenObject, gi_exc_state.exc_value);
    OFFSET("generator.exc_previous", PyGenObject, gi_exc_state.previous_item);
#endif
#if MINOR == 11 || MINOR == 12 || MINOR >= 13
    NUMBER("generator.frame_cleared", FRAME_CLEARED);
#else
    NONE("generator.frame_cleared");
#endif
    OFFSET("module.dict", PyModuleObject, md_dict);
    OFFSET("module.state", PyModuleObject, md_state);
    OFFSET("module.name", PyModuleObject, md_name);
#if MINOR < 15
    OFFSET("module.def", PyModuleObject, md_def);
    NONE("module.state_size");
#else
    NONE("module.def");
    OFFSET("module.state_size", PyModuleObject, md_state_size);
#endif
    OFFSET("module.def_size", struct PyModuleDef, m_size);
    OFFSET("weakref.object", PyWeakReference, wr_object);
    OFFSET("weakref.callback", PyWeakReference, wr_callback);
}

/* The fields that hold references, by name: what an edge is called. */
#define NAME(type_name, type, field, name) \
    printf("    {\"%s\", \"%s\", %zu},\n", type_name, name, offsetof(type, field))

static void name_function(void)
{
    NAME("function", PyFunctionObject, func_code, "__code__");
    NAME("function", PyFunctionObject, func_globals, "__globals__");
    NAME("function", PyFunctionObject, func_module, "__module__");
    NAME("function", PyFunctionObject, func_defaults, "__defaults__");
    NAME("function", PyFunctionObject, func_kwdefaults, "__kwdefaults__");
    NAME("function", PyFunctionObject, func_doc, "__doc__");
    NAME("function", PyFunctionObject, func_name, "__name__");
    NAME("function", PyFunctionObject, func_qualname, "__qualname__");
    NAME("function", PyFunctionObject, func_dict, "__dict__");
    NAME("function", PyFunctionObject, func_closure, "__closure__");
    NAME("function", PyFunctionObject, func_annotations, "__annotations__");
#if MINOR >= 10
    NAME("function", PyFunctionObject, func_builtins, "__builtins__");
#endif
#if MINOR >= 12
    NAME("function", PyFunctionObject, func_typeparams, "__type_params__");
#endif
#if MINOR >= 14
    NAME("function", PyFunctionObject, func_annotate, "__annotate__");
#endif
    NAME("method", PyMethodObject, im_func, "__func__");
    NAME("method", PyMethodObject, im_self, "__self__");
    NAME("builtin_function_or_method", PyCFunctionObject, m_self, "__self__");
    NAME("builtin_function_or_method", PyCFunctionObject, m_module, "__module__");
#if MINOR >= 9
    NAME("builtin_method", PyCMethodObject, mm_class, "__class__");
#endif
    NAME("cell", PyCellObject, ob_ref, "cell_contents");
#if MINOR >= 15
    NAME("bytearray", PyByteArrayObject, ob_bytes_object, "bytes");
#endif
    NAME("slice", PySliceObject, start, "start");
    NAME("slice", PySliceObject, stop, "stop");
    NAME("slice", PySliceObject, step, "step");
}

static void name_descriptors(void)
{
    static const char *const kinds[] = {"method_descriptor", "getset_descriptor", "member_descriptor",
                                        "wrapper_descriptor", "classmethod_descriptor"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        NAME(kinds[i], PyDescrObject, d_type, "__objclass__");
        NAME(kinds[i], PyDescrObject, d_name, "__name__");
        NAME(kinds[i], PyDescrObject, d_qualname, "__qualname__");
    }
}

static void name_code(void)
{
    NAME("code", PyCodeObject, co_consts, "co_consts");
    NAME("code", PyCodeObject, co_names, "co_names");
    NAME("code", PyCodeObject, co_filename, "co_filename");
    NAME("code", PyCodeObject, co_name, "co_name");
#if MINOR <= 10
    NAME("code", PyCodeObject, co_code, "co_code");
    NAME("code", PyCodeObject, co_varnames, "co_varnames");
    NAME("code", PyCodeObject, co_freevars, "co_freevars");
    NAME("code", PyCodeObject, co_cellvars, "co_cellvars");
#else
    NAME("code", PyCodeObject, co_qualname, "co_qualname");
    NAME("code", PyCodeObject, co_localsplusnames, "co_localsplusnames");
    NAME("code", PyCodeObject, co_localspluskinds, "co_localspluskinds");
    NAME("code", PyCodeObject, co_exceptiontable, "co_exceptiontable");
#endif
#if MINOR <= 9
    NAME("code", PyCodeObject, co_lnotab, "co_lnotab");
#else
    NAME("code", PyCodeObject, co_linetable, "co_linetable");
#endif
}

static void name_frames(void)
{
    static const char *const kinds[] = {"generator", "coroutine", "async_generator"};

#if MINOR <= 10
    NAME("frame", PyFrameObject, f_back, "f_back");
    NAME("frame", PyFrameObject, f_code, "f_code");
    NAME("frame", PyFrameObject, f_builtins, "f_builtins");
    NAME("frame", PyFrameObject, f_globals, "f_globals");
    NAME("frame", PyFrameObject, f_locals, "f_locals");
    NAME("frame", PyFrameObject, f_trace, "f_trace");
#else
    NAME("frame", PyFrameObject, f_back, "f_back");
    NAME("frame", PyFrameObject, f_trace, "f_trace");
#if MINOR >= 13
    NAME("frame", PyFrameObject, f_extra_locals, "f_extra_locals");
    NAME("frame", PyFrameObject, f_locals_cache, "f_locals_cache");
#endif
#endif
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
#if MINOR <= 10
        NAME(kinds[i], PyGenObject, gi_frame, "frame");
#endif
#if MINOR <= 11
        NAME(kinds[i], PyGenObject, gi_code, "code");
#endif
        NAME(kinds[i], PyGenObject, gi_name, "__name__");
        NAME(kinds[i], PyGenObject, gi_qualname, "__qualname__");
#if MINOR <= 10
        NAME(kinds[i], PyGenObject, gi_exc_state.exc_type, "exc_type");
        NAME(kinds[i], PyGenObject, gi_exc_state.exc_traceback, "exc_traceback");
#endif
        NAME(kinds[i], PyGenObject, gi_exc_state.exc_value, "exc_value");
    }
#if MINOR <= 10
    NAME("coroutine", PyCoroObject, cr_origin, "cr_origin");
    NAME("async_generator", PyAsyncGenObject, ag_finalizer, "finalizer");
    /* 3.8 to 3.10 name it ag_finalizer; later ones share cr_origin's place. */
#elif MINOR == 11
    NAME("coroutine", PyCoroObject, cr_origin_or_finalizer, "cr_origin");
    NAME("async_generator", PyAsyncGenObject, ag_origin_or_finalizer, "finalizer");
#else
    NAME("coroutine", PyCoroObject, cr_origin_or_finalizer, "cr_origin");
    NAME("async_generator", PyAsyncGenObject, ag_origin_or_finalizer, "finalizer");
#endif
    NAME("module", PyModuleObject, md_name, "__name__");
    NAME("traceback", PyTracebackObject, tb_next, "tb_next");
    NAME("traceback", PyTracebackObject, tb_frame, "tb_frame");
}

static void name_exceptions(void)
{
    NAME("BaseException", PyBaseExceptionObject, dict, "__dict__");
    NAME("BaseException", PyBaseExceptionObject, args, "args");
#if MINOR >= 11
    NAME("BaseException", PyBaseExceptionObject, notes, "__notes__");
#endif
    NAME("BaseException", PyBaseExceptionObject, traceback, "__traceback__");
    NAME("BaseException", PyBaseExceptionObject, context, "__context__");
    NAME("BaseException", PyBaseExceptionObject, cause, "__cause__");
}

int main(int argc, char **argv)
{
    int debug_build = 0, free_threaded = 0;

#ifdef Py_DEBUG
    debug_build = 1;
#endif
#ifdef Py_GIL_DISABLED
    free_threaded = 1;
#endif
    if (argc > 1 && !strcmp(argv[1], "names")) {
        printf("/* %s */\nstatic const struct heap_name names_%d[] = {\n", PY_VERSION, MINOR);
        name_function();
        name_descriptors();
        name_code();
        name_frames();
        name_exceptions();
        printf("    {NULL, NULL, 0},\n};\n\n");
        return 0;
    }
    printf("    {\n        /* %s */\n", PY_VERSION);
    printf("        .origin = \"the heap table for 3.%d%s\",\n", MINOR, debug_build ? " --with-pydebug" : "");
    printf("        .minor = %d,\n        .debug_build = %s,\n", MINOR, debug_build ? "true" : "false");
    printf("        .free_threaded = %s,\n        .names = names_%d,\n", free_threaded ? "true" : "false", MINOR);
    print_interpreter();
    print_type();
    print_containers();
    print_code();
    print_frame();
    printf("    },\n");
    return 0;
}
