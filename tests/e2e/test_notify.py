"""guestd as the service of a manager that speaks sd_notify(3): what it is told, and when."""

import os
import socket
import struct
import time

import pytest

import server
import upgrades
from until import SLOWER, until


class Manager:
    """The manager's socket; `said` is what was sent to it, with the time of each."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(20 * SLOWER)

    def next(self):
        return self.socket.recv(4096).decode()


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else "@guestd-test-%d" % os.getpid()
    manager = Manager(name)
    yield manager
    manager.socket.close()


def test_ready_and_stopping(start, manager):
    guestd = start(env={"NOTIFY_SOCKET": manager.name})
    assert manager.next() == "READY=1"
    guestd.connect().close()  # it does serve
    with guestd.connect() as client:
        client.call("shutdown", mode="exit", grace=1)
    assert manager.next() == "STOPPING=1"
    until(lambda: guestd.process.poll() is not None, "guestd ended")
    manager.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.next()


def test_who_takes_the_call_for_ever_does_not_keep_it_from_serving(start, manager, folder):
    with socket.socket(socket.AF_UNIX) as waiter:
        waiter.bind("%s/slow" % folder)
        waiter.listen(1)
        waiter.settimeout(20 * SLOWER)
        guestd = start("--ready", "unix:%s/slow" % folder, env={"NOTIFY_SOCKET": manager.name}, ready=False)
        with waiter.accept()[0] as sock:
            sock.sendall(struct.pack(">I", 1000))
            manager.socket.settimeout(0.2)

            def told():
                sock.sendall(b"\0")
                try:
                    return manager.next()
                except socket.timeout:
                    return None
            assert until(told, "it serves", 8) == "READY=1"
            agent = guestd.agent()
    with guestd.connect() as client:
        client.ping()
    assert guestd.agent() == agent


def test_an_agent_that_comes_back_is_no_news(start, manager):
    guestd = start(env={"NOTIFY_SOCKET": manager.name})
    assert manager.next() == "READY=1"
    first = guestd.agent()
    os.kill(first, 9)
    until(lambda: guestd.agent() != first, "another agent")
    with guestd.connect() as client:
        client.ping()
    guestd.process.terminate()
    assert manager.next() == "STOPPING=1"


def test_the_watchdog_hears_twice_in_its_time(start, manager):
    guestd = start(env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": str(1000000), "WATCHDOG_PID": None})
    said = [manager.next() for _ in range(4)]
    assert sorted(said) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    begun = time.monotonic()
    assert [manager.next() for _ in range(3)] == ["WATCHDOG=1"] * 3
    assert time.monotonic() - begun > 0.9  # three halves of a second, less what the first one was late
    guestd.process.terminate()
    until(lambda: manager.next() == "STOPPING=1", "it is told that this is the end")


def test_a_watchdog_that_means_another_process(start, manager):
    guestd = start(env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "10000", "WATCHDOG_PID": "1"})
    assert manager.next() == "READY=1"
    with guestd.connect() as client:
        client.commands.run("sleep 0.2")
    guestd.process.terminate()
    assert manager.next() == "STOPPING=1"


def test_the_next_build_goes_on_telling(start, manager):
    guestd = start(env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "600000", "WATCHDOG_PID": None})
    until(lambda: manager.next() == "READY=1", "ready")
    with guestd.connect() as client:
        done = client.upgrade(server.GUESTD, upgrades.digest(server.GUESTD), supervisor=True)
        assert done["state"] == "done"
    until(lambda: manager.next() == "READY=1", "the new one serves")  # it cannot know what the other said
    assert [manager.next() for _ in range(3)] == ["WATCHDOG=1"] * 3
    guestd.process.terminate()
    until(lambda: manager.next() == "STOPPING=1", "it is told that this is the end")


@pytest.mark.parametrize("name", ["", "@", "relative", "/" + "x" * 200, "/nobody/is/there", "vsock:2:1"])
def test_a_socket_that_is_none_is_no_obstacle(start, name):
    guestd = start(env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "nonsense"})
    with guestd.connect() as client:
        assert client.commands.run("echo fine").stdout == "fine\n"
