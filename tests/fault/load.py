"""What a guestd does all day, for tests that disturb it: each sort of work goes round and round on connections that
resume by themselves, and checks every byte of every round.

    with Load(guestd, folder) as load:
        for … : disturb(); load.check()
    print(load.told)

Leaving the block ends every round under way and looks at what is left; any byte, process or exit code that was lost, or
came twice, is an AssertionError.
"""

import collections
import hashlib
import threading

from guestproto import ConnectionLost, Data, End, Event, Gap, NotFound
from until import SLOWER, until

WRITERS = 50
READERS = 5              # connections that the writers' readers share
KEPT = 256 << 10
PATIENCE = 60 * SLOWER   # for one round, when nothing disturbs any more
MIB = 1 << 20

# Bursts with pauses: fifty that print all the time would leave the agents no processor.
WRITER = """
i=0
until [ -e stop ]; do
    end=$((i + 30))
    while [ $i -lt $end ]; do echo "writer $1 line $i"; i=$((i + 1)); done
    sleep 0.05
done
echo "writer $1 end $i"
exit $(($1 + 1))
"""
CAPTURED = """
echo ran >>ran-$1
i=0; while [ $i -lt 500 ]; do echo "captured $1 line $i"; i=$((i + 1)); done
sleep 0.1
i=0; while [ $i -lt 500 ]; do echo "captured $1 error $i" >&2; i=$((i + 1)); done
exit $(($1 % 100))
"""
STREAMED = """
echo ran >>streamed-$1
i=0
while [ $i -lt 20 ]; do
    seq $((i * 5000)) $((i * 5000 + 4999)); echo "streamed $1 error $i" >&2; i=$((i + 1)); sleep 0.01
done
exit $(($1 % 100))
"""


def lines(name, number, word, count):
    return "".join("%s %d %s %d\n" % (name, number, word, i) for i in range(count))


def connect(guestd, resumed):
    """A client; one whose first hello was lost tries again, as any host does."""
    def once():
        try:
            return guestd.connect(resumed=resumed)
        except (ConnectionLost, ConnectionResetError, BrokenPipeError):
            return None
    return until(once, "guestd can be connected to", 30)


class Work(threading.Thread):
    """Does `once` over and over until it is told to end."""

    def __init__(self, guestd, folder):
        super().__init__(daemon=True, name=type(self).__name__)
        self.guestd, self.folder = guestd, folder
        self.over = threading.Event()
        self.rounds = self.resumed = 0
        self.failure = None

    def _resumed(self, _):
        self.resumed += 1

    def run(self):
        try:
            with connect(self.guestd, self._resumed) as client:
                self.work(client)
        except BaseException as failure:
            self.failure = failure

    def work(self, client):
        while not self.over.is_set():
            self.once(client)
            self.rounds += 1

    def check(self):
        if self.failure:
            raise AssertionError("%s, round %d" % (self.name, self.rounds)) from self.failure

    def end(self):
        self.join(PATIENCE)
        self.check()
        assert not self.is_alive(), "%s hangs in round %d" % (self.name, self.rounds)
        assert self.rounds > 0, "%s never came around" % self.name


def ran_once(folder, name):
    """A run under a key that was asked for many times ran one time."""
    assert (folder / name).read_text() == "ran\n", "%s ran more than once" % name
    (folder / name).unlink()


def forget(client, **selector):
    try:
        client.commands.forget(**selector)
    except (ConnectionLost, NotFound):
        pass  # lost: it may have been done


class Captured(Work):
    """Execs whose answer the agent owes."""

    def once(self, client):
        number = self.rounds
        result = client.commands.run("/bin/sh", ["-c", CAPTURED, "sh", str(number)], cwd=str(self.folder))
        assert (result.exit_code, result.reason, result.truncated) == (number % 100, "exited", False), result
        assert result.stdout == lines("captured", number, "line", 500)
        assert result.stderr == lines("captured", number, "error", 500)
        ran_once(self.folder, "ran-%d" % number)
        forget(client, pid=result.pid)


def first_difference(output, wanted):
    at = next((i for i, (a, b) in enumerate(zip(output, wanted)) if a != b), min(len(output), len(wanted)))
    return "%d bytes, not %d; from byte %d on %r, not %r" % (
        len(output), len(wanted), at, bytes(output[at:at + 60]), wanted[at:at + 60])


def collect(stream, came=lambda: None):
    """channel → bytes of a stream that must have no gap. `came` is called when there are any."""
    output = collections.defaultdict(bytearray)
    for item in stream:
        if isinstance(item, Data):
            came()
        assert not isinstance(item, Gap), "lost: %r" % (item,)
        if isinstance(item, Data):
            assert item.off == len(output[item.ch]), "%s at %d, not at %d" % (item.ch, item.off, len(output[item.ch]))
            output[item.ch] += item.data
        elif isinstance(item, End):
            assert item.off == len(output[item.ch])
    return output


class Streamed(Work):
    """Execs whose output comes as it is written, of more than their stores hold, and that wait for their reader."""

    def once(self, client):
        number = self.rounds
        stream = client.commands.exec_stream("/bin/sh", ["-c", STREAMED, "sh", str(number)], max_output=KEPT,
                                             cwd=str(self.folder))
        output = collect(stream)
        result = stream.result()
        assert output["stdout"] == b"".join(b"%d\n" % i for i in range(100000)), "streamed output is not what it was"
        assert output["stderr"].decode() == lines("streamed", number, "error", 20)
        assert (result.exit_code, result.stdout_bytes) == (number % 100, len(output["stdout"])), result
        ran_once(self.folder, "streamed-%d" % number)


class Upload(Work):
    """One file, written whole each time, all bytes of one round alike."""

    BLOCKS = 64

    def once(self, client):
        block = bytes([65 + self.rounds % 26]) * (64 << 10)
        path = self.folder / "upload"
        client.files.upload_stream(str(path), [block] * self.BLOCKS, size=len(block) * self.BLOCKS,
                                   sha256=hashlib.sha256(block * self.BLOCKS).hexdigest())
        assert path.read_bytes() == block * self.BLOCKS, "a file of two uploads"


def numbered(round_, begin, end):
    return b"".join(b"round %d line %d\n" % (round_, i) for i in range(begin, end))


class Input(Work):
    """A background process's stdin, by process.input with offsets; an attached reader gets it back."""

    LINES = 20000

    def once(self, client):
        process = client.commands.run("cat", [], background=True, stdin_open=True, max_output=4 * MIB)
        text = numbered(self.rounds, 0, self.LINES)
        stdin, failed = process.stdin(), []

        def write():
            try:
                for i in range(0, self.LINES, 1000):
                    assert stdin.write(numbered(self.rounds, i, i + 1000), PATIENCE)
                stdin.close()
            except BaseException as failure:
                failed.append(failure)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        reader = process.attach()
        output = collect(reader)["stdout"]
        writer.join(PATIENCE)
        if failed:
            raise failed[0]
        assert output == text, "stdin did not come as it was written"
        record = reader.result()
        assert (record.exit_code, record.stdout_bytes) == (0, len(text))
        forget(client, pid=process.pid)


class Typed(Work):
    """stream.data to a streamed exec: a pipe."""

    LINES = 20000
    channel, greeting = "stdout", b""

    def begin(self, client):
        return client.commands.exec_stream("cat", [], stdin_open=True)

    def once(self, client):
        stream, failed, greeted = self.begin(client), [], threading.Event()
        if not self.greeting:
            greeted.set()

        def write():
            try:
                greeted.wait()
                for i in range(0, self.LINES, 500):
                    stream.send(numbered(self.rounds, i, i + 500))
                stream.end()
            except BaseException as failure:
                failed.append(failure)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        output = collect(stream, greeted.set)[self.channel]
        greeted.set()
        writer.join(PATIENCE)
        if failed:
            raise failed[0]
        wanted = self.greeting + numbered(self.rounds, 0, self.LINES)
        assert output == wanted, "typed is not what came back: " + first_difference(output, wanted)
        assert stream.result().exit_code == 0


class Terminal(Typed):
    """stream.data to a terminal: once it doesn't echo any more."""

    LINES = 2000
    channel, greeting = "pty", b"type\n"

    def begin(self, client):
        return client.commands.terminal("stty -echo -onlcr; echo type; exec cat")


class Readers(Work):
    """Those who watch writers, each from the writer's first byte to its last, on one connection."""

    def __init__(self, guestd, folder, pids):
        super().__init__(guestd, folder)
        self.pids = pids  # number → pid
        self.bytes = 0

    def work(self, client):
        threads = [Reader(self, client, number, pid) for number, pid in self.pids.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            if thread.failure:
                raise thread.failure
            self.bytes += thread.off
            self.rounds += 1


class Reader(threading.Thread):
    def __init__(self, owner, client, number, pid):
        super().__init__(daemon=True)
        self.client, self.number, self.pid = client, number, pid
        self.off = self.line = 0
        self.rest = b""
        self.failure = None

    def run(self):
        try:
            self.watch()
        except BaseException as failure:
            self.failure = failure

    def watch(self):
        stream = self.client.commands.attach(pid=self.pid)
        for item in stream:
            assert not isinstance(item, Gap), "writer %d: lost: %r" % (self.number, item)
            if isinstance(item, Data) and item.ch == "stdout":
                self.take(item)
            assert not isinstance(item, Event) or item.fields["pid"] == self.pid
        record = stream.result()
        assert self.rest == b"" and self.line < 0, "writer %d never ended" % self.number
        assert (record.exit_code, record.reason, record.stdout_bytes) == (self.number + 1, "exited", self.off), record

    def take(self, item):
        assert item.off == self.off, "writer %d at %d, not at %d" % (self.number, item.off, self.off)
        self.off += len(item.data)
        *whole, self.rest = (self.rest + item.data).split(b"\n")
        for line in whole:
            wanted = b"writer %d line %d" % (self.number, self.line)
            if line != wanted:
                assert line == b"writer %d end %d" % (self.number, self.line), "%r is not %r" % (line, wanted)
                self.line = -2
            self.line += 1


class Load:
    """All of it. `told` afterwards: what went round how often."""

    def __init__(self, guestd, folder, writers=WRITERS, sorts=(Captured, Streamed, Upload, Input, Typed, Terminal)):
        self.guestd, self.folder = guestd, folder
        self.told = ""
        self.client = connect(guestd, lambda _: None)
        self.pids = {}
        for number in range(writers):
            process = self.client.commands.run("/bin/sh", ["-c", WRITER, "sh", str(number)], background=True,
                                               max_output=KEPT, tag="writer-%d" % number, cwd=str(folder))
            self.pids[number] = process.pid
        self.readers = [Readers(guestd, folder, {n: pid for n, pid in self.pids.items() if n % READERS == i})
                        for i in range(min(READERS, writers))]
        methods = self.client.hello()["capabilities"]["methods"]
        if "process.input" not in methods or "process.forget" not in methods:
            sorts = [Upload]
        self.works = self.readers + [sort(guestd, folder) for sort in sorts]

    def __enter__(self):
        for work in self.works:
            work.start()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.end()
        finally:
            self.stop()
            self.client.close()

    def stop(self):
        (self.folder / "stop").touch()
        for work in self.works:
            work.over.set()

    def check(self):
        """Nobody has found anything wrong so far, and every writer is still there."""
        for work in self.works:
            work.check()
        running = {process.tag: process.pid for process in self.client.commands.list()}
        for number, pid in self.pids.items():
            assert running.get("writer-%d" % number) == pid, "writer %d is gone" % number

    def end(self):
        self.check()
        self.stop()
        for work in self.works:
            work.end()
        for number, pid in self.pids.items():
            result = self.client.commands.wait(pid=pid, timeout=PATIENCE)
            assert (result.tag, result.exit_code, result.reason) == ("writer-%d" % number, number + 1, "exited"), result
        litter = [path.name for path in self.folder.iterdir() if path.name not in ("stop", "upload")]
        assert not litter, "left behind: %s" % litter
        rounds = ", ".join("%d %s" % (work.rounds, work.name.lower()) for work in self.works if work not in self.readers)
        self.told = "%d writers watched, %d bytes; %s; resumed %d times" % (
            len(self.pids), sum(reader.bytes for reader in self.readers), rounds,
            sum(work.resumed for work in self.works))
