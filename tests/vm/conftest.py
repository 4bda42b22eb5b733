"""Fixtures of the tests in a booted microVM: the release binary as its init, real vsock to it.

GUESTD names the binary (tests/vm/run.sh makes it); guestctl beside it comes along. Each skip says what is missing.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "proto/python"), str(ROOT / "image"), str(ROOT / "tests/e2e"), str(ROOT / "tests/vm")]

import vmlib  # noqa: E402  (its imports need the path above)


@pytest.fixture(scope="session")
def rootfs():
    """The image that every machine here boots; none writes to it."""
    guestd = os.environ.get("GUESTD")
    if not guestd:
        pytest.skip("GUESTD names no binary: run tests/vm/run.sh")
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("no QEMU here")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vm-image-"))
    subprocess.run(["sh", ROOT / "image/rootfs.sh", guestd, folder / "root.ext4"], check=True)
    yield folder / "root.ext4"
    shutil.rmtree(folder)


@pytest.fixture
def boot(rootfs):
    """boot(*kernel_arguments) → a machine of the test's own, with guestd ready in it."""
    running = []

    def start(*arguments):
        running.append(vmlib.Capsule(rootfs, arguments))
        return running[-1]

    yield start
    for capsule in running:
        capsule.close()


@pytest.fixture(scope="session")
def capsule(rootfs):
    """The machine that most tests share."""
    with vmlib.Capsule(rootfs) as capsule:
        yield capsule


@pytest.fixture
def client(capsule):
    with capsule.connect() as client:
        yield client
