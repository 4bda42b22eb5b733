"""The Python client loses its connection, at every frame there is, in whole frames and in the middle of one: what it
hands out is the same as if nothing had been, each byte once, and a run is one run."""

import collections
import threading
import time

import pytest

from fake_agent import STDERR, STDOUT, FakeAgent
from guestproto import ConnectionLost, Data, End, Event, Gap, GuestError, connect, encode_frame
from until import until


def collect(stream):
    """channel → bytes, and what its items were; offsets are held to be without a hole and without a repeat."""
    output, kinds = {}, []
    for item in stream:
        kinds.append(type(item))
        if isinstance(item, Event):
            continue
        before = output.setdefault(item.ch, b"")
        if isinstance(item, Gap):
            assert item.start == len(before)
            output[item.ch] += b"?" * (item.end - item.start)
        else:
            assert item.off == len(before)
            output[item.ch] += item.data if isinstance(item, Data) else b""
    return output, kinds


# ── one scenario each: what is done, and what it must come to ──

def captured(agent, client):
    assert client.commands.run("x", []).stdout == "done"
    assert agent.started == 1


def background(agent, client):
    process = client.commands.run("x", [], background=True)
    assert (process.pid, agent.started) == (41, 1)


def streamed(agent, client):
    stream = client.commands.exec_stream("x", [])
    output, kinds = collect(stream)
    assert output == {"stdout": STDOUT, "stderr": STDERR}
    assert kinds[0] is Event and kinds[-2:] == [End, End] and kinds.count(Event) == 1 and kinds.count(End) == 2
    assert stream.result().exit_code == 0 and agent.started == 1


def attached(agent, client):
    client.commands.run("x", [])
    stream = client.commands.attach(pid=41)
    assert collect(stream)[0] == {"stdout": STDOUT, "stderr": STDERR}
    assert stream.result().state == "exited"


def attached_now(agent, client):
    client.commands.run("x", [])
    items = list(client.commands.attach(pid=41, start="now"))
    data = [item for item in items if isinstance(item, Data) and item.ch == "stdout"]
    assert data[0].off == len(STDOUT) - 30 and b"".join(item.data for item in data) == STDOUT[-30:]


def typed(agent, client):
    stream = client.commands.exec_stream("cat", [], stdin_open=True)
    for line in STDOUT.splitlines(keepends=True):
        stream.send(line)
    stream.send(b"x" * 1000)  # ten times the credit
    stream.end()
    output, kinds = collect(stream)
    assert output == {"stdout": STDOUT + b"x" * 1000} and kinds[-1] is End
    assert agent.run().stdin == STDOUT + b"x" * 1000
    assert stream.result().exit_code == 0 and agent.started == 1


def input_by_offset(agent, client):
    process = client.commands.run("cat", [], background=True, stdin_open=True)
    stdin = process.stdin()
    for line in STDOUT.splitlines(keepends=True):
        assert stdin.write(line)
    assert agent.run().stdin == STDOUT


def small_file(agent, client):
    client.files.write("/g", STDOUT)
    assert agent.files["/g"] == STDOUT


def upload(agent, client):
    client.files.upload_stream("/g", [b"y" * 90] * 5)
    assert agent.files["/g"] == b"y" * 450


def upload_of_a_file(agent, client):
    client.files.upload("/g", __file__)
    with open(__file__, "rb") as file:
        assert agent.files["/g"] == file.read()


def download(agent, client):
    assert client.files.read("/f") == STDOUT
    assert client.files.read("/f", off=5, len=40) == STDOUT[5:45]


def listing(agent, client):
    assert [entry.name for entry in client.files.list("/")] == ["a", "b", "c"]


def ping(agent, client):
    client.ping()


SCENARIOS = [captured, background, streamed, attached, attached_now, typed, input_by_offset, small_file, upload,
             upload_of_a_file, download, listing, ping]
HELLO = 2  # frames before the client is there


def play(scenario, cut, half):
    told = []
    with FakeAgent(cut, half) as agent, connect(agent.address, timeout=20, resumed=told.append) as client:
        scenario(agent, client)
    return agent, told


@pytest.mark.parametrize("half", [False, True], ids=["between frames", "inside a frame"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_loss_at_any_frame_costs_nothing(scenario, half):
    agent, told = play(scenario, None, half)
    assert agent.frames > HELLO and agent.connections == 1 and told == []
    for cut in range(HELLO + 1, agent.frames + 1):
        lost, told = play(scenario, cut, half)
        assert lost.connections <= 2 and len(told) <= 1, "cut at frame %d: %s" % (cut, told)


# ── what is told ──

def test_a_resumption_says_where(caplog):
    told = []
    with FakeAgent() as agent, connect(agent.address, resumed=told.append) as client:
        agent.cut = agent.frames + 5  # exec, started, two pieces, and not the third
        collect(client.commands.exec_stream("x", []))
        assert told == ["connection lost; resumed at stdout 34"]
    with FakeAgent(cut=HELLO + 2) as agent, connect(agent.address) as client:
        client.commands.run("x", [])
    assert [record.getMessage() for record in caplog.records] == ["connection lost; asked again: exec"]


def test_what_was_not_kept_is_told_as_the_gap_that_it_is():
    with FakeAgent() as agent, connect(agent.address, resumed=lambda _: None) as client:
        agent.cut = agent.frames + 5
        stream = client.commands.exec_stream("x", [])
        items = [stream.next(20), stream.next(20), stream.next(20)]
        assert items[2].off == 17
        agent.run().oldest = 50
        items = [item for item in stream if not isinstance(item, End)]
        assert items[0] == Gap("stdout", 34, 50) and items[1].off == 50
        assert Gap("stderr", 0, len(STDERR)) in items


# ── when not to ──

def test_another_guestd_is_not_asked_again():
    """It knows no key: the program would run twice."""
    with FakeAgent() as agent, connect(agent.address) as client:
        stream = client.commands.exec_stream("cat", [], stdin_open=True)
        assert stream.next(20).event == "started"
        agent.instance = "two"
        agent.lose()
        with pytest.raises(ConnectionLost, match="another guestd"):
            stream.result(20)
        assert agent.started == 1


def test_without_resume_a_loss_is_a_loss():
    with FakeAgent() as agent, connect(agent.address, resume=0) as client:
        agent.lose()
        with pytest.raises(ConnectionLost):
            client.ping()
        assert agent.connections == 1


def test_a_closed_client_does_not_come_back():
    with FakeAgent() as agent:
        client = connect(agent.address)
        stream = client.commands.exec_stream("cat", [], stdin_open=True)
        client.close()
        with pytest.raises(ConnectionLost):
            stream.result(20)
        with pytest.raises(ConnectionLost):
            client.ping()
        assert agent.connections == 1


def test_closing_ends_the_trying():
    with FakeAgent() as agent:
        client = connect(agent.address, resume=60)
        agent.refuse = True
        agent.lose()
        failed = []

        def ask():
            try:
                client.ping()
            except ConnectionLost as lost:
                failed.append(lost)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: agent.connections > 2, "it tries again")
        client.close()
        thread.join(20)
        assert failed and failed[0].final


@pytest.mark.parametrize("hostile", [
    [2, "stream.data", {"id": 99, "ch": "stdout", "off": 0, "data": b"x"}], [1, 99, None, {}], [0, 1, "ready", {}]])
def test_who_lies_is_not_asked_again(hostile):
    with FakeAgent() as agent, connect(agent.address) as client:
        agent.lie = lambda method, params, answer: agent.sockets[-1].sendall(encode_frame(hostile)) or answer
        with pytest.raises(ConnectionLost) as caught:
            while True:
                client.ping()
        assert caught.value.final and agent.connections == 1


@pytest.mark.parametrize("lie", [{"pid": 7}, {"stdin": 5000}, {"stdin": "all"}, {"stdin": None}])
def test_a_rejoin_that_is_none_is_found_out(lie):
    with FakeAgent() as agent, connect(agent.address, resumed=lambda _: None) as client:
        stream = client.commands.exec_stream("cat", [], stdin_open=True)
        stream.process(20)
        stream.send(b"x" * 30)
        until(lambda: agent.run().stdin == b"x" * 30, "it came")
        agent.lie = lambda method, params, answer: {**answer, **lie} if method == "started" else answer
        agent.lose()
        with pytest.raises(ConnectionLost) as caught:
            stream.send(b"y" * 30)
            stream.end()
            stream.result(20)
        assert caught.value.final


def test_trying_again_is_bounded_in_time():
    with FakeAgent() as agent, connect(agent.address, resume=0.3) as client:
        agent.refuse = True
        agent.lose()
        begun = time.monotonic()
        with pytest.raises(ConnectionLost, match="not back within 0.3 s"):
            client.ping()
        assert time.monotonic() - begun < 20
        assert agent.connections < 40, "it tried without a pause"


def test_an_agent_that_only_says_hello_is_given_up():
    """It is there, again and again, and loses what it is asked: without a bound that would go on for ever."""
    with FakeAgent() as agent, connect(agent.address, resume=0.5, resumed=lambda _: None) as client:
        count = collections.Counter()

        def passes():
            count[agent.connections] += 1
            return 1 < agent.connections and count[agent.connections] <= HELLO
        agent.passes = passes
        with pytest.raises(ConnectionLost, match="not back"):
            client.commands.run("x", [])
        assert agent.connections < 40 and agent.started == 0


def test_the_token_is_shown_again():
    with FakeAgent(cut=HELLO + 2, token=b"secret") as agent, connect(agent.address, token=b"secret",
                                                                     resumed=lambda _: None) as client:
        captured(agent, client)
        assert agent.connections == 2


def test_a_refused_hello_is_final():
    with FakeAgent(token=b"secret") as agent, connect(agent.address, token=b"secret") as client:
        agent.token = b"another"
        agent.lose()
        with pytest.raises(ConnectionLost) as caught:
            client.ping()
        assert caught.value.code == "unauthenticated" and agent.connections == 2


def test_many_threads_make_one_connection_anew():
    with FakeAgent() as agent, connect(agent.address, resumed=lambda _: None) as client:
        streams = [client.commands.exec_stream("cat", [], stdin_open=True) for _ in range(8)]
        for stream in streams:
            stream.process(20)
        outputs = []

        def talk(n, stream):
            stream.send(b"%d" % n * 200)
            stream.end()
            outputs.append(collect(stream)[0] == {"stdout": b"%d" % n * 200})

        agent.lose()
        threads = [threading.Thread(target=talk, args=pair) for pair in enumerate(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert outputs == [True] * 8 and agent.started == 8
        assert agent.connections == 2


# ── what can't be asked again ──

def test_an_iterator_is_not_sent_again():
    with FakeAgent(cut=HELLO + 3) as agent, connect(agent.address) as client:
        with pytest.raises(ConnectionLost):
            client.files.upload_stream("/g", iter([b"a" * 90] * 5))
        assert "/g" not in agent.files


def test_a_file_that_changed_meanwhile_is_not_read_on():
    with FakeAgent() as agent, connect(agent.address) as client:
        agent.cut = agent.frames + 8
        chunks = client.files.download_stream("/f")
        assert next(chunks) == STDOUT[:17]
        agent.stat = {"size": 1001, "modified_at": 5}
        with pytest.raises(ConnectionLost, match="changed"):
            list(chunks)


def test_input_that_somebody_else_writes_too_is_an_error():
    with FakeAgent() as agent, connect(agent.address) as client:
        stdin = client.commands.run("cat", [], background=True, stdin_open=True).stdin()
        assert stdin.write(b"mine")
        agent.run().stdin += b"theirs"
        with pytest.raises(GuestError, match="somebody else"):
            stdin.write(b"mine")


def test_input_without_an_offset_is_sent_once():
    with FakeAgent() as agent, connect(agent.address) as client:
        process = client.commands.run("cat", [], background=True, stdin_open=True)
        agent.cut = agent.frames + 2
        with pytest.raises(ConnectionLost):
            process.input(b"once")
        assert agent.run().stdin == b"once"
