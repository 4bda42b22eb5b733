"""As many processes as there can be: each is found by its tag and its pid, and all their output stays within its bound."""

import random

import pytest

import procs
from expect import fails
from test_limits import memory_of_stores
from test_restart import kill_agent
from until import until

MANY = 4096
AT_ONCE = 128  # requests in flight
KIB, MIB = 1 << 10, 1 << 20


def ask(client, requests):
    """The results of many (method, params), so many at a time in flight, in their order."""
    results = []
    while requests:
        now, requests = requests[:AT_ONCE], requests[AT_ONCE:]
        flying = [client.start(method, **params) for method, params in now]
        results += [request.result(60) for request in flying]
    return results


def sleepers(client, numbers):
    return ask(client, [("exec", {"cmd": "sleep", "args": ["600"], "background": True, "tag": "tag-%d" % n})
                        for n in numbers])


@pytest.fixture
def start_many(start):
    def run(*options):
        guestd = start("--retained", MANY, *options)
        with guestd.connect() as client:
            most = client.hello()["limits"]["processes"]
        if most < MANY:
            pytest.skip("no more than %d processes here: RLIMIT_NOFILE" % most)
        return guestd
    return run


def test_each_of_4096_is_found_by_its_tag_and_its_pid(start_many):
    guestd = start_many()
    client = guestd.connect()
    before = sleepers(client, range(0, MANY, 8))  # their tags are taken over
    ask(client, [("process.kill", {"pid": process["pid"]}) for process in before])
    processes = sleepers(client, range(MANY))
    assert [process["tag"] for process in processes] == ["tag-%d" % n for n in range(MANY)]
    pids = [process["pid"] for process in processes]
    assert len(set(pids)) == MANY
    with fails("limit_exceeded"):
        client.commands.run("true")

    def all_are_found(client, state):
        by_tag = ask(client, [("process.get", {"tag": process["tag"]}) for process in processes])
        by_pid = ask(client, [("process.get", {"pid": process["pid"]}) for process in processes])
        assert by_tag == by_pid
        assert [(record["pid"], record["state"]) for record in by_tag] == [(pid, state[pid]) for pid in pids]

    state = dict.fromkeys(pids, "running")
    all_are_found(client, state)
    records = client.call("process.list")["processes"]
    assert [(record["tag"], record["pid"]) for record in records] == [(p["tag"], p["pid"]) for p in processes]
    assert len(client.call("process.list", exited=True)["processes"]) == MANY + len(before)
    assert all(record["state"] == "exited" for record in ask(
        client, [("process.get", {"pid": process["pid"]}) for process in before if process["pid"] not in state]))

    ending = random.Random(0).sample(processes, MANY // 2)
    ask(client, [("process.kill", {"tag" if n % 2 else "pid": process["tag" if n % 2 else "pid"]})
                 for n, process in enumerate(ending)])
    state.update((process["pid"], "exited") for process in ending)
    all_are_found(client, state)
    running = [(process["tag"], process["pid"]) for process in processes if state[process["pid"]] == "running"]
    assert [(record["tag"], record["pid"]) for record in client.call("process.list")["processes"]] == running

    kill_agent(guestd)
    with guestd.connect() as client:
        all_are_found(client, state)


def test_the_output_of_4096_stays_within_its_total_and_the_oldest_exited_lose_theirs_first(start_many):
    """Exited programs hold half of it; then so many write that some must go."""
    guestd = start_many("--output-total", 128 * MIB)
    with guestd.connect() as client:
        before = memory_of_stores(guestd)
        exited = ["exited-%d" % n for n in range(700)]
        for tag in exited:  # one after the other: 67 MiB
            client.commands.run("head", ["-c", "100000", "/dev/zero"], background=True, tag=tag).wait(20)
        running = ask(client, [("exec", {"cmd": "sh", "args": ["-c", "head -c 10000 /dev/zero; exec sleep 600"],
                                         "background": True}) for _ in range(MANY)])  # 80 MiB
        until(lambda: all((procs.exe(process["pid"]) or "").endswith("sleep") for process in running), "all have written", 30)
        client.ping()
        assert memory_of_stores(guestd) - before <= 128 * MIB
        results = ask(client, [("process.wait", {"tag": tag, "output": True, "encoding": "raw"}) for tag in exited])
        assert {result["stdout_bytes"] for result in results} == {100000}
        whole = [not result["truncated"] for result in results]
        assert [len(result["stdout"]) for result in results] == [100000 if kept else 0 for kept in whole]
        assert True in whole and False in whole
        assert whole == sorted(whole), "the oldest go first"
        ask(client, [("process.kill", {"pid": process["pid"]}) for process in running])
        results = ask(client, [("process.wait", {"pid": process["pid"], "output": True}) for process in running])
        assert all(result["stdout_bytes"] == 10000 for result in results)
