#!/usr/bin/env python3
"""Kills the agent again and again while it works, and counts what that cost: connections, and nothing else.

    kill_agent.py [N]       N deaths (30); prints the waits for the next agent, exits 1 when something was lost

Under way all the time: programs in the background that print numbered lines, captured execs that last longer than a
moment, and a streamed upload. SEED repeats a run's moments.
"""

import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "tests/e2e"), str(HERE.parents[1] / "proto/python")]

import procs  # noqa: E402  (their imports need the path above)
from guestproto import ConnectionLost  # noqa: E402
from server import Guestd  # noqa: E402
from until import SLOWER, until  # noqa: E402

WRITERS = 20
KEPT = 64 << 10
UPLOAD = 4 << 20
# Bursts with pauses: twenty that print all the time would leave the agents no processor.
WRITER = """
i=0
until [ -e stop ]; do
    end=$((i + 200))
    while [ $i -lt $end ]; do echo "writer $1 line $i"; i=$((i + 1)); done
    sleep 0.05
done
echo "writer $1 end $i"
exit $(($1 + 1))
"""
CAPTURED = """
: >started-$1
i=0; while [ $i -lt 500 ]; do echo "captured $1 line $i"; i=$((i + 1)); done
sleep 0.2
i=0; while [ $i -lt 500 ]; do echo "captured $1 error $i" >&2; i=$((i + 1)); done
exit $(($1 % 100))
"""


def lines(name, number, word, count):
    return "".join("%s %d %s %d\n" % (name, number, word, i) for i in range(count))


class Load(threading.Thread):
    """Does one thing over and over, on a connection of its own, which it makes anew whenever it is lost."""

    def __init__(self, guestd, folder):
        super().__init__(daemon=True)
        self.guestd, self.folder = guestd, folder
        self.over = threading.Event()
        self.rounds = self.lost = 0
        self.failure = None

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    with self.guestd.connect() as client:
                        while not self.over.is_set():
                            self.once(client)
                except (ConnectionError, EOFError):
                    self.lost += 1
        except BaseException as failure:
            self.failure = failure

    def end(self):
        """Waits for the round under way; a failure in any of them is the caller's."""
        self.over.set()
        self.join(60 * SLOWER)
        assert not self.is_alive(), "%s hangs" % type(self).__name__
        if self.failure:
            raise self.failure
        assert self.rounds > 0, "%s never came around" % type(self).__name__


class Captured(Load):
    """Execs whose answer the agent owes; those it never gave are looked up by their tags at the end."""

    def __init__(self, guestd, folder):
        super().__init__(guestd, folder)
        self.begun = 0
        self.unanswered = []

    def once(self, client):
        number, self.begun = self.begun, self.begun + 1
        try:
            result = client.commands.run("/bin/sh", ["-c", CAPTURED, "sh", str(number)], tag="captured-%d" % number,
                                         cwd=str(self.folder))
        except ConnectionLost:
            self.unanswered.append(number)
            raise
        check_captured(number, result)
        self.rounds += 1


def check_captured(number, result):
    assert (result.exit_code, result.reason) == (number % 100, "exited"), result
    assert result.stdout == lines("captured", number, "line", 500)
    assert result.stderr == lines("captured", number, "error", 500)


class Upload(Load):
    """One file, written whole each time, all bytes of one round alike."""

    def once(self, client):
        block = bytes([65 + self.rounds % 26]) * (64 << 10)
        client.files.upload_stream(str(self.folder / "upload"), (block for _ in range(UPLOAD // len(block))))
        self.rounds += 1


def kill_once(guestd):
    """Kills the agent and returns how long nobody answered, in seconds."""
    os.kill(guestd.agent(), signal.SIGKILL)
    killed = time.monotonic()

    def answers():
        try:
            with guestd.connect() as client:
                client.ping()
                return True
        except (ConnectionError, EOFError):  # the dead one had accepted it
            return False
    until(answers, "a new agent answers", 20)
    return time.monotonic() - killed


def check_writer(client, number, pid):
    result = client.commands.wait(tag="writer-%d" % number, output=True, timeout=20 * SLOWER)
    assert (result.pid, result.exit_code, result.reason) == (pid, number + 1, "exited"), result
    last = result.stdout.splitlines()[-1]
    count = int(last.rpartition(" ")[2])
    written = lines("writer", number, "line", count) + last + "\n"
    assert result.stdout == written[-KEPT:], "writer %d's output has a gap" % number
    assert result.stdout_bytes == len(written)


def check_captured_by_tag(client, captured):
    """Those whose agent died before it passed them on never began."""
    begun = [number for number in captured.unanswered if (captured.folder / ("started-%d" % number)).exists()]
    for number in begun:
        check_captured(number, client.commands.wait(tag="captured-%d" % number, output=True, timeout=20 * SLOWER))
    tags = {process.tag for process in client.commands.list(exited=True)}
    wanted = {"captured-%d" % number for number in begun} | {"writer-%d" % number for number in range(WRITERS)}
    assert wanted <= tags, "lost: %s" % sorted(wanted - tags)
    return len(begun)


def check_upload(folder):
    data = (folder / "upload").read_bytes()
    assert len(data) == UPLOAD and data == data[:1] * UPLOAD, "a file of two uploads"
    until(lambda: not [name for name in os.listdir(folder) if "upload" in name and name != "upload"],
          "no litter of cut uploads is left")


def drive(deaths, guestd, folder, moment=random.Random(0)):
    """All of it against a fresh guestd; returns the waits for the next agent and a line about what was under way."""
    kill_once(guestd)  # what is there from the second agent on only
    with guestd.connect() as client:
        client.commands.run("true")
        fds = len(procs.fds(guestd.pid))
        client.files.write(str(folder / "upload"), b"0" * UPLOAD)
        pids = [client.commands.run("/bin/sh", ["-c", WRITER, "sh", str(number)], background=True, overflow="tail",
                                    max_output=KEPT, tag="writer-%d" % number, cwd=str(folder)).pid
                for number in range(WRITERS)]
        others = [Captured(guestd, folder), Upload(guestd, folder)]
    for other in others:
        other.start()
    waits = []
    for _ in range(deaths):
        time.sleep(moment.uniform(0, 0.3))
        waits.append(kill_once(guestd))
        with guestd.connect() as client:
            running = {process.tag for process in client.commands.list()}
            missing = {"writer-%d" % number for number in range(WRITERS)} - running
            assert not missing, "lost: %s" % missing
    for other in others:
        other.end()
    (folder / "stop").touch()
    with guestd.connect() as client:
        for number, pid in enumerate(pids):
            check_writer(client, number, pid)
        found = check_captured_by_tag(client, others[0])
        assert client.info()["restarts"] == deaths + 1, "an agent died that nobody killed"
    check_upload(folder)
    until(lambda: not procs.zombies(guestd.pid), "no zombie is left")
    until(lambda: len(procs.fds(guestd.pid)) == fds, "the supervisor's fds are as before")
    return waits, "%d captured execs answered, %d found by tag; %d uploads done, %d cut" % (
        others[0].rounds, found, others[1].rounds, others[1].lost)


def main():
    deaths = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    print("%d deaths, SEED=%d" % (deaths, seed), flush=True)
    guestd = Guestd()
    with tempfile.TemporaryDirectory(prefix="kill-agent-") as folder:
        try:
            waits, under_way = drive(deaths, guestd, pathlib.Path(folder), random.Random(seed))
        finally:
            guestd.stop()
    waits.sort()
    print(under_way)
    print("until a new agent answers: median %.1f ms, worst %.1f ms" % (1e3 * waits[len(waits) // 2], 1e3 * waits[-1]))
    return waits[len(waits) // 2] > 0.1 * SLOWER


if __name__ == "__main__":
    sys.exit(main())
