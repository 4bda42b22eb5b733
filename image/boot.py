#!/usr/bin/env python3
"""Boots one microVM with a vsock, and knows when guestd serves in it.

    boot.py DIR ROOTFS [KERNEL-ARGUMENT...]

runs it until it ends. DIR gets its sockets and its console's text. On stdout, as they happen:

    accel kvm|tcg       what runs it (ACCEL in the environment decides instead of trying)
    ready ADDRESS       guestd serves there: guestctl --connect ADDRESS
    ended STATUS        QEMU's exit status; 0 when the machine powered itself off

Tests use the class Machine. The root filesystem is never changed: writes go to a temporary file.
"""
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(
    os.environ.get("GUESTD_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "guestd"
)
PORT = 1024
READY_PORT = 9999
READY_ANSWER = bytes([0x94, 1, 0, 0xC0, 0x80])  # [1, 0, nil, {}]


def make(script):
    """Runs a script of this folder, which finds its work done or does it. Returns what it printed."""
    return subprocess.run(["sh", HERE / script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def qemu(accel, memory, arguments, console, *more):
    cpu = {"kvm": ["-accel", "kvm", "-cpu", "host"], "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max"]}
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        *cpu[accel], "-m", f"{memory}M",
        # The backend maps the machine's memory, so that is a file that can be shared.
        "-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-machine", "q35,memory-backend=memory",
        "-kernel", CACHE / "kernel/vmlinuz", "-initrd", CACHE / "initrd",
        "-append", " ".join(["console=ttyS0 quiet panic=-1 cryptomgr.notests", *arguments]),
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console", *more,
    ]  # fmt: skip


def accel(directory):
    """kvm where a machine really boots on it: a /dev/kvm that opens may still run nothing (nested, restricted).

    Tried once and remembered until the host itself is booted anew."""
    if os.environ.get("ACCEL"):
        return os.environ["ACCEL"]
    boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = CACHE / f"accel-{boot_id}"
    if not known.exists():
        found, console = "tcg", pathlib.Path(directory) / "probe"
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            try:
                probe = qemu("kvm", 256, ["--", "probe"], console)
                subprocess.run(probe, timeout=5, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if "the machine works" in console.read_text(errors="replace"):
                    found = "kvm"
            except (subprocess.TimeoutExpired, FileNotFoundError):
                pass
        for old in CACHE.glob("accel-*"):
            old.unlink()
        known.write_text(found)
    return known.read_text()


class Machine:
    """One microVM: its backend, its QEMU, its console. `with` ends whatever of it still runs."""

    def __init__(self, directory, rootfs, arguments=(), memory=512):
        self.directory = pathlib.Path(directory).resolve()
        self.console_path = self.directory / "console"
        self.uds = self.directory / "v.sock"
        self.address = f"firecracker:{self.uds}:{PORT}"
        self.processes = []
        make("initrd.sh")
        backend = make("backend.sh")
        self.accel = accel(self.directory)

        # Before the machine starts: guestd says `ready` once it serves, and polling it could kill the backend.
        self.ready = socket.socket(socket.AF_UNIX)
        self.ready.bind(f"{self.uds}_{READY_PORT}")
        self.ready.listen()

        try:
            self.boot(backend, rootfs, arguments, memory)
        except BaseException:
            self.close()
            raise

    def boot(self, backend, rootfs, arguments, memory):
        control = self.directory / "vhost.sock"
        self.start(backend, "--guest-cid", "3", "--socket", control, "--uds-path", self.uds)
        self.wait_for(control.exists, 10)
        self.qemu = self.start(
            *qemu(
                self.accel, memory,
                [f"guestd.listen=vsock:{PORT}", f"guestd.ready=vsock:2:{READY_PORT}", *arguments], self.console_path,
                "-chardev", f"socket,id=vsock,path={control}", "-device", "vhost-user-vsock-pci,chardev=vsock",
                "-drive", f"id=root,if=none,format=raw,file={rootfs},snapshot=on",
                "-device", "virtio-blk-pci,drive=root",
            )
        )  # fmt: skip

    def start(self, *command):
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def wait_for(self, condition, timeout):
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes):
                raise TimeoutError(f"the machine doesn't come up:\n{self.log()}")
            time.sleep(0.005)

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
                    stream.write(struct.pack(">I", len(READY_ANSWER)) + READY_ANSWER)
                    stream.flush()
                    return body
            except (OSError, struct.error):
                continue  # nobody yet, or one that left: guestd tries again

    def console(self):
        return self.console_path.read_text(errors="replace") if self.console_path.exists() else ""

    def log(self):
        return (self.directory / "log").read_text(errors="replace") + self.console()

    def wait_ended(self, timeout=None):
        """QEMU's exit status, once the machine has ended by itself."""
        return self.qemu.wait(timeout)

    def close(self):
        self.ready.close()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} DIR ROOTFS [KERNEL-ARGUMENT...]")
    # What ends this program must not leave a machine behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Machine(sys.argv[1], sys.argv[2], sys.argv[3:]) as machine:
        print("accel", machine.accel, flush=True)
        machine.wait_ready()
        print("ready", machine.address, flush=True)
        status = machine.wait_ended()
        print("ended", status, flush=True)
        return status


if __name__ == "__main__":
    sys.exit(main())
