"""Templates: made by image/build.sh, named by the API."""

import os
import pathlib
import shutil
import subprocess

from hostagent.errors import ApiError

BUILD = pathlib.Path(__file__).resolve().parents[2] / "image/build.sh"
BUILT = ("minimal", "base-python")
ALIASES = {"minimal-ubuntu": "minimal"}
KINDS = {"tree": "tar", "ext4": "ext4"}  # what a kind of capsule boots from → what build.sh calls it


class Templates:
    """`kind`: "ext4", an image; "tree", the same unpacked below `folder`. `given`: a folder of templates that are there
    already, NAME/root.tar and NAME/root.ext4; otherwise they are built, or found built."""

    def __init__(self, kind, folder, given=None):
        self.kind, self.folder, self.given = kind, pathlib.Path(folder), given and pathlib.Path(given)
        self._paths = {}

    def prepare(self):
        """All of them, which may take minutes the first time."""
        for name in sorted(path.name for path in self.given.iterdir()) if self.given else BUILT:
            made = self.given / name if self.given else build(name, KINDS[self.kind])
            self._paths[name] = made / "root.ext4" if self.kind == "ext4" else self._unpack(name, made / "root.tar")

    def find(self, name):
        """Its image or tree."""
        path = self._paths.get(ALIASES.get(name, name))
        if path is None:
            raise ApiError("invalid_request", "template: there is no %r; there are %s" % (name, ", ".join(self._paths)))
        return path

    def _unpack(self, name, tar):
        """Once for each version of the archive: capsules of an older one go on on the older tree."""
        version = tar.stat()
        tree = self.folder / ("%s-%d-%d" % (name, version.st_mtime_ns, version.st_size))
        if not tree.exists():
            new = tree.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            subprocess.run(["tar", "-xpf", tar, "--numeric-owner", "-C", new], check=True)
            os.rename(new, tree)
        return tree


def build(name, kinds):
    """Runs image/build.sh, which returns at once where nothing changed; the folder that it names last."""
    run = subprocess.run(["sh", BUILD, name], env={**os.environ, "KINDS": kinds}, stdout=subprocess.PIPE, text=True,
                         check=True)
    return pathlib.Path(run.stdout.strip().splitlines()[-1])
