"""What /proc tells about processes: children, zombies, fds, and who carries a mark in its environment."""

import os
import pathlib
import signal

PROC = pathlib.Path("/proc")


def stat(pid):
    """(state, ppid, pgrp, session) or None for a process that is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[2]), int(fields[3])


def everyone():
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def children(pid):
    return [child for child in everyone() if (stat(child) or (None, None))[1] == pid]


def zombies(pid):
    return [child for child in children(pid) if (stat(child) or ("",))[0] == "Z"]


def alive(pid):
    """True for a process that runs: a zombie is dead."""
    found = stat(pid)
    return found is not None and found[0] not in "ZX"


def environ(pid):
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def marked(mark):
    """Running processes that have `mark` (NAME=VALUE) in their environment."""
    return [pid for pid in everyone() if alive(pid) and mark.encode() in environ(pid)]


def kill(pids):
    """SIGKILL for those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def fds(pid):
    """What a process's fds are, without the memfds: those are the output of jobs that it remembers."""
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except OSError:
            continue
        if not target.startswith("/memfd:"):
            found.append(target)
    return sorted(found)


def arguments(pid):
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def exe(pid):
    try:
        return os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return None


def status(pid, key):
    """A line of /proc/PID/status, its value as words."""
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.split()
    return None
