#!/bin/sh
# Prints a Python that has the published SDK and pytest. The SDK needs Python 3.13: one is looked for on the PATH and
# among pyenv's, and gets an environment of its own, kept in the cache. Exit status 1, saying why, where there is none.
set -eu

version=0.3.0
cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}

candidates() {
    for name in python3.13 python3.14 python3.15 python3; do
        command -v "$name" || :
    done
    root=${PYENV_ROOT:-$(pyenv root 2>/dev/null || :)}
    [ -z "$root" ] || ls -d "$root"/versions/3.*/bin/python3 2>/dev/null || :
}

# A shim of pyenv's may be there for a version that isn't chosen: each is asked.
recent() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; }

python=
for candidate in $(candidates); do
    if recent "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo 'no Python 3.13 or later here' >&2
    exit 1
fi

home=$cache/sdk-$version-$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
works() { "$home/bin/python" -c 'import wrenn, pytest, pytest_timeout' 2>/dev/null; }
if ! works; then
    rm -rf "$home"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { "$python" -m venv "$home" && "$home/bin/python" -m pip install --disable-pip-version-check -q \
        "wrenn==$version" pytest pytest-timeout; } >"$log" 2>&1 || ! works; then
        tail -n 5 "$log" >&2
        rm -rf "$home"
        exit 1
    fi
fi
echo "$home/bin/python"
