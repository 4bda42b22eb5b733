"""One capsule: what it is, how it comes and goes, and the connection to its guestd.

    pending → starting → running ⇄ paused → stopped          and `error` for one that didn't come up, or broke

guestd's `ready` makes it `running`. What it is stands in the store at each step, so that the next host agent takes it
over wherever this one ended.
"""

import asyncio
import contextlib
import datetime
import logging
import time

from guestproto import ConnectionLost, connect

from hostagent import snapshot
from hostagent.errors import ApiError
from hostagent.ready import Ready
from hostagent.threads import call

log = logging.getLogger("hostagent")

BOOT_S = 120
CONNECT_S = 10
TIMES = ("created_at", "started_at", "last_active_at", "last_updated")
TOLD = ("id", "status", "template", "vcpus", "memory_mb", "timeout_sec", *TIMES)
OVER = ("stopped", "error")


def stamp(seconds):
    """ISO 8601, as the API writes it."""
    return seconds and datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Capsule:
    def __init__(self, record, machine, store):
        self.record = record      # the API's fields, times in unix seconds; and `heard`, whether guestd was ready
        self.machine = machine    # container.Container or vm.Vm
        self.points = []          # metrics that were asked for
        self.keyboards = {}       # a terminal's pid → its Keyboard
        self._store = store
        self._guest = None        # guestproto.Client, while it runs
        self._changing = asyncio.Lock()
        self._renewing = asyncio.Lock()
        self._used = 0            # requests under way that keep it awake
        self._tasks = {}

    # ── what it is ──

    @property
    def id(self):
        return self.record["id"]

    @property
    def status(self):
        return self.record["status"]

    def tell(self):
        """As the API tells it."""
        return {name: stamp(self.record[name]) if name in TIMES else self.record[name] for name in TOLD}

    def _move(self, status, **more):
        self.record.update(more, status=status, last_updated=time.time())
        self._save()
        log.info("%s is %s", self.id, status)

    def _save(self):
        self._store.save(self.id, {**self.record, "machine": self.machine.facts})

    def _must_be(self, status):
        if self.status != status:
            raise ApiError("invalid_state", "the capsule is %s, not %s" % (self.status, status))

    # ── up ──

    async def boot(self, template):
        """Starts it. It becomes `running` later, by itself. Raises what kept it from starting."""
        async with self._changing:
            self._move("starting")
            try:
                await call(self.machine.start, template, self.record["vcpus"], self.record["memory_mb"])
            except Exception as error:
                await self._gone("error")
                raise ApiError("agent_error", "the capsule can't be started: %s" % error) from error
            self._save()
            self._spawn("boot", self._come_up())
            self._spawn("watch", self._watch())

    def _heard(self):
        self.record["heard"] = True
        self._save()

    async def _come_up(self):
        ready = Ready(self._heard)
        try:
            await ready.listen(self.machine.ready)
            if not self.record["heard"]:
                await ready.wait(BOOT_S)
            await self._connect()
            self._runs(started_at=time.time())
        except Exception as error:
            log.error("%s never became ready: %s %s", self.id, error, self.machine.log())
            async with self._changing:
                await self._gone("error")
        finally:
            ready.close()

    async def _connect(self):
        self._guest = await call(connect, self.machine.address, timeout=CONNECT_S)

    def _runs(self, **more):
        self._move("running", **more)
        self._spawn("rest", self._rest())

    async def _watch(self):
        """It may end by itself: powered off from within, or killed."""
        await self.machine.life.ended()
        async with self._changing:
            log.info("%s ended by itself", self.id)
            await self._gone("error" if self.status == "starting" else "stopped")

    # ── used ──

    @contextlib.asynccontextmanager
    async def use(self, touch=True):
        """Its guestproto.Client, for a request: the capsule isn't paused meanwhile. `touch`: it counts as activity."""
        self._must_be("running")
        self._used += 1
        self._touch(touch)
        try:
            yield await self.guest()
        finally:
            self._used -= 1
            self._touch(touch)

    def _touch(self, touch):
        if not touch:
            return
        told = stamp(self.record["last_active_at"])
        self.record["last_active_at"] = time.time()
        if stamp(self.record["last_active_at"]) != told:  # not for each of a thousand execs
            self._save()

    async def guest(self):
        """The same where nothing has to stay awake. A connection that was lost while nobody used it is made anew."""
        self._must_be("running")
        if self._guest.connection.lost:
            async with self._renewing:
                self._must_be("running")
                await self._renew(self._guest)
        return self._guest

    async def _renew(self, guest):
        if not guest.connection.lost:
            return
        try:
            await call(guest.renew, guest.connection)
        except ConnectionLost:  # for good: another guestd may be there
            self._guest = await call(connect, self.machine.address, timeout=CONNECT_S)

    async def _rest(self):
        """Pauses it when nothing was asked of it for timeout_sec. A request under way is no idleness."""
        timeout = self.record["timeout_sec"]
        while timeout and self.status == "running":
            left = timeout - (0 if self._used else time.time() - self._last_used())
            if left > 0:
                await asyncio.sleep(left)
            elif not await self._used_from_within(timeout):
                async with self._changing:
                    if self.status == "running" and not self._used:
                        await self._pause()

    def _last_used(self):
        return max(self.record["last_active_at"] or 0, self.record["started_at"])

    async def _used_from_within(self, timeout):
        """Keys typed at a terminal count too, and what was done through another host agent: guestd knows. Asked once,
        when the time is over. By its clock, which may not be ours."""
        try:
            told = await call((await self.guest()).ping, touch=False)
        except (ApiError, OSError):
            return False
        idle = told["time_unix_ns"] / 1e9 - told["last_active_at"]
        if idle < timeout:
            self.record["last_active_at"] = time.time() - idle
        return idle < timeout

    # ── down ──

    async def pause(self):
        async with self._changing:
            self._must_be("running")
            await self._pause()

    async def _pause(self):
        self._move("pausing")
        await self._stop("rest", "watch")
        try:
            await snapshot.prepare(self._guest)
            await self._hang_up()
            await call(self.machine.pause)
        except Exception as error:
            await self._revive()
            raise ApiError("agent_error", "the capsule can't be paused: %s" % error) from error
        self._move("paused")
        if self.machine.life:
            self._spawn("watch", self._watch())

    async def _revive(self):
        """Not paused, so it had better run."""
        try:
            await call(self.machine.resume)
            await self._connect()
            self._runs()
            self._spawn("watch", self._watch())
        except Exception:
            log.exception("%s is lost", self.id)
            await self._gone("error")

    async def resume(self):
        async with self._changing:
            self._must_be("paused")
            self._move("resuming")
            await self._stop("watch")
            try:
                await self._thaw()
            except Exception as error:
                self._move("paused")
                raise ApiError("agent_error", "the capsule can't be resumed: %s" % error) from error
            self._spawn("watch", self._watch())

    async def _thaw(self):
        await call(self.machine.resume)
        await self._connect()
        await snapshot.resumed(self._guest)
        self._runs(started_at=time.time())

    async def destroy(self):
        async with self._changing:
            if self.status not in OVER:
                self._move("stopping")
                await self._gone("stopped")
            elif self.status == "error":
                self._move("stopped")

    async def _gone(self, status):
        await self._stop("boot", "rest", "watch")
        await self._hang_up()
        try:
            await call(self.machine.destroy)
        finally:
            self._move(status)

    async def _hang_up(self):
        """Whoever reads a stream of it is told that it is over."""
        guest, self._guest = self._guest, None
        self.keyboards.clear()
        if guest:
            await call(guest.close)

    # ── between two host agents ──

    async def take_over(self):
        """Another host agent had it; how far it had come stands in the record."""
        was = self.status
        try:
            if was in OVER:
                return
            if was == "pausing":
                await call(self.machine.pause)
                self._move("paused")
            elif was == "resuming":
                await self._thaw()
            elif was == "paused":
                pass
            elif not (self.machine.life and self.machine.life.lives):
                raise ProcessLookupError("it ended while nobody looked")
            elif was == "starting":
                self._spawn("boot", self._come_up())
            else:
                await self._connect()
                self._spawn("rest", self._rest())
            if self.machine.life:
                self._spawn("watch", self._watch())
        except Exception as error:
            log.error("%s was %s, and can't be taken over: %s", self.id, was, error)
            await self._gone("stopped" if was in ("running", "paused", "stopping") else "error")

    async def leave(self):
        """The host agent ends; the capsule doesn't."""
        await self._stop("boot", "rest", "watch")
        await self._hang_up()

    # ── tasks of its own ──

    def _spawn(self, name, coroutine):
        task = self._tasks[name] = asyncio.create_task(coroutine)
        task.add_done_callback(lambda _: task.cancelled() or not task.exception()
                               or log.error("%s: %s: %s", self.id, name, task.exception()))

    async def _stop(self, *names):
        for name in names:
            task = self._tasks.pop(name, None)
            if task and task is not asyncio.current_task():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
