"""Files in the capsule: what `capsule.files` is (proto/PROTOCOL.md, section 10)."""

import hashlib

from guestproto_connection import CHUNK, Data, Event
from guestproto_process import Fields
from guestproto_resume import Stream
from guestproto_wire import ERRORS, ConnectionLost, GuestError

ONE_FRAME = 256 << 10  # files up to here are written in one request


class Entry(Fields):
    """A file: name, path, type, size, mode, permissions, owner, group, modified_at, symlink_target."""


def _blocks(file):
    return iter(lambda: file.read(CHUNK), b"")


class Files:
    """Files in the capsule. Paths are absolute: str, or bytes where they are no UTF-8."""

    def __init__(self, client):
        self._client = client

    def write(self, path, data, **params):
        """Writes a whole file, atomically unless params say otherwise; returns its Entry."""
        if isinstance(data, str):
            data = data.encode()
        if len(data) > ONE_FRAME:
            return self.upload_stream(path, [data], size=len(data), **params)
        ask = self._client.call if params.get("append") else self._client.repeat
        return Entry(ask("file.write", path=path, data=bytes(data), **params)["entry"])

    def upload_stream(self, path, chunks, **params):
        """Writes a file from an iterable of bytes; `size=` and `sha256=`, where known, are checked before it is there.

        `chunks` that can be iterated again (a list, or a function that makes the iterator) are sent again from the start
        when the connection is lost. An iterator can't, nor can what was appended.
        """
        again = (callable(chunks) or iter(chunks) is not chunks) and not params.get("append")
        while True:
            connection = self._client.connection
            try:
                return self._upload(path, chunks() if callable(chunks) else chunks, params)
            except ConnectionLost:
                if not again:
                    raise
                self._client.renew(connection)
                self._client.tell("the upload of %s begins again" % _shown(path))

    def _upload(self, path, chunks, params):
        request = self._client.start("file.write", path=path, stream=True, **params)
        try:
            for chunk in chunks:
                request.send(chunk)
            request.end()
        except (GuestError, ConnectionLost):
            raise
        except BaseException:
            request.cancel()
            raise
        return Entry(request.result()["entry"])

    def upload(self, path, local, **params):
        """Uploads a local file with its size and sha256, so that nothing else is ever published."""
        digest, size = hashlib.sha256(), 0
        with open(local, "rb") as file:
            for chunk in _blocks(file):
                digest.update(chunk)
                size += len(chunk)

            def again():
                file.seek(0)
                return _blocks(file)
            return self.upload_stream(path, again, size=size, sha256=digest.hexdigest(), **params)

    def read(self, path, **params):
        """A file's bytes."""
        return b"".join(self.download_stream(path, **params))

    def download_stream(self, path, **params):
        """A file's bytes as they come. After a lost connection the rest comes of a file that is still the same."""
        begin = params.get("off") or 0
        end = begin + params["len"] if params.get("len") is not None else None
        before = self._version(path, params) if self._client.resumes else None

        def again(stream):
            if self._version(path, params) != before:
                raise ConnectionLost("%s was changed while the connection was lost" % _shown(path), final=True)
            at = stream.at.get("file", begin)
            return dict(params, path=path, stream=True, off=at, len=None if end is None else end - at)

        stream = Stream(self._client, "file.read", dict(params, path=path, stream=True), again, begin={"file": begin})
        try:
            for item in stream:
                if isinstance(item, Data):
                    yield item.data
            stream.result()
        finally:
            stream.cancel()

    def _version(self, path, params):
        """What changes with a file's content, as far as that can be seen."""
        entry = self._client.repeat("file.stat", path=path, follow=True, user=params.get("user"))["entry"]
        return entry["size"], entry["modified_at"]

    def list(self, path, depth=None, **params):
        """The entries below a directory, all of them: streamed, so that no tree is too large."""
        while True:
            connection = self._client.connection
            try:
                return list(self.list_stream(path, depth=depth, **params))
            except ConnectionLost:
                self._client.renew(connection)
                self._client.tell("%s is listed again" % _shown(path))

    def list_stream(self, path, **params):
        """The same as they come. It can't be resumed: a tree has no offsets."""
        request = self._client.start("file.list", path=path, stream=True, **params)
        try:
            for item in request:
                if isinstance(item, Event) and item.event == "entries":
                    yield from map(Entry, item.fields["entries"])
            request.result()
        finally:
            request.cancel()

    def stat(self, path, follow=None):
        return Entry(self._client.repeat("file.stat", path=path, follow=follow)["entry"])

    def exists(self, path):
        try:
            self.stat(path)
        except (ERRORS["not_found"], ERRORS["wrong_type"]):  # a missing name, or a file where a directory was meant
            return False
        return True

    def make_dir(self, path, **params):
        return Entry(self._client.repeat("file.mkdir", path=path, **params)["entry"])

    def remove(self, path, missing_ok=None):
        """Removes a file or a whole tree; returns how many entries that were. A lost connection leaves open whether it
        was done."""
        return self._client.call("file.remove", path=path, missing_ok=missing_ok)["removed"]


def _shown(path):
    return path.decode(errors="replace") if isinstance(path, bytes) else str(path)
