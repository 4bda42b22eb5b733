"""A small blocking client of the host agent's HTTP API, for laying what a test presupposes and looking at what it left."""

import http.client
import json
import os
import urllib.parse

from until import until


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.bytes = response.status, response.headers, body

    @property
    def json(self):
        return json.loads(self.bytes)

    @property
    def error(self):
        """The code of an error's one shape."""
        assert self.headers.get_content_type() == "application/json", self.bytes
        body = self.json
        assert set(body) == {"error"} and set(body["error"]) == {"code", "message"}, body
        assert isinstance(body["error"]["message"], str) and body["error"]["message"]
        return body["error"]["code"]


class Api:
    """One host agent's API; a connection a request."""

    def __init__(self, url, key, prefix="/api/v1"):
        self.address, self.key, self.prefix = urllib.parse.urlsplit(url).netloc, key, prefix

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """`body`: bytes or an iterable of them as they are, anything else as JSON."""
        head = {"X-API-Key": self.key, **(headers or {})}
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "__next__"):
            body, head["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            connection.request(method, self.prefix + path, body, {k: v for k, v in head.items() if v is not None})
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def get(self, path, status=200):
        answer = self.ask("GET", path)
        assert answer.status == status, (path, answer.status, answer.bytes)
        return answer.json if answer.bytes else None

    def post(self, path, body=None, status=200):
        answer = self.ask("POST", path, body)
        assert answer.status == status, (path, answer.status, answer.bytes)
        return answer.json if answer.bytes else None

    def create(self, **params):
        """A running capsule."""
        capsule = self.post("/capsules", params, 201)
        return self.running(capsule["id"])

    def running(self, capsule_id, seconds=60):
        def now():
            capsule = self.get("/capsules/" + capsule_id)
            assert capsule["status"] in ("pending", "starting", "running"), capsule
            return capsule["status"] == "running"
        until(now, capsule_id + " runs", seconds)
        return Capsule(self, capsule_id)

    def destroy(self, capsule_id):
        answer = self.ask("DELETE", "/capsules/" + capsule_id)
        assert (answer.status, answer.bytes) == (204, b""), answer.bytes


class Capsule:
    def __init__(self, api, capsule_id):
        self.api, self.id = api, capsule_id

    def ask(self, method, path, *more, **options):
        return self.api.ask(method, "/capsules/%s/%s" % (self.id, path), *more, **options)

    def post(self, path, body=None, status=200):
        return self.api.post("/capsules/%s/%s" % (self.id, path), body, status)

    def get(self, path=None):
        return self.api.get("/capsules/" + self.id + ("/" + path if path else ""))

    def sh(self, script):
        """What a script that ends well prints, stripped."""
        result = self.post("exec", {"cmd": "/bin/sh", "args": ["-c", script]})
        assert result["exit_code"] == 0, result
        return result["stdout"].strip()

    def background(self, script, **params):
        return self.post("exec", {"cmd": "/bin/sh", "args": ["-c", script], "background": True, **params}, 202)

    def write(self, path, data, status=204, streamed=False):
        """`data` bytes, or an iterator of them."""
        boundary = os.urandom(8).hex()
        part = '--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
        head = (part % (boundary, "path", "") + path + "\r\n" + part % (boundary, "file", '; filename="f"')).encode()
        tail = ("\r\n--%s--\r\n" % boundary).encode()

        def chunks():
            yield head
            yield from data
            yield tail

        answer = self.ask("POST", "files/stream/write" if streamed else "files/write",
                          head + data + tail if isinstance(data, bytes) else chunks(),
                          {"Content-Type": "multipart/form-data; boundary=" + boundary})
        assert answer.status == status, (path, answer.status, answer.bytes)
        return answer

    def read(self, path):
        answer = self.ask("POST", "files/read", {"path": path})
        assert answer.status == 200, (path, answer.status, answer.bytes)
        return answer.bytes

    def destroy(self):
        self.api.destroy(self.id)
