"""The command line, the application, and its end."""

import argparse
import asyncio
import contextlib
import logging
import os
import pathlib
import signal

from aiohttp import web

from hostagent.capsules import Capsules
from hostagent.container import Container
from hostagent.errors import errors
from hostagent.key import check_key
from hostagent.routes import routes
from hostagent.store import Store
from hostagent.templates import Templates
from hostagent.threads import call
from hostagent.vm import Vm

MACHINES = {"container": Container, "vm": Vm}
CACHE = pathlib.Path(os.environ.get("GUESTD_CACHE")
                     or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "guestd")


def options():
    parser = argparse.ArgumentParser(prog="serve", description="The reference host agent: the API of capsules over HTTP.",
                                     epilog="SIGTERM ends it and leaves its capsules running: started again with the same "
                                     "--state it finds them. SIGINT (Ctrl-C) destroys them first.")
    parser.add_argument("--port", type=int, required=True, help="to listen at; 0 takes a free one, and tells it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--key", required=True, help="what X-API-Key must be")
    parser.add_argument("--capsules", choices=sorted(MACHINES), required=True, help="what is below a capsule")
    parser.add_argument("--state", type=pathlib.Path, help="a folder for what outlives this process; otherwise in the cache, "
                        "one for each port and kind. Its path is short: sockets are in it")
    parser.add_argument("--templates", type=pathlib.Path, help="a folder of NAME/root.tar and NAME/root.ext4 to use instead "
                        "of what image/build.sh makes")
    return parser.parse_args()


async def serve(asked):
    machine = MACHINES[asked.capsules]
    state = asked.state or CACHE / "hostagent" / ("%s-%d" % (asked.capsules, asked.port))
    store = Store(state.resolve())
    templates = Templates(machine.kind, store.folder / "templates", asked.templates)
    await call(templates.prepare)
    await call(machine.prepare)
    capsules = Capsules(machine, store, templates)
    await capsules.take_over()

    app = web.Application(middlewares=[errors, check_key(asked.key)])
    app.add_routes(routes(capsules))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, asked.host, asked.port)
    await site.start()
    print("listening on http://%s:%d" % site._server.sockets[0].getsockname()[:2], flush=True)

    received = await told_to_end()
    await site.stop()
    await capsules.leave(destroy=received == signal.SIGINT)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.cleanup(), 5)


async def told_to_end():
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    received = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda number=number: (received.append(number), told.set()))
    await told.wait()
    return received[0]


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to destroy
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(serve(options()))
    logging.shutdown()
    os._exit(0)  # threads that wait for a capsule are nobody's any more
