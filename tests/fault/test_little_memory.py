"""An address space that ends: nothing is answered wrong, nobody dies of it, and it is over when there is memory again."""

import resource

import pytest

import kill_agent  # noqa: F401  (the path to the next)
import procs
import server
from guestproto import ConnectionLost, GuestError

PROGRAMS = 60
TEXT = "x" * 300000


@pytest.fixture
def guestd():
    guestd = server.Guestd(env={"GUESTD_NO_SECCOMP": None})
    yield guestd
    guestd.stop()


def limit(pid, more):
    """No address space but `more` bytes beyond what it has; None: as much as it likes."""
    most = resource.RLIM_INFINITY if more is None else (int(procs.status(pid, "VmSize")[0]) << 10) + more
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def outcomes(guestd):
    """Each of many programs at once: its whole output, or the code of its error."""
    found = set()
    try:
        with guestd.connect() as client:
            requests = [client.start("exec", cmd="/bin/sh", args=["-c", "printf %0300000d | tr 0 x"])
                        for _ in range(PROGRAMS)]
            for request in requests:
                try:
                    result = request.result(30 * kill_agent.SLOWER)
                    assert result["stdout"] == TEXT and not result["truncated"], "%d bytes" % len(result["stdout"])
                    found.add("ok")
                except GuestError as error:
                    found.add(error.code)
    except ConnectionLost:
        found.add("lost")
    return found


@pytest.mark.parametrize("role", ["agent", "supervisor"])
@pytest.mark.parametrize("more", [0, 1 << 20, 20 << 20, 60 << 20])
def test_it_refuses_and_goes_on(guestd, role, more):
    assert outcomes(guestd) == {"ok"}
    agent = guestd.agent()
    pid = agent if role == "agent" else guestd.pid
    limit(pid, more)
    for _ in range(3):
        assert outcomes(guestd) <= {"ok", "limit_exceeded", "lost"}
    limit(pid, None)
    assert outcomes(guestd) == {"ok"}
    assert guestd.agent() == agent and guestd.process.poll() is None
