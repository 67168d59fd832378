/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A picture for Graphviz: boxes for objects, arrows for references. */
#ifndef SAFEPOINT_PROTOCOL_DOT_H
#define SAFEPOINT_PROTOCOL_DOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum dot_shape { DOT_OBJECT, DOT_CHOSEN, DOT_ROOT };

/* The picture's begin and end; `title` is shown below it. */
void dot_begin(FILE *file, const char *title);
void dot_end(FILE *file);

/* A node by its number. A newline in the text is one in the picture. */
void dot_put_node(FILE *file, enum dot_shape shape, uint64_t number, const char *text);

/* An arrow; dashed: it keeps nothing. `from_root`: from the root of that number. */
void dot_put_edge(FILE *file, bool from_root, uint64_t from, uint64_t to, const char *text, bool dashed);

#endif
