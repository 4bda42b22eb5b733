"""A booted capsule for tests: image/boot.py's machine in a folder of its own, and clients of the guestd in it."""

import pathlib
import shutil
import signal
import tempfile
import time

import boot
import guestproto
import guestproto_wire


class Capsule(boot.Machine):
    """Boots, and waits until guestd has said `ready`, which stays as `ready_params`."""

    def __init__(self, rootfs, arguments=()):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="vm-"))  # short: socket paths end at 107 bytes
        super().__init__(folder, rootfs, arguments)
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
