"""The host agent as a whole: many capsules at once, its own death, and how long a capsule takes to run."""

import concurrent.futures
import time

import pytest
import served

EXECS = 1000
AT_ONCE = {"container": 20, "vm": 3}


@pytest.fixture(scope="module")
def own(kind):
    """A host agent of these tests' own: nothing else makes its capsules wait, and it may be killed."""
    agent = served.Served(kind)
    yield agent
    agent.close()


def test_it_runs_within_its_bound(own, tell):
    """Issue and README: at most 6 s from the request on, where the machine is emulated."""
    begun = time.monotonic()
    capsule = own.api.create()
    took = time.monotonic() - begun
    tell("running after %.2f s" % took)
    assert took <= 6
    assert capsule.sh("echo here") == "here"
    capsule.destroy()


def test_execs_spread_over_many_capsules(own, tell):
    """None is lost, none is crossed: each answers with what only its capsule has, and what only it was asked."""
    count = AT_ONCE[own.capsules]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        capsules = list(pool.map(lambda _: own.api.create(), range(count)))
        assert len({capsule.id for capsule in capsules}) == count
        list(pool.map(lambda capsule: capsule.write("/root/whose", capsule.id.encode()), capsules))

        def ask(n):
            capsule = capsules[n % count]
            return capsule.post("exec", {"cmd": "/bin/sh", "args": ["-c", 'echo "$1 $(cat /root/whose)"; exit $2', "sh",
                                                                   str(n), str(n % 200)]})
        begun = time.monotonic()
        answers = list(pool.map(ask, range(EXECS)))
        tell("%d capsules, %d execs in %.1f s" % (count, EXECS, time.monotonic() - begun))
    for n, answer in enumerate(answers):
        assert (answer["stdout"], answer["exit_code"]) == ("%d %s\n" % (n, capsules[n % count].id), n % 200)
    assert {capsule["id"] for capsule in own.api.get("/capsules")} == {capsule.id for capsule in capsules}
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda capsule: capsule.destroy(), capsules))
    assert own.api.get("/capsules") == []
