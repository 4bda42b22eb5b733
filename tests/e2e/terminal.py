"""Somebody at a terminal: what a program draws is on a screen (pyte, a VT102), what is typed goes to it."""

import pyte

from guestproto import Data, End, Event, Gap
from until import SLOWER, until


class Screen(pyte.Screen):
    """One that vim may ask for what no VT102 knows."""

    def select_graphic_rendition(self, *attributes, private=False):
        if not private:
            super().select_graphic_rendition(*attributes)


class Terminal:
    """`request`: a streamed exec with `pty`, or a process.attach to one; `started` is its first event."""

    def __init__(self, request, rows=24, cols=80):
        self.request = request
        self.started = request.next(20 * SLOWER).fields
        self.screen = Screen(cols, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.bytes = bytearray()  # all that came
        self.gaps, self.end = [], None

    @classmethod
    def run(cls, client, cmd, *args, rows=24, cols=80, **params):
        params.setdefault("pty", {"rows": rows, "cols": cols})
        return cls(client.start("exec", cmd=cmd, args=list(args), **params), rows, cols)

    @property
    def pid(self):
        return self.started["pid"]

    def _take(self, item):
        if isinstance(item, Data):
            assert item.ch == "pty"
            self.bytes += item.data
            self._stream.feed(item.data)
        elif isinstance(item, Gap):
            self.gaps.append((item.start, item.end))
        elif isinstance(item, End):
            assert item.ch == "pty" and self.end is None, "one channel, one end"
            self.end = item.off
        else:
            assert not isinstance(item, Event), item

    def look(self):
        """Takes what has come; the screen's lines without what is blank at their ends."""
        try:
            while True:
                item = self.request.next(0.01)
                if item is None:
                    break
                self._take(item)
        except TimeoutError:
            pass
        return [line.rstrip() for line in self.screen.display]

    def shows(self, text, what=None):
        """Waits until it is somewhere on the screen; the line that has it."""
        def line():
            return next((line for line in self.look() if text in line), None)
        try:
            return until(line, what or "the screen shows " + repr(text))
        except AssertionError as error:
            raise AssertionError("%s; it shows:\n%s" % (error, "\n".join(self.look()))) from None

    def type(self, text):
        self.request.send(text.encode())

    def result(self):
        """Reads to the end."""
        while (item := self.request.next(20 * SLOWER)) is not None:
            self._take(item)
        return self.request.result(20 * SLOWER)
