"""One host agent, started as its users start it, killed and started again, and looked over when it ends."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

from asking import Api
from until import until

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """`serve` with capsules as `container` or as `vm`; what it keeps is in a folder of the test's own."""

    def __init__(self, capsules, *options, env=None):
        self.options, self.env = options, env
        self.capsules, self.port, self.key = capsules, free_port(), "wrn_" + os.urandom(8).hex()
        self.url = "http://127.0.0.1:%d" % self.port
        self.api = Api(self.url, self.key)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="host-"))  # short: socket paths end at 107 bytes
        self.process = None
        self.start()

    def start(self):
        self.log = self.folder / "log"
        with open(self.log, "ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [HERE / "serve", "--port", str(self.port), "--key", self.key, "--capsules", self.capsules,
                 "--state", self.folder / "state", *self.options],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

        def listening():
            assert self.process.poll() is None, "serve ended:\n" + self.said(begin)
            return "listening" in self.said(begin)
        until(listening, "serve listens", 300)  # the first one builds the templates

    def said(self, begin=0):
        with open(self.log, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def kill(self):
        """As the OOM killer would: nothing is said, nothing is tidied up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        """Destroys what still runs and ends the agent; it has to end by itself when it is asked to."""
        try:
            if self.process.poll() is None:
                for capsule in self.api.get("/capsules"):
                    if capsule["status"] != "stopped":
                        self.api.destroy(capsule["id"])
                self.process.terminate()
                self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
