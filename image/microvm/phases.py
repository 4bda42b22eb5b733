"""Where the time of a boot goes: the hypervisor's start, the kernel with its initramfs, guestd.

Two clocks tell it. The host's says when the hypervisor was started and when `ready` came. The guest's CLOCK_BOOTTIME says when
/sbin/init was executed (init.c writes it on the console just before) and when guestd sent `ready` (its uptime_ms). They
meet at `ready`, which is on its way for less than a millisecond.
"""

import dataclasses
import re

STAMP = re.compile(r"init: executing /sbin/init at (\d+) us")


@dataclasses.dataclass
class Phases:
    """Milliseconds."""

    hypervisor: int  # from its start to the kernel's clock
    kernel: int      # to the exec of /sbin/init: the initramfs with its modules is in it
    guestd: int      # to `ready`: guestd's own part

    def __str__(self):
        return "hypervisor %d ms, kernel %d ms, guestd %d ms" % (self.hypervisor, self.kernel, self.guestd)


def measure(since_start_ms, uptime_ms, console):
    """`since_start_ms` and `uptime_ms` when `ready` came; None where the console has no stamp, as of another's initramfs."""
    stamp = STAMP.search(console)
    if not stamp:
        return None
    init_ms = int(stamp[1]) // 1000
    return Phases(round(since_start_ms) - uptime_ms, init_ms, uptime_ms - init_ms)
