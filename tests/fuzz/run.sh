#!/bin/sh
# Builds the fuzzers outside of the source and lets each run for SECONDS, the golden frames as its corpus.
#
#     tests/fuzz/run.sh SECONDS [NAME…]      BUILD=dir keeps the build and what was found there
set -eu

[ $# -ge 1 ] || { echo "usage: $0 SECONDS [frame|message|fields]…" >&2; exit 2; }
seconds=$1
shift
source=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-}
if [ -z "$build" ]; then
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
fi

if [ ! -f "$build/build.ninja" ]; then
    CC=clang meson setup "$build" "$source" -Dfuzz=true >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
    rm -f "$build.log"
fi
[ $# -ge 1 ] || set -- frame message fields
for name; do
    ninja -C "$build" "tests/fuzz/fuzz_$name" >"$build/fuzz.log" || { cat "$build/fuzz.log"; exit 1; }
    form=body
    [ "$name" != frame ] || form=frame
    python3 "$source/tests/fuzz/corpus.py" "$form" "$source/proto/vectors" "$build/corpus-$name"
    echo "fuzz_$name: $seconds s"
    if ! "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=1024 \
        -dict="$source/tests/fuzz/protocol.dict" -artifact_prefix="$build/$name-" -print_final_stats=1 \
        "$build/corpus-$name" >"$build/$name.log" 2>&1; then
        tail -n 60 "$build/$name.log"
        # What was found must outlive the folder it was found in.
        for found in "$build/$name"-crash-* "$build/$name"-oom-* "$build/$name"-timeout-* "$build/$name"-leak-*; do
            [ ! -f "$found" ] || { echo "$(basename "$found"):"; od -An -tx1 "$found"; }
        done
        exit 1
    fi
    grep -E 'number_of_executed_units|Done' "$build/$name.log"
done
