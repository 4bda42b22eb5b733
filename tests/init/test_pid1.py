"""guestd as PID 1 of fresh namespaces: it reaps what is nobody's, keeps its agent, and ends when and how it should.

The same binary as in the end to end tests: GUESTD names it.
"""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "proto/python"), str(TREE / "tests/e2e")]

import procs  # noqa: E402
import upgrades  # noqa: E402
from guestproto import GuestError, PermissionDenied, connect  # noqa: E402
from until import SLOWER, until  # noqa: E402

GUESTD = os.environ.get("GUESTD") or str(TREE / "build/guestd/guestd")
NAMESPACES = ["--mount", "--pid", "--net", "--ipc", "--uts", "--propagation", "private"]


def unshare(*command, namespaces=(*NAMESPACES, "--mount-proc"), **more):
    return subprocess.Popen(["unshare", *namespaces, "--fork", "--kill-child", *command], **more)


OF_A_USER = ("--user", "--map-root-user", *NAMESPACES, "--mount-proc")


def refusal(**options):
    """What unshare says where the kernel gives no such namespaces; None where it does."""
    probe = unshare("true", stderr=subprocess.PIPE, text=True, **options)
    said = probe.communicate()[1]
    return said.strip() if probe.returncode != 0 else None


@pytest.fixture(scope="session", autouse=True)
def allowed():
    said = refusal()
    if said:
        pytest.skip("no namespaces here: " + said)


class Capsule:
    """guestd as PID 1; `pid` is its number outside."""

    def __init__(self, folder, *options, program=(), namespaces=(*NAMESPACES, "--mount-proc"), env=None):
        self.socket = folder / "s"
        self.address = "unix:%s" % self.socket
        tail = ["--", *program] if program else []
        self.process = unshare(GUESTD, "--listen", self.address, *options, *tail, namespaces=namespaces,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, **(env or {})})
        self.pid = until(self._inner, "unshare has started guestd")
        self.client = until(self._connect, "guestd answers", 20)

    def _inner(self):
        assert self.process.poll() is None, self.process.stderr.read().decode()
        return next(iter(procs.children(self.process.pid)), None)

    def _connect(self):
        assert self.process.poll() is None, self.process.stderr.read().decode()
        try:
            return connect(self.address, timeout=20 * SLOWER)
        except OSError:
            return None

    def run(self, script, **params):
        return self.client.call("exec", cmd="sh", args=["-c", script], **params)

    def agent(self):
        same = [pid for pid in procs.children(self.pid) if procs.exe(pid) == procs.exe(self.pid)]
        return same[0] if same else None

    def end(self):
        """After its end: the exit code."""
        code = self.process.wait(20 * SLOWER)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        return code


@pytest.fixture
def capsule(tmp_path):
    running = []

    def start(*options, **more):
        running.append(Capsule(tmp_path, *options, **more))
        return running[-1]

    yield start
    for capsule in running:
        if capsule.process.poll() is None:
            os.kill(capsule.pid, signal.SIGTERM)  # in order: a PID 1 that is killed leaves its cgroups behind
            try:
                assert capsule.end() == 0
            finally:
                capsule.process.kill()  # and with it, by --kill-child, PID 1


def test_it_is_pid_1(capsule):
    inside = capsule()
    assert inside.client.call("info")["pid1"] is True
    done = inside.run("echo $PPID; readlink /proc/1/exe")
    assert done["stdout"].splitlines() == ["1", os.path.realpath(GUESTD)]


def test_orphans_are_reaped(capsule):
    """Hundreds of zombies, or a reaper that steals a status: here every orphan goes and every status is right."""
    inside = capsule()
    before = inside.client.call("info")["metrics"]["reaped_orphans"]
    for code in range(20):
        done = inside.run("for i in 1 2 3 4 5; do (sh -c 'sleep 0.0$0; exit 9' $i &) ; done; exit %d" % code)
        assert done["exit_code"] == code
    until(lambda: not procs.zombies(inside.pid) and len(procs.children(inside.pid)) == 1, "only the agent is left")
    # A new number comes with a new agent.
    os.kill(inside.agent(), signal.SIGKILL)
    with until(inside._connect, "the next agent answers") as client:
        assert client.call("info")["metrics"]["reaped_orphans"] - before >= 100


def test_orphan_storm(capsule):
    inside = capsule()
    done = inside.run("i=0; while [ $i -lt 1000 ]; do (setsid sleep 0.3 >/dev/null 2>&1 &) ; i=$((i+1)); done; exit 7", timeout=60)
    assert done["exit_code"] == 7
    until(lambda: len(procs.children(inside.pid)) == 1, "all of them are reaped", 30)


@pytest.mark.parametrize("first", range(0, 256, 64))
def test_exit_codes_of_program(first, tmp_path):
    for code in range(first, first + 64):
        process = unshare(GUESTD, "--listen", "unix:%s/s" % tmp_path, "--", "sh", "-c", "exit %d" % code)
        assert process.wait(20 * SLOWER) == code


@pytest.mark.parametrize("name", ["HUP", "KILL", "SEGV", "USR1"])
def test_program_that_dies_of_a_signal(name, tmp_path):
    process = unshare(GUESTD, "--listen", "unix:%s/s" % tmp_path, "--", "sh", "-c", "kill -%s $$" % name)
    assert process.wait(20 * SLOWER) == 128 + getattr(signal, "SIG" + name)


def test_program_has_the_stdio(capsule):
    inside = capsule(program=["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"])
    record = inside.client.call("process.get", tag="main")
    assert record["state"] == "running" and record["cmd"] == "sh" and record["args"][0] == "-c"
    inside.process.stdin.write(b"a line\n")
    inside.process.stdin.flush()
    assert inside.process.stdout.read() == b"got a line\n"
    assert inside.process.stderr.read() == b"bad\n"
    assert inside.end() == 3


def test_sigterm_is_an_orderly_end(capsule):
    inside = capsule("--grace", "0.5")
    polite = inside.client.call("exec", cmd="sh", args=["-c", "trap 'exit 5' TERM; while :; do sleep 0.01; done"], background=True)
    inside.client.call("exec", cmd="sh", args=["-c", "trap '' TERM; while :; do sleep 1; done"], background=True)
    assert polite["pid"] > 1
    below = procs.children(inside.pid)
    os.kill(inside.pid, signal.SIGTERM)
    assert inside.end() == 0
    assert not inside.socket.exists()
    assert not [pid for pid in below if procs.alive(pid)]


def test_power_is_the_machine_s(capsule):
    """Only the machine's own init may switch it off: reboot(2) is asked for in the initial namespace alone."""
    inside = capsule()
    for mode in ("poweroff", "reboot"):
        with pytest.raises(PermissionDenied):
            inside.client.call("shutdown", mode=mode)
    inside.client.call("shutdown", mode="exit", grace=1)
    assert inside.end() == 0


def test_the_agent_comes_back(capsule):
    inside = capsule()
    job = inside.client.call("exec", cmd="sh", args=["-c", "echo before; sleep 1; echo after"], background=True, tag="lasting")
    agent = until(inside.agent, "there is an agent")
    os.kill(agent, signal.SIGKILL)
    with until(inside._connect, "the next agent answers") as client:
        done = client.call("process.wait", tag="lasting", output=True)
        assert done["pid"] == job["pid"] and done["exit_code"] == 0
        assert done["stdout"] == "before\nafter\n"


@pytest.mark.parametrize("env", [{}, {"GUESTD_NO_CGROUP": "1"}])
def test_without_a_proc_of_its_own(capsule, env):
    """`unshare --pid` without --mount-proc: /proc shows other numbers than getpid; trees are killed all the same."""
    inside = capsule(namespaces=NAMESPACES, env=env)
    done = inside.run("(setsid sleep 60 &); setsid sleep 60 & sleep 60", timeout=0.3, kill_grace=0.2)
    assert done["reason"] == "timed_out"
    assert done["killed_descendants"] >= 2 and done["descendants"] == 0
    until(lambda: len(procs.children(inside.pid)) == 1, "nobody but the agent is left")


@pytest.mark.parametrize("namespaces", [(*NAMESPACES, "--mount-proc"), NAMESPACES, OF_A_USER],
                         ids=["plain", "other-proc", "user"])
def test_it_executes_another_guestd_as_pid_1(capsule, tmp_path, namespaces):
    if namespaces == OF_A_USER and refusal(namespaces=OF_A_USER):
        pytest.skip("no user namespaces here (a chroot gets none): " + refusal(namespaces=OF_A_USER))
    inside = capsule(program=["sh", "-c", "until [ -e %s/go ]; do sleep 0.01; done; exit 42" % tmp_path],
                     namespaces=namespaces)
    left = inside.run("(setsid sleep 0.5 &); setsid sleep 60 >/dev/null 2>&1 & exit 3")
    assert left["exit_code"] == 3
    lasting = inside.client.call("exec", cmd="sh", args=["-c", "echo before; read line; echo $line"], background=True,
                                 stdin_open=True)
    told = inside.client.upgrade(str(upgrades.NEXT), upgrades.digest(upgrades.NEXT), supervisor=True)
    assert told["state"] == "done"
    info = inside.client.info()
    assert (info["supervisor_version"], info["reexecs"], info["pid1"]) == (upgrades.NEXT_VERSION, 1, True)
    inside.client.call("process.input", pid=lasting["pid"], data=b"after\n")
    done = inside.client.call("process.wait", pid=lasting["pid"], output=True)
    assert (done["stdout"], done["exit_code"]) == ("before\nafter\n", 0)
    assert inside.run("(setsid sleep 60 &); sleep 60", timeout=0.3, kill_grace=0.2)["descendants"] == 0
    until(lambda: not procs.zombies(inside.pid), "orphans are reaped")
    (tmp_path / "go").touch()
    assert inside.end() == 42
    assert not inside.socket.exists()


def test_in_a_user_namespace(capsule):
    """Root that isn't: what it may not do is an error, nothing worse."""
    if refusal(namespaces=OF_A_USER):
        pytest.skip("no user namespaces here (a chroot gets none): " + refusal(namespaces=OF_A_USER))
    inside = capsule(namespaces=OF_A_USER)
    assert inside.run("id -u")["stdout"] == "0\n"
    with pytest.raises(GuestError):
        inside.run("true", user="daemon")
    assert inside.run("(setsid sleep 60 &); sleep 60", timeout=0.3, kill_grace=0.2)["descendants"] == 0


def test_options_that_are_wrong(tmp_path):
    for options in (["--nonsense"], ["--grace", "soon"], ["--connections", "0"], ["--listen", "nowhere"],
                    ["--log-level", "loud"], ["--allow-cid", "-1"]):
        process = unshare(GUESTD, *options, stderr=subprocess.PIPE, text=True)
        said = process.communicate(timeout=20 * SLOWER)[1]
        assert process.returncode == 2, options
        assert options[0].lstrip("-") in said
    tcp = unshare(GUESTD, "--listen", "tcp:127.0.0.1:7001", stderr=subprocess.PIPE, text=True)
    assert "--token-file" in tcp.communicate(timeout=20 * SLOWER)[1]
    assert tcp.returncode == 1
