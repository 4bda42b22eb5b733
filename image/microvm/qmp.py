"""QEMU's machine protocol: one JSON object a line on a Unix socket, as much of it as a snapshot needs.

https://www.qemu.org/docs/master/interop/qmp-spec.html
"""

import array
import json
import socket
import time


class QmpError(Exception):
    """QEMU refused a command, or is gone."""


class Qmp:
    """One session. QEMU serves one at a time: it is opened for what is to be done, and closed."""

    def __init__(self, path, timeout=30):
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
            self.lines = self.socket.makefile("rb")
            self.read()  # the greeting
            self("qmp_capabilities")
        except BaseException:
            self.socket.close()
            raise

    def read(self):
        line = self.lines.readline()
        if not line:
            raise QmpError("QEMU closed its socket")
        return json.loads(line)

    def __call__(self, command, arguments=None, fd=None):
        """The command's answer. `fd` goes along with it."""
        line = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        if fd is None:
            self.socket.sendall(line)
        else:
            self.socket.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{command}: {answer['error'].get('desc')}")
            else:
                return answer["return"]

    def event(self, name, **data):
        """Waits for an event, unless it has come already, that says all of `data`."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    return event
            self.events.append(self.read())

    def until(self, condition, what, timeout=30):
        """Asks again until condition(self) is true: for what QEMU tells by no event."""
        deadline = time.monotonic() + timeout
        while not condition(self):
            if time.monotonic() > deadline:
                raise QmpError(f"QEMU: {what} in vain for {timeout} s")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.lines.close()
        self.socket.close()
