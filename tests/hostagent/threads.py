"""The blocking client beside the loop: each call takes a thread for as long as it takes.

Threads are made when they are needed, and used again; a foreground exec or an open stream holds one.
"""

import asyncio
import concurrent.futures
import functools

THREADS = 1000

_pool = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="call")


async def call(function, *args, **params):
    return await asyncio.get_running_loop().run_in_executor(_pool, functools.partial(function, *args, **params))


async def items(live):
    """What a blocking stream (guestproto's LiveStream) yields. It ends with the stream."""
    while (item := await call(live.next)) is not None:
        yield item
