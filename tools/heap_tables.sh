#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes runtime/heap/layout_tables.c from CPython's own headers.
# usage: heap_tables.sh INCLUDE... [-- INCLUDE...] >runtime/heap/layout_tables.c
#   each INCLUDE is a version's include directory (.../include/python3.12, with internal/ in it), oldest version first;
#   behind -- other builds of these versions (--with-pydebug, or another patch level), of which only what differs is kept
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
build() {
    up=$(dirname "$1")
    cc -w -DPy_BUILD_CORE -I"$1" -I"$1/internal" -I"$up" -I"$up/x86_64-linux-gnu" -o "$work/offsets" "$here/heap_offsets.c"
}

# What a build has elsewhere than the row of its version, as rows of the second table.
print_variant() {
    "$work/offsets" >"$work/row"
    minor=$(sed -n 's/^ *\.minor = \(.*\),/\1/p' "$work/row")
    patch=$(sed -n 's|^ */\* 3\.[0-9]*\.\([0-9]*\).*|\1|p' "$work/row")
    debug=$(sed -n 's/^ *\.debug_build = \(.*\),/\1/p' "$work/row")
    test "$debug" = false || patch=HEAP_ANY_PATCH
    sed -n "/^ *\.minor = $minor,/,/^    },/p" "$work/rows" >"$work/base"
    sed -n "/^ *\.minor = $minor,/,/^    },/p" "$work/row" | grep -vxFf "$work/base" |
        sed -n "/debug_build/d; s/^ *\.\(.*\) = \(.*\),/    {$minor, $patch, $debug, offsetof(struct heap_layout, \1), \2},/p"
}

: >"$work/rows"
: >"$work/variants"
variants=
for include in "$@"; do
    if [ "$include" = -- ]; then
        variants=1
        continue
    fi
    build "$include"
    if [ "$variants" ]; then
        print_variant >>"$work/variants"
        continue
    fi
    "$work/offsets" names
    "$work/offsets" >>"$work/rows"
done
echo "const struct heap_layout heap_layout_tables[] = {"
cat "$work/rows"
cat <<'END'
};
/* clang-format on */

const size_t heap_layout_tables_count = sizeof(heap_layout_tables) / sizeof(heap_layout_tables[0]);

/* clang-format off: as printed */
const struct heap_layout_variant heap_layout_variants[] = {
END
cat "$work/variants"
cat <<'END'
};
/* clang-format on */

const size_t heap_layout_variants_count = sizeof(heap_layout_variants) / sizeof(heap_layout_variants[0]);
END
