#!/usr/bin/env python3
"""Readers of one program that writes much on both streams: each has every byte, or is told which ones it missed.

    readers.py [BYTES]      that many a stream (1,000,000,000), once with an opener and once without

Three at a time: a quick one, one that takes SLOW bytes/s, and one whose connection is new every 100 ms. What is written
differs at every offset, so the sha256 of what a reader got is that of the whole without its gaps, or it got it wrong.
"""

import hashlib
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests/e2e"), str(HERE.parents[1] / "proto/python")]

from guestproto import Data, End, Gap  # noqa: E402  (their imports need the path above)
from server import Guestd  # noqa: E402
from until import SLOWER  # noqa: E402

CHANNELS = "stdout", "stderr"
BLOCK = 1048573         # no multiple of anybody's buffer
KEPT = 4 << 20
SLOW = 8 << 20
RECONNECT_S = 0.1
PATIENCE = 60 * SLOWER  # without a single item


# ── what is written ──


def blocks(channel, begin, end):
    """The stream's bytes from `begin` to `end`: in each block its number, and then the same noise."""
    noise = memoryview(random.Random(channel).randbytes(BLOCK))
    while begin < end:
        number, at = divmod(begin, BLOCK)
        stop = min(BLOCK, at + end - begin)
        if at < 8:
            yield number.to_bytes(8, "little")[at:stop]
        yield noise[max(at, 8):max(stop, 8)]
        begin += stop - at


def produce(size):
    """Both streams at once: neither waits for the other."""
    def write(fd, channel):
        for piece in blocks(channel, 0, size):
            while piece:
                piece = piece[os.write(fd, piece):]

    other = threading.Thread(target=write, args=(2, "stderr"))
    other.start()
    write(1, "stdout")
    other.join()


def digest(channel, size, gaps):
    """sha256 of the stream without its gaps."""
    known, at = hashlib.sha256(), 0
    for begin, end in [*gaps, (size, size)]:
        for piece in blocks(channel, at, begin):
            known.update(piece)
        at = end
    return known.hexdigest()


# ── who reads it ──


class Reader(threading.Thread):
    """Takes a stream's items and holds each against the one before it."""

    def __init__(self, name, rate=None):
        super().__init__(daemon=True, name=name)
        self.rate = rate
        self.at = dict.fromkeys(CHANNELS, 0)
        self.gaps = {channel: [] for channel in CHANNELS}
        self.seen = {channel: hashlib.sha256() for channel in CHANNELS}
        self.ends = {}
        self.bytes = self.connections = 0
        self.failure = self.result = None
        self.begun = time.monotonic()

    def take(self, item):
        if isinstance(item, Data):
            assert item.off == self.at[item.ch], "%s at %d, not at %d" % (item.ch, item.off, self.at[item.ch])
            self.seen[item.ch].update(item.data)
            self.at[item.ch] += len(item.data)
            self.bytes += len(item.data)
            if self.rate:
                time.sleep(max(0, self.begun + self.bytes / self.rate - time.monotonic()))
        elif isinstance(item, Gap):
            assert item.start == self.at[item.ch] < item.end, "%r at %d" % (item, self.at[item.ch])
            self.gaps[item.ch].append((item.start, item.end))
            self.at[item.ch] = item.end
        elif isinstance(item, End):
            self.ends[item.ch] = item.off

    def run(self):
        try:
            self.read()
        except BaseException as failure:
            self.failure = failure

    def drain(self, stream):
        self.connections += 1
        while (item := stream.next(PATIENCE)) is not None:
            self.take(item)
        self.result = stream.result(PATIENCE)

    def missed(self, channel):
        return sum(end - begin for begin, end in self.gaps[channel])

    def check(self, size):
        if self.failure:
            raise AssertionError("the %s reader" % self.name) from self.failure
        assert self.at == dict.fromkeys(CHANNELS, size), "%s: %s of %d" % (self.name, self.at, size)
        assert self.ends == self.at, "%s: %s" % (self.name, self.ends)
        assert (self.result.exit_code, self.result.stdout_bytes, self.result.stderr_bytes) == (0, size, size)
        for channel in CHANNELS:
            assert self.seen[channel].hexdigest() == digest(channel, size, self.gaps[channel]), \
                "%s: %s is not what was written" % (self.name, channel)

    def told(self):
        return "%s: %d bytes, %d missed in %d gaps, %d connections" % (
            self.name, self.bytes, sum(map(self.missed, CHANNELS)), sum(map(len, self.gaps.values())), self.connections)


class Opener(Reader):
    """Who asked for the program: it waits for this one, which may miss nothing."""

    def __init__(self, stream):
        super().__init__("opener")
        self.stream = stream

    def read(self):
        self.drain(self.stream)

    def check(self, size):
        super().check(size)
        assert not any(self.gaps.values()), "the opener missed something: %s" % self.gaps


class Attached(Reader):
    """Comes back to where it was, every `stay` seconds if it has one."""

    def __init__(self, name, guestd, pid, rate=None, stay=None):
        super().__init__(name, rate)
        self.guestd, self.pid, self.stay = guestd, pid, stay

    def read(self):
        while self.result is None:
            with self.guestd.connect(resume=0) as client:
                stream = client.commands.attach(pid=self.pid, start=dict(self.at))
                if self.stay is None:
                    return self.drain(stream)
                self.visit(stream)

    def visit(self, stream):
        self.connections += 1
        leave = time.monotonic() + (self.stay if self.connections > 1 else 0)  # however soon all is over, it came back
        while item := stream.next(PATIENCE):
            self.take(item)
            if time.monotonic() > leave:
                return
        self.result = stream.result(PATIENCE)


def drive(guestd, size, opened):
    """One program of `size` bytes a stream, in the foreground of a reader (`opened`) or of nobody; returns the readers."""
    program = sys.executable, [__file__, "produce", str(size)]
    with guestd.connect() as client:
        if opened:
            stream = client.commands.exec_stream(*program, max_output=KEPT)
            quick, pid = Opener(stream), stream.process(PATIENCE).pid
        else:
            pid = client.commands.run(*program, background=True, max_output=KEPT).pid
            quick = Attached("quick", guestd, pid)
        readers = [quick, Attached("slow", guestd, pid, rate=SLOW),
                   Attached("reconnecting", guestd, pid, stay=RECONNECT_S)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for reader in readers:
            reader.check(size)
    return readers


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10 ** 9
    guestd = Guestd()
    try:
        for opened in True, False:
            begun = time.monotonic()
            readers = drive(guestd, size, opened)
            print("two streams of %d bytes, %s: %.1f s" % (size, "opened" if opened else "in the background",
                                                           time.monotonic() - begun))
            for reader in readers:
                print("    " + reader.told(), flush=True)
    finally:
        guestd.stop()


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "produce":
        produce(int(sys.argv[2]))
    else:
        main()
