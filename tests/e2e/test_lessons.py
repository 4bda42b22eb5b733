"""What hurt users of other agents, one test a row. Where a test beside this one asks the same and more, its row is that."""

import hashlib
import os
import socket
import subprocess
import threading
import time

import pytest

import procs
from expect import fails
from guestproto import Data
from until import until

# Rows that stand elsewhere whole, under the name of what was hit.
from test_files_read import test_read_of_what_is_no_file as test_reading_dev_zero_or_a_fifo_never_ends  # noqa: F401
from test_files_write import (  # noqa: F401
    test_a_client_that_vanishes_leaves_the_old_file_and_no_litter as test_an_upload_cut_off_leaves_half_a_file,
    test_as_a_user as test_created_parents_are_owned_by_root)
from test_input_kept import (  # noqa: F401
    test_those_who_never_read_cost_bounded_memory as test_a_program_that_never_reads_bloats_the_agent)
from test_input_stream import (  # noqa: F401
    test_a_lot_comes_back_byte_for_byte as test_open_stdin_over_64_kib_is_cut,
    test_stream_data_feeds_stdin as test_cat_of_an_open_stdin_never_ends)
from test_process import test_many_tags_are_each_found as test_with_two_tags_the_second_is_not_found  # noqa: F401
from test_restart import test_output_is_whole_over_many_deaths as test_output_is_gone_with_the_agent  # noqa: F401
from test_stream import (  # noqa: F401
    test_a_connection_that_takes_nothing_delays_no_other as test_a_vanished_reader_wedges_or_bloats_the_agent,
    test_a_slow_reader_makes_its_own_program_wait_and_loses_nothing as test_a_slow_reader_wedges_or_bloats_the_agent)
from test_tree import test_a_timeout_takes_the_whole_tree, script  # noqa: F401

MIB = 1 << 20


def test_exec_hangs_because_a_grandchild_holds_the_pipe(guestd, client):
    begun = time.monotonic()
    result = client.commands.run("sleep 60 & echo started", timeout=30)
    assert (result.stdout, result.reason, result.pipes_open) == ("started\n", "exited", True)
    assert time.monotonic() - begun < 25
    for pid in guestd.jobs():
        os.kill(pid, 9)


def test_the_last_output_is_lost_at_exit(client):
    """What a program writes just before it exits, a hundred times."""
    for n in range(100):
        result = client.commands.run("head -c 70000 /dev/zero; echo %d >&2; exit 1" % n)
        assert (len(result.stdout), result.stderr, result.pipes_open) == (70000, "%d\n" % n, False)


def test_a_full_pipe_deadlocks_an_agent_that_waits_first(client):
    result = client.commands.run("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; exit 3")
    assert (result.exit_code, result.stdout_bytes, result.stderr_bytes) == (3, 1000000, 1000000)


def test_a_process_nobody_reads_is_blocked(client):
    process = client.commands.run("head -c 50000000 /dev/zero; exit 5", background=True)
    assert process.wait(60).exit_code == 5


def test_the_answer_is_gone_after_a_reconnect(guestd, client):
    """A record and its output are there for who comes later, from any connection, more than once."""
    with guestd.connect() as first:
        process = first.commands.run("echo kept; exit 3", background=True, tag="reconnect")
        process.wait(20)
    for _ in range(2):
        with guestd.connect() as later:
            result = later.commands.wait(tag="reconnect", output=True)
            assert (result.stdout, result.exit_code) == ("kept\n", 3)


def test_stdin_over_64_kib_is_cut(client):
    data = os.urandom(1000000)
    result = client.commands.run("sha256sum", [], stdin=data)
    assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_cat_never_ends(client):
    assert client.commands.run("cat", [], timeout=20).reason == "exited"
    assert client.commands.run("cat", [], stdin=b"x", timeout=20).stdout == "x"


def test_a_character_split_over_two_chunks_becomes_garbage(client):
    script = "i=0; while [ $i -lt 200 ]; do printf '\\342'; printf '\\202\\254'; i=$((i+1)); done"
    assert client.commands.run(script).stdout == "€" * 200
    stream = client.commands.exec_stream("yes €| head -c 400000", window=1000)
    assert b"".join(item.data for item in stream if isinstance(item, Data)) == "€\n".encode() * 100000


def test_one_spawn_that_hangs_hangs_the_whole_agent(start, folder, own_mounts, as_root):
    """A program on a file system that does not answer (FUSE, its daemon silent) is started; others are not delayed."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    fuse = os.open("/dev/fuse", os.O_RDWR)
    try:
        hung = folder / "hung"
        hung.mkdir()
        guestd = start(pass_fds=(fuse,),
                       mounts="mount -i -t fuse -o fd=%d,rootmode=40000,user_id=0,group_id=0 none %s; exec %d<&-"
                       % (fuse, hung, fuse))
        with guestd.connect() as client:
            waiting = client.start("exec", cmd="%s/program" % hung)
            for _ in range(20):
                assert client.commands.run("echo on").stdout == "on\n"
            assert not waiting.done
            os.close(fuse)  # the daemon is gone: the kernel answers for it
            fuse = None
            assert error_code(waiting)
    finally:
        if fuse is not None:
            os.close(fuse)


def error_code(request):
    try:
        request.result(20)
    except Exception as error:
        return error.code
    raise AssertionError("it started")


def test_hundreds_of_zombies(guestd, client):
    client.commands.run("for i in $(seq 300); do (setsid sh -c 'exit 0' &); done")
    for _ in range(50):
        client.commands.run("true")
    until(lambda: not procs.zombies(guestd.pid) and not procs.zombies(guestd.agent()), "no zombie is left")


def test_a_reaper_steals_a_commands_exit_status(client):
    """Orphans end all along while exit codes are asked for."""
    storm = client.commands.run("while :; do (setsid sh -c 'exit 77' &); done", background=True)
    for code in list(range(0, 256, 5)):
        assert client.commands.run("exit %d" % code).exit_code == code
    storm.kill()


def test_the_agent_is_the_oom_killers_first_victim(guestd, client):
    allowed = subprocess.run(["sh", "-c", "echo -999 >/proc/self/oom_score_adj"], stderr=subprocess.DEVNULL)
    if allowed.returncode != 0:
        pytest.skip("this machine's root may not lower oom_score_adj (no CAP_SYS_RESOURCE)")
    for pid in (guestd.pid, guestd.agent()):
        with open("/proc/%d/oom_score_adj" % pid) as file:
            assert file.read() == "-999\n"
    assert client.commands.run("cat /proc/self/oom_score_adj").stdout == "0\n"


def test_children_have_the_agents_priority(client):
    """They start at nice 0."""
    assert client.commands.run("nice").stdout == "0\n"


@pytest.mark.plain_only
def test_a_flood_of_output_starves_pings(guestd, client):
    with guestd.connect() as flood:
        streams = [flood.commands.exec_stream("yes") for _ in range(8)]
        drains = [threading.Thread(target=lambda s=s: [None for _ in s]) for s in streams]
        for drain in drains:
            drain.start()
        for _ in range(50):
            begun = time.monotonic()
            client.ping()
            assert time.monotonic() - begun < 0.25 * (10 if os.environ.get("GUESTD_WRAPPER") else 1)
        for stream in streams:
            stream.cancel()
        for drain in drains:
            drain.join()


def test_an_upload_says_ok_and_is_not_written(client, folder):
    data = os.urandom(5 * MIB)
    digest = hashlib.sha256(data).hexdigest()
    entry = client.files.upload_stream(str(folder / "f"), [data], sha256=digest, size=len(data), fsync=True)
    assert entry.size == len(data)
    assert hashlib.sha256((folder / "f").read_bytes()).hexdigest() == digest


def test_signal_death_is_reported_as_minus_one(client):
    result = client.commands.run("kill -SEGV $$")
    assert (result.reason, result.signal, result.exit_code, result.status) == ("signaled", "SIGSEGV", 139, None)


def test_a_program_that_cannot_start_is_exit_127(client):
    with fails("not_found", field="cmd", errno=2):
        client.commands.run("no-such-program", [])


def test_a_user_keeps_roots_groups(client, as_root):
    result = client.commands.run("id -u; id -g; id -G", user="54321:54322", cwd="/")
    assert result.stdout.split() == ["54321", "54322", "54322"]


def test_remove_follows_a_symlinked_parent(client, folder):
    (folder / "kept").mkdir()
    (folder / "kept/f").touch()
    (folder / "t").mkdir()
    (folder / "t/link").symlink_to(folder / "kept")
    client.files.remove(str(folder / "t"))
    assert (folder / "kept/f").exists()


def test_one_odd_name_makes_the_whole_listing_fail(client, folder):
    for name in (b"\xff", b"a\nb", b"\x1b[2J", "é".encode(), b"-rf", b" "):
        os.close(os.open(os.path.join(os.fsencode(folder), name), os.O_CREAT | os.O_WRONLY))
    entries = client.files.list(str(folder))
    assert sorted(os.fsencode(entry.name) for entry in entries) == sorted(os.listdir(os.fsencode(folder)))


def test_a_download_that_the_client_left_burns_a_core(guestd, client, folder):
    with open(folder / "f", "wb") as file:
        file.truncate(10 << 30)
    other = guestd.connect()
    other.start("file.read", path=str(folder / "f"), stream=True, window=1 << 31)
    other.close()

    def switches():
        return int(procs.status(guestd.agent(), "voluntary_ctxt_switches")[0])

    def cpu():
        fields = open("/proc/%d/stat" % guestd.agent()).read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def idle():
        before, voluntary = cpu(), switches()
        client.ping(touch=False)
        time.sleep(0.2)
        return cpu() - before <= 1 and switches() - voluntary < 40
    until(idle, "the agent is idle again")


def test_fds_leak_into_children(guestd, client):
    with guestd.connect() as other:  # connections, listeners, streams and other jobs' pipes are open meanwhile
        stream = other.commands.exec_stream("sleep 60")
        assert stream.request.next(20).event == "started"
        assert client.commands.run("ls", ["/proc/self/fd"]).stdout.split() == ["0", "1", "2", "3"]


def test_an_exec_goes_on_while_a_file_system_hangs(start, folder, own_mounts, as_root):
    """More file operations on it than the pool has threads for: ping, exec and other files are not held up."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    fuse = os.open("/dev/fuse", os.O_RDWR)
    hung = folder / "hung"
    hung.mkdir()
    guestd = start(pass_fds=(fuse,),
                   mounts="mount -i -t fuse -o fd=%d,rootmode=40000,user_id=0,group_id=0 none %s; exec %d<&-"
                       % (fuse, hung, fuse))
    with guestd.connect() as client:
        waiting = [client.start("file.stat", path="%s/%d" % (hung, n)) for n in range(8)]
        for _ in range(20):
            client.ping()
            assert client.commands.run("echo on").stdout == "on\n"
            assert client.files.stat("/").type == "directory"
        assert not any(request.done for request in waiting)
        os.close(fuse)
        for request in waiting:
            assert error_code(request)


def test_a_client_that_connects_and_goes_thousands_of_times(guestd, client):
    for n in range(2000):
        sock = guestd.raw()
        if n % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    client.ping()
