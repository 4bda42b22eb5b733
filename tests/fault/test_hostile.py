"""hostile.py's short form; and, one by one, what it has found."""

import multiprocessing
import os
import random
import threading
import time

import pytest

import hostile
import procs
import server
from guestproto import TooLarge, encode_frame
from raw import Raw
from until import SLOWER, until

MIB = 1 << 20


@pytest.fixture
def guestd():
    guestd = server.Shared()
    yield guestd
    guestd.unharmed()
    guestd.stop()


@pytest.fixture
def hung(tmp_path, request):
    """A guestd with a file system that does not answer (FUSE, its daemon silent), and what makes it answer."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    fuse = os.open("/dev/fuse", os.O_RDWR)
    guestd = server.Guestd(*getattr(request, "param", ()), pass_fds=(fuse,),
                           mounts="mount -i -t fuse -o fd=%d,rootmode=40000,user_id=0,group_id=0 none %s; exec %d<&-"
                           % (fuse, tmp_path, fuse))
    open_still = [fuse]

    def answer():
        while open_still:
            os.close(open_still.pop())

    yield guestd, tmp_path, answer
    answer()
    guestd.stop()


def hang_all_threads(client, path):
    """As many requests as the pool lets run at once; the next ones wait for a thread."""
    for n in range(16):
        client.request(n, "file.stat", {"path": "%s/%d" % (path, n)})


def test_hostile_clients_harm_nobody():
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    hostile.run(5, seed, 4)


def test_a_download_whose_reader_goes_as_it_gives_credit(guestd, tmp_path):
    (tmp_path / "big").write_bytes(bytes(3 * MIB))
    for _ in range(100):
        with Raw(guestd) as client:
            client.request(1, "file.read", {"path": str(tmp_path / "big"), "stream": True, "window": 0})
            for msgid in range(2, 6):  # meanwhile both parts are read ahead
                client.request(msgid, "info")
                client.answer(msgid)
            client.send([2, "stream.credit", {"id": 1, "bytes": 4 * MIB}])


def test_an_upload_that_is_cancelled_and_then_lost_while_threads_hang(hung, tmp_path_factory):
    guestd, path, answer = hung
    folder = tmp_path_factory.mktemp("uploads")
    with Raw(guestd) as stuck, Raw(guestd) as client:
        client.request(1, "file.write", {"path": str(folder / "f"), "stream": True})
        client.send([2, "stream.data", {"id": 1, "data": b"x" * 1000}])
        assert client.recv()[:2] == [2, "stream.credit"]
        hang_all_threads(stuck, path)
        client.send([2, "stream.cancel", {"id": 1}])
        assert client.works()
    answer()
    until(lambda: not [fd for fd in procs.fds(guestd.agent()) if str(folder) in fd], "the upload's files are closed")
    assert os.listdir(folder) == []


def rss(pid, which="VmRSS"):
    return int(procs.status(pid, which)[0]) << 10


def test_what_is_cancelled_does_not_pile_up_behind_threads_that_hang(hung):
    guestd, path, _ = hung
    with Raw(guestd) as stuck, Raw(guestd) as client:
        hang_all_threads(stuck, path)
        assert client.works()
        before = rss(guestd.agent())
        long = "/" + "n" * 200 + "/n" * 1900
        for msgid in range(20000):
            client.request(msgid, "file.stat", {"path": long})
            client.send([2, "stream.cancel", {"id": msgid}])
            assert client.answer(msgid)[2]["code"] == "cancelled"
        assert server.SANITIZED or rss(guestd.agent()) - before < 20 * MIB


IMPATIENT = pytest.mark.parametrize("hung", [["--stall-s", "1"]], indirect=True, ids=["stall_s=1"])


@IMPATIENT
def test_a_file_system_that_does_not_answer_is_a_timeout(hung, tmp_path_factory):
    guestd, path, answer = hung
    beside = tmp_path_factory.mktemp("beside")
    with Raw(guestd) as client:
        client.request(1, "file.stat", {"path": "%s/f" % path})
        client.request(2, "file.list", {"path": str(path), "stream": True})
        client.request(3, "file.write", {"path": "%s/f" % path, "stream": True})
        client.send([2, "stream.data", {"id": 3, "data": b"x"}])
        answers = [client.recv() for _ in range(3)]  # in whatever order the threads were looked at
        assert sorted((message[1], message[2]["code"]) for message in answers) == [(n, "timeout") for n in (1, 2, 3)]
        client.request(4, "file.write", {"path": str(beside / "f"), "data": b"x"})
        assert client.answer(4)[3]["bytes"] == 1
        before = guestd.agent()
        answer()
        client.request(5, "file.stat", {"path": str(beside / "f")})
        assert client.answer(5)[3]["entry"]["size"] == 1
        assert guestd.agent() == before


@IMPATIENT
def test_when_all_threads_hang_a_new_agent_takes_the_jobs_over(hung):
    guestd, path, _ = hung
    with Raw(guestd) as client:
        client.request(100, "exec", {"cmd": "/bin/sh", "args": ["-c", "echo before; sleep 1000"], "background": True,
                                     "tag": "kept"})
        client.answer(100)
        old = guestd.agent()
        hang_all_threads(client, path)
        until(lambda: guestd.agent() not in (None, old), "a new agent is there")
    with guestd.connect() as client:
        assert [process.tag for process in client.commands.list()] == ["kept"]


def test_a_program_whose_reader_goes_before_its_stream_begins(guestd):
    for n in range(400):
        with Raw(guestd) as client:
            client.request(0, "exec", {"cmd": "/bin/sh", "args": ["-c", "trap '' TERM; exec yes"], "stream": True,
                                       "window": 0, "max_output": 4096, "kill_grace": 0.05})
            for msgid in range(1, n % 20):  # the start takes about as long as some of these
                client.request(msgid, "ping")
                client.recv()
    until(lambda: not guestd.jobs(), "no job is left")


def test_a_path_of_colons_costs_no_memory(guestd):
    with guestd.connect() as client:
        before = rss(guestd.agent(), "VmHWM")
        with pytest.raises(TooLarge) as caught:
            client.commands.run("x" * 4096, [], envs={"PATH": ":" * 900000})
        assert caught.value.field == "args"
        assert server.SANITIZED or rss(guestd.agent(), "VmHWM") - before < 20 * MIB


def test_a_protocol_error_is_the_last_frame_also_behind_what_waits(guestd, tmp_path):
    for n in range(3000):
        (tmp_path / ("%0100d" % n)).touch()
    with Raw(guestd) as client, guestd.connect() as other:
        for msgid in range(6):  # nothing is taken meanwhile
            client.request(msgid, "file.list", {"path": str(tmp_path), "stream": True})
        until(lambda: other.info()["metrics"]["queued_bytes"] > 0, "an event waits for the client")
        client.request(7, "exec", {"cmd": "sleep", "args": ["600"], "stream": True, "tag": "last", "kill_grace": 0})
        until(lambda: [job for job in other.commands.list() if job.tag == "last"], "`started` waits behind it")
        client.send([1, 1, None, {}])
        assert client.refused() == "invalid_request"


def test_all_who_wait_for_one_exit_are_told_in_turn(guestd, tmp_path):
    """100 ask for the same 4 MiB and take nothing: all at once these would be 500 MiB."""
    with Raw(guestd) as client, guestd.connect() as other:
        job = other.commands.run("head -c 4000000 /dev/zero; touch written; exec sleep 600", cwd=str(tmp_path),
                                 background=True, tag="waited-for", max_output=4 * MIB)
        until((tmp_path / "written").exists, "all is written")
        for msgid in range(100):
            client.request(msgid, "process.wait", {"tag": "waited-for", "output": True})
        client.request(1000, "ping")
        assert client.recv()[1] == 1000
        before = rss(guestd.agent())
        job.kill()
        until(lambda: other.info()["metrics"]["queued_bytes"] > 0, "the first result waits for the client")
        other.ping()
        assert server.SANITIZED or rss(guestd.agent()) - before < 40 * MIB
        assert {client.recv()[1] for _ in range(100)} == set(range(100))


def flood(guestd, stop):
    """Pings without an end, their answers taken."""
    os.nice(5)  # what is measured is guestd, not who gets a processor
    with Raw(guestd) as client:
        def take():
            while client.sock.recv(MIB):
                pass

        threading.Thread(target=take, daemon=True).start()
        pings = b"".join(encode_frame([0, msgid, "ping", {}]) for msgid in range(200))
        while not stop.is_set():
            client.send_bytes(pings)


@pytest.mark.skipif(server.SANITIZED or SLOWER > 1, reason="about speed")
def test_floods_of_requests_hold_no_ping_up(guestd):
    stop = multiprocessing.Event()
    floods = [multiprocessing.Process(target=flood, args=(guestd, stop)) for _ in range(16)]
    with guestd.connect() as client:
        for one in floods:
            one.start()
        until(lambda: client.info()["metrics"]["frames_in"] > 20000, "the floods have begun")
        slowest = 0
        for _ in range(50):
            begun = time.monotonic()
            client.ping()
            slowest = max(slowest, time.monotonic() - begun)
        stop.set()
        for one in floods:
            one.join()
        assert slowest * 1000 <= client.hello()["limits"]["ping_ms"]
