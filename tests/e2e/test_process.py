"""Background processes: tags, records, waiting, killing, and how long they are remembered."""

import os
import re
import signal

import pytest

import procs
from expect import RECORD, RECORD_OF_EXIT, RESULT, fails, has_shape, is_shape
from until import until

pytestmark = pytest.mark.valgrind


@pytest.fixture
def sleeper(client):
    process = client.commands.run("sleep", ["60"], background=True, tag="sleeper")
    yield process
    if procs.alive(process.pid):
        client.commands.kill(pid=process.pid)


def test_background_answers_pid_and_tag_at_once(client):
    answer = client.call("exec", cmd="sleep", args=["60"], background=True)
    is_shape(answer, {"pid": int, "tag": str})
    assert re.fullmatch("bg-[0-9a-f]{8}", answer["tag"])
    assert procs.stat(answer["pid"])[3] == answer["pid"], "it leads its session"
    client.commands.kill(pid=answer["pid"])


def test_a_record_has_its_fields(client, sleeper, folder):
    record = client.commands.get(tag="sleeper").fields
    has_shape(record, RECORD)
    assert (record["cmd"], record["args"], record["state"]) == ("sleep", ["60"], "running")
    assert (record["pid"], record["background"], record["pty"]) == (sleeper.pid, True, False)
    assert "exit_code" not in record and "envs" not in record
    client.commands.kill(tag="sleeper")
    record = client.commands.get(tag="sleeper").fields
    has_shape(record, {**RECORD, **RECORD_OF_EXIT})
    assert (record["state"], record["reason"], record["signal"], record["exit_code"]) == (
        "exited", "killed", "SIGKILL", 137)


def test_cwd_and_user_of_a_record(client, folder):
    process = client.commands.run("sleep", ["60"], background=True, cwd=str(folder), user="root")
    record = client.commands.get(pid=process.pid)
    assert (record.cwd, record.user) == (str(folder), "root")
    process.kill()


def test_list_tells_the_running_and_on_request_the_exited(client, sleeper):
    gone = client.commands.run("true", background=True)
    gone.wait(20)
    running = {process.pid: process for process in client.commands.list()}
    assert sleeper.pid in running and gone.pid not in running
    everyone = {process.tag: process for process in client.commands.list(exited=True)}
    assert everyone[gone.tag].state == "exited" and everyone["sleeper"].state == "running"
    for process in everyone.values():
        has_shape(process.fields, RECORD)


def test_foreground_processes_are_listed_too(client, guestd):
    request = client.start("exec", cmd="sleep", args=["60"], tag="front")
    until(lambda: [p for p in client.commands.list() if p.tag == "front"], "it is listed")
    assert not client.commands.get(tag="front").background
    client.commands.kill(tag="front")
    assert request.result(20)["reason"] == "killed"


def test_many_tags_are_each_found(client):
    processes = {"tag %d €" % n: client.commands.run("sleep", ["60"], background=True, tag="tag %d €" % n)
                 for n in range(30)}
    for tag, process in processes.items():
        assert client.commands.get(tag=tag).pid == process.pid
        assert client.commands.get(pid=process.pid).tag == tag
    for tag in processes:
        client.commands.kill(tag=tag)
        assert client.commands.get(tag=tag).state == "exited"


def test_a_live_tag_is_taken_and_an_exited_one_is_free(client, sleeper):
    with fails("already_exists", field="tag"):
        client.commands.run("true", background=True, tag="sleeper")
    client.commands.kill(tag="sleeper")
    second = client.commands.run("sleep", ["60"], background=True, tag="sleeper")
    assert second.pid != sleeper.pid
    assert client.commands.get(tag="sleeper").pid == second.pid
    assert client.commands.get(pid=sleeper.pid).state == "exited"
    second.kill()


def test_a_tag_of_the_longest_length(client):
    tag = "x" * 125 + "€"
    process = client.commands.run("true", background=True, tag=tag)
    assert client.commands.wait(tag=tag, timeout=20).pid == process.pid


@pytest.mark.parametrize("method", ["process.get", "process.wait", "process.kill"])
def test_selectors(client, method):
    with fails("not_found"):
        client.call(method, pid=os.getpid())  # a process, but none that guestd started
    with fails("not_found"):
        client.call(method, tag="no-such-tag")
    with fails("invalid_request"):
        client.call(method)
    with fails("invalid_request", field="pid"):
        client.call(method, pid="12")
    with fails("invalid_request", field="tag"):
        client.call(method, tag=12)


def test_wait_gives_the_foreground_result(client):
    process = client.commands.run("echo out; echo err >&2; exit 7", background=True)
    result = client.call("process.wait", pid=process.pid, output=True)
    is_shape(result, RESULT)
    assert (result["stdout"], result["stderr"], result["exit_code"]) == ("out\n", "err\n", 7)
    again = client.call("process.wait", tag=process.tag, output=True, encoding="base64")
    assert (again["stdout"], again["encoding"]) == ("b3V0Cg==", "base64")
    without = client.call("process.wait", tag=process.tag, output=False)
    assert without["exit_code"] == 7 and "stdout" not in without


def test_wait_returns_when_the_process_ends(client, folder):
    process = client.commands.run("until [ -e go ]; do sleep 0.01; done; exit 9", background=True, cwd=str(folder))
    waiting = [client.start("process.wait", pid=process.pid) for _ in range(3)]
    client.ping()
    assert not any(request.done for request in waiting)
    (folder / "go").touch()
    assert [request.result(20)["exit_code"] for request in waiting] == [9, 9, 9]


def test_wait_times_out_and_the_process_goes_on(client, sleeper):
    with fails("timeout"):
        sleeper.wait(0.05)
    assert procs.alive(sleeper.pid)
    with fails("timeout"):
        sleeper.wait(0)


def test_the_output_of_a_background_process_is_kept_up_to_its_end(client):
    """1 MiB a stream unless asked, the newest bytes: nobody reads it, and it is never made to wait."""
    whole = "".join("%d\n" % n for n in range(1, 400001))
    process = client.commands.run("seq 400000", background=True)
    result = process.wait(20, output=True)
    assert result.stdout_bytes == len(whole) > 1 << 20
    assert result.truncated and result.stdout == whole[-len(result.stdout):]
    assert abs(len(result.stdout) - (1 << 20)) <= 4096
    process = client.commands.run("seq 400000", background=True, max_output=8 << 20)
    result = process.wait(20, output=True)
    assert result.stdout == whole and not result.truncated


@pytest.mark.parametrize("seconds", [1e-9, 8796093023, 2 ** 63 - 1, 2 ** 64 - 1, 1e300])
def test_times_may_be_as_long_as_numbers_get(client, seconds):
    assert client.commands.run("true", timeout=max(seconds, 30), kill_grace=seconds).reason == "exited"
    process = client.commands.run("true", background=True, timeout=max(seconds, 30), kill_grace=seconds)
    assert client.commands.wait(pid=process.pid, timeout=max(seconds, 30)).reason == "exited"


def test_background_has_no_timeout_unless_asked(client):
    process = client.commands.run("sleep 60", background=True, timeout=0.1, kill_grace=0.1)
    result = process.wait(20)
    assert (result.reason, result.exit_code) == ("timed_out", 124)


# ── kill ──

@pytest.mark.parametrize("spelling", ["SIGTERM", "TERM", 15])
def test_a_signal_by_name_or_number(client, sleeper, spelling):
    sleeper.kill(spelling)
    result = sleeper.wait(20)
    assert (result.reason, result.signal, result.exit_code, result.status) == ("killed", "SIGTERM", 143, None)


@pytest.mark.parametrize("wrong", ["SIGNOTHING", "", 0, -1, 65, 1000, "9x", 1.5, True])
def test_a_signal_that_is_none(client, sleeper, wrong):
    with fails("invalid_request", field="signal"):
        sleeper.kill(wrong)
    assert procs.alive(sleeper.pid)


def test_sigkill_answers_when_the_leader_is_reaped(client, sleeper):
    client.call("process.kill", pid=sleeper.pid)
    assert procs.stat(sleeper.pid) is None
    with fails("not_found"):
        client.call("process.kill", pid=sleeper.pid)
    with fails("not_found"):
        client.call("process.kill", tag="sleeper")


def test_a_signal_that_is_handled_is_no_death(client, folder):
    script = "trap 'echo got > got' USR1; touch up; while [ ! -e got ]; do sleep 0.01; done; exit 3"
    process = client.commands.run(script, background=True, cwd=str(folder))
    until(lambda: (folder / "up").exists(), "its trap is set")
    process.kill("USR1", scope="leader")
    result = process.wait(20)
    assert (result.reason, result.exit_code, result.signal) == ("exited", 3, None)


def test_a_program_that_exits_by_its_own_signal_was_not_killed_by_request(client, folder):
    """Asked with a signal that it ignores, then dead of another one: `signaled`."""
    script = "trap '' USR1; touch up; until [ -e go ]; do sleep 0.01; done; kill -TERM $$"
    process = client.commands.run(script, background=True, cwd=str(folder))
    until(lambda: (folder / "up").exists(), "its trap is set")
    process.kill("USR1", scope="leader")
    (folder / "go").touch()
    result = process.wait(20)
    assert (result.reason, result.signal) == ("signaled", "SIGTERM")


@pytest.mark.parametrize("scope, dead", [
    ("leader", {"leader"}), ("group", {"leader", "group"}), ("tree", {"leader", "group", "session"})])
def test_scopes(guestd, client, folder, scope, dead):
    """A leader, a child in its group, and one that took a session of its own."""
    script = "sleep 60 & echo $! > group; setsid sh -c 'echo $$ > session; exec sleep 60' & wait"
    process = client.commands.run(script, background=True, cwd=str(folder))
    for name in ("group", "session"):
        until(lambda: (folder / name).exists() and (folder / name).read_text().endswith("\n"), name + " runs")
    pids = {"leader": process.pid, "group": int((folder / "group").read_text()),
            "session": int((folder / "session").read_text())}
    until(lambda: procs.stat(pids["session"])[3] == pids["session"], "it has its session")
    process.kill(scope=scope)
    for name in dead:
        until(lambda: not procs.alive(pids[name]), name + " is dead")
    for name in set(pids) - dead:
        assert procs.alive(pids[name]), name
        os.kill(pids[name], signal.SIGKILL)


def test_an_unknown_scope(client, sleeper):
    with fails("invalid_request", field="scope"):
        sleeper.kill(scope="world")


# ── memory ──

def test_only_the_newest_exited_records_are_kept(start):
    guestd = start("--retained", 3)
    with guestd.connect() as client:
        for n in range(6):
            client.commands.run("true", background=True, tag="t%d" % n).wait(20)
        assert [p.tag for p in client.commands.list(exited=True)] == ["t3", "t4", "t5"]
        with fails("not_found"):
            client.commands.get(tag="t0")
        assert client.commands.get(tag="t5").exit_code == 0


def test_exited_records_are_kept_for_a_time(start):
    guestd = start("--retained-s", 1)
    with guestd.connect() as client:
        process = client.commands.run("true", background=True)
        process.wait(20)
        assert client.commands.get(pid=process.pid).state == "exited"
        until(lambda: not client.commands.list(exited=True), "it is forgotten")
        with fails("not_found"):
            client.commands.get(pid=process.pid)


def test_args_are_kept_up_to_4_kib(client):
    process = client.commands.run("true", ["x" * 3000, "y" * 3000, "z" * 3000], background=True)
    process.wait(20)
    kept = client.commands.get(pid=process.pid).args
    assert sum(map(len, kept)) <= 4096 and kept[0] == "x" * 3000
