"""QEMU: its command line, and what of its machine protocol plugs a vsock in and out and moves a machine to a file.

q35 with a free PCIe port: a vhost-user device can't be saved, so the vsock leaves the machine before a snapshot, and a
new one arrives after it.
"""

import array
import fcntl
import os
import pathlib
import socket
import subprocess
import termios

from .parts import CACHE, make
from .qmp import QmpError

VSOCK = "vsock"
PORT = "vsock-port"
CID = "3"  # every machine's own: the backend knows no other machine
ACCELERATORS = {"kvm": ["-accel", "kvm", "-cpu", "host"], "tcg": ["-accel", "tcg,thread=multi", "-cpu", "max"]}


def command(accel, memory, vcpus, arguments, console, *more):
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        *ACCELERATORS[accel], "-smp", str(vcpus), "-m", f"{memory}M",
        # The backend maps the machine's memory, so that is a file that can be shared.
        "-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-machine", "q35,memory-backend=memory",
        "-device", f"pcie-root-port,id={PORT},chassis=1",
        "-kernel", CACHE / "kernel/vmlinuz", "-initrd", CACHE / "initrd",
        "-append", " ".join(["console=ttyS0 quiet panic=-1 cryptomgr.notests", *arguments]),
        "-chardev", f"file,id=console,path={console}", "-serial", "chardev:console", *more,
    ]  # fmt: skip


def disk(path):
    # Nothing is flushed while the machine runs: it doesn't outlive the host. A snapshot is.
    return ["-drive", f"id=root,if=none,format=qcow2,cache=unsafe,file={path}", "-device", "virtio-blk-pci,drive=root"]


def vsock(control):
    return ["-chardev", f"socket,id={VSOCK},path={control}",
            "-device", f"vhost-user-vsock-pci,id={VSOCK},chardev={VSOCK},bus={PORT}"]  # fmt: skip


def plug(qmp, control):
    """Gives the running machine a vsock, and waits until its kernel drives it and the backend knows.

    The backend's worker ends for good when a client comes while QEMU's messages hand it the memory and the queues, which
    is when the driver starts. So nobody may connect before this returns; and the backend being behind QEMU, which waits
    for no answers, the connection between them is made here, and looked at until all that QEMU said is read."""
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(control))
        qmp("getfd", {"fdname": VSOCK}, fd=end.fileno())
        address = {"type": "fd", "data": {"str": VSOCK}}
        qmp("chardev-add", {"id": VSOCK, "backend": {"type": "socket", "data": {"addr": address, "server": False}}})
        qmp("device_add", {"driver": "vhost-user-vsock-pci", "id": VSOCK, "chardev": VSOCK, "bus": PORT})
        qmp.until(driven, "waited for the vsock's driver")
        qmp.until(lambda _: unread(end) == 0, "waited for the vsock's backend")


def unread(end):
    """How much of what was sent on a Unix socket the other end has not taken yet. unix(7), SIOCOUTQ"""
    answer = array.array("i", [0])
    fcntl.ioctl(end, termios.TIOCOUTQ, answer)
    return answer[0]


def driven(qmp):
    paths = [device["path"] for device in qmp("x-query-virtio") if "vsock" in device["name"]]
    return any("DRIVER_OK" in str(qmp("x-query-virtio-status", {"path": path})["status"]) for path in paths)


def unplug(qmp):
    qmp("device_del", {"id": VSOCK})
    qmp.event("DEVICE_DELETED", device=VSOCK)
    qmp("chardev-remove", {"id": VSOCK})


def save(qmp, file):
    """Stops the machine and writes what it is, without its disk, to an open file."""
    qmp("stop")
    qmp("migrate-set-parameters", {"max-bandwidth": 1 << 40})
    qmp("getfd", {"fdname": "memory"}, fd=file.fileno())
    qmp("migrate", {"uri": "fd:memory"})
    qmp.until(moved, "wrote the machine's memory")


def moved(qmp):
    state = qmp("query-migrate")
    if state.get("status") in ("failed", "cancelled"):
        raise QmpError(f"the machine can't be saved: {state.get('error-desc', state['status'])}")
    return state.get("status") == "completed"


def loaded(qmp):
    return qmp("query-status")["status"] != "inmigrate"


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
            make("initrd.sh")
            try:
                probe = command("kvm", 256, 1, ["--", "probe"], console)
                subprocess.run(probe, timeout=5, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                if "the machine works" in console.read_text(errors="replace"):
                    found = "kvm"
            except (subprocess.TimeoutExpired, FileNotFoundError):
                pass
        for old in CACHE.glob("accel-*"):
            old.unlink(missing_ok=True)
        mine = CACHE / f"accel-{boot_id}.{os.getpid()}"  # others may be looking at the same time
        mine.write_text(found)
        mine.rename(known)
        return found
    return known.read_text()
