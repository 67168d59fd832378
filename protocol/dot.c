/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol/dot.h"

#include <inttypes.h>

/* A quoted string. A backslash stands for itself, but for the newline's; what can't be printed is '?'. */
static void dot_put_text(FILE *file, const char *text)
{
    putc_unlocked('"', file);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '\n')
            fputs_unlocked("\\n", file);
        else if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else
            putc_unlocked(c < 0x20 || c == 0x7f ? '?' : c, file);
    }
    putc_unlocked('"', file);
}

void dot_begin(FILE *file, const char *title)
{
    fputs("digraph heap {\n    rankdir=LR;\n    node [shape=box, fontname=\"sans-serif\", fontsize=10];\n"
          "    edge [fontname=\"sans-serif\", fontsize=9];\n    label=",
          file);
    dot_put_text(file, title);
    fputs(";\n", file);
}

void dot_end(FILE *file)
{
    fputs("}\n", file);
}

static const char *const dot_letters[] = {[DOT_OBJECT] = "n", [DOT_CHOSEN] = "n", [DOT_ROOT] = "r"};

void dot_put_node(FILE *file, enum dot_shape shape, uint64_t number, const char *text)
{
    static const char *const styles[] = {
        [DOT_OBJECT] = "", [DOT_CHOSEN] = ", style=bold, color=red", [DOT_ROOT] = ", shape=ellipse, style=filled"};

    fprintf(file, "    %s%" PRIu64 " [label=", dot_letters[shape], number);
    dot_put_text(file, text);
    fprintf(file, "%s];\n", styles[shape]);
}

void dot_put_edge(FILE *file, bool from_root, uint64_t from, uint64_t to, const char *text, bool dashed)
{
    fprintf(file, "    %s%" PRIu64 " -> n%" PRIu64 " [label=", dot_letters[from_root ? DOT_ROOT : DOT_OBJECT], from, to);
    dot_put_text(file, text);
    fprintf(file, "%s];\n", dashed ? ", style=dashed" : "");
}
