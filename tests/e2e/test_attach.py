"""process.attach: any number read one process, each from where it likes; none makes it wait, none takes from another."""

import hashlib
import threading

import pytest

import procs
from expect import fails
from guestproto import Data, End, Event, Gap
from until import until

KIB = 1024
MIB = 1024 * KIB


def numbers(first, last):
    return "".join("%d\n" % n for n in range(first, last + 1)).encode()


class Reader:
    """What one attach brought: bytes by offset, gaps, ends, and the record."""

    def __init__(self, client, window=MIB, auto_credit=True, **params):
        self.request = client.start("process.attach", window=window, auto_credit=auto_credit, **params)
        first = self.request.next(20)
        assert first.event == "started", first
        self.started = first.fields
        self.data, self.gaps, self.ends, self.begins = {}, {}, {}, {}

    def take(self, item):
        if isinstance(item, Data):
            self.begins.setdefault(item.ch, item.off)
            self.data.setdefault(item.ch, bytearray()).extend(item.data)
        elif isinstance(item, Gap):
            self.begins.setdefault(item.ch, item.start)
            self.gaps.setdefault(item.ch, []).append((item.start, item.end))
        elif isinstance(item, End):
            self.ends[item.ch] = item.off

    def until(self, ch, count):
        """Reads on until `ch` brought so many bytes."""
        while len(self.data.get(ch, b"")) < count:
            self.take(self.request.next(20))
        return self

    def all(self):
        for item in self.request:
            assert not isinstance(item, Event)
            self.take(item)
        self.record = self.request.result(20)
        return self

    def bytes(self, ch="stdout"):
        return bytes(self.data.get(ch, b""))


def background(client, script, **params):
    return client.call("exec", cmd="sh", args=["-c", script], background=True, **params)


def exited(client, process):
    return client.call("process.wait", pid=process["pid"], timeout=20)


def test_from_the_start_while_it_runs(client, folder):
    process = background(client, "echo one; echo err >&2; until [ -e go ]; do sleep 0.01; done; echo two; exit 3",
                         cwd=str(folder), tag="runs")
    reader = Reader(client, tag="runs")
    assert reader.started == {"pid": process["pid"], "tag": "runs", "from": {"stdout": 0, "stderr": 0}}
    reader.until("stdout", 4).until("stderr", 4)
    (folder / "go").touch()
    reader.all()
    assert (reader.bytes(), reader.bytes("stderr")) == (b"one\ntwo\n", b"err\n")
    assert reader.ends == {"stdout": 8, "stderr": 4}
    assert not reader.gaps
    assert reader.record == client.call("process.get", pid=process["pid"])
    assert (reader.record["state"], reader.record["exit_code"]) == ("exited", 3)


def test_after_the_exit_and_again(client):
    process = background(client, "seq 1 1000")
    exited(client, process)
    for _ in range(3):
        reader = Reader(client, pid=process["pid"]).all()
        assert reader.bytes() == numbers(1, 1000)
        assert reader.record["stdout_bytes"] == len(numbers(1, 1000))


def test_now_brings_what_comes_from_here_on(client, folder):
    process = background(client, "echo before; until [ -e go ]; do sleep 0.01; done; echo after", cwd=str(folder))
    Reader(client, pid=process["pid"]).until("stdout", 7).request.cancel()
    reader = Reader(client, pid=process["pid"], **{"from": "now"})
    (folder / "go").touch()
    reader.all()
    assert reader.bytes() == b"after\n"
    assert (reader.begins, reader.ends) == ({"stdout": 7}, {"stdout": 13, "stderr": 0})


def test_from_offsets(client):
    process = background(client, "printf 0123456789; printf abcdef >&2")
    exited(client, process)
    reader = Reader(client, pid=process["pid"], **{"from": {"stdout": 4, "stderr": 6}}).all()
    assert (reader.bytes(), reader.bytes("stderr")) == (b"456789", b"")
    assert (reader.begins, reader.ends) == ({"stdout": 4}, {"stdout": 10, "stderr": 6})
    reader = Reader(client, pid=process["pid"], **{"from": {"stderr": 2}}).all()
    assert (reader.bytes(), reader.bytes("stderr")) == (b"0123456789", b"cdef")


@pytest.mark.parametrize("start, field", [
    ({"stdout": 11}, "from.stdout"), ({"stderr": 1}, "from.stderr"), ({"pty": 0}, "from.pty"), ({"file": 0}, "from.file"),
    ({"stdout": -1}, "from.stdout"), ({"stdout": 1.0}, "from.stdout"), ({"stdout": "1"}, "from.stdout"),
    ("end", "from"), (7, "from"), ([1, 2], "from"), ({1: 2}, "from")])
def test_where_nobody_can_begin(client, start, field):
    process = background(client, "printf 0123456789")
    exited(client, process)
    with fails("invalid_request", field=field):
        client.call("process.attach", pid=process["pid"], **{"from": start})


def test_whom_nobody_knows(client):
    with fails("not_found", field="tag"):
        client.call("process.attach", tag="nobody")
    with fails("invalid_request", field="pid"):
        client.call("process.attach")
    with fails("invalid_request", field="window"):
        client.call("process.attach", tag="nobody", window=(1 << 31) + 1)


def test_what_is_kept_no_more_is_a_gap_first(client):
    whole = numbers(1, 100000)
    process = background(client, "seq 1 100000", max_output=64 * KIB)
    exited(client, process)
    oldest = len(whole) - 64 * KIB
    for start, begin in ({}, 0), ({"from": {"stdout": 0}}, 0), ({"from": {"stdout": 1000}}, 1000):
        reader = Reader(client, pid=process["pid"], **start).all()
        assert reader.gaps == {"stdout": [(begin, oldest)]}
        assert reader.bytes() == whole[oldest:]
    reader = Reader(client, pid=process["pid"], **{"from": {"stdout": oldest + 5}}).all()
    assert (reader.gaps, reader.bytes()) == ({}, whole[oldest + 5:])


def test_a_head_has_its_gap_at_the_end(client):
    whole = numbers(1, 100000)
    process = background(client, "seq 1 100000", max_output=64 * KIB, overflow="head")
    exited(client, process)
    reader = Reader(client, pid=process["pid"]).all()
    assert reader.bytes() == whole[:64 * KIB]
    assert reader.gaps == {"stdout": [(64 * KIB, len(whole))]}
    reader = Reader(client, pid=process["pid"], **{"from": {"stdout": 64 * KIB + 9}}).all()
    assert (reader.bytes(), reader.gaps) == (b"", {"stdout": [(64 * KIB + 9, len(whole))]})


def test_a_captured_exec_is_watched_and_still_answered(guestd, client, folder):
    request = client.start("exec", cmd="sh", args=["-c", "echo one; until [ -e go ]; do sleep 0.01; done; echo two"],
                           tag="front", cwd=str(folder))
    until(lambda: client.commands.list(), "its tag is known")
    with guestd.connect() as other:
        reader = Reader(other, tag="front").until("stdout", 4)
        (folder / "go").touch()
        assert reader.all().bytes() == b"one\ntwo\n"
    assert request.result(20)["stdout"] == "one\ntwo\n"


def test_a_cancelled_attach_leaves_the_process_alone(guestd, client):
    process = background(client, "echo up; sleep 60")
    readers = [Reader(client, pid=process["pid"]) for _ in range(3)]
    readers[0].until("stdout", 3).request.cancel()
    with fails("cancelled"):
        readers[0].request.result(20)
    assert client.call("process.get", pid=process["pid"])["state"] == "running"
    client.call("process.kill", pid=process["pid"])
    for reader in readers[1:]:
        reader.all()
        assert (reader.bytes(), reader.record["reason"]) == (b"up\n", "killed")


def test_a_lost_connection_ends_its_attach_only(guestd, client):
    process = background(client, "echo up; sleep 60")
    with guestd.connect() as other:
        Reader(other, pid=process["pid"]).until("stdout", 3)
    client.ping()
    assert client.call("process.get", pid=process["pid"])["state"] == "running"
    assert Reader(client, pid=process["pid"]).until("stdout", 3).bytes() == b"up\n"


def test_eight_readers_each_with_its_own_window_and_start(guestd, client, folder):
    """None slows the program or another; the one that never credits costs nothing and ends with a gap of its own."""
    whole, errors = numbers(1, 400000), numbers(1, 50000)
    process = background(client, "until [ -e go ]; do sleep 0.01; done; seq 1 400000; seq 1 50000 >&2", cwd=str(folder),
                         max_output=4 * MIB)
    clients = [guestd.connect() for _ in range(8)]
    readers = [Reader(c, pid=process["pid"], window=window)
               for c, window in zip(clients, (1, 7, 4 * KIB, 64 * KIB, 100001, MIB, 8 * MIB))]
    idle = Reader(clients[7], pid=process["pid"], window=0, auto_credit=False)
    tiny, readers = readers[:2], readers[2:]
    (folder / "go").touch()
    threads = [threading.Thread(target=reader.all) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for reader in readers:
        assert (reader.bytes(), reader.bytes("stderr")) == (whole, errors)
        assert not reader.gaps
        assert reader.record["exit_code"] == 0
    for reader in tiny:  # a byte at a time: they need not see the end to be right
        reader.until("stdout", 50)
        assert whole.startswith(reader.bytes())
    assert not idle.request.done
    idle.request.credit(10 * MIB)
    assert idle.all().bytes() == whole
    for c in clients:
        c.close()


def test_an_attached_reader_that_takes_nothing_makes_nothing_wait(client):
    """The program writes far more than its store and than the reader's window: it ends all the same, and the reader is told."""
    whole = numbers(1, 1000000)
    process = background(client, "seq 1 1000000", max_output=256 * KIB)
    reader = Reader(client, pid=process["pid"], window=1000, auto_credit=False)
    assert exited(client, process)["exit_code"] == 0
    reader.request.auto_credit = True
    reader.request.credit(MIB)
    reader.all()
    assert reader.ends["stdout"] == len(whole)
    assert sum(end - start for start, end in reader.gaps["stdout"]) == len(whole) - len(reader.bytes())
    at, got = 0, reader.bytes()
    for start, end in reader.gaps["stdout"]:
        assert got[:start - at] == whole[at:start]
        got, at = got[start - at:], end
    assert got == whole[at:]


def test_only_the_opener_holds_a_blocking_job(guestd, client):
    """Attached readers take all that comes, yet the program stands still until its opener reads; then all have all."""
    whole = numbers(1, 600000)
    with guestd.connect() as first, guestd.connect() as second:
        opener = client.start("exec", cmd="seq", args=["600000"], stream=True, window=10, auto_credit=False,
                              max_output=256 * KIB)
        pid = opener.next(20).fields["pid"]
        readers = [Reader(first, pid=pid), Reader(second, pid=pid, window=64 * KIB)]
        idle = Reader(second, pid=pid, window=0, auto_credit=False)
        for reader in readers:
            reader.until("stdout", 256 * KIB)
        until(lambda: procs.stat(pid)[0] == "S", "the program waits for its pipe")
        seen = client.call("process.get", pid=pid)
        assert seen["state"] == "running"
        assert not any(reader.request.done for reader in readers)
        opener.auto_credit = True
        opener.credit(MIB)
        got = b"".join(item.data for item in opener if isinstance(item, Data))
        assert got == whole
        assert opener.result(20)["truncated"] is False
        idle.request.cancel()
        for reader in readers:
            reader.all()
            at, text = 0, b""
            for start, end in reader.gaps.get("stdout", []):
                text += reader.bytes()[at:start] + whole[start:end]
                at += start - at
            assert reader.ends["stdout"] == len(whole)
            assert len(reader.bytes()) + sum(e - s for s, e in reader.gaps.get("stdout", [])) == len(whole)


def test_coming_back_by_offset_again_and_again(guestd, client):
    """Detached and attached anew all along: every byte, or an exact gap; the sha256 of the whole shows it."""
    whole = numbers(1, 300000)
    process = background(client, "for i in 1 2 3 4 5 6; do seq $((i*50000-49999)) $((i*50000)); sleep 0.1; done",
                         max_output=8 * MIB)
    digest, at, times = hashlib.sha256(), 0, 0
    while at < len(whole):
        with guestd.connect() as other:
            reader = Reader(other, pid=process["pid"], window=16 * KIB, **{"from": {"stdout": at}})
            reader.until("stdout", min(40000, len(whole) - at))
            assert not reader.gaps
            assert reader.begins["stdout"] == at
            digest.update(reader.bytes())
            at += len(reader.bytes())
            times += 1
    assert times > 10
    assert digest.hexdigest() == hashlib.sha256(whole).hexdigest()


def test_fifty_readers_have_all_of_it(guestd, client, folder):
    """One doorbell rings for all of them."""
    whole = numbers(1, 20000)
    process = background(client, "until [ -e go ]; do sleep 0.01; done; seq 1 20000", cwd=str(folder))
    clients = [guestd.connect() for _ in range(5)]
    readers = [Reader(clients[n % 5], pid=process["pid"]) for n in range(50)]
    (folder / "go").touch()
    for reader in readers:
        assert reader.all().bytes() == whole
    for c in clients:
        c.close()


def test_readers_without_credit_cost_nothing(guestd, client, folder):
    """Fifty of them lie there while the program writes and writes: nobody wakes the agent for it."""
    process = background(client, "until [ -e go ]; do sleep 0.01; done; for i in $(seq 500); do echo $i; echo $i >> lines; "
                                 "sleep 0.002; done; sleep 60", cwd=str(folder))
    idle = [Reader(client, pid=process["pid"], window=0, auto_credit=False) for _ in range(50)]
    agent = guestd.agent()
    before = int(procs.status(agent, "voluntary_ctxt_switches")[0])
    (folder / "go").touch()
    until(lambda: (folder / "lines").exists() and (folder / "lines").read_text().count("\n") == 500, "it has written all")
    assert int(procs.status(agent, "voluntary_ctxt_switches")[0]) - before < 100
    for reader in idle:
        reader.request.cancel()
    client.call("process.kill", pid=process["pid"])


def test_what_descendants_write_later_is_not_waited_for(client, folder):
    process = background(client, "echo first; (until [ -e go ]; do sleep 0.01; done; echo late) & exit 0", cwd=str(folder))
    reader = Reader(client, pid=process["pid"]).all()
    assert (reader.bytes(), reader.record["pipes_open"]) == (b"first\n", True)
    (folder / "go").touch()
    until(lambda: Reader(client, pid=process["pid"]).all().bytes() == b"first\nlate\n", "the late line is kept")
