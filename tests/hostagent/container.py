"""A capsule as a container: namespaces by unshare, an overlay over the template, a cgroup to freeze.

Not a boundary as a microVM is: it shares the host's kernel. It serves where there is no hypervisor, through the same code.
"""

import contextlib
import os
import pathlib
import shutil
import socket

from hostagent.cgroup import Cgroup
from hostagent.lives import Life, spawn

SCRIPT = pathlib.Path(__file__).with_name("container.sh")
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
FOLDERS = ("upper", "work", "root", "run")


class Container:
    """All of it is in `folder`. `facts` is what another host agent needs to take it over."""

    kind = "tree"  # of a template

    def __init__(self, folder, facts=None):
        self.folder = pathlib.Path(folder)
        self.facts = facts if facts is not None else {}
        self.cgroup = Cgroup(self.folder.name)

    @staticmethod
    def prepare():
        """Nothing is needed beyond what every Linux has."""

    @property
    def address(self):
        """Where its guestd serves."""
        return "unix:%s/run/s" % self.folder

    @property
    def ready(self):
        """A listening socket, on which its guestd says `ready`. To be closed by who asks for it."""
        path = self.folder / "run/ready"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        return listener

    @property
    def life(self):
        """The process that lives as long as it runs; None while it doesn't."""
        return Life(self.facts["life"]) if "life" in self.facts else None

    def start(self, template, vcpus, memory_mb):
        """Begins to boot, and returns."""
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.cgroup.make(vcpus, memory_mb)
        life = spawn(["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", SCRIPT, self.folder, template,
                      self.cgroup.path, self.folder.name], self.folder / "log", env={"PATH": os.environ["PATH"]})
        self.facts["life"] = life.facts

    def pause(self):
        self.cgroup.freeze(True)

    def resume(self):
        self.cgroup.freeze(False)

    def destroy(self):
        """Ends it and leaves nothing of it. May be called again, and of one that never came up."""
        if self.life:
            self.life.kill()
        self.cgroup.remove()
        for name in FOLDERS:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.folder / name)

    def log(self):
        """Its last words, for an error."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")[-500:].strip()
        return ""
