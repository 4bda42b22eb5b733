"""The distribution's kernel as an uncompressed ELF file, which Firecracker and Cloud Hypervisor boot: taken out of the bzImage
once, and kept beside it. Linux's scripts/extract-vmlinux looks for the same marks."""

import os
import subprocess

from .parts import CACHE, make

# What a compressed payload begins with, and who unpacks it. Behind it the bzImage goes on, which each complains about.
PACKERS = {
    b"\x02\x21\x4c\x18": ["lz4", "-dc"],
    b"\x28\xb5\x2f\xfd": ["zstd", "-dcq"],
    b"\xfd7zXZ\x00": ["xz", "-dcq", "--single-stream"],
    b"\x1f\x8b\x08": ["gzip", "-dcq"],
}
ELF = b"\x7fELF"


def payload(image):
    """The ELF file in a bzImage's bytes."""
    for mark, command in PACKERS.items():
        at = image.find(mark)
        while at >= 0:
            run = subprocess.run(command, input=image[at:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if run.stdout.startswith(ELF):
                return run.stdout
            at = image.find(mark, at + 1)
    raise ValueError("no kernel of a known compression in the image")


def vmlinux():
    """Its path."""
    make("initrd.sh")
    path = CACHE / "kernel/vmlinux"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")  # others may be at it, too
        part.write_bytes(payload((CACHE / "kernel/vmlinuz").read_bytes()))
        part.rename(path)
    return path
