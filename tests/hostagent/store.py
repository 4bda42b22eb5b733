"""What survives the host agent: a folder a capsule, with capsule.json in it; one host agent at a time."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil


class Store:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # who reaches a capsule's socket is root in it
        self._lock = open(self.folder / "lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another host agent has %s" % self.folder) from None

    def of(self, capsule_id):
        return self.folder / capsule_id

    def save(self, capsule_id, state):
        """Whole, or as it was before."""
        folder = self.of(capsule_id)
        folder.mkdir(exist_ok=True)
        new = folder / "capsule.json.new"
        new.write_text(json.dumps(state, indent=1))
        os.replace(new, folder / "capsule.json")

    def load(self):
        """(id, state) of each, the oldest first. A folder that holds none was never a capsule's, and goes."""
        found = []
        for folder in self.folder.glob("cl-*"):
            try:
                found.append((folder.name, json.loads((folder / "capsule.json").read_text())))
            except (FileNotFoundError, ValueError):
                self.remove(folder.name)
        return sorted(found, key=lambda pair: pair[1]["created_at"])

    def remove(self, capsule_id):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.of(capsule_id))
