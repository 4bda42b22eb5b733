"""The tree keeps its own rules; and each check goes red where a rule is broken, seen on a copy."""

import pathlib
import shutil
import subprocess

import pytest

import arrows
import sizes

TREE = pathlib.Path(__file__).resolve().parents[2]


def test_arrows():
    assert list(arrows.check(TREE)) == []


def test_sizes_words_and_paths():
    assert list(sizes.check(TREE)) == []


@pytest.fixture
def copy(tmp_path):
    for top in ("guestd", "proto"):
        shutil.copytree(TREE / top, tmp_path / top)
    return tmp_path


@pytest.mark.parametrize("file, include", [
    ("proto/frame.c", '#include "link.h"'),
    ("proto/frame.c", "#include <uv.h>"),
    ("proto/frame.h", '#include "guestd/agent/call.h"'),
    ("guestd/link.h", '#include "proto/frame.h"'),
    ("guestd/ops/ping.c", '#include "agent/conn.h"'),
    ("guestd/ops/ping.c", '#include "supervisor/spawn.h"'),
    ("guestd/agent/call.h", '#include "ops_table.h"'),
    ("guestd/agent/call.h", '#include "supervisor/spawn.h"'),
    ("guestd/agent/agent.h", "#include <seccomp.h>"),
    ("guestd/files/new.h", '#include "proto/frame.h"'),
    ("guestd/files/new.h", "#include <uv.h>"),
    ("guestd/capsule/new.h", '#include "link.h"'),
    ("guestd/sandbox/new.h", '#include "agent/call.h"'),
    ("guestd/supervisor/new.h", '#include "proto/limits.h"'),
    ("guestd/supervisor/new.h", "#include <msgpack.h>"),
    ("guestd/supervisor/new.h", '#include "agent/agent.h"'),
    ("guestd/main.c", '#include "proto/message.h"'),
    ("guestd/main.c", '#include "files/path.h"'),
    ("guestd/main.c", '#include "no/such.h"'),
])
def test_an_include_turned_around_is_seen(copy, file, include):
    for header in ("agent/conn.h", "supervisor/spawn.h", "files/path.h"):  # whatever the tree calls them today
        (copy / "guestd" / header).touch()
    path = copy / file
    before = set(arrows.check(copy))
    path.write_text((path.read_text() if path.exists() else "") + "\n" + include + "\n")
    new = set(arrows.check(copy)) - before
    assert len(new) == 1 and file in new.pop()


@pytest.mark.parametrize("file, text", [
    ("guestd/long.c", "int x;\n" * 501),
    ("guestd/word.c", "/* TO" + "DO: later */\n"),
    ("tests/luck.py", "time.sle" + "ep(1)\n"),
    ("README.md", "cd /wo" + "rk/main\n"),
    ("image/blob", "\0\1"),
])
def test_what_a_stranger_would_notice_is_seen(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("fine\n")
    assert list(sizes.check(tmp_path)) == []
    path.write_text(text)
    assert [line.partition(":")[0] for line in sizes.check(tmp_path)] == [file]


@pytest.mark.skipif(not shutil.which("clang-format"), reason="clang-format is not installed")
def test_clang_format():
    files = [str(path) for path in sizes.tracked(TREE) if path.suffix in (".c", ".h")]
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=TREE, stderr=subprocess.PIPE, text=True)
    wrong = sorted({line.partition(":")[0] for line in run.stderr.splitlines() if "error:" in line})
    assert run.returncode == 0, "run clang-format -i on: " + " ".join(wrong)
