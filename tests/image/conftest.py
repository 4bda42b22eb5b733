"""Fixtures of the tests of images: root filesystems, made by image/'s scripts, and machines that boot them.

Run by run.sh, which sees to what is needed. A template that is there already of the same inputs is not made again.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = ROOT / "image"
sys.path[:0] = [str(ROOT / "proto/python"), str(IMAGE), str(ROOT / "tests/e2e"), str(ROOT / "tests/vm")]

import vmlib  # noqa: E402  (its imports need the path above)


def script(name, *arguments, **environment):
    """Runs a script of image/. Returns the last line of what it printed."""
    run = subprocess.run(
        ["sh", IMAGE / name, *arguments], stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, **environment})  # fmt: skip
    return run.stdout.strip().rpartition("\n")[2]


def unpack(archive, folder):
    subprocess.run(["tar", "-xpf", archive, "-C", folder], check=True)
    return folder


def disk(root, file):
    """The folder as an ext4 image."""
    with open(file, "w") as image:
        image.truncate(2 << 30)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, file], check=True)
    return file


@pytest.fixture
def root():
    """An empty root filesystem."""
    with tempfile.TemporaryDirectory(prefix="root-") as folder:
        path = pathlib.Path(folder) / "root"
        path.mkdir()
        yield path


@pytest.fixture
def boot(tmp_path):
    """boot(root or image, *kernel_arguments) → a machine in which guestd is ready."""
    running = []

    def start(what, *arguments):
        image = disk(what, tmp_path / "disk.ext4") if what.is_dir() else what
        running.append(vmlib.Capsule(image, arguments))
        return running[-1]

    yield start
    for capsule in running:
        capsule.close()
