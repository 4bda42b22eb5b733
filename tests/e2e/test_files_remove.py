"""file.remove: like rm -rf --one-file-system --preserve-root, and safe while the tree changes."""

import os
import threading

import pytest

from expect import fails

pytestmark = pytest.mark.valgrind


def test_remove_counts_every_entry(client, folder):
    (folder / "t/a/b").mkdir(parents=True)
    (folder / "t/a/f").write_bytes(b"")
    (folder / "t/link").symlink_to("/etc")
    os.mkfifo(folder / "t/fifo")
    assert client.call("file.remove", path=str(folder / "t")) == {"removed": 6}
    assert os.listdir(folder) == []
    (folder / "f").write_bytes(b"")
    assert client.files.remove(str(folder / "f")) == 1


def test_a_symlink_is_removed_and_never_followed(client, folder):
    (folder / "kept").mkdir()
    (folder / "kept/f").write_bytes(b"")
    (folder / "link").symlink_to("kept")
    assert client.files.remove(str(folder / "link")) == 1
    (folder / "t").mkdir()
    (folder / "t/link").symlink_to("../kept")
    assert client.files.remove(str(folder / "t")) == 2
    assert (folder / "kept/f").exists()


def test_a_missing_path(client, folder):
    with fails("not_found", errno=2):
        client.files.remove(str(folder / "no"))
    assert client.files.remove(str(folder / "no"), missing_ok=True) == 0
    with fails("not_found"):
        client.files.remove(str(folder / "no/way"))
    assert client.files.remove(str(folder / "no/way"), missing_ok=True) == 0


@pytest.mark.parametrize("path", ["/", "//", "/proc", "/sys"])
def test_the_root_and_mount_points_are_refused(client, path):
    with fails("permission_denied"):
        client.files.remove(path)


@pytest.mark.parametrize("path", ["rel", "", "/a\0b", "/" + "x" * 5000])
def test_a_path_that_cannot_be(client, path):
    with fails("invalid_request", field="path"):
        client.files.remove(path)


def test_a_mount_inside_stays_and_is_told(start, folder, own_mounts):
    (folder / "t/mnt").mkdir(parents=True)
    (folder / "t/other").write_bytes(b"")
    guestd = start(mounts="mount -t tmpfs none {0}/t/mnt; touch {0}/t/mnt/kept".format(folder))
    with guestd.connect() as client:
        with fails("permission_denied") as caught:
            client.files.remove(str(folder / "t"))
        data = caught.value.data
        assert set(data) == {"removed", "failed", "path"}
        assert (data["removed"], data["path"]) == (1, str(folder / "t/mnt")) and data["failed"] >= 1
        assert client.files.exists("%s/t/mnt/kept" % folder)
        assert not client.files.exists("%s/t/other" % folder)
        with fails("permission_denied"):
            client.files.remove(str(folder / "t/mnt"))


def test_deep_and_wide_trees(client, folder):
    """A tree deeper than PATH_MAX and than any stack of open directories."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("down", dir_fd=at)
        below = os.open("down", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    assert client.files.remove(str(folder / "down")) == 3000
    (folder / "wide").mkdir()
    for n in range(20000):
        os.close(os.open(folder / "wide" / str(n), os.O_CREAT | os.O_WRONLY))
    assert client.files.remove(str(folder / "wide")) == 20001
    assert os.listdir(folder) == []


def test_names_that_are_no_utf8(client, folder):
    os.mkdir(os.fsencode(folder) + b"/\xff")
    open(os.fsencode(folder) + b"/\xff/\xfe", "w").close()
    assert client.files.remove(os.fsencode(folder) + b"/\xff") == 2


def test_nothing_of_the_rest_is_lost_while_a_directory_is_swapped_for_a_link(client, folder):
    """Somebody swaps a directory and a symlink to a precious one while the tree goes: the precious one stays whole."""
    (folder / "precious").mkdir()
    for n in range(50):
        (folder / "precious" / str(n)).write_bytes(b"")
    over = threading.Event()

    def swap():
        while not over.is_set():
            try:
                os.rename(folder / "t/d", folder / "d")
                os.symlink(folder / "precious", folder / "t/d")
                os.unlink(folder / "t/d")
                os.rename(folder / "d", folder / "t/d")
            except OSError:
                pass

    for _ in range(20):
        (folder / "t/d").mkdir(parents=True, exist_ok=True)
        for n in range(50):
            (folder / "t/d" / str(n)).write_bytes(b"")
        over.clear()
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            client.files.remove(str(folder / "t"), missing_ok=True)
        except Exception:
            pass  # what came anew may be in the way; what matters is below
        finally:
            over.set()
            thread.join()
        assert len(os.listdir(folder / "precious")) == 50
        client.files.remove(str(folder / "t"), missing_ok=True)
        client.files.remove(str(folder / "d"), missing_ok=True)


def test_a_huge_tree_delays_no_ping_and_can_be_cancelled(client, folder):
    for n in range(40):
        (folder / "t" / str(n)).mkdir(parents=True)
        for m in range(500):
            os.close(os.open(folder / "t" / str(n) / str(m), os.O_CREAT | os.O_WRONLY))
    request = client.start("file.remove", path=str(folder / "t"))
    client.ping()
    request.cancel()
    try:
        assert request.result(20)["removed"] == 20041
    except Exception as error:
        assert error.code == "cancelled"
        left = sum(len(files) + len(folders) for _, folders, files in os.walk(folder / "t"))
        client.ping()
        assert left == sum(len(files) + len(folders) for _, folders, files in os.walk(folder / "t")), "it goes on"


def test_as_a_user(client, folder, as_root):
    (folder / "t").mkdir()
    (folder / "t/f").write_bytes(b"")
    with fails("permission_denied", errno=13):
        client.call("file.remove", path=str(folder / "t"), user="1234:4321")
    assert (folder / "t/f").exists()
    os.chown(folder / "t", 1234, 4321)
    (folder / "t").chmod(0o755)
    with fails("permission_denied") as caught:
        client.call("file.remove", path=str(folder / "t"), user="1234:4321")
    assert caught.value.data["removed"] == 1 and caught.value.data["path"] == str(folder / "t")
