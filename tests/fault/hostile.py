#!/usr/bin/env python3
"""Clients without manners against one guestd, while a good one checks that nobody harms it.

    hostile.py [--seconds 20] [--seed N] [--attackers 6]

Each attacker lives many short lives at random: valid requests of every kind, cancelled at random moments; notifications
that lie; garbage; frames in writes of 1 to 143 bytes; floods; a peer that stops reading for a while; a close in the
middle of a frame, an upload, a stream. At the end the agent must be the one it was, with its fds, without a zombie, a
job or a half-written file. The seed is printed; the same seed lives the same lives, though never at the same moments.
"""

import argparse
import multiprocessing
import os
import pathlib
import random
import select
import shutil
import socket
import struct
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parents[1] / "proto/python")]

import msgpack  # noqa: E402  (the next ones need the path above)

import procs  # noqa: E402
import server  # noqa: E402
from guestproto import Busy, NotFound, encode_frame  # noqa: E402
from until import SLOWER, until  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
PING_MS = 250  # limits.ping_ms
PATIENCE_S = 0.05  # how long a life waits for a full socket before it goes on
RECENT = 12  # msgids and tags that an attacker still speaks of


class Life:
    """One connection, from its connect to its bad end."""

    def __init__(self, path, folder, rng, name):
        self.rng, self.folder, self.name = rng, folder, name
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.msgid = rng.randrange(1 << 20)
        self.open = []  # msgids that may be in flight
        self.small = rng.random() < 0.2  # writes of 1 to 143 bytes
        self.reads = rng.choice([1.0, 1.0, 0.5, 0.1, 0.0])  # how willingly it takes what comes
        self.dead = False

    # ── bytes ──

    def take(self):
        try:
            self.dead = self.dead or self.sock.recv(256 * KIB) == b""
        except BlockingIOError:
            pass
        except OSError:
            self.dead = True

    def send(self, data):
        """All of it, unless the agent takes no more for a while: then a frame is left half-written."""
        data = memoryview(data)
        until_s = time.monotonic() + PATIENCE_S
        while data and not self.dead and time.monotonic() < until_s:
            piece = data[:self.rng.randint(1, 143)] if self.small else data
            try:
                data = data[self.sock.send(piece):]
            except BlockingIOError:
                select.select([self.sock], [self.sock], [], PATIENCE_S)
            except OSError:
                self.dead = True
            if self.rng.random() < self.reads:
                self.take()

    # ── what it says ──

    def request(self, method, params, msgid=None):
        if msgid is None:
            self.msgid = (self.msgid + 1) % (1 << 32)
            msgid = self.msgid
            self.open = [*self.open[1 - RECENT:], msgid]
        self.send(encode_frame([0, msgid, method, params]))

    def notify(self, what, params):
        self.send(encode_frame([2, "stream." + what, params]))

    def some_id(self):
        return self.rng.choice(self.open) if self.open and self.rng.random() < 0.95 else self.rng.randrange(1 << 32)

    def some_tag(self):
        return "%s-%d" % (self.name, self.rng.randrange(RECENT))

    def some_path(self):
        return "%s/%s" % (self.folder, self.rng.choice(["a", "b", "tree", "tree/x", "big", "big", "none/deep/c", ""]))

    def an_exec(self):
        rng = self.rng
        cmd, args = rng.choice([
            ("/bin/true", []), ("/bin/cat", []), ("/bin/sleep", ["0.05"]), ("/bin/sleep", ["600"]),
            ("/usr/bin/head", ["-c", str(rng.randrange(4 * MIB)), "/dev/zero"]), ("yes", []), ("no-such-program", []),
            ("/bin/sh", ["-c", "sleep 600 & sleep 600 & echo here"]), ("/bin/sh", ["-c", "trap '' TERM; sleep 0.1; echo"]),
        ])
        params = {"cmd": cmd, "args": args, "timeout": rng.choice([0.1, 1, 3]), "kill_grace": 0.05, "kill_rest": True}
        kind = rng.randrange(4)
        if kind == 0:
            params.update(background=True, tag=self.some_tag())
        elif kind == 1:
            params.update(stream=True, window=rng.choice([0, 1, 4096, MIB]), on_full=rng.choice(["block", "drop"]))
        else:
            params.update(overflow=rng.choice(["head", "tail", "kill"]), max_output=rng.choice([1, 5000, MIB]))
        if rng.random() < 0.3:
            params["stdin"] = rng.randbytes(rng.randrange(128 * KIB))
        if rng.random() < 0.1:
            params["user"] = rng.choice(["root", "nobody", "no-such-user", "0:0"])
        self.request("exec", params)

    def a_process(self):
        which = {"tag": self.some_tag()} if self.rng.random() < 0.9 else {"pid": self.rng.randint(1, 1 << 22)}
        method = self.rng.choice(["list", "get", "wait", "wait", "kill"])
        if method == "list":
            which = {"exited": True}
        elif method == "wait":
            which.update(output=self.rng.random() < 0.5, timeout=self.rng.choice([0, 0.05, 2]))
        elif method == "kill":
            which["signal"] = self.rng.choice(["TERM", 9, "SIGSTOP", "no signal"])
        self.request("process." + method, which)

    def an_upload(self):
        rng = self.rng
        params = {"path": self.some_path(), "create_parents": rng.random() < 0.5}
        if rng.random() < 0.3:
            self.request("file.write", {**params, "data": rng.randbytes(rng.choice([0, 10, MIB]))})
            return
        if rng.random() < 0.3:
            params[rng.choice(["append", "atomic"])] = True
        self.request("file.write", {**params, "stream": True})
        msgid, left = self.open[-1], 256 * KIB + (rng.random() < 0.1)
        while left > 0 and rng.random() < 0.9:
            data = rng.randbytes(min(left, rng.choice([0, 1, 4097, 64 * KIB, 256 * KIB])))
            left -= len(data)
            self.notify("data", {"id": msgid, "data": data})
            if rng.random() < 0.1:
                self.notify("cancel", {"id": msgid})
        if rng.random() < 0.7:
            self.notify("end", {"id": msgid})

    def a_file(self):
        rng = self.rng
        path, method = self.some_path(), rng.choice(["read", "read", "list", "list", "stat", "mkdir", "remove"])
        if method == "remove" and path.endswith(("/", "big")):
            method = "stat"
        params = {"path": path}
        if method in ("read", "list") and rng.random() < 0.6:
            params["stream"] = True
        if method == "read" and "stream" in params:
            params["window"] = rng.choice([0, 1, 300 * KIB, 2 * MIB])
        if method == "list":
            params.update(path=rng.choice([path, "/usr/include", "/etc"]), depth=rng.choice([0, 1, 5]))
        self.request("file." + method, params)

    def a_small_one(self):
        self.request(*self.rng.choice([
            ("ping", {}), ("info", {}), ("hello", {"protocol": 1, "max_frame": self.rng.choice([4096, MIB, 1 << 26])}),
            ("hello", {"protocol": 2}), ("file.watch", {}), ("none", {}), ("ping", {"touch": 3}), ("exec", {}),
            ("exec", {"cmd": "true", "pty": {}}), ("file.read", {"path": "relative"}), ("ping", {"\xe9": 1}),
        ]))

    def a_notification(self):
        what = self.rng.choice(["cancel", "cancel", "cancel", "credit", "credit", "end", "data"])
        params = {"id": self.some_id()}
        if what == "credit":
            params["bytes"] = self.rng.choice([0, 1, 256 * KIB, MIB, MIB, (1 << 64) - 1])
        elif what == "data":
            params["data"] = b"x" * self.rng.choice([0, 1, 10 * KIB])
        self.notify(what, params)

    def a_credit_and_away(self):
        """What the agent is about to send finds nobody."""
        self.request("file.read", {"path": self.folder + "/big", "stream": True, "window": 0})
        self.request("ping", {})
        select.select([self.sock], [], [], PATIENCE_S)
        self.notify("credit", {"id": self.open[-2], "bytes": 4 * MIB})
        self.dead = True

    def a_flood(self):
        request = self.rng.choice([("ping", {}), ("process.list", {"exited": True}), ("info", {}),
                                   ("file.read", {"path": self.folder + "/big"}), ("file.stat", {"path": "/"})])
        self.send(b"".join(encode_frame([0, (1 << 31) + i, *request]) for i in range(self.rng.choice([300, 5000]))))

    def garbage(self):
        rng = self.rng
        body = encode_frame([0, 1, "exec", {"cmd": "true", "args": ["x"] * 20}])[4:]
        flipped = bytearray(body)
        flipped[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        self.send(rng.choice([
            rng.randbytes(rng.randrange(200)), struct.pack(">I", rng.randrange(1 << 32)),
            struct.pack(">I", len(body)) + flipped, struct.pack(">I", len(body) + 1) + body,
            encode_frame([1, self.some_id(), None, {}]), encode_frame([2, "ready", {}]), encode_frame([3]),
            encode_frame([0, self.some_id(), "ping", {}]), struct.pack(">I", 70000) + b"\xdd\x00\x01\x00\x00",
            struct.pack(">I", 9) + msgpack.packb([0, 3, 5, 5]) + b"\xc1\xc1\xc1\xc1",
        ]))

    # ── a life ──

    def live(self):
        rng = self.rng
        acts = [self.an_exec] * 5 + [self.a_process] * 3 + [self.an_upload] * 4 + [self.a_file] * 6 + \
            [self.a_small_one] * 3 + [self.a_notification] * 12
        for _ in range(rng.choice([1, 5, 40])):
            if self.dead:
                return
            rng.choice(acts)()
            if rng.random() < self.reads:
                self.take()
        rare = rng.random()
        if rare < 0.15:
            self.a_flood()
        elif rare < 0.3:
            self.garbage()
        elif rare < 0.45:
            self.a_credit_and_away()
        elif rare < 0.6:
            self.send(encode_frame([0, 0, "ping", {}])[:rng.randrange(1, 12)])
        elif rare < 0.75:  # listens until the agent has said all, or for a moment
            self.sock.shutdown(socket.SHUT_WR)
            while not self.dead and select.select([self.sock], [], [], PATIENCE_S)[0]:
                self.take()


def attack(path, folder, seed, name, deadline):
    os.nice(5)  # what is measured is guestd, not who gets a processor
    rng = random.Random(seed)
    while time.monotonic() < deadline:
        crowd = []
        for _ in range(rng.choice([1, 1, 1, 1, 3, 70])):
            try:
                crowd.append(Life(path, folder, rng, name))
            except OSError:  # its backlog is full: so many are enough
                break
        for life in crowd[:3]:
            try:
                life.live()
            except OSError:
                pass
        for life in crowd:
            life.sock.close()


def be_good(client, folder, rng, deadline):
    """The worst ping's milliseconds, and how many rounds of everything were right."""
    worst, rounds = 0.0, 0
    while time.monotonic() < deadline:
        for _ in range(5):
            begun = time.monotonic()
            client.ping()
            worst = max(worst, (time.monotonic() - begun) * 1000)
        word = "%x" % rng.randrange(1 << 64)
        try:
            assert client.commands.run("cat; echo err >&2; exit 3", stdin=word).stdout == word
        except Busy:  # starts took a second each, of so many: the one answer that the others' load may change
            continue
        data = rng.randbytes(rng.choice([0, 1000, 3 * MIB]))
        assert client.files.upload_stream(folder + "/good", [data], size=len(data)).size == len(data)
        assert b"".join(client.files.download_stream(folder + "/good")) == data
        rounds += 1
    return worst, rounds


def litter(folder):
    return [name for _, dirs, files in os.walk(folder) for name in dirs + files if name.startswith(".guestd-")]


def end_jobs(guestd, client):
    """Background processes outlive their attackers, as they should: each is killed by the name it has."""
    for process in client.commands.list():
        try:
            client.commands.kill(tag=process.tag)
        except NotFound:
            pass  # it has exited meanwhile
    until(lambda: not guestd.jobs(), "no job is left", 20)
    until(lambda: not client.commands.list(), "no process is told of as running")


def run(seconds, seed, attackers):
    """Asserts that guestd came through; returns what be_good saw."""
    rng = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="hostile-")
    guestd = server.Shared()
    try:
        pathlib.Path(folder, "big").write_bytes(rng.randbytes(3 * MIB))
        client = guestd.connect()
        deadline = time.monotonic() + seconds
        path = guestd.address.partition(":")[2]
        everyone = [multiprocessing.Process(target=attack, args=(path, folder, seed + 1 + i, "h%d" % i, deadline))
                    for i in range(attackers)]
        for one in everyone:
            one.start()
        try:
            worst, rounds = be_good(client, folder, rng, deadline)
        finally:
            for one in everyone:
                one.join()
        assert [one.exitcode for one in everyone] == [0] * attackers
        end_jobs(guestd, client)
        assert client.info()["restarts"] == 0
        client.close()
        guestd.unharmed()
        until(lambda: not litter(folder), "no half-written file is left")
        assert procs.alive(guestd.first_agent)
        guestd.stop()
    except BaseException:
        if guestd.process.poll() is None:
            print(guestd.stderr(), guestd.reports(), file=sys.stderr)
            guestd.process.kill()
            guestd.process.wait()
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert rounds > 0
    assert server.SANITIZED or SLOWER > 1 or worst <= PING_MS, "a ping took %.0f ms" % worst
    return worst, rounds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--attackers", type=int, default=6)
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    print("worst ping %.1f ms, %d good rounds" % run(options.seconds, options.seed, options.attackers))
