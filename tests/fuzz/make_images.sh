#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the seeds of fuzz_image in tests/fuzz/corpus/image: small shared libraries, with either hash table, whole and
# without section headers. The last byte says which mapping: 0x10 is the executable one at offset 0.
set -eu
cd "$(dirname "$0")/corpus/image"
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cat >"$directory/small.c" <<'END'
char _PyRuntime[64] __attribute__((section(".PyRuntime"))) = {1};
static int local;
int munmap(void) { return ++local; }
int abs(int value) { return value; }
END
for style in gnu sysv; do
    ${CC:-cc} -shared -nostdlib -fPIC -Os -fno-asynchronous-unwind-tables -Wl,--hash-style=$style -Wl,--build-id=none \
        -Wl,-z,noseparate-code -Wl,-z,max-page-size=4096 -Wl,-z,norelro -Wl,-N -Wl,--no-warn-rwx-segments -o "$directory/whole" "$directory/small.c"
    { cat "$directory/whole"; printf '\020'; } >$style
    cp "$directory/whole" "$directory/cut"
    printf '\0\0\0\0\0\0\0\0' | dd of="$directory/cut" bs=1 seek=40 conv=notrunc 2>/dev/null
    printf '\0\0\0\0' | dd of="$directory/cut" bs=1 seek=60 conv=notrunc 2>/dev/null
    # What is behind the last loaded byte was there for the section headers.
    { head -c 768 "$directory/cut"; printf '\020'; } >$style-cut
done
