"""readers.py's short form: 64 MiB a stream."""

import pytest

import readers
import server

SIZE = 64 << 20


@pytest.mark.parametrize("opened", [True, False], ids=["opened", "in the background"])
def test_every_byte_or_an_exact_gap(opened):
    guestd = server.Shared()
    try:
        quick, slow, reconnecting = readers.drive(guestd, SIZE, opened)
        guestd.unharmed()
    finally:
        guestd.stop()
    assert slow.missed("stdout") > 0, "it was not slow enough to miss anything"
    assert reconnecting.connections > 1
