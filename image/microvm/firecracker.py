"""Firecracker: one machine from a configuration file, without its API. It needs KVM.

https://github.com/firecracker-microvm/firecracker/blob/main/src/firecracker/swagger/firecracker.yaml
"""

import json
import shutil

from . import disk, qemu
from .machine import Machine, Settings, guestd_arguments
from .parts import CACHE
from .vmlinux import vmlinux

PROGRAM = "firecracker"
KERNEL = "console=ttyS0 quiet reboot=k panic=-1 cryptomgr.notests"
DISK = "disk.ext4"


def config(directory, kernel, initrd, memory, vcpus, arguments):
    """What --config-file takes. Connections to the guest come in at the socket `v.sock`, the guest's go out at v.sock_PORT."""
    return {
        "boot-source": {
            "kernel_image_path": str(kernel),
            "initrd_path": str(initrd),
            "boot_args": " ".join([KERNEL, *arguments]),
        },
        # Not its root device, which the kernel would mount itself: init.c does.
        "drives": [
            {"drive_id": "root", "path_on_host": str(directory / DISK), "is_root_device": False, "is_read_only": False}
        ],
        "machine-config": {"vcpu_count": vcpus, "mem_size_mib": memory},
        "vsock": {"guest_cid": int(qemu.CID), "uds_path": str(directory / "v.sock")},
    }


class Firecracker(Machine):
    """As Machine, but that it can't be saved here: Firecracker's own snapshots are taken by its API."""

    hypervisor = PROGRAM

    def __init__(self, directory, rootfs, arguments=(), memory=512, vcpus=1):
        self._place(directory)
        self.settings = Settings("kvm", memory, vcpus, list(arguments))
        self.console_path = self.directory / "log"  # the serial line is its stdout
        disk.copy(rootfs, self.directory / DISK)
        path = self.directory / "firecracker.json"
        path.write_text(json.dumps(config(
            self.directory, vmlinux(), CACHE / "initrd", memory, vcpus, guestd_arguments(arguments)), indent=2))
        with self._or_close():
            self._start_hypervisor(PROGRAM, "--no-api", "--config-file", path)

    def save(self, folder):
        raise OSError("only QEMU's machines can be saved here")


def there():
    return shutil.which(PROGRAM) is not None
