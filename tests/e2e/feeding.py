"""What the test_input*.py share: programs that read their stdin, or don't, and who feeds them."""

import spec_client as sc
from until import SLOWER

BUFFER = 1 << 20  # limits.stdin_buffer
CREDIT = 256 << 10  # limits.stream_credit


def ask(client, method, **params):
    """The result, or the error as (code, field, data)."""
    try:
        return client.call(method, **params)
    except sc.AgentError as error:
        return error.code, error.field, error.data


def cat(client, **params):
    """`cat`, waiting for its stdin, in the background."""
    return client.call("exec", cmd="cat", stdin_open=True, background=True, **params)["pid"]


def sleeper(client, **params):
    """One that never reads."""
    return client.call("exec", cmd="sleep", args=["1000"], stdin_open=True, background=True, **params)["pid"]


def result(client, pid):
    return client.call("process.wait", pid=pid, output=True, encoding="raw", within=60 * SLOWER)


class Feeder:
    """Feeds a process `total` bytes by process.input, several requests at once, and goes on where it was told."""

    def __init__(self, pid, block, total):
        self.pid, self.block, self.total, self.off = pid, block, total, 0

    def piece(self, at):
        return self.block[at % len(self.block):][:min(50000, self.total - at)]

    def start(self, client, most=4):
        at, calls = self.off, []
        while len(calls) < most and at < self.total:
            calls.append(client.start("process.input", pid=self.pid, data=self.piece(at), off=at))
            at += len(self.piece(at))
        return calls

    def hear(self, calls):
        for call in calls:
            try:
                self.off = max(self.off, call.wait(30 * SLOWER)["off"])
            except sc.AgentError as error:  # no room, or a hole where there was no room
                assert error.code in ("busy", "invalid_request"), error
                self.off = max(self.off, error.data["off"])

    def feed(self, client, goal):
        while self.off < goal:
            self.hear(self.start(client))
