"""A booted capsule for tests: image/'s machine in a folder of its own, and clients of the guestd in it."""

import pathlib
import shutil
import signal
import tempfile
import time

import guestproto
import guestproto_wire
import microvm


def short_folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="vm-"))  # socket paths end at 107 bytes


class Capsule(microvm.Machine):
    """Boots, and waits until guestd has said `ready`, which stays as `ready_params`."""

    def __init__(self, rootfs, arguments=(), **more):
        super().__init__(short_folder(), rootfs, arguments, **more)
        try:
            kind, msgid, method, self.ready_params = guestproto_wire.decode_body(self.wait_ready())
            assert (kind, msgid, method) == (0, 0, "ready")
        except BaseException:
            self.close()
            raise

    def connect(self):
        return guestproto.connect(self.address, timeout=30)

    def pause(self, seconds):
        """The machine stands still, as one that was suspended; its clocks have jumped when it goes on."""
        self.qemu.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.qemu.send_signal(signal.SIGCONT)

    def close(self):
        super().close()
        shutil.rmtree(self.directory, ignore_errors=True)
