"""An upload's multipart body, parsed as it comes: `path`, then `file`."""

import asyncio

from aiohttp import web

from hostagent.errors import ApiError

PATH_MAX = 4096
CHUNK = 256 << 10


class Upload:
    """`path`, and `chunks()` for a thread beside the loop: the next piece is read when that thread asks for it, so that
    no more than one is held here and the client's socket waits for the capsule's disk."""

    def __init__(self, request, limit=None):
        if not request.content_type.startswith("multipart/"):
            raise ApiError("invalid_request", "Content-Type: multipart/form-data with path and file")
        self._loop = asyncio.get_running_loop()
        self._reader_of = request.multipart
        self._reader = self._part = None
        self._limit = limit
        self.path = None

    async def begin(self):
        """Reads on to the file's first byte."""
        try:
            self._reader = await self._reader_of()
            while self._part is None or self._part.name != "file":
                self._part = await self._reader.next()
                if self._part is None:
                    break
                if self._part.name == "path":
                    self.path = (await self._part.read_chunk(PATH_MAX + 1)).decode()
        except (ValueError, AssertionError) as error:
            raise ApiError("invalid_request", "a broken multipart body: %s" % error) from None
        if self.path is None or self._part is None:
            raise ApiError("invalid_request", "file: missing" if self._part is None else "path: missing, or behind file")
        return self

    def chunks(self):
        """Raises what broke the upload: the file is written whole or not at all."""
        taken = 0
        while chunk := asyncio.run_coroutine_threadsafe(self._next(), self._loop).result():
            taken += len(chunk)
            if self._limit is not None and taken > self._limit:
                raise ApiError("too_large", "over %d bytes: use files/stream/write" % self._limit)
            yield chunk

    async def _next(self):
        try:
            chunk = await self._part.read_chunk(CHUNK)
            if not chunk:
                await self._end()
            return chunk
        except (ValueError, AssertionError) as error:
            raise ApiError("invalid_request", "a broken multipart body: %s" % error) from None

    async def _end(self):
        """A body that ends without its last boundary was cut off."""
        while await self._reader.next() is not None:
            pass
        if not self._reader.at_eof():
            raise ApiError("invalid_request", "the multipart body was cut off")
