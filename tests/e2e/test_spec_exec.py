"""exec with its answer in one piece: §9 of PROTOCOL.md, asked with the client of its text alone."""

import base64
import os
import signal

import pytest

from spec_rig import spec_conn, spec_dir, spec_guestd  # noqa: F401 (fixtures)
from spec_rig import RESULT, alive, error, eventually, flaw, has, sh


def test_a_captured_exec(spec_conn):
    r = spec_conn.call("exec", **sh("echo out; echo err >&2; exit 3"))
    has(r, dict(RESULT, stdout=str, stderr=str, encoding=str, status=int, signal=type(None)))
    assert (r["stdout"], r["stderr"], r["encoding"], r["exit_code"], r["status"]) == ("out\n", "err\n", "utf-8", 3, 3)
    assert (r["reason"], r["stdout_bytes"], r["stderr_bytes"], r["truncated"]) == ("exited", 4, 4, False)
    assert r["oom_killed"] in (False, None)


def test_signals_and_deadlines(spec_conn):
    r = spec_conn.call("exec", **sh("kill -USR1 $$"))
    assert (r["reason"], r["signal"], r["status"], r["exit_code"]) == ("signaled", "SIGUSR1", None, 138)
    r = spec_conn.call("exec", cmd="sleep", args=["1000"], timeout=0.2)
    assert (r["reason"], r["signal"], r["exit_code"]) == ("timed_out", "SIGTERM", 124)
    assert 150 <= r["duration_ms"] < 10000
    r = spec_conn.call("exec", **sh('trap "" TERM; while :; do sleep 0.05; done', timeout=0.7, kill_grace=0.4))
    assert (r["reason"], r["signal"], r["exit_code"]) == ("timed_out", "SIGKILL", 124)
    assert 1000 <= r["duration_ms"] < 10000


@pytest.mark.parametrize("encoding, script, expected", [
    ("auto", r"printf 'h\303\251'", ("utf-8", "hé", "")),
    ("auto", r"printf ok; printf '\377' >&2", ("base64", base64.b64encode(b"ok").decode(), "/w==")),
    ("utf-8", r"printf 'a\377b'", ("utf-8", "a\ufffdb", "")),
    ("base64", r"printf a", ("base64", "YQ==", "")),
    ("raw", r"printf 'a\377\000'", ("raw", b"a\xff\0", b"")),
])
def test_encodings(spec_conn, encoding, script, expected):
    r = spec_conn.call("exec", encoding=encoding, **sh(script))
    assert (r["encoding"], r["stdout"], r["stderr"]) == expected


def test_max_output_and_overflow(spec_conn):
    def run(script, **params):
        r = spec_conn.call("exec", **sh(script, **params))
        return r["stdout"], r["truncated"], r["stdout_bytes"], r["reason"], r["exit_code"]
    assert run("printf 0123456789", max_output=4) == ("0123", True, 10, "exited", 0)
    assert run("printf 0123456789", max_output=4, overflow="tail") == ("6789", True, 10, "exited", 0)
    assert run("printf 0123", max_output=4, overflow="kill") == ("0123", False, 4, "exited", 0)
    out, truncated, written, reason, code = run("yes; sleep 1000", max_output=1000, overflow="kill")
    assert (out, truncated, reason, code) == ("y\n" * 500, True, "output_limit", 137) and written > 1000
    # a sequence that truncation cut in two is dropped, then `auto` decides
    assert run(r"printf 'a\342\202\254'", max_output=3) == ("a", True, 4, "exited", 0)
    assert run(r"printf '\342\202\254b'", max_output=3, overflow="tail") == ("b", True, 4, "exited", 0)


def test_max_output_is_bounded_by_the_limit_and_by_what_a_result_can_carry(spec_guestd, spec_conn):
    assert flaw(spec_conn, "exec", cmd="true", max_output=(64 << 20) + 1) == ("too_large", "max_output")
    with spec_guestd.client(max_frame=8192) as c:
        assert error(c, "exec", cmd="true", max_output=100000).code == "too_large"
        r = c.call("exec", **sh("head -c 100000 /dev/zero | tr '\\0' x"))  # an absent one is lowered to fit
        assert r["truncated"] and 0 < len(r["stdout"]) < 8192 and r["stdout_bytes"] == 100000


def test_what_the_child_gets(spec_conn, spec_dir):
    r = spec_conn.call("exec", **sh('echo $$; cat /proc/$$/stat; umask; readlink /proc/self/fd/0'))
    pid, st, umask, stdin = r["stdout"].splitlines()
    st = st.rpartition(")")[2].split()
    assert int(pid) == r["pid"] == int(st[2]) == int(st[3])  # leads its process group and session
    assert (umask, stdin) == ("0022", "/dev/null")
    fds = spec_conn.call("exec", cmd="ls", args=["/proc/self/fd"])["stdout"].split()
    assert fds == ["0", "1", "2", "3"]  # 3 is that folder
    assert spec_conn.call("exec", cmd="cat", args=["/proc/self/oom_score_adj"])["stdout"] == "0\n"
    for params, privs in ({}, "0"), (dict(no_new_privs=True), "1"):
        status = spec_conn.call("exec", cmd="cat", args=["/proc/self/status"], **params)["stdout"]
        assert f"NoNewPrivs:\t{privs}\n" in status
    data = bytes(range(256)) * 1000
    assert spec_conn.call("exec", cmd="cat", stdin=data, encoding="raw")["stdout"] == data
    assert spec_conn.call("exec", cmd="pwd", cwd=str(spec_dir))["stdout"] == f"{spec_dir}\n"
    raw = spec_conn.call("exec", cmd="printf", args=["%s.%s", b"\xff\xfe", "é"], encoding="raw")
    assert raw["stdout"] == b"\xff\xfe.\xc3\xa9"
    assert spec_conn.call("exec", cmd="echo", args=["$HOME", "*"])["stdout"] == "$HOME *\n"  # no shell


def test_the_environment(spec_conn, spec_dir):
    def env(**params):
        out = spec_conn.call("exec", cmd="env", args=["-0"], encoding="raw", **params)["stdout"]
        return dict(line.split(b"=", 1) for line in out.split(b"\0") if line)
    e = env()
    assert e[b"SPEC_SEEN"] == b"seen" and b"GUESTD_SPEC" not in e
    assert (e[b"USER"], e[b"LOGNAME"], e[b"HOME"]) == (b"root", b"root", b"/root") and e[b"SHELL"] and e[b"PATH"]
    e = env(envs={"A": "1", b"B\xff": b"\xfe", "HOME": "/elsewhere", "SPEC_SEEN": None, "NOT_THERE": None})
    assert (e[b"A"], e[b"B\xff"], e[b"HOME"]) == (b"1", b"\xfe", b"/elsewhere") and b"SPEC_SEEN" not in e
    greet = spec_dir / "greet"
    greet.write_text("#!/bin/sh\necho hello\n")
    greet.chmod(0o755)
    assert spec_conn.call("exec", cmd="greet", envs={"PATH": f"/nowhere:{spec_dir}"})["stdout"] == "hello\n"
    assert spec_conn.call("exec", cmd="./greet", cwd=str(spec_dir))["stdout"] == "hello\n"


@pytest.mark.parametrize("user, expected", [("nobody", "65534 65534"), ("65534", "65534 65534"), ("4242", "4242 4242"),
                                            ("nobody:root", "65534 0"), ("7:4343", "7 4343"), (None, "0 0")])
def test_users(spec_conn, user, expected):
    assert spec_conn.call("exec", user=user, **sh("echo $(id -u) $(id -g)"))["stdout"] == expected + "\n"


def test_typed_errors_of_exec(spec_conn, spec_dir):
    def script(name, text, mode=0o755):
        (spec_dir / name).write_text(text)
        (spec_dir / name).chmod(mode)
        return str(spec_dir / name)
    shut = spec_dir / "shut"
    shut.mkdir(0o700)
    assert flaw(spec_conn, "exec", cmd="no-such-program-here") == ("not_found", "cmd")
    assert flaw(spec_conn, "exec", cmd="/no/such/program") == ("not_found", "cmd")
    assert flaw(spec_conn, "exec", cmd=script("orphan", "#!/no/such/interpreter\n")) == ("not_found", "cmd")
    assert flaw(spec_conn, "exec", cmd=script("plain", "#!/bin/sh\n", 0o644)) == ("permission_denied", "cmd")
    assert flaw(spec_conn, "exec", cmd=str(spec_dir)) == ("permission_denied", "cmd")
    assert flaw(spec_conn, "exec", cmd=script("text", "neither ELF nor #!\n")) == ("wrong_type", "cmd")
    assert flaw(spec_conn, "exec", cmd="/etc/passwd/x") == ("wrong_type", "cmd")  # ENOTDIR
    assert flaw(spec_conn, "exec", cmd="true", cwd="/no/such") == ("not_found", "cwd")
    assert flaw(spec_conn, "exec", cmd="true", cwd=script("file", "")) == ("wrong_type", "cwd")
    assert flaw(spec_conn, "exec", cmd="true", cwd=str(shut), user="nobody") == ("permission_denied", "cwd")
    assert flaw(spec_conn, "exec", cmd="true", user="no-such-user") == ("not_found", "user")
    assert flaw(spec_conn, "exec", cmd="true", user="root:no-such-group") == ("not_found", "user")
    assert flaw(spec_conn, "exec", cmd="true", args=["x" * 200000]) == ("too_large", "args")


def test_a_leader_leaves_its_descendants_alone_unless_kill_rest(spec_conn):
    r = spec_conn.call("exec", **sh("sleep 1000 & echo $!"))
    pid = int(r["stdout"])
    try:
        assert r["pipes_open"] and r["descendants"] == 1 and r["killed_descendants"] == 0 and alive(pid)
        assert r["duration_ms"] < 10000
    finally:
        os.kill(pid, signal.SIGKILL)
    r = spec_conn.call("exec", **sh("sleep 1000 & echo $!", kill_rest=True))
    assert r["reason"] == "exited" and r["exit_code"] == 0
    eventually(lambda: not alive(int(r["stdout"])))


def test_a_timeout_kills_the_whole_tree(spec_conn):
    script = "setsid sh -c 'sleep 1000 & echo $!; wait' & (sleep 1000 & echo $!) & wait; wait"
    r = spec_conn.call("exec", **sh(script, timeout=1))
    pids = [int(line) for line in r["stdout"].split()]
    assert r["reason"] == "timed_out" and len(pids) == 2
    assert r["killed_descendants"] >= 2 and not any(map(alive, pids))


def test_seccomp_profiles(spec_guestd):
    with spec_guestd.connect() as c:
        for profile in c.hello()["capabilities"]["seccomp"]:
            assert c.call("exec", cmd="echo", args=["x"], seccomp=profile)["stdout"] == "x\n"


@pytest.mark.parametrize("params", [
    dict(stream=True, background=True), dict(stream=True, overflow="tail"), dict(window=5),
    dict(window=5, background=True), dict(on_full="block"), dict(on_full="block", background=True),
    dict(on_full="drop"),
])
def test_fields_that_do_not_go_with_the_kind_of_exec(spec_conn, params):
    assert error(spec_conn, "exec", cmd="true", **params).code == "invalid_request"
