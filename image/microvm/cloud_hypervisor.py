"""Cloud Hypervisor: one machine from its command line. It needs KVM; its vsock is a Unix socket in Firecracker's style.

https://github.com/cloud-hypervisor/cloud-hypervisor/tree/main/docs
"""

import shutil

from . import disk, qemu
from .machine import Machine, Settings, guestd_arguments
from .parts import CACHE
from .vmlinux import vmlinux

PROGRAM = "cloud-hypervisor"
KERNEL = "console=ttyS0 quiet panic=-1 cryptomgr.notests"
DISK = "disk.ext4"


def command(directory, kernel, initrd, memory, vcpus, arguments):
    return [
        PROGRAM,
        "--kernel", str(kernel),
        "--initramfs", str(initrd),
        "--cmdline", " ".join([KERNEL, *arguments]),
        "--cpus", f"boot={vcpus}",
        "--memory", f"size={memory}M",
        # Since v51 it lets nobody write the first sector of a disk whose type it had to find out.
        "--disk", f"path={directory / DISK},image_type=raw",
        "--vsock", f"cid={qemu.CID},socket={directory / 'v.sock'}",
        "--serial", f"file={directory / 'console'}",
        "--console", "off",
    ]  # fmt: skip


class CloudHypervisor(Machine):
    """As Machine, but that it can't be saved here: its own snapshots are taken by its API."""

    hypervisor = PROGRAM

    def __init__(self, directory, rootfs, arguments=(), memory=512, vcpus=1):
        self._place(directory)
        self.settings = Settings("kvm", memory, vcpus, list(arguments))
        disk.copy(rootfs, self.directory / DISK)
        with self._or_close():
            self._start_hypervisor(*command(
                self.directory, vmlinux(), CACHE / "initrd", memory, vcpus, guestd_arguments(arguments)))

    def save(self, folder):
        raise OSError("only QEMU's machines can be saved here")


def there():
    return shutil.which(PROGRAM) is not None
