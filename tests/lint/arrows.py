#!/usr/bin/env python3
"""Which room may include which: the arrows of guestd/ARCHITECTURE.md, checked on every #include of guestd/ and proto/.

    arrows.py [TREE]      prints each forbidden include; exits 1 if there is one

An include of the project resolves in the file's own folder, in guestd/ or in the root. One that resolves nowhere is
forbidden too, or a renamed header would silently leave its room.
"""

import pathlib
import re
import sys

# Room → what it may include of the project: folders, or single headers. Its own folder always.
PROJECT = {
    "proto": [],
    "proto/client": ["proto"],
    "proto/client/sha256.c": ["proto"],
    "guestd": ["supervisor", "agent", "sandbox", "proto/address.h", "proto/limits.h", "link.h", "options.h",
               "sockets.h", "version.h"],  # main.c and its halves
    "guestd/link.h": [],
    "guestd/version.h": [],
    "guestd/supervisor": ["capsule", "link.h", "version.h"],
    "guestd/agent": ["proto", "link.h", "version.h", "ops/op.h"],
    "guestd/agent/dispatch.c": ["proto", "link.h", "ops/op.h", "ops/ops.h"],
    "guestd/agent/sweep.c": ["link.h", "proto", "files/litter.h"],
    "guestd/ops": ["agent/call.h", "agent/job.h", "agent/agent.h", "agent/outlet.h", "agent/inlet.h", "files", "capsule",
                   "sandbox", "proto", "version.h"],
    "guestd/files": [],
    "guestd/capsule": [],
    "guestd/sandbox": [],
}

# Library header → the rooms that may see it.
LIBRARIES = {
    r"uv\.h": {"guestd/agent", "guestd/agent/sweep.c", "guestd/agent/dispatch.c", "guestd/ops"},
    r"msgpack.*": {"proto", "proto/client", "guestd/agent", "guestd/agent/dispatch.c", "guestd/ops"},
    r"seccomp\.h": {"guestd/sandbox"},
    r"sha2\.h|md5\.h": {"guestd/files", "guestd/ops", "proto/client/sha256.c"},
}

# Headers that meson makes → the one room, or file, that may see them.
GENERATED = {
    "ops/ops_table.h": "guestd/ops/ops.c",
    "program_agent.h": "guestd/sandbox",
    "program_default.h": "guestd/sandbox",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    """The most special row of PROJECT for a file."""
    for candidate in (path, *path.parents):
        if candidate.as_posix() in PROJECT:
            return candidate.as_posix()
    return None


def resolve(tree, file, name):
    """The included file relative to the tree, or None."""
    for folder in (file.parent, pathlib.Path("guestd"), pathlib.Path()):
        target = (tree / folder / name).resolve()
        if target.is_file() and tree.resolve() in target.parents:
            return target.relative_to(tree.resolve())
    return None


def spelled(path):
    """As PROJECT spells it: guestd/ is left out."""
    text = path.as_posix()
    return text[len("guestd/"):] if text.startswith("guestd/") else text


def allowed(room, file, target):
    home = pathlib.Path(room).parent if room.endswith((".c", ".h")) else pathlib.Path(room)
    if target.parent in (home, file.parent):
        # main.c's own folder holds the rooms: only what the row names.
        return room != "guestd" or spelled(target) in PROJECT[room]
    return any(spelled(target) == arrow or spelled(target.parent) == arrow for arrow in PROJECT[room])


def check(tree):
    """Yields a line for each include that no arrow allows."""
    tree = pathlib.Path(tree)
    for top in ("guestd", "proto"):
        for path in sorted((tree / top).rglob("*.[ch]")):
            file = path.relative_to(tree)
            room = room_of(file)
            if room is None:
                yield "%s: in no room" % file
                continue
            for mark, name in INCLUDE.findall(path.read_text()):
                if mark == "<":
                    for pattern, rooms in LIBRARIES.items():
                        if re.fullmatch(pattern, name) and room not in rooms:
                            yield "%s: <%s> is not for %s" % (file, name, room)
                elif name in GENERATED:
                    if GENERATED[name] not in (room, file.as_posix()):
                        yield "%s: \"%s\" is not for %s" % (file, name, room)
                else:
                    target = resolve(tree, file, name)
                    if target is None:
                        yield "%s: \"%s\" is nowhere" % (file, name)
                    elif not allowed(room, file, target):
                        yield "%s: %s may not include %s" % (file, room, target)


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parents[2]
    wrong = list(check(sys.argv[1] if len(sys.argv) > 1 else default))
    print("\n".join(wrong), end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
