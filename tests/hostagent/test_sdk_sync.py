"""What the published SDK's README shows, done by the SDK itself, unchanged, against the host agent."""

import itertools
import os

import pytest

wrenn = pytest.importorskip("wrenn", reason="run.sh runs these with the SDK's Python")

import httpx  # noqa: E402  (it and the next come with the SDK)
import httpx_ws  # noqa: E402
from until import until  # noqa: E402
from wrenn import Capsule, WrennClient  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def environment(host):
    """All that the SDK is told: it stands below /api there, as its own default does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WRENN_API_KEY", host.key)
        patch.setenv("WRENN_BASE_URL", host.url + "/api")
        yield


@pytest.fixture(scope="module")
def capsule(environment, python):
    return Capsule.connect(python.id)


def text_of(events, kind="stdout"):
    return "".join(event.data for event in events if event.type == kind)


# ── capsules ──

def test_created_used_and_destroyed_by_with():
    with Capsule(template="minimal", wait=True) as capsule:
        assert capsule.commands.run("echo hello").stdout == "hello\n"
        assert capsule.capsule_id.startswith("cl-") and capsule.is_running()
        info = capsule.get_info()
        assert (info.template, info.vcpus, info.memory_mb, info.timeout_sec) == ("minimal", 1, 512, 0)
        assert info.started_at >= info.created_at and info.last_active_at >= info.created_at
        assert capsule.capsule_id in [one.id for one in Capsule.list()]
    assert Capsule.get_info(capsule.capsule_id).status == "stopped"


def test_pause_resume_and_connect():
    with Capsule(wait=True) as capsule:
        handle = capsule.commands.run("i=0; while sleep 0.1; do i=$((i + 1)); echo $i; done", background=True, tag="count")
        capsule.files.write("/root/kept", "kept")
        assert capsule.pause().status == "paused"
        with pytest.raises(wrenn.WrennConflictError) as conflict:
            capsule.commands.run("true")
        assert conflict.value.status_code == 409
        assert Capsule.get_info(capsule.capsule_id).status == "paused"
        assert capsule.resume().status == "running"
        assert capsule.files.read("/root/kept") == "kept"

        Capsule.pause(capsule.capsule_id)
        again = Capsule.connect(capsule.capsule_id)
        assert again.is_running()
        assert [(p.pid, p.tag) for p in again.commands.list()] == [(handle.pid, "count")]
        numbers = itertools.islice((e for e in again.commands.connect(handle.pid) if e.type == "stdout"), 40)
        lines = text_of(numbers).split()
        assert [int(n) for n in lines[:-1]] == list(range(int(lines[0]), int(lines[0]) + len(lines) - 1))
        again.commands.kill(handle.pid)
        Capsule.destroy(capsule.capsule_id, wait=True)
        assert not again.is_running()


def test_ping_moves_last_active_at(capsule):
    before = capsule.get_info().last_active_at

    def moved():
        capsule.ping()
        return capsule.get_info().last_active_at > before
    until(moved, "last_active_at moves")  # it is told in whole seconds


def test_metrics(capsule):
    with WrennClient() as client:
        for asked in (None, "5m", "24h"):
            metrics = client.capsules.metrics(capsule.capsule_id, range=asked)
            assert metrics.range == (asked or metrics.range) and metrics.points
            point = metrics.points[-1]
            assert 0 <= point.cpu_pct <= 100 and point.mem_bytes > 0 and point.disk_bytes > 0
            assert abs(point.timestamp_unix - capsule.get_info().last_active_at.timestamp()) < 3600


def test_errors_are_typed():
    with pytest.raises(wrenn.WrennNotFoundError) as missing:
        Capsule.get_info("nonexistent")
    assert (missing.value.code, missing.value.status_code) == ("not_found", 404) and missing.value.message
    with pytest.raises(wrenn.WrennAuthenticationError):
        Capsule.list(api_key="wrn_other")
    with pytest.raises(wrenn.WrennValidationError):
        Capsule(template="no-such-template")


# ── commands ──

def test_run(capsule):
    result = capsule.commands.run("python -c 'print(42)'")
    assert (result.stdout, result.stderr, result.exit_code) == ("42\n", "", 0) and result.duration_ms >= 0
    result = capsule.commands.run("echo err >&2; exit 7")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "err\n", 7)
    script, envs = "echo $CUDA_VISIBLE_DEVICES; pwd", {"CUDA_VISIBLE_DEVICES": "0"}
    result = capsule.commands.run(script, timeout=120, cwd="/app", envs=envs)
    assert result.stdout == "0\n/app\n"
    assert capsule.commands.run("id -un; pwd; echo $HOME").stdout == "root\n/root\n/root\n"
    assert capsule.commands.run("printf '\\377x'").stdout == "\ufffdx"


def test_run_until_its_timeout(capsule):
    result = capsule.commands.run("echo early; sleep 60", timeout=1)
    assert (result.stdout, result.exit_code) == ("early\n", 124) and 1000 <= result.duration_ms < 10000


def test_background_list_connect_and_kill(capsule):
    first = capsule.commands.run("read line </root/never", background=True, cwd="/root")
    assert first.pid > 1 and first.tag.startswith("bg-")
    handle = capsule.commands.run("echo begun; echo é >&2; exec sleep 300", background=True, tag="sleeper", envs={"A": "b"})
    assert handle.tag == "sleeper"
    [process] = [p for p in capsule.commands.list() if p.tag == "sleeper"]
    assert (process.pid, process.cmd, process.args[0]) == (handle.pid, "/bin/sh", "-c")

    events = capsule.commands.connect(handle.pid)
    start = next(events)
    assert (start.type, start.pid) == ("start", handle.pid)
    told = {event.type: event.data for event in itertools.islice(events, 2)}
    assert told == {"stdout": "begun\n", "stderr": "é\n"}
    capsule.commands.kill(handle.pid)
    [last] = list(events)
    assert (last.type, last.exit_code) == ("exit", 137)
    assert "sleeper" not in [p.tag for p in capsule.commands.list()]
    with pytest.raises(wrenn.WrennNotFoundError):
        capsule.commands.kill(handle.pid)


def test_connect_after_the_end(capsule):
    handle = capsule.commands.run("echo all of it; exit 3", background=True)
    until(lambda: handle.tag not in [p.tag for p in capsule.commands.list()], "it ended")
    events = list(capsule.commands.connect(handle.pid))
    assert text_of(events) == "all of it\n" and events[-1].exit_code == 3


def test_connect_to_nobody(capsule):
    try:
        events = list(capsule.commands.connect(999999))
    except httpx_ws.WebSocketUpgradeError as refused:
        assert refused.response.status_code == 404
    else:
        assert [event.type for event in events] == ["error"] and events[0].data


def test_stream(capsule):
    script = "import os, sys; print(os.getpid()); print('é' * 5, file=sys.stderr); sys.exit(7)"
    events = list(capsule.commands.stream("python", args=["-u", "-c", script]))
    assert events[0].type == "start" and text_of(events) == "%d\n" % events[0].pid
    assert text_of(events, "stderr") == "é" * 5 + "\n"
    assert (events[-1].type, events[-1].exit_code) == ("exit", 7)


def test_stream_breaks_no_character(capsule):
    """One byte at a time, with a wait between them: each event is text of whole characters."""
    script = "for b in '\\303' '\\251' '\\360' '\\237' '\\230' '\\200' '\\n'; do printf $b; sleep 0.05; done"
    assert text_of(capsule.commands.stream(script)) == "é😀\n"


def test_stream_of_much(capsule):
    events = list(capsule.commands.stream("seq 1 300000"))
    assert text_of(events) == "".join("%d\n" % n for n in range(1, 300001))
    assert events[-1].exit_code == 0


def test_stream_of_no_program(capsule):
    events = list(capsule.commands.stream("no-such-program", args=["x"]))
    assert [event.type for event in events] == ["error"] and "No such file" in events[0].data


# ── terminals ──

class Screen:
    """What a terminal showed so far."""

    def __init__(self, terminal):
        self.events, self.shown = iter(terminal), b""
        self.exit_code = None

    def until(self, what):
        while what not in self.shown:
            event = next(self.events)
            assert event.type in ("started", "output", "ping"), event
            self.shown += event.data if event.type == "output" else b""
        self.shown = self.shown.partition(what)[2]

    def end(self):
        return [event.exit_code for event in self.events if event.type == "exit"]


def test_pty_with_reconnect(capsule):
    with capsule.pty(cmd="/bin/bash", args=["--norc"], cols=80, rows=24, cwd="/home/user", envs={"PS1": "ready$ "}) as term:
        screen = Screen(term)
        screen.until(b"ready$ ")
        assert term.tag and term.pid > 1
        term.write(b"stty size; pwd; tty; printf '\\303\\251\\n'\n")
        screen.until(b"24 80\r\n/home/user\r\n/dev/pts/")
        screen.until("é\r\n".encode())
        term.resize(100, 40)
        term.write(b"stty size; kept=41\n")
        screen.until(b"40 100\r\n")
    # The socket is gone, the session isn't.
    assert term.tag in [p.tag for p in capsule.commands.list()]
    with capsule.pty_connect(term.tag) as again:
        screen = Screen(again)
        again.write(b"echo reconnected $((kept + 1))\n")
        screen.until(b"reconnected 42\r\n")
        assert (again.tag, again.pid) == (term.tag, term.pid)
        again.write(b"exit 5\n")
        assert screen.end() == [5]
    assert term.tag not in [p.tag for p in capsule.commands.list()]


def test_pty_killed(capsule):
    with capsule.pty(cmd="/bin/sh") as term:
        screen = Screen(term)
        term.write(b"echo $((6 * 7))\n")
        screen.until(b"42\r\n")
        term.kill()
        assert screen.end() == [137]


def test_pty_connect_to_nobody(capsule):
    with capsule.pty_connect("no-such-tag") as term:
        [event] = list(term)
        assert event.type == "error" and event.fatal and event.data


# ── files ──

def test_write_and_read(capsule):
    capsule.files.write("/app/main.py", "print('hello')")
    assert capsule.files.read("/app/main.py") == "print('hello')"
    raw = bytes(range(256)) * 5000
    capsule.files.write("/app/made/for/it/raw", raw)
    assert capsule.files.read_bytes("/app/made/for/it/raw") == raw
    capsule.files.write("/app/made/empty", b"")
    assert capsule.files.read_bytes("/app/made/empty") == b""
    assert capsule.files.exists("/app/main.py")
    assert not capsule.files.exists("/app/main.pyc") and not capsule.files.exists("/no/such/folder")
    capsule.files.remove("/app/made")
    for missing in (capsule.files.read, capsule.files.read_bytes, capsule.files.remove, capsule.files.list):
        with pytest.raises(wrenn.WrennNotFoundError):
            missing("/app/made")


def test_list(capsule):
    capsule.commands.run("mkdir -p /data/l/sub && cd /data/l && printf 12345 >sub/f && ln -s sub/f link && mkfifo fifo &&"
                         "chmod 4711 sub/f")
    entries = {entry.path: entry for entry in capsule.files.list("/data/l", depth=2)}
    assert {path: entry.type for path, entry in entries.items()} == {
        "/data/l/sub": "directory", "/data/l/sub/f": "file", "/data/l/link": "symlink", "/data/l/fifo": "file"}
    file = entries["/data/l/sub/f"]
    assert (file.name, file.size, file.permissions, file.owner, file.group, file.symlink_target) == (
        "f", 5, "-rws--x--x", "root", "root", None)
    assert abs(file.modified_at - capsule.get_info().last_active_at.timestamp()) < 60
    assert entries["/data/l/link"].symlink_target == "sub/f"
    assert {entry.name for entry in capsule.files.list("/data/l")} == {"sub", "link", "fifo"}
    assert [entry.path for entry in capsule.files.list("/data/l", depth=0)] == ["/data/l"]
    capsule.files.remove("/data/l")


def test_make_dir_and_remove(capsule):
    entry = capsule.files.make_dir("/app/data/deep")
    assert (entry.name, entry.path, entry.type) == ("deep", "/app/data/deep", "directory")
    assert capsule.files.make_dir("/app/data/deep").path == "/app/data/deep"
    capsule.files.write("/app/data/deep/file", "x")
    capsule.files.remove("/app/data/deep/file")
    capsule.files.remove("/app/data")
    assert not capsule.files.exists("/app/data")


def test_streams_of_a_large_file(capsule):
    chunk = os.urandom(1 << 16)
    capsule.files.upload_stream("/data/large.bin", (chunk for _ in range(512)))
    assert capsule.commands.run("stat -c %s /data/large.bin").stdout == "%d\n" % (512 << 16)
    got = b"".join(capsule.files.download_stream("/data/large.bin"))
    assert got == chunk * 512
    capsule.files.remove("/data/large.bin")
    with pytest.raises(httpx.HTTPStatusError) as missing:
        list(capsule.files.download_stream("/data/large.bin"))
    assert missing.value.response.status_code == 404


# ── git ──

def test_git(capsule):
    git = capsule.git
    capsule.commands.run("rm -rf /root/copy; find /app -mindepth 1 -delete")
    git.init("/app", initial_branch="main")
    git.configure_user("Alice", "alice@example.com", cwd="/app")
    capsule.files.write("/app/file.txt", "one\n")
    status = git.status(cwd="/app")
    assert status.branch == "main" and [(f.path, f.status) for f in status.files] == [("file.txt", "untracked")]
    git.add(all=True, cwd="/app")
    git.commit("initial commit", cwd="/app")
    status = git.status(cwd="/app")
    assert status.branch == "main" and status.is_clean

    git.create_branch("feature", cwd="/app")
    assert [(b.name, b.is_current) for b in git.branches(cwd="/app")] == [("feature", True), ("main", False)]
    capsule.files.write("/app/file.txt", "two\n")
    git.add(["file.txt"], cwd="/app")
    git.restore(["file.txt"], staged=True, cwd="/app")
    assert [(f.index_status, f.work_tree_status) for f in git.status(cwd="/app").files] == [(" ", "M")]
    git.reset(mode="hard", ref="HEAD", cwd="/app")
    assert capsule.files.read("/app/file.txt") == "one\n"
    git.checkout_branch("main", cwd="/app")
    git.delete_branch("feature", cwd="/app")
    assert [b.name for b in git.branches(cwd="/app")] == ["main"]

    git.clone("/app", "copy")  # into the home, the default cwd
    assert capsule.files.read("/root/copy/file.txt") == "one\n"
    assert git.remote_get("origin", cwd="/root/copy") == "/app"
    assert git.remote_get("upstream", cwd="/root/copy") is None
    git.set_config("core.autocrlf", "false", cwd="/root/copy")
    assert git.get_config("core.autocrlf", cwd="/root/copy") == "false"
    assert git.get_config("user.name", scope="global") == "Alice"
    git.commit("of another", allow_empty=True, author_name="Bob", author_email="bob@example.com", cwd="/root/copy")
    log = capsule.commands.run("git log --format='%an %s'", cwd="/root/copy")
    assert log.stdout == "Bob of another\nAlice initial commit\n"
    with pytest.raises(wrenn.GitCommandError) as failed:
        git.clone("/no/such/repository", "other")
    assert failed.value.exit_code == 128 and "no/such/repository" in failed.value.stderr

