"""A machine's disk: the image it was made from, which nobody writes to, and what the machine wrote, in a file over it.

A folder has both under fixed names, the upper one naming the lower as its neighbour: the folder may be moved, and what
made the image may make another in its place.
"""

import os
import pathlib
import shutil
import subprocess

BASE = "base"
DISK = "disk.qcow2"


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", "--", source, target], check=True)


def share(source, target):
    """The same file under one more name; a copy where the file systems differ."""
    pathlib.Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        copy(source, target)


def create(directory, rootfs):
    """A disk for a new machine. `rootfs` must be replaced, not overwritten, as long as the machine or a snapshot lives."""
    share(pathlib.Path(rootfs).resolve(), directory / BASE)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", BASE, directory / DISK]
    subprocess.run(command, check=True, cwd=directory)


def keep(directory, folder):
    """Moves an ended machine's disk into a snapshot, and sees it written."""
    share(directory / BASE, folder / BASE)
    shutil.move(directory / DISK, folder / DISK)
    with open(folder / DISK, "rb") as file:
        os.fsync(file.fileno())


def bring_back(folder, directory):
    """A snapshot's disk for one more machine: what was written is copied, the image is not."""
    share(folder / BASE, directory / BASE)
    copy(folder / DISK, directory / DISK)
