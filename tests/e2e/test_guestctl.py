"""guestctl as a person and a script use it: exit codes, live output, Ctrl-C, files both ways, --json, help and manual."""

import base64
import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import stat
import subprocess
import termios

import pytest

from expect import ENTRY, RECORD, RESULT, has_shape, is_shape
from guestctl import GUESTCTL, environment, run
from server import GUESTD, TREE
from until import SLOWER, until

MANUAL = TREE / "proto/client/man/guestctl.1.scd"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# ── exit codes ──

@pytest.mark.parametrize("code", [0, 1, 2, 125, 255])
def test_exec_ends_with_the_programs_code(ctl, code):
    for way in ([], ["--capture"]):
        assert ctl("exec", *way, "--", "sh", "-c", "exit %d" % code, code=code).stderr == b""


def test_a_signal_is_128_and_its_number(ctl):
    assert ctl("exec", "--", "sh", "-c", "kill -9 $$", code=137).stdout == b""
    ctl("exec", "--", "sh", "-c", "kill -TERM $$", code=143)


def test_a_program_whose_time_is_over_is_124(ctl, guestd):
    done = ctl("exec", "--timeout", "0.2", "--", "sleep", "1000", code=124)
    assert re.fullmatch(rb"guestctl: exec: timed out after .*\n(guestctl: exec: 1 of its descendants.*\n)?", done.stderr)
    assert guestd.jobs() == []


def test_a_program_that_cant_start_is_126_or_127(ctl, folder):
    done = ctl("exec", "--", "no-such-program", code=127)
    assert re.fullmatch(rb"guestctl: exec: not_found: .* \(cmd\)\n", done.stderr)
    (folder / "data").write_text("no program")
    assert b"permission_denied" in ctl("exec", folder / "data", code=126).stderr
    assert b"permission_denied" in ctl("exec", folder, code=126).stderr
    (folder / "data").chmod(0o755)
    (folder / "data").write_bytes(b"\0\1\2\3")
    assert b"wrong_type" in ctl("exec", folder / "data", code=126).stderr
    # Not the program's fault, so neither 126 nor 127.
    assert b"(cwd)" in ctl("exec", "-w", folder / "missing", "true", code=125).stderr
    assert b"(user)" in ctl("exec", "-u", "no-such-user", "true", code=125).stderr


def test_guestctls_own_failures_are_125(ctl, guestd):
    for args in (["exec"], ["exec", "--no-such-option"], ["exec", "--timeout", "soon", "true"], ["nonsense"], [],
                 ["--connect", "nowhere", "ping"], ["--connect", "unix:/no/such/socket", "ping"], ["ls"],
                 ["ls", "/", "/tmp"], ["kill"], ["--token-file", "/no/such/file", "ping"], ["ping", "-c", "0"]):
        assert ctl(*args, code=125).stderr or args == []
    without = {key: value for key, value in os.environ.items() if key != "GUESTCTL_CONNECT"}
    done = subprocess.run([GUESTCTL, "ping"], env=without, stderr=subprocess.PIPE)
    assert done.returncode == 125 and b"GUESTCTL_CONNECT" in done.stderr


@pytest.mark.parametrize("args", [["forward", "1:2"], ["cp", "a", "b"], ["watch", "/"]])
def test_what_comes_later_says_so(ctl, args):
    assert b"not in this version" in ctl(*args, code=125).stderr


def test_an_error_is_one_line(ctl):
    assert ctl("stat", "/no/such/file", code=1).stderr.startswith(b"guestctl: stat: not_found: ")
    done = ctl("ls", "relative", code=1)
    assert done.stderr.count(b"\n") == 1 and b"invalid_request" in done.stderr and b"(path)" in done.stderr


# ── exec ──

def test_options_reach_the_program(ctl, folder):
    done = ctl("exec", "-w", folder, "-e", "A=1", "-e", "B=x=y", "-e", "A=2", "-e", "HOME", "--",
               "sh", "-c", 'echo "$(pwd) $A $B ${HOME-unset} $1"', "sh", "-b")
    assert done.stdout.decode() == "%s 2 x=y unset -b\n" % folder
    assert ctl("exec", "-u", "12:34", "id", "-u").stdout == b"12\n"


def test_output_is_live(begin, folder):
    os.mkfifo(folder / "go")
    process = begin("exec", "sh", "-c", "echo one; echo two >&2; read x <%s; echo three; exit 3" % (folder / "go"))
    assert process.stdout.readline() == b"one\n"
    assert process.stderr.readline() == b"two\n"
    assert process.poll() is None
    (folder / "go").write_text("now\n")
    assert process.communicate(timeout=20 * SLOWER)[0] == b"three\n"
    assert process.returncode == 3


@pytest.mark.parametrize("way", [[], ["--capture"], ["--window", "100"]])
def test_output_comes_byte_for_byte(ctl, folder, way):
    data = os.urandom(300_000 if way == [] else 30_000)
    (folder / "data").write_bytes(data)
    done = ctl("exec", *way, "--", "sh", "-c", "cat %s; echo err >&2" % (folder / "data"))
    assert done.stdout == data and done.stderr == b"err\n"


def test_a_slow_reader_loses_nothing(begin):
    process = begin("exec", "--max-output", "64K", "seq", "500000")
    assert process.stdout.read(2) == b"1\n"
    rest, _ = process.communicate(timeout=60 * SLOWER)
    assert rest.endswith(b"499999\n500000\n") and rest.count(b"\n") == 499999
    assert process.returncode == 0


def test_a_reader_that_leaves_ends_the_program(begin, guestd):
    process = begin("exec", "yes")
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20 * SLOWER) == -signal.SIGPIPE
    until(lambda: guestd.jobs() == [], "yes is gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_whole_tree(begin, guestd, number):
    process = begin("exec", "sh", "-c", "setsid sleep 1000 & echo started; sleep 1000")
    assert process.stdout.readline() == b"started\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=20 * SLOWER)
    assert process.returncode == 137
    assert errors.startswith(b"guestctl: exec: cancelled after ")
    assert guestd.jobs() == []


def test_a_second_ctrl_c_ends_guestctl_alone(begin, guestd):
    process = begin("exec", "--kill-grace", "1000", "sh", "-c",
                    "trap 'echo asked' TERM; echo started; while :; do sleep 0.1; done")
    assert process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"asked\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20 * SLOWER) == -signal.SIGINT
    # Its connection is lost, and what it ran is killed: after the grace that was asked, so it is ended here.
    for record in json.loads(run(guestd, "--json", "ps").stdout)["processes"]:
        run(guestd, "kill", str(record["pid"]))
    until(lambda: guestd.jobs() == [], "nothing is left")


def test_what_was_kept_of_large_output_is_told(ctl):
    done = ctl("exec", "--capture", "--max-output", "10", "echo", "0123456789abc")
    assert done.stdout == b"0123456789" and b"larger" in done.stderr
    done = ctl("exec", "--capture", "--max-output", "10", "--overflow", "kill", "yes", code=137)
    assert b"killed for its output" in done.stderr


# ── processes ──

def test_a_background_program_is_listed_killed_and_waited_for(ctl):
    pid, tag = ctl("exec", "-b", "--tag", "web", "-u", "12:34", "sleep", "1000").stdout.decode().rstrip("\n").split("\t")
    assert tag == "web"
    header, row = ctl("ps").stdout.decode().splitlines()
    assert header.split() == ["PID", "TAG", "USER", "STATE", "TIME", "COMMAND"]
    assert row.split()[:2] == [pid, "web"] and "running" in row and row.endswith("sleep 1000")
    assert header.index("COMMAND") == row.index("sleep")
    assert b"timeout" in ctl("wait", "--timeout", "0.05", "web", code=124).stderr
    ctl("kill", "-s", "TERM", "web")
    assert re.fullmatch(rb"web: killed SIGTERM after .*\n", ctl("wait", "web", code=143).stdout)
    ctl("wait", pid, code=143)
    assert ctl("ps").stdout.count(b"\n") == 1
    assert b"web" in ctl("ps", "-a").stdout
    assert b"not_found" in ctl("kill", "web", code=1).stderr
    assert b"not_found" in ctl("wait", "no-such-tag", code=125).stderr


def test_wait_prints_what_was_kept(ctl):
    ctl("exec", "-b", "--tag", "talker", "sh", "-c", r"printf 'a\377b'; echo err >&2; exit 7")
    done = ctl("wait", "--output", "talker", code=7)
    assert done.stdout == b"a\xffb" and done.stderr == b"err\n"
    result = json.loads(ctl("--json", "wait", "-o", "talker", code=7).stdout)
    assert result["encoding"] == "base64" and base64.b64decode(result["stdout"]) == b"a\xffb"


# ── files ──

@pytest.mark.parametrize("size", [0, 1, 512 << 10, (512 << 10) + 1, 20 << 20])
def test_files_come_back_as_they_went(ctl, folder, size):
    data = os.urandom(size)
    (folder / "here").write_bytes(data)
    there = folder / "there"
    assert ctl("write", there, folder / "here").stdout == b""
    assert ctl("exec", "sha256sum", there).stdout.decode().split()[0] == sha256(data)
    ctl("read", there, folder / "back")
    assert (folder / "back").read_bytes() == data
    assert ctl("read", there).stdout == data
    ctl("write", there, stdin=b"from stdin")
    assert there.read_bytes() == b"from stdin"


def test_write_keeps_to_its_options(ctl, folder):
    path = folder / "a/b/file"
    os.chown(folder, 12, 34)
    assert b"not_found" in ctl("write", path, stdin=b"x", code=1).stderr
    ctl("write", "-p", "--mode", "640", "--user", "12:34", path, "-", stdin=b"12345")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and (path.stat().st_uid, path.stat().st_gid) == (12, 34)
    ctl("write", "--append", path, stdin=b"678")
    ctl("write", "--off", "1", path, stdin=b"xy")
    assert path.read_bytes() == b"1xy45678"
    assert b"(sha256)" in ctl("write", "--sha256", "0" * 64, path, stdin=b"new", code=1).stderr
    assert path.read_bytes() == b"1xy45678"
    ctl("write", "--sha256", sha256(b"new"), "--fsync", path, stdin=b"new")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["file"]
    inode = path.stat().st_ino
    ctl("write", "--no-atomic", path, stdin=b"again")
    assert path.read_bytes() == b"again" and path.stat().st_ino == inode


def test_a_broken_upload_leaves_the_old_file(begin, folder):
    (folder / "file").write_text("old")
    process = begin("write", folder / "file", stdin=subprocess.PIPE)
    for _ in range(5):
        assert process.stdin.write(b"x" * 60_000) == 60_000
        until(lambda: fcntl.ioctl(process.stdin, termios.FIONREAD, b"\0\0\0\0") == b"\0\0\0\0", "it is under way")
    process.kill()
    process.wait()
    process.stdin.close()
    assert (folder / "file").read_text() == "old"
    until(lambda: os.listdir(folder) == ["file"], "nothing is left of it")


def test_read_reads_a_piece(ctl, folder):
    (folder / "file").write_bytes(b"0123456789")
    assert ctl("read", "--off", "2", "--len", "3", folder / "file").stdout == b"234"
    assert ctl("read", "--off", "8", folder / "file").stdout == b"89"
    result = json.loads(ctl("--json", "read", "--len", "4", folder / "file").stdout)
    assert result == {"data": base64.b64encode(b"0123").decode(), "size": 10, "off": 0, "eof": False}
    assert b"wrong_type" in ctl("read", folder, code=1).stderr
    full = ctl("read", folder / "file", "/dev/full", code=125)
    assert b"No space" in full.stderr


@pytest.fixture
def tree(folder):
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "sub/deep/file").write_bytes(b"x" * 2048)
    (folder / "a\x1b[31m\nb").touch()
    (folder / "link").symlink_to("sub")
    (folder / "run").touch()
    (folder / "run").chmod(0o755)
    os.utime(folder / "run", (1730000000, 1730000000))
    return folder


def test_ls_lists_a_level_or_a_tree(ctl, tree):
    assert ctl("ls", tree).stdout.decode().splitlines() == ["a\\e[31m\\nb", "link", "run", "sub/"]
    assert ctl("ls", "-R", str(tree) + "//").stdout.decode().splitlines() == \
        ["a\\e[31m\\nb", "link", "run", "sub/", "sub/deep/", "sub/deep/file"]
    assert ctl("ls", "--depth", "2", tree).stdout.decode().splitlines()[-1] == "sub/deep/"
    assert ctl("ls", "--depth", "0", tree).stdout.decode() == "%s/\n" % tree
    done = ctl("ls", "--limit", "2", tree)
    assert done.stdout.count(b"\n") == 2 and b"more" in done.stderr
    assert ctl("ls", tree / "sub/deep").stdout == b"file\n"
    assert b"wrong_type" in ctl("ls", tree / "run", code=1).stderr


def test_ls_long_stands_in_columns(ctl, tree):
    rows = ctl("ls", "-lR", tree).stdout.decode().splitlines()
    assert rows[1].endswith("  link -> sub") and rows[1].startswith("lrwxrwxrwx  ")
    assert rows[2] == "-rwxr-xr-x  root  root  %s  2024-10-27 03:33:20  run" % "0".rjust(4)
    assert "  2.0K  " in rows[5]
    assert len({row.index("  20") for row in rows}) == 1


def test_ls_of_many_entries_is_whole(ctl, folder):
    names = sorted("f%05d" % i for i in range(3000))
    for name in names:
        (folder / name).touch()
    assert ctl("ls", folder).stdout.decode().split() == names
    assert ctl("ls", "-l", folder).stdout.count(b"\n") == 3000
    listed = json.loads(ctl("--json", "ls", folder).stdout)
    assert [entry["name"] for entry in listed["entries"]] == names and listed["truncated"] is False


def test_stat_mkdir_and_rm(ctl, tree):
    shown = dict(line.strip().split("  ", 1) for line in ctl("stat", tree / "run").stdout.decode().splitlines())
    assert shown == {"path": str(tree / "run"), "type": "file", "size": "0", "mode": "0755 -rwxr-xr-x",
                     "owner": "root:root", "modified": "2024-10-27 03:33:20"}
    assert b"symlink" in ctl("stat", tree / "link").stdout
    assert b"directory" in ctl("stat", "-L", tree / "link").stdout
    os.chown(tree, 12, 34)
    ctl("mkdir", "-m", "700", "-u", "12:34", tree / "x/y", tree / "sub")
    assert stat.S_IMODE((tree / "x/y").stat().st_mode) == 0o700 and (tree / "x").stat().st_uid == 12
    assert b"not_found" in ctl("mkdir", "--no-parents", tree / "p/q", code=1).stderr
    assert ctl("rm", "-v", tree / "sub", tree / "link").stdout == b"4 removed\n"
    assert b"not_found" in ctl("rm", tree / "sub", code=1).stderr
    assert ctl("rm", "-f", tree / "sub").stderr == b""
    assert b"permission_denied" in ctl("rm", "/", code=1).stderr


# ── the capsule ──

def test_ping_hello_and_info(ctl, guestd):
    done = ctl("ping", "-c", "3", "-i", "0").stdout.decode().splitlines()
    assert len(done) == 4 and all(line.startswith("pong from %s: time=" % guestd.address) for line in done[:3])
    assert done[3].startswith("3 answered: least ")
    assert json.loads(ctl("--json", "ping").stdout)["uptime_ms"] >= 0
    hello = json.loads(ctl("--json", "hello").stdout)
    assert hello["protocol"] == 1 and hello["limits"]["nesting"] == 16
    assert re.search(r"^  nesting +16$", ctl("hello").stdout.decode(), re.M)
    assert json.loads(ctl("--json", "info").stdout)["version"] == hello["version"]
    assert ctl("info").stdout.decode().count("\n") > 10


def test_metrics(ctl):
    metrics = json.loads(ctl("--json", "metrics").stdout)
    assert metrics["cpu_count"] == os.cpu_count() and len(metrics["load"]) == 3
    assert re.search(r"^mem_total +%d$" % metrics["mem_total"], ctl("metrics").stdout.decode(), re.M)


def test_shutdown_ends_guestd(start):
    guestd = start()
    assert b"poweroff, reboot or exit" in run(guestd, "shutdown", "now", code=125).stderr
    run(guestd, "shutdown", "exit", "--grace", "1")
    guestd.ended(0)


def test_a_token_opens_the_door(start, folder):
    guestd = start(token="open sesame")
    (folder / "right").write_text("open sesame\n")
    (folder / "wrong").write_text("open")
    run(guestd, "--token-file", folder / "right", "ping")
    for args in ([], ["--token-file", folder / "wrong"]):
        assert b"unauthenticated" in run(guestd, *args, "ping", code=125).stderr


# ── JSON, as the pages of the API have it ──

def test_json_exec_has_the_pages_fields(ctl):
    result = json.loads(ctl("--json", "exec", "--", "python3", "-c", 'print("hello")').stdout)
    is_shape(result, RESULT)
    page = {"stdout": "hello\n", "stderr": "", "exit_code": 0, "encoding": "utf-8"}
    assert {name: result[name] for name in page} == page
    result = json.loads(ctl("--json", "exec", "printf", r"\0\377").stdout)
    assert result["encoding"] == "base64" and base64.b64decode(result["stdout"]) == b"\0\xff"
    assert json.loads(ctl("--json", "exec", "sh", "-c", "exit 3", code=3).stdout)["exit_code"] == 3


def test_json_background_has_the_pages_fields(ctl):
    result = json.loads(ctl("--json", "exec", "-b", "-e", "PORT=8080", "-w", "/", "sleep", "1000").stdout)
    is_shape(result, {"pid": int, "tag": str})
    processes = json.loads(ctl("--json", "ps").stdout)["processes"]
    assert [record["tag"] for record in processes] == [result["tag"]]
    is_shape(processes[0], RECORD)
    ctl("kill", result["tag"])


def test_json_files_have_the_pages_fields(ctl, tree):
    listed = json.loads(ctl("--json", "ls", "--depth", "2", tree).stdout)
    is_shape(listed, {"entries": list, "truncated": bool})
    assert [entry["name"] for entry in listed["entries"]] == ["a\x1b[31m\nb", "link", "run", "sub", "deep"]
    for entry in listed["entries"]:
        is_shape(entry, ENTRY)
    made = json.loads(ctl("--json", "mkdir", tree / "new").stdout)
    is_shape(made, {"entry": dict, "created": bool})
    is_shape(made["entry"], ENTRY)
    written = json.loads(ctl("--json", "write", tree / "new/file", stdin=b"abc").stdout)
    is_shape(written, {"entry": dict, "bytes": int})
    assert written["bytes"] == 3 and written["entry"]["size"] == 3
    assert json.loads(ctl("--json", "rm", tree / "new").stdout) == {"removed": 2}
    assert json.loads(ctl("--json", "stat", tree / "run").stdout)["entry"]["modified_at"] == 1730000000


def test_json_errors_are_on_stdout_too(ctl):
    done = ctl("--json", "exec", "no-such-program", code=127)
    error = json.loads(done.stdout)["error"]
    has_shape(error, {"code": str, "message": str, "errno": int, "field": str})
    assert (error["code"], error["field"], error["errno"]) == ("not_found", "cmd", 2)
    assert json.loads(ctl("--json", "ls", "/no/such/folder", code=1).stdout)["error"]["code"] == "not_found"


# ── for people ──

def read_terminal(fd):
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def test_a_terminal_shows_how_far_an_upload_is(begin, folder):
    terminal, theirs = pty.openpty()
    fcntl.fcntl(terminal, fcntl.F_SETFL, os.O_NONBLOCK)
    process = begin("write", folder / "file", stdin=subprocess.PIPE, stderr=theirs)
    shown = b""
    sent = 0

    def drawn():
        nonlocal shown, sent
        process.stdin.write(b"x" * 100)
        sent += 100
        shown += read_terminal(terminal)
        return b"/s" in shown
    until(drawn, "the line is drawn")
    process.stdin.close()
    assert process.wait(20 * SLOWER) == 0
    shown += read_terminal(terminal)
    assert shown.startswith(b"\rfile ") and re.search(rb"/s  in .*\r\n$", shown)
    assert (folder / "file").stat().st_size == sent
    os.close(terminal)
    os.close(theirs)


def test_colors_are_for_terminals_that_want_them(guestd, tree):
    def listing(**more):
        terminal, theirs = pty.openpty()
        env = {**environment(guestd), "TERM": "xterm", **more}
        subprocess.run([GUESTCTL, "ls", str(tree)], env=env, stdout=theirs, check=True, timeout=20 * SLOWER)
        os.close(theirs)
        text = os.read(terminal, 65536)
        os.close(terminal)
        return text
    assert b"\x1b[1;34msub\x1b[0m/" in listing()
    assert b"\x1b" not in listing(NO_COLOR="1") and b"\x1b" not in listing(TERM="dumb")


def commands():
    text = subprocess.run([GUESTCTL, "help"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return re.findall(r"^  ([a-z]+)  +[a-z]", text, re.M)


def test_every_command_and_option_is_in_help_and_manual():
    manual = MANUAL.read_text()
    names = commands()
    assert {"exec", "ps", "attach", "wait", "input", "kill", "forget", "upgrade", "write", "read", "ls", "stat", "mkdir", "rm", "hello", "ping", "info",
            "metrics",             "shutdown"} == set(names)
    for name in names:
        pages = [subprocess.run([GUESTCTL, *args], stdout=subprocess.PIPE, check=True, text=True).stdout
                 for args in (["help", name], [name, "--help"], [name, "-h"])]
        assert pages[0] == pages[1] == pages[2] and pages[0].startswith("guestctl %s - " % name)
        assert all(len(line) <= 90 for line in pages[0].splitlines())
        section = re.search(r"^## %s\n(.*?)(?=^##? )" % name, manual, re.M | re.S).group(1)
        options = re.findall(r"^  (?:-\w, |    )(--[a-z0-9-]+)", pages[0], re.M)
        for option in set(options) - {"--help"}:
            assert "*%s*" % option in section, "%s of %s" % (option, name)


def test_every_option_of_guestd_is_in_its_manual():
    manual = MANUAL.with_name("guestd.8.scd").read_text()
    text = subprocess.run([GUESTD, "--help"], stdout=subprocess.PIPE, check=True, text=True, timeout=20 * SLOWER).stdout
    options, limits = (set(re.findall(r"^    (--[a-z0-9-]+)", part, re.M)) for part in text.split("\nLIMITS\n"))
    assert {"--listen", "--ready", "--token-file"} < options
    for option in options:
        assert "*%s*" % option in manual, option
    assert len(limits) > 10 and "@LIMITS@" in manual  # made from proto/limits.h, as the help is
    for name in re.findall(r"^    ([A-Z][A-Z_0-9]+)(?:=1)?[ ,]", text.split("\nENVIRONMENT\n")[1], re.M):
        assert "*%s*" % name in manual, name
