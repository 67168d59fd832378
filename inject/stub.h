/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The header that stands before the code of inject/stub_*.S; both change together. */
#ifndef SAFEPOINT_INJECT_STUB_H
#define SAFEPOINT_INJECT_STUB_H

#include <stdint.h>

struct stub_header {
    uint64_t size;   /* of the mapping */
    uint64_t source; /* address of the agent's source, ended by NUL */
    /* Functions of CPython and of the C library, in the order of stub_functions[]. */
    uint64_t functions[9];
};

/* The template: header, code, strings. Position-independent. */
extern const unsigned char stub_image[], stub_image_end[];
/* Entries, as places in the template. */
extern const unsigned char stub_run[], stub_borrowed[];

#endif
