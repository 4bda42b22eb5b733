"""guestd baked into root filesystems of other people's: what starts it there, and that it answers."""

import pathlib
import shutil
import subprocess

import pytest
from conftest import IMAGE, script, unpack
from until import until

MUSL_LOADER = pathlib.Path("/lib/ld-musl-x86_64.so.1")
OPTIONS = ["--listen", "vsock:1024", "--ready", "vsock:2:9999"]


def said(client, command):
    result = client.commands.run(command, timeout=60)
    assert result.exit_code == 0, result
    return result.stdout.strip()


def refused(*arguments):
    run = subprocess.run(["sh", IMAGE / "add.sh", *arguments], stderr=subprocess.PIPE, text=True)
    assert run.returncode == 1
    return run.stderr


def alpine_like(root):
    """musl's loader, busybox, which is its init by name, and a program that is linked to musl."""
    if not MUSL_LOADER.exists() or not shutil.which("musl-gcc"):
        pytest.skip("no musl on this machine: install musl-tools")
    for folder in ("bin", "sbin", "lib", "etc"):
        (root / folder).mkdir()
    shutil.copy(MUSL_LOADER.resolve(), root / "lib" / MUSL_LOADER.name)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("/bin/busybox")
    (root / "sbin/init").symlink_to("/bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    program = 'printf("musl\\n")'
    subprocess.run(["musl-gcc", "-x", "c", "-include", "stdio.h", "-o", root / "bin/hello", "-"], check=True, text=True,
                   input="int main(void) { return %s < 0; }" % program)


def test_empty(root, boot):
    """No shell, no libc, no folder: but guestd is its init, and a program of its own kind runs."""
    assert script("add.sh", root) == "init"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()) == [
        "sbin/init", "usr/local/bin/guestctl"]
    with boot(root).connect() as client:
        assert client.call("exec", cmd="guestctl", args=["--version"])["stdout"].startswith("guestctl ")
        assert client.files.read("/proc/1/comm") == b"init\n"
        client.files.write("/deep/er/file", b"x", create_parents=True)
        assert client.files.read("/deep/er/file") == b"x"


def test_alpine_like(root, boot):
    alpine_like(root)
    assert script("add.sh", root) == "init"
    assert not (root / "sbin/init").is_symlink() and (root / "bin/busybox").stat().st_size > 100000
    with boot(root).connect() as client:
        assert said(client, "hello; readlink /proc/1/exe").split() == ["musl", "/sbin/init"]


@pytest.fixture(scope="module")
def systemd():
    return script("debian.sh", "systemd-sysv")


@pytest.fixture(scope="module")
def openrc():
    return script("debian.sh", "openrc", "sysvinit-core")


def main_pid(client):
    return said(client, "systemctl show -P MainPID guestd")


def test_beside_systemd(systemd, root, boot):
    unpack(systemd, root)
    assert script("add.sh", root, *OPTIONS) == "systemd"
    quick = root / "etc/systemd/system/guestd.service.d/quick.conf"
    quick.parent.mkdir()
    quick.write_text("[Service]\nWatchdogSec=6s\n")
    machine = boot(root)
    with machine.connect() as client:
        assert client.hello()["kill_tree"] == "cgroup"
        limits = {"memory_max": 64 << 20, "pids_max": 50, "cpu_max": 1}
        assert client.commands.run("true", limits=limits).exit_code == 0  # all three were given on to it
        assert said(client, "readlink /proc/1/exe").endswith("/systemd")
        until(lambda: said(client, "systemctl is-active guestd; true") == "active", "systemd has heard READY=1", 60)
        assert said(client, "systemctl show -P WatchdogUSec guestd") == "6s"
        assert "/system.slice/guestd.service/" in said(client, "cat /proc/self/cgroup")
        before = main_pid(client)
        # Its supervisor hangs: the watchdog's time runs out, and guestd is started anew.
        client.call("exec", cmd="sh", args=["-c", "sleep 0.5; kill -STOP %s" % before], background=True)
    machine.wait_ready(120)
    with machine.connect() as client:
        assert main_pid(client) != before
        assert said(client, "systemctl show -P NRestarts guestd") == "1"
        assert "watchdog" in said(client, "journalctl -b -u guestd | tail -n 20").lower()
        client.commands.run("systemctl poweroff", background=True)
        assert machine.wait_ended(120) == 0


def test_beside_openrc(openrc, root, boot):
    unpack(openrc, root)
    assert script("add.sh", root, *OPTIONS) == "openrc"
    machine = boot(root)
    with machine.connect() as client:
        assert said(client, "cat /proc/1/comm") == "init"
        assert not said(client, "readlink /proc/1/exe").endswith("guestd")
        until(lambda: "started" in said(client, "rc-service guestd status 2>&1; true"), "OpenRC has it started", 60)
        client.call("exec", cmd="sh", args=["-c", "sleep 0.5; kill -KILL $PPID"], background=True)
    machine.wait_ready(120)
    with machine.connect() as client:
        client.commands.run("poweroff", background=True)
        assert machine.wait_ended(120) == 0


def test_twice_is_an_update(root):
    assert script("add.sh", root) == "init"
    (root / "sbin/init").write_bytes(b"guestd-agent of long ago")
    assert script("add.sh", root) == "init"
    assert (root / "sbin/init").stat().st_size > 100000


def test_an_init_of_another_kind(root):
    (root / "sbin").mkdir()
    (root / "sbin/init").write_bytes(b"runit")
    assert "--init" in refused(root)
    assert (root / "sbin/init").read_bytes() == b"runit"
    assert script("add.sh", "--init", root) == "init"
    assert (root / "sbin/init").read_bytes() != b"runit"


def test_links_lead_to_no_other_tree(root, tmp_path):
    """/sbin of somebody's tree points to this machine's own, as it would look once it is the root."""
    (tmp_path / "sbin").mkdir()
    (root / "sbin").symlink_to(tmp_path / "sbin")
    assert "leads out of" in refused(root)
    assert list((tmp_path / "sbin").iterdir()) == []


def test_options_are_for_services(root):
    assert "command line" in refused(root, "--listen", "vsock:1")
    assert list(root.iterdir()) == []
