"""last_bytes.py's short form."""

import last_bytes
import server


def test_nothing_of_the_last_stroke_is_lost(tmp_path):
    guestd = server.Shared()
    try:
        last_bytes.drive(guestd, 1000, tmp_path)
        guestd.unharmed()
    finally:
        guestd.stop()
