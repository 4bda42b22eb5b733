"""The curl commands of the pages, run as they stand there by the real curl. Only the scheme, host, key and capsule are
put in their place. What a page presupposes is laid first, through the API."""

import json
import re
import time

import pages
import pytest
from until import until

if not pages.pages():
    pytest.skip("the pages of the API are not there: SHARED names the folder that has them in api/", allow_module_level=True)

PAGES = {page.name: page for page in pages.pages()}
EXAMPLES = pages.examples()
SERVER = """import os, signal
with open("/workspace/served", "w") as file:
    file.write(os.environ["PORT"] + " " + os.getcwd())
signal.pause()
"""


# ── comparing with a page ──

# What can't be the page's own value, and the shape that the page's has.
SHAPES = {
    "id": re.compile("cl-[0-9a-z]+").fullmatch,
    "tag": re.compile("bg-[0-9a-f]{8}").fullmatch,
    "pid": lambda pid: pid > 1,
    "duration_ms": lambda ms: 0 <= ms < 30000,
    "modified_at": lambda at: abs(at - time.time()) < 3600,
    "created_at": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").fullmatch,
    "last_updated": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").fullmatch,
    "status": lambda status: status in ("pending", "starting"),
}


def same(answer, example, where, given):
    """The answer has exactly the page's fields, each of its type, and its value unless SHAPES or `given` has another."""
    assert type(answer) is type(example), (where, answer)
    if isinstance(example, dict):
        assert set(answer) == set(example), where
        for name, value in example.items():
            at = "%s.%s" % (where, name)
            if name in given and not isinstance(value, (dict, list)):
                assert type(answer[name]) is type(value), (at, answer[name])
                assert answer[name] == given[name], at
            elif name == "size" and example.get("type") == "directory":
                assert type(answer[name]) is int and answer[name] > 0, at  # the file system's own matter
            elif name in SHAPES:
                assert type(answer[name]) is type(value), (at, answer[name])
                assert SHAPES[name](answer[name]), (at, answer[name])
            else:
                same(answer[name], value, at, given)
    elif isinstance(example, list):
        # The pages show no order; guestd's is by name.
        by_name = [{entry["name"]: entry for entry in entries} for entries in (answer, example)]
        assert set(by_name[0]) == set(by_name[1]), where
        for name in by_name[1]:
            same(by_name[0][name], by_name[1][name], "%s[%s]" % (where, name), given)
    else:
        assert answer == example, where


def test_every_curl_of_the_pages_is_found():
    for page in PAGES.values():
        mentioned = re.findall(r"curl [^\n]*(?:\\\n[^\n]*)*?/v1/\S+", page.text)
        assert len([e for e in EXAMPLES if e.page == page.name]) == len(mentioned) > 0, page.name
        assert page.errors, page.name


# ── what each presupposes, and what it leaves ──

def lay(example, capsule, folder):
    """Returns the values that the page's answer can't know."""
    given = {}
    if example.path == "exec":
        capsule.write("/workspace/server.py", SERVER.encode())
    elif example.path == "files/list":
        capsule.write("/home/user/main.py", b"#" * 1023 + b"\n")
        capsule.post("files/mkdir", {"path": "/home/user/data"})
        capsule.sh("chown user:user /home/user/main.py /home/user/data")
    elif example.path == "files/mkdir":
        capsule.sh("rm -rf /app/data")
        # The page's capsule has a user as its default; the SDK's text says that ours has root.
        given["owner"], given["group"] = capsule.sh("id -un; id -gn").split()
    elif example.path == "files/remove":
        capsule.post("files/mkdir", {"path": "/app/old/deep/deeper"})
        capsule.write("/app/old/deep/file", b"old")
    elif example.path.endswith("write"):
        local = example.request["file"].lstrip("@")
        content = b"print('hello')\n" if local.endswith(".py") else b"%d,row\n" % time.time_ns() * (1 << 20)
        (folder / local).write_bytes(content)
    return given


def left(example, capsule, folder, body):
    """What the command did, seen by another way than its answer."""
    if example.path == "exec" and example.status == 202:
        until(lambda: capsule.sh("cat /workspace/served 2>/dev/null; true"), "server.py runs")
        assert capsule.read("/workspace/served") == b"8080 /workspace"
        [process] = [p for p in capsule.get("processes")["processes"] if p["tag"] == body["tag"]]
        assert process == {"pid": body["pid"], "tag": body["tag"], "cmd": "python", "args": ["-u", "server.py"]}
        assert capsule.ask("DELETE", "processes/%s" % body["tag"]).status == 204
    elif example.path == "files/mkdir":
        assert capsule.sh("stat -c '%F %a' /app/data") == "directory 755"
    elif example.path == "files/remove":
        assert capsule.sh("test -e /app/old && echo there || echo gone") == "gone"
    elif example.path.endswith("write"):
        local = folder / example.request["file"].lstrip("@")
        assert capsule.read(example.request["path"]) == local.read_bytes()
        assert capsule.sh("stat -c '%%U %%a' %s" % example.request["path"]) == "root 644"


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.path != "capsules"], ids=lambda e: e.name)
def test_a_page_s_curl(curl, python, example):
    given = lay(example, python, curl.folder)
    status, body = curl(example, python.id)
    assert status == example.status, body
    if example.body is None:
        assert body == b"" and "content-type" not in curl.head
    else:
        assert "content-type: application/json" in curl.head
        body = json.loads(body)
        same(body, example.body, example.name, given)
    left(example, python, curl.folder, body)


def test_capsules_are_created_by_the_page_s_curl(curl, api):
    [example] = [e for e in EXAMPLES if e.path == "capsules"]
    status, body = curl(example)
    assert status == example.status, body
    capsule = json.loads(body)
    same(capsule, example.body, example.name, {})
    for name in capsule:
        assert name in example.fields, "the page describes it"
    running = api.running(capsule["id"]).get()
    # Those that were null are now of the type that the page describes.
    assert SHAPES["created_at"](running["started_at"]) and running["created_at"] == capsule["created_at"]
    assert running["started_at"] >= running["created_at"] and running["last_updated"] >= running["started_at"]
    assert {name: running[name] for name in example.request} == example.request
    assert set(running) == set(capsule)
    api.destroy(capsule["id"])
    assert api.get("/capsules/" + capsule["id"])["status"] == "stopped"


def test_create_s_defaults_are_the_page_s(api):
    """Everything is optional: the body too."""
    [page] = [page for page in PAGES.values() if page.name == "capsule-create"]
    defaults = {name: json.loads(value) for name, value in
                re.findall(r"^(\w+)\n\w+\ndefault:(\".*\")$", page.text, re.MULTILINE)}
    assert set(defaults) == {"template", "vcpus", "memory_mb", "timeout_sec"}
    capsule = api.post("/capsules", None, 201)
    assert {name: str(capsule[name]) for name in defaults} == defaults
    api.destroy(capsule["id"])
