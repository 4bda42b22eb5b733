"""Files of a capsule, both ways. Each passes through in pieces: a file is never held here, however it was asked for."""

from aiohttp import web

from hostagent.body import integer, read_json, required
from hostagent.multipart import Upload
from hostagent.text import text
from hostagent.threads import call

BUFFERED_MAX = 100 << 20  # of files/write, by the API
DEPTH_MAX = 1 << 20
TYPES = ("file", "directory", "symlink")  # of the API; anything else is told as a file
NAMES = ("name", "path", "owner", "group", "symlink_target")


def entry(found):
    """A guestproto Entry as the API's FileEntry."""
    fields = found.fields
    told = {name: text(fields[name]) for name in NAMES}
    told.update({name: fields[name] for name in ("size", "permissions", "modified_at")})
    told["type"] = fields["type"] if fields["type"] in TYPES else "file"
    return told


async def write(request, capsule):
    return await _write(request, capsule, BUFFERED_MAX)


async def stream_write(request, capsule):
    return await _write(request, capsule, None)


async def _write(request, capsule, limit):
    async with capsule.use(touch=False) as guest:
        upload = await Upload(request, limit).begin()
        await call(guest.files.upload_stream, upload.path, upload.chunks(), create_parents=True)
    return web.Response(status=204)


async def read(request, capsule):
    """Both files/read and files/stream/read."""
    body = await read_json(request)
    async with capsule.use(touch=False) as guest:
        pieces = guest.files.download_stream(required(body, "path"))
        try:
            piece = await call(next, pieces, b"")  # what is wrong with the file shows here, where it can be told
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            await _send(request, response, pieces, piece)
        finally:
            await call(pieces.close)
    return response


async def _send(request, response, pieces, piece):
    """A download that breaks ends without its last chunk, which every client takes for what it is."""
    try:
        while piece:
            await response.write(piece)
            piece = await call(next, pieces, b"")
        await response.write_eof()
    except Exception:
        if request.transport:
            request.transport.abort()


async def listing(request, capsule):
    body = await read_json(request)
    depth = integer(body, "depth", 1, 0, DEPTH_MAX)
    async with capsule.use(touch=False) as guest:
        entries = await call(guest.files.list, required(body, "path"), depth=depth)
    return web.json_response({"entries": [entry(found) for found in entries]})


async def mkdir(request, capsule):
    body = await read_json(request)
    async with capsule.use(touch=False) as guest:
        made = await call(guest.files.make_dir, required(body, "path"))
    return web.json_response({"entry": entry(made)})


async def remove(request, capsule):
    body = await read_json(request)
    async with capsule.use(touch=False) as guest:
        await call(guest.files.remove, required(body, "path"))
    return web.Response(status=204)
