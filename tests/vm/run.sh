#!/bin/sh
# Boots microVMs with the release binary as their init and drives them over vsock (a plain build where the sources of the
# libraries can't be had). GUESTD_VM=BINARY takes that one instead.
set -u
cd "$(dirname "$0")/../.." || exit 1

sh image/needs.sh vm || { echo '0 passed, 0 failed, 1 skipped: what boots a machine can'\''t be had'; exit 0; }

if [ -z "${GUESTD_VM:-}" ]; then
    out=$(mktemp -d) || exit 1
    trap 'rm -rf "$out"' EXIT
    sh image/needs.sh build && sh image/release.sh "$out"
    case $? in
    0) ;;
    3) cp "${GUESTD:-build/guestd/guestd}" "${GUESTCTL:-build/proto/client/guestctl}" "$out" || exit 1 ;;
    *) echo '0 passed, 1 failed, 0 skipped: no release binary'; exit 1 ;;
    esac
    GUESTD=$out/guestd
else
    GUESTD=$GUESTD_VM
fi
export GUESTD
/usr/bin/python3 -m pytest -q -rs -p no:cacheprovider --timeout 180 tests/vm "$@"
