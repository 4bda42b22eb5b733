"""Frames and messages as PROTOCOL.md has them, and everything else that a hostile client may send."""

import random
import threading

import msgpack
import pytest

from expect import fails
from raw import Raw, frame, nested, request_with
from server import WRAPPER

pytestmark = pytest.mark.valgrind

PING = [0, 1, "ping", {}]

HOSTILE = {
    "an empty body": frame(b""),
    "no MessagePack": frame(b"\xc1"),
    "a byte after the message": frame(msgpack.packb(PING) + b"\x00"),
    "a message that is cut": frame(msgpack.packb(PING)[:-1]),
    "an array that lies": frame(b"\xdd\xff\xff\xff\xff"),
    "a map that lies": frame(b"\x94\x00\x01\xa4ping\xdf\xff\xff\xff\xff"),
    "a string that lies": frame(b"\x94\x00\x01\xdb\xff\xff\xff\xffping\x80"),
    "bytes that lie": frame(b"\x94\x00\x01\xc6\x7f\xff\xff\xffping\x80"),
    "an extension": frame(b"\x94\x00\x01\xa4ping\x81\xa1a\xd4\x01\x00"),
    "a timestamp": frame(b"\x94\x00\x01\xa4ping\x81\xa1a\xd6\xff\x00\x00\x00\x00"),
    "no array": frame(msgpack.packb({"ping": 1})),
    "an empty array": frame(msgpack.packb([])),
    "an unknown kind": frame(msgpack.packb([3, 1, "ping", {}])),
    "a kind that is no number": frame(msgpack.packb(["0", 1, "ping", {}])),
    "a request of three": frame(msgpack.packb([0, 1, "ping"])),
    "a request of five": frame(msgpack.packb([0, 1, "ping", {}, 1])),
    "a msgid below zero": frame(msgpack.packb([0, -1, "ping", {}])),
    "a msgid over 32 bits": frame(msgpack.packb([0, 1 << 32, "ping", {}])),
    "a msgid that is text": frame(msgpack.packb([0, "1", "ping", {}])),
    "a msgid that is a float": frame(msgpack.packb([0, 1.0, "ping", {}])),
    "a msgid that is nil": frame(msgpack.packb([0, None, "ping", {}])),
    "a response": frame(msgpack.packb([1, 1, None, {}])),
    "an unknown notification": frame(msgpack.packb([2, "stream.party", {"id": 1}])),
    "a notification without params": frame(msgpack.packb([2, "stream.cancel"])),
    "a notification whose params are no map": frame(msgpack.packb([2, "stream.cancel", [1]])),
    "a nesting bomb": request_with(nested(15)),
    "a deep nesting bomb": frame(nested(60000)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_frame_is_told_and_closed(guestd, what):
    with Raw(guestd) as raw:
        raw.send_bytes(HOSTILE[what])
        assert raw.refused() == "invalid_request"


def test_a_frame_too_large_is_refused_by_its_header(client, guestd):
    largest = client.hello()["limits"]["max_frame"]
    with Raw(guestd) as raw:
        raw.send_bytes((largest + 1).to_bytes(4, "big"))
        assert raw.refused() == "too_large"
    with Raw(guestd) as raw:
        raw.send_bytes(b"\xff\xff\xff\xff")
        assert raw.refused() == "too_large"


def test_a_frame_of_the_largest_size_is_taken(client, guestd, folder):
    largest = client.hello()["limits"]["max_frame"]
    head = [0, 1, "file.write", {"path": str(folder / "f"), "data": b"x" * 100000}]
    head[3]["data"] = b"x" * (largest - (len(msgpack.packb(head)) - 100000))
    body = msgpack.packb(head)
    assert len(body) == largest
    with Raw(guestd) as raw:
        raw.send_bytes(frame(body))
        assert raw.answer(1)[2] is None
    assert (folder / "f").stat().st_size == len(head[3]["data"])


def test_sixteen_levels_are_allowed(guestd):
    with Raw(guestd) as raw:
        raw.send_bytes(request_with(nested(14)))
        error = raw.answer(1)[2]
        assert (error["code"], error["field"]) == ("invalid_request", "deep")
        assert raw.works()


def test_requests_may_come_byte_by_byte_or_all_at_once(guestd):
    with Raw(guestd) as raw:
        for byte in frame(msgpack.packb(PING)):
            raw.send_bytes(bytes([byte]))
        assert raw.answer(1)[2] is None
        raw.send_bytes(b"".join(frame(msgpack.packb([0, n, "ping", {}])) for n in range(2, 102)))
        for n in range(2, 102):
            assert raw.answer(n)[2] is None


@pytest.mark.parametrize("msgid", [0, 1, 127, 128, 255, 256, 65535, 65536, 0xFFFFFFFF])
@pytest.mark.parametrize("width", ["smallest", b"\xce", b"\xcf"])
def test_a_msgid_of_any_width_comes_back(guestd, msgid, width):
    packed = msgpack.packb(msgid) if width == "smallest" else width + msgid.to_bytes(4 if width == b"\xce" else 8, "big")
    with Raw(guestd) as raw:
        raw.send_bytes(frame(b"\x94\x00" + packed + b"\xa4ping\x80"))
        assert raw.answer(msgid)[2] is None


@pytest.mark.parametrize("method, params, field", [
    (b"ping", {}, "method"), (7, {}, "method"), (None, {}, "method"), (["ping"], 3, "method"),
    ("ping", [], "params"), ("ping", None, "params"), ("ping", "x", "params")])
def test_a_request_of_wrong_types_is_answered(guestd, method, params, field):
    with Raw(guestd) as raw:
        raw.send([0, 9, method, params])
        error = raw.answer(9)[2]
        assert (error["code"], error["field"]) == ("invalid_request", field)
        assert raw.works()


def test_a_duplicate_msgid_ends_the_connection(guestd):
    with Raw(guestd) as raw:
        raw.request(5, "exec", {"cmd": "sleep", "args": ["60"]})
        raw.request(5, "ping")
        assert raw.refused() == "invalid_request"


def test_a_msgid_may_be_used_again_after_its_answer(guestd):
    with Raw(guestd) as raw:
        for _ in range(3):
            assert raw.works(5)


def test_stream_notifications_for_ids_that_are_not_open_are_dropped(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "ping")
        raw.answer(1)
        for msgid in (1, 77):
            raw.send([2, "stream.credit", {"id": msgid, "bytes": 10}])
            raw.send([2, "stream.data", {"id": msgid, "data": b"late"}])
            raw.send([2, "stream.end", {"id": msgid}])
            raw.send([2, "stream.cancel", {"id": msgid}])
        assert raw.works()


def test_more_stream_data_than_credited_ends_the_connection(client, guestd, folder):
    credit = client.hello()["limits"]["stream_credit"]
    (folder / "f").write_bytes(b"old")
    with Raw(guestd) as raw:
        raw.request(1, "file.write", {"path": str(folder / "f"), "stream": True})
        raw.send([2, "stream.data", {"id": 1, "data": b"x" * (credit + 1)}])
        assert raw.refused() == "invalid_request"
    assert (folder / "f").read_bytes() == b"old"


def test_unknown_method(client):
    for method in ("no.such", "", "Ping", "x" * 100000):
        with fails("unsupported", field="method"):
            client.call(method)


def test_unknown_field_is_named(client):
    with fails("invalid_request", field="pint"):
        client.call("ping", pint=1)


def test_unknown_field_is_refused_whatever_its_value(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "ping", {"pint": None})
        error = raw.answer(1)[2]
        assert (error["code"], error["field"]) == ("invalid_request", "pint")


@pytest.mark.parametrize("method, params", [
    ("stream.cancel", {}), ("stream.cancel", {"id": "1"}), ("stream.cancel", {"id": 1, "why": "x"}),
    ("stream.credit", {"id": 1}), ("stream.credit", {"id": 1, "bytes": -1}), ("stream.data", {"id": 1, "data": 5})])
def test_a_stream_notification_that_is_wrong_ends_the_connection(guestd, method, params):
    with Raw(guestd) as raw:
        raw.send([2, method, params])
        assert raw.refused() == "invalid_request"


def test_stream_data_for_a_request_that_takes_none_ends_the_connection(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "sleep", "args": ["60"]})
        raw.send([2, "stream.data", {"id": 1, "data": b"x"}])
        assert raw.refused() == "invalid_request"


def test_stream_data_after_its_end_ends_the_connection(guestd, folder):
    """Both in one piece, so that the answer is not there before the data is."""
    with Raw(guestd) as raw:
        raw.send_bytes(frame(msgpack.packb([0, 1, "file.write", {"path": str(folder / "f"), "stream": True}]))
                       + frame(msgpack.packb([2, "stream.end", {"id": 1}]))
                       + frame(msgpack.packb([2, "stream.data", {"id": 1, "data": b"x"}])))
        assert raw.refused() == "invalid_request"


def test_credit_that_no_u64_holds_ends_the_connection(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "sleep", "args": ["60"], "stream": True})
        for _ in range(2):
            raw.send([2, "stream.credit", {"id": 1, "bytes": (1 << 64) - 1}])
        assert raw.refused() == "invalid_request"


def test_more_objects_than_a_frame_may_hold(guestd):
    with Raw(guestd) as raw:
        raw.send_bytes(frame(b"\x94\x00\x01\xa4ping\x81\xa1a\xdd\x00\x04\x00\x00" + b"\xc0" * 262144))
        assert raw.refused() == "too_large"


def test_nil_is_absent(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "ping", {"touch": None})
        assert raw.answer(1)[2] is None
        raw.request(2, "exec", {"cmd": None})
        assert raw.answer(2)[2]["field"] == "cmd"


def test_a_repeated_key_is_refused(guestd):
    with Raw(guestd) as raw:
        raw.send_bytes(frame(b"\x94\x00\x01\xa4ping\x82" + 2 * b"\xa5touch\xc3"))
        error = raw.answer(1)[2]
        assert (error["code"], error["field"]) == ("invalid_request", "touch")
        assert raw.works()


def test_a_key_that_is_no_text_is_refused(guestd):
    with Raw(guestd) as raw:
        raw.send([0, 1, "ping", {7: 1}])
        assert raw.answer(1)[2]["code"] == "invalid_request"
        assert raw.works()


def test_text_must_be_utf8(guestd):
    with Raw(guestd) as raw:
        raw.send_bytes(frame(b"\x94\x00\x01\xa5hello\x81\xa6client\xa2\xff\xfe"))
        error = raw.answer(1)[2]
        assert (error["code"], error["field"]) == ("invalid_request", "client")


def test_integers_of_any_width_and_numbers_as_float(guestd):
    packed = [b"\x02", b"\xcc\x02", b"\xcd\x00\x02", b"\xce\x00\x00\x00\x02", b"\xcf" + b"\x00" * 7 + b"\x02",
              b"\xd0\x02", b"\xd1\x00\x02", b"\xd2\x00\x00\x00\x02", b"\xd3" + b"\x00" * 7 + b"\x02"]
    with Raw(guestd) as raw:
        for msgid, two in enumerate(packed):
            raw.send_bytes(frame(b"\x94\x00" + msgpack.packb(msgid) + b"\xa9file.list\x82\xa4path\xa4/dev\xa5depth" + two))
            assert raw.answer(msgid)[2] is None
        raw.request(50, "file.list", {"path": "/dev", "depth": 2.0})
        assert raw.answer(50)[2]["field"] == "depth"
        raw.request(51, "exec", {"cmd": "true", "timeout": 20.5})
        assert raw.answer(51)[2] is None


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, -0.5, "1", True, [1]])
def test_a_number_is_finite_and_not_below_zero(guestd, value):
    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "true", "timeout": value})
        error = raw.answer(1)[2]
        assert (error["code"], error["field"]) == ("invalid_request", "timeout")


def test_an_empty_result_is_an_empty_map_and_errors_have_known_keys(guestd):
    with Raw(guestd) as raw:
        raw.request(1, "ping")
        kind, msgid, error, result = raw.answer(1)
        assert error is None and type(result) is dict
        raw.request(2, "file.stat", {"path": "/no/such"})
        kind, msgid, error, result = raw.answer(2)
        assert result is None
        assert {"code", "message"} <= set(error) <= {"code", "message", "errno", "field", "data"}
        assert (error["code"], error["errno"]) == ("not_found", 2)


def test_ten_thousand_connections_of_garbage_while_another_works(guestd, client):
    """Seeded, so that what fails once fails again; half a frame, then the close, among it."""
    noise = random.Random(3)
    garbage = [bytes(noise.randrange(256) for _ in range(noise.randrange(200))) for _ in range(50)]
    garbage += list(HOSTILE.values()) + [frame(msgpack.packb(PING))[:n] for n in range(1, 12)]
    count = 200 if WRAPPER else 10000
    finished = threading.Event()
    failed = []

    def storm():
        try:
            for n in range(count):
                sock = guestd.raw()
                try:
                    sock.sendall(garbage[n % len(garbage)])
                except (BrokenPipeError, ConnectionResetError):
                    pass
                sock.close()
        except Exception as error:
            failed.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=storm)
    thread.start()
    worked = 0
    while worked < 10 or not finished.is_set():
        assert client.commands.run("echo untouched").stdout == "untouched\n"
        assert client.files.stat("/").type == "directory"
        worked += 1
    thread.join()
    assert not failed
    client.ping()
