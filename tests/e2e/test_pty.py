"""Terminals: what a program finds at one, what a person sees and types there, and how one ends."""

import hashlib
import os
import re
import signal

import pytest

import guestproto
import procs
from expect import fails
from guestproto import Data
from terminal import Terminal
from test_restart import kill_agent
from until import until

pytestmark = pytest.mark.fallback

SIZE = {"rows": 24, "cols": 80}
MIB = 1 << 20


def printed(client, script, **params):
    """What a shell script prints at a terminal of its own; it ends well."""
    params.setdefault("pty", SIZE)
    terminal = Terminal(client.start("exec", cmd="sh", args=["-c", script], **params))
    result = terminal.result()
    assert (result["reason"], result["exit_code"]) == ("exited", 0), result
    assert terminal.end == len(terminal.bytes) == result["stdout_bytes"]
    assert result["stderr_bytes"] == 0 and not result["truncated"]
    return terminal.bytes.decode()


# ── what a program finds ──


def test_all_three_are_the_terminal(client):
    assert printed(client, "test -t 0 && test -t 1 && test -t 2 && echo out && echo err >&2") == "out\r\nerr\r\n"


@pytest.mark.parametrize("rows, cols", [(24, 80), (1, 4096), (4096, 1)])
def test_its_size(client, rows, cols):
    assert printed(client, "stty size", pty={"rows": rows, "cols": cols}) == "%d %d\r\n" % (rows, cols)


def test_term_is_told(client):
    assert printed(client, "echo $TERM") == "xterm-256color\r\n"
    assert printed(client, "echo $TERM", pty={**SIZE, "term": "vt100"}) == "vt100\r\n"
    assert printed(client, "echo $TERM", envs={"TERM": "dumb"}) == "dumb\r\n", "envs win"
    assert printed(client, "echo ${TERM-none}", envs={"TERM": None}) == "none\r\n"


def test_it_is_the_controlling_terminal_of_a_session_of_its_own(client):
    assert printed(client, "echo there >/dev/tty") == "there\r\n"
    assert printed(client, "set -- $(ps -o pid=,pgid=,sid=,tpgid= -p $$); [ $1 = $2 ] && [ $1 = $3 ] && [ $1 = $4 ]") == ""


def test_it_belongs_to_the_user(client, as_root):
    script = "id -u; stat -c '%u %a' $(tty); echo mine >$(tty)"
    assert printed(client, script, user="nobody") == "65534\r\n65534 620\r\nmine\r\n"


def test_nothing_else_is_open(client):
    assert printed(client, "ls /proc/$$/fd").split() == ["0", "1", "2"]


def test_no_signal_is_blocked_or_ignored(client):
    script = "grep -E 'Sig(Blk|Ign|Pnd)' /proc/self/status | cut -f2 | sort -u"
    assert printed(client, script) == "0000000000000000\r\n"


def test_nothing_ends_it_but_itself_and_output_waits_for_its_reader(client):
    """No timeout of 30 s, no ring that drops: the record can't tell, but 3 MiB into a store of 64 KiB do."""
    request = client.start("exec", cmd="sh", args=["-c", "stty raw; head -c 3145728 /dev/zero"], pty=SIZE,
                           window=65536, max_output=65536)
    terminal = Terminal(request)
    assert terminal.result()["truncated"] is False
    assert len(terminal.bytes) == 3 * MIB and not terminal.gaps


def test_ten_megabytes_to_the_byte(client):
    """In raw mode as they are; in cooked mode each newline is two."""
    source = "yes 'The quick brown fox jumps over the lazy dog' | head -c 10485760"
    expected = (b"The quick brown fox jumps over the lazy dog\n" * (10 * MIB // 44 + 1))[:10 * MIB]
    for mode, bytes_out in (("raw", expected), ("cooked", expected.replace(b"\n", b"\r\n"))):
        digest, count = hashlib.sha256(), 0
        request = client.start("exec", cmd="sh", args=["-c", "stty %s; %s" % (mode, source)], pty=SIZE)
        for item in request:
            if isinstance(item, Data):
                assert item.off == count
                digest.update(item.data)
                count += len(item.data)
        assert request.result(20)["exit_code"] == 0
        assert (count, digest.digest()) == (len(bytes_out), hashlib.sha256(bytes_out).digest())


def test_last_words_are_not_lost(client):
    for n in range(50):
        assert printed(client, "seq 2000; printf %d" % n).endswith("\r\n2000\r\n%d" % n)


# ── sizes that change ──


def test_resize_is_told_to_the_foreground(client):
    terminal = Terminal.run(client, "sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.01; done")
    terminal.shows("24 80")
    assert client.call("process.resize", pid=terminal.pid, rows=50, cols=132) == {}
    terminal.shows("50 132")
    client.call("process.kill", pid=terminal.pid)
    assert terminal.result()["reason"] == "killed"
    with fails("not_found"):
        client.call("process.resize", pid=terminal.pid, rows=50, cols=132)


@pytest.mark.parametrize("field, size", [("rows", {"rows": 0, "cols": 80}), ("cols", {"rows": 24, "cols": 4097}),
                                         ("rows", {"cols": 80}), ("cols", {"rows": 24}), ("rows", {"rows": -1, "cols": 1}),
                                         ("cols", {"rows": 1, "cols": 1.5})])
def test_sizes_that_are_none(client, field, size):
    with fails("invalid_request", field="pty." + field):
        client.call("exec", cmd="true", pty=size)
    with fails("invalid_request", field=field):
        client.call("process.resize", pid=1, **size)


def test_resize_without_a_terminal(client):
    process = client.commands.run("sleep", ["60"], background=True)
    with fails("invalid_request", field="rows"):
        client.call("process.resize", pid=process.pid, **SIZE)
    process.kill()
    with fails("not_found"):
        client.call("process.resize", tag="nobody", **SIZE)


# ── what doesn't go together ──


@pytest.mark.parametrize("field, params", [
    ("stdin", {"stdin": b"x"}), ("stream", {"stream": False}), ("overflow", {"overflow": "tail"}),
    ("window", {"background": True, "window": 1}), ("on_full", {"background": True, "on_full": "block"}),
    ("pty.term", {"pty": {**SIZE, "term": 5}}), ("pty.term", {"pty": {**SIZE, "term": "x" * 257}}),
    ("pty.color", {"pty": {**SIZE, "color": True}}), ("pty", {"pty": True})])
def test_what_does_not_go_with_it(client, folder, field, params):
    with fails("invalid_request", field=field):
        client.call("exec", cmd="touch", args=[str(folder / "ran")], **{"pty": SIZE, **params})
    assert not (folder / "ran").exists()


def test_no_pty_is_none(client):
    assert client.connection.start("exec", {"cmd": "tty", "pty": None}).result(20)["stdout"] == "not a tty\n"


def test_a_program_that_cannot_start(client):
    with fails("not_found", field="cmd"):
        client.call("exec", cmd="no-such-program", pty=SIZE)
    with fails("not_found", field="cwd"):
        client.call("exec", cmd="true", cwd="/no/such", pty=SIZE)


def test_where_there_are_no_terminals(start, own_mounts):
    with start(mounts="mount -t tmpfs none /dev/pts").connect() as client:
        with fails("unsupported", field="pty"):
            client.call("exec", cmd="true", pty=SIZE)
        assert client.commands.run("echo on").stdout == "on\n"


def test_where_there_are_no_more_terminals(start, own_mounts):
    guestd = start(mounts="mount -t devpts -o max=2,ptmxmode=0666 devpts /dev/pts; mount --bind /dev/pts/ptmx /dev/ptmx")
    with guestd.connect() as client:
        first, second = (Terminal.run(client, "sleep", "60") for _ in range(2))
        with fails("limit_exceeded", field="pty"):
            client.call("exec", cmd="true", pty=SIZE)
        client.call("process.kill", pid=first.pid)
        first.result()

        def again():  # the kernel frees its number a moment after its last close
            try:
                return client.commands.run("tty", background=True, pty=SIZE)
            except guestproto.LimitExceeded:
                return None
        until(again, "there is one again")
        client.call("process.kill", pid=second.pid)


def test_without_clone3(start):
    with start(env={"GUESTD_NO_CLONE3": "1"}).connect() as client:
        assert printed(client, "stty size; echo there >/dev/tty; ls /proc/$$/fd").split() == \
            ["24", "80", "there", "0", "1", "2"]


# ── at the keyboard ──


def test_what_is_typed_is_echoed_and_read(client):
    terminal = Terminal.run(client, "sh", "-c", "read -r line; echo \"<$line>\"")
    terminal.type("hellö\x7fo\n")
    terminal.shows("<hello>")
    assert terminal.result()["exit_code"] == 0


def test_another_connection_types_too(guestd, client):
    terminal = Terminal.run(client, "sh", "-c", "read -r a; read -r b; echo \"<$a $b>\"")
    with guestd.connect() as other:
        assert other.call("process.input", pid=terminal.pid, data=b"one\n") == {"off": 4}
    terminal.type("two\n")
    terminal.shows("<one two>")
    terminal.result()


def test_ctrl_d_is_the_end(client):
    terminal = Terminal.run(client, "cat")
    terminal.type("line\n")
    until(lambda: terminal.look()[:2] == ["line", "line"], "it is echoed and printed")
    terminal.type("\x04")
    assert terminal.result()["exit_code"] == 0


@pytest.mark.parametrize("end", ["stream", "method"])
def test_the_end_of_input_is_typed(client, end):
    terminal = Terminal.run(client, "cat")
    terminal.type("unfinished")
    if end == "stream":
        terminal.request.end()
    else:
        terminal.shows("unfinished")
        assert client.call("process.close_stdin", pid=terminal.pid) == {}
    assert terminal.result()["exit_code"] == 0
    assert terminal.bytes == b"unfinished" * 2


def test_ctrl_c_interrupts_the_program_and_not_the_shell(client, folder):
    terminal = Terminal.run(client, "bash", "--norc", "-i", cwd=str(folder), envs={"PS1": "$ "})
    terminal.shows("$")
    terminal.type("touch runs; sleep 60; echo never\n")
    until(lambda: terminal.look() and (folder / "runs").exists(), "it runs")
    shell = terminal.pid
    until(lambda: [p for p in procs.children(shell) if procs.stat(p)[2] != procs.stat(shell)[2]], "sleep has its group")
    terminal.type("\x03")
    terminal.shows("^C")
    terminal.type("echo still $((6 * 7))\n")
    terminal.shows("still 42")
    assert "never" not in [line.strip() for line in terminal.look()]
    terminal.type("exit 3\n")
    result = terminal.result()
    assert (result["reason"], result["exit_code"], result["pipes_open"]) == ("exited", 3, False)


def test_job_control(client):
    """Stopped by ^Z, listed, sent to the background, brought back, interrupted."""
    terminal = Terminal.run(client, "bash", "--norc", "-i", envs={"PS1": "$ "})
    terminal.shows("$")

    def job():
        found = [p for p in procs.children(terminal.pid) if procs.stat(p)]
        return found[0] if found and procs.stat(found[0])[2] == found[0] else None

    terminal.type("sleep 61\n")
    pid = until(lambda: terminal.look() and job(), "it runs in a group of its own")
    terminal.type("\x1a")
    terminal.shows("Stopped")
    assert procs.stat(pid)[0] == "T"
    terminal.type("bg\n")
    until(lambda: terminal.look() and procs.stat(pid)[0] == "S", "it goes on in the background")
    terminal.type("jobs\n")
    terminal.shows("Running")
    terminal.type("fg\n")
    until(lambda: terminal.look().count("sleep 61") == 1 and procs.stat(terminal.pid)[0] == "S", "it is in front")
    until(lambda: foreground(pid) == pid, "it is in front")
    terminal.type("\x03")
    until(lambda: terminal.look() and not procs.alive(pid), "it is interrupted")
    terminal.type("exit\n")
    assert terminal.result()["exit_code"] == 130


def foreground(pid):
    """The foreground process group of a process's terminal."""
    with open("/proc/%d/stat" % pid) as file:
        return int(file.read().rpartition(")")[2].split()[5])


def test_signals_that_keys_send(client):
    for key, name in (("\x03", "SIGINT"), ("\x1c", "SIGQUIT")):
        terminal = Terminal.run(client, "sh", "-c", "ulimit -c 0; echo ready; exec sleep 60")
        terminal.shows("ready")
        terminal.type(key)
        result = terminal.result()
        assert (result["reason"], result["signal"]) == ("signaled", name)


def test_pasting_a_lot_into_a_slow_program(client):
    """More than terminal, credit and buffer hold; raw, so that no line is too long."""
    terminal = Terminal.run(client, "sh", "-c", "stty raw -echo; echo ready; sleep 0.3; head -c 2000000 | sha256sum; exit 7")
    terminal.shows("ready")
    text = "0123456789abcdef" * 125000
    terminal.type(text)
    terminal.shows(hashlib.sha256(text.encode()).hexdigest()[:60])
    assert terminal.result()["exit_code"] == 7


# ── who goes, and what stays ──


def test_a_lost_connection_hangs_the_terminal_up(guestd, folder):
    """A shell ignores SIGTERM; it goes by SIGHUP, and at once: not by SIGKILL after the grace."""
    with guestd.connect() as client:
        terminal = Terminal.run(client, "bash", "--norc", "-i", cwd=str(folder), kill_grace=60, envs={"PS1": "$ "})
        terminal.shows("$")
        terminal.type("trap 'echo gone >hung-up' EXIT; sleep 600 &\n")
        terminal.shows("[1]")
        pid = terminal.pid
    until(lambda: not procs.alive(pid), "the shell is gone")
    assert (folder / "hung-up").read_text() == "gone\n"
    with guestd.connect() as client:
        record = client.call("process.wait", pid=pid, timeout=20)
        assert (record["reason"], record["descendants"]) == ("cancelled", 0)
    assert not guestd.jobs()


def test_in_the_background_it_outlives_its_connection(guestd):
    with guestd.connect() as client:
        process = client.call("exec", cmd="sh", args=["-c", "read -r line; echo \"<$line>\"; exit 3"], pty=SIZE,
                              background=True)
        assert set(process) == {"pid", "tag"}
    with guestd.connect() as client:
        record = client.call("process.get", **{"pid": process["pid"]})
        assert (record["pty"], record["background"], record["state"]) == (True, True, "running")
        client.call("process.input", pid=process["pid"], data=b"two\n")
        result = client.call("process.wait", pid=process["pid"], output=True, timeout=20)
        assert (result["stdout"], result["stderr"], result["exit_code"]) == ("two\r\n<two>\r\n", "", 3)
        assert client.call("process.get", pid=process["pid"])["pty"] is True


def test_the_screen_comes_back_with_the_next_who_attaches(guestd):
    with guestd.connect() as client:
        process = client.call("exec", cmd="bash", args=["--norc", "-i"], pty=SIZE, background=True, tag="shell",
                              envs={"PS1": "$ "})
        first = Terminal(client.start("process.attach", tag="shell"))
        first.shows("$")
        client.call("process.input", tag="shell", data=b"clear; echo here $((40 + 2))\n")
        first.shows("here 42")
        before = first.look()
    with guestd.connect() as client:
        second = Terminal(client.start("process.attach", pid=process["pid"]))
        until(lambda: second.look() == before, "the same screen")
        client.call("process.input", tag="shell", data=b"exit 5\n")
        assert second.result()["exit_code"] == 5
        assert second.end == len(second.bytes)


def test_the_whole_tree_dies(guestd, client):
    terminal = Terminal.run(client, "bash", "--norc", "-i", envs={"PS1": "$ "})
    terminal.shows("$")
    terminal.type("(trap '' HUP TERM; sleep 600) & setsid sleep 600 & sleep 600 &\n")
    until(lambda: terminal.look() and len(guestd.jobs()) == 4, "all run")
    client.call("process.kill", pid=terminal.pid)
    result = terminal.result()
    assert (result["reason"], result["descendants"], result["killed_descendants"]) == ("killed", 0, 3)
    assert not guestd.jobs()


def test_a_timeout_hangs_up_first(client):
    terminal = Terminal.run(client, "bash", "--norc", "-i", timeout=0.5, kill_grace=60, envs={"PS1": "$ "})
    result = terminal.result()
    assert (result["reason"], result["exit_code"], result["signal"]) == ("timed_out", 124, "SIGHUP")


def test_who_still_holds_the_terminal_is_told(client):
    terminal = Terminal.run(client, "sh", "-c", "trap 'exit 0' USR1; (trap '' HUP; kill -USR1 $$; exec sleep 60) & wait")
    result = terminal.result()
    assert (result["pipes_open"], result["descendants"], result["exit_code"]) == (True, 1, 0)


def test_a_program_that_leaves_its_terminal_is_not_hung_up(client, folder):
    terminal = Terminal.run(client, "sh", "-c",
                            "echo 1; exec <&- >&- 2>&-; until [ -e go ]; do sleep 0.01; done; echo 2 >/dev/tty; exit 4",
                            cwd=str(folder))
    terminal.shows("1")
    (folder / "go").touch()
    assert terminal.result()["exit_code"] == 4
    assert terminal.bytes == b"1\r\n2\r\n"


def test_an_agent_that_dies_takes_no_terminal_along(start, folder):
    """Output, input, size and job control go on where they were."""
    guestd = start()
    with guestd.connect() as client:
        Terminal(client.start("exec", cmd="bash", args=["--norc", "-i"], pty=SIZE, tag="shell", envs={"PS1": "$ "},
                              cwd=str(folder))).shows("$")
        client.call("process.input", tag="shell", data=b"until [ -e go ]; do sleep 0.01; done; echo mid; cat\n")
        kill_agent(guestd)
    (folder / "go").touch()
    with guestd.connect() as client:
        terminal = Terminal(client.start("process.attach", tag="shell"))
        terminal.shows("mid")
        client.call("process.resize", tag="shell", rows=30, cols=90)
        client.call("process.input", tag="shell", data=b"typed later\n")
        until(lambda: terminal.look().count("typed later") == 2, "it is echoed and printed")
        client.call("process.input", tag="shell", data=b"\x03")
        terminal.shows("^C")
        client.call("process.input", tag="shell", data=b"stty size; exit 9\n")
        terminal.shows("30 90")
        assert terminal.result()["exit_code"] == 9
        assert client.info()["restarts"] == 1


# ── whole programs ──


def test_vim(client, folder):
    """Text is inserted, a line is changed, the file is saved, the screen is as vim leaves it."""
    terminal = Terminal.run(client, "vim.tiny", "-u", "NONE", "-N", "file.txt", cwd=str(folder), rows=30, cols=100)
    terminal.shows("file.txt")
    assert terminal.look()[1:5] == ["~"] * 4
    terminal.type("ifirst line\nsecond line\x1b")
    until(lambda: terminal.look()[:2] == ["first line", "second line"], "both lines are drawn")
    before = len(terminal.bytes)
    terminal.screen.resize(20, 60)
    client.call("process.resize", pid=terminal.pid, rows=20, cols=60)
    until(lambda: terminal.look() and b"second line" in terminal.bytes[before:], "it is drawn anew")
    terminal.type("ggccchanged\x1b:w\r")
    terminal.shows("written")
    assert (folder / "file.txt").read_text() == "changed\nsecond line\n"
    terminal.type(":q\r")
    assert terminal.result()["exit_code"] == 0


def test_top(client):
    terminal = Terminal.run(client, "top", "-d", "0.2", rows=40, cols=120)
    terminal.shows("load average")
    line = terminal.shows("PID")
    assert re.search("PID +USER +PR +NI", line)
    first = bytes(terminal.bytes)
    until(lambda: terminal.look() and len(terminal.bytes) > len(first) + 100, "it draws again")
    terminal.type("q")
    assert terminal.result()["exit_code"] == 0


def test_a_terminal_in_a_terminal(client, folder):
    """tmux asks its terminal, and is one: what runs inside sees the inner size."""
    socket = str(folder / "tmux")
    terminal = Terminal.run(client, "tmux", "-S", socket, "-f", "/dev/null", "new-session", "sh", rows=25, cols=90)
    terminal.shows("[0]")
    terminal.type("stty size\n")
    terminal.shows("24 90")
    client.call("process.resize", pid=terminal.pid, rows=30, cols=100)
    terminal.screen.resize(30, 100)
    terminal.type("clear; while [ \"$(stty size)\" != '29 100' ]; do sleep 0.01; done; echo grown\n")
    until(lambda: "grown" in terminal.look(), "the inner one has grown too")
    terminal.type("exit\n")
    assert terminal.result()["exit_code"] == 0
    until(lambda: not os.path.exists(socket) or not procs.marked("TMUX=" + socket), "its server is gone")
