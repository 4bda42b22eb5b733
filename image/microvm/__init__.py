"""MicroVMs with a vsock on a Unix socket, the way Firecracker shows it. See machine.Machine."""

from .machine import Machine
from .qmp import QmpError

__all__ = ["Machine", "QmpError"]
