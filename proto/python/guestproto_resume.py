"""What a lost connection costs: nothing that can be had again (proto/PROTOCOL.md, section 14, "resume").

`Line` is a connection that is made anew when it is lost, for a bounded time, and only to the same guestd. `Stream` is a
stream that goes on there by its offsets: no byte twice, what is gone told as a Gap.
"""

import logging
import threading
import time

from guestproto_connection import CHUNK, WINDOW, Connection, Data, End, Event, Gap
from guestproto_wire import ConnectionLost, GuestError

RESUME = 10.0      # seconds for which a lost connection is made anew, unless the caller says otherwise
PAUSE = 0.01, 1.0  # between two tries: the first, and the longest

log = logging.getLogger("guestproto")


class Line:
    """A connection, and how to make it anew: `reopen(timeout)` gives a connected socket. Without it a lost connection
    stays lost. Threads may share it. A subclass says how to greet: `greet_on(connection, timeout)` → what hello told."""

    def __init__(self, connection, reopen=None, resume=RESUME, resumed=None):
        self.connection = connection
        self.hello_result = None
        self._reopen = reopen if resume else None
        self._resume_s = resume
        self._resumed = resumed
        self._renewing = threading.Lock()
        self._fruitless = None  # since when no connection has brought anything
        self._tries = 0
        self._closed = False

    def close(self):
        """Ends the connection for good. May be called again."""
        self._closed = True
        self.connection.close()

    @property
    def resumes(self):
        """Would a lost connection be made anew?"""
        return self._reopen is not None

    def start(self, method, auto_credit=True, **params):
        """Sends a request on the connection as it is; returns its Request, to be iterated, cancelled or waited for."""
        params = {key: value for key, value in params.items() if value is not None}
        window = params.get("window", WINDOW)
        return self.connection.start(method, params, window if isinstance(window, int) else WINDOW, auto_credit)

    def repeat(self, method, **params):
        """A request that does no harm when it is done twice: sent again if its connection is lost. Its result map."""
        return self.repeating(method, lambda: params)

    def repeating(self, method, params):
        """The same with params that `params()` makes for each time."""
        while True:
            connection = self.connection
            try:
                return self.start(method, **params()).result()
            except ConnectionLost:
                self.renew(connection)
                self.tell("asked again: %s" % method)

    def tell(self, what):
        """Says that something was resumed: to the callback, else as a warning of the logger `guestproto`."""
        text = "connection lost; " + what
        if self._resumed:
            self._resumed(text)
        else:
            log.warning("%s", text)

    def renew(self, gone):
        """Returns once `connection` is another than `gone`, which was lost; raises ConnectionLost when it can't be."""
        with self._renewing:
            if self.connection is not gone:
                return
            if self._reopen is None or self._closed or gone.lost is None or gone.lost.final:
                raise gone.lost or ConnectionLost("closed by this side", final=True)
            gone.close()
            now = time.monotonic()
            if gone.fruitful or self._fruitless is None:
                self._fruitless, self._tries = now, 0
            self.connection = self._connect(self._fruitless + self._resume_s, gone.lost)

    def _connect(self, deadline, why):
        while not self._closed:
            # The first try is at once; one that failed, or whose connection brought nothing, makes the next one wait.
            pause = min(PAUSE[0] * 2 ** (self._tries - 1), PAUSE[1]) if self._tries else 0
            self._tries += 1
            if time.monotonic() + pause > deadline:
                raise ConnectionLost("not back within %g s: %s" % (self._resume_s, why), why.code, why.message)
            time.sleep(pause)
            try:
                return self._same_guestd(deadline - time.monotonic())
            except ConnectionLost as lost:
                why = lost
                if lost.final:
                    raise
            except (OSError, TimeoutError) as error:
                why = ConnectionLost("%s: %s" % (type(error).__name__, error))
        raise ConnectionLost("closed by this side", final=True)

    def _same_guestd(self, timeout):
        connection = Connection(self._reopen(timeout), self.connection.max_frame)
        try:
            hello = self.greet_on(connection, timeout)
            for name in ("boot_id", "instance"):
                if self.hello_result is None or self.hello_result.get(name) != hello.get(name):
                    raise ConnectionLost("there is another guestd now: nothing is there to resume", final=True)
        except BaseException:
            connection.close()
            raise
        return connection


class Stream:
    """A stream that outlives its connection: items and answer as of a Request.

    `again(stream)` gives the params that ask for the rest, by `stream.at`; None: it can't be asked for, and a lost
    connection ends it. `begin`: where channels begin, 0 unless named; None: where they say. One thread takes the items.
    """

    def __init__(self, line, method, params, again, begin=None):
        self._line, self._method, self._again = line, method, again
        self._params = params
        self._lock = threading.Lock()  # of a resumption: the reader and the sender may both find the loss
        self._cancelled = False
        self._ended = set()
        self.at = dict(begin or {})    # channel → offset of the byte that comes next
        self.begins_at_0 = begin is not None
        self._started = False          # that event was handed out
        self._pid = None
        self.input = None              # StreamInput, once something was sent
        self._connection = self.request = None
        self._begin()

    # ── the request under the stream ──

    def _begin(self):
        while True:
            self._connection = self._line.connection
            try:
                self.request = self._line.start(self._method, **self._params)
                if self._cancelled:
                    self.request.cancel()
                return
            except ConnectionLost:
                if self._again is None:
                    raise
                self._line.renew(self._connection)

    def resume(self, request):
        """`request` lost its connection: asks for the rest on a new connection, unless the other thread did so already."""
        with self._lock:
            if self.request is not request:
                return
            if self._again is None:
                raise request.lost
            self._line.renew(self._connection)
            self._know(request.started)
            self._params = self._again(self)
            self._begin()
        if self.input:
            self.input.go_on()
        where = ", ".join("%s %d" % pair for pair in sorted(self.at.items()))
        self._line.tell("resumed at " + where if where else "asked again: " + self._method)

    def distrust(self, what):
        """Ends the connection of an agent that lies, and raises it."""
        raise self._connection.distrust(what)

    # ── items ──

    def next(self, timeout=None):
        """The next item; None where the answer ended the stream. Raises TimeoutError, and ConnectionLost for good."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            request = self.request
            item = request.next(None if deadline is None else max(0, deadline - time.monotonic()))
            if item is None:
                if request.lost is None:
                    return None
                self.resume(request)
                continue
            item = self._fresh(item)
            if item is not None:
                return item

    def __iter__(self):
        while True:
            item = self.next()
            if item is None:
                return
            yield item

    def _fresh(self, item):
        """What of an item is news after those that were delivered: itself, a part, or None."""
        if isinstance(item, Event):
            return self._fresh_event(item)
        if item.ch in self._ended:
            if isinstance(item, End) and item.off != self.at[item.ch]:
                self.distrust("%s ended at %d, and now at %d" % (item.ch, self.at[item.ch], item.off))
            return None
        begin = item.start if isinstance(item, Gap) else item.off
        end = item.end if isinstance(item, Gap) else begin + len(item.data) if isinstance(item, Data) else begin
        at = self.at.setdefault(item.ch, 0 if self.begins_at_0 else begin)
        if begin > at or isinstance(item, End) and begin < at:
            self.distrust("%s goes on at %d, not at %d" % (item.ch, begin, at))
        if isinstance(item, End):
            self._ended.add(item.ch)
            return item
        if end <= at and begin < at:
            return None
        self.at[item.ch] = max(at, end)
        if isinstance(item, Gap):
            return Gap(item.ch, at, end)
        return Data(item.ch, max(at, begin), item.data[at - begin:]) if at > begin else item

    def _fresh_event(self, item):
        if item.event != "started":
            return item
        self._know(item.fields)
        if self._started:
            return None
        self._started = True
        begins = item.fields.get("from")
        if isinstance(begins, dict):
            for ch, off in begins.items():
                if type(ch) is str and type(off) is int and off >= 0:
                    self.at.setdefault(ch, off)
        return item

    def _know(self, started):
        """It is the same process on each connection."""
        if started:
            self._pid = started.get("pid") if self._pid is None else self._pid
            if started.get("pid") != self._pid:
                self.distrust("another process answers")

    def result(self, timeout=None):
        """Lets go what still comes, and waits for the answer: its map, or its error raised."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.next(None if deadline is None else max(0, deadline - time.monotonic())) is not None:
            pass
        return self.request.result(0)

    @property
    def done(self):
        return self.request.done and self.request.lost is None

    def started(self, timeout=None):
        """The fields of `started`; raises the answer's error when the program can't be started."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            request = self.request
            fields = request.wait_started(None if deadline is None else max(0, deadline - time.monotonic()))
            if fields is not None:
                return fields
            if request.lost is None:
                request.result(0)
                self.distrust("an answer without `started`")
            self.resume(request)

    def cancel(self):
        """Asks to end it; the answer still comes."""
        self._cancelled = True
        try:
            self.request.cancel()
        except ConnectionLost:
            pass  # whoever resumes it cancels it again


class StreamInput:
    """What a stream sends: kept until the other end has it in its place, so that it can be sent again."""

    def __init__(self, stream):
        self._stream = stream
        self._lock = threading.Lock()
        self._request = stream.request
        self._origin = 0          # where the bytes of this request begin
        self._base = 0            # offset of the first byte kept …
        self._kept = bytearray()  # … of those that may have to be sent again
        self._next = 0            # offset that goes next
        self._over = False
        self._ended = None        # the request that was told so
        stream.input = self

    def send(self, data):
        """Sends `data`, waiting for credit. Raises the stream's error; data for a stream that is answered is dropped."""
        view = memoryview(data).cast("B")
        with self._lock:
            while view:
                self._kept += view[:CHUNK]
                view = view[CHUNK:]
                self._flush()

    def end(self):
        """No more comes."""
        with self._lock:
            self._over = True
            self._flush()

    def go_on(self):
        """The stream was resumed: what was under way goes again, though nobody may send any more. On a thread of its
        own: whoever takes the items must not wait for credit."""
        threading.Thread(target=self._go_on, name="guestproto", daemon=True).start()

    def _go_on(self):
        try:
            with self._lock:
                self._flush()
        except (ConnectionLost, GuestError):
            pass  # the stream's answer is the same

    def _flush(self):
        """All that is kept is on its way, over as many connections as that takes."""
        while True:
            request = self._stream.request
            try:
                if self._flush_on(request):
                    return
            except ConnectionLost:
                if request.lost is None:  # it was answered before
                    return
                self._stream.resume(request)

    def _flush_on(self, request):
        """False: there is more."""
        if request is not self._request:
            self._take_up(request)
        self._let_go(request)
        with memoryview(self._kept) as kept, kept[self._next - self._base:] as left:
            if left:
                sent = request.send_some(left)
                self._next += sent
                return sent == 0
        if self._over and self._ended is not request:
            request.end()
            self._ended = request
        return True

    def _take_up(self, request):
        """A request that was asked again: how far its stdin is, only it can say."""
        fields = request.wait_started()
        if fields is None:
            request.result(0)  # raises what ended it
        taken = (fields or {}).get("stdin")
        top = self._base + len(self._kept)
        if type(taken) is not int or not self._base <= taken <= top:
            self._stream.distrust("stdin is at %r, not between %d and %d" % (taken, self._base, top))
        del self._kept[:taken - self._base]
        self._request, self._origin, self._base, self._next = request, taken, taken, taken

    def _let_go(self, request):
        there = min(self._origin + request.credited, self._next)
        if there > self._base:
            del self._kept[:there - self._base]
            self._base = there
