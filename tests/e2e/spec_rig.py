"""What the test_spec_*.py share: guestds, connections, folders, and what PROTOCOL.md says the answers look like.

These tests ask a real guestd for what PROTOCOL.md promises, through a client that was written from that text alone
(spec_client.py). GUESTD in the environment is the guestd to test, the tree's build/ unless set. § are sections of PROTOCOL.md.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

import spec_client as sc
from until import until

RESULT = dict(exit_code=int, duration_ms=int, pid=int, tag=str, reason=str, core_dumped=bool, stdout_bytes=int,
              stderr_bytes=int, truncated=bool, pipes_open=bool, descendants=int, killed_descendants=int,
              cpu_user_ms=int, cpu_sys_ms=int, max_rss_kb=int)
RECORD = dict(pid=int, tag=str, cmd=str, args=list, cwd=str, user=str, background=bool, pty=bool, state=str,
              started_at=float)
ENTRY = dict(name=str, path=str, type=str, size=int, mode=int, permissions=str, owner=str, group=str, modified_at=int)
NOBODY = 65534


class Guestd:
    """A guestd that listens at a Unix socket in a folder of its own."""

    def __init__(self, *options, listen=None, env=None, ends=False, **more):
        binary = os.environ.get("GUESTD") or str(pathlib.Path(__file__).resolve().parents[2] / "build/guestd/guestd")
        self.folder = tempfile.mkdtemp(prefix="spec-")
        self.path = self.folder + "/s"
        self.address = listen or "unix:" + self.path
        with open(self.folder + "/log", "wb") as log:
            self.process = subprocess.Popen([binary, "--listen", self.address, *map(str, options)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})}, **more)
        if not ends and not self.address.startswith("fd:"):
            eventually(self.accepts)

    def accepts(self):
        assert self.process.poll() is None, pathlib.Path(self.folder, "log").read_text()
        with contextlib.suppress(OSError):
            sc.connect(self.address).close()
            return True

    def connect(self, **more):
        return sc.Client(self.address, **more)

    @contextlib.contextmanager
    def client(self, **hello):
        with self.connect(max_frame=hello.get("max_frame", 8 << 20)) as c:
            c.hello(**hello)
            yield c

    def stop(self):
        """Ends it, if it hasn't ended, and returns its exit code."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def spec_guestd():
    g = Guestd(env={"GUESTD_SPEC": "hidden", "SPEC_SEEN": "seen"})
    try:
        yield g
    finally:
        code = g.stop()
    assert code == 0


@pytest.fixture
def spec_start():
    """Starts guestds with other options; each ends with 0 unless the test ended it."""
    started = []

    def start(*options, **more):
        started.append(Guestd(*options, **more))
        return started[-1]
    yield start
    codes = [(g.process.poll() is None, g.stop()) for g in started]
    assert [code for alive, code in codes if alive and code] == []


@pytest.fixture
def spec_conn(spec_guestd):
    with spec_guestd.client() as c:
        yield c


@pytest.fixture
def spec_dir():
    """A folder that every user may enter."""
    folder = tempfile.mkdtemp(prefix="spec-")
    os.chmod(folder, 0o755)
    yield pathlib.Path(folder)
    shutil.rmtree(folder)


def eventually(condition):
    return until(condition, "what the test waits for came about", 20)


def error(c, method, within=30, **params):
    with pytest.raises(sc.AgentError) as e:
        c.call(method, within=within, **params)
    assert e.value.message, "an error without a message"
    return e.value


def flaw(c, method, **params):
    e = error(c, method, **params)
    return e.code, e.field


def lost(c, within=15):
    """How a connection ends: the code of protocol.error, which is its last frame, or None."""
    deadline, codes = time.monotonic() + within, []
    for _ in range(2):
        with pytest.raises(sc.Lost) as e:
            while True:
                c.step(deadline)
        codes.append(e.value.code)
    assert codes[1] is None, f"after the protocol.error {codes[0]} there was another one: {codes[1]}"
    return codes[0]


def has(result, types):
    """The result has these keys, of these types."""
    wrong = {key: result.get(key) for key, kind in types.items() if key not in result or type(result[key]) is not kind}
    assert not wrong, f"missing or of another type: {wrong} in {result}"


def sh(script, **params):
    return dict(cmd="sh", args=["-c", script], **params)


@contextlib.contextmanager
def background(c, **params):
    """A background process that is gone after the block."""
    made = c.call("exec", **{"background": True, **params})
    try:
        yield made
    finally:
        with contextlib.suppress(sc.AgentError):
            c.call("process.kill", pid=made["pid"])


def running(c):
    """The tags of the running processes, in the order of their starts."""
    return [r["tag"] for r in c.call("process.list")["processes"]]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
