"""Kills agents and waits for the next, in a process of its own: the threads that load guestd are not to be measured.

    killer.py ADDRESS       a pid a line on stdin; on stdout the seconds from its death to the next agent's answer
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "proto/python")]

from guestproto import connect  # noqa: E402  (the path to it is above)

LONGEST_S = 60
PAUSE_S = 0.001


class Killer:
    def __init__(self, address):
        self.process = subprocess.Popen([sys.executable, __file__, address], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self, pid):
        """Returns how long nobody answered, in seconds."""
        print(pid, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline()
        assert said, "no agent answers after %d s" % LONGEST_S
        return float(said)


def answers(address):
    try:
        with connect(address, timeout=LONGEST_S, resume=0) as client:
            client.ping()
            return True
    except (ConnectionError, EOFError):  # the dead one had accepted it
        return False


def main():
    for line in sys.stdin:
        killed = time.monotonic()
        os.kill(int(line), signal.SIGKILL)
        while not answers(sys.argv[1]):
            assert time.monotonic() < killed + LONGEST_S
            time.sleep(PAUSE_S)
        print(time.monotonic() - killed, flush=True)


if __name__ == "__main__":
    main()
