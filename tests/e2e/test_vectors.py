"""The golden frames of proto/vectors, held against the Python decoder; tests/unit holds them against the C one."""

import pathlib

import pytest

from guestproto import WireError, decode_frame

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "proto/vectors"


def octets(path):
    """A vector's bytes: hex digits in lines, # begins a comment."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in path.read_text().splitlines()))


def named(pattern):
    paths = sorted(VECTORS.glob(pattern))
    assert paths, "no vectors in %s" % VECTORS
    return [pytest.param(path, id=path.name) for path in paths]


@pytest.mark.parametrize("path", named("*.ok.hex"))
def test_ok_decodes(path):
    message = decode_frame(octets(path))
    says = path.read_text().split("\n", 1)[0].split()  # "# request exec"
    assert message[0] == ["request", "response", "notification"].index(says[1])
    if len(says) > 2 and message[0] != 1:
        assert message[2 if message[0] == 0 else 1] == says[2]


@pytest.mark.parametrize("path", named("*.bad.hex"))
def test_bad_does_not(path):
    with pytest.raises(WireError):
        decode_frame(octets(path))
