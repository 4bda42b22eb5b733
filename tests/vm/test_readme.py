"""The README's Python, as it stands there: a capsule that is booted from a disk, and used."""

import os
import subprocess
import sys

from readme import ROOT, program


def test_the_python_program(rootfs, tmp_path):
    (tmp_path / "root.ext4").symlink_to(rootfs)
    run = subprocess.run([sys.executable, "-c", program("python")], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                         check=True, timeout=120,
                         env={**os.environ, "PYTHONPATH": "%s/image:%s/proto/python" % (ROOT, ROOT)})
    assert run.stdout == "hello from Linux\ngood morning, capsule\n"
