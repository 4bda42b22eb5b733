#!/bin/sh
# clang-tidy over every C file of guestd/ and proto/; a command of its own because it takes minutes.
#
#   sh tests/lint/tidy.sh [BUILD]     BUILD: a configured meson build, ./build unless given
#
# Left out: the C11 Annex K functions that no libc has (insecureAPI), two checks that say the same of every reference
# count and every va_list, and what is a matter of taste (narrowing to char, branches that look alike).
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-build}
[ -f "$build/compile_commands.json" ] || { echo "no build in $build: meson setup $build" >&2; exit 2; }
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed" >&2; exit 2; }

checks='-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*,-clang-analyzer-valist.*,-clang-analyzer-unix.Malloc
bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-assignment-in-if-condition
-bugprone-narrowing-conversions,-bugprone-branch-clone,-bugprone-implicit-widening-of-multiplication-result
-bugprone-suspicious-string-compare,-bugprone-sizeof-expression'
git ls-files 'guestd/*.c' 'proto/*.c' |
    xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet --warnings-as-errors='*' \
        --checks="$(echo "$checks" | tr '\n' ',')" 2>/dev/null
