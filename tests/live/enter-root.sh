#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs a program in another root, in place: this process becomes the program, so its PID is the program's.
# The mounts live in a private namespace and go with it.
# usage: enter-root.sh ROOT BIND[:BIND...] USER PROGRAM [ARGS...]
#   each BIND is seen inside under its own path; USER is a number, or nothing for the one who calls
set -eu
if [ "${1-}" != --inside ]; then
    if [ "$(id -u)" = 0 ]; then
        exec unshare --mount --propagation private -- "$0" --inside "$@"
    fi
    exec unshare --user --map-auto --map-root-user --mount --propagation private -- "$0" --inside "$@"
fi
shift
root=$1
binds=$2
user=$3
shift 3
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
old_ifs=$IFS
IFS=:
for bind in $binds; do
    mkdir -p "$root$bind"
    mount --bind "$bind" "$root$bind"
done
IFS=$old_ifs
if [ -n "$user" ]; then
    exec chroot --userspec="$user:$user" --groups="$user" "$root" "$@"
fi
exec chroot "$root" "$@"
