"""Open stdin, fed by stream.data of the exec itself."""

import hashlib
import os

import pytest

import spec_client as sc
from feeding import CREDIT
from until import SLOWER

pytestmark = pytest.mark.valgrind


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
