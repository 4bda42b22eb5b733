"""The README's C program, compiled and run; only the address is put in its place. Its Python boots a machine: tests/vm."""

import pathlib
import shutil
import subprocess

import pytest

from readme import ROOT, program
from server import GUESTD


@pytest.mark.plain_only
def test_the_c_program(guestd, tmp_path):
    if not shutil.which("cc"):
        pytest.skip("no C compiler here")
    text = program("c")
    assert text.count("firecracker:/run/vm/v.sock:1024") == 1
    (tmp_path / "host.c").write_text(text.replace("firecracker:/run/vm/v.sock:1024", guestd.address))
    library = pathlib.Path(GUESTD).resolve().parents[1] / "proto/client/libguestproto.a"
    # Debian 13 calls it by another name.
    msgpack = subprocess.run("pkg-config --cflags --libs msgpack 2>/dev/null || pkg-config --cflags --libs msgpack-c",
                             shell=True, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "proto/client", "-o", "host", "host.c", library,
                    *msgpack], cwd=tmp_path, check=True)
    run = subprocess.run([tmp_path / "host"], stdout=subprocess.PIPE, text=True, check=True, timeout=20)
    assert run.stdout == "Linux\n"
