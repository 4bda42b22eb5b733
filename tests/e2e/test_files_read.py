"""file.read, file.stat, file.list and file.mkdir: what is there, told as it is."""

import os
import socket
import stat

import pytest

from expect import ENTRY, fails, is_shape
from guestproto import Client, Connection, Data, Event, GuestError, open_address

pytestmark = pytest.mark.valgrind

MIB = 1 << 20


# ── read ──

def test_read_tells_data_size_off_and_eof(client, folder):
    (folder / "f").write_bytes(b"0123456789")
    path = str(folder / "f")
    assert client.call("file.read", path=path) == {"data": b"0123456789", "size": 10, "off": 0, "eof": True}
    assert client.call("file.read", path=path, off=3, len=4) == {"data": b"3456", "size": 10, "off": 3, "eof": False}
    assert client.call("file.read", path=path, off=6, len=4)["eof"] is True
    assert client.call("file.read", path=path, off=10) == {"data": b"", "size": 10, "off": 10, "eof": True}
    assert client.call("file.read", path=path, off=99)["data"] == b""
    assert client.call("file.read", path=path, len=0) == {"data": b"", "size": 10, "off": 0, "eof": False}


def test_read_takes_at_most_one_mib_unless_streamed(client, folder):
    data = os.urandom(3 * MIB + 5)
    (folder / "f").write_bytes(data)
    result = client.call("file.read", path=str(folder / "f"))
    assert (result["data"], result["eof"], result["size"]) == (data[:MIB], False, len(data))
    with fails("too_large", field="len"):
        client.call("file.read", path=str(folder / "f"), len=MIB + 1)
    assert client.files.read(str(folder / "f")) == data


def test_read_streamed_counts_its_offsets(client, folder):
    data = os.urandom(2 * MIB)
    (folder / "f").write_bytes(data)
    request = client.start("file.read", path=str(folder / "f"), stream=True, off=1000, len=MIB, window=50000)
    at = 1000
    for item in request:
        if isinstance(item, Data):
            assert (item.ch, item.off) == ("file", at)
            assert item.data == data[at:at + len(item.data)]
            at += len(item.data)
    assert request.result() == {"size": len(data), "off": 1000 + MIB, "eof": False}


def test_read_streamed_with_window_zero(client, folder):
    (folder / "f").write_bytes(b"hello")
    request = client.start("file.read", path=str(folder / "f"), stream=True, window=0, auto_credit=False)
    client.ping()
    assert not request.done
    request.credit(5)
    assert [item.data for item in request if isinstance(item, Data)] == [b"hello"]
    assert request.result()["eof"] is True


def test_a_file_of_proc_has_no_size_and_is_read_to_its_end(client):
    assert client.files.read("/proc/self/status").startswith(b"Name:")


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket", "/dev/zero", "/dev/null"])
def test_read_of_what_is_no_file(client, folder, kind):
    path = kind if kind.startswith("/") else str(folder / "it")
    with socket.socket(socket.AF_UNIX) as sock:
        {"directory": lambda: os.mkdir(path), "fifo": lambda: os.mkfifo(path),
         "socket": lambda: sock.bind(path)}.get(kind, lambda: None)()
        with fails("wrong_type"):
            client.call("file.read", path=path)
        with fails("wrong_type"):
            client.files.read(path)


@pytest.mark.parametrize("params, code, field", [
    ({"path": "/no/such"}, "not_found", None), ({"path": "rel"}, "invalid_request", "path"),
    ({}, "invalid_request", "path"), ({"path": "/etc/passwd", "off": -1}, "invalid_request", "off"),
    ({"path": "/etc/passwd", "len": -1}, "invalid_request", "len"),
    ({"path": "/etc/passwd", "off": "1"}, "invalid_request", "off"),
    ({"path": "/etc/passwd/x"}, "wrong_type", None)])
def test_a_read_that_cannot_be(client, params, code, field):
    with fails(code) as caught:
        client.call("file.read", **params)
    assert field is None or caught.value.field == field


def test_a_cancelled_download(client, folder):
    (folder / "f").write_bytes(bytes(8 * MIB))
    request = client.start("file.read", path=str(folder / "f"), stream=True, window=1000, auto_credit=False)
    request.next(20)
    request.cancel()
    with fails("cancelled"):
        request.result(20)


# ── stat ──

def test_stat_tells_every_type(client, folder, as_root):
    (folder / "file").write_bytes(b"12345")
    (folder / "file").chmod(0o4751)
    (folder / "directory").mkdir()
    (folder / "directory").chmod(0o1777)
    (folder / "symlink").symlink_to("file")
    os.mkfifo(folder / "fifo", 0o600)
    os.mknod(folder / "char_device", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.mknod(folder / "block_device", stat.S_IFBLK | 0o660, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "socket"))
        for name in ("file", "directory", "symlink", "fifo", "char_device", "block_device", "socket"):
            result = client.call("file.stat", path=str(folder / name))
            assert set(result) == {"entry"}
            entry, real = result["entry"], os.lstat(folder / name)
            is_shape(entry, ENTRY)
            assert (entry["type"], entry["name"], entry["path"]) == (name, name, str(folder / name))
            assert entry["permissions"] == stat.filemode(real.st_mode)
            assert (entry["mode"], entry["size"], entry["modified_at"]) == (
                stat.S_IMODE(real.st_mode), real.st_size, int(real.st_mtime))
            assert entry["symlink_target"] == ("file" if name == "symlink" else None)


def test_stat_follows_where_asked(client, folder):
    (folder / "file").write_bytes(b"12345")
    (folder / "link").symlink_to("file")
    (folder / "dangling").symlink_to("nowhere")
    assert client.files.stat(str(folder / "link")).type == "symlink"
    followed = client.files.stat(str(folder / "link"), follow=True)
    assert (followed.type, followed.size) == ("file", 5)
    assert client.files.stat(str(folder / "dangling")).symlink_target == "nowhere"
    with fails("not_found", errno=2):
        client.files.stat(str(folder / "dangling"), follow=True)


def test_names_owners_and_times(client, folder, as_root):
    (folder / "f").write_bytes(b"")
    os.chown(folder / "f", 54321, 54322)
    os.utime(folder / "f", (1, 1730000000))
    entry = client.files.stat(str(folder / "f"))
    assert (entry.owner, entry.group, entry.modified_at) == ("54321", "54322", 1730000000)
    root = client.files.stat("/")
    assert (root.name, root.path, root.type, root.owner) == ("/", "/", "directory", "root")


@pytest.mark.parametrize("path, clean", [("//etc///passwd", "/etc/passwd"), ("/etc/", "/etc"), ("///", "/")])
def test_slashes_are_cleaned(client, path, clean):
    assert client.files.stat(path).path == clean


def test_a_symlink_to_a_name_that_is_no_utf8(client, folder):
    os.symlink(b"\xff", os.fsencode(folder) + b"/link")
    assert client.files.stat(str(folder / "link")).symlink_target == b"\xff"


# ── list ──

@pytest.fixture
def tree(folder):
    for name in ("b/inner/deep", "a", "c"):
        (folder / name).mkdir(parents=True)
    for name in ("b/file", "b/inner/x", "B", "é", "z"):
        (folder / name).write_text(name)
    (folder / "link").symlink_to("b")
    return folder


def names(entries, folder):
    return [entry.path[len(str(folder)) + 1:] for entry in entries]


LEVEL_1 = ["B", "a", "b", "c", "link", "z", "é"]


@pytest.mark.parametrize("depth, expected", [
    (None, LEVEL_1), (1, LEVEL_1),
    (2, ["B", "a", "b", "b/file", "b/inner", "c", "link", "z", "é"]),
    (3, ["B", "a", "b", "b/file", "b/inner", "b/inner/deep", "b/inner/x", "c", "link", "z", "é"]),
    (100, ["B", "a", "b", "b/file", "b/inner", "b/inner/deep", "b/inner/x", "c", "link", "z", "é"])])
def test_list_is_preorder_with_names_by_bytes(client, tree, depth, expected):
    result = client.call("file.list", path=str(tree), depth=depth)
    assert set(result) == {"entries", "truncated"} and result["truncated"] is False
    for entry in result["entries"]:
        is_shape(entry, ENTRY)
    assert [entry["path"][len(str(tree)) + 1:] for entry in result["entries"]] == expected
    assert names(client.files.list(str(tree), depth=depth), tree) == expected


def test_depth_zero_is_the_directory_itself(client, tree):
    result = client.call("file.list", path=str(tree), depth=0)
    assert [(entry["path"], entry["type"]) for entry in result["entries"]] == [(str(tree), "directory")]


def test_a_symlink_is_followed_only_as_the_path_itself(client, tree):
    assert names(client.files.list(str(tree / "link")), tree / "link") == ["file", "inner"]
    assert "link/file" not in names(client.files.list(str(tree), depth=9), tree)


def test_list_of_a_file(client, tree):
    with fails("wrong_type"):
        client.call("file.list", path=str(tree / "z"))
    assert client.call("file.list", path=str(tree / "z"), depth=0)["entries"][0]["type"] == "file"


@pytest.mark.parametrize("params, code, field", [
    ({"path": "/no/such"}, "not_found", None), ({"path": "rel"}, "invalid_request", "path"),
    ({}, "invalid_request", "path"), ({"path": "/", "depth": -1}, "invalid_request", "depth"),
    ({"path": "/", "depth": "1"}, "invalid_request", "depth"), ({"path": "/", "limit": -1}, "invalid_request", "limit")])
def test_a_list_that_cannot_be(client, params, code, field):
    with fails(code) as caught:
        client.call("file.list", **params)
    assert field is None or caught.value.field == field


def test_limit(client, tree):
    result = client.call("file.list", path=str(tree), limit=3)
    assert ([entry["name"] for entry in result["entries"]], result["truncated"]) == (["B", "a", "b"], True)
    result = client.call("file.list", path=str(tree), limit=7)
    assert (len(result["entries"]), result["truncated"]) == (7, False)
    request = client.start("file.list", path=str(tree), limit=2, stream=True)
    assert sum(len(event.fields["entries"]) for event in request) == 2
    assert request.result()["truncated"] is True


def test_an_unlistable_name_is_listed(client, folder):
    os.mkdir(os.fsencode(folder) + b"/\xff")
    (folder / "ok").touch()
    open(os.fsencode(folder) + b"/\xff/in", "w").close()
    entries = client.files.list(str(folder), depth=2)
    assert [entry.name for entry in entries] == ["ok", b"\xff", "in"]
    assert entries[2].path == os.fsencode(folder) + b"/\xff/in"


def test_a_large_directory_streams_in_batches_and_unstreamed_fits_the_frame(client, folder):
    wanted = sorted("file-%06d-%s" % (n, "x" * 60) for n in range(20000))
    for name in wanted:
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
    request = client.start("file.list", path=str(folder), stream=True)
    batches = [event.fields["entries"] for event in request if isinstance(event, Event) and event.event == "entries"]
    assert [entry["name"] for batch in batches for entry in batch] == wanted
    assert max(map(len, batches)) <= client.hello()["limits"]["list_batch"]
    assert request.result()["truncated"] is False


def test_unstreamed_gives_what_fits_the_clients_frame(guestd, folder):
    for n in range(4000):
        os.close(os.open(folder / ("file-%06d" % n), os.O_CREAT | os.O_WRONLY))
    with Client(Connection(open_address(guestd.address), max_frame=256 << 10)) as client:
        client.greet()
        result = client.call("file.list", path=str(folder))
        assert result["truncated"] is True
        assert [entry["name"] for entry in result["entries"]] == ["file-%06d" % n for n in range(len(result["entries"]))]
        assert 100 < len(result["entries"]) < 4000
        assert len(client.files.list(str(folder))) == 4000


def test_a_cancelled_list(client):
    request = client.start("file.list", path="/", depth=50, stream=True)
    request.cancel()
    try:
        request.result(20)
    except GuestError as error:
        assert error.code == "cancelled"
    client.ping()


# ── mkdir ──

def test_mkdir_makes_what_is_missing(client, folder):
    result = client.call("file.mkdir", path=str(folder / "a/b/c"))
    assert set(result) == {"entry", "created"} and result["created"] is True
    is_shape(result["entry"], ENTRY)
    assert (result["entry"]["type"], result["entry"]["permissions"]) == ("directory", "drwxr-xr-x")
    assert (folder / "a/b/c").is_dir()
    again = client.call("file.mkdir", path=str(folder / "a/b/c"))
    assert again["created"] is False and again["entry"]["path"] == str(folder / "a/b/c")


def test_mkdir_without_parents(client, folder):
    with fails("not_found", errno=2):
        client.files.make_dir(str(folder / "a/b"), parents=False)
    assert client.call("file.mkdir", path=str(folder / "a"), parents=False)["created"] is True


def test_mkdir_mode_is_exact(client, folder):
    client.files.make_dir(str(folder / "a/b"), mode=0o2770)
    assert stat.S_IMODE((folder / "a/b").stat().st_mode) == 0o2770


def test_mkdir_every_created_component_gets_the_user(client, folder, as_root):
    os.chown(folder, 1234, 4321)
    client.files.make_dir(str(folder / "a/b/c"), user="1234:4321")
    for name in ("a", "a/b", "a/b/c"):
        assert ((folder / name).stat().st_uid, (folder / name).stat().st_gid) == (1234, 4321)


def test_mkdir_over_a_file(client, folder):
    (folder / "f").write_bytes(b"")
    with fails("wrong_type"):
        client.files.make_dir(str(folder / "f"))
    with fails("wrong_type"):
        client.files.make_dir(str(folder / "f/a"))
    with fails("wrong_type"):
        client.files.make_dir(str(folder / "f/a"), parents=False)


def test_mkdir_follows_no_symlink_below_what_it_makes(client, folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    client.files.make_dir(str(folder / "link/a"))  # a leading symlink, as the kernel does
    assert (folder / "real/a").is_dir()


def test_mkdir_where_the_user_may_not(client, folder, as_root):
    with fails("permission_denied", errno=13):
        client.files.make_dir(str(folder / "a"), user="1234:4321")


def test_exists(client, folder):
    assert client.files.exists("/etc") and client.files.exists(str(folder))
    assert not client.files.exists(str(folder / "no")) and not client.files.exists("/etc/passwd/x")
