"""Captured output: encodings, what is kept of too much, what a held pipe does to the answer."""

import base64
import os
import signal

import pytest

import procs
from expect import fails
from guestproto import Client, Connection, Data, open_address
from until import until

pytestmark = [pytest.mark.valgrind, pytest.mark.fallback]

MIB = 1 << 20


def write(data):
    """A command line that writes these bytes."""
    return "printf '%s'" % "".join("\\%03o" % byte for byte in data)


@pytest.mark.parametrize("data, encoding", [
    (b"", "utf-8"), (b"plain\n", "utf-8"), ("ünïcode €𝄞".encode(), "utf-8"), (b"nul \0 is text", "utf-8"),
    (b"\xff", "base64"), (b"cut \xe2\x82", "base64"), (b"\xc0\x80", "base64"), (b"\xed\xa0\x80", "base64")])
def test_auto_tells_text_from_bytes(client, data, encoding):
    result = client.commands.run(write(data))
    assert result.encoding == encoding
    assert result.output() == data
    assert type(result.stdout) is str


def test_auto_is_for_both_streams_together(client):
    result = client.commands.run("echo text; printf '\\377' >&2")
    assert result.encoding == "base64"
    assert (base64.b64decode(result.stdout), base64.b64decode(result.stderr)) == (b"text\n", b"\xff")


@pytest.mark.parametrize("encoding, stdout", [
    ("utf-8", "a\ufffdb"), ("base64", base64.b64encode(b"a\xffb").decode()), ("raw", b"a\xffb")])
def test_the_encoding_that_was_asked_for(client, encoding, stdout):
    result = client.commands.run(write(b"a\xffb"), encoding=encoding)
    assert (result.stdout, result.encoding) == (stdout, encoding)
    assert type(result.stderr) is type(stdout)


def test_output_larger_than_any_pipe_comes_whole(client):
    result = client.commands.run("head -c 12000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2")
    assert (result.stdout, result.stderr) == ("x" * 12000000, "y" * 3000000)
    assert (result.stdout_bytes, result.stderr_bytes, result.truncated) == (12000000, 3000000, False)


def test_head_keeps_the_first_bytes_and_drains_the_rest(client):
    result = client.commands.run("seq 200000; echo done >&2", max_output=1000)
    assert result.stdout == "".join("%d\n" % n for n in range(1, 1000))[:1000]
    assert (result.truncated, result.exit_code, result.reason, result.stderr) == (True, 0, "exited", "done\n")
    assert result.stdout_bytes == len("".join("%d\n" % n for n in range(1, 200001)))


def test_tail_keeps_the_last_bytes(client):
    whole = "".join("%d\n" % n for n in range(1, 200001))
    for keep in (1000, 5000, 100000):
        result = client.commands.run("seq 200000", max_output=keep, overflow="tail")
        assert (result.stdout, result.truncated, result.stdout_bytes) == (whole[-keep:], True, len(whole))


def test_kill_ends_the_tree_at_the_limit(guestd, client):
    result = client.commands.run("sh -c 'yes & yes' & wait", max_output=1000, overflow="kill")
    assert (result.reason, result.exit_code, result.truncated) == ("output_limit", 137, True)
    assert result.stdout == "y\n" * 500
    assert guestd.jobs() == []


@pytest.mark.parametrize("overflow", ["head", "tail", "kill"])
def test_exactly_max_output_is_not_too_much(client, overflow):
    result = client.commands.run("printf 12345678", max_output=8, overflow=overflow)
    assert (result.stdout, result.truncated, result.reason) == ("12345678", False, "exited")


def test_a_character_cut_by_truncation_is_dropped(client):
    """Seven bytes of three-byte characters are two characters; nothing of the third makes the text binary."""
    for overflow, expected in (("head", "€€"), ("tail", "€€")):
        result = client.commands.run("printf '€€€€€'", max_output=7, overflow=overflow)
        assert (result.stdout, result.encoding, result.truncated) == (expected, "utf-8", True)
    assert client.commands.run("printf '€€€€€'", max_output=7, encoding="raw").stdout == "€€€".encode()[:7]


def test_a_program_that_was_cut_itself_is_bytes(client):
    assert client.commands.run(write(b"ok \xe2\x82"), max_output=100).encoding == "base64"


def test_the_largest_max_output(client):
    """A captured result has to fit a frame, both streams; 64 MiB are for who takes the output as a stream."""
    result = client.commands.run("head -c 30000000 /dev/zero", max_output=30000000, encoding="raw")
    assert len(result.stdout) == 30000000 and not result.truncated
    with fails("too_large", field="max_output"):
        client.commands.run("true", max_output=64 * MIB)
    stream = client.commands.exec_stream("head -c 90000000 /dev/zero", max_output=64 * MIB)
    assert sum(len(item.data) for item in stream if isinstance(item, Data)) == 90000000


def test_a_result_that_the_client_could_not_take_is_refused_before_the_start(guestd, folder):
    connection = Connection(open_address(guestd.address), max_frame=MIB)
    with Client(connection) as client:
        client.greet()
        with fails("too_large", field="max_output"):
            client.commands.run("touch %s/ran" % folder, max_output=2 * MIB)
        assert not (folder / "ran").exists()
        # An absent max_output is lowered to fit.
        result = client.commands.run("head -c 5000000 /dev/zero")
        assert result.truncated and result.stdout_bytes == 5000000
        assert 100000 < len(result.output()) < MIB


HOLDER = "setsid sh -c 'touch up; exec sleep 60' & until [ -e up ]; do sleep 0.01; done; echo now; exit 7"


def captured(client, **params):
    result = client.commands.run(HOLDER, **params)
    return result.output(), result


def streamed(client, **params):
    stream = client.commands.exec_stream(HOLDER, **params)
    return b"".join(item.data for item in stream if isinstance(item, Data)), stream.result()


def waited(client, **params):
    result = client.commands.run(HOLDER, background=True, **params).wait(20, output=True)
    return result.output(), result


def attached(client, **params):
    stream = client.commands.run(HOLDER, background=True, **params).attach()
    return b"".join(item.data for item in stream if isinstance(item, Data)), stream.result()


def at_pipes(ask):
    return pytest.param(ask, None, id="%s, pipes" % ask.__name__)


def at_a_terminal(ask):
    # valgrind doesn't know TIOCGPTPEER, and says so
    return pytest.param(ask, {"rows": 24, "cols": 80}, id="%s, a terminal" % ask.__name__, marks=pytest.mark.native)


@pytest.mark.parametrize("ask, pty", [at_pipes(captured), at_pipes(streamed), at_pipes(waited), at_pipes(attached),
                                      at_a_terminal(streamed), at_a_terminal(waited), at_a_terminal(attached)])
def test_a_held_pipe_does_not_hold_the_answer(guestd, client, folder, ask, pty):
    """The leader's exit is the answer; what its descendants still say goes nowhere, and they are not disturbed."""
    output, result = ask(client, pty=pty, cwd=str(folder), stdin_open=True)
    assert (output.split(), result.exit_code, result.reason) == ([b"now"], 7, "exited")
    assert (result.pipes_open, result.descendants, result.killed_descendants) == (True, 1, 0)
    assert result.duration_ms < 20000
    record = client.commands.get(pid=result.pid)
    assert (record.state, record.pipes_open, record.descendants) == ("exited", True, 1)
    [left] = until(lambda: [pid for pid in guestd.jobs() if (procs.exe(pid) or "").endswith("sleep")],
                   "who holds them lives on")
    os.kill(left, signal.SIGKILL)


def test_a_held_pipe_is_drained_after_the_answer(guestd, client, folder):
    """Nobody gets SIGPIPE, or blocks, because an exec was answered."""
    script = "(until [ -e go ]; do :; done; head -c 1000000 /dev/zero; echo $? > done) & echo now"
    result = client.commands.run(script, cwd=str(folder))
    assert (result.stdout, result.pipes_open) == ("now\n", True)
    (folder / "go").touch()
    until(lambda: (folder / "done").exists() and (folder / "done").read_text(), "the child has written all")
    assert (folder / "done").read_text() == "0\n"
    until(lambda: not guestd.jobs(), "the child is gone")


def test_closed_streams_are_no_hindrance(client):
    result = client.commands.run("exec >&- 2>&-; sleep 0.2; exit 4")
    assert (result.exit_code, result.stdout, result.stderr, result.pipes_open) == (4, "", "", False)
