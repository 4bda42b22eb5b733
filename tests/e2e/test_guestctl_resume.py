"""guestctl loses its connection at every frame there is: what it prints, its exit code and what it leaves over there are
the same as if nothing had been, and a line on stderr says that it was lost. Against an agent that only loses connections."""

import subprocess

import pytest

from fake_agent import STDERR, STDOUT, FakeAgent, Run
from guestctl import GUESTCTL, environment
from until import SLOWER

HELLO = 2  # frames before guestctl has a connection


def ctl(agent, *args, stdin=b""):
    return subprocess.run([GUESTCTL, *args], env=environment(agent), input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=30 * SLOWER)


def begin_one(agent, **params):
    agent.runs["first"] = Run(params, 41)


# ── one scenario each: what is done, and what it must come to ──

def streamed(agent, folder):
    done = ctl(agent, "exec", "x")
    assert done.stdout == STDOUT and agent.started == 1
    return done, STDERR


def captured(agent, folder):
    done = ctl(agent, "exec", "--capture", "x")
    assert done.stdout == b"done" and agent.started == 1
    return done, b""


def background(agent, folder):
    done = ctl(agent, "exec", "-b", "x")
    assert done.stdout == b"41\tt\n" and agent.started == 1
    return done, b""


def fed(agent, folder):
    """More than the credit, and cat gives it back."""
    text = STDOUT * 5
    done = ctl(agent, "exec", "-i", "cat", stdin=text)
    assert done.stdout == text and agent.run().stdin == text and agent.run().closed and agent.started == 1
    return done, b""


def attached(agent, folder):
    begin_one(agent)
    done = ctl(agent, "attach", "t")
    assert done.stdout == STDOUT
    return done, STDERR


def attached_now(agent, folder):
    begin_one(agent)
    done = ctl(agent, "attach", "--from", "now", "t")
    assert done.stdout == STDOUT[-30:]
    return done, STDERR


def attached_at(agent, folder):
    begin_one(agent)
    done = ctl(agent, "attach", "--from", "20", "t")
    assert done.stdout == STDOUT[20:]
    return done, STDERR


def given(agent, folder):
    begin_one(agent, stdin_open=True)
    text = bytes(range(256)) * 600  # three pieces, each time: of a pipe it would be what is there
    (folder / "here").write_bytes(text)
    done = ctl(agent, "input", "--close", "t", str(folder / "here"))
    assert agent.run().stdin == text and agent.run().closed
    return done, b""


def upload(agent, folder):
    agent.credit = 100_000
    data = STDOUT * 10000  # more than fits one frame
    (folder / "here").write_bytes(data)
    done = ctl(agent, "write", "/g", str(folder / "here"))
    assert agent.files["/g"] == data
    return done, b""


def small_file(agent, folder):
    (folder / "here").write_bytes(STDOUT)
    done = ctl(agent, "write", "/g", str(folder / "here"))
    assert agent.files["/g"] == STDOUT
    return done, b""


def download(agent, folder):
    done = ctl(agent, "read", "--off", "5", "--len", "100", "/f")
    assert done.stdout == STDOUT[5:105]
    return done, b""


def ping(agent, folder):
    return ctl(agent, "--json", "ping"), b""


SCENARIOS = [streamed, captured, background, fed, attached, attached_now, attached_at, given, upload, small_file, download,
             ping]


def play(scenario, cut, half, folder):
    with FakeAgent(cut, half) as agent:
        done, expected = scenario(agent, folder)
    assert done.returncode == 0, done.stderr
    own = [line for line in done.stderr.splitlines(keepends=True) if line.startswith(b"guestctl: ")]
    assert b"".join(line for line in done.stderr.splitlines(keepends=True) if line not in own) == expected
    return agent, own


@pytest.mark.parametrize("half", [False, True], ids=["between frames", "inside a frame"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_loss_at_any_frame_costs_nothing(scenario, half, folder):
    agent, told = play(scenario, None, half, folder)
    assert agent.frames > HELLO and told == []
    frames = range(HELLO + 1, agent.frames + 1)
    for cut in frames if len(frames) < 50 else list(frames)[::len(frames) // 25]:
        lost, told = play(scenario, cut, half, folder)
        assert lost.connections == 2, "cut at frame %d" % cut
        assert len(told) == 1 and b": connection lost; " in told[0], "cut at frame %d: %s" % (cut, told)


# ── what is told, and what can't be resumed ──

def test_it_says_where():
    with FakeAgent(cut=HELLO + 5) as agent:  # exec, started, two pieces, and not the third
        done = ctl(agent, "exec", "x")
    assert done.stderr == b"guestctl: exec: connection lost; resumed at stdout 34\n" + STDERR


def test_another_guestd_is_not_asked_again():
    """It knows no key: the program would run twice."""
    with FakeAgent(cut=HELLO + 5) as agent:
        first = agent.instance
        agent.lie = lambda method, params, answer: {**answer, "instance": "%s%d" % (first, agent.connections)} \
            if method == "hello" else answer
        done = ctl(agent, "exec", "x")
    assert done.returncode == 125 and done.stdout == STDOUT[:34] and b"started anew" in done.stderr
    assert agent.started == 1


def test_an_upload_from_a_pipe_is_not_sent_again():
    with FakeAgent(cut=HELLO + 3) as agent:
        done = ctl(agent, "write", "/g", stdin=STDOUT)
    assert done.returncode == 125 and b"it came from a pipe" in done.stderr and "/g" not in agent.files


def test_a_file_that_changed_meanwhile_is_not_put_together():
    with FakeAgent(cut=HELLO + 6) as agent:
        stats = []
        original = dict(agent.stat)

        def lie(method, params, answer):
            if method == "file.stat":
                stats.append(1)
                return {"entry": {**original, "size": 1000 + len(stats)}}
            return answer
        agent.lie = lie
        done = ctl(agent, "read", "/f")
    assert done.returncode == 125 and b"the file has changed" in done.stderr


def test_without_reconnect_a_loss_is_a_loss():
    with FakeAgent(cut=HELLO + 5) as agent:
        done = ctl(agent, "--reconnect", "0", "exec", "--key", "k", "x")
    assert done.returncode == 125 and agent.connections == 1 and b"closed the connection" in done.stderr


def test_it_looks_for_a_bounded_time():
    with FakeAgent(cut=HELLO + 5) as agent:
        def lie(method, params, answer):
            agent.refuse = True
            return answer
        agent.lie = lie
        done = ctl(agent, "--reconnect", "0.3", "exec", "x")
    assert done.returncode == 125 and b"not found again within 300 ms" in done.stderr


@pytest.mark.parametrize("lie", [
    lambda started: {**started, "pid": 99},
    lambda started: {**started, "tag": "other"},
], ids=["pid", "tag"])
def test_another_program_is_not_taken_for_ours(lie):
    with FakeAgent(cut=HELLO + 5) as agent:
        agent.lie = lambda method, params, answer: lie(answer) if method == "started" and agent.connections > 1 else answer
        done = ctl(agent, "exec", "x")
    assert done.returncode == 125 and done.stdout == STDOUT[:34] and b"another in its place" in done.stderr
