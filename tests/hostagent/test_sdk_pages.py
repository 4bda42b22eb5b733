"""The Python of the API's pages, run by the published SDK as it stands there; what its comments say is printed is."""

import ast
import json
import re

import pytest

wrenn = pytest.importorskip("wrenn", reason="run.sh runs these with the SDK's Python")

import pages  # noqa: E402

PAGES = pages.pages()
if not PAGES:
    pytest.skip("the pages of the API are not there: SHARED names the folder that has them in api/", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def environment(host):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WRENN_API_KEY", host.key)
        patch.setenv("WRENN_BASE_URL", host.url + "/api")
        yield


def said(snippet):
    """What the comments beside its prints say: [(exact?, text)], in their order."""
    for eg, value in re.findall(r"^ *print\(.*\) +# (e\.g\. )?(.*)$", snippet, re.MULTILINE):
        yield not eg, str(json.loads(value))


# Each page's Python makes a capsule of its own and does its work in a `with`: that work is done in the shared one, where
# what it presupposes is laid.
@pytest.mark.parametrize("page", [p for p in PAGES if "with Capsule(" in pages.snippet(p)], ids=lambda p: p.name)
def test_a_page_s_python(page, python, tmp_path, monkeypatch, capsys):
    python.write("/app/old-script.py", b"")
    python.write("/app/old/deep/file", b"")
    python.write("/app/config.json", b"{}")
    python.write("/root/server.py", b"import signal\nsignal.pause()\n")
    python.write("/home/user/main.py", b"#\n")
    (tmp_path / "large-dataset.csv").write_bytes(b"1,row\n" * (1 << 18))
    monkeypatch.chdir(tmp_path)

    snippet = pages.snippet(page)
    [work] = [node for node in ast.parse(snippet).body if isinstance(node, ast.With)]
    exec(compile(ast.Module(work.body, []), page.name, "exec"),
         {"capsule": wrenn.Capsule.connect(python.id), "Capsule": wrenn.Capsule})
    printed = capsys.readouterr().out

    for exact, text in said(snippet):
        line, printed = printed[:len(text)], printed[len(text) + 1:]
        assert line == text if exact else line
    if page.name == "files-list":
        assert re.search(r"^main\.py (Type1\.)?file 2$", printed, re.MULTILINE) and printed.endswith("config found\n")
    elif page.name == "files-write":
        assert python.read("/app/main.py") == b"print('hello world')"
        assert python.read("/data/large-dataset.csv") == (tmp_path / "large-dataset.csv").read_bytes()
    elif page.name == "files-mkdir-remove":
        assert python.sh("ls -d /app/data /app/old-script.py /app/old 2>/dev/null; true") == "/app/data"
    for process in python.get("processes")["processes"]:
        python.ask("DELETE", "processes/%d" % process["pid"])


def test_the_create_page_s_python(python):
    """The published SDK has no `id` and `status` that the page prints: they are asked in its own words."""
    [page] = [p for p in PAGES if p.name == "capsule-create"]
    tree = ast.parse(pages.snippet(page))
    names = {}
    made = [node for node in tree.body if not isinstance(node, ast.Expr)]
    assert len(made) == len(tree.body) - 2
    exec(compile(ast.Module(made, []), page.name, "exec"), names)
    capsule = names["capsule"]
    try:
        (_, capsule_id), (_, status) = said(pages.snippet(page))
        assert capsule.capsule_id[:3] == capsule_id[:3] and capsule.info.status == status
        [example] = page.examples()
        assert {name: getattr(capsule.info, name) for name in example.request} == example.request
    finally:
        capsule.destroy()
