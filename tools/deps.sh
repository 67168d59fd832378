#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Looks which Debian packages are missing for a purpose, names them, and installs them as root or by sudo.
# usage: deps.sh [--check] PURPOSE...    (build, demo, check, oracle, lint, bench)
# Fast when nothing is missing: one dpkg-query. Where there is no dpkg, it says so and leaves the rest to the compiler.
set -eu

build="gcc libc6-dev make pkg-config libelf-dev libdw-dev libreadline-dev libsmartcols-dev libzstd-dev libxxhash-dev"
demo="python3"
check="libcmocka-dev python3 python3-pytest python3-pexpect python3-pytest-xdist python3-pytest-timeout uwsgi-core uwsgi-plugin-python3 mmdebstrap util-linux debian-archive-keyring python3-dev"
# mmdebstrap without root needs newuidmap.
[ "$(id -u)" = 0 ] || check="$check uidmap"
lint="clang libclang-rt-dev clang-format cppcheck"
case $(uname -m) in
    x86_64) lint="$lint gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
esac
oracle="python3-pip"
bench="python3-venv mmdebstrap"

only_check=no
if [ "${1-}" = --check ]; then
    only_check=yes
    shift
fi
wanted=
for purpose in "$@"; do
    case $purpose in
        build) wanted="$wanted $build" ;;
        demo) wanted="$wanted $demo" ;;
        check) wanted="$wanted $check" ;;
        lint) wanted="$wanted $lint" ;;
        oracle) wanted="$wanted $oracle" ;;
        bench) wanted="$wanted $bench" ;;
        *) echo "deps.sh: unknown purpose: $purpose" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "deps: this is no Debian system; needed are (by Debian's names):$wanted" >&2
    exit 0
fi

# A package counts as there when it, or one that provides it (pkgconf for pkg-config), is installed.
installed=$(dpkg-query -W -f '${db:Status-Abbrev}|${Package}, ${Provides}\n' | sed -n 's/^ii *|//p' | tr ',' '\n' |
    sed 's/([^)]*)//; s/ //g' | sort -u)
missing=
for package in $wanted; do
    printf '%s\n' "$installed" | grep -qx -- "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "deps: missing packages:$missing" >&2
if [ $only_check = yes ]; then
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
else
    echo "deps: cannot install them without root or sudo. As root, run:" >&2
    echo "    apt-get update && apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "deps: installing them with ${as_root:+$as_root }apt-get" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1
}
# The package lists can be old or absent: update first, and go on with what there is if that fails for some source.
apt update || { echo "deps: apt-get update complained:" >&2; tail -n 5 "$log" >&2; }
# shellcheck disable=SC2086
if ! apt install -y --no-install-recommends $missing; then
    cat "$log" >&2
    echo "deps: could not install:$missing" >&2
    exit 1
fi
