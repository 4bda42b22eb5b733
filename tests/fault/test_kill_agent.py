"""Ten agents die under load: kill_agent.py's short form."""

import kill_agent
import server


def test_only_connections_are_lost(tmp_path):
    guestd = server.Guestd()
    try:
        waits, _ = kill_agent.drive(10, guestd, tmp_path)
    finally:
        guestd.stop()
    assert sorted(waits)[5] < 0.1 * kill_agent.SLOWER, waits
