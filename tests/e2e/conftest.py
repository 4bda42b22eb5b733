"""Fixtures of the end to end tests: real guestds, and clients of them.

GUESTD and GUESTCTL name the binaries, GUESTD_WRAPPER runs guestd under something (valgrind), GUESTD_SANITIZED says that
it is an ASan+UBSan build: the same tests run against each.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "proto/python")]

import server  # noqa: E402  (its imports need the path above)
import spec_client  # noqa: E402
from guestctl import begin, ctl  # noqa: E402, F401  (fixtures)


def pytest_configure(config):
    config.addinivalue_line("markers", "valgrind: short and broad enough to be run under valgrind too")
    config.addinivalue_line("markers", "native: about what valgrind does in a program's place: its exec, fds, filter, memory")
    config.addinivalue_line("markers", "fallback: about what guestd does in two ways, one of them for older kernels")
    config.addinivalue_line("markers", "plain_only: about the agent's filter or its speed, which sanitizers change")


@pytest.fixture(scope="module")
def shared():
    guestd = server.Shared()
    yield guestd
    guestd.stop()


@pytest.fixture
def guestd(shared):
    """The module's guestd, looked over after each test."""
    yield shared
    shared.unharmed()


@pytest.fixture
def client(guestd):
    with guestd.connect() as client:
        yield client


@pytest.fixture
def spec(guestd):
    """A connection of the client that was written from the protocol's text alone."""
    with spec_client.Client(guestd.address) as client:
        client.hello()
        yield client


@pytest.fixture
def start():
    """start(*options, …) → a guestd of the test's own, stopped and looked over at its end."""
    running = []

    def run(*options, **more):
        running.append(server.Guestd(*options, **more))
        return running[-1]

    yield run
    for guestd in running:
        if guestd.folder.exists():
            guestd.stop()


@pytest.fixture
def folder():
    """A folder for the test's files: short (socket paths end at 107 bytes) and open to other users."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="files-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def own_mounts():
    """For tests whose guestd needs mounts of its own; they are skipped where the kernel grants none."""
    run = subprocess.run(["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"],
                         stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        pytest.skip("no mount namespace here: " + run.stderr.strip())


@pytest.fixture(scope="session")
def as_root():
    if os.getuid() != 0:
        pytest.skip("needs root")
