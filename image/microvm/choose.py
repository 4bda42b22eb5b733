"""Which hypervisor starts a machine for a person: the small ones where they and a working KVM are there, QEMU otherwise."""

import os

from . import cloud_hypervisor, firecracker, qemu
from .machine import Machine

KINDS = {"firecracker": firecracker.Firecracker, "cloud-hypervisor": cloud_hypervisor.CloudHypervisor, "qemu": Machine}


def choose(directory):
    """The class. HYPERVISOR in the environment decides instead."""
    asked = os.environ.get("HYPERVISOR")
    if asked:
        return KINDS[asked]
    if qemu.accel(directory) == "kvm":
        for module, kind in ((firecracker, "firecracker"), (cloud_hypervisor, "cloud-hypervisor")):
            if module.there():
                return KINDS[kind]
    return Machine
