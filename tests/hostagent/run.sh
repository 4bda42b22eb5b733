#!/bin/sh
# The host agent, by those who use it: the pages' own curl commands, and the published SDK. The last line adds both up.
# Options are pytest's.
#
#   HOSTAGENT_CAPSULES="container vm"   which kinds of capsules
#   SHARED=DIR                          DIR/api has the pages
set -u
cd "$(dirname "$0")/../.." || exit 1

if ! sh image/needs.sh hostagent; then
    echo '0 passed, 0 failed, 1 skipped: what the host agent is made of can'\''t be had'
    exit 0
fi
sh image/needs.sh vm && sh image/backend.sh >/dev/null || HOSTAGENT_NO_VM='what boots a machine cannot be had'
export HOSTAGENT_NO_VM="${HOSTAGENT_NO_VM:-}" PYTHONDONTWRITEBYTECODE=1

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0 chosen=$*

count() { # WORD: the number before it in pytest's closing line
    tail -n 1 "$log" | grep -oE "[0-9]+ $1" | cut -d' ' -f1
}

run() { # PYTHON TESTS…: runs them with what they print shown, and adds up
    python=$1
    shift
    { "$python" -m pytest -q -rs -p no:cacheprovider --timeout 180 "$@" 2>&1; echo $? >"$log.status"; } | tee "$log"
    status=$(cat "$log.status")
    rm "$log.status"
    p=$(count passed) f=$(count failed) s=$(count skipped) e=$(count 'errors?')
    f=$((${f:-0} + ${e:-0}))
    # It ended badly without a failed test, or ran nothing that it wasn't told to leave out: a failure of its own.
    if [ "$status" = 5 ] && [ -n "$chosen" ]; then
        return
    elif [ "$status" != 0 ] && [ "$f" = 0 ] || [ $((${p:-0} + f + ${s:-0})) = 0 ]; then
        f=$((f + 1))
    fi
    passed=$((passed + ${p:-0})) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
}

run /usr/bin/python3 tests/hostagent --ignore-glob='*/test_sdk*' "$@"
if sdk_python=$(sh tests/hostagent/sdk.sh); then
    run "$sdk_python" tests/hostagent/test_sdk*.py "$@"
else
    echo 'SKIPPED: the published SDK needs Python 3.13 or later, and its packages'
    skipped=$((skipped + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
