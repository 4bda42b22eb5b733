"""Each curl of the public HTTP API that a host agent serves, as the guestd operation that it passes through to: the
answer has the page's fields, with its names and types. The shapes are written down here."""

import re
import subprocess
import sys

import pytest

from expect import fails

pytestmark = pytest.mark.valgrind

EXEC_200 = {"stdout": str, "stderr": str, "exit_code": int, "duration_ms": int, "encoding": str}
EXEC_202 = {"pid": int, "tag": str}
FILE_ENTRY = {"name": str, "path": str, "type": str, "size": int, "permissions": str, "owner": str, "group": str,
              "modified_at": int, "symlink_target": type(None)}


def page(answer, shape):
    """The part of an answer that the page shows, each field typed as there."""
    assert {name: type(answer[name]) for name in shape} == shape
    return {name: answer[name] for name in shape}


# ── exec ──

def test_exec_foreground(client):
    """-d '{"cmd": "python", "args": ["-c", "print(\\"hello\\")"]}'"""
    answer = page(client.call("exec", cmd=sys.executable, args=["-c", "print(\"hello\")"]), EXEC_200)
    assert answer.pop("duration_ms") >= 0
    assert answer == {"stdout": "hello\n", "stderr": "", "exit_code": 0, "encoding": "utf-8"}


def test_exec_background(client, folder):
    """-d '{"cmd": "python", "args": ["-u", "server.py"], "background": true, "envs": {"PORT": "8080"}, "cwd": …}'"""
    (folder / "server.py").write_text("import os, signal\nprint(os.environ['PORT'], os.getcwd())\nsignal.pause()\n")
    answer = client.call("exec", cmd=sys.executable, args=["-u", "server.py"], background=True, envs={"PORT": "8080"},
                         cwd=str(folder))
    assert page(answer, EXEC_202) == answer
    assert re.fullmatch("bg-[0-9a-f]{8}", answer["tag"])
    client.call("process.kill", tag=answer["tag"])
    result = client.call("process.wait", tag=answer["tag"], output=True)
    assert result["stdout"] in ("", "8080 %s\n" % folder)


def test_exec_binary_output_and_timeout(client):
    answer = page(client.call("exec", cmd="printf", args=["\\377\\000"]), EXEC_200)
    assert (answer["stdout"], answer["encoding"]) == ("/wA=", "base64")
    answer = page(client.call("exec", cmd="sleep", args=["60"], timeout=1), EXEC_200)
    assert answer["exit_code"] == 124 and 1000 <= answer["duration_ms"] < 30000
    assert client.call("exec", cmd="sleep", args=["0.1"], timeout=0)["exit_code"] == 0


def test_exec_sdk(client):
    """capsule.commands.run("python -c 'print(\\"hello\\")'"), and the same in the background."""
    result = client.commands.run("%s -c 'print(\"hello\")'" % sys.executable)
    assert (result.stdout, result.exit_code) == ("hello\n", 0)
    handle = client.commands.run("sleep 60", background=True)
    assert type(handle.pid) is int and handle.tag.startswith("bg-")
    handle.kill()


# ── files/write ──

def test_files_write(client, folder):
    """-F "path=/app/main.py" -F "file=@./main.py": 204, the parent must exist"""
    client.call("file.write", path=str(folder / "main.py"), data=b"print('hello world')")
    assert (folder / "main.py").read_bytes() == b"print('hello world')"
    with fails("not_found"):
        client.call("file.write", path=str(folder / "app/main.py"), data=b"")


def test_files_stream_write(client, folder):
    """-F "path=/data/large-dataset.csv" -F "file=@./large-dataset.csv", not buffered"""
    def chunks():
        for n in range(200):
            yield b"%d,value\n" % n * 6000
    client.files.upload_stream(str(folder / "large-dataset.csv"), chunks())
    assert (folder / "large-dataset.csv").read_bytes() == b"".join(chunks())


def test_files_write_sdk(client, folder):
    client.files.write(str(folder / "main.py"), "print('hello world')")
    assert (folder / "main.py").read_text() == "print('hello world')"


# ── files/mkdir, files/remove ──

def test_files_mkdir(client, folder):
    """-d '{"path": "/app/data"}'"""
    entry = page(client.call("file.mkdir", path=str(folder / "app/data"))["entry"], FILE_ENTRY)
    assert (entry["name"], entry["path"], entry["type"], entry["permissions"]) == (
        "data", str(folder / "app/data"), "directory", "drwxr-xr-x")
    assert entry["modified_at"] == int((folder / "app/data").stat().st_mtime)
    client.files.make_dir(str(folder / "app/data"))


def test_files_remove(client, folder):
    """-d '{"path": "/app/old"}': a file or a whole tree; 404 where there is nothing"""
    (folder / "old/deep").mkdir(parents=True)
    client.call("file.remove", path=str(folder / "old"))
    assert not (folder / "old").exists()
    with fails("not_found"):
        client.call("file.remove", path=str(folder / "old"))
    (folder / "old-script.py").touch()
    client.files.remove(str(folder / "old-script.py"))
    assert list(folder.iterdir()) == []


# ── files/list ──

def test_files_list(client, folder):
    """-d '{"path": "/home/user", "depth": 1}'"""
    (folder / "main.py").write_bytes(b"x" * 1024)
    (folder / "data").mkdir()
    entries = client.call("file.list", path=str(folder), depth=1)["entries"]
    data, main = (page(entry, FILE_ENTRY) for entry in entries)
    assert (main["name"], main["path"], main["type"], main["size"], main["permissions"]) == (
        "main.py", str(folder / "main.py"), "file", 1024, "-rw-r--r--")
    assert (data["name"], data["type"], data["permissions"]) == ("data", "directory", "drwxr-xr-x")
    owner = subprocess.run(["stat", "-c", "%U %G", str(folder)], stdout=subprocess.PIPE, text=True).stdout.split()
    assert [main["owner"], main["group"]] == owner
    itself = client.call("file.list", path=str(folder), depth=0)["entries"]
    assert [entry["path"] for entry in itself] == [str(folder)]
    with fails("not_found"):
        client.call("file.list", path="/home/no-such-user")


def test_files_list_sdk(client, folder):
    (folder / "config.json").touch()
    assert [(entry.name, entry.type, entry.size) for entry in client.files.list(str(folder), depth=1)] == [
        ("config.json", "file", 0)]
    assert client.files.exists(str(folder / "config.json"))
    assert not client.files.exists(str(folder / "other.json"))
