#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes a root with Debian sid's Pythons (3.13, 3.14, 3.15 and their debug builds) for the live tests,
# and a gdb for the measurements.
# usage: sid.sh DIRECTORY
# The packages are only unpacked: no daemon, no configuration, nothing mounted. When it cannot be made here, the
# reason is printed, kept in DIRECTORY.reason (the tests print it with what they skip), and it is an error only in CI.
set -eu
root=$1
[ ! -d "$root" ] || exit 0
rm -f "$root.reason"

give_up() {
    printf '%s\n' "$1" >"$root.reason"
    echo "sid: no root with Debian's newest Pythons: $1" >&2
    [ "${CI-}" != true ] || exit 1
    exit 0
}

command -v mmdebstrap >/dev/null 2>&1 || give_up "mmdebstrap is not installed"
# The mirror this machine uses itself, else Debian's.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep '/debian/*$' | head -n 1) || true
[ -n "$mirror" ] || mirror=http://deb.debian.org/debian
if [ "$(id -u)" = 0 ]; then
    mode=root
elif unshare --user --map-root-user true 2>/dev/null; then
    mode=unshare
else
    give_up "neither root nor user namespaces"
fi

work=$root.new
log=$root.log
# A leftover of a broken run.
rm -rf "$work" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$work" || give_up "cannot remove $work"
# An old version can have left sid: then without it.
for versions in "3.13 3.14 3.15" "3.14 3.15" "3.15 3.16"; do
    include=base-files,gdb-minimal
    for version in $versions; do
        include=$include,python$version-dbg,libpython$version-dev
    done
    echo "sid: unpacking Python $versions from $mirror" >&2
    # Release files of a mirror that stands still are past their date; signatures are still checked.
    if mmdebstrap --mode=$mode --variant=extract --aptopt='Acquire::Check-Valid-Until "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$include" sid "$work" "$mirror" >"$log" 2>&1 </dev/null; then
        # Static libraries and separate debug symbols are most of its size and nobody reads them; headers stay.
        trim='find "$1/usr/lib" -name "*.a" -type f -delete; rm -rf "$1/usr/lib/debug" "$1"/usr/lib/python3.*/test'
        if [ $mode = root ]; then
            sh -c "$trim" sh "$work"
        else
            unshare --map-auto --map-root-user sh -c "$trim" sh "$work" || true
        fi
        mv "$work" "$root"
        exit 0
    fi
    rm -rf "$work" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$work" || true
done
give_up "mmdebstrap failed: $(tail -n 1 "$log")"
