"""Each error that a page lists, got from that page's own curl; and the one shape that every error has."""

import itertools
import json
import os
import pathlib
import tarfile

import curling
import pages
import pytest
import served

if not pages.pages():
    pytest.skip("the pages of the API are not there: SHARED names the folder that has them in api/", allow_module_level=True)

PAGES = {page.name: page for page in pages.pages()}
EXAMPLES = pages.examples()
CODES = {401: {"unauthorized"}, 404: {"not_found"}, 409: {"conflict", "invalid_state"}}
WRITE_MAX = 100 << 20


def listed(status, paths=None):
    """The curls of the pages whose table has that status; of these, those that end so."""
    examples = [e for e in EXAMPLES if status in PAGES[e.page].errors and (paths is None or e.path in paths)]
    return pytest.mark.parametrize("example", examples, ids=lambda e: e.name)


@pytest.fixture
def fails(curl):
    """fails(status, example, …): the page's curl is answered so, in the shape of an error. Local files are laid."""
    for example in EXAMPLES:
        if "-F" in example.words:
            (curl.folder / example.request["file"].lstrip("@")).write_bytes(b"x")

    def run(status, example, *arguments, **more):
        got, body = curl(example, *arguments, **more)
        assert got == status, body
        answer = Error(curl.head, body)
        assert answer.code in CODES[status], body
    return run


class Error:
    def __init__(self, head, body):
        assert "content-type: application/json" in head
        [(name, error)] = json.loads(body).items()
        assert name == "error" and set(error) == {"code", "message"}
        assert isinstance(error["message"], str) and error["message"]
        self.code = error["code"]


# Everything asks for the key, whether its page says so in its table or not.
@pytest.mark.parametrize("example, key", itertools.product(EXAMPLES, ["wrn_other", ""]),
                         ids=lambda v: getattr(v, "name", v or "none"))
def test_401(fails, python, example, key):
    before = python.sh("ls / /app /data | wc -l")
    fails(401, example, python.id, key=key)
    assert python.sh("ls / /app /data | wc -l") == before


@pytest.mark.parametrize("path", ["/capsules", "/capsules/cl-abc", "/capsules/cl-abc/processes", "/no/such/path"])
def test_without_any_key(api, path):
    answer = api.ask("GET", path, headers={"X-API-Key": None})
    assert (answer.status, answer.error) == (401, "unauthorized")


@listed(404)
def test_404_for_another_capsule(fails, host, example):
    fails(404, example, "cl-00000000")


@listed(404, {"files/list", "files/remove"})
def test_404_for_a_path_that_is_not_there(fails, python, example):
    python.sh("mv /home/user /home/away; rm -rf /app/old; test -e /home/away")
    try:
        fails(404, example, python.id)
    finally:
        python.sh("mv /home/away /home/user")


@pytest.fixture(scope="module")
def paused(api):
    capsule = api.create()
    assert capsule.post("pause")["status"] == "paused"
    yield capsule
    capsule.destroy()


@pytest.fixture(scope="module")
def stopped(api):
    """Destroyed while it boots: what is asked of it meanwhile, or later, finds it not running."""
    capsule = api.post("/capsules", {}, 201)
    api.destroy(capsule["id"])
    return capsule["id"]


@listed(409)
def test_409_while_it_is_paused(fails, paused, example):
    fails(409, example, paused.id)
    assert paused.get()["status"] == "paused"


@listed(409)
def test_409_once_it_is_stopped(fails, stopped, example):
    fails(409, example, stopped)


@listed(413)
def test_413_where_it_is_buffered_and_204_where_it_is_streamed(curl, python, example):
    local = curl.folder / example.request["file"].lstrip("@")
    with open(local, "wb") as file:
        file.truncate(WRITE_MAX + 1)
    status, body = curl(example, python.id)
    path = example.request["path"]
    if example.path == "files/stream/write":
        assert (status, body) == (204, b"")
        assert python.sh("stat -c %%s %s; rm %s" % (path, path)) == str(WRITE_MAX + 1)
    else:
        assert status == 413, body
        assert Error(curl.head, body).code
        with open(local, "wb") as file:
            file.truncate(WRITE_MAX)
        assert curl(example, python.id) == (204, b"")
        assert python.sh("stat -c %%s %s; rm %s" % (path, path)) == str(WRITE_MAX)


@listed(502)
def test_502_where_nothing_can_be_booted(kind, tmp_path, example):
    """A host agent that finds all but what its capsules are made with."""
    programs, templates = tmp_path / "programs", tmp_path / "templates/base-python"
    programs.mkdir()
    templates.mkdir(parents=True)
    for program in itertools.chain(*(pathlib.Path(folder).glob("*") for folder in os.environ["PATH"].split(":"))):
        if program.name not in ("unshare", "qemu-system-x86_64") and not (programs / program.name).is_symlink():
            (programs / program.name).symlink_to(program)
    tarfile.open(templates / "root.tar", "w").close()
    (templates / "root.ext4").write_bytes(b"")
    host = served.Served(kind, "--templates", templates.parent, env={**os.environ, "PATH": str(programs)})
    try:
        status, body = curling.Curl(host, tmp_path)(example)
        assert status == 502, body
        assert json.loads(body)["error"]["code"] == "agent_error"
        assert [one["status"] for one in host.api.get("/capsules")] == ["error"]
    finally:
        host.close()


def test_an_unknown_template_is_refused(api):
    answer = api.ask("POST", "/capsules", {"template": "no-such-template"})
    assert (answer.status, answer.error) == (400, "invalid_request")


@pytest.mark.parametrize("body", [{"template": 1}, {"vcpus": 0}, {"vcpus": "2"}, {"memory_mb": -1}, {"timeout_sec": -1},
                                  {"timeout_sec": True}, [], "minimal"], ids=str)
def test_a_create_that_is_wrong(api, body):
    answer = api.ask("POST", "/capsules", body)
    assert (answer.status, answer.error) == (400, "invalid_request")


@pytest.mark.parametrize("path, body", [
    ("exec", {}), ("exec", {"cmd": 1}), ("exec", {"cmd": "true", "args": "x"}), ("exec", b"{"),
    ("files/list", {}), ("files/list", {"path": "relative"}), ("files/list", {"path": "/", "depth": -1}),
    ("files/mkdir", {"path": "relative"}), ("files/remove", {"path": 1}), ("files/read", {"path": "/home"}),
    ("files/write", b"no form")], ids=str)
def test_a_request_that_is_wrong(python, path, body):
    answer = python.ask("POST", path, body)
    assert (answer.status, answer.error) == (400, "invalid_request")


def test_a_program_that_is_not_there(python):
    answer = python.ask("POST", "exec", {"cmd": "no-such-program"})
    assert (answer.status, answer.error) == (404, "not_found")
