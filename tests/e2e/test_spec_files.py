"""Files: §10 of PROTOCOL.md, asked with the client of its text alone."""

import hashlib
import os
import pathlib
import socket
import stat

import pytest

import spec_client as sc
from spec_rig import spec_conn, spec_dir, spec_guestd, spec_start  # noqa: F401 (fixtures)
from spec_rig import ENTRY, NOBODY, error, eventually, flaw, has, lost


def test_write_in_one_frame(spec_conn, spec_dir):
    path = spec_dir / "f"
    r = spec_conn.call("file.write", path=str(path), data=b"\0one\xff")
    has(r["entry"], dict(ENTRY, symlink_target=type(None)))
    assert r["bytes"] == 5 and r["entry"]["permissions"] == "-rw-r--r--" and path.read_bytes() == b"\0one\xff"
    assert (r["entry"]["name"], r["entry"]["path"], r["entry"]["size"]) == ("f", str(path), 5)
    os.chown(path, 7, 8)
    os.chmod(path, 0o640)
    e = spec_conn.call("file.write", path=str(path), data="str is bytes too", fsync=True)["entry"]
    st = path.stat()
    assert (st.st_uid, st.st_gid, e["mode"], stat.S_IMODE(st.st_mode)) == (7, 8, 0o640, 0o640)  # kept
    assert spec_conn.call("file.write", path=str(path), data=b"", mode=0o4751)["entry"]["permissions"] == "-rwsr-x--x"
    old = path.open("rb")
    spec_conn.call("file.write", path=str(path), data=b"new")
    assert old.read() == b"" and path.read_bytes() == b"new"  # readers see one of them whole
    old.close()
    inode = path.stat().st_ino
    spec_conn.call("file.write", path=str(path), data=b"in place", atomic=False)
    assert path.stat().st_ino == inode and path.read_bytes() == b"in place"
    (spec_dir / "link").symlink_to("f")
    spec_conn.call("file.write", path=str(spec_dir / "link"), data=b"through")
    assert (spec_dir / "link").is_symlink() and path.read_bytes() == b"through"
    digest = hashlib.sha256(b"hello").hexdigest().upper()
    assert spec_conn.call("file.write", path=str(path), data=b"hello", sha256=digest)["bytes"] == 5
    e = spec_conn.call("file.write", path=f"{spec_dir}/a//b/c", data=b"", create_parents=True)["entry"]
    assert e["path"] == str(spec_dir / "a/b/c") and stat.S_IMODE((spec_dir / "a/b").stat().st_mode) == 0o755
    spec_conn.call("file.write", path=os.fsencode(spec_dir) + b"/\xff", data=b"")
    assert os.path.exists(os.fsencode(spec_dir) + b"/\xff")


def test_write_in_pieces(spec_conn, spec_dir):
    path = spec_dir / "f"
    for params, content in ((dict(data=b"0123"), b"0123"), (dict(data=b"45", append=True), b"012345"),
                            (dict(data=b"ab", off=1), b"0ab345"), (dict(data=b"yz", off=6), b"0ab345yz")):
        assert spec_conn.call("file.write", path=str(path), **params)["bytes"] == len(params["data"])
        assert path.read_bytes() == content
    inode = path.stat().st_ino
    up = spec_conn.start("file.write", path=str(path), stream=True, off=8)
    up.upload(b"more")
    up.end()
    assert up.wait()["entry"]["size"] == 12 and path.stat().st_ino == inode
    assert flaw(spec_conn, "file.write", path=str(path), data=b"x", off=13) == ("invalid_request", "off")
    for params in (dict(append=True, off=0), dict(append=True, sha256="0" * 64), dict(off=0, atomic=True)):
        assert error(spec_conn, "file.write", path=str(path), data=b"", **params).code == "invalid_request"
    assert path.read_bytes() == b"0ab345yzmore"


def test_typed_errors_of_write(spec_conn, spec_dir):
    def write(path=spec_dir / "f", **params):
        e = error(spec_conn, "file.write", path=str(path), **{"data": b"x", **params})
        return e.code, e.field, e.errno
    (spec_dir / "old").write_text("old")
    os.mkfifo(spec_dir / "fifo")
    assert write("relative")[:2] == ("invalid_request", "path")
    assert write(spec_dir / ("x" * 256)) == ("invalid_request", "path", 36)
    assert write(spec_dir / "no/such") == ("not_found", "path", 2)
    assert write(spec_dir) == ("wrong_type", "path", 21)
    assert write(spec_dir / "fifo")[:2] == ("wrong_type", "path")
    assert write(spec_dir / "old/f") == ("wrong_type", "path", 20)
    assert write(user="nobody") == ("permission_denied", "path", 13)
    assert write(user="no-such-user")[:2] == ("not_found", "user")
    assert write(mode=4096)[:2] == ("invalid_request", "mode")
    assert write(size=2)[:2] == ("invalid_request", "size")
    assert write(sha256=hashlib.sha256(b"y").hexdigest())[:2] == ("invalid_request", "sha256")
    assert write(sha256="xyz")[:2] == ("invalid_request", "sha256")
    assert write(data=None)[0] == write(stream=True)[0] == write(data=b"", stream=True)[0] == "invalid_request"
    os.chmod(spec_dir, 0o777)  # the folder would let nobody replace it, the file itself doesn't let them write
    assert write(spec_dir / "old", user="nobody")[:2] == ("permission_denied", "path")
    os.chmod(spec_dir, 0o755)
    assert sorted(os.listdir(spec_dir)) == ["fifo", "old"] and (spec_dir / "old").read_text() == "old"


def test_files_belong_to_the_user_they_are_made_for(spec_conn, spec_dir):
    spec_dir.chmod(0o777)
    e = spec_conn.call("file.write", path=str(spec_dir / "a/f"), data=b"", create_parents=True, user="nobody")["entry"]
    assert e["owner"] == "nobody" and {(spec_dir / n).stat().st_uid for n in ("a", "a/f")} == {NOBODY}
    assert spec_conn.call("file.mkdir", path=str(spec_dir / "b/c/d"), user="4242:4343")["entry"]["owner"] == "4242"
    owners = [(st.st_uid, st.st_gid) for st in map(os.stat, (spec_dir / "b", spec_dir / "b/c", spec_dir / "b/c/d"))]
    assert owners == [(4242, 4343)] * 3


def test_a_streamed_upload_with_its_digest(spec_conn, spec_dir):
    path, data = spec_dir / "f", os.urandom(3 << 20)
    path.write_text("old")
    up = spec_conn.start("file.write", path=str(path), stream=True, size=len(data), mode=0o600,
                         sha256=hashlib.sha256(data).hexdigest())
    up.upload(data)
    assert path.read_text() == "old"
    spec_conn.call("ping")
    up.end()
    r = up.wait()
    assert r["bytes"] == r["entry"]["size"] == len(data) and r["entry"]["mode"] == 0o600 and path.read_bytes() == data


@pytest.mark.parametrize("how", ["lost", "cancel", "sha256", "size", "longer", "protocol"])
def test_a_broken_upload_leaves_the_old_file_and_no_litter(spec_guestd, spec_conn, spec_dir, how):
    path, sent = spec_dir / "f", b"x" * 500000
    path.write_text("old")
    params = {"sha256": dict(sha256="0" * 64), "size": dict(size=500001), "longer": dict(size=499999)}.get(how, {})
    with spec_guestd.client() as c:
        up = c.start("file.write", path=str(path), stream=True, **params)
        up.upload(sent)
        if how == "cancel":
            up.cancel()
        elif how == "protocol":
            c.send([3])
            assert lost(c) == "invalid_request"
        elif how != "lost":
            up.end()
        if how not in ("lost", "protocol"):
            with pytest.raises(sc.AgentError) as e:
                up.wait()
            field = {"cancel": None, "longer": "size"}.get(how, how)
            assert (e.value.code, e.value.field) == ("cancelled" if how == "cancel" else "invalid_request", field)
            c.call("ping")
    eventually(lambda: os.listdir(spec_dir) == ["f"])
    assert path.read_text() == "old"


def test_an_upload_may_fail_before_its_end(spec_conn, spec_dir):
    up = spec_conn.start("file.write", path=str(spec_dir), stream=True)
    with pytest.raises(sc.AgentError) as e:
        up.wait()
    assert (e.value.code, e.value.field) == ("wrong_type", "path")
    spec_conn.send([2, "stream.data", {"id": up.id, "data": b"under way"}])
    up.end()
    spec_conn.call("ping")


def test_read(spec_guestd, spec_conn, spec_dir):
    path, data = spec_dir / "f", os.urandom(2 << 20)
    path.write_bytes(data)

    def read(c=spec_conn, **params):
        r = c.call("file.read", path=str(path), **params)
        has(r, dict(data=bytes, size=int, off=int, eof=bool))
        return r["data"], r["size"], r["off"], r["eof"]
    size = len(data)
    assert read() == (data[:1 << 20], size, 0, False)
    assert read(off=5, len=3) == (data[5:8], size, 5, False)
    assert read(off=5, len=0) == (b"", size, 5, False)
    assert read(off=1 << 20, len=1 << 20) == (data[1 << 20:], size, 1 << 20, True)
    assert read(off=size - 2, len=100) == (data[-2:], size, size - 2, True)
    got, _, _, eof = read(off=size + 5)
    assert (got, eof) == (b"", True)
    assert flaw(spec_conn, "file.read", path=str(path), len=(1 << 20) + 1) == ("too_large", "len")
    with spec_guestd.client(max_frame=4096) as c:
        got, _, off, eof = read(c, off=10, len=100000)
        assert 0 < len(got) < 4096 and data[10:].startswith(got) and (off, eof) == (10, False)
    os.mkfifo(spec_dir / "fifo")
    (spec_dir / "loop").symlink_to("loop")
    for name, code, errno in (("", "wrong_type", None), ("fifo", "wrong_type", None), ("loop", "wrong_type", 40),
                              ("no", "not_found", 2)):
        e = error(spec_conn, "file.read", path=str(spec_dir / name))
        assert (e.code, e.field) == (code, "path") and errno in (None, e.errno), name
    path.chmod(0o600)
    assert flaw(spec_conn, "file.read", path=str(path), user="nobody") == ("permission_denied", "path")


@pytest.mark.parametrize("params", [{}, dict(window=1000), dict(off=12345), dict(len=1500000),
                                    dict(off=12345, len=5, window=1)])
def test_a_streamed_read(spec_conn, spec_dir, params):
    path, data = spec_dir / "f", os.urandom(2000000 if "window" not in params else 100000)
    path.write_bytes(data)
    call = spec_conn.start("file.read", path=str(path), stream=True, **params)
    r = call.wait()
    off = params.get("off", 0)
    expected = data[off:off + params.get("len", len(data))]
    assert call.data["file"] == expected and call.ends == {"file": off + len(expected)}
    assert (r["size"], r["off"], r["eof"]) == (len(data), off + len(expected), off + len(expected) == len(data))
    assert "data" not in r


@pytest.fixture
def spec_tree(spec_dir):
    for name in ("b/deep/er", "a"):
        (spec_dir / name).mkdir(parents=True)
    for name in ("b/deep/er/x", "b/B", "b/a", "Z", "é"):
        (spec_dir / name).write_text("content")
    (spec_dir / "b.c").symlink_to("b")
    pathlib.Path(os.fsdecode(os.fsencode(spec_dir) + b"/\xfe")).touch()
    return spec_dir


def test_list(spec_guestd, spec_conn, spec_tree):
    def names(entries, root=spec_tree):
        paths = [p.encode() if type(p) is str else p for p in (e["path"] for e in entries)]
        return [os.path.relpath(p, os.fsencode(root)) for p in paths]

    def ls(path=spec_tree, **params):
        r = spec_conn.call("file.list", path=str(path), **params)
        return names(r["entries"]), r["truncated"]
    level1 = [b"Z", b"a", b"b", b"b.c", "é".encode(), b"\xfe"]
    level2 = [b"Z", b"a", b"b", b"b/B", b"b/a", b"b/deep", b"b.c", "é".encode(), b"\xfe"]
    all_levels = level2[:6] + [b"b/deep/er", b"b/deep/er/x"] + level2[6:]
    assert ls() == (level1, False)
    assert ls(depth=2) == (level2, False)
    assert ls(depth=99) == (all_levels, False)
    assert ls(depth=0) == ([b"."], False)
    assert ls(depth=2, limit=4) == (level2[:4], True)
    assert ls(depth=2, limit=9) == (level2, False)
    entries = spec_conn.call("file.list", path=str(spec_tree))["entries"]
    for e in entries[:-1]:
        has(e, ENTRY)
    assert entries[-1]["name"] == b"\xfe" and type(entries[-1]["path"]) is bytes
    assert [e["type"] for e in entries] == ["file", "directory", "directory", "symlink", "file", "file"]
    assert [e["symlink_target"] for e in entries] == [None, None, None, "b", None, None]
    assert ls(spec_tree / "b.c", depth=0)[1] is False
    through = spec_conn.call("file.list", path=str(spec_tree / "b.c"))["entries"]
    assert [e["name"] for e in through] == ["B", "a", "deep"]
    assert flaw(spec_conn, "file.list", path=str(spec_tree / "Z")) == ("wrong_type", "path")
    assert ls(spec_tree / "Z", depth=0) == ([b"Z"], False)
    assert flaw(spec_conn, "file.list", path=str(spec_tree), limit=0) == ("invalid_request", "limit")
    assert flaw(spec_conn, "file.list", path=str(spec_tree), depth=-1) == ("invalid_request", "depth")
    assert flaw(spec_conn, "file.list", path=str(spec_tree / "no")) == ("not_found", "path")
    (spec_tree / "b").chmod(0o700)  # listed, without what is in it
    assert ls(depth=99, user="nobody") == ([name for name in all_levels if not name.startswith(b"b/")], False)
    for i in range(100):
        (spec_tree / f"a/{i:03}").touch()
    with spec_guestd.client(max_frame=4096) as c:
        r = c.call("file.list", path=str(spec_tree / "a"))
        assert r["truncated"] is True and 5 < len(r["entries"]) < 100
        assert [e["name"] for e in r["entries"]] == [f"{i:03}" for i in range(len(r["entries"]))]


def test_a_streamed_list_comes_in_batches(spec_dir, spec_start):
    for i in range(25):
        (spec_dir / f"{i:03}").touch()
    with spec_start("--list-batch", 10).client() as c:
        for limit, expected in ((None, 25), (12, 12)):
            call = c.start("file.list", path=str(spec_dir), stream=True, limit=limit)
            r = call.wait()
            assert r["truncated"] is (limit is not None) and "entries" not in r
            assert all(e["event"] == "entries" and len(e["entries"]) <= 10 for e in call.events)
            assert [x["name"] for e in call.events for x in e["entries"]] == [f"{i:03}" for i in range(expected)]


def test_stat(spec_conn, spec_dir):
    def entry(path, **params):
        return spec_conn.call("file.stat", path=str(path), **params)["entry"]
    (spec_dir / "f").write_text("12345")
    os.utime(spec_dir / "f", (1, 1234567890.75))
    os.chown(spec_dir / "f", 0, 54321)
    (spec_dir / "f").chmod(0o2754)
    (spec_dir / "link").symlink_to("f")
    (spec_dir / "dangling").symlink_to("nowhere")
    os.mkfifo(spec_dir / "fifo")
    e = entry(spec_dir / "f")
    has(e, dict(ENTRY, symlink_target=type(None)))
    assert (e["type"], e["size"], e["mode"], e["permissions"]) == ("file", 5, 0o2754, "-rwxr-sr--")
    assert (e["owner"], e["group"], e["modified_at"]) == ("root", "54321", 1234567890)
    e = entry(spec_dir / "link")
    assert (e["name"], e["type"], e["symlink_target"], e["permissions"]) == ("link", "symlink", "f", "lrwxrwxrwx")
    assert entry(spec_dir / "link", follow=True)["type"] == "file"
    assert entry(spec_dir / "dangling")["symlink_target"] == "nowhere"
    e = error(spec_conn, "file.stat", path=str(spec_dir / "dangling"), follow=True)
    assert (e.code, e.field, e.errno) == ("not_found", "path", 2)
    assert entry(spec_dir / "fifo")["type"] == "fifo" and entry("/dev/null")["type"] == "char_device"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(spec_dir / "socket"))
        assert entry(spec_dir / "socket")["type"] == "socket"
    assert (entry("/")["name"], entry("/")["path"], entry("/")["type"]) == ("/", "/", "directory")
    assert entry(f"{spec_dir}///f")["path"] == entry(f"/{spec_dir}/f//")["path"] == str(spec_dir / "f")
    assert flaw(spec_conn, "file.stat", path="f") == flaw(spec_conn, "file.stat") == ("invalid_request", "path")


def test_mkdir(spec_conn, spec_dir):
    def mkdir(path, **params):
        r = spec_conn.call("file.mkdir", path=str(path), **params)
        return r["created"], r["entry"]["type"], r["entry"]["mode"]
    assert mkdir(spec_dir / "a/b/c", mode=0o1770) == (True, "directory", 0o1770)
    assert stat.S_IMODE((spec_dir / "a/b").stat().st_mode) == 0o755
    assert mkdir(spec_dir / "d", parents=False) == (True, "directory", 0o755)
    assert mkdir(spec_dir / "a/b/c", mode=0o700)[0] is False
    assert stat.S_IMODE((spec_dir / "a/b/c").stat().st_mode) == 0o1770  # left as it is
    (spec_dir / "link").symlink_to("d")
    (spec_dir / "file").touch()
    assert mkdir(spec_dir / "link")[0] is False
    assert flaw(spec_conn, "file.mkdir", path=str(spec_dir / "file")) == ("wrong_type", "path")
    assert flaw(spec_conn, "file.mkdir", path=str(spec_dir / "file/sub")) == ("wrong_type", "path")
    assert flaw(spec_conn, "file.mkdir", path=str(spec_dir / "x/y"), parents=False) == ("not_found", "path")
    assert flaw(spec_conn, "file.mkdir", path=str(spec_dir / "n"), user="nobody") == ("permission_denied", "path")


def test_remove(spec_conn, spec_tree):
    def remove(path, **params):
        return spec_conn.call("file.remove", path=str(path), **params)["removed"]
    assert remove(spec_tree / "b.c") == 1 and (spec_tree / "b").is_dir()  # the symlink itself
    (spec_tree / "b/out").symlink_to(spec_tree / "a")
    assert remove(spec_tree / "b") == 7 and (spec_tree / "a").is_dir()
    assert flaw(spec_conn, "file.remove", path=str(spec_tree / "b")) == ("not_found", "path")
    assert remove(spec_tree / "b", missing_ok=True) == 0
    assert flaw(spec_conn, "file.remove", path=f"{spec_tree}/a/.") == ("invalid_request", "path")
    assert flaw(spec_conn, "file.remove", path=f"{spec_tree}/a/..") == ("invalid_request", "path")
    assert flaw(spec_conn, "file.remove", path="/proc", user="nobody") == ("permission_denied", "path")
    (spec_tree / "a/locked").mkdir()
    (spec_tree / "a/locked/f").touch()
    for name in ("x", "y"):
        (spec_tree / "a" / name).touch()
    os.chown(spec_tree / "a", NOBODY, NOBODY)
    e = error(spec_conn, "file.remove", path=str(spec_tree / "a"), user="nobody")
    assert e.code == "permission_denied" and os.listdir(spec_tree / "a") == ["locked"]  # the rest is gone
    assert e.data["removed"] == 2 and e.data["failed"] >= 1 and e.data["path"] == str(spec_tree / "a/locked/f")
