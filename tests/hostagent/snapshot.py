"""What a host agent does at a snapshot and after it, beyond stopping the machine: guestd is told.

Before: it flushes what must survive and takes no new work. After: its clock is set, its random state stirred (two machines
from one snapshot would draw the same numbers), and it takes work again. Where the agent knows these methods.
"""

import os
import time

from hostagent.threads import call


def _knows(guest, method):
    return method in guest.hello()["capabilities"]["methods"]


async def prepare(guest):
    if _knows(guest, "prepare_snapshot"):
        await call(guest.call, "prepare_snapshot")


async def resumed(guest):
    if _knows(guest, "resume"):
        generation = guest.hello()["generation"] + 1
        await call(guest.call, "resume", generation=generation, time_unix_ns=time.time_ns(), entropy=os.urandom(64))
