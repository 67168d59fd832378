/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fields of _Py_DebugOffsets are one list with the version that brought
 * each: so far versions have only inserted fields, and a field's place is the
 * number of those before it that its version has. To add a version: insert its
 * new fields here, at the place where its pycore_debug_offsets.h has them, and
 * add its row to the supplements in layout_tables.c; the size that stands
 * there is checked against the length of this list.
 */
#include "runtime/debug_offsets.h"

#include <string.h>

/* What a field's number is measured by. */
enum bound {
    BOUND_SIZE,         /* it is the size of the structure, and bounds the offsets that follow */
    BOUND_STRUCT,       /* an offset within that structure */
    BOUND_THREAD_STATE, /* an offset within the thread state, said elsewhere */
    BOUND_INTERPRETER,
    BOUND_GIL,   /* an offset within a GIL, whose size isn't said */
    BOUND_SMALL, /* an offset within a small structure whose size isn't said */
    BOUND_EXTRA, /* the size of a part, at most that of its structure */
    BOUND_OTHER, /* the size of another structure, which bounds nothing here */
    BOUND_PATH,  /* the length of the script path */
};

/* A field that only a free-threaded build has; 0 in the others. */
#define THREADED 1
#define ANY      0

struct field {
    const char *name;
    uint8_t since; /* 3.SINCE */
    uint8_t bound; /* enum bound */
    uint8_t width; /* bytes at the offset; also its alignment, at most 8 */
    uint8_t threaded;
    uint32_t to; /* where in struct layout; OFF_NONE: checked, not kept */
};

#define TO(member) ((uint32_t)offsetof(struct layout, member))
#define UNUSED     OFF_NONE
#define TO_GIL     (OFF_NONE - 1) /* into the decoder */

/* As large as any CPython structure may sensibly be: so that offsets fit and a
 * wild size is refused. */
#define STRUCT_MAX (16u << 20)
#define GIL_MAX    1024
#define SMALL_MAX  1024

static const struct field fields[] = {
    {"runtime_state.size", 13, BOUND_SIZE, 8, ANY, TO(runtime.size)},
    {"runtime_state.finalizing", 13, BOUND_STRUCT, 8, ANY, TO(runtime.finalizing)},
    {"runtime_state.interpreters_head", 13, BOUND_STRUCT, 8, ANY, TO(runtime.interpreters_head)},

    {"interpreter_state.size", 13, BOUND_SIZE, 8, ANY, TO(interpreter.size)},
    {"interpreter_state.id", 13, BOUND_STRUCT, 8, ANY, TO(interpreter.id)},
    {"interpreter_state.next", 13, BOUND_STRUCT, 8, ANY, TO(interpreter.next)},
    {"interpreter_state.threads_head", 13, BOUND_STRUCT, 8, ANY, TO(interpreter.threads_head)},
    {"interpreter_state.threads_main", 14, BOUND_STRUCT, 8, ANY, TO(interpreter.threads_main)},
    {"interpreter_state.gc", 13, BOUND_STRUCT, 8, ANY, TO(heap.gc)},
    {"interpreter_state.imports_modules", 13, BOUND_STRUCT, 8, ANY, TO(heap.modules)},
    {"interpreter_state.sysdict", 13, BOUND_STRUCT, 8, ANY, TO(heap.sysdict)},
    {"interpreter_state.builtins", 13, BOUND_STRUCT, 8, ANY, TO(heap.builtins)},
    {"interpreter_state.ceval_gil", 13, BOUND_STRUCT, 8, ANY, TO(interpreter.ceval_gil)},
    {"interpreter_state.gil_runtime_state", 13, BOUND_STRUCT, 8, ANY, TO_GIL},
    {"interpreter_state.gil_runtime_state_enabled", 13, BOUND_GIL, 4, THREADED, TO(gil.enabled)},
    /* These two are counted from the interpreter: made relative to the GIL below. */
    {"interpreter_state.gil_runtime_state_locked", 13, BOUND_STRUCT, 4, ANY, TO(gil.locked)},
    {"interpreter_state.gil_runtime_state_holder", 13, BOUND_STRUCT, 8, ANY, TO(gil.last_holder)},
    {"interpreter_state.code_object_generation", 14, BOUND_STRUCT, 8, ANY, UNUSED},
    {"interpreter_state.tlbc_generation", 14, BOUND_STRUCT, 4, THREADED, UNUSED},

    {"thread_state.size", 13, BOUND_SIZE, 8, ANY, TO(thread_state.size)},
    {"thread_state.prev", 13, BOUND_STRUCT, 8, ANY, UNUSED},
    {"thread_state.next", 13, BOUND_STRUCT, 8, ANY, TO(thread_state.next)},
    {"thread_state.interp", 13, BOUND_STRUCT, 8, ANY, TO(thread_state.interp)},
    {"thread_state.current_frame", 13, BOUND_STRUCT, 8, ANY, TO(thread_state.current_frame)},
    {"thread_state.base_frame", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"thread_state.last_profiled_frame", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"thread_state.last_profiled_frame_seq", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"thread_state.thread_id", 13, BOUND_STRUCT, 8, ANY, TO(thread_state.thread_id)},
    {"thread_state.native_thread_id", 13, BOUND_STRUCT, 8, ANY, TO(thread_state.native_thread_id)},
    {"thread_state.datastack_chunk", 13, BOUND_STRUCT, 8, ANY, UNUSED},
    {"thread_state.status", 13, BOUND_STRUCT, 4, ANY, UNUSED},
    {"thread_state.holds_gil", 15, BOUND_STRUCT, 4, ANY, UNUSED},
    {"thread_state.gil_requested", 15, BOUND_STRUCT, 4, ANY, UNUSED},
    {"thread_state.current_exception", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"thread_state.exc_state", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"err_stackitem.exc_value", 15, BOUND_SMALL, 8, ANY, UNUSED},

    {"interpreter_frame.size", 13, BOUND_SIZE, 8, ANY, TO(interpreter_frame.size)},
    {"interpreter_frame.previous", 13, BOUND_STRUCT, 8, ANY, TO(interpreter_frame.previous)},
    {"interpreter_frame.executable", 13, BOUND_STRUCT, 8, ANY, TO(interpreter_frame.executable)},
    {"interpreter_frame.instr_ptr", 13, BOUND_STRUCT, 8, ANY, TO(interpreter_frame.instr_ptr)},
    {"interpreter_frame.localsplus", 13, BOUND_STRUCT, 8, ANY, TO(heap.frame_localsplus)},
    {"interpreter_frame.owner", 13, BOUND_STRUCT, 1, ANY, TO(interpreter_frame.owner)},
    {"interpreter_frame.stackpointer", 14, BOUND_STRUCT, 8, ANY, TO(heap.frame_stackpointer)},
    {"interpreter_frame.tlbc_index", 14, BOUND_STRUCT, 4, THREADED, TO(interpreter_frame.tlbc_index)},

    {"code_object.size", 13, BOUND_SIZE, 8, ANY, TO(code.size)},
    {"code_object.filename", 13, BOUND_STRUCT, 8, ANY, TO(code.filename)},
    {"code_object.name", 13, BOUND_STRUCT, 8, ANY, TO(code.name)},
    {"code_object.qualname", 13, BOUND_STRUCT, 8, ANY, TO(code.qualname)},
    {"code_object.linetable", 13, BOUND_STRUCT, 8, ANY, TO(code.linetable)},
    {"code_object.firstlineno", 13, BOUND_STRUCT, 4, ANY, TO(code.firstlineno)},
    {"code_object.argcount", 13, BOUND_STRUCT, 4, ANY, UNUSED},
    {"code_object.localsplusnames", 13, BOUND_STRUCT, 8, ANY, TO(heap.code_localsplusnames)},
    {"code_object.localspluskinds", 13, BOUND_STRUCT, 8, ANY, UNUSED},
    {"code_object.co_code_adaptive", 13, BOUND_STRUCT, 2, ANY, TO(code.co_code_adaptive)},
    {"code_object.co_tlbc", 14, BOUND_STRUCT, 8, THREADED, TO(code.co_tlbc)},

    {"pyobject.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"pyobject.ob_type", 13, BOUND_STRUCT, 8, ANY, TO(object.ob_type)},

    {"type_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"type_object.tp_name", 13, BOUND_STRUCT, 8, ANY, TO(type.tp_name)},
    {"type_object.tp_repr", 13, BOUND_STRUCT, 8, ANY, UNUSED},
    {"type_object.tp_flags", 13, BOUND_STRUCT, 8, ANY, TO(heap.type_flags)},
    {"type_object.tp_basicsize", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"type_object.tp_dictoffset", 15, BOUND_STRUCT, 8, ANY, UNUSED},

    {"heap_type_object.size", 15, BOUND_SIZE, 8, ANY, UNUSED},
    {"heap_type_object.ht_cached_keys", 15, BOUND_STRUCT, 8, ANY, UNUSED},

    {"tuple_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"tuple_object.ob_item", 13, BOUND_STRUCT, 8, ANY, TO(heap.tuple_items)},
    {"tuple_object.ob_size", 13, BOUND_STRUCT, 8, ANY, UNUSED},

    {"list_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"list_object.ob_item", 13, BOUND_STRUCT, 8, ANY, TO(heap.list_items)},
    {"list_object.ob_size", 13, BOUND_STRUCT, 8, ANY, UNUSED},

    {"set_object.size", 14, BOUND_SIZE, 8, ANY, UNUSED},
    {"set_object.used", 14, BOUND_STRUCT, 8, ANY, UNUSED},
    {"set_object.table", 14, BOUND_STRUCT, 8, ANY, TO(heap.set_table)},
    {"set_object.mask", 14, BOUND_STRUCT, 8, ANY, TO(heap.set_mask)},

    {"dict_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"dict_object.ma_keys", 13, BOUND_STRUCT, 8, ANY, TO(heap.dict_keys)},
    {"dict_object.ma_values", 13, BOUND_STRUCT, 8, ANY, TO(heap.dict_values)},

    {"float_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"float_object.ob_fval", 13, BOUND_STRUCT, 8, ANY, UNUSED},

    {"long_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"long_object.lv_tag", 13, BOUND_STRUCT, 8, ANY, TO(heap.int_tag)},
    {"long_object.ob_digit", 13, BOUND_STRUCT, 4, ANY, TO(heap.int_digits)},

    {"bytes_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"bytes_object.ob_size", 13, BOUND_STRUCT, 8, ANY, TO(bytes.ob_size)},
    {"bytes_object.ob_sval", 13, BOUND_STRUCT, 1, ANY, TO(bytes.ob_sval)},

    {"unicode_object.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"unicode_object.state", 13, BOUND_STRUCT, 4, ANY, TO(unicode.state)},
    {"unicode_object.length", 13, BOUND_STRUCT, 8, ANY, TO(unicode.length)},
    {"unicode_object.asciiobject_size", 13, BOUND_EXTRA, 8, ANY, TO(unicode.ascii_size)},
    {"unicode_object.compactunicodeobject_size", 15, BOUND_EXTRA, 8, ANY, UNUSED},

    {"gc.size", 13, BOUND_SIZE, 8, ANY, UNUSED},
    {"gc.collecting", 13, BOUND_STRUCT, 4, ANY, UNUSED},
    {"gc.frame", 15, BOUND_STRUCT, 8, ANY, UNUSED},
    {"gc.generation_stats_size", 15, BOUND_OTHER, 8, ANY, UNUSED},
    {"gc.generation_stats", 15, BOUND_STRUCT, 8, ANY, UNUSED},

    {"gen_object.size", 14, BOUND_SIZE, 8, ANY, UNUSED},
    {"gen_object.gi_name", 14, BOUND_STRUCT, 8, ANY, UNUSED},
    {"gen_object.gi_iframe", 14, BOUND_STRUCT, 8, ANY, TO(heap.generator_frame)},
    {"gen_object.gi_frame_state", 14, BOUND_STRUCT, 1, ANY, TO(heap.generator_frame_state)},

    {"llist_node.next", 14, BOUND_SMALL, 8, ANY, UNUSED},
    {"llist_node.prev", 14, BOUND_SMALL, 8, ANY, UNUSED},

    {"debugger_support.eval_breaker", 14, BOUND_THREAD_STATE, 8, ANY, TO(thread_state.eval_breaker)},
    {"debugger_support.remote_debugger_support", 14, BOUND_THREAD_STATE, 4, ANY,
     TO(thread_state.remote_debugger_support)},
    {"debugger_support.remote_debugging_enabled", 14, BOUND_INTERPRETER, 4, ANY, TO(interpreter.config_remote_debug)},
    {"debugger_support.debugger_pending_call", 14, BOUND_SMALL, 4, ANY, TO(debugger_support.pending_call)},
    {"debugger_support.debugger_script_path", 14, BOUND_SMALL, 1, ANY, TO(debugger_support.script_path)},
    {"debugger_support.debugger_script_path_size", 14, BOUND_PATH, 1, ANY, TO(debugger_support.script_path_size)},
};

#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static const char *const origins[] = {
    [13] = "the debug offsets of 3.13",
    [14] = "the debug offsets of 3.14",
    [15] = "the debug offsets of 3.15",
};

/* One decoding: what was read so far bounds what follows. */
struct decoder {
    unsigned minor; /* whose list of fields is used */
    bool free_threaded;
    uint64_t size; /* of the structure that the last size field told */
    uint64_t gil;  /* interpreter_state.gil_runtime_state: where its own GIL is in an interpreter */
    struct layout layout;
};

static uint64_t load_u64(const unsigned char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static struct error *refuse_field(const struct decoder *decoder, const struct field *field, uint64_t value,
                                  const char *why, uint64_t limit)
{
    return error_create(ERROR_UNSUPPORTED,
                        "a build whose layout we don't know, or not CPython at all; please report it",
                        "debug offsets of 3.%u: %s is %llu, %s %llu", decoder->minor, field->name,
                        (unsigned long long)value, why, (unsigned long long)limit);
}

static uint64_t field_limit(const struct decoder *decoder, const struct field *field)
{
    switch ((enum bound)field->bound) {
    case BOUND_STRUCT:
        return decoder->size;
    case BOUND_THREAD_STATE:
        return decoder->layout.thread_state.size;
    case BOUND_INTERPRETER:
        return decoder->layout.interpreter.size;
    case BOUND_GIL:
        return GIL_MAX;
    case BOUND_SMALL:
        return SMALL_MAX;
    case BOUND_SIZE:
    case BOUND_EXTRA:
    case BOUND_OTHER:
    case BOUND_PATH:
        break;
    }
    return 0;
}

static bool is_size(const struct field *field)
{
    return field->bound == BOUND_SIZE || field->bound == BOUND_EXTRA || field->bound == BOUND_OTHER ||
           field->bound == BOUND_PATH;
}

static struct error *check_size(struct decoder *decoder, const struct field *field, uint64_t value)
{
    switch ((enum bound)field->bound) {
    case BOUND_SIZE:
    case BOUND_OTHER:
        if (value < 8 || value > STRUCT_MAX)
            return refuse_field(decoder, field, value, "not a size from 8 to", STRUCT_MAX);
        if (field->bound == BOUND_SIZE)
            decoder->size = value;
        break;
    case BOUND_EXTRA:
        if (value < 8 || value > decoder->size)
            return refuse_field(decoder, field, value, "not a size from 8 to the struct's", decoder->size);
        break;
    case BOUND_PATH:
        /* A version that changes this changes what we write: look first. */
        if (value != 512)
            return refuse_field(decoder, field, value, "expected is", 512);
        break;
    default:
        break;
    }
    if (value % 8)
        return refuse_field(decoder, field, value, "no multiple of", 8);
    return NULL;
}

static struct error *check_offset(const struct decoder *decoder, const struct field *field, uint64_t value)
{
    uint64_t limit = field_limit(decoder, field);

    if (value > limit || limit - value < field->width)
        return refuse_field(decoder, field, value, "past the struct's size", limit);
    if (value % field->width)
        return refuse_field(decoder, field, value, "no multiple of", field->width);
    return NULL;
}

static struct error *decode_field(struct decoder *decoder, const struct field *field, uint64_t value)
{
    uint32_t kept = (uint32_t)value;
    struct error *error;

    if (field->threaded == THREADED && !decoder->free_threaded) {
        if (value)
            return refuse_field(decoder, field, value, "in a build with the GIL it is", 0);
        kept = OFF_NONE;
    } else {
        error = is_size(field) ? check_size(decoder, field, value) : check_offset(decoder, field, value);
        if (error)
            return error;
    }
    if (field->to == TO_GIL)
        decoder->gil = value;
    else if (field->to != UNUSED)
        memcpy((char *)&decoder->layout + field->to, &kept, sizeof(kept));
    return NULL;
}

/* What one field can't show: how fields lie to each other. */
static struct error *check_together(struct decoder *decoder, const struct layout_supplement *row)
{
    struct layout *layout = &decoder->layout;
    uint64_t gil = decoder->gil;
    const char *wrong = NULL;

    if (layout->runtime.finalizing < row->debug_offsets_size + row->initialized_before_finalizing)
        wrong = "runtime_state.finalizing lies inside the debug offsets";
    else if (layout->runtime.interpreters_head + row->main_thread_after_head + 8 > layout->runtime.size)
        wrong = "runtime_state.interpreters_head is too near the struct's end";
    else if (layout->thread_state.thread_id < row->async_exc_before_thread_id)
        wrong = "thread_state.thread_id has no room for async_exc before it";
    else if (layout->gil.locked < gil || layout->gil.last_holder < gil || layout->gil.locked - gil >= GIL_MAX ||
             layout->gil.last_holder - gil >= GIL_MAX)
        wrong = "interpreter_state.gil_runtime_state_locked and _holder don't follow gil_runtime_state";
    else if (decoder->minor >= 14 && (uint64_t)layout->thread_state.remote_debugger_support +
                                             layout->debugger_support.script_path +
                                             layout->debugger_support.script_path_size >
                                         layout->thread_state.size)
        wrong = "debugger_support.debugger_script_path reaches past the thread state";
    if (wrong)
        return error_create(ERROR_UNSUPPORTED, "a build whose layout we don't know; please report it",
                            "debug offsets of 3.%u: %s", decoder->minor, wrong);
    layout->gil.locked -= (uint32_t)gil;
    layout->gil.last_holder -= (uint32_t)gil;
    return NULL;
}

static struct error *decode_as(const unsigned char *bytes, size_t size, unsigned minor, bool free_threaded,
                               struct layout *layout)
{
    const struct layout_supplement *row = layout_find_supplement(minor, free_threaded);
    struct decoder decoder = {.minor = minor, .free_threaded = free_threaded};
    size_t at = DEBUG_OFFSETS_HEAD;

    if (!row || size < row->debug_offsets_size)
        return error_create(ERROR_UNSUPPORTED, NULL, "debug offsets of 3.%u: cut short at %zu bytes", minor, size);
    layout_init(&decoder.layout);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (fields[i].since > minor || at + sizeof(uint64_t) > size)
            continue;
        struct error *error = decode_field(&decoder, &fields[i], load_u64(bytes + at));
        if (error)
            return error;
        at += sizeof(uint64_t);
    }
    if (at != row->debug_offsets_size)
        return error_create(ERROR_BUG, NULL, "debug offsets of 3.%u: our list of fields ends at %zu, theirs at %u",
                            minor, at, row->debug_offsets_size);
    struct error *error = check_together(&decoder, row);
    if (error)
        return error;
    layout_apply_supplement(&decoder.layout, row);
    decoder.layout.minor = minor;
    decoder.layout.origin = origins[minor];
    *layout = decoder.layout;
    return NULL;
}

bool debug_offsets_decode_head(const void *bytes, size_t size, uint32_t *version, bool *free_threaded)
{
    const unsigned char *from = bytes;

    if (size < DEBUG_OFFSETS_HEAD || memcmp(from, DEBUG_OFFSETS_COOKIE, 8) != 0)
        return false;
    *version = (uint32_t)load_u64(from + 8);
    *free_threaded = load_u64(from + 16) != 0;
    return true;
}

struct error *debug_offsets_decode(const void *bytes, size_t size, struct layout *layout)
{
    uint32_t version;
    bool free_threaded;

    if (!debug_offsets_decode_head(bytes, size, &version, &free_threaded))
        return error_create(ERROR_UNSUPPORTED, NULL, "no debug offsets: the cookie isn't there");
    unsigned minor = version >> 16 & 0xff;
    if (version >> 24 != 3 || minor < LAYOUT_MINOR_DEBUG_OFFSETS || minor > LAYOUT_MINOR_LAST)
        return error_create(ERROR_UNSUPPORTED, "supported: " LAYOUT_SUPPORTED, "debug offsets of %u.%u are not known",
                            version >> 24, minor);
    struct error *error = decode_as(bytes, size, minor, free_threaded, layout);
    /* The level in bits 4 to 7: 0xa alpha, 0xb beta, 0xc candidate, 0xf final. */
    bool unfinished = (version >> 4 & 0xf) != 0xf;
    if (!error || !unfinished || minor == LAYOUT_MINOR_DEBUG_OFFSETS)
        return error;
    struct error *older = decode_as(bytes, size, minor - 1, free_threaded, layout);
    error_destroy(older ? older : error);
    return older ? error : NULL;
}
