#!/bin/sh
# kill-agent.sh [N]: N agents (100) die by SIGKILL under load, and only connections are lost. GUESTD names the binary.
exec /usr/bin/python3 "$(dirname "$0")/kill_agent.py" "$@"
