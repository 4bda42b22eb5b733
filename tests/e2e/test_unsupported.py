"""What a later version adds is known by name and never ignored: `unsupported`, and which field it was."""

import pytest

from expect import fails

METHODS = ["file.move", "file.set", "file.archive", "file.watch", "configure", "prepare_snapshot", "resume",
           "port.list", "port.connect", "log"]


@pytest.mark.parametrize("method", METHODS)
def test_methods(client, method):
    with fails("unsupported", field="method"):
        client.call(method, pid=1)
    assert method not in client.hello()["capabilities"]["methods"]


@pytest.mark.parametrize("field", ["stdin_open", "pty", "limits", "key", "tag"])
def test_a_field_that_is_nil_is_absent(client, field):
    """The Python client leaves None out, so the frame is made by hand."""
    request = client.connection.start("exec", {"cmd": "true", field: None})
    assert request.result(20)["exit_code"] == 0
