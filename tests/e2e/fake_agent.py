"""An agent of a few lines that loses its connections where a test wants it to, and nothing else: runs by key, streams by
offset, stdin and files outlive them, as PROTOCOL.md says of the real one."""

import os
import socket
import tempfile
import threading

from guestproto import encode_frame
from server import read_frame

STDOUT = b"".join(b"line %d\n" % i for i in range(12))
STDERR = b"oh no\n"
PIECE = 17  # bytes of data a frame
METHODS = ["hello", "ping", "exec", "process.attach", "process.input", "process.forget", "file.write"]
SIZE = {"size": 1000, "modified_at": 5}


class Cut(Exception):
    """The connection is lost here."""


class Run:
    """A program: what it has printed, and where its stdin is. With stdin it is cat."""

    def __init__(self, params, pid):
        self.params, self.pid = params, pid
        self.stdin = b"" if params.get("stdin_open") else None
        self.closed = False
        self.oldest = 0

    def output(self):
        return {"stdout": STDOUT, "stderr": STDERR} if self.stdin is None else {"stdout": self.stdin}

    def result(self):
        return {"pid": self.pid, "tag": "t", "exit_code": 0, "stdout": "done"}


class FakeAgent:
    """Listens at `address` until closed. `cut` counts frames, of both directions, down: the one that makes it 0 isn't
    delivered, or half of it is (`half`), and its connection is closed."""

    def __init__(self, cut=None, half=False, token=None):
        self.folder = tempfile.mkdtemp(prefix="fake-")
        self.address = "unix:%s/s" % self.folder
        self.cut, self.half, self.token = cut, half, token
        self.frames = self.connections = 0
        self.instance = "one"
        self.credit = 100
        self.runs, self.started, self.files, self.published = {}, 0, {"/f": STDOUT}, 0
        self.stat = dict(SIZE)
        self.refuse = False     # closes what connects
        self.lie = None         # lie(method, params, answer) → another answer
        self.lock = threading.RLock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.folder + "/s")
        self.listener.listen(8)
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.lose()
        os.unlink(self.folder + "/s")
        os.rmdir(self.folder)

    def lose(self):
        """Every connection is lost now."""
        with self.lock:
            for sock in self.sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.sockets.clear()

    def run(self):
        """The first program that was started."""
        return next(iter(self.runs.values()))

    def _accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.sockets.append(sock)
            threading.Thread(target=Serve(self, sock).serve, daemon=True).start()

    def passes(self):
        """Counts one frame; is this the one?"""
        with self.lock:
            self.frames += 1
            return self.frames != self.cut


class Serve:
    """One connection."""

    def __init__(self, agent, sock):
        self.agent, self.sock = agent, sock
        self.inputs = {}   # id → Run whose stdin the stream is
        self.uploads = {}  # id → (path, bytes so far)
        self.sent = {}     # id → bytes of a live run that were echoed

    def serve(self):
        try:
            while not self.agent.refuse:
                message = read_frame(self.sock)
                if message is None:
                    return
                if not self.agent.passes():
                    raise Cut
                with self.agent.lock:
                    self._take(message)
        except (Cut, OSError):
            pass
        finally:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)  # as an agent that dies: what was sent can still be read
            except OSError:
                pass
            self.sock.close()

    def send(self, *messages):
        for message in messages:
            frame = encode_frame(message)
            if not self.agent.passes():
                if self.agent.half:
                    self.sock.sendall(frame[:len(frame) // 2])
                raise Cut
            self.sock.sendall(frame)

    def answer(self, msgid, result, method=None, params=None):
        if self.agent.lie:
            result = self.agent.lie(method, params, result)
        self.send([1, msgid, None, result])

    def _take(self, message):
        if message[0] == 2:
            getattr(self, "on_" + message[1].replace(".", "_"))(message[2])
            return
        _, msgid, method, params = message
        getattr(self, "do_" + method.replace(".", "_"))(msgid, params)

    # ── requests ──

    def do_hello(self, msgid, params):
        if self.agent.token and params.get("token") != self.agent.token:
            self.send([2, "protocol.error", {"code": "unauthenticated", "message": "no"}])
            raise Cut
        self.answer(msgid, {"boot_id": "b", "instance": self.agent.instance, "limits": {"stream_credit": self.agent.credit},
                            "capabilities": {"methods": METHODS}}, "hello")

    def do_ping(self, msgid, params):
        self.answer(msgid, {}, "ping")

    def do_file_stat(self, msgid, params):
        self.answer(msgid, {"entry": self.agent.stat}, "file.stat")

    def do_exec(self, msgid, params):
        key = params["key"]
        if key not in self.agent.runs:
            self.agent.started += 1
            self.agent.runs[key] = Run(params, 40 + self.agent.started)
        run = self.agent.runs[key]
        if not params.get("stream"):
            self.answer(msgid, run.result(), "exec")
            return
        started = {"id": msgid, "event": "started", "pid": run.pid, "tag": "t"}
        if run.stdin is not None:
            started["stdin"] = len(run.stdin)
        if self.agent.lie:
            started = self.agent.lie("started", params, started)
        self.send([2, "stream.event", started])
        if run.stdin is not None:
            self.inputs[msgid], self.sent[msgid] = run, 0
            self._echo(msgid)
            return
        self._stream(msgid, run, {}, run.result())

    def _stream(self, msgid, run, begin, result):
        for ch, output in run.output().items():
            off = begin.get(ch, 0)
            if off < run.oldest:
                self.send([2, "stream.gap", {"id": msgid, "ch": ch, "from": off, "to": min(run.oldest, len(output))}])
                off = min(run.oldest, len(output))
            while off < len(output):
                self.send([2, "stream.data", {"id": msgid, "ch": ch, "off": off, "data": output[off:off + PIECE]}])
                off = min(off + PIECE, len(output))
        self.send(*[[2, "stream.end", {"id": msgid, "ch": ch, "off": len(output)}] for ch, output in run.output().items()])
        self.answer(msgid, result, "stream")

    def do_process_attach(self, msgid, params):
        run = self.agent.run()
        wanted = params.get("from")
        begin = wanted if isinstance(wanted, dict) else {ch: len(output) - 30 if wanted == "now" and ch == "stdout" else 0
                                                         for ch, output in run.output().items()}
        self.send([2, "stream.event", {"id": msgid, "event": "started", "pid": run.pid, "tag": "t", "from": begin}])
        self._stream(msgid, run, begin, {"pid": run.pid, "state": "exited", "exit_code": 0})

    def do_process_get(self, msgid, params):
        self.answer(msgid, {"pid": self.agent.run().pid, "tag": "t", "pty": False}, "process.get", params)

    def do_process_close_stdin(self, msgid, params):
        self.agent.run().closed = True
        self.answer(msgid, {}, "process.close_stdin", params)

    def do_process_input(self, msgid, params):
        run = self.agent.run()
        off, taken = params.get("off", len(run.stdin)), len(run.stdin)
        if off > taken:
            self.send([1, msgid, {"code": "invalid_request", "message": "gap", "field": "off"}, None])
            return
        run.stdin += params["data"][taken - off:]
        self.answer(msgid, {"off": len(run.stdin)}, "process.input", params)

    def do_file_write(self, msgid, params):
        if not params.get("stream"):
            self._publish(msgid, params["path"], params["data"])
            return
        self.uploads[msgid] = params["path"], b""

    def _publish(self, msgid, path, data):
        self.agent.files[path], self.agent.published = data, self.agent.published + 1
        self.answer(msgid, {"entry": {"path": path}, "bytes": len(data)}, "file.write")

    def do_file_read(self, msgid, params):
        data, off = self.agent.files[params["path"]], params.get("off", 0)
        end = min(len(data), off + params["len"]) if "len" in params else len(data)
        while off < end:
            self.send([2, "stream.data", {"id": msgid, "ch": "file", "off": off, "data": data[off:min(off + PIECE, end)]}])
            off = min(off + PIECE, end)
        self.send([2, "stream.end", {"id": msgid, "ch": "file", "off": off}])
        self.answer(msgid, {"size": len(data), "off": off, "eof": True}, "file.read")

    def do_file_list(self, msgid, params):
        for name in "abc":
            self.send([2, "stream.event", {"id": msgid, "event": "entries", "entries": [{"name": name}]}])
        self.answer(msgid, {"truncated": False}, "file.list")

    # ── notifications ──

    def on_stream_credit(self, params):
        pass

    def on_stream_cancel(self, params):
        pass

    def on_stream_data(self, params):
        msgid, data = params["id"], params["data"]
        if msgid in self.uploads:
            path, before = self.uploads[msgid]
            self.uploads[msgid] = path, before + data
            self.send([2, "stream.credit", {"id": msgid, "bytes": len(data)}])
        elif msgid in self.inputs:
            self.inputs[msgid].stdin += data
            self.send([2, "stream.credit", {"id": msgid, "bytes": len(data)}])
            self._echo(msgid)

    def _echo(self, msgid):
        run = self.inputs[msgid]
        while self.sent[msgid] < len(run.stdin):
            off = self.sent[msgid]
            data = run.stdin[off:off + PIECE]
            self.sent[msgid] += len(data)
            self.send([2, "stream.data", {"id": msgid, "ch": "stdout", "off": off, "data": data}])
        if run.closed:
            self.send([2, "stream.end", {"id": msgid, "ch": "stdout", "off": len(run.stdin)}])
            del self.inputs[msgid]
            self.answer(msgid, run.result(), "stream")

    def on_stream_end(self, params):
        msgid = params["id"]
        if msgid in self.uploads:
            path, data = self.uploads.pop(msgid)
            self._publish(msgid, path, data)
        elif msgid in self.inputs:
            self.inputs[msgid].closed = True
            self._echo(msgid)

