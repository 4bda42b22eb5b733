"""One guestd, started with chosen options, told ready by itself, and looked over when it stops."""

import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid

import procs
from guestproto import connect, decode_frame, encode_frame
from until import SLOWER, until

TREE = pathlib.Path(__file__).resolve().parents[2]
GUESTD = os.environ.get("GUESTD") or str(TREE / "build/guestd/guestd")
WRAPPER = shlex.split(os.environ.get("GUESTD_WRAPPER", ""))
SANITIZED = bool(os.environ.get("GUESTD_SANITIZED"))


def read_frame(sock):
    """One whole frame from a blocking socket, or None at its end."""
    frame = b""
    need = 4
    while len(frame) < need:
        got = sock.recv(need - len(frame))
        if not got:
            return None
        frame += got
        if len(frame) == 4:
            need = 4 + int.from_bytes(frame, "big")
    return decode_frame(frame)


class Guestd:
    """`listen` None: a unix socket in its own folder; "": no --listen at all. `shell`: commands that run before it, in
    the process that becomes guestd; `mounts`: the same in a mount namespace of its own. `ready` False: the caller waits
    for something itself."""

    def __init__(self, *options, listen=None, program=(), env=None, token=None, mounts=None, shell=None,
                 pass_fds=(), ready=True):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="guestd-"))
        self.mark = "E2E_MARK=" + uuid.uuid4().hex
        self.address = "unix:%s/socket" % self.folder if listen is None else listen
        self.token = token
        command = [*WRAPPER]
        if WRAPPER and WRAPPER[0].endswith("valgrind"):
            command.append("--log-file=%s/report.%%p" % self.folder)
        command.append(GUESTD)
        if listen != "":
            command += ["--listen", self.address]
        command += [str(option) for option in options]
        if token:
            (self.folder / "token").write_text(token + "\n")
            command += ["--token-file", str(self.folder / "token")]
        if ready:
            command += ["--ready", "unix:%s/ready" % self.folder]
        if program:
            command += ["--", *program]
        if mounts or shell:
            command = ["bash", "-ec", (mounts or shell) + '\nexec "$@"', "bash", *command]
        if mounts:
            command = ["unshare", "--mount", "--propagation", "private", *command]
        environment = {key: value for key, value in {**os.environ, **(env or {})}.items() if value is not None}
        name, value = self.mark.split("=")
        environment[name] = value
        if SANITIZED:
            for options_of in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
                environment[options_of] = "%s:log_path=%s/report" % (environment.get(options_of, ""), self.folder)
        self.environment = environment
        waiter = self._listen_ready() if ready else None
        self.errors = open(self.folder / "stderr", "w+")
        self.output = open(self.folder / "stdout", "w+")
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=self.errors, pass_fds=pass_fds)
        self.pid = self.process.pid
        try:
            if waiter:
                self.ready = self._await_ready(waiter)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _listen_ready(self):
        waiter = socket.socket(socket.AF_UNIX)
        waiter.bind("%s/ready" % self.folder)
        waiter.listen(1)
        waiter.settimeout(0.05)
        return waiter

    def _await_ready(self, waiter):
        def accepted():
            if self.process.poll() is not None:
                raise AssertionError("guestd ended with %d before it was ready: %s" % (self.process.returncode,
                                                                                       self.stderr()))
            try:
                return waiter.accept()[0]
            except socket.timeout:
                return None

        with waiter, until(accepted, "guestd says that it is ready", 20) as sock:
            sock.settimeout(20 * SLOWER)
            message = read_frame(sock)
            sock.sendall(encode_frame([1, message[1], None, {}]))
        os.unlink("%s/ready" % self.folder)
        return message

    def connect(self, **options):
        return connect(self.address, token=options.pop("token", self.token), timeout=20 * SLOWER, **options)

    def raw(self):
        """A bare socket to a unix listener, for frames that no client would send."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.address.partition(":")[2])  # with a timeout, a full backlog would be an error
        sock.settimeout(20 * SLOWER)
        return sock

    def stderr(self):
        self.errors.flush()
        return (self.folder / "stderr").read_text(errors="replace")

    def agent(self):
        """The agent's pid: the supervisor's child that was started in this role (guestd/link.h, LINK_ROLE)."""
        def found():
            same = [pid for pid in procs.children(self.pid)
                    if procs.alive(pid) and procs.arguments(pid)[-1:] == [b"agent-on-link"]]
            return same[0] if len(same) == 1 else None
        return until(found, "there is one agent")

    def jobs(self):
        """Running processes below this guestd, itself and its agent left out."""
        own = {self.pid, self.agent()}
        return [pid for pid in procs.marked(self.mark) if pid not in own]

    def reports(self):
        """What valgrind or the sanitizers found. ASan's warning about a child that ends on a stack of its own is not it:
        it says where ASan gives up, when many starts' stacks are far from each other."""
        texts = [path.read_text(errors="replace") for path in sorted(self.folder.glob("report.*"))]
        return "".join(text for text in texts
                       if "ASan is ignoring requested __asan_handle_no_return" not in text or "ERROR" in text)

    def stop(self, code=0):
        """SIGTERM; its exit code, and that nothing stays: no process, no socket, no report."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.ended(code)

    def ended(self, code=0, seconds=20):
        """Waits until it has ended by itself, and looks it over."""
        try:
            status = self.process.wait(seconds * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("guestd did not end: " + self.stderr()) from None
        try:
            reports = self.reports()
            assert not reports, reports
            assert status == code, self.stderr()
            until(lambda: not procs.marked(self.mark), "nothing that guestd started is left")
            assert not (self.folder / "socket").exists(), "its socket is left behind"
        finally:
            procs.kill(procs.marked(self.mark))
            self.errors.close()
            self.output.close()
            shutil.rmtree(self.folder, ignore_errors=True)


class Shared(Guestd):
    """One guestd that the tests of a module share: after each it must be as before it."""

    def __init__(self, *options, **more):
        super().__init__(*options, **more)
        with self.connect() as client:  # what is made when first needed: threads, a list of uploads under way
            client.commands.run("true")
            client.files.write("%s/first" % self.folder, b"")
        self.first_agent = self.agent()
        self.before = self._quiet_fds()

    def _fds(self):
        return procs.fds(self.pid), procs.fds(self.first_agent)

    def _quiet_fds(self):
        """The fds once the first client's socket is closed: the agent's count of sockets no longer falls."""
        with self.connect() as client:
            inside = self._fds()
            client.ping()
        return until(lambda: len(self._fds()[1]) < len(inside[1]) and self._fds(), "a closed connection's fd is closed")

    def unharmed(self):
        """No crash, no fd and no zombie came of the test that just ran; the programs it left are ended."""
        procs.kill(self.jobs())
        assert self.process.poll() is None, "guestd ended: " + self.stderr()
        assert self.agent() == self.first_agent, "the agent was replaced: " + self.stderr()
        until(lambda: not procs.zombies(self.pid) and not procs.zombies(self.first_agent), "no zombie is left")
        changed = []

        def same():
            procs.kill(self.jobs())  # one in the middle of its exec had no environment yet, and no mark
            changed.clear()
            for old, new in zip(self.before, self._fds()):
                changed.extend(["-" + fd for fd in old if fd not in new] + ["+" + fd for fd in new if fd not in old])
            return not changed
        try:
            until(same, "fds are as at the start", 3)
        except AssertionError:
            self.before = self._fds()  # told once
            raise AssertionError("fds are not as at the start: " + " ".join(changed)) from None
