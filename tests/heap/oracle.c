/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The oracle: an extension that tells from inside what is true. It closes
 * gc.get_objects() over the real tp_traverse and writes every object, edge,
 * reference count and sys.getsizeof() to a file; then it stops its process, so that
 * what is read from outside is that very moment. After SIGCONT it judges addresses.
 *
 * File: "oracle01", objects, edges; per object: address, type, refcount, size
 * (UINT64_MAX: none); per edge: from, to; in the order of the objects. All uint64_t.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct found {
    PyObject *object;
    uint64_t size;
};

struct set {
    struct found *items;
    size_t count, room;
    size_t *table; /* number + 1 */
    size_t table_size;
};

struct walk {
    struct set *set;
    FILE *edges; /* NULL: objects alone */
    PyObject *from;
    uint64_t edge_count;
};

static size_t hash_pointer(const void *pointer)
{
    return (size_t)(((uintptr_t)pointer >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
}

static size_t *find_slot(struct set *set, PyObject *object)
{
    size_t at = hash_pointer(object) & (set->table_size - 1);

    while (set->table[at] && set->items[set->table[at] - 1].object != object)
        at = (at + 1) & (set->table_size - 1);
    return &set->table[at];
}

static void set_grow(struct set *set)
{
    set->room = set->room ? set->room * 2 : 1 << 16;
    set->table_size = set->room * 4;
    set->items = realloc(set->items, set->room * sizeof(*set->items));
    free(set->table);
    set->table = calloc(set->table_size, sizeof(*set->table));
    if (!set->items || !set->table)
        abort();
    for (size_t i = 0; i < set->count; i++)
        *find_slot(set, set->items[i].object) = i + 1;
}

static void set_add(struct set *set, PyObject *object)
{
    if (set->count == set->room)
        set_grow(set);
    size_t *slot = find_slot(set, object);
    if (*slot)
        return;
    set->items[set->count++] = (struct found){object, UINT64_MAX};
    *slot = set->count;
}

static int visit(PyObject *object, void *argument)
{
    struct walk *walk = argument;

    if (!object)
        return 0;
    set_add(walk->set, object);
    if (walk->edges) {
        uint64_t edge[2] = {(uintptr_t)walk->from, (uintptr_t)object};
        fwrite(edge, sizeof(edge), 1, walk->edges);
        walk->edge_count++;
    }
    return 0;
}

/* All that gc.get_objects() gives, and what can be reached from there. */
static int walk_all(struct walk *walk)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *list = gc ? PyObject_CallMethod(gc, "get_objects", NULL) : NULL;

    Py_XDECREF(gc);
    if (!list)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++)
        set_add(walk->set, PyList_GET_ITEM(list, i));
    Py_DECREF(list);
    for (size_t i = 0; i < walk->set->count; i++) {
        PyObject *object = walk->set->items[i].object;
        PyTypeObject *type = Py_TYPE(object);
        if (!type || !type->tp_traverse || (type->tp_is_gc && !type->tp_is_gc(object)))
            continue;
        walk->from = object;
        type->tp_traverse(object, visit, walk);
    }
    return 0;
}

/* Another thread may run meanwhile: everything is held until all is measured. */
static void measure(struct set *set)
{
    PyObject *getsizeof = PySys_GetObject("getsizeof");

    for (size_t i = 0; i < set->count; i++)
        Py_INCREF(set->items[i].object);
    for (size_t i = 0; i < set->count; i++) {
        PyObject *size = PyObject_CallFunctionObjArgs(getsizeof, set->items[i].object, NULL);
        if (size) {
            set->items[i].size = PyLong_AsUnsignedLongLong(size);
            Py_DECREF(size);
        }
        PyErr_Clear();
    }
    for (size_t i = 0; i < set->count; i++)
        Py_DECREF(set->items[i].object);
}

static void write_file(const char *path, struct set *set, const struct walk *walk, FILE *edges)
{
    FILE *file = fopen(path, "wb");
    uint64_t head[2] = {set->count, walk->edge_count};
    char buffer[65536];
    size_t got;

    if (!file)
        return;
    fwrite("oracle01", 8, 1, file);
    fwrite(head, sizeof(head), 1, file);
    for (size_t i = 0; i < set->count; i++) {
        PyObject *object = set->items[i].object;
        uint64_t row[4] = {(uintptr_t)object, (uintptr_t)Py_TYPE(object), (uint64_t)object->ob_refcnt,
                           set->items[i].size};
        fwrite(row, sizeof(row), 1, file);
    }
    rewind(edges);
    while ((got = fread(buffer, 1, sizeof(buffer), edges)) > 0)
        fwrite(buffer, 1, got, file);
    fclose(file);
}

/* dump(path): writes the file, says so by path + ".done", and stops the process. */
static PyObject *dump(PyObject *self, PyObject *arguments)
{
    const char *path;
    struct set first = {0}, second = {0};
    char done[4096];

    (void)self;
    if (!PyArg_ParseTuple(arguments, "s", &path))
        return NULL;
    struct walk walk = {&first, NULL, NULL, 0};
    if (walk_all(&walk) < 0)
        return NULL;
    measure(&first);
    walk = (struct walk){&second, tmpfile(), NULL, 0};
    if (!walk.edges || walk_all(&walk) < 0)
        return NULL;
    for (size_t i = 0; i < second.count; i++) {
        size_t *slot = find_slot(&first, second.items[i].object);
        if (*slot)
            second.items[i].size = first.items[*slot - 1].size;
    }
    write_file(path, &second, &walk, walk.edges);
    fclose(walk.edges);
    free(first.items);
    free(first.table);
    free(second.items);
    free(second.table);
    snprintf(done, sizeof(done), "%s.done", path);
    fclose(fopen(done, "wb"));
    kill(getpid(), SIGSTOP);
    Py_RETURN_NONE;
}

/* judge(path): of the addresses (uint64_t) in a file, how many there are, how many are objects in live blocks by what
 * tracemalloc has seen allocated and not freed, and a list of the rest: (address, type's name). */
static PyObject *judge(PyObject *self, PyObject *arguments)
{
    const char *path;
    uint64_t address;
    unsigned long long count = 0, live = 0;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "s", &path))
        return NULL;
    FILE *file = fopen(path, "rb");
    PyObject *module = PyImport_ImportModule("_tracemalloc");
    PyObject *find = module ? PyObject_GetAttrString(module, "_get_object_traceback") : NULL;
    PyObject *rest = PyList_New(0);
    if (!file || !find || !rest)
        return NULL;
    while (fread(&address, sizeof(address), 1, file) == 1) {
        PyObject *object = (PyObject *)(uintptr_t)address;
        PyObject *trace = PyObject_CallFunctionObjArgs(find, object, NULL);
        count++;
        if (trace && trace != Py_None) {
            live++;
        } else {
            PyObject *row = Py_BuildValue("Ks", (unsigned long long)address, Py_TYPE(object)->tp_name);
            PyList_Append(rest, row);
            Py_XDECREF(row);
        }
        Py_XDECREF(trace);
    }
    fclose(file);
    Py_DECREF(find);
    Py_DECREF(module);
    return Py_BuildValue("KKN", count, live, rest);
}

static PyMethodDef methods[] = {
    {"judge", judge, METH_VARARGS, NULL},
    {"dump", dump, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "oracle", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_oracle(void)
{
    return PyModule_Create(&module);
}
