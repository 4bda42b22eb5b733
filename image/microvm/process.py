"""Processes that may outlive the program that started them, and be found again by another one."""

import os
import pathlib
import select
import signal
import subprocess


def start(command, log, **more):
    """Starts a program that a terminal's ^C doesn't reach; what it says goes to the end of the file `log`."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **more
        )


def start_time(pid):
    """When the process began, in clock ticks: with its pid that names it once and for all."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def name(process):
    """What Adopted finds the process by, for as long as the host isn't booted anew."""
    return [process.pid, start_time(process.pid)]


class Adopted:
    """A process that another program started: what of subprocess.Popen is needed of it.

    Raises ProcessLookupError where it is gone. Its exit status is its parent's to know: here it is always 0."""

    def __init__(self, pid, started):
        self.pid, self.fd = pid, -1
        self.fd = os.pidfd_open(pid)
        try:
            same = start_time(pid) == started and self.poll() is None  # a zombie is gone, too
        except FileNotFoundError:
            same = False
        if not same:
            os.close(self.fd)
            self.fd = -1
            raise ProcessLookupError(f"process {pid} is gone")

    def wait(self, timeout=None):
        if not select.select([self.fd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return 0

    def poll(self):
        return 0 if select.select([self.fd], [], [], 0)[0] else None

    def send_signal(self, number):
        if self.poll() is None:
            signal.pidfd_send_signal(self.fd, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def __del__(self):
        if self.fd >= 0:
            os.close(self.fd)
