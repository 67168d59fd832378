#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# `make demo`: starts a small real service with a leak, looks into it with safepoint, ends it.
set -eu
cd "$(dirname "$0")/.."
safepoint=${SAFEPOINT:-build/safepoint}
shown=safepoint
python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3)

if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
else
    bold='' plain=''
fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
run() { # shows a command as one would type it, and runs it
    printf '%s$ %s' "$bold" "$shown"
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '%s\n' "$plain"
    "$safepoint" "$@"
}

directory=$(mktemp -d)
service=
finish() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    fi
    rm -rf "$directory"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

say "A small service, run by $($python --version). It prices baskets, and forgets nothing."
LIFE=120 $python examples/leaky_service.py "$directory/port" &
service=$!
waited=0
while [ ! -s "$directory/port" ]; do
    kill -0 "$service" || { echo "demo: the service did not start" >&2; exit 1; }
    waited=$((waited + 1))
    [ $waited -lt 300 ] || { echo "demo: the service is not ready after 30 s" >&2; exit 1; }
    sleep 0.1
done

say "What is it, and what is it doing? (Reads only: no code runs in it.)"
run info "$service"

say "Ask it something: an expression, evaluated at its safe point."
run exec "$service" -e 'len(__main__.SESSIONS)'

say "Run a script in it: examples/sessions.py. Output, exceptions and exit status come back here."
run exec "$service" examples/sessions.py

say "It goes on meanwhile. A second later:"
sleep 1
run exec "$service" -e 'len(__main__.SESSIONS)'

say "A script that fails harms nothing; its exception is yours (exit status 7)."
run exec "$service" -c 'import __main__; __main__.SESSIONS["no such session"]' || echo "exit status: $?"

say "What fills it? Statistics that it reports itself: Session and Basket stand out."
run stats "$service" >"$directory/stats" || { status=$?; cat "$directory/stats"; exit $status; }
head -n 30 "$directory/stats"
lines=$(wc -l <"$directory/stats")
[ "$lines" -le 30 ] || echo "... and $((lines - 30)) more lines"

say "End of the demo: the service is ended by its PID, $service; it is as well as ever."
kill -0 "$service" || { echo "demo: the service has died" >&2; exit 1; }
