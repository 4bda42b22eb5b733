"""Open stdin: process.input and process.close_stdin."""

import pytest

import procs
import spec_client as sc
from feeding import BUFFER, ask, cat, result, sleeper
from until import SLOWER, until

pytestmark = pytest.mark.valgrind


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
