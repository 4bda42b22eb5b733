#!/bin/sh
# binaries.sh: prints the folder of this tree's release binaries, guestd and guestctl; release.sh makes them when the
# sources have changed. RELEASE=FOLDER: those in there instead.
set -eu

if [ -n "${RELEASE:-}" ]; then
    realpath "$RELEASE"
    exit
fi
here=$(dirname "$(realpath "$0")")
cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}/release
mkdir -p "$cache"
cd "$here/.."
sources=$(find guestd proto meson.build meson_options.txt image/release.sh -type f ! -name '*.pyc' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c -16)
out=$cache/$sources

exec 9>"$cache/lock" && flock 9 # one makes them, the others find them made
if [ ! -x "$out/guestctl" ]; then
    find "$cache" -mindepth 1 -maxdepth 1 -type d -mmin +1440 -exec rm -rf {} +
    work=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    sh image/release.sh "$work/bin" >&2
    rm -rf "$out"
    mv "$work/bin" "$out"
fi
echo "$out"
