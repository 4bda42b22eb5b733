"""Which path is whose. All of it is served below both prefixes."""

from aiohttp import web

from hostagent import capsules, exec, files, metrics, processes, streams, terminal

PREFIXES = ("/api/v1", "/v1")

OF_A_CAPSULE = (
    ("GET", "", capsules.get),
    ("DELETE", "", capsules.destroy),
    ("POST", "/pause", capsules.pause),
    ("POST", "/resume", capsules.resume),
    ("POST", "/ping", capsules.ping),
    ("GET", "/metrics", metrics.metrics),
    ("POST", "/exec", exec.run),
    ("GET", "/exec/stream", streams.stream),
    ("GET", "/processes", processes.processes),
    ("DELETE", "/processes/{selector}", processes.kill),
    ("GET", "/processes/{selector}/stream", streams.attach),
    ("GET", "/pty", terminal.terminal),
    ("POST", "/files/read", files.read),
    ("POST", "/files/write", files.write),
    ("POST", "/files/list", files.listing),
    ("POST", "/files/mkdir", files.mkdir),
    ("POST", "/files/remove", files.remove),
    ("POST", "/files/stream/read", files.read),
    ("POST", "/files/stream/write", files.stream_write),
)


def routes(all_capsules):
    def of_a_capsule(handler):
        async def handle(request):
            return await handler(request, all_capsules.find(request))
        return handle

    for prefix in PREFIXES:
        yield web.post(prefix + "/capsules", all_capsules.create)
        yield web.get(prefix + "/capsules", all_capsules.list)
        for method, path, handler in OF_A_CAPSULE:
            yield web.route(method, prefix + "/capsules/{id}" + path, of_a_capsule(handler))
