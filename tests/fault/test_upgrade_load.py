"""Ten upgrades under load, of the agent alone and of both: upgrade.py's short form."""

import pytest

import upgrade
import server


@pytest.mark.parametrize("supervisor", [False, True], ids=["agent", "both"])
def test_only_connections_are_lost(tmp_path, supervisor):
    guestd = server.Guestd()
    try:
        _, told = upgrade.drive(10, supervisor, guestd, tmp_path)
    finally:
        guestd.stop()
    print(told)
