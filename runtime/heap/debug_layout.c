/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "runtime/heap/debug_layout.h"

#include <stdlib.h>
#include <string.h>

#include "attach/debug_info.h"
#include "attach/scope.h"

#define TO(member) #member, (uint32_t)offsetof(struct heap_layout, member)
#define LAST       FIELD_LAST
#define ROW(to, kind, since, until, type, member) {TO(to), FIELD_##kind, since, until, type, member, NULL, 0, false}
#define NUMBER(to, since, until, number) {TO(to), FIELD_NUMBER, since, until, NULL, NULL, NULL, number, false}
#define DISTANCE(to, kind, since, until, type, member, minus) \
    {TO(to), FIELD_##kind, since, until, type, member, minus, 0, false}

/* clang-format off: a row a line */
const struct layout_field heap_debug_fields[] = {
    ROW(interpreter.generations, OFFSET, 8, 8, "_PyRuntimeState", "gc.generations"),
    ROW(interpreter.generations, OFFSET, 9, LAST, "PyInterpreterState", "gc.generations"),
    ROW(interpreter.generation_stride, SIZE, 8, LAST, "gc_generation", NULL),
    DISTANCE(interpreter.permanent_after, OFFSET, 8, LAST, "_gc_runtime_state", "permanent_generation", "generations"),
    ROW(interpreter.collecting, OFFSET, 8, 8, "_PyRuntimeState", "gc.collecting"),
    ROW(interpreter.collecting, OFFSET, 9, LAST, "PyInterpreterState", "gc.collecting"),
    ROW(interpreter.modules, OFFSET, 8, 11, "PyInterpreterState", "modules"),
    ROW(interpreter.modules, OFFSET, 12, LAST, "PyInterpreterState", "imports.modules"),
    ROW(interpreter.sysdict, OFFSET, 8, LAST, "PyInterpreterState", "sysdict"),
    ROW(interpreter.builtins, OFFSET, 8, LAST, "PyInterpreterState", "builtins"),
    ROW(interpreter.obmalloc, OFFSET, 12, LAST, "PyInterpreterState", "obmalloc"),
    NUMBER(obmalloc.indirect, 8, 12, 0),
    NUMBER(obmalloc.indirect, 13, LAST, 1),
    ROW(obmalloc.arenas, OFFSET, 12, LAST, "_obmalloc_state", "mgmt.arenas"),
    ROW(obmalloc.maxarenas, OFFSET, 12, LAST, "_obmalloc_state", "mgmt.maxarenas"),
    NUMBER(obmalloc.arena_size, 8, 9, 262144),
    NUMBER(obmalloc.arena_size, 10, LAST, 1048576),
    NUMBER(obmalloc.pool_size, 8, 9, 4096),
    NUMBER(obmalloc.pool_size, 10, LAST, 16384),
    ROW(thread_state.datastack_chunk, OFFSET, 11, LAST, "PyThreadState", "datastack_chunk"),
    ROW(object.size, SIZE, 8, LAST, "PyObject", NULL),
    ROW(object.refcount, OFFSET, 8, LAST, "PyObject", "ob_refcnt"),
    ROW(object.type, OFFSET, 8, LAST, "PyObject", "ob_type"),
    ROW(object.ob_size, OFFSET, 8, LAST, "PyVarObject", "ob_size"),
    ROW(type.size, SIZE, 8, LAST, "PyTypeObject", NULL),
    ROW(type.name, OFFSET, 8, LAST, "PyTypeObject", "tp_name"),
    ROW(type.basicsize, OFFSET, 8, LAST, "PyTypeObject", "tp_basicsize"),
    ROW(type.itemsize, OFFSET, 8, LAST, "PyTypeObject", "tp_itemsize"),
    ROW(type.flags, OFFSET, 8, LAST, "PyTypeObject", "tp_flags"),
    ROW(type.is_gc, OFFSET, 8, LAST, "PyTypeObject", "tp_is_gc"),
    ROW(type.members, OFFSET, 8, LAST, "PyTypeObject", "tp_members"),
    ROW(type.base, OFFSET, 8, LAST, "PyTypeObject", "tp_base"),
    ROW(type.dict, OFFSET, 8, LAST, "PyTypeObject", "tp_dict"),
    ROW(type.dictoffset, OFFSET, 8, LAST, "PyTypeObject", "tp_dictoffset"),
    ROW(type.bases, OFFSET, 8, LAST, "PyTypeObject", "tp_bases"),
    ROW(type.mro, OFFSET, 8, LAST, "PyTypeObject", "tp_mro"),
    ROW(type.cache, OFFSET, 8, LAST, "PyTypeObject", "tp_cache"),
    ROW(type.subclasses, OFFSET, 8, LAST, "PyTypeObject", "tp_subclasses"),
    ROW(type.weaklist, OFFSET, 8, LAST, "PyTypeObject", "tp_weaklist"),
    ROW(type.weaklistoffset, OFFSET, 8, LAST, "PyTypeObject", "tp_weaklistoffset"),
    ROW(type.heap_size, SIZE, 8, LAST, "PyHeapTypeObject", NULL),
    ROW(type.ht_name, OFFSET, 8, LAST, "PyHeapTypeObject", "ht_name"),
    ROW(type.ht_slots, OFFSET, 8, LAST, "PyHeapTypeObject", "ht_slots"),
    ROW(type.ht_qualname, OFFSET, 8, LAST, "PyHeapTypeObject", "ht_qualname"),
    ROW(type.ht_cached_keys, OFFSET, 8, LAST, "PyHeapTypeObject", "ht_cached_keys"),
    ROW(type.ht_module, OFFSET, 9, LAST, "PyHeapTypeObject", "ht_module"),
    ROW(member.size, SIZE, 8, LAST, "PyMemberDef", NULL),
    ROW(member.type, OFFSET, 8, LAST, "PyMemberDef", "type"),
    ROW(member.offset, OFFSET, 8, LAST, "PyMemberDef", "offset"),
    ROW(list.items, OFFSET, 8, LAST, "PyListObject", "ob_item"),
    ROW(list.allocated, OFFSET, 8, LAST, "PyListObject", "allocated"),
    ROW(tuple.items, OFFSET, 8, LAST, "PyTupleObject", "ob_item"),
    ROW(set.mask, OFFSET, 8, LAST, "PySetObject", "mask"),
    ROW(set.table, OFFSET, 8, LAST, "PySetObject", "table"),
    ROW(set.smalltable, OFFSET, 8, LAST, "PySetObject", "smalltable"),
    ROW(set.size, SIZE, 8, LAST, "PySetObject", NULL),
    ROW(dict.used, OFFSET, 8, LAST, "PyDictObject", "ma_used"),
    ROW(dict.keys, OFFSET, 8, LAST, "PyDictObject", "ma_keys"),
    ROW(dict.values, OFFSET, 8, LAST, "PyDictObject", "ma_values"),
    ROW(dict.size, SIZE, 8, LAST, "PyDictObject", NULL),
    ROW(dict_keys.size, OFFSET, 8, 10, "PyDictKeysObject", "dk_size"),
    ROW(dict_keys.log2_size, OFFSET, 11, LAST, "PyDictKeysObject", "dk_log2_size"),
    ROW(dict_keys.log2_index_bytes, OFFSET, 11, LAST, "PyDictKeysObject", "dk_log2_index_bytes"),
    ROW(dict_keys.kind, OFFSET, 11, LAST, "PyDictKeysObject", "dk_kind"),
    ROW(dict_keys.refcount, OFFSET, 8, LAST, "PyDictKeysObject", "dk_refcnt"),
    ROW(dict_keys.usable, OFFSET, 8, LAST, "PyDictKeysObject", "dk_usable"),
    ROW(dict_keys.nentries, OFFSET, 8, LAST, "PyDictKeysObject", "dk_nentries"),
    ROW(dict_keys.indices, OFFSET, 8, LAST, "PyDictKeysObject", "dk_indices"),
    NUMBER(dict_values.items, 8, 12, 0),
    ROW(dict_values.items, OFFSET, 13, LAST, "PyDictValues", "values"),
    ROW(dict_values.capacity, OFFSET, 13, LAST, "PyDictValues", "capacity"),
    ROW(dict_values.embedded, OFFSET, 13, LAST, "PyDictValues", "embedded"),
    ROW(dict_values.valid, OFFSET, 13, LAST, "PyDictValues", "valid"),
    ROW(integer.digits, OFFSET, 8, 11, "PyLongObject", "ob_digit"),
    ROW(integer.digits, OFFSET, 12, LAST, "PyLongObject", "long_value.ob_digit"),
    ROW(integer.tag, OFFSET, 12, LAST, "PyLongObject", "long_value.lv_tag"),
    ROW(bytearray.alloc, OFFSET, 8, LAST, "PyByteArrayObject", "ob_alloc"),
    ROW(unicode.length, OFFSET, 8, LAST, "PyASCIIObject", "length"),
    ROW(unicode.state, OFFSET, 8, LAST, "PyASCIIObject", "state"),
    ROW(unicode.utf8_length, OFFSET, 8, LAST, "PyCompactUnicodeObject", "utf8_length"),
    ROW(unicode.utf8, OFFSET, 8, LAST, "PyCompactUnicodeObject", "utf8"),
    ROW(unicode.wstr, OFFSET, 8, 11, "PyASCIIObject", "wstr"),
    ROW(unicode.wstr_length, OFFSET, 8, 11, "PyCompactUnicodeObject", "wstr_length"),
    ROW(unicode.data, OFFSET, 8, LAST, "PyUnicodeObject", "data"),
    ROW(unicode.ascii_size, SIZE, 8, LAST, "PyASCIIObject", NULL),
    ROW(unicode.compact_size, SIZE, 8, LAST, "PyCompactUnicodeObject", NULL),
    ROW(code.size, SIZE, 8, LAST, "PyCodeObject", NULL),
    ROW(code.consts, OFFSET, 8, LAST, "PyCodeObject", "co_consts"),
    ROW(code.name, OFFSET, 8, LAST, "PyCodeObject", "co_name"),
    ROW(code.stacksize, OFFSET, 8, LAST, "PyCodeObject", "co_stacksize"),
    ROW(code.weaklist, OFFSET, 8, LAST, "PyCodeObject", "co_weakreflist"),
    ROW(code.nlocals, OFFSET, 8, 10, "PyCodeObject", "co_nlocals"),
    ROW(code.varnames, OFFSET, 8, 10, "PyCodeObject", "co_varnames"),
    ROW(code.cellvars, OFFSET, 8, 10, "PyCodeObject", "co_cellvars"),
    ROW(code.freevars, OFFSET, 8, 10, "PyCodeObject", "co_freevars"),
    ROW(code.cell2arg, OFFSET, 8, 10, "PyCodeObject", "co_cell2arg"),
    ROW(code.code, OFFSET, 8, 10, "PyCodeObject", "co_code"),
    ROW(code.opcache, OFFSET, 8, 10, "PyCodeObject", "co_opcache"),
    ROW(code.opcache_size, OFFSET, 8, 10, "PyCodeObject", "co_opcache_size"),
    ROW(code.nlocalsplus, OFFSET, 11, LAST, "PyCodeObject", "co_nlocalsplus"),
    ROW(code.localsplusnames, OFFSET, 11, LAST, "PyCodeObject", "co_localsplusnames"),
    ROW(code.adaptive, OFFSET, 11, LAST, "PyCodeObject", "co_code_adaptive"),
    ROW(code.extra, OFFSET, 8, LAST, "PyCodeObject", "co_extra"),
    ROW(code.cached, OFFSET, 11, 11, "PyCodeObject", "_co_code"),
    ROW(code.cached, OFFSET, 12, LAST, "PyCodeObject", "_co_cached"),
    NUMBER(code.cached_count, 8, 11, 0),
    ROW(code.cached_count, WORDS, 12, LAST, "_PyCoCached", NULL),
    ROW(frame.back, OFFSET, 8, LAST, "PyFrameObject", "f_back"),
    ROW(frame.code, OFFSET, 8, 10, "PyFrameObject", "f_code"),
    ROW(frame.localsplus, OFFSET, 8, 10, "PyFrameObject", "f_localsplus"),
    ROW(frame.valuestack, OFFSET, 8, 10, "PyFrameObject", "f_valuestack"),
    ROW(frame.stacktop, OFFSET, 8, 9, "PyFrameObject", "f_stacktop"),
    ROW(frame.stackdepth, OFFSET, 10, 10, "PyFrameObject", "f_stackdepth"),
    ROW(frame.data, OFFSET, 11, LAST, "PyFrameObject", "_f_frame_data"),
    ROW(frame.frame, OFFSET, 11, LAST, "PyFrameObject", "f_frame"),
    ROW(iframe.code, OFFSET, 11, 12, "_PyInterpreterFrame", "f_code"),
    ROW(iframe.code, OFFSET, 13, LAST, "_PyInterpreterFrame", "f_executable"),
    ROW(iframe.function, OFFSET, 11, 11, "_PyInterpreterFrame", "f_func"),
    ROW(iframe.function, OFFSET, 12, LAST, "_PyInterpreterFrame", "f_funcobj"),
    ROW(iframe.previous, OFFSET, 11, LAST, "_PyInterpreterFrame", "previous"),
    ROW(iframe.globals, OFFSET, 11, LAST, "_PyInterpreterFrame", "f_globals"),
    ROW(iframe.builtins, OFFSET, 11, LAST, "_PyInterpreterFrame", "f_builtins"),
    ROW(iframe.locals, OFFSET, 11, LAST, "_PyInterpreterFrame", "f_locals"),
    ROW(iframe.frame_obj, OFFSET, 11, LAST, "_PyInterpreterFrame", "frame_obj"),
    ROW(iframe.stacktop, OFFSET, 11, 13, "_PyInterpreterFrame", "stacktop"),
    ROW(iframe.stackpointer, OFFSET, 14, LAST, "_PyInterpreterFrame", "stackpointer"),
    ROW(iframe.owner, OFFSET, 11, LAST, "_PyInterpreterFrame", "owner"),
    ROW(iframe.localsplus, OFFSET, 11, LAST, "_PyInterpreterFrame", "localsplus"),
    ROW(generator.frame, OFFSET, 8, 10, "PyGenObject", "gi_frame"),
    ROW(generator.iframe, OFFSET, 11, LAST, "PyGenObject", "gi_iframe"),
    ROW(generator.frame_state, OFFSET, 11, LAST, "PyGenObject", "gi_frame_state"),
    ROW(generator.exc_value, OFFSET, 8, LAST, "PyGenObject", "gi_exc_state.exc_value"),
    ROW(generator.exc_previous, OFFSET, 8, LAST, "PyGenObject", "gi_exc_state.previous_item"),
    ROW(generator.frame_cleared, VALUE, 11, LAST, NULL, "FRAME_CLEARED"),
    ROW(module.dict, OFFSET, 8, LAST, "PyModuleObject", "md_dict"),
    ROW(module.state, OFFSET, 8, LAST, "PyModuleObject", "md_state"),
    ROW(module.name, OFFSET, 8, LAST, "PyModuleObject", "md_name"),
    ROW(module.def, OFFSET, 8, 14, "PyModuleObject", "md_def"),
    ROW(module.state_size, OFFSET, 15, LAST, "PyModuleObject", "md_state_size"),
    ROW(module.def_size, OFFSET, 8, LAST, "PyModuleDef", "m_size"),
    ROW(weakref.object, OFFSET, 8, LAST, "PyWeakReference", "wr_object"),
    ROW(weakref.callback, OFFSET, 8, LAST, "PyWeakReference", "wr_callback"),
};
/* clang-format on */
const size_t heap_debug_field_count = sizeof(heap_debug_fields) / sizeof(heap_debug_fields[0]);

/* ----------------------------------------------------------- names of fields */

/* What is behind a struct heap_name. A field that a version hasn't is left out. */
struct name_field {
    const char *type_name, *label;
    uint8_t since, until;
    const char *type, *member;
};

/* clang-format off: a row a line */
static const struct name_field name_fields[] = {
    {"function", "__code__", 8, LAST, "PyFunctionObject", "func_code"},
    {"function", "__globals__", 8, LAST, "PyFunctionObject", "func_globals"},
    {"function", "__module__", 8, LAST, "PyFunctionObject", "func_module"},
    {"function", "__defaults__", 8, LAST, "PyFunctionObject", "func_defaults"},
    {"function", "__kwdefaults__", 8, LAST, "PyFunctionObject", "func_kwdefaults"},
    {"function", "__doc__", 8, LAST, "PyFunctionObject", "func_doc"},
    {"function", "__name__", 8, LAST, "PyFunctionObject", "func_name"},
    {"function", "__qualname__", 8, LAST, "PyFunctionObject", "func_qualname"},
    {"function", "__dict__", 8, LAST, "PyFunctionObject", "func_dict"},
    {"function", "__closure__", 8, LAST, "PyFunctionObject", "func_closure"},
    {"function", "__annotations__", 8, LAST, "PyFunctionObject", "func_annotations"},
    {"function", "__builtins__", 10, LAST, "PyFunctionObject", "func_builtins"},
    {"function", "__type_params__", 12, LAST, "PyFunctionObject", "func_typeparams"},
    {"function", "__annotate__", 14, LAST, "PyFunctionObject", "func_annotate"},
    {"method", "__func__", 8, LAST, "PyMethodObject", "im_func"},
    {"method", "__self__", 8, LAST, "PyMethodObject", "im_self"},
    {"builtin_function_or_method", "__self__", 8, LAST, "PyCFunctionObject", "m_self"},
    {"builtin_function_or_method", "__module__", 8, LAST, "PyCFunctionObject", "m_module"},
    {"builtin_method", "__class__", 9, LAST, "PyCMethodObject", "mm_class"},
    {"cell", "cell_contents", 8, LAST, "PyCellObject", "ob_ref"},
    {"bytearray", "bytes", 15, LAST, "PyByteArrayObject", "ob_bytes_object"},
    {"slice", "start", 8, LAST, "PySliceObject", "start"},
    {"slice", "stop", 8, LAST, "PySliceObject", "stop"},
    {"slice", "step", 8, LAST, "PySliceObject", "step"},
    {"method_descriptor", "__objclass__", 8, LAST, "PyDescrObject", "d_type"},
    {"method_descriptor", "__name__", 8, LAST, "PyDescrObject", "d_name"},
    {"method_descriptor", "__qualname__", 8, LAST, "PyDescrObject", "d_qualname"},
    {"getset_descriptor", "__objclass__", 8, LAST, "PyDescrObject", "d_type"},
    {"getset_descriptor", "__name__", 8, LAST, "PyDescrObject", "d_name"},
    {"getset_descriptor", "__qualname__", 8, LAST, "PyDescrObject", "d_qualname"},
    {"member_descriptor", "__objclass__", 8, LAST, "PyDescrObject", "d_type"},
    {"member_descriptor", "__name__", 8, LAST, "PyDescrObject", "d_name"},
    {"member_descriptor", "__qualname__", 8, LAST, "PyDescrObject", "d_qualname"},
    {"wrapper_descriptor", "__objclass__", 8, LAST, "PyDescrObject", "d_type"},
    {"wrapper_descriptor", "__name__", 8, LAST, "PyDescrObject", "d_name"},
    {"wrapper_descriptor", "__qualname__", 8, LAST, "PyDescrObject", "d_qualname"},
    {"classmethod_descriptor", "__objclass__", 8, LAST, "PyDescrObject", "d_type"},
    {"classmethod_descriptor", "__name__", 8, LAST, "PyDescrObject", "d_name"},
    {"classmethod_descriptor", "__qualname__", 8, LAST, "PyDescrObject", "d_qualname"},
    {"code", "co_consts", 8, LAST, "PyCodeObject", "co_consts"},
    {"code", "co_names", 8, LAST, "PyCodeObject", "co_names"},
    {"code", "co_filename", 8, LAST, "PyCodeObject", "co_filename"},
    {"code", "co_name", 8, LAST, "PyCodeObject", "co_name"},
    {"code", "co_code", 8, 10, "PyCodeObject", "co_code"},
    {"code", "co_varnames", 8, 10, "PyCodeObject", "co_varnames"},
    {"code", "co_freevars", 8, 10, "PyCodeObject", "co_freevars"},
    {"code", "co_cellvars", 8, 10, "PyCodeObject", "co_cellvars"},
    {"code", "co_qualname", 11, LAST, "PyCodeObject", "co_qualname"},
    {"code", "co_localsplusnames", 11, LAST, "PyCodeObject", "co_localsplusnames"},
    {"code", "co_localspluskinds", 11, LAST, "PyCodeObject", "co_localspluskinds"},
    {"code", "co_exceptiontable", 11, LAST, "PyCodeObject", "co_exceptiontable"},
    {"code", "co_lnotab", 8, 9, "PyCodeObject", "co_lnotab"},
    {"code", "co_linetable", 10, LAST, "PyCodeObject", "co_linetable"},
    {"frame", "f_back", 8, LAST, "PyFrameObject", "f_back"},
    {"frame", "f_trace", 8, LAST, "PyFrameObject", "f_trace"},
    {"frame", "f_code", 8, 10, "PyFrameObject", "f_code"},
    {"frame", "f_builtins", 8, 10, "PyFrameObject", "f_builtins"},
    {"frame", "f_globals", 8, 10, "PyFrameObject", "f_globals"},
    {"frame", "f_locals", 8, 10, "PyFrameObject", "f_locals"},
    {"frame", "f_extra_locals", 13, LAST, "PyFrameObject", "f_extra_locals"},
    {"frame", "f_locals_cache", 13, LAST, "PyFrameObject", "f_locals_cache"},
    {"generator", "frame", 8, 10, "PyGenObject", "gi_frame"},
    {"generator", "code", 8, 11, "PyGenObject", "gi_code"},
    {"generator", "__name__", 8, LAST, "PyGenObject", "gi_name"},
    {"generator", "__qualname__", 8, LAST, "PyGenObject", "gi_qualname"},
    {"generator", "exc_type", 8, 10, "PyGenObject", "gi_exc_state.exc_type"},
    {"generator", "exc_traceback", 8, 10, "PyGenObject", "gi_exc_state.exc_traceback"},
    {"generator", "exc_value", 8, LAST, "PyGenObject", "gi_exc_state.exc_value"},
    {"coroutine", "frame", 8, 10, "PyGenObject", "gi_frame"},
    {"coroutine", "code", 8, 11, "PyGenObject", "gi_code"},
    {"coroutine", "__name__", 8, LAST, "PyGenObject", "gi_name"},
    {"coroutine", "__qualname__", 8, LAST, "PyGenObject", "gi_qualname"},
    {"coroutine", "exc_type", 8, 10, "PyGenObject", "gi_exc_state.exc_type"},
    {"coroutine", "exc_traceback", 8, 10, "PyGenObject", "gi_exc_state.exc_traceback"},
    {"coroutine", "exc_value", 8, LAST, "PyGenObject", "gi_exc_state.exc_value"},
    {"async_generator", "frame", 8, 10, "PyGenObject", "gi_frame"},
    {"async_generator", "code", 8, 11, "PyGenObject", "gi_code"},
    {"async_generator", "__name__", 8, LAST, "PyGenObject", "gi_name"},
    {"async_generator", "__qualname__", 8, LAST, "PyGenObject", "gi_qualname"},
    {"async_generator", "exc_type", 8, 10, "PyGenObject", "gi_exc_state.exc_type"},
    {"async_generator", "exc_traceback", 8, 10, "PyGenObject", "gi_exc_state.exc_traceback"},
    {"async_generator", "exc_value", 8, LAST, "PyGenObject", "gi_exc_state.exc_value"},
    {"coroutine", "cr_origin", 8, 10, "PyCoroObject", "cr_origin"},
    {"coroutine", "cr_origin", 11, LAST, "PyCoroObject", "cr_origin_or_finalizer"},
    {"async_generator", "finalizer", 8, 10, "PyAsyncGenObject", "ag_finalizer"},
    {"async_generator", "finalizer", 11, LAST, "PyAsyncGenObject", "ag_origin_or_finalizer"},
    {"module", "__name__", 8, LAST, "PyModuleObject", "md_name"},
    {"traceback", "tb_next", 8, LAST, "PyTracebackObject", "tb_next"},
    {"traceback", "tb_frame", 8, LAST, "PyTracebackObject", "tb_frame"},
    {"BaseException", "__dict__", 8, LAST, "PyBaseExceptionObject", "dict"},
    {"BaseException", "args", 8, LAST, "PyBaseExceptionObject", "args"},
    {"BaseException", "__traceback__", 8, LAST, "PyBaseExceptionObject", "traceback"},
    {"BaseException", "__context__", 8, LAST, "PyBaseExceptionObject", "context"},
    {"BaseException", "__cause__", 8, LAST, "PyBaseExceptionObject", "cause"},
    {"BaseException", "__notes__", 11, LAST, "PyBaseExceptionObject", "notes"},
};
/* clang-format on */

#define NAME_COUNT (sizeof(name_fields) / sizeof(name_fields[0]))

/* Some types only their own files use: without what they are called a heap can be read all the same. */
static struct error *find_names(const struct runtime *runtime, unsigned minor, struct heap_layout *layout)
{
    scoped_free struct debug_query *queries = calloc(NAME_COUNT, sizeof(*queries));
    size_t used = 0;

    layout->own_names = calloc(NAME_COUNT + 1, sizeof(*layout->own_names));
    layout->names = layout->own_names;
    if (!queries || !layout->own_names)
        return error_create(ERROR_SYSTEM, NULL, "out of memory for a layout");
    for (size_t i = 0; i < NAME_COUNT; i++)
        queries[i] = (struct debug_query){DEBUG_OFFSET, name_fields[i].type, name_fields[i].member, 0, false};
    struct error *error = debug_layout_ask(runtime, queries, NAME_COUNT);
    for (size_t i = 0; !error && i < NAME_COUNT; i++) {
        const struct name_field *field = &name_fields[i];
        if (queries[i].known && queries[i].answer < UINT16_MAX && minor >= field->since && minor <= field->until)
            layout->own_names[used++] =
                (struct heap_name){field->type_name, field->label, (uint32_t)queries[i].answer};
    }
    return error;
}

struct error *heap_debug_layout_find(const struct runtime *runtime, struct heap_layout *layout)
{
    if (runtime->free_threaded)
        return error_create(ERROR_UNSUPPORTED, NULL, "the heap of a free-threaded build isn't read by its debug information");
    memset(layout, 0xff, sizeof(*layout)); /* OFF_NONE in every field */
    layout->origin = "the debug information of its build";
    layout->minor = runtime->layout.minor;
    layout->debug_build = runtime->debug_build;
    layout->free_threaded = false;
    layout->own_names = NULL;
    struct error *error = debug_layout_fill(runtime, heap_debug_fields, heap_debug_field_count, layout);
    if (!error)
        error = find_names(runtime, layout->minor, layout);
    if (error)
        heap_layout_deinit(layout);
    return error;
}
