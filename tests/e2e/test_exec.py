"""exec in the foreground, captured: every field that says how a program starts, every error that says why it did not."""

import os
import signal
import stat

import pytest

from expect import RESULT, fails, is_shape

pytestmark = [pytest.mark.valgrind, pytest.mark.fallback]


def run(client, cmd, *args, **params):
    return client.commands.run(cmd, list(args), **params)


# ── what comes back ──

def test_a_result_has_every_field_and_no_other(client):
    result = client.call("exec", cmd="sh", args=["-c", "echo out; echo err >&2; exit 3"])
    is_shape(result, RESULT)
    expected = {"stdout": "out\n", "stderr": "err\n", "encoding": "utf-8", "exit_code": 3, "status": 3, "signal": None,
                "reason": "exited", "core_dumped": False, "stdout_bytes": 4, "stderr_bytes": 4, "truncated": False,
                "pipes_open": False, "descendants": 0, "killed_descendants": 0}
    assert {name: result[name] for name in expected} == expected
    assert result["pid"] > 0 and result["tag"].startswith("bg-") and result["duration_ms"] >= 0
    assert result["max_rss_kb"] > 0


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 128, 255])
def test_exit_codes_come_whole(client, code):
    result = client.commands.run("exit %d" % code)
    assert (result.exit_code, result.status, result.signal, result.reason) == (code, code, None, "exited")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGPIPE"])
def test_death_by_a_signal_is_told(client, name):
    number = getattr(signal, name)
    result = client.commands.run("kill -%d $$" % number)
    assert (result.exit_code, result.status, result.signal, result.reason) == (128 + number, None, name, "signaled")


def test_duration_and_cpu_time_are_measured(client):
    result = client.commands.run("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
    assert result.cpu_user_ms + result.cpu_sys_ms > 0
    assert result.duration_ms >= (result.cpu_user_ms + result.cpu_sys_ms) // 2


# ── how it starts ──

def test_args_reach_the_program_as_they_are(client):
    args = ["", " ", "a b", "$HOME", "*", "ünï", b"\xff\xfe", "-n", "x" * 100000]
    result = run(client, "printf", "%s|", *args, encoding="raw")
    assert result.stdout == b"".join((a if isinstance(a, bytes) else a.encode()) + b"|" for a in args)


def test_cmd_is_looked_up_in_the_childs_own_path(client, folder):
    program = folder / "hello"
    program.write_text("#!/bin/sh\necho found $0\n")
    program.chmod(0o755)
    result = run(client, "hello", envs={"PATH": "/nowhere:%s" % folder})
    assert result.stdout == "found %s\n" % program
    with fails("not_found", field="cmd", errno=2):
        run(client, "hello")
    with fails("not_found", field="cmd"):
        run(client, "sh", envs={"PATH": str(folder)})


def test_a_relative_cmd_is_found_from_cwd(client, folder):
    (folder / "here").write_text("#!/bin/sh\npwd\n")
    (folder / "here").chmod(0o755)
    assert run(client, "./here", cwd=str(folder)).stdout == "%s\n" % folder


def test_no_shell_is_in_between(client):
    assert run(client, "echo", "$(id)", ";", ">x").stdout == "$(id) ; >x\n"


def test_cwd(client, folder):
    assert run(client, "pwd", cwd=str(folder)).stdout == "%s\n" % folder
    assert run(client, "sh", "-c", "pwd").stdout in ("/root\n", "/\n")  # the user's home, or / where there is none


def test_envs_are_added_and_nil_unsets(start):
    guestd = start(env={"KEPT": "kept", "GONE": "gone", "GUESTD_SECRET": "x", "LISTEN_PID": "1", "NOTIFY_SOCKET": "/n"})
    with guestd.connect() as client:
        envs = {"GONE": None, "NEW": "new", "EMPTY": "", "RAW": b"\xff", "HOME": "/elsewhere"}
        result = client.call("exec", cmd="env", args=["-0"], envs=envs, encoding="raw")
    seen = dict(line.split(b"=", 1) for line in result["stdout"].split(b"\0") if line)
    assert seen[b"KEPT"] == b"kept" and b"GONE" not in seen
    assert (seen[b"NEW"], seen[b"EMPTY"], seen[b"RAW"]) == (b"new", b"", b"\xff")
    assert seen[b"HOME"] == b"/elsewhere"
    assert (seen[b"USER"], seen[b"LOGNAME"]) == (b"root", b"root") and seen[b"SHELL"].startswith(b"/")
    assert not [name for name in seen if name.startswith((b"GUESTD_", b"LISTEN_", b"NOTIFY_")) and name != b"GUESTD_JOB"]


def test_the_usual_path_where_guestd_has_none(start):
    guestd = start(env={"PATH": None})
    with guestd.connect() as client:
        seen = client.call("exec", cmd="env")["stdout"].splitlines()
    path = [line for line in seen if line.startswith("PATH=")][0].partition("=")[2].split(":")
    assert {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} == set(path)


@pytest.mark.native
def test_children_start_clean(client, folder):
    """umask 022, default signals, no fd above 2, oom_score_adj 0, the original rlimits, a session of their own."""
    script = folder / "look"
    script.write_text("""#!/bin/sh
umask
cat /proc/$$/oom_score_adj
grep 'Max open files' /proc/$$/limits
cut -d' ' -f1,5,6 /proc/$$/stat
ls /proc/$$/fd
""")
    script.chmod(0o755)
    lines = run(client, str(script)).stdout.splitlines()
    assert lines[:2] == ["0022", "0"]
    with open("/proc/self/limits") as own:
        assert lines[2] == [line for line in own.read().splitlines() if line.startswith("Max open files")][0]
    pid, group, session = lines[3].split()
    assert pid == group == session
    # 10 is dash's own, for the script it reads
    assert [fd for fd in lines[4:] if int(fd) > 2 and fd not in ("10", "255")] == []
    # of a program itself: shells block signals now and then
    signals = run(client, "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status").stdout.split()
    assert signals == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_stdin_absent_is_dev_null_and_given_is_whole(client):
    assert run(client, "readlink", "/proc/self/fd/0").stdout == "/dev/null\n"
    data = os.urandom(700000)
    assert run(client, "cat", stdin=data, encoding="raw").stdout == data
    assert run(client, "wc", "-c", stdin=b"").stdout == "0\n"
    assert run(client, "cat", stdin="as text").stdout == "as text"


def test_a_program_that_does_not_read_its_stdin_is_no_error(client):
    assert run(client, "true", stdin=b"x" * 500000).exit_code == 0


# ── users ──

PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1501:1601:Ann:%s:/bin/ann-shell\nbob:x:1502:1602::/nowhere:\n"
GROUP = "root:x:0:\nann:x:1601:\nbob:x:1602:\nwheel:x:1700:ann,bob\naudio:x:1701:ann\ndisk:x:1702:bob\n"


@pytest.fixture
def people(start, folder, own_mounts, as_root):
    """A client of a guestd that sees a passwd and a group of its own."""
    home = folder / "ann"
    home.mkdir()
    (folder / "passwd").write_text(PASSWD % home)
    (folder / "group").write_text(GROUP)
    guestd = start(mounts="mount --bind {0}/passwd /etc/passwd; mount --bind {0}/group /etc/group".format(folder))
    with guestd.connect() as client:
        client.home = home
        yield client


@pytest.mark.parametrize("user, ids", [
    ("ann", "1501 1601 1601 1700 1701"),
    ("1501", "1501 1601 1601 1700 1701"),
    ("ann:audio", "1501 1701 1701 1700"),
    ("ann:1702", "1501 1702 1702 1700 1701"),
    ("1501:1602", "1501 1602 1602 1700 1701"),
    ("4242", "4242 4242 4242"),
    ("4242:7", "4242 7 7"),
    ("root", "0 0 0"),
    ("0", "0 0 0"),
])
def test_user_with_supplementary_groups(people, user, ids):
    uid, gid, *groups = ids.split()
    result = run(people, "sh", "-c", "id -u; id -g; id -G", user=user, cwd="/")
    assert result.stdout.splitlines()[:2] == [uid, gid]
    assert set(result.stdout.splitlines()[2].split()) == set(groups)


def test_a_users_home_shell_and_name(people):
    result = run(people, "sh", "-c", "pwd; echo $HOME $USER $LOGNAME $SHELL", user="ann")
    assert result.stdout == "%s\n%s ann ann /bin/ann-shell\n" % (people.home, people.home)


def test_a_home_that_is_not_there_means_the_root(people):
    assert run(people, "pwd", user="bob").stdout == "/\n"


def test_a_user_cannot_write_what_is_roots(people, folder):
    result = run(people, "sh", "-c", "echo x > %s/passwd" % folder, user="ann", cwd="/")
    assert result.exit_code != 0 and "ermission denied" in result.stderr


@pytest.mark.parametrize("user, code", [
    ("nobody-here", "not_found"), ("ann:no-group", "not_found"), ("-1", "not_found"), ("", "invalid_request"),
    (":", "invalid_request"), ("ann:", "invalid_request"), ("4294967295", "invalid_request"),
    ("99999999999", "invalid_request")])
def test_an_unknown_user_is_told(people, user, code):
    with fails(code, field="user"):
        run(people, "true", user=user)


def test_cwd_and_cmd_are_judged_as_the_user(people, folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with fails("permission_denied", field="cwd", errno=13):
        run(people, "true", user="ann", cwd=str(closed))
    (closed / "tool").write_text("#!/bin/sh\n")
    (closed / "tool").chmod(0o755)
    with fails("permission_denied", field="cmd", errno=13):
        run(people, str(closed / "tool"), user="ann", cwd="/")


# ── why it did not start ──

@pytest.mark.parametrize("params, code, field, errno", [
    ({"cmd": "no-such-program"}, "not_found", "cmd", 2),
    ({"cmd": "/no/such/program"}, "not_found", "cmd", 2),
    ({"cmd": "/etc/passwd"}, "permission_denied", "cmd", 13),
    ({"cmd": "/etc"}, "permission_denied", "cmd", None),
    ({"cmd": "/etc/passwd/x"}, "wrong_type", "cmd", 20),
    ({"cmd": ""}, "invalid_request", "cmd", None),
    ({"cmd": "a\0b"}, "invalid_request", "cmd", None),
    ({}, "invalid_request", "cmd", None),
    ({"cmd": 7}, "invalid_request", "cmd", None),
    ({"cmd": "true", "args": "x"}, "invalid_request", "args", None),
    ({"cmd": "true", "args": [1]}, "invalid_request", "args", None),
    ({"cmd": "true", "args": ["a\0b"]}, "invalid_request", "args", None),
    ({"cmd": "true", "cwd": "/no/such"}, "not_found", "cwd", 2),
    ({"cmd": "true", "cwd": "/etc/passwd"}, "wrong_type", "cwd", 20),
    ({"cmd": "true", "cwd": "relative"}, "invalid_request", "cwd", None),
    ({"cmd": "true", "cwd": "/a\0b"}, "invalid_request", "cwd", None),
    ({"cmd": "true", "cwd": "/" + "x" * 5000}, "invalid_request", "cwd", None),
    ({"cmd": "true", "user": "nobody-of-that-name"}, "not_found", "user", None),
    ({"cmd": "true", "envs": {"A=B": "x"}}, "invalid_request", "envs", None),
    ({"cmd": "true", "envs": {"": "x"}}, "invalid_request", "envs", None),
    ({"cmd": "true", "envs": {"A": "x\0y"}}, "invalid_request", "envs", None),
    ({"cmd": "true", "envs": {"A": 1}}, "invalid_request", "envs", None),
    ({"cmd": "true", "envs": ["A=x"]}, "invalid_request", "envs", None),
    ({"cmd": "true", "encoding": "latin1"}, "invalid_request", "encoding", None),
    ({"cmd": "true", "overflow": "middle"}, "invalid_request", "overflow", None),
    ({"cmd": "true", "max_output": (64 << 20) + 1}, "too_large", "max_output", None),
    ({"cmd": "true", "max_output": 0}, "invalid_request", "max_output", None),
    ({"cmd": "true", "stream": True, "background": True}, "invalid_request", None, None),
    ({"cmd": "true", "envs": {b"\xff": b"\xff", "A": None, "=": "x"}}, "invalid_request", "envs", None),
    ({"cmd": "true", "background": 1}, "invalid_request", "background", None),
    ({"cmd": "true", "seccomp": "no-such"}, "invalid_request", "seccomp", None),
    ({"cmd": "true", "tag": "12"}, "invalid_request", "tag", None),
    ({"cmd": "true", "tag": ""}, "invalid_request", "tag", None),
    ({"cmd": "true", "tag": "x" * 129}, "invalid_request", "tag", None),
    ({"cmd": "true", "tag": "a\nb"}, "invalid_request", "tag", None),
    ({"cmd": "true", "window": (1 << 31) + 1, "stream": True}, "invalid_request", "window", None),
])
def test_a_program_that_cannot_start_is_a_typed_error(client, params, code, field, errno):
    with fails(code) as caught:
        client.call("exec", **params)
    named = caught.value.field
    assert field is None or named == field
    if errno is not None:
        assert caught.value.errno == errno


@pytest.mark.native
def test_a_file_that_is_no_program(client, folder):
    (folder / "data").write_bytes(b"\0\1\2\3 no program")
    (folder / "data").chmod(0o755)
    with fails("wrong_type", field="cmd", errno=8):
        run(client, str(folder / "data"))
    (folder / "lost").write_text("#!/no/such/interpreter\n")
    (folder / "lost").chmod(0o755)
    with fails("not_found", field="cmd", errno=2):
        run(client, str(folder / "lost"))


@pytest.mark.native
def test_arguments_that_the_kernel_does_not_take(client):
    with fails("too_large", field="args", errno=7):
        run(client, "true", "x" * 200000)  # one argument ends at 128 KiB
    assert client.commands.run("echo on").stdout == "on\n"


def test_exit_127_is_a_result_and_no_error(client):
    result = client.commands.run("no-such-program-at-all")
    assert result.exit_code == 127 and "not found" in result.stderr


# ── confinement ──

def test_no_new_privs(client):
    look = "grep NoNewPrivs /proc/self/status"
    assert client.commands.run(look).stdout.split()[1] == "0"
    assert client.commands.run(look, no_new_privs=True).stdout.split()[1] == "1"


@pytest.mark.native
def test_seccomp_none_and_default(client):
    """The profile is the one that hello lists; a program under it may not mount, and works otherwise."""
    look = "grep Seccomp: /proc/self/status"
    assert client.commands.run(look).stdout.split()[1] == "0"
    assert client.commands.run(look, seccomp="none").stdout.split()[1] == "0"
    assert client.commands.run(look, seccomp="default").stdout.split()[1] == "2"
    result = client.commands.run("mount -t tmpfs none /mnt && umount /mnt", seccomp="default")
    assert result.exit_code != 0


def test_a_new_file_has_the_mode_that_umask_022_leaves(client, folder):
    client.commands.run("touch file", cwd=str(folder))
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o644
