#!/usr/bin/env python3
"""Upgrades guestd again and again while it works, to a build of a higher version and back: connections are lost, and
nothing else.

    upgrade.py [--supervisor] [N]       N times (100) to the higher version; with --supervisor that executes it too

load.py is what it works at. SEED repeats a run's moments.
"""

import argparse
import os
import pathlib
import random
import sys
import tempfile
import time

import kill_agent
import procs
import upgrades
from load import Load
from server import GUESTD, SANITIZED, Guestd
from until import until


def versions(guestd):
    with guestd.connect() as client:
        info = client.info()
    return info["version"], info["supervisor_version"]


def drive(times, supervisor, guestd, folder, moment=random.Random(0)):
    """All of it against a fresh guestd; returns the spans from the order to the next one's answer, and what went on."""
    builds = [(upgrades.NEXT, upgrades.NEXT_VERSION), (GUESTD, versions(guestd)[0])]
    first = builds[1][1]
    for path, _ in builds:  # what is there from the second agent on only
        upgrades.upgrade(guestd, path, supervisor=supervisor)
    fds = len(procs.fds(guestd.pid))
    spans, rss = [], []
    with Load(guestd, folder) as load:
        for n in range(2 * times):
            path, version = builds[n % 2]
            time.sleep(moment.uniform(0, 0.3))
            began = time.monotonic()
            upgrades.upgrade(guestd, path, supervisor=supervisor)
            spans.append(time.monotonic() - began)
            assert versions(guestd) == (version, version if supervisor else first)
            rss.append(kill_agent.private_kib(guestd.pid))
            load.check()
    with guestd.connect() as client:
        info = client.info()
        assert (info["restarts"], info["reexecs"]) == (2 * times + 2, 2 * times + 2 if supervisor else 0)
    until(lambda: not procs.zombies(guestd.pid), "no zombie is left")
    until(lambda: len(procs.fds(guestd.pid)) == fds, "the supervisor's fds are as before")
    tenth = max(1, len(rss) // 10)
    before, after = max(rss[:tenth]), max(rss[-tenth:])
    assert SANITIZED or after <= before + kill_agent.RSS_ROOM, "it grew from %d to %d KiB" % (before, after)
    return spans, "%s; the supervisor's %d fds the same, its memory %d and %d KiB" % (load.told, fds, before, after)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("times", nargs="?", type=int, default=100, metavar="N")
    parser.add_argument("--supervisor", action="store_true")
    asked = parser.parse_args()
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print("%d upgrades%s, SEED=%d" % (asked.times, " of the supervisor too" if asked.supervisor else "", seed), flush=True)
    guestd = Guestd()
    with tempfile.TemporaryDirectory(prefix="upgrade-") as folder:
        try:
            spans, told = drive(asked.times, asked.supervisor, guestd, pathlib.Path(folder), random.Random(seed))
        finally:
            guestd.stop()
    spans.sort()
    print(told)
    print("nobody was lost; done after %d ms (median), %d ms (p99), %d ms (longest)" % tuple(
        spans[int(share * (len(spans) - 1))] * 1000 for share in (0.5, 0.99, 1)))


if __name__ == "__main__":
    sys.exit(main())
