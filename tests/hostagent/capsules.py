"""All capsules of this host: created, listed, found, paused, resumed, destroyed; and found again by the next host agent."""

import asyncio
import secrets
import time

from aiohttp import web

from hostagent import body
from hostagent.capsule import OVER, Capsule
from hostagent.errors import ApiError
from hostagent.threads import call

OVER_KEPT = 100  # that are gone, and still answered for


class Capsules:
    """`machine`: the class of what is below a capsule."""

    def __init__(self, machine, store, templates):
        self._machine, self._store, self._templates = machine, store, templates
        self._all = {}  # id → Capsule, the oldest first

    async def take_over(self):
        for capsule_id, record in self._store.load():
            facts = record.pop("machine")
            self._all[capsule_id] = Capsule(record, self._machine(self._store.of(capsule_id), facts), self._store)
        await asyncio.gather(*(capsule.take_over() for capsule in self._all.values()))

    async def leave(self, destroy):
        await asyncio.gather(*(capsule.destroy() if destroy else capsule.leave() for capsule in self._all.values()))

    def find(self, request):
        capsule = self._all.get(request.match_info["id"])
        if capsule is None:
            raise ApiError("not_found", "there is no capsule %s" % request.match_info["id"])
        return capsule

    async def create(self, request):
        asked = await body.read_json(request)
        name = asked.get("template", "minimal")
        template = self._templates.find(name)
        record = {"id": "cl-" + secrets.token_hex(6), "status": "pending", "template": name,
                  "vcpus": body.integer(asked, "vcpus", 1, 1, 64),
                  "memory_mb": body.integer(asked, "memory_mb", 512, 64, 1 << 20),
                  "timeout_sec": body.integer(asked, "timeout_sec", 0, 0, 1 << 31),
                  "created_at": time.time(), "started_at": None, "last_active_at": None, "last_updated": time.time(),
                  "heard": False}
        capsule = Capsule(record, self._machine(self._store.of(record["id"])), self._store)
        self._all[capsule.id] = capsule
        self._forget()
        await capsule.boot(template)
        return web.json_response(capsule.tell(), status=201)

    def _forget(self):
        over = [capsule for capsule in self._all.values() if capsule.status in OVER]
        for capsule in over[:-OVER_KEPT]:
            del self._all[capsule.id]
            self._store.remove(capsule.id)

    async def list(self, request):
        """Those that are gone are found by their id, and no longer here."""
        return web.json_response([capsule.tell() for capsule in self._all.values() if capsule.status != "stopped"])


async def get(request, capsule):
    return web.json_response(capsule.tell())


async def destroy(request, capsule):
    await capsule.destroy()
    return web.Response(status=204)


async def pause(request, capsule):
    await capsule.pause()
    return web.json_response(capsule.tell())


async def resume(request, capsule):
    await capsule.resume()
    return web.json_response(capsule.tell())


async def ping(request, capsule):
    async with capsule.use() as guest:
        await call(guest.ping)
    return web.Response(status=204)
