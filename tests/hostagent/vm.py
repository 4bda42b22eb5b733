"""A capsule as a microVM, by image/microvm: booted from the template's disk, saved to a folder when it is paused."""

import contextlib
import pathlib
import shutil

from microvm import Machine
from microvm.parts import make

from hostagent.lives import Life


class Vm:
    """All of it is in `folder`: `machine` while it runs, `snapshot` while it is paused. `facts` is what another host agent
    needs to take it over."""

    kind = "ext4"  # of a template

    def __init__(self, folder, facts=None):
        self.folder = pathlib.Path(folder)
        self.facts = facts if facts is not None else {}
        self._running, self._saved = self.folder / "machine", self.folder / "snapshot"
        self._machine = None

    @staticmethod
    def prepare():
        """What any machine needs is made now, and not while the first one starts."""
        make("initrd.sh")
        make("backend.sh")

    @property
    def address(self):
        """Where its guestd serves."""
        return self._found().address

    @property
    def ready(self):
        """A listening socket, on which its guestd says `ready`. To be closed by who asks for it."""
        return self._found().ready

    @property
    def life(self):
        """The process that lives as long as it runs; None while it doesn't."""
        return Life(self.facts["life"]) if "life" in self.facts else None

    def start(self, template, vcpus, memory_mb):
        """Begins to boot, and returns."""
        self._running.mkdir(parents=True, exist_ok=True)
        self._is(Machine(self._running, template, memory=memory_mb, vcpus=vcpus))

    def pause(self):
        """Saved, and ended: it takes no memory any more. One that was saved already, by another host agent, is fine."""
        if self._lives() or not (self._saved / "machine.json").exists():
            self._found().save(self._saved)
        self._is(None)

    def resume(self):
        """Goes on where it was saved; one that runs does."""
        if not self._lives():
            self._is(Machine.restore(self._saved, self._running))
            shutil.rmtree(self._saved)

    def destroy(self):
        """Ends it and leaves nothing of it. May be called again, and of one that never came up."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            self._found().close()
        self._is(None)
        for folder in (self._running, self._saved):
            shutil.rmtree(folder, ignore_errors=True)

    def log(self):
        """Its last words, for an error."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return self._found().log()[-500:].strip()
        return ""

    def _is(self, machine):
        self._machine = machine
        self.facts.pop("life", None)
        if machine:
            self.facts["life"] = Life.of(machine.qemu.pid).facts

    def _lives(self):
        return self.life is not None and self.life.lives

    def _found(self):
        """The machine, also if another host agent started it. ProcessLookupError: it runs no more."""
        if self._machine is None:
            self._machine = Machine.attach(self._running)
        return self._machine
