"""The Python client against a hostile agent: it believes nothing, holds little, and says what was wrong."""

import select
import socket
import threading

import msgpack
import pytest

from guestproto import (Client, Connection, ConnectionLost, Data, GuestError, NotFound, WireError, decode_frame,
                        encode_frame)
from raw import frame
from server import read_frame


@pytest.fixture
def pair():
    """A client, and the agent's end of its connection in the test's hands."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    client = Client(Connection(ours, max_frame=1 << 20))
    yield client, theirs
    client.close()
    theirs.close()


def answer(sock, *messages):
    """Reads one request and sends these; `ID` stands for its msgid."""
    request = read_frame(sock)
    for message in messages:
        sock.sendall(message if isinstance(message, bytes) else encode_frame(put(message, request[1])))
    return request


ID = "\0id"


def put(value, msgid):
    if isinstance(value, list):
        return [put(item, msgid) for item in value]
    if isinstance(value, dict):
        return {key: put(item, msgid) for key, item in value.items()}
    return msgid if value == ID else value


@pytest.mark.parametrize("hostile", [
    b"\xff\xff\xff\xff", b"\x00\x10\x00\x01", frame(b"\xc1"), frame(b""), frame(b"\xdd\xff\xff\xff\xff"),
    frame(b"\x91" * 1000 + b"\x90"), encode_frame([0, 1, "ready", {}]), encode_frame([1, 99, None, {}]),
    [1, ID, None, None], [1, ID, {}, {}], [1, ID, "no", None], [1, ID, None, []],
    [2, "stream.data", {"id": ID, "ch": "stdout", "off": 0, "data": b"x" * 101}],
    [2, "stream.data", {"id": ID, "ch": "stdout", "off": 0, "data": "text"}],
    [2, "stream.data", {"id": ID, "ch": "stdout", "off": -1, "data": b"x"}],
    [2, "stream.data", {"id": ID, "ch": "stdout", "data": b"x"}],
    [2, "stream.data", {"id": 99, "ch": "stdout", "off": 0, "data": b"x"}],
    [2, "stream.data", {"ch": "stdout", "off": 0, "data": b"x"}],
    [2, "stream.gap", {"id": ID, "ch": "stdout", "from": 5, "to": 2}],
    [2, "stream.credit", {"id": ID, "bytes": "many"}],
    [2, "stream.event", {"id": [], "event": "started"}],
])
def test_a_hostile_frame_ends_the_connection(pair, hostile):
    client, agent = pair
    request = client.start("exec", cmd="x", stream=True, window=100)
    answer(agent, hostile)
    with pytest.raises(ConnectionLost):
        request.result(20)
    with pytest.raises(ConnectionLost):
        client.ping()


def test_bytes_that_leave_a_hole_are_a_lie(pair):
    client, agent = pair
    request = client.start("exec", cmd="x", stream=True)
    answer(agent, [2, "stream.data", {"id": ID, "ch": "stdout", "off": 0, "data": b"ab"}],
           [2, "stream.data", {"id": ID, "ch": "stdout", "off": 3, "data": b"c"}])
    with pytest.raises(ConnectionLost):
        request.result(20)


def test_what_a_newer_agent_says_is_passed_over(pair):
    client, agent = pair
    request = client.start("exec", cmd="x", stream=True)
    answer(agent, [2, "weather", {"sun": True}], [2, "stream.party", {"id": ID}],
           [2, "stream.event", {"id": ID, "event": "party", "at": 1}],
           [2, "stream.data", {"id": ID, "ch": "fourth", "off": 7, "data": b"x"}],
           [1, ID, None, {"exit_code": 0, "mood": "fine"}])
    items = list(request)
    assert items[-1] == Data("fourth", 7, b"x")
    assert request.result(20)["exit_code"] == 0


def test_errors_have_a_class_and_their_fields(pair):
    client, agent = pair
    for wire, kind, code in (
            ({"code": "not_found", "message": "m", "errno": 2, "field": "cmd", "data": {"a": 1}}, NotFound, "not_found"),
            ({"code": "of_the_future", "message": "m"}, GuestError, "of_the_future"),
            ({"message": 5, "code": [], "errno": "x"}, GuestError, "internal")):
        request = client.start("ping")
        answer(agent, [1, ID, wire, None])
        with pytest.raises(kind) as caught:
            request.result(20)
        error = caught.value
        assert error.code == code
        if code == "not_found":
            assert (error.message, error.errno, error.field, error.data) == ("m", 2, "cmd", {"a": 1})


def test_protocol_error_is_told(pair):
    client, agent = pair
    request = client.start("ping")
    answer(agent, [2, "protocol.error", {"code": "limit_exceeded", "message": "too many"}])
    with pytest.raises(ConnectionLost) as caught:
        request.result(20)
    assert (caught.value.code, caught.value.message) == ("limit_exceeded", "too many")


def test_an_upload_stops_where_its_error_comes(pair):
    client, agent = pair
    failed = []

    def upload():
        try:
            client.files.upload_stream("/f", iter(lambda: b"x" * 100000, None))
        except GuestError as error:
            failed.append(error.code)

    thread = threading.Thread(target=upload)
    thread.start()
    answer(agent, [1, ID, {"code": "no_space", "message": "full"}, None])
    while thread.is_alive():  # an agent goes on reading: what was under way is dropped
        if select.select([agent], [], [], 0.01)[0]:
            agent.recv(65536)
    assert failed == ["no_space"]


def test_credit_is_given_as_data_is_taken(pair):
    client, agent = pair
    request = client.start("exec", cmd="x", stream=True, window=100)
    for n in range(10):
        data = encode_frame([2, "stream.data", {"id": request.id, "ch": "stdout", "off": 50 * n, "data": b"x" * 50}])
        if n == 0:
            answer(agent, data)
        else:
            agent.sendall(data)
        assert len(request.next(20).data) == 50
        assert read_frame(agent) == [2, "stream.credit", {"id": request.id, "bytes": 50}]


def test_a_msgid_in_flight_is_not_used_again(pair):
    client, agent = pair
    client.connection._next_id = 0xFFFFFFFF
    ids = [client.start("ping").id for _ in range(3)]
    assert ids == [0xFFFFFFFF, 0, 1]
    client.connection._next_id = 0xFFFFFFFF
    assert client.start("ping").id == 2


def test_a_closed_client_says_so(pair):
    client, agent = pair
    request = client.start("ping")
    client.close()
    client.close()
    with pytest.raises(ConnectionLost):
        request.result(20)
    with pytest.raises(ConnectionLost):
        client.ping()


def test_decode_frame_is_strict():
    good = encode_frame([0, 1, "ping", {}])
    assert decode_frame(good) == [0, 1, "ping", {}]
    for bad in (b"", good[:3], good[:-1], good + b"\0", encode_frame([0, True, "ping", {}]),
                frame(msgpack.packb([0, 1, "ping", {}]) + b"\0")):
        with pytest.raises(WireError):
            decode_frame(bad)
