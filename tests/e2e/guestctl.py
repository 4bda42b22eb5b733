"""guestctl run by a test, and its fixtures `ctl` and `begin`."""

import os
import subprocess

import pytest

from server import TREE
from until import SLOWER

GUESTCTL = os.environ.get("GUESTCTL") or str(TREE / "build/proto/client/guestctl")


def environment(guestd):
    return {**os.environ, "GUESTCTL_CONNECT": guestd.address, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(guestd, *args, code=0, stdin=b"", **more):
    """Runs guestctl to its end; its exit code is checked."""
    done = subprocess.run([GUESTCTL, *map(os.fspath, args)], env=environment(guestd), input=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * SLOWER, **more)
    assert done.returncode == code, "%d: %s" % (done.returncode, done.stderr.decode())
    return done


@pytest.fixture
def ctl(guestd):
    return lambda *args, **more: run(guestd, *args, **more)


@pytest.fixture
def begin(request):
    """begin(*args) → a running guestctl, ended with the test. begin(*args, guestd=…): of a guestd of the test's own."""
    running = []

    def popen(*args, guestd=None, **more):
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("bufsize", 0)  # what one read leaves is there for the next, communicate's too
        guestd = guestd or request.getfixturevalue("guestd")
        running.append(subprocess.Popen([GUESTCTL, *map(os.fspath, args)], env=environment(guestd), **more))
        return running[-1]

    yield popen
    for process in running:
        with process:  # closes its pipes and waits
            process.kill()
