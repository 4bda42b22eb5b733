"""How long a boot takes, and which part of it is guestd's; what starts machines for a person."""

import json
import pathlib
import re
import signal
import subprocess

import guestproto
import pytest
from microvm import phases, process
from readme import ROOT


def test_the_phases_of_a_boot_add_up(boot, capsys):
    """What boot.sh prints. guestd's own part is from the exec of /sbin/init to `ready`."""
    capsule = boot()
    uptime_ms = capsule.ready_params["uptime_ms"]
    boot_phases = capsule.phases(uptime_ms)
    with capsys.disabled():
        print("\nboot: %s" % boot_phases)
    assert min(boot_phases.hypervisor, boot_phases.kernel, boot_phases.guestd) > 0
    assert boot_phases.kernel + boot_phases.guestd == uptime_ms
    with capsule.connect() as client:  # its own word for when it began
        began_ms = client.ping()["uptime_ms"] - client.info()["supervisor_uptime_ms"]
    assert boot_phases.kernel < began_ms < uptime_ms


def test_the_first_request_finds_what_was_put_off(boot):
    """`ready` doesn't wait for the loopback and the cgroups; programs do."""
    with boot().connect() as client:
        first = client.commands.run("cat /sys/class/net/lo/flags /proc/self/cgroup /proc/1/cgroup; "
                                    "cat /proc/$(pidof guestd-agent)/cgroup", limits={"memory_max": 64 << 20})
        flags, job, supervisor, agent = first.stdout.split()
        assert int(flags, 16) & 1
        group = re.fullmatch(r"0::(/guestd-[0-9a-f]{16})/jobs/\d+", job)
        assert group and supervisor == agent == "0::%s/self" % group[1]


def test_a_tcp_listener_has_its_loopback_before(boot):
    with boot("guestd.listen=tcp:127.0.0.1:7000", "guestd.no-token").connect() as client:
        assert client.commands.run("guestctl --connect tcp:127.0.0.1:7000 ping").exit_code == 0


def test_a_console_without_the_stamp_tells_nothing():
    assert phases.measure(2000, 1500, "another's initramfs") is None
    assert str(phases.measure(2000, 1500, "init: executing /sbin/init at 1400999 us")) == (
        "hypervisor 500 ms, kernel 1400 ms, guestd 100 ms")


def test_boot_sh_boots_one_image_and_tells_where(rootfs):
    with subprocess.Popen(["sh", ROOT / "image/boot.sh", rootfs], stdout=subprocess.PIPE, text=True) as machine:
        told = {}
        for line in machine.stdout:
            word, _, rest = line.strip().partition(" ")
            told[word] = rest
            if word == "ready":
                break
        assert list(told) == ["hypervisor", "accel", "phases", "ready"]
        assert re.fullmatch(r"hypervisor \d+ ms, kernel \d+ ms, guestd \d+ ms", told["phases"])
        with guestproto.connect(told["ready"], timeout=30) as client:
            assert client.commands.run("echo on").stdout == "on\n"
            client.shutdown("poweroff")
        assert machine.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_boot_sh_ends_the_machine_and_leaves_nothing(rootfs, number):
    with subprocess.Popen(["sh", ROOT / "image/boot.sh", rootfs], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as machine:
        ready = next(line for line in machine.stdout if line.startswith("ready"))
        folder = pathlib.Path(ready.split(":")[1]).parent
        running = json.loads((folder / "running.json").read_text())
        machine.send_signal(number)
        assert machine.wait(30) == 128 + number
        assert machine.stderr.read() == ""
    assert not folder.exists()
    for name in ("qemu", "backend"):
        with pytest.raises(ProcessLookupError):
            process.Adopted(*running[name])
