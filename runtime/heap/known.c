/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The builtin types that readers know by name, and names of fields that no header tells. */
#include "runtime/heap/internal.h"

static const struct heap_known_type known_types[] = {
    {"BaseException", KIND_ANY, NULL},
    {"Struct", KIND_ANY, heap_size_of_struct}, /* 3.8 */
    {"_io.BufferedRandom", KIND_ANY, heap_size_of_buffered},
    {"_io.BufferedReader", KIND_ANY, heap_size_of_buffered},
    {"_io.BufferedWriter", KIND_ANY, heap_size_of_buffered},
    {"_struct.Struct", KIND_ANY, heap_size_of_struct},
    {"array.array", KIND_PLAIN, heap_size_of_array},
    {"async_generator", KIND_GENERATOR, heap_size_of_generator},
    {"builtin_function_or_method", KIND_NAMED, NULL},
    {"bytearray", KIND_BYTEARRAY, heap_size_of_bytearray},
    {"bytes", KIND_PLAIN, NULL},
    {"callable_iterator", KIND_NAMED, NULL},
    {"cell", KIND_NAMED, NULL},
    {"classmethod_descriptor", KIND_NAMED, NULL},
    {"code", KIND_CODE, heap_size_of_code},
    {"collections.OrderedDict", KIND_ORDERED_DICT, heap_size_of_ordered_dict},
    {"collections.deque", KIND_DEQUE, heap_size_of_deque},
    {"complex", KIND_PLAIN, NULL},
    {"coroutine", KIND_GENERATOR, heap_size_of_generator},
    {"dict", KIND_DICT, heap_size_of_dict},
    {"dict_items", KIND_NAMED, NULL},
    {"dict_keys", KIND_NAMED, NULL},
    {"dict_values", KIND_NAMED, NULL},
    {"float", KIND_PLAIN, NULL},
    {"frame", KIND_FRAME, heap_size_of_frame},
    {"frozendict", KIND_DICT, heap_size_of_dict},
    {"frozenset", KIND_SET, heap_size_of_set},
    {"function", KIND_NAMED, NULL},
    {"functools._lru_cache_wrapper", KIND_LRU_CACHE, NULL},
    {"functools._lru_list_elem", KIND_NAMED, NULL},
    {"generator", KIND_GENERATOR, heap_size_of_generator},
    {"getset_descriptor", KIND_NAMED, NULL},
    {"int", KIND_INT, heap_size_of_int},
    {"itertools._tee_dataobject", KIND_TEE, NULL},
    {"list", KIND_LIST, heap_size_of_list},
    {"member_descriptor", KIND_NAMED, NULL},
    {"memoryview", KIND_NAMED, NULL}, /* its items are sizes */
    {"method", KIND_NAMED, NULL},
    {"method-wrapper", KIND_NAMED, NULL},
    {"method_descriptor", KIND_NAMED, NULL},
    {"module", KIND_MODULE, NULL},
    {"numpy.ndarray", KIND_NDARRAY, heap_size_of_ndarray},
    {"set", KIND_SET, heap_size_of_set},
    {"slice", KIND_NAMED, NULL},
    {"str", KIND_STR, heap_size_of_str},
    {"traceback", KIND_NAMED, NULL},
    {"tuple", KIND_TUPLE, heap_size_of_tuple},
    {"type", KIND_TYPE, heap_size_of_type},
    {"weakcallableproxy", KIND_NAMED, NULL},
    {"weakproxy", KIND_NAMED, NULL},
    {"weakref", KIND_NAMED, NULL},
    {"weakref.CallableProxyType", KIND_NAMED, NULL},
    {"weakref.ProxyType", KIND_NAMED, NULL},
    {"weakref.ReferenceType", KIND_NAMED, NULL},
    {"wrapper_descriptor", KIND_NAMED, NULL},
    {"xml.etree.ElementTree.Element", KIND_ELEMENT, heap_size_of_element},
};

#define KNOWN_COUNT (sizeof(known_types) / sizeof(known_types[0]))

/* The same in every version. */
static const struct heap_name constant_names[] = {
    {"callable_iterator", "callable", 16},
    {"callable_iterator", "sentinel", 24},
    {"dict_items", "dict", 16},
    {"dict_keys", "dict", 16},
    {"dict_values", "dict", 16},
    {"functools._lru_list_elem", "key", 40},
    {"functools._lru_list_elem", "result", 48},
    {"itertools._tee_dataobject", "iterator", 16},
    {"itertools._tee_dataobject", "next", 32},
    {"memoryview", "buffer", 24},
    {"method-wrapper", "descriptor", 16},
    {"method-wrapper", "__self__", 24},
    {"weakcallableproxy", "__callback__", 24},
    {"weakproxy", "__callback__", 24},
    {"weakref", "__callback__", 24},
    {"weakref.CallableProxyType", "__callback__", 24},
    {"weakref.ProxyType", "__callback__", 24},
    {"weakref.ReferenceType", "__callback__", 24},
    {NULL, NULL, 0},
};

/* A class of Python's that is called like a builtin has no dot in its name and is not static. */
const struct heap_known_type *heap_find_known_type(const char *name, bool is_static)
{
    size_t low = 0, high = KNOWN_COUNT;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, known_types[middle].name);
        if (!order)
            return is_static || strchr(name, '.') ? &known_types[middle] : NULL;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static const struct heap_name *find_in(const struct heap_name *names, const char *type, uint32_t offset)
{
    for (; names->type; names++)
        if (names->offset == offset && !strcmp(names->type, type))
            return names;
    return NULL;
}

const char *heap_find_name(const struct heap_layout *layout, const char *type, uint32_t offset)
{
    const struct heap_name *name = find_in(layout->names, type, offset);

    if (!name)
        name = find_in(constant_names, type, offset);
    return name ? name->name : NULL;
}

bool heap_next_name(const struct heap_layout *layout, const char *type, size_t *at, struct heap_field *field)
{
    size_t first = 0;

    while (layout->names[first].type)
        first++;
    for (;; ++*at) {
        const struct heap_name *name = *at < first ? &layout->names[*at] : &constant_names[*at - first];
        if (!name->type)
            return false;
        if (strcmp(name->type, type) != 0)
            continue;
        *field = (struct heap_field){.offset = name->offset, .kind = HEAP_EDGE_FIELD, .label = name->name};
        ++*at;
        return true;
    }
}
