"""A hundred agents die under load: kill_agent.py's short form."""

import kill_agent
import server


def test_only_connections_are_lost(tmp_path):
    guestd = server.Guestd()
    try:
        waits, told = kill_agent.drive(100, guestd, tmp_path)
    finally:
        guestd.stop()
    print(told)
    assert sorted(waits)[50] < kill_agent.BACK_S * kill_agent.SLOWER, waits
