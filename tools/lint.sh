#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The tree's own rules, the ones that need no compiler. Prints each breach as FILE:LINE: RULE; fails if there is one.
set -eu
cd "$(dirname "$0")/.."
echo "lint: the tree's rules"

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    files=$(git ls-files --cached --others --exclude-standard)
else
    files=$(find . -path ./build -prune -o -type f -print | sed 's|^\./||')
fi
existing=
for file in $files; do
    [ ! -f "$file" ] || existing="$existing $file"
done
files=$existing
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

pick() { # PATTERN: the files whose names match
    printf '%s\n' $files | grep -E "$1" || true
}

# 1. One-way dependencies; another room sees public headers only.
for file in $(pick '^(attach|runtime|inject|protocol|cli)/.*\.[chS]$'); do
    room=${file%%/*}
    case $room in
        attach) allowed=attach ;;
        runtime) allowed='runtime attach' ;;
        inject) allowed='inject runtime attach' ;;
        protocol) allowed=protocol ;;
        cli) allowed='cli inject runtime protocol attach' ;;
    esac
    awk -v file="$file" -v room="$room" -v allowed=" $allowed " '
        match($0, /^[ \t]*#[ \t]*include[ \t]*"[^"]*"/) {
            name = $0
            sub(/^[^"]*"/, "", name)
            sub(/".*/, "", name)
            if (name ~ /\.c$/) { print file ":" FNR ": includes a .c file"; next }
            if (name ~ /(^|\/)\.\.\//) { print file ":" FNR ": includes by ../, name it from the top"; next }
            if (name !~ /\//) next
            other = name
            sub(/\/.*/, "", other)
            if (other == room) next
            if (other !~ /^(attach|runtime|inject|protocol|cli)$/) next
            if (index(allowed, " " other " ") == 0 &&
                !(room == "protocol" && name ~ /^attach\/(error|memory|scope)\.h$/))
                print file ":" FNR ": " room "/ must not know " name
            else if (name ~ /(_internal|\/internal)\.h$/)
                print file ":" FNR ": " name " is private to " other "/"
        }' "$file" >>"$breaches"
done

# 2. A licence line on every source.
for file in $(pick '\.(c|h|S|py|sh)$|(^|/)Makefile$|^\.ci/run$'); do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-3.0-or-later' || [ ! -s "$file" ] ||
        echo "$file:1: no SPDX-License-Identifier line" >>"$breaches"
done

# 3. Trailing blanks, tabs for indentation in C, a missing newline at the end.
for file in $(pick '\.(c|h|S|py|sh|md|txt|1)$|(^|/)Makefile$|^\.ci/run$'); do
    awk -v file="$file" '/[ \t\r]$/ { print file ":" FNR ": trailing blank" }
        file ~ /\.[ch]$/ && /^\t/ { print file ":" FNR ": tab" }' "$file" >>"$breaches"
    [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file" | tr -d '\n')" ] || echo "$file: no newline at the end" >>"$breaches"
done

# 4. Every prototype in a public header has a comment before it. A block of prototypes with no blank line between them
#    shares the comment that opens the block; the closing half of a pair (_deinit, _destroy, _close) may go without.
for file in $(pick '^(attach|runtime|inject|protocol|cli)/.*\.h$' | grep -Ev '(_internal|/internal)\.h$' || true); do
    awk -v file="$file" '
        function flush_statement() { statement = "" }
        /^[ \t]*$/ { commented = 0; if (depth == 0) flush_statement(); next }
        in_comment { if (/\*\//) { in_comment = 0; commented = 1 } next }
        /^\/\*/ { if (!/\*\//) in_comment = 1; else commented = 1; next }
        /^\/\// { commented = 1; next }
        /^#/ { next }
        {
            if (depth == 0 && statement == "") start = FNR
            was = depth
            line = $0
            gsub(/\/\*.*\*\//, "", line)
            opened = gsub(/{/, "{", line)
            closed = gsub(/}/, "}", line)
            depth += opened - closed
            if (was == 0) statement = statement " " line
            if (depth == 0 && line ~ /[;}][ \t]*$/) {
                if (statement ~ /\(.*\).*;[ \t]*$/ && statement !~ /{/ && statement !~ /^[ ]*typedef/ && !commented &&
                    statement !~ /_(deinit|destroy|close)\(/)
                    print file ":" start ": a prototype without a comment"
                flush_statement()
            }
        }' "$file" >>"$breaches"
done

# 5. Header guards: SAFEPOINT_ROOM_NAME_H.
for file in $(pick '^(attach|runtime|inject|protocol|cli)/.*\.h$'); do
    guard=SAFEPOINT_$(printf '%s' "${file%.h}" | tr 'a-z/-' 'A-Z__')_H
    grep -q "^#ifndef $guard\$" "$file" || echo "$file:1: the guard should be $guard" >>"$breaches"
done

# 6. Nobody's machine: no home directories, no private addresses, no hosts but Debian's and where documents live.
for file in $(pick '.' | grep -v '^tools/lint\.sh$'); do
    grep -nIE '(^|[^A-Za-z0-9_%}/.])(/home/[a-z]|/Users/|/root/|/work/|/opt/[a-z])' "$file" | grep -v 'lint: path' |
        sed "s|^\([0-9]*\):.*|$file:\1: a path of one machine|" >>"$breaches" || true
    grep -nIoE 'https?://[A-Za-z0-9.-]+' "$file" |
        grep -vE '://(deb\.debian\.org|([a-z]+\.)?python\.org|peps\.python\.org|docs\.python\.org|www\.gnu\.org|github\.com|man7\.org|127\.0\.0\.1|localhost|json-schema\.org|example\.(org|com))$' |
        sed "s|^\([0-9]*\):\(.*\)|$file:\1: a host name: \2|" >>"$breaches" || true
done

# 7. Lower rooms neither print nor exit; only cli/ does.
for file in $(pick '^(attach|runtime|inject|protocol)/.*\.c$'); do
    grep -nE '(^|[^a-z_A-Z.>])(printf|vprintf|puts|putchar|perror|exit|_exit|abort) *\(|(stdout|stderr)[,)]' "$file" |
        grep -vE '^[0-9]+: *(\*|/\*|//)|".*(exit|abort).*"|/\* lint: a child.s end \*/' |
        sed "s|^\([0-9]*\):.*|$file:\1: only cli/ prints and exits|" >>"$breaches" || true
done

# 8. Python, shell: they parse.
for file in $(pick '\.sh$|^\.ci/run$'); do
    case $(head -n 1 "$file") in
        *bash*) bash -n "$file" || echo "$file: does not parse" >>"$breaches" ;;
        *) sh -n "$file" || echo "$file: does not parse" >>"$breaches" ;;
    esac
done
python=/usr/bin/python3
[ -x $python ] || python=python3
for file in $(pick '\.py$'); do
    $python -c 'import sys; compile(open(sys.argv[1], "rb").read(), sys.argv[1], "exec")' "$file" ||
        echo "$file: does not parse" >>"$breaches"
done

if [ -s "$breaches" ]; then
    cat "$breaches" >&2
    echo "lint: $(wc -l <"$breaches") breaches" >&2
    exit 1
fi
