/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Prints the row of gc_layouts (runtime/gc.c) for one version of CPython, from that version's own headers: compiled
 * against them, run here, no part of safepoint.
 *   cc -DPy_BUILD_CORE -I.../python3.X -I.../python3.X/internal -o gc_offsets tools/gc_offsets.c
 */
#include <Python.h>
#include <stddef.h>
#include <stdio.h>
#if PY_VERSION_HEX < 0x03090000
#include <internal/pycore_pystate.h>
#define HOLDER _PyRuntimeState
#else
#include <internal/pycore_interp.h>
#define HOLDER PyInterpreterState
#endif

#define OFFSET(field) (unsigned)offsetof(struct _gc_runtime_state, field)

int main(void)
{
    printf("{%d, %u, %u, %u, %u, %u, %u, %u, %u, %u}, /* %s */\n", PY_VERSION_HEX >> 16 & 0xff,
           (unsigned)offsetof(HOLDER, gc), OFFSET(enabled), OFFSET(debug), OFFSET(generations),
           OFFSET(permanent_generation), OFFSET(generation_stats), OFFSET(collecting), OFFSET(garbage),
           OFFSET(long_lived_total), PY_VERSION);
    return 0;
}
