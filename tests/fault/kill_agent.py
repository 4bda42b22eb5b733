#!/usr/bin/env python3
"""Kills the agent again and again while it works, and counts what that cost: connections, and nothing else.

    kill_agent.py [N]       N deaths (100); prints the waits for the next agent, exits 1 when they were too long

load.py is what it works at. SEED repeats a run's moments.
"""

import os
import pathlib
import random
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests/e2e"), str(HERE.parents[1] / "proto/python")]

import procs  # noqa: E402  (their imports need the path above)
from killer import Killer  # noqa: E402
from load import Load  # noqa: E402
from server import SANITIZED, Guestd  # noqa: E402
from until import SLOWER, until  # noqa: E402

BACK_S = 0.1      # until a new agent answers
RSS_ROOM = 2048   # KiB by which the supervisor may differ


def private_kib(pid):
    """What a process holds of its own: stores are files."""
    return int(procs.status(pid, "RssAnon")[0])


def drive(deaths, guestd, folder, moment=random.Random(0)):
    """All of it against a fresh guestd; returns the waits for the next agent, and what went on meanwhile."""
    waits, rss = [], []
    with Killer(guestd.address) as killer:
        killer.kill(guestd.agent())  # what is there from the second agent on only
        fds = len(procs.fds(guestd.pid))
        with Load(guestd, folder) as load:
            for _ in range(deaths):
                time.sleep(moment.uniform(0, 0.3))
                waits.append(killer.kill(guestd.agent()))
                rss.append(private_kib(guestd.pid))
                load.check()
    with guestd.connect() as client:
        assert client.info()["restarts"] == deaths + 1, "an agent died that nobody killed"
    until(lambda: not procs.zombies(guestd.pid), "no zombie is left")
    until(lambda: len(procs.fds(guestd.pid)) == fds, "the supervisor's fds are as before")
    tenth = max(1, deaths // 10)
    before, after = max(rss[:tenth]), max(rss[-tenth:])
    assert SANITIZED or after <= before + RSS_ROOM, "the supervisor grew from %d to %d KiB" % (before, after)
    return waits, "%s; the supervisor's %d fds the same, its memory %d and %d KiB" % (load.told, fds, before, after)


def main():
    deaths = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print("%d deaths, SEED=%d" % (deaths, seed), flush=True)
    guestd = Guestd()
    with tempfile.TemporaryDirectory(prefix="kill-agent-") as folder:
        try:
            waits, told = drive(deaths, guestd, pathlib.Path(folder), random.Random(seed))
        finally:
            guestd.stop()
    waits.sort()
    median, worst = waits[len(waits) // 2], waits[-1]
    print(told)
    print("until a new agent answers: median %.1f ms, worst %.1f ms" % (1e3 * median, 1e3 * worst))
    return median > BACK_S * SLOWER


if __name__ == "__main__":
    sys.exit(main())
