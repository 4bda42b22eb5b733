"""Fixtures of the acceptance tests: a host agent that serves capsules as containers, and one that serves them as VMs.

Two Pythons come here, the distribution's and the SDK's (run.sh says which runs what): only the standard library and
pytest are imported. HOSTAGENT_CAPSULES says which kinds; HOSTAGENT_NO_VM says why there can be no VM.
"""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
# At the end: a module of the host agent may be called like one of the library.
sys.path += [str(HERE), str(HERE.parent / "e2e")]

import curling  # noqa: E402  (they need the path above)
import served  # noqa: E402

KINDS = (os.environ.get("HOSTAGENT_CAPSULES") or "container vm").split()
told = []


@pytest.fixture(scope="session", params=KINDS)
def kind(request):
    """Every test that asks for a host agent runs with both kinds of capsules, one kind after the other."""
    if request.param == "vm" and os.environ.get("HOSTAGENT_NO_VM"):
        pytest.skip(os.environ["HOSTAGENT_NO_VM"])
    return request.param


@pytest.fixture(scope="session")
def host(kind):
    """The host agent that most tests of a kind share."""
    agent = served.Served(kind)
    yield agent
    agent.close()


@pytest.fixture(scope="session")
def api(host):
    return host.api


@pytest.fixture(scope="session")
def python(api):
    """A capsule with Python that most tests of a kind share: booting one takes its seconds."""
    return api.create(template="base-python")


@pytest.fixture
def curl(host, tmp_path):
    return curling.Curl(host, tmp_path)


@pytest.fixture
def tell(request):
    """tell(text): a figure that is printed at the end, whatever pytest captures."""
    return lambda text: told.append("%s: %s" % (request.node.name, text))


def pytest_terminal_summary(terminalreporter):
    for line in told:
        terminalreporter.write_line(line)
