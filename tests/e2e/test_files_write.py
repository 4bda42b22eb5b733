"""file.write: in one frame and streamed, atomic or in place, checked, and what is left of one that broke off."""

import hashlib
import os
import socket
import stat

import pytest

from expect import ENTRY, fails, has_shape
from guestproto import ConnectionLost
from raw import Raw
from until import until

pytestmark = [pytest.mark.valgrind, pytest.mark.fallback]

KIB, MIB = 1 << 10, 1 << 20


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def only(folder, *names):
    """Nothing else is in the folder: no temporary file was left."""
    assert sorted(os.listdir(folder)) == sorted(names)


# ── what is written ──

def test_entry_and_bytes_come_back(client, folder):
    path = folder / "new"
    result = client.call("file.write", path=str(path), data=b"hello\n")
    assert set(result) == {"entry", "bytes"} and result["bytes"] == 6
    has_shape(result["entry"], ENTRY)
    expected = {"name": "new", "path": str(path), "type": "file", "size": 6, "mode": 0o644, "permissions": "-rw-r--r--",
                "owner": "root", "group": "root", "symlink_target": None}
    assert {key: result["entry"][key] for key in expected} == expected
    assert path.read_bytes() == b"hello\n"
    only(folder, "new")


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), "ünï", b"x" * MIB])
def test_any_bytes(client, folder, data):
    client.call("file.write", path=str(folder / "f"), data=data)
    assert (folder / "f").read_bytes() == (data.encode() if isinstance(data, str) else data)


@pytest.mark.parametrize("size", [0, 1, 256 * KIB, 256 * KIB + 1, 8 * MIB + 3])
def test_streamed(client, folder, size):
    data = os.urandom(size)
    chunks = [data[at:at + 100000] for at in range(0, size, 100000)]
    entry = client.files.upload_stream(str(folder / "f"), chunks, size=size, sha256=hashlib.sha256(data).hexdigest())
    assert entry.size == size and (folder / "f").read_bytes() == data
    only(folder, "f")


def test_credit_comes_as_bytes_reach_the_disk(client, guestd, folder):
    credit = client.hello()["limits"]["stream_credit"]
    with Raw(guestd) as raw:
        raw.request(1, "file.write", {"path": str(folder / "f"), "stream": True})
        sent = given = 0
        while sent < 4 * MIB:
            raw.send([2, "stream.data", {"id": 1, "data": b"x" * (credit // 2)}])
            sent += credit // 2
            while given + credit - sent < credit // 2:
                kind, method, params = raw.recv()
                assert (kind, method, params["id"]) == (2, "stream.credit", 1) and params["bytes"] > 0
                given += params["bytes"]
                assert credit + given - sent <= 2 * MIB, "what is under way is bounded"
        raw.send([2, "stream.end", {"id": 1}])
        assert raw.answer(1)[3]["bytes"] == sent
    assert (folder / "f").stat().st_size == sent


def test_the_final_name_appears_only_at_the_end(client, guestd, folder):
    (folder / "f").write_bytes(b"old")
    request = client.start("file.write", path=str(folder / "f"), stream=True)
    request.send(b"new " * MIB)  # more than the first credit: some of it is on the disk by now
    assert (folder / "f").read_bytes() == b"old"
    request.end()
    request.result(20)
    assert (folder / "f").read_bytes() == b"new " * MIB
    only(folder, "f")


# ── mode, owner, place ──

def test_mode_is_exact_for_a_new_file_and_kept_for_an_old_one(client, folder):
    client.files.write(str(folder / "a"), b"x", mode=0o777)
    assert mode(folder / "a") == 0o777
    client.files.write(str(folder / "b"), b"x", mode=0o4711)
    assert mode(folder / "b") == 0o4711
    (folder / "c").write_bytes(b"old")
    (folder / "c").chmod(0o640)
    client.files.write(str(folder / "c"), b"new")
    assert (mode(folder / "c"), (folder / "c").read_bytes()) == (0o640, b"new")
    client.files.write(str(folder / "c"), b"new", mode=0o600)
    assert mode(folder / "c") == 0o600


def test_owner_and_group_of_an_existing_file_are_kept(client, folder, as_root):
    (folder / "f").write_bytes(b"old")
    os.chown(folder / "f", 1234, 4321)
    entry = client.files.write(str(folder / "f"), b"new")
    assert ((folder / "f").stat().st_uid, (folder / "f").stat().st_gid) == (1234, 4321)
    assert (entry.owner, entry.group) == ("1234", "4321")


def test_a_final_symlink_is_followed(client, folder):
    (folder / "real").write_bytes(b"old")
    (folder / "link").symlink_to("real")
    client.files.write(str(folder / "link"), b"new")
    assert (folder / "real").read_bytes() == b"new" and (folder / "link").is_symlink()
    (folder / "dangling").symlink_to("made")
    client.files.write(str(folder / "dangling"), b"born")
    assert (folder / "made").read_bytes() == b"born"
    only(folder, "real", "link", "dangling", "made")


def test_hard_links_and_readers_keep_the_old_file(client, folder):
    (folder / "f").write_bytes(b"old")
    with open(folder / "f", "rb") as reader:
        client.files.write(str(folder / "f"), b"new!")
        assert reader.read() == b"old"
    assert (folder / "f").read_bytes() == b"new!"


def test_create_parents(client, folder):
    path = folder / "a/b/c"
    with fails("not_found", errno=2):
        client.files.write(str(path), b"x")
    assert not (folder / "a").exists()
    client.files.write(str(path), b"x", create_parents=True)
    assert path.read_bytes() == b"x" and mode(folder / "a/b") == 0o755
    client.files.write(str(path), b"y", create_parents=True)
    assert path.read_bytes() == b"y"


def test_as_a_user(client, folder, as_root):
    (folder / "theirs").mkdir()
    os.chown(folder / "theirs", 1234, 4321)
    client.files.write(str(folder / "theirs/d/f"), b"x", user="1234:4321", create_parents=True)
    for name in ("theirs/d", "theirs/d/f"):
        assert ((folder / name).stat().st_uid, (folder / name).stat().st_gid) == (1234, 4321)
    with fails("permission_denied", errno=13):
        client.files.write(str(folder / "f"), b"x", user="1234:4321")
    only(folder, "theirs")
    client.files.write(str(folder / "f"), b"x")  # its own rights are back
    assert (folder / "f").stat().st_uid == 0


def test_a_user_who_may_not_write_a_file_may_not_replace_it(client, folder, as_root):
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    (folder / "open/roots").write_bytes(b"kept")
    with fails("permission_denied", errno=13):
        client.files.write(str(folder / "open/roots"), b"x", user="1234:4321")
    assert (folder / "open/roots").read_bytes() == b"kept"
    only(folder / "open", "roots")


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "directory"])
def test_what_is_no_file_is_never_replaced(client, folder, kind, as_root):

    path = folder / "it"
    with socket.socket(socket.AF_UNIX) as sock:
        {"fifo": lambda: os.mkfifo(path), "directory": path.mkdir, "socket": lambda: sock.bind(str(path)),
         "device": lambda: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))}[kind]()
        before = path.lstat()
        with fails("wrong_type"):
            client.files.write(str(path), b"x")
        with fails("wrong_type"):
            client.files.upload_stream(str(path), [b"x"] * 10)
        assert path.lstat().st_ino == before.st_ino


# ── checks ──

def test_size_and_sha256_are_checked_before_it_is_there(client, folder):
    (folder / "f").write_bytes(b"old")
    wrong = hashlib.sha256(b"other").hexdigest()
    for params, field in (({"size": 2}, "size"), ({"size": 4}, "size"), ({"sha256": wrong}, "sha256")):
        with fails("invalid_request", field=field):
            client.files.write(str(folder / "f"), b"new", **params)
        with fails("invalid_request", field=field):
            client.files.upload_stream(str(folder / "f"), [b"n", b"ew"], **params)
    assert (folder / "f").read_bytes() == b"old"
    only(folder, "f")
    client.files.write(str(folder / "f"), b"new", size=3, sha256=hashlib.sha256(b"new").hexdigest().upper())
    assert (folder / "f").read_bytes() == b"new"


def test_more_than_the_size_that_was_said_ends_early(client, folder):
    with fails("invalid_request", field="size"):
        client.files.upload_stream(str(folder / "f"), iter(lambda: b"x" * MIB, None), size=10)
    only(folder)


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63, "0" * 65])
def test_a_sha256_that_is_none(client, folder, text):
    with fails("invalid_request", field="sha256"):
        client.files.write(str(folder / "f"), b"x", sha256=text)


# ── in place ──

def test_append(client, folder):
    client.files.write(str(folder / "log"), b"one\n", append=True)
    client.files.write(str(folder / "log"), b"two\n", append=True)
    client.files.upload_stream(str(folder / "log"), [b"th", b"ree\n"], append=True)
    assert (folder / "log").read_bytes() == b"one\ntwo\nthree\n"


def test_resume_by_offset(client, guestd, folder):
    (folder / "f").write_bytes(b"0123456789")
    inode = (folder / "f").stat().st_ino
    client.files.write(str(folder / "f"), b"ab", off=4)
    assert (folder / "f").read_bytes() == b"0123ab6789"
    client.files.upload_stream(str(folder / "f"), [b"XY", b"Z"], off=10)
    assert (folder / "f").read_bytes() == b"0123ab6789XYZ"
    assert (folder / "f").stat().st_ino == inode


@pytest.mark.parametrize("place", [{"append": True}, {"off": 0}])
def test_in_place_excludes_what_only_atomic_can(client, folder, place):
    with fails("invalid_request"):
        client.files.write(str(folder / "f"), b"x", sha256=hashlib.sha256(b"x").hexdigest(), **place)
    with fails("invalid_request"):
        client.files.write(str(folder / "f"), b"x", atomic=True, **place)
    only(folder)


def test_append_and_off_exclude_each_other(client, folder):
    with fails("invalid_request"):
        client.files.write(str(folder / "f"), b"x", append=True, off=0)


def test_where_rename_cannot_be_it_is_in_place(client, start, folder, own_mounts):
    (folder / "f").write_bytes(b"old old")
    guestd = start(mounts="mount --bind {0}/f {0}/f".format(folder))
    with guestd.connect() as inside:
        with fails("busy"):
            inside.files.write(str(folder / "f"), b"no", atomic=True)
        inside.files.write(str(folder / "f"), b"new")
    assert (folder / "f").read_bytes() == b"new"
    only(folder, "f")


def test_a_file_of_proc(client):
    before = open("/proc/sys/kernel/domainname").read()
    client.files.write("/proc/sys/kernel/domainname", before)
    assert open("/proc/sys/kernel/domainname").read() == before


# ── what breaks off ──

@pytest.mark.parametrize("old", [b"old", None])
def test_a_client_that_vanishes_leaves_the_old_file_and_no_litter(guestd, client, folder, old):
    if old:
        (folder / "f").write_bytes(old)
    with Raw(guestd) as raw:
        raw.request(1, "file.write", {"path": str(folder / "f"), "stream": True})
        raw.send([2, "stream.data", {"id": 1, "data": b"x" * 200000}])
        while raw.recv()[1] != "stream.credit":  # some of it is on the disk
            pass
    client.ping()
    until(lambda: os.listdir(folder) == (["f"] if old else []), "no litter is left")
    assert not old or (folder / "f").read_bytes() == old


def test_a_cancelled_upload(client, folder):
    (folder / "f").write_bytes(b"old")
    request = client.start("file.write", path=str(folder / "f"), stream=True)
    request.send(b"x" * MIB)
    request.cancel()
    with fails("cancelled"):
        request.result(20)
    assert (folder / "f").read_bytes() == b"old"
    only(folder, "f")


def test_stream_and_data_exclude_each_other(client, folder):
    with fails("invalid_request"):
        client.call("file.write", path=str(folder / "f"), data=b"x", stream=True)
    with fails("invalid_request", field="data"):
        client.call("file.write", path=str(folder / "f"))


def test_a_full_disk(start, folder, own_mounts):
    disk = folder / "disk"
    disk.mkdir()
    guestd = start(mounts="mount -t tmpfs -o size=1m none %s" % disk)
    with guestd.connect() as client:
        client.files.write("%s/f" % disk, b"old")
        with fails("no_space", errno=28):
            client.files.upload_stream("%s/f" % disk, [b"x" * 65536] * 64)
        with fails("no_space", errno=28):
            client.call("file.write", path="%s/g" % disk, data=b"x" * (MIB + 1000))
        assert client.files.read("%s/f" % disk) == b"old"
        assert [entry.name for entry in client.files.list(str(disk))] == ["f"]
        client.files.write("%s/f" % disk, b"new")


@pytest.mark.parametrize("path, code, errno", [
    ("relative", "invalid_request", None), ("", "invalid_request", None), ("/a\0b", "invalid_request", None),
    ("/" + "x" * 4096, "invalid_request", None), ("/no/such/folder/f", "not_found", 2),
    ("/etc/passwd/f", "wrong_type", 20), ("/etc", "wrong_type", None), ("/", "wrong_type", None),
    ("/tmp/" + "x" * 256, "invalid_request", 36), (7, "invalid_request", None), (None, "invalid_request", None)])
def test_a_path_that_cannot_be(client, path, code, errno):
    with fails(code) as caught:
        client.call("file.write", path=path, data=b"x")
    assert errno is None or caught.value.errno == errno
    if code == "invalid_request" and errno is None:
        assert caught.value.field == "path"


def test_symlinks_that_go_in_circles(client, folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with fails("wrong_type", errno=40):
        client.files.write(str(folder / "a"), b"x")


def test_a_name_that_is_no_utf8(client, folder):
    path = os.fsencode(folder) + b"/\xff\xfe"
    entry = client.files.write(path, b"x")
    assert (entry.name, entry.path) == (b"\xff\xfe", path)
    assert client.files.read(path) == b"x"


def test_uploads_side_by_side_do_not_mix(client, folder):
    requests = [client.start("file.write", path=str(folder / str(n)), stream=True) for n in range(10)]
    for _ in range(20):
        for n, request in enumerate(requests):
            request.send(b"%d" % n * 10000)
    for request in requests:
        request.end()
    for n, request in enumerate(requests):
        assert request.result(20)["bytes"] == 200000
        assert (folder / str(n)).read_bytes() == b"%d" % n * 200000


def test_the_loss_is_told_to_who_waits(guestd, folder):
    client = guestd.connect()
    request = client.start("file.write", path=str(folder / "f"), stream=True)
    client.close()
    with pytest.raises(ConnectionLost):
        request.result(20)
