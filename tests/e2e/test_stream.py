"""Streams from the agent: order, credit, slow and vanished readers, gaps that are told, cancellation."""

import threading

import pytest

import procs
from expect import RECORD_OF_EXIT, fails, has_shape
from guestproto import Data, End, Event, Gap, GuestError
from raw import Raw
from until import until

pytestmark = pytest.mark.valgrind

KIB, MIB = 1 << 10, 1 << 20


def collect(stream):
    """The items of a stream, and its bytes by channel; offsets are checked to join."""
    items, output = [], {"stdout": b"", "stderr": b""}
    for item in stream:
        items.append(item)
        if isinstance(item, Data):
            assert item.off == len(output[item.ch]), "a hole that nobody told"
            assert item.data
            output[item.ch] += item.data
    return items, output


def test_started_first_then_data_ends_and_the_response(client):
    stream = client.commands.exec_stream("echo out; echo err >&2; exit 5")
    items, output = collect(stream)
    assert isinstance(items[0], Event) and items[0].event == "started"
    assert set(items[0].fields) == {"pid", "tag"}
    assert output == {"stdout": b"out\n", "stderr": b"err\n"}
    assert sorted(items[-2:]) == [End("stderr", 4), End("stdout", 4)]
    for channel in output:
        kinds = [type(item) for item in items if getattr(item, "ch", None) == channel]
        assert kinds == [Data, End]
    result = stream.result()
    has_shape(result.fields, RECORD_OF_EXIT)
    assert "stdout" not in result.fields and "stderr" not in result.fields
    assert (result.exit_code, result.reason, result.stdout_bytes, result.stderr_bytes) == (5, "exited", 4, 4)
    assert (result.pid, result.tag) == (items[0].fields["pid"], items[0].fields["tag"])


def test_nothing_is_sent_after_the_response(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "seq", "args": ["1000"], "stream": True})
        raw.answer(1)
        raw.request(2, "ping")
        assert raw.recv()[:2] == [1, 2]


def test_an_error_before_the_start_opens_no_stream(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "no-such-program", "stream": True})
        message = raw.recv()
        assert message[:2] == [1, 1] and message[2]["code"] == "not_found"


def test_output_comes_while_the_program_runs(client, folder):
    stream = client.commands.exec_stream("echo first; until [ -e go ]; do sleep 0.01; done; echo second",
                                         cwd=str(folder))
    data = [item for item in (stream.next(20), stream.next(20)) if isinstance(item, Data)]
    assert data == [Data("stdout", 0, b"first\n")]
    (folder / "go").touch()
    assert [item.data for item in stream if isinstance(item, Data)] == [b"second\n"]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 20 * MIB])
def test_a_stream_is_whole(client, size):
    stream = client.commands.exec_stream("head -c %d /dev/zero" % size)
    items, output = collect(stream)
    assert output["stdout"] == bytes(size)
    assert stream.result().stdout_bytes == size


def test_window_zero_sends_nothing_until_credited(client):
    request = client.start("exec", cmd="echo", args=["hello"], stream=True, window=0, auto_credit=False)
    assert request.next(20).event == "started"
    client.ping()
    client.ping()
    with pytest.raises(TimeoutError):
        request.next(0.2)
    request.credit(2)
    assert request.next(20) == Data("stdout", 0, b"he")
    request.credit(1)
    assert request.next(20) == Data("stdout", 2, b"l")
    request.credit(100)
    assert request.next(20) == Data("stdout", 3, b"lo\n")
    assert {request.next(20), request.next(20)} == {End("stdout", 6), End("stderr", 0)}
    assert request.result(20)["exit_code"] == 0


def test_credit_counts_both_channels_together(client):
    request = client.start("exec", cmd="sh", args=["-c", "printf 12345; printf 67890 >&2"], stream=True, window=7,
                           auto_credit=False)
    assert request.next(20).event == "started"
    got = 0
    while got < 7:
        got += len(request.next(20).data)
    assert got == 7
    request.credit(3)
    assert sum(len(item.data) for item in request if isinstance(item, Data)) == 3


def test_a_slow_reader_makes_its_own_program_wait_and_loses_nothing(guestd, client):
    """`block`, the default of a foreground stream: the program stands still until it is read; others go on."""
    request = client.start("exec", cmd="seq", args=["3000000"], stream=True, window=64 * KIB, auto_credit=False)
    pid = request.next(20).fields["pid"]
    got = b""
    while len(got) < 64 * KIB:
        got += request.next(20).data
    until(lambda: procs.stat(pid)[0] == "S", "the program waits for its pipe")
    memory = int(procs.status(guestd.agent(), "VmRSS")[0])
    for _ in range(20):
        assert client.commands.run("echo other").stdout == "other\n"
    assert not request.done
    assert int(procs.status(guestd.agent(), "VmRSS")[0]) - memory < 16 * KIB
    request.auto_credit = True
    request.credit(MIB)
    got += b"".join(item.data for item in request if isinstance(item, Data))
    assert got == "".join("%d\n" % n for n in range(1, 3000001)).encode()


def test_drop_overwrites_the_oldest_and_tells_the_gap(client):
    request = client.start("exec", cmd="seq", args=["1000000"], stream=True, window=0, on_full="drop",
                           max_output=256 * KIB, auto_credit=False)
    pid = request.next(20).fields["pid"]
    until(lambda: not procs.alive(pid), "the program ends, though nobody reads it")
    whole = "".join("%d\n" % n for n in range(1, 1000001)).encode()
    request.auto_credit = True
    request.credit(MIB)
    at, gone = 0, 0
    for item in request:  # the client itself holds offsets and gaps against each other
        if isinstance(item, Gap):
            gone += item.end - item.start
            at = item.end
        elif isinstance(item, Data):
            assert whole[at:at + len(item.data)] == item.data
            at += len(item.data)
        elif isinstance(item, End) and item.ch == "stdout":
            assert item.off == at == len(whole)
    assert 0 < gone <= len(whole) - 256 * KIB
    assert request.result()["stdout_bytes"] == len(whole)


@pytest.mark.parametrize("params", [{"on_full": "drop"}, {"on_full": "block"},
                                    {"on_full": "block", "background": True}, {"on_full": "spill", "stream": True}])
def test_on_full_where_it_means_nothing(client, params):
    with fails("invalid_request", field="on_full"):
        client.call("exec", cmd="true", **params)


def test_many_streams_at_once_are_each_whole(client):
    streams = [client.commands.exec_stream("seq %d" % (1000 * n)) for n in range(1, 21)]
    for n, stream in enumerate(streams, 1):
        assert collect(stream)[1]["stdout"] == "".join("%d\n" % i for i in range(1, 1000 * n + 1)).encode()


def test_cancel_ends_the_tree_with_a_result(guestd, client):
    stream = client.commands.exec_stream("sleep 60 & setsid sleep 60 & echo up; wait", kill_grace=5)
    assert stream.next(20).event == "started"
    assert stream.next(20).data == b"up\n"
    stream.cancel()
    result = stream.result(20)
    assert (result.reason, result.exit_code) == ("cancelled", 137)
    until(lambda: not guestd.jobs(), "the whole tree is dead")


def test_cancel_of_a_captured_exec(guestd, client):
    request = client.start("exec", cmd="sh", args=["-c", "echo kept; sleep 60"])
    until(lambda: any(b"sleep" in open("/proc/%d/cmdline" % pid, "rb").read() for pid in guestd.jobs()), "it runs")
    request.cancel()
    result = request.result(20)
    assert (result["reason"], result["exit_code"], result["stdout"]) == ("cancelled", 137, "kept\n")


def test_cancel_gives_the_grace_that_was_asked(client, folder):
    script = "trap 'echo bye > said; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    stream = client.commands.exec_stream(script, cwd=str(folder), kill_grace=20)
    while not isinstance(stream.next(20), Data):
        pass
    stream.cancel()
    assert stream.result(20).reason == "cancelled"
    assert (folder / "said").read_text() == "bye\n"


def test_cancel_of_what_is_no_stream(client):
    """process.wait is waiting; cancelled, it says so, and the process runs on."""
    process = client.commands.run("sleep 60", background=True)
    request = client.start("process.wait", pid=process.pid)
    request.cancel()
    with fails("cancelled"):
        request.result(20)
    assert process._commands.get(pid=process.pid).state == "running"
    process.kill()


def test_cancel_twice_or_after_the_end_is_nothing(client):
    stream = client.commands.exec_stream("sleep 60")
    stream.cancel()
    stream.cancel()
    try:
        assert stream.result(20).reason == "cancelled"
    except GuestError as error:  # it had not started yet
        assert error.code == "cancelled"
    client.connection.notify("stream.cancel", {"id": stream.request.id})
    client.ping()


@pytest.mark.parametrize("stream", [True, None])
def test_a_lost_connection_kills_a_foreground_tree(guestd, stream):
    client = guestd.connect()
    client.start("exec", cmd="sh", args=["-c", "sleep 60 & setsid sleep 60 & wait"], stream=stream)
    until(lambda: len(guestd.jobs()) == 3, "all three run")
    client.close()
    until(lambda: not guestd.jobs(), "none is left")


def test_a_lost_connection_leaves_background_processes_alone(guestd, client):
    with guestd.connect() as other:
        process = other.commands.run("sleep 60", background=True)
    client.ping()
    assert client.commands.get(pid=process.pid).state == "running"
    assert procs.alive(process.pid)
    client.commands.kill(pid=process.pid)


def test_a_connection_that_takes_nothing_delays_no_other(guestd, client):
    """Its socket is full of its own stream; pings and execs of others are answered, and its program waits."""
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "yes", "stream": True, "window": 1 << 31})
        until(lambda: [pid for pid in guestd.jobs() if procs.stat(pid)[0] == "S"], "the program stands still")
        agent = guestd.agent()
        memory = int(procs.status(agent, "VmRSS")[0])
        for _ in range(50):
            client.ping()
            assert client.commands.run("echo on").stdout == "on\n"
        assert int(procs.status(agent, "VmRSS")[0]) - memory < 16 * KIB
    until(lambda: not guestd.jobs(), "its program goes with it")


def test_pings_go_ahead_of_stream_data(guestd):
    """Response and stream on one connection: the ping does not wait for what is queued."""
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "yes", "stream": True, "window": 64 * MIB})
        while raw.recv()[1] != "stream.data":
            pass
        raw.request(2, "ping")
        sizes = 0
        while True:
            message = raw.recv()
            if message[0] == 1 and message[1] == 2:
                break
            sizes += len(message[2].get("data", b""))
        assert sizes < 16 * MIB


def test_clients_in_threads_share_one_connection(client):
    wrong = []

    def work(n):
        try:
            for i in range(10):
                text = "%d-%d\n" % (n, i)
                if client.commands.run("cat", [], stdin=text).stdout != text:
                    wrong.append(text)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
