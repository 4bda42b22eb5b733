"""After much work everything is as at the start: open files, zombies, memory."""

import hashlib
import os
import threading

import procs
import pytest
from until import until

EXECS = 10000
UPLOADS = 1000
WORKERS = 4


def reading(guestd):
    """(open fds, resident KiB) of both processes."""
    pids = (guestd.pid, guestd.agent())
    fds = [len(os.listdir("/proc/%d/fd" % pid)) for pid in pids]
    return fds, [rss_kib(pid) for pid in pids]


def rss_kib(pid):
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def work(guestd, execs, uploads, folder):
    """That many of each, spread over a few connections; a wrong answer ends it."""
    wrong = []

    def worker(number):
        try:
            with guestd.connect() as client:
                for i in range(execs // WORKERS):
                    done = client.call("exec", cmd="/bin/echo", args=[str(i)])
                    assert (done["exit_code"], done["stdout"]) == (0, "%d\n" % i)
                for i in range(uploads // WORKERS):
                    data = os.urandom(1000 + i % 7 * 10000)
                    client.call("file.write", path="%s/%d" % (folder, number), data=data,
                                sha256=hashlib.sha256(data).hexdigest())
        except Exception as error:  # told by the main thread
            wrong.append(error)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]


@pytest.mark.plain_only
def test_ten_thousand_execs_and_a_thousand_uploads_leave_nothing(start, folder):
    guestd = start("--retained-s", "1", "--retained", "64")

    def forgotten():
        with guestd.connect() as client:
            return not client.call("process.list", exited=True)["processes"]

    # The pools (threads, buffers, cgroups) fill once; what grows after that is a leak.
    work(guestd, 800, 200, folder)
    until(forgotten, "exited records go after retained_s")
    fds, rss = reading(guestd)
    work(guestd, EXECS, UPLOADS, folder)
    until(forgotten, "exited records go after retained_s")
    assert not procs.zombies(guestd.pid) and not procs.zombies(guestd.agent())
    until(lambda: reading(guestd)[0] <= fds, "open files are as at the start: %s, now %s" % (fds, reading(guestd)[0]))
    after = reading(guestd)[1]
    assert all(now - before <= 1024 for now, before in zip(after, rss)), "KiB resident: %s, then %s" % (rss, after)
