"""Waiting for a condition, the only waiting these tests do."""

import os
import time

# Deadlines are for a hang, not for a speed: valgrind may take its time.
SLOWER = 10 if "valgrind" in os.environ.get("GUESTD_WRAPPER", "") else 3 if os.environ.get("GUESTD_SANITIZED") else 1


def until(condition, what, seconds=10):
    """Polls until `condition()` is true and returns it; an AssertionError that says `what` after the deadline."""
    deadline = time.monotonic() + seconds * SLOWER
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %s s: %s" % (seconds * SLOWER, what))
        time.sleep(0.005)
