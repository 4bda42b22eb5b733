#!/usr/bin/python3
"""Boots one microVM with a vsock, and knows when guestd serves in it.

    boot.py DIR ROOTFS [KERNEL-ARGUMENT...]

runs it until it ends. DIR gets its sockets and its console's text; `-` is a folder that goes with it. On stdout, as they happen:

    hypervisor NAME     qemu, firecracker or cloud-hypervisor (HYPERVISOR in the environment decides)
    accel kvm|tcg       what runs it (ACCEL in the environment decides instead of trying)
    phases TEXT         where the time of the boot went
    ready ADDRESS       guestd serves there: guestctl --connect ADDRESS
    ended STATUS        the hypervisor's exit status; 0 when the machine powered itself off

MEMORY is in MiB (512), VCPUS a number (1). Programs use the class Machine. The root filesystem is never changed: writes go
to a file in DIR.
"""

import contextlib
import os
import pathlib
import signal
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "proto/python"))

import guestproto_wire  # noqa: E402  (it needs the path above)
from microvm.choose import choose  # noqa: E402


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} DIR ROOTFS [KERNEL-ARGUMENT...]")
    # What ends this program must not leave a machine behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    memory, vcpus = int(os.environ.get("MEMORY", 512)), int(os.environ.get("VCPUS", 1))
    with contextlib.ExitStack() as stack:
        folder = sys.argv[1]
        if folder == "-":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-"))  # short: socket paths end at 107 bytes
        machine = stack.enter_context(choose(folder)(folder, sys.argv[2], sys.argv[3:], memory, vcpus))
        print("hypervisor", machine.hypervisor, flush=True)
        print("accel", machine.settings.accel, flush=True)
        ready = guestproto_wire.decode_body(machine.wait_ready())[3]
        print("phases", machine.phases(ready["uptime_ms"]), flush=True)
        print("ready", machine.address, flush=True)
        status = machine.wait_ended()
        print("ended", status, flush=True)
        return status


if __name__ == "__main__":
    sys.exit(main())
