"""Open stdin: process.input, process.close_stdin, and stream.data of the exec itself."""

import hashlib
import os
import signal

import pytest

import procs
import spec_client as sc
from until import SLOWER, until

pytestmark = pytest.mark.valgrind

BUFFER = 1 << 20  # limits.stdin_buffer
CREDIT = 256 << 10  # limits.stream_credit


@pytest.fixture
def spec(guestd):
    with sc.Client(guestd.address) as client:
        client.hello()
        yield client


def refused(caught):
    """Code, field and data of an error, as a test compares them."""
    return caught.value.code, caught.value.field, caught.value.data


def ask(client, method, **params):
    """The result, or the error as (code, field, data)."""
    try:
        return client.call(method, **params)
    except sc.AgentError as error:
        return error.code, error.field, error.data


def cat(client, **params):
    """`cat`, waiting for its stdin, in the background."""
    return client.call("exec", cmd="cat", stdin_open=True, background=True, **params)["pid"]


def result(client, pid):
    return client.call("process.wait", pid=pid, output=True, encoding="raw", within=60 * SLOWER)


def sleeper(client, **params):
    """One that never reads."""
    return client.call("exec", cmd="sleep", args=["1000"], stdin_open=True, background=True, **params)["pid"]


# ── process.input ──

def test_bytes_go_in_in_order_and_end_with_close_stdin(spec):
    pid = cat(spec)
    assert spec.call("process.input", pid=pid, data=b"one ") == {"off": 4}
    assert spec.call("process.input", pid=pid, data="two ") == {"off": 8}
    assert spec.call("process.input", pid=pid, data=b"") == {"off": 8}
    assert spec.call("process.input", pid=pid, data=bytes(range(256))) == {"off": 264}
    assert spec.call("process.close_stdin", pid=pid) == {}
    end = result(spec, pid)
    assert end["stdout"] == b"one two " + bytes(range(256))
    assert (end["exit_code"], end["reason"]) == (0, "exited")


def test_requests_that_are_sent_at_once_stay_in_order(spec):
    pid = cat(spec)
    pieces = [b"%05d " % i * 50 for i in range(200)]
    calls = [spec.start("process.input", pid=pid, data=piece) for piece in pieces]
    calls.append(spec.start("process.close_stdin", pid=pid))
    offs = [call.wait(30 * SLOWER).get("off") for call in calls]
    assert offs == [300 * (i + 1) for i in range(200)] + [None]
    assert result(spec, pid)["stdout"] == b"".join(pieces)


@pytest.mark.parametrize("off, data, answer", [
    (0, b"first", {"off": 5}),             # what is there already
    (0, b"fi", {"off": 5}),                # a part of it
    (3, b"st", {"off": 5}),
    (2, b"", {"off": 5}),
    (5, b"", {"off": 5}),
    (5, b" second", {"off": 12}),          # what comes next
    (0, b"first second", {"off": 12}),     # partly a repeat
    (3, b"st second", {"off": 12}),
    (6, b"second", ("invalid_request", "off", {"off": 5})),  # with a hole before it
    (6, b"", ("invalid_request", "off", {"off": 5})),
    (1 << 62, b"x", ("invalid_request", "off", {"off": 5})),
    (-1, b"x", ("invalid_request", "off", None)),
    (None, b" second", {"off": 12}),       # nil is absent
])
def test_off_makes_a_repeat_harmless(spec, off, data, answer):
    pid = cat(spec)
    assert spec.call("process.input", pid=pid, data=b"first") == {"off": 5}
    assert ask(spec, "process.input", pid=pid, data=data, off=off) == answer
    spec.call("process.close_stdin", pid=pid)
    told = answer["off"] if type(answer) is dict else 5
    assert result(spec, pid)["stdout"] == b"first second"[:told]


def test_a_repeat_behind_a_request_under_way_is_one(spec):
    pid = cat(spec)
    calls = [spec.start("process.input", pid=pid, data=b"x" * 100000, off=0) for _ in range(5)]
    assert [call.wait(30 * SLOWER) for call in calls] == [{"off": 100000}] * 5
    spec.call("process.close_stdin", pid=pid)
    assert result(spec, pid)["stdout_bytes"] == 100000


def test_a_full_buffer_is_busy_and_takes_nothing_of_it(spec):
    pid = sleeper(spec)
    off, size = 0, 100000
    while type(answer := ask(spec, "process.input", pid=pid, data=b"x" * size)) is dict:
        off += size
        assert answer == {"off": off}
    assert answer == ("busy", "data", {"off": off})
    # What the pipe has is not of the buffer.
    assert BUFFER - size < off <= BUFFER + (1 << 20)
    assert ask(spec, "process.input", pid=pid, data=b"x" * (2 * size), off=off - size) == ("busy", "data", {"off": off})
    assert ask(spec, "process.input", pid=pid, data=b"x" * size, off=off - size) == {"off": off}  # a repeat needs no room
    while size > 1:
        size //= 2
        while type(ask(spec, "process.input", pid=pid, data=b"x" * size)) is dict:
            off += size
    assert ask(spec, "process.input", pid=pid, data=b"x") == ("busy", "data", {"off": off})
    assert ask(spec, "process.input", pid=pid, data=b"") == {"off": off}
    # Only this one is full.
    other = cat(spec)
    assert spec.call("process.input", pid=other, data=b"y" * 100000) == {"off": 100000}
    assert spec.call("process.close_stdin", pid=pid) == {}


def test_a_slow_reader_gets_everything(spec):
    script = "import os, time\nn = 0\nwhile data := os.read(0, 4096):\n n += len(data)\n" \
             "print(n)"
    pid = spec.call("exec", cmd="python3", args=["-c", script], stdin_open=True, background=True)["pid"]
    sent = 0
    while sent < 8 << 20:
        answer = ask(spec, "process.input", pid=pid, data=b"x" * 65536, off=sent)
        if type(answer) is dict:
            sent += 65536
            assert answer == {"off": sent}
        else:
            assert answer == ("busy", "data", {"off": sent})
    spec.call("process.close_stdin", pid=pid)
    assert result(spec, pid)["stdout"] == b"%d\n" % sent


def test_who_reads_no_more_is_closed_and_no_error(spec):
    pid = spec.call("exec", cmd="sh", args=["-c", "read line; exec <&-; echo $line; sleep 1000"], stdin_open=True,
                    background=True)["pid"]
    spec.call("process.input", pid=pid, data=b"hello\n")

    def closed():
        answer = spec.call("process.input", pid=pid, data=b"more\n")
        return answer if "closed" in answer else None
    answer = until(closed, "the closed stdin is noticed")
    assert answer["closed"] is True
    assert spec.call("process.input", pid=pid, data=b"more\n") == answer
    assert spec.call("process.input", pid=pid, data=b"", off=1 << 40) == answer
    assert spec.call("process.close_stdin", pid=pid) == {}
    assert spec.call("process.get", pid=pid)["state"] == "running"


def test_what_waits_for_one_that_closes_is_let_go(spec, folder):
    pid = spec.call("exec", cmd="sh", args=["-c", "until [ -e go ]; do sleep 0.01; done; exec <&-; sleep 1000"],
                    stdin_open=True, background=True, cwd=str(folder))["pid"]
    spec.call("process.input", pid=pid, data=b"x" * 1000000)
    (folder / "go").touch()
    until(lambda: "closed" in spec.call("process.input", pid=pid, data=b""), "the closed stdin is noticed")


def test_input_after_close_stdin_is_closed(spec):
    pid = sleeper(spec)
    spec.call("process.input", pid=pid, data=b"abc")
    for _ in range(2):
        assert spec.call("process.close_stdin", pid=pid) == {}
        assert spec.call("process.input", pid=pid, data=b"def") == {"off": 3, "closed": True}
        assert spec.call("process.input", pid=pid, data=b"def", off=3) == {"off": 3, "closed": True}


def test_exited_is_closed_too(spec):
    pid = spec.call("exec", cmd="head", args=["-c", "3"], stdin_open=True, background=True, tag="in-ex")["pid"]
    spec.call("process.input", tag="in-ex", data=b"abc")
    spec.call("process.wait", pid=pid)
    assert spec.call("process.input", pid=pid, data=b"def") == {"off": 3, "closed": True}
    assert spec.call("process.close_stdin", tag="in-ex") == {}


@pytest.mark.parametrize("more", [{}, {"stdin": b"x"}, {"stdin_open": False}])
def test_without_open_stdin(spec, more):
    pid = spec.call("exec", cmd="sleep", args=["1000"], background=True, **more)["pid"]
    assert ask(spec, "process.input", pid=pid, data=b"x") == ("invalid_request", "data", None)
    assert ask(spec, "process.close_stdin", pid=pid)[0] == "invalid_request"


@pytest.mark.parametrize("method", ["process.input", "process.close_stdin"])
def test_selectors(spec, method):
    pid = sleeper(spec, tag="in-select")
    data = {"data": b""} if method == "process.input" else {}
    answer = {"off": 0} if method == "process.input" else {}
    assert ask(spec, method, pid=pid, **data) == answer
    if method == "process.close_stdin" and data == {}:
        assert ask(spec, method, tag="in-select", **data) == {}
    else:
        assert ask(spec, method, tag="in-select", **data) == answer
    assert ask(spec, method, tag="in-none", **data) == ("not_found", "tag", None)
    assert ask(spec, method, pid=1, **data) == ("not_found", "pid", None)
    assert ask(spec, method, **data) == ("invalid_request", "pid", None)
    assert ask(spec, method, pid=pid, tag="in-select", **data) == ("invalid_request", "tag", None)
    assert ask(spec, method, pid=pid, more=1, **data) == ("invalid_request", "more", None)


@pytest.mark.parametrize("params, field", [
    ({}, "data"), ({"data": 5}, "data"), ({"data": [b""]}, "data"), ({"data": b"", "off": 1.0}, "off"),
    ({"data": b"", "off": "0"}, "off")])
def test_params_of_another_kind(spec, params, field):
    assert ask(spec, "process.input", pid=sleeper(spec), **params) == ("invalid_request", field, None)


def test_stdin_whole_and_open_exclude_each_other(spec):
    answer = ask(spec, "exec", cmd="true", stdin=b"", stdin_open=True)
    assert answer == ("invalid_request", "stdin", None)


def test_a_captured_foreground_exec_is_fed_from_another_connection(guestd, spec):
    call = spec.start("exec", cmd="cat", stdin_open=True, tag="in-captured")
    with sc.Client(guestd.address) as other:
        def there():
            return type(ask(other, "process.input", tag="in-captured", data=b"")) is dict
        until(there, "it runs")
        assert other.call("process.input", tag="in-captured", data=b"from elsewhere") == {"off": 14}
        other.call("process.close_stdin", tag="in-captured")
    assert call.wait(30 * SLOWER)["stdout"] == "from elsewhere"


def test_input_moves_last_active_at(spec):
    pid = cat(spec)
    before = spec.call("ping", touch=False)["last_active_at"]
    spec.call("process.input", pid=pid, data=b"x")
    assert spec.call("ping", touch=False)["last_active_at"] > before


def test_a_cancelled_foreground_exec_still_dies(spec):
    call = spec.start("exec", cmd="cat", stdin_open=True, stream=True)
    call.until(lambda: call.events)
    call.upload(b"x" * 1000)
    call.cancel()
    assert call.wait(30 * SLOWER)["reason"] == "cancelled"


def test_a_lost_connection_ends_a_foreground_run(guestd):
    with sc.Client(guestd.address) as client:
        call = client.start("exec", cmd="cat", stdin_open=True, stream=True)
        call.until(lambda: call.events)
        call.upload(b"x" * 1000)
        pid = call.events[0]["pid"]
    until(lambda: not procs.alive(pid), "it is killed")


# ── stream.data ──

def test_started_tells_where_stdin_is(spec):
    call = spec.start("exec", cmd="cat", stdin_open=True, stream=True)
    call.end()
    call.wait(30 * SLOWER)
    assert call.events[0]["stdin"] == 0
    call = spec.start("exec", cmd="cat", stream=True)
    call.wait(30 * SLOWER)
    assert "stdin" not in call.events[0]


@pytest.mark.parametrize("stream", [True, False])
def test_stream_data_feeds_stdin(spec, stream):
    """Sent without waiting for anything: the program has not started yet."""
    call = spec.start("exec", cmd="cat", stdin_open=True, stream=stream, encoding="raw")
    data = bytes(range(256)) * 4000
    call.upload(data[:100])
    call.upload(data[100:])
    call.end()
    end = call.wait(60 * SLOWER)
    assert (bytes(call.data["stdout"]) if stream else end["stdout"]) == data
    assert end["exit_code"] == 0


def test_many_small_pieces(spec):
    call = spec.start("exec", cmd="cat", stdin_open=True, stream=True)
    data = bytes(range(256)) * 20
    for i in range(len(data)):
        spec.send([2, "stream.data", {"id": call.id, "data": data[i:i + 1]}])
    spec.send([2, "stream.data", {"id": call.id, "data": b""}])
    call.end()
    call.wait(60 * SLOWER)
    assert bytes(call.data["stdout"]) == data


def test_a_lot_comes_back_byte_for_byte(spec):
    size = 100 << 20 if SLOWER == 1 else 10 << 20
    call = spec.start("exec", cmd="cat", stdin_open=True, stream=True)
    sent, got, block = hashlib.sha256(), hashlib.sha256(), os.urandom(1 << 20)
    for at in range(0, size, len(block)):
        sent.update(block)
        call.upload(block, 60 * SLOWER)
        got.update(call.data["stdout"])
        call.data["stdout"].clear()
    call.end()
    assert call.wait(60 * SLOWER)["exit_code"] == 0
    got.update(call.data["stdout"])
    assert not call.gaps and call.ends["stdout"] == size
    assert got.hexdigest() == sent.hexdigest()


def test_credit_comes_as_the_program_reads(spec, folder):
    script = "until [ -e go ]; do sleep 0.01; done; head -c 1000000 >/dev/null; sleep 1000"
    call = spec.start("exec", cmd="sh", args=["-c", script], stdin_open=True, stream=True, cwd=str(folder))
    call.upload(b"x" * CREDIT)
    assert call.credit == 0
    pipe = 64 << 10
    call.until(lambda: call.credit >= pipe)  # the pipe is full, the rest waits
    while call.credit:
        call.upload(b"x" * call.credit)
    for _ in range(20):
        spec.call("ping")
    assert call.credit == 0
    (folder / "go").touch()
    call.until(lambda: call.credit == CREDIT)  # all of it was read, or is in the pipe
    call.cancel()
    call.wait(30 * SLOWER)


def test_more_than_was_credited_ends_the_connection(guestd, spec):
    call = spec.start("exec", cmd="sleep", args=["1000"], stdin_open=True, stream=True)
    call.until(lambda: call.events)
    call.upload(b"x" * CREDIT)
    call.until(lambda: call.credit)
    spec.send([2, "stream.data", {"id": call.id, "data": b"x" * (call.credit + 1)}])
    with pytest.raises(sc.Lost) as lost:
        call.wait(30 * SLOWER)
    assert lost.value.code == "invalid_request"


def test_data_after_the_end_ends_the_connection(spec):
    call = spec.start("exec", cmd="sleep", args=["1000"], stdin_open=True, stream=True)
    call.end()
    call.end()  # a second one is dropped
    spec.send([2, "stream.data", {"id": call.id, "data": b"x"}])
    with pytest.raises(sc.Lost) as lost:
        call.wait(30 * SLOWER)
    assert lost.value.code == "invalid_request"


@pytest.mark.parametrize("params", [{}, {"background": True}, {"background": True, "stdin_open": True}])
def test_data_that_nobody_asked_for_ends_the_connection(spec, params):
    call = spec.start("exec", cmd="sleep", args=["1000"], **params)
    spec.send([2, "stream.data", {"id": call.id, "data": b"x"}])
    if "background" not in params:
        with pytest.raises(sc.Lost) as lost:
            call.wait(30 * SLOWER)
        assert lost.value.code == "invalid_request"


def test_a_stream_into_a_closed_stdin_goes_on(spec):
    """Nowhere: the client must not hang for want of credit."""
    call = spec.start("exec", cmd="sh", args=["-c", "exec <&-; echo closed; sleep 1000"], stdin_open=True, stream=True)
    call.until(lambda: call.data["stdout"])
    call.upload(b"x" * (8 << 20), 60 * SLOWER)
    call.end()
    call.cancel()
    call.wait(30 * SLOWER)


def test_stream_and_input_fill_one_sequence(guestd, spec):
    call = spec.start("exec", cmd="cat", stdin_open=True, stream=True, tag="in-both")
    call.upload(b"stream ")
    call.until(lambda: bytes(call.data["stdout"]) == b"stream ")
    with sc.Client(guestd.address) as other:
        assert other.call("process.input", tag="in-both", data=b"input ", off=7) == {"off": 13}
        call.upload(b"stream")
        call.until(lambda: bytes(call.data["stdout"]) == b"stream input stream")
        assert other.call("process.input", tag="in-both", data=b"", off=19) == {"off": 19}
        other.call("process.close_stdin", tag="in-both")
    assert call.wait(30 * SLOWER)["exit_code"] == 0


# ── bounds ──

def rss_kb(pid):
    return int(procs.status(pid, "VmRSS")[0])


@pytest.mark.plain_only
def test_those_who_never_read_cost_bounded_memory(start):
    guestd = start("--stdin-buffer", 1 << 20, "--queue-total", 16 << 20)
    with sc.Client(guestd.address) as client:
        client.hello()
        pids = [sleeper(client) for _ in range(40)]
        before = [rss_kb(guestd.pid), rss_kb(guestd.agent())]
        for pid in pids:  # 40 MiB were there one after the other: 16 of them wait
            for _ in range(16):
                answer = ask(client, "process.input", pid=pid, data=b"x" * (1 << 16))
                assert type(answer) is dict or answer[:2] == ("busy", "data")
        for _ in range(200):
            assert ask(client, "process.input", pid=pids[-1], data=b"x" * (1 << 20))[0] == "busy"
        assert rss_kb(guestd.pid) - before[0] < 24 << 10
        assert rss_kb(guestd.agent()) - before[1] < 16 << 10
        client.call("process.kill", pid=pids[0])
        for pid in pids[1:]:
            client.call("process.kill", pid=pid)
        free = cat(client)
        assert client.call("process.input", pid=free, data=b"x" * 1000) == {"off": 1000}


def test_a_full_stdin_delays_nobody_else(spec):
    pid = sleeper(spec)
    call = spec.start("exec", cmd="sleep", args=["1000"], stdin_open=True, stream=True)
    call.upload(b"x" * CREDIT)
    while type(ask(spec, "process.input", pid=pid, data=b"x" * 100000)) is dict:
        pass
    assert spec.call("exec", cmd="cat", stdin=b"whole")["stdout"] == "whole"
    assert spec.call("ping")
    call.cancel()
    call.wait(30 * SLOWER)


# ── an agent that dies ──

def kill_agent(guestd):
    old = guestd.agent()
    os.kill(old, signal.SIGKILL)
    return until(lambda: guestd.agent() != old and guestd.agent(), "a new agent is there")


def test_what_was_answered_survives_the_agent(start):
    guestd = start()
    with sc.Client(guestd.address) as client:
        pid = client.call("exec", cmd="sh", args=["-c", "sleep 1; cat"], stdin_open=True, background=True)["pid"]
        assert client.call("process.input", pid=pid, data=b"x" * 900000) == {"off": 900000}
        dead = client.call("exec", cmd="head", args=["-c", "1"], stdin_open=True, background=True)["pid"]
        client.call("process.input", pid=dead, data=b"abc")
        client.call("process.wait", pid=dead)
        ended = cat(client)
        client.call("process.input", pid=ended, data=b"abc")
        shut = client.call("exec", cmd="sh", args=["-c", "sleep 1; cat"], stdin_open=True, background=True)["pid"]
        client.call("process.input", pid=shut, data=b"abc")
        client.call("process.close_stdin", pid=shut)
    kill_agent(guestd)
    with sc.Client(guestd.address) as client:
        assert client.call("process.input", pid=pid, data=b"x" * 900000, off=0) == {"off": 900000}
        assert client.call("process.input", pid=pid, data=b"y", off=900000) == {"off": 900001}
        client.call("process.close_stdin", pid=pid)
        assert result(client, pid)["stdout"] == b"x" * 900000 + b"y"
        assert client.call("process.input", pid=dead, data=b"", off=0)["closed"] is True
        assert client.call("process.input", pid=ended, data=b"abcdef", off=0) == {"off": 6}
        assert client.call("process.close_stdin", pid=ended) == {}
        assert result(client, ended)["stdout"] == b"abcdef"
        assert client.call("process.input", pid=shut, data=b"more") == {"off": 3, "closed": True}
        assert result(client, shut)["stdout"] == b"abc"


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


def test_an_agent_killed_again_and_again_loses_and_doubles_nothing(start):
    guestd = start()
    with sc.Client(guestd.address) as client:
        pid = client.call("exec", cmd="sha256sum", stdin_open=True, background=True)["pid"]
    feeder = Feeder(pid, os.urandom(1 << 20), 8 << 20)
    for kills in range(10):
        with sc.Client(guestd.address) as client:
            feeder.feed(client, feeder.total * kills // 12)
            calls, old = feeder.start(client), guestd.agent()
            os.kill(old, signal.SIGKILL)  # with these under way
            try:
                feeder.hear(calls)
            except (sc.Lost, OSError):
                pass
        until(lambda: guestd.agent() != old and guestd.agent(), "a new agent is there")
    with sc.Client(guestd.address) as client:
        feeder.feed(client, feeder.total)
        assert client.call("process.input", pid=pid, data=b"")["off"] == feeder.total
        client.call("process.close_stdin", pid=pid)
        end = result(client, pid)
    sha = hashlib.sha256(feeder.block * 8).hexdigest()
    assert end["stdout"].split()[0].decode() == sha
