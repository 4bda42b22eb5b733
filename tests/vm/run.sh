#!/bin/sh
# Boots microVMs with the release binary as their init and drives them over vsock (a plain build where the sources of the
# libraries can't be had). GUESTD_VM=BINARY takes that one instead.
set -u
cd "$(dirname "$0")/../.." || exit 1

sh image/needs.sh vm || { echo '0 passed, 0 failed, 1 skipped: what boots a machine can'\''t be had'; exit 0; }

if [ -z "${GUESTD_VM:-}" ]; then
    out=$(mktemp -d) || exit 1
    trap 'rm -rf "$out"' EXIT
    if sh image/needs.sh build && sh image/release.sh "$out"; then
        GUESTD=$out/guestd
    fi
else
    GUESTD=$GUESTD_VM
fi
export GUESTD
/usr/bin/python3 -m pytest -q -p no:cacheprovider tests/vm "$@"
