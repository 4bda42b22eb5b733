"""What upgrades are tested with: guestds of other versions, built beside the one under test, and executables that
never come to serve."""

import hashlib
import pathlib

from guestproto import ConnectionLost
from server import GUESTD
from until import until

BESIDE = pathlib.Path(GUESTD).resolve().parent
NEXT = BESIDE / "guestd-next"
FOREIGN = BESIDE / "guestd-foreign"
STRANGER = BESIDE / "guestd-stranger"
HANGS = BESIDE.parent / "tests/e2e/agent-hangs"
NEXT_VERSION = "99.0.0"


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def ask(client, path, **params):
    """The request alone: what it answers, or raises, is the caller's."""
    return client.call("upgrade", path=str(path), sha256=digest(path), **params)


def outcome(guestd, before=None):
    """(state, version) of the upgrade that isn't `before` (as info told it), once an agent serves after it."""
    def concluded():
        try:
            with guestd.connect() as client:
                info = client.info()
        except (ConnectionError, EOFError, ConnectionLost):
            return None  # the old agent had accepted it
        upgrade = info["upgrade"]
        return upgrade != before and upgrade["state"] != "pending" and (upgrade["state"], info["version"])
    return until(concluded, "the upgrade is done or rolled back", 20)


def upgrade(guestd, path, **params):
    """All of it: the new version, or an AssertionError."""
    with guestd.connect() as client:
        before = client.info()["upgrade"]
        assert ask(client, path, **params) == {}
    state, version = outcome(guestd, before)
    assert state == "done", guestd.stderr()
    return version
