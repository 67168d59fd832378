#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes runtime/heap/layout_tables.c from CPython's own headers.
# usage: heap_tables.sh INCLUDE... >runtime/heap/layout_tables.c
#   each INCLUDE is a version's include directory (.../include/python3.12, with internal/ in it), oldest version first
set -eu
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat <<'END'
/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Written by tools/heap_tables.sh from CPython's headers: to change it, run that again. */
#include "runtime/heap/layout_tables.h"

/* clang-format off: as printed */
END
: >"$work/rows"
for include in "$@"; do
    up=$(dirname "$include")
    cc -w -DPy_BUILD_CORE -I"$include" -I"$include/internal" -I"$up" -I"$up/x86_64-linux-gnu" \
        -o "$work/offsets" "$here/heap_offsets.c"
    "$work/offsets" names
    "$work/offsets" >>"$work/rows"
done
echo "const struct heap_layout heap_layout_tables[] = {"
cat "$work/rows"
cat <<'END'
};
/* clang-format on */

const size_t heap_layout_tables_count = sizeof(heap_layout_tables) / sizeof(heap_layout_tables[0]);
END
