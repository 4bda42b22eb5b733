"""Limits that need a cgroup's controllers: held for one program, told truthfully, and felt by nobody else. Meanwhile the
host pings all along, and is answered within the bound that hello tells."""

import os
import pathlib
import threading
import time

import pytest
from test_vm import sh
from until import until

MIB = 1 << 20


def queued(pids):
    """How long each thread of these processes has waited for a processor of the host so far, in ns."""
    waits = {}
    for pid in pids:
        for file in pathlib.Path("/proc/%d/task" % pid).glob("*/schedstat"):
            try:
                waits[file] = int(file.read_text().split()[1])
            except OSError:
                pass  # it has ended meanwhile
    return waits


class Pinger(threading.Thread):
    """Pings on a connection of its own. A host that is short of processors makes the machine stand still: how long it did
    is taken off."""

    def __init__(self, capsule):
        super().__init__(daemon=True)
        self.client = capsule.connect()
        self.pids = [os.getpid(), *(process.pid for process in capsule.processes)]
        self.over = threading.Event()
        self.slowest, self.count, self.failure = 0, 0, None

    def once(self):
        before, begun = queued(self.pids), time.monotonic()
        self.client.ping()
        took = time.monotonic() - begun
        after = queued(self.pids)
        stood = sum(after[thread] - wait for thread, wait in before.items() if thread in after)
        self.slowest = max(self.slowest, 1000 * took - stood / 1e6)
        self.count += 1

    def run(self):
        try:
            while not self.over.is_set():
                self.once()
        except BaseException as failure:
            self.failure = failure

    def check(self):
        self.over.set()
        self.join()
        bound = self.client.hello()["limits"]["ping_ms"]
        self.client.close()
        if self.failure:
            raise self.failure
        assert self.count > 0
        assert self.slowest <= bound, "of %d pings the slowest took %.1f ms" % (self.count, self.slowest)


@pytest.fixture
def pinged(capsule):
    pinger = Pinger(capsule)
    pinger.start()
    yield
    with capsule.connect() as client:
        for process in client.commands.list():
            process.kill()
    pinger.check()


pytestmark = pytest.mark.usefixtures("pinged")


def group_of(client, process):
    [group] = [line[3:] for line in sh(client, "cat /proc/%d/cgroup" % process.pid).splitlines() if line.startswith("0::")]
    return "/sys/fs/cgroup" + group


def number(client, folder, file, name=""):
    """The number in one of a group's files, or that behind `name`."""
    for line in client.files.read("%s/%s" % (folder, file)).decode().splitlines():
        words = line.split()
        if words[:-1] == name.split():
            return int(words[-1])


def eat(client, **params):
    """busybox's tail holds a line until it ends: this one never does."""
    return client.commands.run("tail", ["/dev/zero"], timeout=60, **params)


class TestMemory:
    def test_who_takes_too_much_is_killed_and_told_why(self, client):
        result = eat(client, limits={"memory_max": 16 * MIB})
        assert (result.reason, result.oom_killed, result.exit_code, result.signal) == ("oom_killed", True, 137, "SIGKILL")
        assert 8 * 1024 < result.max_rss_kb <= 20 * 1024

    def test_the_next_ones_are_not_blamed_for_it(self, client):
        eat(client, limits={"memory_max": 16 * MIB})
        for _ in range(10):  # groups are used again
            result = client.commands.run("kill -9 $$")
            assert (result.reason, result.oom_killed) == ("signaled", False)
            result = client.commands.run("cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max")
            assert (result.stdout, result.reason, result.oom_killed) == ("max\n", "exited", False)

    def test_it_holds_for_the_whole_tree(self, client):
        """Each takes less than the bound, all together more; the leader itself takes nearly nothing."""
        one = "head -c 4000000 /dev/zero | tail -c 4000000 | sleep 600"  # tail has them all, and nobody takes them
        process = client.commands.run('for i in 1 2 3 4 5 6 7 8; do setsid sh -c "$ONE" & done; sleep 600',
                                      background=True, envs={"ONE": one}, limits={"memory_max": 20 * MIB})
        folder = group_of(client, process)
        until(lambda: number(client, folder, "memory.events", "oom_kill") > 0, "one of them is killed", 60)
        assert process.get().state == "running"
        process.kill()
        result = process.wait(30)
        assert (result.reason, result.oom_killed, result.descendants) == ("killed", True, 0)

    def test_what_fits_is_left_alone(self, client):
        result = client.commands.run("head -c 8000000 /dev/zero | tail -c 8000000 | wc -c", limits={"memory_max": 64 * MIB})
        assert (result.stdout.strip(), result.exit_code, result.oom_killed) == ("8000000", 0, False)

    def test_an_attached_reader_and_a_late_waiter_are_told_too(self, client):
        process = client.commands.run("echo eats; exec tail /dev/zero", background=True, limits={"memory_max": 16 * MIB})
        assert process.attach().result(60).oom_killed is True
        result = process.wait(10, output=True)
        assert (result.stdout, result.reason, result.oom_killed) == ("eats\n", "oom_killed", True)


BOMB = "bomb() { bomb | bomb & }; bomb; read nothing"  # who reads needs no fork


def bombs(client):
    return int(sh(client, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'bom[b]()' | wc -l"))


class TestPids:
    def test_a_fork_bomb_is_held_and_ended(self, client):
        process = client.commands.run(BOMB, background=True, tag="bomb", stdin_open=True, limits={"pids_max": 100})
        folder = group_of(client, process)
        until(lambda: number(client, folder, "pids.events", "max") > 0, "it has come to its bound", 60)
        for _ in range(20):
            assert number(client, folder, "pids.current") <= 100
            assert sh(client, "echo here") == "here"
        client.commands.kill(tag="bomb")
        result = process.wait(30)
        assert (result.reason, result.oom_killed) == ("killed", False)
        until(lambda: bombs(client) == 0, "nothing is left", 30)

    def test_a_bomb_ends_at_its_timeout(self, client):
        result = client.commands.run(BOMB, stdin_open=True, limits={"pids_max": 200}, timeout=2, kill_grace=0.5)
        assert (result.reason, result.exit_code) == ("timed_out", 124)
        assert result.killed_descendants > 0
        until(lambda: bombs(client) == 0, "nothing is left", 30)

    def test_its_bound_counts_what_it_may_have(self, client):
        result = client.commands.run("for i in 1 2 3 4 5 6; do sleep 5 & done; wait", limits={"pids_max": 4}, timeout=30)
        assert "fork" in result.stderr and result.exit_code != 0


class TestCpu:
    def test_a_share_is_a_share(self, client):
        result = client.commands.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; "
                                     "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cpu.stat", limits={"cpu_max": 0.1},
                                     timeout=120)
        stat = dict(line.split() for line in result.stdout.splitlines())
        assert int(stat["nr_throttled"]) > 0
        assert result.exit_code == 0


def test_starts_that_wait_for_a_processor_do_not_hang(client):
    """All 16 that may be under way for longer than it takes to call them hung: each has a fiftieth of a processor, and a
    long search before it."""
    path = ":".join("/none/%d" % n for n in range(200)) + ":/bin"
    flying = [client.start("exec", cmd="true", envs={"PATH": path}, limits={"cpu_max": 0.02}) for _ in range(18)]
    assert [request.result(60)["exit_code"] for request in flying] == [0] * 18
