"""The release binaries run unchanged in any root filesystem: Debian, one of musl and busybox, and an empty one.

Each root is entered by chroot in fresh mount, pid and network namespaces, so guestd is PID 1 there. RELEASE names the
folder with the binaries; without it image/release.sh makes them (its libraries are cached).
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "proto/python"), str(TREE / "tests/e2e")]

import upgrades  # noqa: E402
from guestproto import connect  # noqa: E402
from until import until  # noqa: E402

MUSL_LOADER = pathlib.Path("/lib/ld-musl-x86_64.so.1")


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    given = os.environ.get("RELEASE")
    if given:
        return pathlib.Path(given)
    out = tmp_path_factory.mktemp("release")
    made = subprocess.run(["sh", str(TREE / "image/release.sh"), str(out)], stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        pytest.skip("the release binaries can't be made here: " + made.stderr.strip().splitlines()[-1])
    return out


@pytest.fixture
def root(tmp_path, release):
    """An empty root with the two binaries, nothing else."""
    top = tmp_path / "root"
    top.mkdir()
    for name in ("guestd", "guestctl"):
        shutil.copy(release / name, top / name)
    return top


class Capsule:
    """guestd as PID 1 in a root, on a Unix socket that is in it."""

    def __init__(self, root, setup="true"):
        self.socket = root / "s"
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--propagation",
             "private", "sh", "-ec", setup + '\nexec chroot "$1" /guestd --listen unix:/s', "sh", str(root)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        def answered():
            assert self.process.poll() is None, self.process.stdout.read().decode()
            try:
                return connect("unix:%s" % self.socket)
            except OSError:
                return None
        self.client = until(answered, "guestd answers in its root", 20)
        return self.client

    def __exit__(self, *error):
        self.client.call("shutdown", mode="exit", grace=1)
        self.client.close()
        assert self.process.wait(20) == 0
        assert not self.socket.exists()


def test_release_binaries_are_static_and_small(release):
    for name in ("guestd", "guestctl"):
        said = subprocess.run(["readelf", "-ld", str(release / name)], stdout=subprocess.PIPE, text=True).stdout
        assert "INTERP" not in said and "NEEDED" not in said
    assert (release / "guestd").stat().st_size <= 500 * 1024


def test_empty_root(root):
    """Nothing but guestd and guestctl: no libc, no shell, no passwd, no /proc, no /dev/null."""
    with Capsule(root) as client:
        done = client.call("exec", cmd="/guestctl", args=["--version"])
        assert done["exit_code"] == 0 and done["stdout"].startswith("guestctl")
        assert client.call("info")["pid1"] is True
        written = client.call("file.write", path="/deep/er/f", data=b"x", create_parents=True)
        assert written["entry"]["owner"] == "0"
        names = [entry["name"] for entry in client.call("file.list", path="/")["entries"]]
        assert {"guestd", "guestctl", "deep"} <= set(names)
        assert client.upgrade("/guestd", upgrades.digest(root / "guestd"), supervisor=True)["state"] == "done"
        assert client.call("exec", cmd="/guestctl", args=["--version"])["exit_code"] == 0
        assert client.info()["reexecs"] == 1


def test_musl_and_busybox_root(root, tmp_path):
    """As Alpine is: a dynamic musl program, busybox, its own passwd."""
    if not MUSL_LOADER.exists() or not shutil.which("musl-gcc"):
        pytest.skip("no musl on this machine: install musl-tools")
    for folder in ("bin", "lib", "etc", "proc", "dev", "tmp"):
        (root / folder).mkdir()
    shutil.copy(MUSL_LOADER.resolve(), root / "lib" / MUSL_LOADER.name)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in ("sh", "cat", "id", "sleep"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalpine:x:405:100::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nusers:x:100:\nwheel:x:10:alpine\n")
    source = tmp_path / "hello.c"
    source.write_text('#include <stdio.h>\nint main(void) { return puts("musl") < 0; }\n')
    subprocess.run(["musl-gcc", "-o", str(root / "bin/hello"), str(source)], check=True)
    with Capsule(root) as client:
        assert client.call("exec", cmd="hello")["stdout"] == "musl\n"
        done = client.call("exec", cmd="sh", args=["-c", "id -u; id -G; cat"], user="alpine", stdin=b"in")
        assert done["stdout"] == "405\n100 10\nin"
        assert client.call("file.stat", path="/etc/passwd")["entry"]["owner"] == "root"


def test_debian_root(root):
    """This machine's own system, seen from below: glibc's programs, its users."""
    if not pathlib.Path("/etc/debian_version").exists():
        pytest.skip("this machine is no Debian")
    setup = 'for d in usr bin lib lib64 etc sbin; do [ -d "/$d" ] || continue; mkdir -p "$1/$d"; mount --rbind "/$d" "$1/$d"; done'
    with Capsule(root, setup) as client:
        done = client.call("exec", cmd="bash", args=["-c", "cat /etc/debian_version; id -un"], user="daemon")
        assert done["exit_code"] == 0
        assert done["stdout"].splitlines()[1] == "daemon"
