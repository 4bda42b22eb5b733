#!/bin/sh
# The benchmark of the README's table: sh tests/bench/run.sh [ROW…]
# Builds the release binary (or takes GUESTD=…) and the bench, then prints each row as a ratio to a bare C loop that does
# the same work beside it. Exit code 1 when a row misses its bound.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
[ -f "$build/build.ninja" ] || meson setup "$build" >/dev/null
ninja -C "$build" tests/bench/bench >/dev/null
if [ -z "${GUESTD:-}" ]; then
    sh image/release.sh "$build/release" >/dev/null
    GUESTD=$build/release/guestd
fi
exec "$build/tests/bench/bench" "$GUESTD" "$@"
