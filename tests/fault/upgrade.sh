#!/bin/sh
# upgrade.sh [--supervisor] [N]: N upgrades (100) to a build of a higher version under load, and back in between; with
# --supervisor that executes it too. Only connections are lost. GUESTD names the binary.
exec /usr/bin/python3 "$(dirname "$0")/upgrade.py" "$@"
