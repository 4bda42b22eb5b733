"""What machines are made of, and where it is kept: the scripts of image/ make it once."""

import os
import pathlib
import subprocess

IMAGE = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(
    os.environ.get("GUESTD_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "guestd"
)


def make(script):
    """Runs a script of image/, which finds its work done or does it. Returns what it printed."""
    return subprocess.run(["sh", IMAGE / script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
