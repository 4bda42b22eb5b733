"""One connection to guestd: many requests in flight, streams with credit both ways.

A reader thread takes frames and hands each to its request; any thread may send. What a hostile agent can make this side
hold is bounded: a frame by MAX_FRAME, stream data by the credit given, events by EVENTS_HELD. `Request` is the way to wait.
"""

import collections
import socket
import threading
import time

from guestproto_wire import (AGENT_FRAME, HEADER, MAX_FRAME, NOTIFICATION, REQUEST, RESPONSE, U32, ConnectionLost,
                             GuestError, WireError, decode_body, encode_frame, error_from_wire)

WINDOW = 1 << 20            # credit a stream from the agent starts with, unless its request says otherwise
STREAM_CREDIT = 256 << 10   # credit a stream to the agent starts with, unless hello says otherwise
CHUNK = 256 << 10           # largest stream.data this side sends
CHANNELS = 16               # of one stream
EVENTS_HELD = 64 << 20      # bytes of events (they need no credit) held for a reader that is behind

Event = collections.namedtuple("Event", "event fields")
Data = collections.namedtuple("Data", "ch off data")
Gap = collections.namedtuple("Gap", "ch start end")
End = collections.namedtuple("End", "ch off")


class Request:
    """A request in flight, and the stream it may have opened.

    Iterating yields Event, Data, Gap and End in the order they came, and ends where the response comes. Credit is given
    back as data is taken, unless `auto_credit` is false: then `credit()` does it. One thread takes the items.
    """

    def __init__(self, connection, msgid, method, window, credit, auto_credit):
        self.id = msgid
        self.method = method
        self.auto_credit = auto_credit
        self._connection = connection
        self._changed = threading.Condition()
        self._items = collections.deque()
        self._window = window      # what auto_credit keeps up
        self._may_receive = window
        self._taken = 0            # data bytes taken and not yet credited again
        self._at = {}              # channel → offset at which its next bytes begin
        self._held = 0             # bytes of events in _items
        self._may_send = credit
        self.credited = 0          # bytes of this side that reached their place, all in all
        self.started = None        # the fields of its event `started`, once it came
        self._answer = None        # ("result", map) or ("error", exception)

    # ── from the reader thread ──

    def _joins(self, ch, begin, end):
        """A channel's bytes are told in their order, without a hole; where it begins is the request's choice."""
        if self._at.setdefault(ch, begin) != begin or end < begin:
            raise WireError("%s goes on at %d, not at %d" % (ch, begin, self._at[ch]))
        if len(self._at) > CHANNELS:
            raise WireError("over %d channels" % CHANNELS)
        self._at[ch] = end

    def _deliver(self, item, size):
        """False: more events are held than can be. Raises WireError for what the agent may not send."""
        with self._changed:
            if isinstance(item, Data):
                self._joins(item.ch, item.off, item.off + size)
                self._may_receive -= size
                if self._may_receive < 0:
                    raise WireError("more data than credit")
                if size == 0:  # no news, and no credit bounds how many of them come
                    return True
            else:
                if isinstance(item, Gap):
                    self._joins(item.ch, item.start, item.end)
                elif isinstance(item, End):
                    self._joins(item.ch, item.off, item.off)
                elif item.event == "started" and self.started is None:
                    self.started = item.fields
                self._held += size
                if self._held > EVENTS_HELD:
                    return False
            self._items.append((item, size))
            self._changed.notify_all()
        return True

    def _credited(self, count):
        with self._changed:
            self._may_send += count
            self.credited += count
            self._changed.notify_all()

    def _finish(self, kind, value):
        with self._changed:
            if self._answer is None:
                self._answer = (kind, value)
            self._changed.notify_all()

    # ── from the caller ──

    @property
    def done(self):
        """True once the answer (or the loss of the connection) is here."""
        return self._answer is not None

    @property
    def lost(self):
        """The ConnectionLost that ended it, or None."""
        return self._answer[1] if self._answer and isinstance(self._answer[1], ConnectionLost) else None

    def wait_started(self, timeout=None):
        """The fields of `started`; None when the answer came without it. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.started or self._answer, timeout):
                raise TimeoutError("%s: not started in %s s" % (self.method, timeout))
            return self.started

    def result(self, timeout=None):
        """Waits for the response: its map, or its error raised. TimeoutError leaves the request in flight.

        What the stream still brings is let go, or it would never end; with `auto_credit` false it is kept.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._changed:
                left = None if deadline is None else deadline - time.monotonic()
                if not self._changed.wait_for(lambda: self._answer or (self._items and self.auto_credit), left):
                    raise TimeoutError("%s: no answer in %s s" % (self.method, timeout))
                if self._answer:
                    kind, value = self._answer
                    break
            self.next()
        if kind == "error":
            raise value
        return value

    def next(self, timeout=None):
        """The next item of the stream; None where the response ended it. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._answer, timeout):
                raise TimeoutError("%s: nothing came in %s s" % (self.method, timeout))
            if not self._items:
                return None
            item, size = self._items.popleft()
            if not isinstance(item, Data):
                self._held -= size
                return item
            self._taken += size
            give = self._taken if self.auto_credit and self._taken * 2 >= self._window else 0
        if give:
            try:
                self.credit(give)
            except ConnectionLost:
                pass  # the answer will say so, behind the items that are here already
        return item

    def __iter__(self):
        while True:
            item = self.next()
            if item is None:
                return
            yield item

    def credit(self, count):
        """Lets the agent send `count` more bytes of data."""
        with self._changed:
            if self._answer is not None:
                return
            self._may_receive += count
            self._taken = max(0, self._taken - count)
        self._connection.notify("stream.credit", {"id": self.id, "bytes": count})

    def send(self, data):
        """Sends stream data, waiting for credit; raises the request's error if it is answered meanwhile."""
        view = memoryview(data).cast("B")
        while view:
            sent = self.send_some(view)
            if sent == 0:
                break
            view = view[sent:]

    def send_some(self, view):
        """Sends as much of `view` as credit and a frame allow, waiting for some credit; the bytes sent, 0 once it is
        answered. Raises the request's error."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_send > 0 or self._answer)
            if self._answer is not None:
                if self._answer[0] == "error":
                    raise self._answer[1]
                return 0
            count = min(len(view), self._may_send, CHUNK)
            self._may_send -= count
        self._connection.notify("stream.data", {"id": self.id, "data": bytes(view[:count])})
        return count

    def end(self):
        """No more data from this side."""
        self._connection.notify("stream.end", {"id": self.id})

    def cancel(self):
        """Asks to end the request; the answer still comes."""
        if not self.done:
            self._connection.notify("stream.cancel", {"id": self.id})


class Connection:
    """Owns the socket and the reader thread until close()."""

    def __init__(self, sock, max_frame=MAX_FRAME):
        self.max_frame = max_frame
        self.agent_frame = AGENT_FRAME
        self.stream_credit = STREAM_CREDIT
        self._sock = sock
        self._lock = threading.Lock()         # _requests, _next_id, lost
        self._send_lock = threading.Lock()
        self._requests = {}
        self._next_id = 1
        self.lost = None                      # ConnectionLost, once it is
        self.fruitful = False                 # something came besides the answer to hello
        self._thread = threading.Thread(target=self._read, name="guestproto", daemon=True)
        self._thread.start()

    def close(self):
        """Ends the connection; what is in flight raises ConnectionLost. May be called again."""
        self._lose(ConnectionLost("closed by this side", final=True))
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._sock.close()

    def start(self, method, params, window=WINDOW, auto_credit=True):
        """Sends a request; returns its Request. Raises ConnectionLost, or ValueError for one that is too large."""
        with self._lock:
            if self.lost:
                raise self.lost
            msgid = self._next_id
            while msgid in self._requests:
                msgid = msgid + 1 & U32
            self._next_id = msgid + 1 & U32
            request = Request(self, msgid, method, window, self.stream_credit, auto_credit)
            self._requests[msgid] = request
        try:
            self._send([REQUEST, msgid, method, params])
        except ValueError:
            self._forget(msgid)
            raise
        return request

    def notify(self, method, params):
        self._send([NOTIFICATION, method, params])

    def _send(self, message):
        frame = encode_frame(message)
        if len(frame) - HEADER.size > self.agent_frame:
            raise ValueError("a frame of %d bytes; the agent takes %d" % (len(frame), self.agent_frame))
        try:
            with self._send_lock:
                self._sock.sendall(frame)
        except OSError as error:
            # The reader may be about to find the agent's reason: let it look first.
            self._shutdown(socket.SHUT_WR)
            self._thread.join(1)
            self._lose(ConnectionLost(str(error)))
            raise self.lost from None

    def distrust(self, why):
        """Ends the connection: what came over it can't be true. Returns the ConnectionLost to raise."""
        lost = ConnectionLost(why, final=True)
        self._lose(lost)
        return lost

    def _forget(self, msgid):
        with self._lock:
            return self._requests.pop(msgid, None)

    def _shutdown(self, how):
        try:
            self._sock.shutdown(how)
        except OSError:
            pass  # it is gone already

    def _lose(self, why):
        with self._lock:
            self.lost = self.lost or why
            requests, self._requests = self._requests, {}
        self._shutdown(socket.SHUT_RDWR)
        for request in requests.values():
            request._finish("error", self.lost)

    # ── the reader thread ──

    def _read(self):
        stream = self._sock.makefile("rb", buffering=CHUNK)
        try:
            while True:
                header = stream.read(HEADER.size)
                if len(header) < HEADER.size:
                    raise ConnectionLost("the agent closed the connection")
                (length,) = HEADER.unpack(header)
                if length > self.max_frame:
                    raise WireError("a frame of %d bytes, over %d" % (length, self.max_frame))
                body = stream.read(length)
                if len(body) < length:
                    raise ConnectionLost("the agent closed the connection inside a frame")
                self._take(decode_body(body), length)
        except ConnectionLost as why:
            self._lose(why)
        except (WireError, OSError, KeyError, TypeError, ValueError) as why:
            lied = not isinstance(why, OSError)
            self._lose(ConnectionLost("%s: %s" % (type(why).__name__, why), final=lied))
        finally:
            stream.close()

    def _take(self, message, size):
        if message[0] == RESPONSE:
            request = self._forget(message[1])
            if request is None:
                raise WireError("a response to no request")
            self.fruitful |= request.method != "hello"
            if message[2] is not None:
                request._finish("error", error_from_wire(message[2]))
            else:
                request._finish("result", message[3])
        elif message[0] == NOTIFICATION:
            self._notified(message[1], message[2], size)
        else:
            raise WireError("a request from the agent")

    def _notified(self, method, params, size):
        if method == "protocol.error":
            code, text = params.get("code"), params.get("message")
            raise ConnectionLost("the agent refused the connection: %s: %s" % (code, text), code, text,
                                 final=code != "limit_exceeded")
        if not method.startswith("stream."):
            return  # a newer agent's
        with self._lock:
            request = self._requests.get(params["id"])
        if request is None:
            raise WireError("%s for no open stream" % method)
        self.fruitful = True
        if method == "stream.credit":
            request._credited(_of(params["bytes"], int))
            return
        if method == "stream.data":
            item = Data(params["ch"], _of(params["off"], int), _of(params["data"], bytes))
            size = len(item.data)
        elif method == "stream.gap":
            item = Gap(params["ch"], _of(params["from"], int), _of(params["to"], int))
        elif method == "stream.end":
            item = End(params["ch"], _of(params["off"], int))
        elif method == "stream.event":
            item = Event(params["event"], {key: value for key, value in params.items() if key not in ("id", "event")})
        else:
            return
        if not request._deliver(item, size) and not request.done:
            self._fall_behind(request)

    def _fall_behind(self, request):
        """Its events are let go and the stream is cancelled; the connection and the others go on."""
        request._finish("error", GuestError("the reader is %d bytes of events behind" % EVENTS_HELD, code="too_large"))
        self.notify("stream.cancel", {"id": request.id})


def _of(value, kind):
    if type(value) is not kind or (kind is int and value < 0):
        raise WireError("not %s: %r" % (kind.__name__, value))
    return value
