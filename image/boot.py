#!/usr/bin/env python3
"""Boots one microVM with a vsock, and knows when guestd serves in it.

    boot.py DIR ROOTFS [KERNEL-ARGUMENT...]

runs it until it ends. DIR gets its sockets and its console's text. On stdout, as they happen:

    accel kvm|tcg       what runs it (ACCEL in the environment decides instead of trying)
    ready ADDRESS       guestd serves there: guestctl --connect ADDRESS
    ended STATUS        QEMU's exit status; 0 when the machine powered itself off

Programs use the class Machine. The root filesystem is never changed: writes go to a file in DIR.
"""
import signal
import sys

from microvm import Machine


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} DIR ROOTFS [KERNEL-ARGUMENT...]")
    # What ends this program must not leave a machine behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Machine(sys.argv[1], sys.argv[2], sys.argv[3:]) as machine:
        print("accel", machine.settings.accel, flush=True)
        machine.wait_ready()
        print("ready", machine.address, flush=True)
        status = machine.wait_ended()
        print("ended", status, flush=True)
        return status


if __name__ == "__main__":
    sys.exit(main())
