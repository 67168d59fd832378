#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Turns inject/agent/NAME.py into a C file: the text as bytes, ended by NUL, and its size without the NUL.
# usage: embed.sh NAME FILE > NAME.c
set -eu
printf '/* Made by tools/embed.sh from %s. */\n' "$2"
printf 'extern const char agent_%s_source[];\nextern const unsigned agent_%s_size;\n' "$1" "$1"
printf 'const char agent_%s_source[] = {\n' "$1"
# Comments and blank lines stay here: the target compiles the rest at each request.
awk '!/^[ \t]*(#|$)/' "$2" | od -An -v -td1 | awk '{ for (i = 1; i <= NF; i++) printf "%s,", $i; print "" }'
printf '0};\nconst unsigned agent_%s_size = sizeof(agent_%s_source) - 1;\n' "$1" "$1"
