"""What Firecracker and Cloud Hypervisor are told, held against what they document; they boot where they and KVM are."""

import json
import pathlib

import pytest

from microvm import cloud_hypervisor, firecracker, qemu, vmlinux
from microvm.choose import choose
from microvm.machine import guestd_arguments

FOLDER = pathlib.Path("/run/m")
# Of Firecracker's swagger: each object's required fields, and the types of those that are used.
DOCUMENTED = {
    "boot-source": ({"kernel_image_path"}, {"kernel_image_path": str, "boot_args": str, "initrd_path": str}),
    "drives": ({"drive_id", "is_root_device"},
               {"drive_id": str, "path_on_host": str, "is_root_device": bool, "is_read_only": bool}),
    "machine-config": ({"vcpu_count", "mem_size_mib"}, {"vcpu_count": int, "mem_size_mib": int}),
    "vsock": ({"guest_cid", "uds_path"}, {"guest_cid": int, "uds_path": str}),
}


@pytest.fixture
def configuration():
    config = firecracker.config(FOLDER, FOLDER / "vmlinux", FOLDER / "initrd", 512, 2, guestd_arguments(["guestd.log=debug"]))
    return json.loads(json.dumps(config))


def test_firecracker_s_fields_are_documented_ones(configuration):
    assert set(configuration) == set(DOCUMENTED)
    for name, (required, types) in DOCUMENTED.items():
        value = configuration[name]
        for each in value if isinstance(value, list) else [value]:
            assert required <= set(each) <= set(types), name
            for field, type_ in types.items():
                assert field not in each or type(each[field]) is type_, (name, field)


def test_firecracker_s_values(configuration):
    assert configuration["machine-config"] == {"vcpu_count": 2, "mem_size_mib": 512}
    assert configuration["vsock"] == {"guest_cid": 3, "uds_path": "/run/m/v.sock"}  # 0, 1 and 2 are taken
    words = configuration["boot-source"]["boot_args"].split()
    assert {"console=ttyS0", "guestd.listen=vsock:1024", "guestd.ready=vsock:2:9999", "guestd.log=debug"} <= set(words)


def test_cloud_hypervisor_s_arguments():
    command = cloud_hypervisor.command(FOLDER, FOLDER / "vmlinux", FOLDER / "initrd", 512, 2, guestd_arguments([]))
    assert command[0] == "cloud-hypervisor"
    options = dict(zip(command[1::2], command[2::2]))
    cmdline = options.pop("--cmdline").split()
    assert options == {
        "--kernel": "/run/m/vmlinux", "--initramfs": "/run/m/initrd", "--cpus": "boot=2", "--memory": "size=512M",
        "--disk": "path=/run/m/disk.ext4,image_type=raw", "--vsock": "cid=3,socket=/run/m/v.sock", "--serial": "file=/run/m/console",
        "--console": "off"}
    assert {"console=ttyS0", "guestd.listen=vsock:1024", "guestd.ready=vsock:2:9999"} <= set(cmdline)


def test_the_kernel_is_taken_out_of_its_image():
    kernel = vmlinux.vmlinux().read_bytes()
    assert kernel[:4] == b"\x7fELF" and b"Linux version " in kernel
    with pytest.raises(ValueError):
        vmlinux.payload(b"\x7fELF, but not packed" * 100)


def test_who_is_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERVISOR", raising=False)
    monkeypatch.setenv("ACCEL", "tcg")
    assert choose(tmp_path).hypervisor == "qemu"
    monkeypatch.setenv("ACCEL", "kvm")
    for name in ("firecracker", "cloud-hypervisor"):
        programs = tmp_path / name
        programs.mkdir()
        (programs / name).touch(0o755)
        monkeypatch.setenv("PATH", str(programs))
        assert choose(tmp_path).hypervisor == name
    monkeypatch.setenv("HYPERVISOR", "qemu")
    assert choose(tmp_path).hypervisor == "qemu"


@pytest.mark.parametrize("name", ["firecracker", "cloud-hypervisor"])
def test_it_boots(name, rootfs, tmp_path, monkeypatch):
    module = {"firecracker": firecracker, "cloud-hypervisor": cloud_hypervisor}[name]
    if not module.there() or qemu.accel(tmp_path) != "kvm":
        pytest.skip("no %s with a working KVM here" % name)
    monkeypatch.setenv("HYPERVISOR", name)
    with choose(tmp_path)(tmp_path, rootfs) as machine:
        machine.wait_ready()
