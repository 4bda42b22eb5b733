"""Processes that outlive the host agent: known by pid and start time, watched without being their parent."""

import asyncio
import contextlib
import os
import pathlib
import signal
import subprocess


def spawn(command, log, **more):
    """Starts `command` in a session of its own, so that what ends the host agent doesn't end it. Its Life."""
    with open(log, "ab") as output:
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   start_new_session=True, **more)
    return Life.of(process.pid)


def _started(pid):
    """When it was started, in ticks since boot; None if there is no such process, or only its zombie."""
    try:
        fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Life:
    """`facts`, a pair of numbers, is what to keep of it."""

    def __init__(self, facts):
        self.facts = list(facts)

    @classmethod
    def of(cls, pid):
        return cls((pid, _started(pid)))

    @property
    def pid(self):
        return self.facts[0]

    @property
    def lives(self):
        return self.facts[1] is not None and _started(self.pid) == self.facts[1]

    def kill(self):
        if self.lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def ended(self):
        """Returns once it has."""
        loop = asyncio.get_running_loop()
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.lives:  # else the number is another's already
                over = loop.create_future()
                loop.add_reader(fd, lambda: over.done() or over.set_result(None))
                await over
        finally:
            loop.remove_reader(fd)
            os.close(fd)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)  # it is no child where it was adopted
