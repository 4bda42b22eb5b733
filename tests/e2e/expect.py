"""What tests expect of answers: errors by code and field, and the shapes of entries and results."""

import contextlib

import pytest

from guestproto import GuestError

ANY = object()


@contextlib.contextmanager
def fails(code, field=ANY, errno=ANY):
    """The block raises a GuestError of that code, with a message; `field` and `errno` where given (None: absent)."""
    with pytest.raises(GuestError) as caught:
        yield caught
    error = caught.value
    assert error.code == code, "%s, not %s" % (error, code)
    assert error.message
    assert error.field == field or field is ANY, "field %r, not %r: %s" % (error.field, field, error)
    assert error.errno == errno or errno is ANY, "errno %r, not %r: %s" % (error.errno, errno, error)


ENTRY = {"name": str, "path": str, "type": str, "size": int, "mode": int, "permissions": str, "owner": str,
         "group": str, "modified_at": int, "symlink_target": (str, type(None))}

# Of a foreground exec: exactly these, named and typed.
OPTIONAL_INT = (int, type(None))
RECORD_OF_EXIT = {
    "exit_code": int, "duration_ms": int, "pid": int, "tag": str, "reason": str, "status": OPTIONAL_INT,
    "signal": (str, type(None)), "core_dumped": bool, "stdout_bytes": int, "stderr_bytes": int, "truncated": bool,
    "pipes_open": bool, "descendants": int, "killed_descendants": int, "cpu_user_ms": int, "cpu_sys_ms": int,
    "max_rss_kb": int, "oom_killed": (bool, type(None))}
RESULT = {"stdout": (str, bytes), "stderr": (str, bytes), "encoding": str, **RECORD_OF_EXIT}
RECORD = {"pid": int, "tag": str, "cmd": (str, bytes), "args": list, "cwd": (str, bytes), "user": str,
          "background": bool, "pty": bool, "state": str, "started_at": float}


def has_shape(fields, shape):
    """Every field of `shape` is there with its type; a bool is no int."""
    for name, kinds in shape.items():
        assert name in fields, "%s is missing in %r" % (name, fields)
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        assert type(fields[name]) in kinds, "%s is %r" % (name, fields[name])


def is_shape(fields, shape):
    """The same, and nothing else is there."""
    has_shape(fields, shape)
    assert set(fields) == set(shape)
