"""A person's terminal: a pty whose far end is a program's stdin, stdout, stderr and controlling terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import termios

from until import SLOWER, until


class LocalTerminal:
    """A program on a terminal of its own. `shown` is all that it printed so far."""

    def __init__(self, args, env, rows=40, cols=100):
        self.master, self.slave = pty.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        os.set_blocking(self.master, False)
        self.process = subprocess.Popen(args, env=env, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        start_new_session=True, preexec_fn=self._take_terminal)

    @staticmethod
    def _take_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, cols):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, data):
        data = data.encode() if isinstance(data, str) else data
        while data:
            data = data[os.write(self.master, data):]

    def look(self):
        try:
            while True:
                self.shown += os.read(self.master, 65536)
        except (BlockingIOError, OSError):
            return self.shown

    def see(self, text, seconds=10):
        """Waits until `text` is shown, and returns what came before it; both are forgotten."""
        text = text.encode() if isinstance(text, str) else text
        try:
            until(lambda: text in self.look(), "%r is shown" % text, seconds)
        except AssertionError as failure:
            raise AssertionError("%s, but %r" % (failure, self.shown[-2000:])) from None
        before, _, self.shown = self.shown.partition(text)
        return before

    def modes(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        lflag = self.modes()[3]
        return not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)

    def given_back(self):
        return self.modes() == self.before

    def ended(self, seconds=20):
        """Its exit code, as Popen has it."""
        def over():
            self.look()  # a full terminal would hold it back
            return self.process.poll() is not None
        until(over, "it ends", seconds)
        self.look()
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20 * SLOWER)
        os.close(self.master)
        os.close(self.slave)
