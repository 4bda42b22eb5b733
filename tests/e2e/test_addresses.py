"""Where guestd listens, and who may speak there."""

import contextlib
import errno
import os
import socket
import stat
import threading

import pytest

from guestproto import ConnectionLost, connect
from raw import Raw
from server import Guestd, read_frame
from until import SLOWER, until

pytestmark = pytest.mark.valgrind

NOBODY = 65534


def free_port():
    """A TCP port that nobody has: the kernel hands each out once before it begins again."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def as_uid(uid):
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def does_not_start(*options, **more):
    """Its exit code is not 0; returns what it said."""
    guestd = Guestd(*options, ready=False, **more)
    try:
        assert guestd.process.wait(20 * SLOWER) not in (0, None)
        assert guestd.process.returncode > 0, "it died of a signal"
        return guestd.stderr()
    finally:
        guestd.ended(guestd.process.returncode)


def refusal(sock):
    """The code of the protocol.error that a raw socket is refused with."""
    last = None
    with sock:
        while True:
            try:
                message = read_frame(sock)
            except ConnectionResetError:
                message = None
            if message is None:
                assert last is not None, "closed without a word"
                assert last[:2] == [2, "protocol.error"]
                return last[2]["code"]
            last = message


# ── unix ──

def test_unix_is_0600_from_birth(start):
    guestd = start(shell="umask 0")
    mode = os.lstat(guestd.address[len("unix:"):]).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600


def test_unix_is_for_root_and_guestds_own_user(start, as_root):
    guestd = start()
    guestd.folder.chmod(0o755)
    path = guestd.address[len("unix:"):]
    with as_uid(NOBODY), pytest.raises(PermissionError):
        guestd.raw()
    os.chmod(path, 0o666)  # even then
    with as_uid(NOBODY):
        sock = guestd.raw()
    assert refusal(sock) == "permission_denied"
    with guestd.connect() as client:
        client.ping()


def test_a_stale_socket_is_replaced(start, folder):
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    guestd = start(listen="unix:%s" % path)
    with guestd.connect() as client:
        client.ping()
    guestd.stop()
    assert not path.exists()


def test_a_live_socket_and_other_files_are_not_replaced(start, folder):
    guestd = start()
    said = does_not_start(listen=guestd.address)
    assert guestd.address[len("unix:"):] in said
    with guestd.connect() as client:
        client.ping()
    (folder / "file").write_text("kept")
    does_not_start(listen="unix:%s/file" % folder)
    assert (folder / "file").read_text() == "kept"


# ── tcp and tokens ──

def test_tcp_needs_a_token(start):
    address = "tcp:127.0.0.1:%d" % free_port()
    assert "token" in does_not_start(listen=address)
    guestd = start("--no-token", listen=address)
    assert "token" in guestd.stderr(), "it says what that means"
    with guestd.connect() as client:
        client.ping()


@pytest.fixture
def secret(start):
    port = free_port()
    guestd = start(listen="tcp:127.0.0.1:%d" % port, token="s3cr3t")
    guestd.port = port
    return guestd


def tcp(guestd):
    return Tcp(socket.create_connection(("127.0.0.1", guestd.port), 20 * SLOWER))


class Tcp(Raw):
    def __init__(self, sock):
        self.sock = sock


def test_the_right_token_opens(secret):
    with secret.connect() as client:
        assert client.commands.run("echo in").stdout == "in\n"
    with secret.connect(token=b"s3cr3t") as client:
        client.ping()


@pytest.mark.parametrize("token", [None, "", "s3cr3", "s3cr3t ", "s3cr3t\n", "S3cr3t", "x" * 256])
def test_any_other_does_not(secret, token):
    with pytest.raises(ConnectionLost) as caught:
        connect(secret.address, token=token, timeout=20)
    assert caught.value.code == "unauthenticated"


@pytest.mark.parametrize("method, params", [
    ("ping", {}), ("exec", {"cmd": "true"}), ("no.such", {}), ("shutdown", {"mode": "exit"})])
def test_nothing_else_comes_before_hello(secret, method, params):
    with tcp(secret) as raw:
        raw.request(1, method, params)
        raw.request(2, "hello", {"protocol": 1, "token": "s3cr3t"})
        assert raw.refused() == "unauthenticated"


def test_the_token_file_may_be_unlinked_and_the_agent_replaced(secret):
    os.unlink(secret.folder / "token")
    os.kill(secret.agent(), 9)
    with secret.connect() as client:
        client.ping()
    with pytest.raises(ConnectionLost):
        connect(secret.address, token="wrong", timeout=20)


def test_the_token_is_in_no_environment_and_no_command_line(secret):
    with secret.connect() as client:
        assert "s3cr3t" not in client.commands.run("env").stdout
    for pid in (secret.pid, secret.agent()):
        for name in ("environ", "cmdline"):
            with open("/proc/%d/%s" % (pid, name), "rb") as file:
                assert b"s3cr3t" not in file.read()


def test_eight_may_wait_unauthenticated(secret):
    with secret.connect() as client:
        waiting = [tcp(secret) for _ in range(8)]
        client.ping()
        with tcp(secret) as ninth:
            assert ninth.refused() == "limit_exceeded"
        client.ping()
        waiting[0].request(1, "hello", {"protocol": 1, "token": "s3cr3t"})
        assert waiting[0].answer(1)[2] is None
        with secret.connect() as second:  # its place is free
            second.ping()
        for raw in waiting:
            raw.sock.close()


def test_who_says_no_hello_is_closed_after_ten_seconds(secret):
    with tcp(secret) as raw:
        assert raw.refused() == "unauthenticated"


def test_a_token_that_cannot_be_had(folder):
    assert "token" in does_not_start("--token-file", folder / "no-such")


def test_a_token_works_over_unix_too(start):
    guestd = start(token="s3cr3t")
    with guestd.connect() as client:
        client.ping()
    with pytest.raises(ConnectionLost) as caught:
        guestd.connect(token="other")
    assert caught.value.code == "unauthenticated"


# ── inherited ──

@pytest.fixture
def inherited(folder):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "inherited"))
        sock.listen(16)
        yield sock


def test_an_inherited_listener(start, inherited):
    start(listen="fd:%d" % inherited.fileno(), pass_fds=(inherited.fileno(),))
    with connect("unix:" + inherited.getsockname(), timeout=20) as client:
        client.ping()
        assert client.commands.run("ls /proc/self/fd").stdout.split() == ["0", "1", "2", "3"]  # ls's own is the last


def test_an_inherited_tcp_listener_needs_a_token_too(folder):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        assert "token" in does_not_start(listen="fd:%d" % sock.fileno(), pass_fds=(sock.fileno(),))


def test_listen_fds(start, inherited):
    start(listen="", pass_fds=(inherited.fileno(),),
          shell="exec 3<&%d; export LISTEN_FDS=1 LISTEN_PID=$$" % inherited.fileno())
    with connect("unix:" + inherited.getsockname(), timeout=20) as client:
        client.ping()
        assert "LISTEN_" not in client.commands.run("env").stdout


@pytest.mark.parametrize("what", ["fd:99", "fd:0"])
def test_an_fd_that_is_no_listener(what):
    assert what in does_not_start(listen=what)


def test_a_client_of_an_inherited_connection(start):
    guestd = start()
    with connect("fd:%d" % guestd.raw().detach(), timeout=20) as client:
        client.ping()


# ── vsock ──

@pytest.fixture
def vsock_port():
    """A vsock port of this machine, where its own loopback is there."""
    try:
        with socket.socket(socket.AF_VSOCK) as listener, socket.socket(socket.AF_VSOCK) as caller:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            listener.listen(1)
            port = listener.getsockname()[1]
            caller.settimeout(2)
            caller.connect((1, port))
    except OSError as error:
        pytest.skip("no vsock loopback here: %s" % error)
    return port + 1


def test_local_vsock_is_refused(start, vsock_port):
    guestd = start("--listen", "vsock:%d" % vsock_port)
    with pytest.raises(ConnectionLost) as caught:
        connect("vsock:%d" % vsock_port, timeout=20)
    assert caught.value.code == "permission_denied"
    with guestd.connect() as client:
        client.ping()


def test_an_allowed_cid_may_speak(start, vsock_port):
    start("--listen", "vsock:%d" % vsock_port, "--allow-cid", 1)
    with connect("vsock:1:%d" % vsock_port, timeout=20) as client:
        client.ping()


# ── the rest of the syntax ──

@pytest.mark.parametrize("address", ["", "unix:relative", "tcp:1234", "tcp:host:port", "vsock:x", "vsock:1:2:3",
                                     "unix:/" + "x" * 108, "firecracker:/x:1", "smtp:x", "fd:x"])
def test_what_is_no_address(address):
    assert does_not_start("--listen", address, listen="")


def test_many_addresses_at_once(start, folder):
    more = ["unix:%s/second" % folder, "tcp:127.0.0.1:%d" % free_port()]
    guestd = start("--listen", more[0], "--listen", more[1], token="s3cr3t")
    assert guestd.ready[3]["listen"] == [guestd.address, *more]
    for address in guestd.ready[3]["listen"]:
        with connect(address, token="s3cr3t", timeout=20) as client:
            client.ping()
    guestd.stop()
    assert not (folder / "second").exists()


def test_the_firecracker_handshake(start, folder):
    """A hypervisor's socket, played by a thread: one line each way, then the guest's bytes."""

    guestd = start()
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(str(folder / "uds"))
        host.listen(1)

        def hypervisor():
            for line in (b"OK 1073741824\n", b""):
                client = host.accept()[0]
                with client:
                    asked = client.recv(100)
                    assert asked == b"CONNECT 1024\n"
                    client.sendall(line)
                    if not line:
                        continue
                    with guestd.raw() as guest:
                        for source, target in ((client, guest), (guest, client)):
                            target.sendall(source.recv(65536))  # hello, and its answer

        thread = threading.Thread(target=hypervisor)
        thread.start()
        with connect("firecracker:%s/uds:1024" % folder, timeout=20) as client:
            assert client.hello()["protocol"] == 1
        with pytest.raises(ConnectionLost):
            connect("firecracker:%s/uds:1024" % folder, timeout=20)
        thread.join()


def test_connecting_to_nobody(folder):
    with pytest.raises(OSError) as caught:
        connect("unix:%s/nobody" % folder)
    assert caught.value.errno == errno.ENOENT
    for wrong in ("nonsense", "unix:x", "vsock:", "tcp:1", "fd:-1", "firecracker:x:1"):
        with pytest.raises(ValueError):
            connect(wrong)


def test_connections_wait_while_the_agent_is_away(start):
    """The supervisor keeps the listener: who connects meanwhile is served by the next agent."""
    guestd = start()
    os.kill(guestd.agent(), 19)  # stopped: it accepts nobody
    sock = guestd.raw()
    with Tcp(sock) as raw:
        raw.request(1, "ping")
        os.kill(guestd.agent(), 9)
        assert raw.answer(1)[2] is None
    until(lambda: guestd.agent(), "the next agent is there")
