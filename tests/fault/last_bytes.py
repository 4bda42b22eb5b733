#!/usr/bin/env python3
"""A program that fills its pipe at one stroke and exits at once: nothing of that is lost, however it is asked for.

    last_bytes.py [N]       N tries (10,000)
"""

import os
import pathlib
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests/e2e"), str(HERE.parents[1] / "proto/python")]

from guestproto import Data, Gap  # noqa: E402  (their imports need the path above)
from server import Guestd  # noqa: E402
from until import SLOWER  # noqa: E402

SIZE = 64 << 10   # of a pipe; cat(1) writes it at once
WORKERS = 4
PATIENCE = 60 * SLOWER


def both(items):
    got = {"stdout": b"", "stderr": b""}
    for item in items:
        assert not isinstance(item, Gap), item
        if isinstance(item, Data):
            got[item.ch] += item.data
    return got


def captured(client, **program):
    result = client.commands.run(**program, encoding="raw")
    return {"stdout": result.stdout, "stderr": result.stderr}, result


def streamed(client, **program):
    stream = client.commands.exec_stream(**program)
    return both(stream), stream.result(PATIENCE)


def waited(client, **program):
    process = client.commands.run(**program, background=True)
    result = process.wait(PATIENCE, output=True, encoding="raw")
    return {"stdout": result.stdout, "stderr": result.stderr}, result


def attached(client, **program):
    stream = client.commands.run(**program, background=True).attach()
    return both(stream), stream.result(PATIENCE)


WAYS = captured, streamed, waited, attached


def once(client, number, file, data):
    """Every other one on stderr, each way in turn."""
    channel = ("stdout", "stderr")[number // len(WAYS) % 2]
    program = {"cmd": "cat", "args": [str(file)]} if channel == "stdout" else \
        {"cmd": "sh", "args": ["-c", 'exec cat "$1" >&2', "sh", str(file)]}
    got, result = WAYS[number % len(WAYS)](client, **program)
    assert result.exit_code == 0, result
    assert got.pop(channel) == data, "try %d, %s: not the %s that was written" % (number, WAYS[number % 4].__name__, channel)
    assert [*got.values()] == [b""]
    assert result.fields[channel + "_bytes"] == SIZE and not result.truncated


def drive(guestd, tries, folder):
    data = os.urandom(SIZE)
    file = folder / "64k"
    file.write_bytes(data)
    failures = []

    def worker(first):
        try:
            with guestd.connect() as client:
                for number in range(first, tries, WORKERS):
                    once(client, number // WORKERS, file, data)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=worker, args=(first,)) for first in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main():
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    guestd = Guestd()
    with tempfile.TemporaryDirectory(prefix="last-bytes-") as folder:
        try:
            drive(guestd, tries, pathlib.Path(folder))
        finally:
            guestd.stop()
    print("%d tries of %d bytes, nothing lost" % (tries, SIZE))


if __name__ == "__main__":
    main()
