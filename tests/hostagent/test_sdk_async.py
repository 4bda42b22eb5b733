"""What the SDK's README shows of its asynchronous half, against the host agent; and much of it at once."""

import asyncio
import os

import pytest

wrenn = pytest.importorskip("wrenn", reason="run.sh runs these with the SDK's Python")

import httpx  # noqa: E402  (it and the next come with the SDK)
import httpx_ws  # noqa: E402
from wrenn import AsyncCapsule, AsyncWrennClient  # noqa: E402

pytestmark = pytest.mark.anyio  # its plugin comes with the SDK's HTTP client


@pytest.fixture(scope="module", autouse=True)
def environment(host):
    """Without /api this time: the host agent serves both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WRENN_API_KEY", host.key)
        patch.setenv("WRENN_BASE_URL", host.url)
        yield


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def capsule(environment, python):
    capsule = await AsyncCapsule.connect(python.id)
    yield capsule
    await capsule._client.aclose()


async def gathered(events):
    return [event async for event in events]


def text_of(events, kind="stdout"):
    return "".join(event.data for event in events if event.type == kind)


# ── capsules ──

async def test_created_paused_resumed_connected_and_destroyed():
    async with await AsyncCapsule.create(template="minimal", wait=True) as capsule:
        assert (await capsule.commands.run("echo hello")).stdout == "hello\n"
        await capsule.files.write("/app/file.txt", "data")
        assert "file.txt" in [entry.name for entry in await capsule.files.list("/app")]
        handle = await capsule.commands.run("sleep 600", background=True)

        assert (await capsule.pause()).status == "paused"
        with pytest.raises(wrenn.WrennConflictError):
            await capsule.files.read("/app/file.txt")
        assert (await capsule.resume()).status == "running"
        await AsyncCapsule.pause(capsule.capsule_id)
        again = await AsyncCapsule.connect(capsule.capsule_id)
        assert await again.is_running()
        assert await again.files.read("/app/file.txt") == "data"
        assert [p.pid for p in await again.commands.list()] == [handle.pid]
        await again.ping()
        await again._client.aclose()
        assert capsule.capsule_id in [one.id for one in await AsyncCapsule.list()]
    assert (await AsyncCapsule.get_info(capsule.capsule_id)).status == "stopped"


async def test_metrics_and_errors(capsule):
    async with AsyncWrennClient() as client:
        metrics = await client.capsules.metrics(capsule.capsule_id, range="5m")
        assert metrics.range == "5m" and metrics.points[-1].mem_bytes > 0
    with pytest.raises(wrenn.WrennNotFoundError):
        await AsyncCapsule.get_info("nonexistent")
    with pytest.raises(wrenn.WrennAuthenticationError):
        await AsyncCapsule.list(api_key="wrn_other")


# ── commands ──

async def test_run(capsule):
    result = await capsule.commands.run("echo out; echo err >&2; pwd; exit 7", cwd="/app", envs={"A": "b"})
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n/app\n", "err\n", 7)
    result = await capsule.commands.run("sleep 60", timeout=1)
    assert result.exit_code == 124 and result.duration_ms >= 1000


async def test_many_at_once(capsule):
    results = await asyncio.gather(*(capsule.commands.run("echo %d; sleep 0.2" % n) for n in range(40)))
    assert [result.stdout for result in results] == ["%d\n" % n for n in range(40)]


async def test_background_list_connect_and_kill(capsule):
    handle = await capsule.commands.run("echo begun; exec sleep 300", background=True, tag="async-sleeper")
    assert (handle.pid, "async-sleeper") in [(p.pid, p.tag) for p in await capsule.commands.list()]

    async def watch(begun):
        events = []
        async for event in capsule.commands.connect(handle.pid):
            events.append(event)
            if event.type == "stdout":
                begun.set()
        return events

    # Two that watch the same one see the same.
    begun = [asyncio.Event(), asyncio.Event()]
    watchers = [asyncio.create_task(watch(one)) for one in begun]
    await asyncio.gather(*(one.wait() for one in begun))
    await capsule.commands.kill(handle.pid)
    for events in await asyncio.gather(*watchers):
        assert [event.type for event in events] == ["start", "stdout", "exit"]
        assert (events[0].pid, events[1].data, events[2].exit_code) == (handle.pid, "begun\n", 137)
    with pytest.raises(wrenn.WrennNotFoundError):
        await capsule.commands.kill(handle.pid)


async def test_connect_to_nobody(capsule):
    try:
        events = await gathered(capsule.commands.connect(999999))
    except* httpx_ws.WebSocketUpgradeError as refused:
        assert refused.exceptions[0].response.status_code == 404
    else:
        assert [event.type for event in events] == ["error"]


async def test_streams_at_once(capsule):
    script = "for i in 1 2 3; do echo %d é $i; sleep 0.1; done; exit %d"
    streams = await asyncio.gather(*(gathered(capsule.commands.stream(script % (n, n))) for n in range(8)))
    for n, events in enumerate(streams):
        assert text_of(events) == "".join("%d é %d\n" % (n, i) for i in (1, 2, 3))
        assert (events[0].type, events[-1].exit_code) == ("start", n)


# ── terminals ──

async def shows(terminal, what):
    """Reads on until the terminal has shown it."""
    shown = b""
    async for event in terminal:
        shown += event.data if event.type == "output" else b""
        if what in shown:
            return
    raise AssertionError("it ended, having shown %r" % shown)


async def test_pty_with_reconnect(capsule):
    async with capsule.pty(cmd="/bin/bash", args=["--norc"], cols=90, rows=30, cwd="/home/user") as term:
        await term.write(b"stty size; pwd; kept=41\n")
        await shows(term, b"30 90\r\n/home/user\r\n")
        await term.resize(100, 40)
        await term.write(b"stty size\n")
        await shows(term, b"40 100\r\n")
    async with capsule.pty_connect(term.tag) as again:
        await again.write(b"echo reconnected $((kept + 1))\n")
        await shows(again, b"reconnected 42\r\n")
        assert (again.tag, again.pid) == (term.tag, term.pid)
        await again.kill()
        assert (await gathered(again))[-1].exit_code == 137


# ── files ──

async def test_every_file_call(capsule):
    files = capsule.files
    await files.write("/data/async/made/text", "é\n")
    assert await files.read("/data/async/made/text") == "é\n"
    raw = os.urandom(300000)
    await files.write("/data/async/raw", raw)
    assert await files.read_bytes("/data/async/raw") == raw
    assert await files.exists("/data/async/raw") and not await files.exists("/data/async/rav")
    assert {(e.path, e.type) for e in await files.list("/data/async", depth=2)} == {
        ("/data/async/made", "directory"), ("/data/async/made/text", "file"), ("/data/async/raw", "file")}
    for _ in range(2):
        assert (await files.make_dir("/data/async/dir/deep")).path == "/data/async/dir/deep"

    async def chunks():
        for _ in range(128):
            yield raw[:1 << 16]

    await files.upload_stream("/data/async/large", chunks())
    got = b"".join([chunk async for chunk in files.download_stream("/data/async/large")])
    assert got == raw[:1 << 16] * 128
    await files.remove("/data/async")
    with pytest.raises(wrenn.WrennNotFoundError):
        await files.remove("/data/async")
    with pytest.raises(httpx.HTTPStatusError):
        await gathered(files.download_stream("/data/async/large"))


# ── git ──

async def test_git(capsule):
    git = capsule.git
    await capsule.commands.run("rm -rf /root/repo /root/clone")
    await git.init("repo", initial_branch="main")
    await git.configure_user("Alice", "alice@example.com", scope="local", cwd="/root/repo")
    await capsule.files.write("/root/repo/file.txt", "one\n")
    await git.add(all=True, cwd="/root/repo")
    await git.commit("initial commit", cwd="/root/repo")
    status = await git.status(cwd="/root/repo")
    assert status.branch == "main" and status.is_clean
    await git.create_branch("feature", cwd="/root/repo")
    await git.checkout_branch("main", cwd="/root/repo")
    assert {b.name: b.is_current for b in await git.branches(cwd="/root/repo")} == {"feature": False, "main": True}
    await git.delete_branch("feature", cwd="/root/repo")
    await git.clone("/root/repo", "/root/clone", branch="main")
    assert await capsule.files.read("/root/clone/file.txt") == "one\n"
    assert await git.remote_get(cwd="/root/clone") == "/root/repo"
    with pytest.raises(wrenn.GitCommandError):
        await git.checkout_branch("no-such-branch", cwd="/root/repo")
