#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Compiles the aarch64 half of attach/arch and assembles its stub with a cross compiler, warnings being errors.
set -eu
cd "$(dirname "$0")/.."
compiler=aarch64-linux-gnu-gcc
case $(${CC:-cc} -dumpmachine) in
    aarch64-*) compiler=${CC:-cc} ;;
esac
if ! command -v $compiler >/dev/null 2>&1; then
    echo "lint: no $compiler on this machine: the aarch64 files were not compiled" >&2
    exit 1
fi
echo "lint: $compiler, warnings are errors"
mkdir -p build/lint/aarch64
for file in attach/arch/*.c inject/stub_aarch64.S; do
    [ -f "$file" ] || { echo "lint: $file: is missing" >&2; exit 1; }
    $compiler -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror -O2 -fPIE -c \
        -o "build/lint/aarch64/$(basename "$file").o" "$file"
done
