"""The same work over every kind of socket: a Unix socket, TCP with a token, an inherited listener."""

import hashlib
import os
import socket

import pytest

from expect import fails
from guestproto import Data, connect

pytestmark = pytest.mark.valgrind

MIB = 1 << 20


@pytest.fixture(params=["unix", "tcp", "fd"])
def client(request, start, folder):
    if request.param == "unix":
        address, token = start().address, None
    elif request.param == "tcp":
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address, token = "tcp:127.0.0.1:%d" % sock.getsockname()[1], "open sesame"
        start(listen=address, token=token)
    else:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("%s/listener" % folder)
            sock.listen(8)
            start(listen="fd:%d" % sock.fileno(), pass_fds=(sock.fileno(),))
            address, token = "unix:%s/listener" % folder, None
    with connect(address, token=token, timeout=20) as client:
        yield client


def test_commands(client):
    result = client.commands.run("cat; echo err >&2; exit 3", stdin=b"in")
    assert (result.stdout, result.stderr, result.exit_code) == ("in", "err\n", 3)
    assert client.commands.run("sleep 60", timeout=0.3, kill_grace=0.1).reason == "timed_out"
    with fails("not_found", field="cmd"):
        client.commands.run("no-such-program", [])
    process = client.commands.run("sleep 60", background=True, tag="b")
    assert [p.tag for p in client.commands.list()] == ["b"]
    process.kill()
    assert process.wait(20).signal == "SIGKILL"


def test_streams(client):
    stream = client.commands.exec_stream("head -c 20000000 /dev/zero")
    assert sum(len(item.data) for item in stream if isinstance(item, Data)) == 20000000
    assert stream.result(20).exit_code == 0


def test_files(client, folder):
    data = os.urandom(6 * MIB + 1)
    client.files.upload_stream("%s/a/f" % folder, [data], create_parents=True, sha256=hashlib.sha256(data).hexdigest())
    assert client.files.read("%s/a/f" % folder) == data
    assert [entry.size for entry in client.files.list("%s/a" % folder)] == [len(data)]
    assert client.files.remove("%s/a" % folder) == 2
    assert not client.files.exists("%s/a" % folder)
