"""One microVM on this host: booted, saved to disk, brought back, found again by another program."""

import dataclasses
import json
import os
import pathlib
import socket
import struct
import time

from . import disk, phases, process, qemu
from .parts import make
from .qmp import Qmp

PORT = 1024
READY_PORT = 9999
READY_ANSWER = bytes([0x94, 1, 0, 0xC0, 0x80])  # [1, 0, nil, {}]


@dataclasses.dataclass
class Settings:
    """What a machine is besides its disk, and stays when it is saved."""

    accel: str
    memory: int  # MiB
    vcpus: int
    arguments: list


def guestd_arguments(more):
    """What the kernel's command line has for guestd."""
    return [f"guestd.listen=vsock:{PORT}", f"guestd.ready=vsock:2:{READY_PORT}", *more]


class Machine:
    """One microVM: its backend, its QEMU, its console, all in `directory`. `with` ends whatever of it still runs.

    The image is never changed: writes go to a file in `directory`. Programs reach guestd at `address`, once
    wait_ready() has returned or restore() has. A machine outlives the program that made it: attach() finds it again."""

    hypervisor = "qemu"

    def __init__(self, directory, rootfs, arguments=(), memory=512, vcpus=1):
        self._place(directory)
        self.settings = Settings(qemu.accel(self.directory), memory, vcpus, list(arguments))
        disk.create(self.directory, rootfs)
        with self._or_close():
            self._start_backend()
            self._start_qemu(*qemu.vsock(self.control))

    @classmethod
    def restore(cls, folder, directory):
        """A machine that goes on where the one saved in `folder` stopped: any number of them, at once or in turn.

        Its connections are gone, its wall clock stands, and all of them would draw the same random numbers: what
        guestd's `resume` is for. Nobody says `ready` again: guestd can be reached when this returns."""
        self = cls.__new__(cls)
        self._place(directory)
        folder = pathlib.Path(folder)
        self.settings = Settings(**json.loads((folder / "machine.json").read_text()))
        disk.bring_back(folder, self.directory)
        with self._or_close():
            self._start_backend()
            with open(folder / "memory", "rb") as memory:
                self._start_qemu("-incoming", f"fd:{memory.fileno()}", pass_fds=[memory.fileno()])
            with self._qmp() as qmp:
                qmp.until(qemu.loaded, "read the machine's memory")
                qmp("cont")
                qemu.plug(qmp, self.control)
        return self

    @classmethod
    def attach(cls, directory):
        """The machine that another program left running in `directory`. ProcessLookupError: it runs no more."""
        self = cls.__new__(cls)
        self.directory = pathlib.Path(directory).resolve()
        known = json.loads((self.directory / "running.json").read_text())
        self._name()
        self.settings = Settings(**known["settings"])
        self.qemu = process.Adopted(*known["qemu"])
        self.processes = [process.Adopted(*known["backend"]), self.qemu]
        self._listen()
        return self

    def save(self, folder):
        """Writes all of the machine to `folder` and ends it. Every connection ends at once.

        What can't be done leaves the machine running, and its vsock anew."""
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        with Qmp(self.qmp_path) as qmp:
            qemu.unplug(qmp)
            try:
                with open(folder / "memory", "wb") as memory:
                    qemu.save(qmp, memory)
                    os.fsync(memory.fileno())
            except BaseException:
                qmp("cont")
                qemu.plug(qmp, self.control)
                raise
            qmp("quit")
        self.qemu.wait(30)
        self._end()
        disk.keep(self.directory, folder)
        # Last, and at once: a folder with it is a whole snapshot.
        part = folder / "machine.json.part"
        part.write_text(json.dumps(dataclasses.asdict(self.settings)))
        part.rename(folder / "machine.json")

    def wait_ready(self, timeout=60):
        """Takes guestd's request and answers it. Returns its body, MessagePack, unread."""
        deadline = time.monotonic() + timeout
        self.ready.settimeout(0.2)
        while True:
            if self.qemu.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"guestd was never ready:\n{self.log()}")
            try:
                connection, _ = self.ready.accept()
                with connection, connection.makefile("rwb") as stream:
                    connection.settimeout(5)
                    body = stream.read(struct.unpack(">I", stream.read(4))[0])
                    self.ready_ms = (time.monotonic() - self.started) * 1000
                    stream.write(struct.pack(">I", len(READY_ANSWER)) + READY_ANSWER)
                    stream.flush()
                    return body
            except (OSError, struct.error):
                continue  # nobody yet, or one that left: guestd tries again

    def phases(self, uptime_ms):
        """Of the boot, once wait_ready() has returned: `uptime_ms` as `ready` said it. None: the console doesn't tell."""
        return phases.measure(self.ready_ms, uptime_ms, self.console())

    def console(self):
        return self.console_path.read_text(errors="replace") if self.console_path.exists() else ""

    def log(self):
        return (self.directory / "log").read_text(errors="replace") + self.console()

    def wait_ended(self, timeout=None):
        """QEMU's exit status, once the machine has ended by itself."""
        return self.qemu.wait(timeout)

    def close(self):
        self._end()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    # ── its parts ──

    def _name(self):
        self.console_path = self.directory / "console"
        self.uds = self.directory / "v.sock"
        self.control = self.directory / "vhost.sock"
        self.qmp_path = self.directory / "qmp.sock"
        self.address = f"firecracker:{self.uds}:{PORT}"
        self.processes = []

    def _place(self, directory):
        self.directory = pathlib.Path(directory).resolve()
        self._name()
        self._listen()

    def _listen(self):
        """Before the machine starts: guestd says `ready` once it serves, and polling it could kill the backend."""
        path = pathlib.Path(f"{self.uds}_{READY_PORT}")
        path.unlink(missing_ok=True)
        self.ready = socket.socket(socket.AF_UNIX)
        self.ready.bind(str(path))
        self.ready.listen()

    def _end(self):
        self.ready.close()
        for each in reversed(self.processes):
            if each.poll() is None:
                each.kill()
            each.wait()

    def _or_close(self):
        return _CloseOnError(self)

    def _start(self, *command, **more):
        started = process.start(command, self.directory / "log", **more)
        self.processes.append(started)
        return started

    def _start_backend(self):
        self.control.unlink(missing_ok=True)
        self.backend = self._start(
            make("backend.sh"), "--guest-cid", qemu.CID, "--socket", self.control, "--uds-path", self.uds
        )
        self._wait_for(self.control.exists, 10)

    def _start_qemu(self, *more, **options):
        make("initrd.sh")
        self.qmp_path.unlink(missing_ok=True)
        settings = self.settings
        arguments = guestd_arguments(settings.arguments)
        self._start_hypervisor(
            *qemu.command(settings.accel, settings.memory, settings.vcpus, arguments, self.console_path),
            *qemu.disk(self.directory / disk.DISK), "-qmp", f"unix:{self.qmp_path},server=on,wait=off", *more, **options
        )  # fmt: skip
        running = {"settings": dataclasses.asdict(settings)}
        running.update(qemu=process.name(self.qemu), backend=process.name(self.backend))
        (self.directory / "running.json").write_text(json.dumps(running))

    def _start_hypervisor(self, *command, **options):
        self.started = time.monotonic()
        self.qemu = self._start(*command, **options)

    def _qmp(self):
        """A session with a QEMU that may still be starting."""
        opened = []

        def try_it():
            try:
                opened.append(Qmp(self.qmp_path))
            except (FileNotFoundError, ConnectionRefusedError):
                pass
            return opened

        self._wait_for(try_it, 30)
        return opened[0]

    def _wait_for(self, condition, timeout):
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline or any(each.poll() is not None for each in self.processes):
                raise TimeoutError(f"the machine doesn't come up:\n{self.log()}")
            time.sleep(0.005)


class _CloseOnError:
    def __init__(self, machine):
        self.machine = machine

    def __enter__(self):
        pass

    def __exit__(self, kind, *_):
        if kind:
            self.machine.close()
