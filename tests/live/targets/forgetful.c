/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An extension with the two mistakes: one build for every CPython from 3.8 on (the stable ABI). */
#define Py_LIMITED_API 0x03080000
#include <Python.h>

/* Takes a reference and forgets it. */
static PyObject *forget(PyObject *module, PyObject *object)
{
    (void)module;
    Py_IncRef(object);
    Py_RETURN_NONE;
}

/* Gives up a reference that it doesn't have. */
static PyObject *drop(PyObject *module, PyObject *object)
{
    (void)module;
    Py_DecRef(object);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"forget", forget, METH_O, NULL}, {"drop", drop, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "forgetful", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_forgetful(void)
{
    return PyModule_Create(&module);
}
