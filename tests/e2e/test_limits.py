"""Each limit of PROTOCOL.md, section 11, reached: made small by its option, told by hello, and held.

Nesting and the objects of a frame are reached in test_wire.py, retained and retained_s in test_process.py."""

import os
import threading
import time

import pytest

import procs
from expect import fails
from guestproto import Client, Connection, ConnectionLost, Data, encode_frame, open_address
from raw import Raw
from until import SLOWER, until

KIB, MIB = 1 << 10, 1 << 20


def rss(pid):
    return int(procs.status(pid, "VmRSS")[0]) * KIB


def limits(client):
    return client.hello()["limits"]


def test_connections(start):
    guestd = start("--connections", 4)
    clients = [guestd.connect() for _ in range(4)]
    assert limits(clients[0])["connections"] == 4
    with pytest.raises(ConnectionLost) as caught:
        guestd.connect()
    assert caught.value.code == "limit_exceeded"
    for client in clients:
        client.ping()
    clients.pop().close()

    def fits():
        try:
            return guestd.connect()
        except ConnectionLost:
            return None
    clients.append(until(fits, "a place is free again"))
    for client in clients:
        client.close()


def test_connections_by_default(start):
    guestd = start()
    clients = [guestd.connect() for _ in range(64)]
    with Raw(guestd) as raw:
        assert raw.refused() == "limit_exceeded"
    for client in clients:
        assert client.commands.run("echo in").stdout == "in\n"
        client.close()


def test_requests(start):
    guestd = start("--requests", 5)
    with guestd.connect() as client:
        assert limits(client)["requests"] == 5
        sleepers = [client.start("exec", cmd="sleep", args=["60"], tag="s%d" % n) for n in range(5)]
        with fails("limit_exceeded"):
            client.ping()
        assert not any(sleeper.done for sleeper in sleepers)
        with guestd.connect() as other:  # a start that is cancelled before it is one answers an error
            until(lambda: len(other.call("process.list")["processes"]) == 5, "all run")
        sleepers[0].cancel()
        sleepers[0].result(20)
        client.ping()


def test_requests_by_default(start):
    guestd = start()
    with Raw(guestd) as raw:
        raw.request(1000, "exec", {"cmd": "sleep", "args": ["60"], "background": True, "tag": "s"})
        raw.answer(1000)
        for n in range(256):
            raw.request(n, "process.wait", {"tag": "s"})
        raw.request(256, "ping")
        assert raw.answer(256)[2]["code"] == "limit_exceeded"
        raw.send([2, "stream.cancel", {"id": 0}])
        assert raw.answer(0)[2]["code"] == "cancelled"
        assert raw.works(256)


def test_bytes_of_requests_in_flight(start):
    guestd = start("--queue-connection", MIB)
    params = {"cmd": "sleep", "args": ["60"], "stdin": b"x" * (400 * KIB)}
    with Raw(guestd) as raw:
        for n in range(3):
            raw.request(n, "exec", params)
        assert raw.answer(2)[2]["code"] == "limit_exceeded"
        assert raw.works(3)
        raw.send([2, "stream.cancel", {"id": 0}])
        raw.answer(0)
        raw.request(4, "exec", {**params, "cmd": "true"})
        assert raw.answer(4)[3]["exit_code"] == 0


def test_processes(start):
    guestd = start("--processes", 3)
    with guestd.connect() as client:
        assert limits(client)["processes"] == 3
        sleepers = [client.commands.run("sleep", ["60"], background=True) for _ in range(3)]
        with fails("limit_exceeded"):
            client.commands.run("true")
        sleepers[0].kill()
        assert client.commands.run("echo on").stdout == "on\n"


def test_max_frame(start):
    guestd = start("--max-frame", 70000)
    with guestd.connect() as client:
        assert limits(client)["max_frame"] == 70000
        with pytest.raises(ValueError):  # the client knows
            client.call("file.write", path="/tmp/never", data=b"x" * 70000)
        client.ping()
    with Raw(guestd) as raw:
        raw.send_bytes((70001).to_bytes(4, "big"))
        assert raw.refused() == "too_large"


def test_stream_credit(start, folder):
    guestd = start("--stream-credit", 1000)
    with guestd.connect() as client:
        assert limits(client)["stream_credit"] == 1000
        data = os.urandom(50000)
        client.files.upload_stream(str(folder / "f"), [data])
        assert (folder / "f").read_bytes() == data
    with Raw(guestd) as raw:
        raw.request(1, "file.write", {"path": str(folder / "f"), "stream": True})
        raw.send([2, "stream.data", {"id": 1, "data": b"x" * 1001}])
        assert raw.refused() == "invalid_request"


def test_max_output(start):
    guestd = start("--max-output", 100000)
    with guestd.connect() as client:
        assert limits(client)["max_output"] == 100000
        with fails("too_large", field="max_output"):
            client.commands.run("true", max_output=100001)
        assert len(client.commands.run("head -c 200000 /dev/zero", max_output=100000).stdout) == 100000
        result = client.commands.run("head -c 200000 /dev/zero")  # the default is no more than that
        assert (result.truncated, len(result.stdout)) == (True, 100000)


def test_output_total_takes_the_oldest_exited_first(start):
    guestd = start("--output-total", 4 * MIB)
    with guestd.connect() as client:
        assert limits(client)["output_total"] == 4 * MIB
        for n in range(8):
            process = client.commands.run("head -c 1000000 /dev/zero", background=True, tag="t%d" % n)
            process.wait(20)
        newest = client.commands.wait(tag="t7", output=True)
        assert len(newest.stdout) == 1000000 and not newest.truncated
        oldest = client.commands.wait(tag="t0", output=True)
        assert (oldest.stdout, oldest.truncated, oldest.exit_code, oldest.stdout_bytes) == ("", True, 0, 1000000)
        # A capture stops keeping rather than going over it.
        result = client.commands.run("head -c 8000000 /dev/zero")
        assert (result.stdout_bytes, result.truncated, result.exit_code) == (8000000, True, 0)
        assert len(result.stdout) <= 4 * MIB


def test_output_total_bounds_many_at_once(start):
    """Sixteen running programs, each with more output than its share: memory stays within what was said."""
    guestd = start("--output-total", 8 * MIB)
    with guestd.connect() as client:
        before = memory_of_stores(guestd)
        for n in range(16):
            client.commands.run("head -c 4000000 /dev/zero; exec sleep 60", background=True, max_output=4 * MIB)
        client.ping()
        until(lambda: len([p for p in guestd.jobs() if (procs.exe(p) or "").endswith("sleep")]) == 16, "all have written")
        assert memory_of_stores(guestd) - before <= 8 * MIB + 16 * 64 * KIB


def test_starts_wait_for_the_output_that_gives_way_for_them(start):
    """Faster than the agent lets go of what exited programs left: none of them is refused for that."""
    guestd = start("--output-total", 8 * MIB)
    with guestd.connect() as client:
        before = memory_of_stores(guestd)
        for n in range(30):
            client.commands.run("head", ["-c", "250000", "/dev/zero"], background=True).wait(20)
        for _ in range(4):
            flying = [client.start("exec", cmd="sleep", args=["600"], background=True) for _ in range(150)]
            assert len({request.result(60)["pid"] for request in flying}) == 150
        assert memory_of_stores(guestd) - before <= 8 * MIB


def memory_of_stores(guestd):
    """Bytes of memory behind the memfds that the supervisor holds, each counted once."""
    blocks = {}
    for fd in os.listdir("/proc/%d/fd" % guestd.pid):
        path = "/proc/%d/fd/%s" % (guestd.pid, fd)
        try:
            if os.readlink(path).startswith("/memfd:"):
                found = os.stat(path)
                blocks[found.st_ino] = found.st_blocks * 512
        except FileNotFoundError:
            pass
    return sum(blocks.values())


def test_list_batch(start, folder):
    for n in range(25):
        (folder / ("%02d" % n)).touch()
    guestd = start("--list-batch", 10)
    with guestd.connect() as client:
        assert limits(client)["list_batch"] == 10
        request = client.start("file.list", path=str(folder), stream=True)
        assert [len(event.fields["entries"]) for event in request] == [10, 10, 5]


def test_stall_s(start):
    """A connection that takes nothing while data waits is closed, and what it started ends; an idle one is not."""
    guestd = start("--stall-s", 1)
    with guestd.connect() as idle, Raw(guestd) as raw:
        assert limits(idle)["stall_s"] == 1
        raw.request(1, "exec", {"cmd": "yes", "stream": True, "window": 1 << 31})
        until(lambda: guestd.jobs(), "it runs")
        until(lambda: not guestd.jobs(), "it is given up", 20)
        idle.ping()


def test_a_reader_that_gives_no_credit_does_not_stall(start):
    """Nothing waits for the socket: the stream waits for credit, for as long as it likes."""
    guestd = start("--stall-s", 1)
    with guestd.connect() as client:
        request = client.start("exec", cmd="echo", args=["x"], stream=True, window=0, auto_credit=False)
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            with guestd.connect() as other:
                other.ping()
        assert not request.done
        request.credit(10)
        assert [item.data for item in request if isinstance(item, Data)] == [b"x\n"]
        assert request.result(20)["exit_code"] == 0


def test_queue_connection(start, folder):
    """200 MiB are asked for at once and not taken: the agent holds a few, its other client goes on, all come."""
    (folder / "f").write_bytes(os.urandom(MIB))
    guestd = start("--queue-connection", 2 * MIB)
    with guestd.connect() as client, Raw(guestd) as raw:
        assert limits(client)["queue_connection"] == 2 * MIB
        agent = guestd.agent()
        client.call("file.read", path=str(folder / "f"))
        before = rss(agent)
        # In one piece: sent one by one they could fill the socket, where the agent no longer takes them.
        raw.send_bytes(b"".join(encode_frame([0, n, "file.read", {"path": str(folder / "f")}]) for n in range(200)))
        for _ in range(50):
            client.call("file.read", path=str(folder / "f"))
        assert rss(agent) - before < 48 * MIB
        answers = set()
        for _ in range(200):
            message = raw.recv()
            assert message[2] is None and len(message[3]["data"]) == MIB
            answers.add(message[1])
        assert answers == set(range(200))


def test_queue_total(start, folder):
    """A result that it could not hold is refused before the program starts; many connections together stay below it."""
    guestd = start("--queue-total", 2 * MIB)
    with guestd.connect() as client:
        assert limits(client)["queue_total"] == 2 * MIB
        with fails("too_large", field="max_output"):
            client.commands.run("touch %s/ran" % folder, max_output=8 * MIB)
        assert not (folder / "ran").exists()
        result = client.commands.run("head -c 8000000 /dev/zero | tr '\\0' x")
        assert result.truncated and 0 < len(result.stdout) < 2 * MIB


@pytest.mark.plain_only
def test_ping_ms_while_every_cpu_writes(start):
    guestd = start()
    with guestd.connect() as flood, guestd.connect() as client:
        streams = [flood.commands.exec_stream("yes") for _ in range(2 * os.cpu_count())]
        for stream in streams:
            assert stream.request.next(20).event == "started"
        drains = [threading.Thread(target=lambda s=s: [None for _ in s], daemon=True) for s in streams]
        for drain in drains:
            drain.start()
        slowest = 0
        for _ in range(100):
            begun = time.monotonic()
            client.ping()
            slowest = max(slowest, time.monotonic() - begun)
        for stream in streams:
            stream.cancel()
        for drain in drains:
            drain.join()
        assert slowest * 1000 <= limits(client)["ping_ms"] * SLOWER


@pytest.mark.parametrize("option, value", [("--nesting", 8), ("--watches", 7), ("--ping-ms", 300),
                                           ("--stdin-buffer", 12345), ("--retained-s", 5), ("--retained", 7)])
def test_every_limit_is_an_option(start, option, value):
    guestd = start(option, value)
    with guestd.connect() as client:
        assert limits(client)[option[2:].replace("-", "_")] == value


def test_a_client_that_takes_small_frames_gets_small_frames(start):
    guestd = start()
    with Client(Connection(open_address(guestd.address), max_frame=65536)) as client:
        client.greet()
        stream = client.commands.exec_stream("head -c 1000000 /dev/zero")
        assert sum(len(item.data) for item in stream if isinstance(item, Data)) == 1000000
