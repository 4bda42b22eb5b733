#!/usr/bin/env python3
"""What a stranger would notice in the tree: long files, unfinished words, paths of somebody's machine, binaries.

    sizes.py [TREE]      prints each; exits 1 if there is one
"""

import pathlib
import re
import subprocess
import sys

LONGEST = 500
SOURCES = (".c", ".h", ".py", ".sh")
# Spelled in pieces, so that this file does not find itself.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", r"\bXX" + r"X\b", "not " + "implemented", r"\bst" + r"ub\b"]))
# A home folder or a checkout of somebody's machine.
MACHINE = re.compile(r"/(root|home/[a-z]+)/\.[a-z]|/wo" + "rk/")
# A wait for luck: a condition is polled in tests/e2e/until.py only. (The bench waits to count what happens meanwhile.)
LUCK = re.compile(r"\b(time\.)?sleep\([1-9]|assert True$", re.MULTILINE)


def tracked(tree):
    """The tree's files as git knows them; where there is no git (an unpacked archive), all but build folders."""
    run = subprocess.run(["git", "-C", str(tree), "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if run.returncode == 0 and run.stdout:
        return [pathlib.Path(name) for name in run.stdout.decode().split("\0") if name and (tree / name).is_file()]
    return [path.relative_to(tree) for path in tree.rglob("*")
            if path.is_file() and not path.relative_to(tree).parts[0].startswith((".git", "build"))]


def check(tree):
    tree = pathlib.Path(tree)
    for file in tracked(tree):
        data = (tree / file).read_bytes()
        if b"\0" in data:
            yield "%s: binary" % file
            continue
        text = data.decode("utf-8", "replace")
        if file.suffix in SOURCES or file.name == "run":
            lines = text.count("\n")
            if lines > LONGEST:
                yield "%s: %d lines; what second idea moved in?" % (file, lines)
            for match in UNFINISHED.finditer(text):
                yield "%s: unfinished? %s" % (file, match.group())
        for match in MACHINE.finditer(text):
            yield "%s: a path of one machine: %s" % (file, match.group())
        if file.parts[0] == "tests" and file.parts[1] != "bench" and file.suffix in SOURCES:
            for match in LUCK.finditer(text):
                yield "%s: does it wait for luck? %s" % (file, match.group())


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parents[2]
    wrong = list(check(sys.argv[1] if len(sys.argv) > 1 else default))
    print("\n".join(wrong), end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
