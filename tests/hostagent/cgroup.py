"""A container's cgroup: bounds, freezing, and killing all of it. Version 2, wherever that is mounted."""

import contextlib
import os
import pathlib
import time

PERIOD_US = 100000
GROUP = "guestd-hostagent"


def _mounted():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return pathlib.Path(before.split()[4])
    raise RuntimeError("cgroup2 is mounted nowhere: containers can't be frozen here")


class Cgroup:
    def __init__(self, name):
        self.path = _mounted() / GROUP / name

    def make(self, vcpus, memory_mb):
        """Bounds hold where the host delegates their controllers; a container is no machine of its own elsewhere."""
        self.path.parent.mkdir(exist_ok=True)
        for folder in (self.path.parent.parent, self.path.parent):
            for controller in ("cpu", "memory", "pids"):
                with contextlib.suppress(OSError):
                    (folder / "cgroup.subtree_control").write_text("+" + controller)
        self.path.mkdir(exist_ok=True)
        for name, value in (("memory.max", memory_mb << 20), ("cpu.max", "%d %d" % (vcpus * PERIOD_US, PERIOD_US))):
            if (self.path / name).exists():
                (self.path / name).write_text(str(value))

    def freeze(self, frozen, timeout=10):
        """Returns once every process in it stands still, or goes on."""
        (self.path / "cgroup.freeze").write_text("1" if frozen else "0")
        deadline = time.monotonic() + timeout
        while "frozen %d" % frozen not in (self.path / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise TimeoutError("the container doesn't %s" % ("freeze" if frozen else "thaw"))
            time.sleep(0.002)

    def remove(self, timeout=10):
        """Kills what is in it, frozen or not, and removes it. Who is still on the way in, as it was killed while it
        booted, is killed too."""
        deadline = time.monotonic() + timeout
        while self.path.exists():
            with contextlib.suppress(OSError):
                (self.path / "cgroup.kill").write_text("1")
            try:
                for folder, _, _ in os.walk(self.path, topdown=False):
                    os.rmdir(folder)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)
