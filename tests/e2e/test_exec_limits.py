"""`limits` of exec: what a program may use. What needs a controller that this machine doesn't give is skipped here and
run in the booted VM."""

import os
import re
import sys

import pytest

import procs
from expect import fails
from server import Shared


@pytest.fixture(scope="module", params=["as it is", "no clone3"])
def shared(request):
    guestd = Shared(env={"GUESTD_NO_CLONE3": "1"} if request.param == "no clone3" else {})
    yield guestd
    guestd.stop()


def limits_of(client, *, user=None, **limits):
    """The rlimits that a program sees, by the names that /proc gives them: (soft, hard)."""
    text = client.commands.run("cat /proc/self/limits", limits=limits, user=user).stdout
    return {line[:26].strip(): tuple(line[26:].split()[:2]) for line in text.splitlines()[1:]}


def python(client, code, **params):
    return client.commands.run(sys.executable, ["-c", code], **params)


@pytest.mark.valgrind
def test_each_rlimit_is_what_was_asked(client):
    before = limits_of(client)
    seen = limits_of(client, nproc=4567, core=0, fsize=1 << 20, cpu_seconds=77)
    assert seen["Max processes"] == ("4567", "4567")
    assert seen["Max core file size"] == ("0", "0")
    assert seen["Max file size"] == ("1048576", "1048576")
    assert seen["Max cpu time"] == ("77", "78")  # the warning, then the end
    asked = {"Max processes", "Max core file size", "Max file size", "Max cpu time"}
    assert {name: value for name, value in seen.items() if name not in asked} == \
        {name: value for name, value in before.items() if name not in asked}


def test_nofile_is_what_was_asked(client):
    """Not under valgrind, which lets nobody lower it: its own fds are up there."""
    before, seen = limits_of(client), limits_of(client, nofile=123)
    assert seen == {**before, "Max open files": ("123", "123")}


@pytest.mark.valgrind
def test_no_limits_are_the_original_ones(client):
    with open("/proc/self/limits") as file:
        own = {line[:26].strip(): tuple(line[26:].split()[:2]) for line in file.read().splitlines()[1:]}
    assert limits_of(client) == own
    request = client.connection.start("exec", {"cmd": "true", "limits": {"nofile": None}})
    assert request.result(20)["exit_code"] == 0


@pytest.mark.valgrind
def test_nice_is_the_programs(client, guestd):
    code = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
    own = os.getpriority(os.PRIO_PROCESS, guestd.pid)
    assert python(client, code).stdout == "%d\n" % own
    assert python(client, code, limits={"nice": 7}).stdout == "7\n"
    assert os.getpriority(os.PRIO_PROCESS, guestd.pid) == own


CAP_SYS_NICE, CAP_SYS_RESOURCE = 23, 24


def may(guestd, capability):
    return bool(int(procs.status(guestd.pid, "CapEff")[0], 16) >> capability & 1)


def test_raising_a_limit_needs_the_right_to(client, guestd, folder):
    hard = int(limits_of(client)["Max open files"][1])
    if may(guestd, CAP_SYS_RESOURCE):
        assert limits_of(client, nofile=hard + 1)["Max open files"] == (str(hard + 1), str(hard + 1))
        return
    with fails("permission_denied", field="limits.nofile"):
        client.call("exec", cmd="touch", args=[str(folder / "ran")], limits={"nofile": hard + 1})
    assert not (folder / "ran").exists()


def test_going_first_needs_the_right_to(client, guestd, folder):
    if may(guestd, CAP_SYS_NICE):
        code = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
        assert python(client, code, limits={"nice": -5}, user="65534", cwd="/").stdout == "-5\n"
        return
    with fails("permission_denied", field="limits.nice"):
        client.call("exec", cmd="touch", args=[str(folder / "ran")], limits={"nice": -5})
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("limits, field", [
    ({"nofile": -1}, "limits.nofile"), ({"nofile": "many"}, "limits.nofile"), ({"nofile": 1.5}, "limits.nofile"),
    ({"nice": 20}, "limits.nice"), ({"nice": -21}, "limits.nice"), ({"cpu_seconds": 0}, "limits.cpu_seconds"),
    ({"memory_max": 0}, "limits.memory_max"), ({"pids_max": 0}, "limits.pids_max"), ({"cpu_max": -1}, "limits.cpu_max"),
    ({"cpu_max": float("nan")}, "limits.cpu_max"), ({"stack": 1}, "limits.stack"), ([], "limits"), (1, "limits")])
def test_what_is_no_limit_is_refused_before_anything_runs(client, folder, limits, field):
    with fails("invalid_request", field=field):
        client.call("exec", cmd="touch", args=[str(folder / "ran")], limits=limits)
    assert not (folder / "ran").exists()


def test_what_the_kernel_refuses_is_told_by_its_field(client, folder):
    most = int(open("/proc/sys/fs/nr_open").read())
    with fails("permission_denied", field="limits.nofile"):
        client.call("exec", cmd="touch", args=[str(folder / "ran")], limits={"nofile": most + 1})
    assert not (folder / "ran").exists()


def test_a_file_that_grows_too_large_ends_its_program(client, folder):
    result = client.commands.run("head -c 100000 /dev/zero >%s/file; exit 3" % folder, limits={"fsize": 4096})
    assert (folder / "file").stat().st_size == 4096
    result = python(client, "f = open('%s/file', 'wb', 0)\nimport signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
                            "f.write(b'x' * 4096); f.write(b'y')" % folder, limits={"fsize": 4096, "core": 0})
    assert (result.reason, result.signal, result.exit_code) == ("signaled", "SIGXFSZ", 153)


def test_too_much_cpu_time_is_a_warning_and_then_the_end(client):
    result = client.commands.run("while :; do :; done", limits={"cpu_seconds": 1, "core": 0}, timeout=60)
    assert (result.reason, result.signal) == ("signaled", "SIGXCPU")
    result = client.commands.run("trap : XCPU; while :; do :; done", limits={"cpu_seconds": 1}, timeout=60)
    assert (result.reason, result.signal, result.exit_code) == ("signaled", "SIGKILL", 137)


def test_no_more_files_than_allowed(client):
    result = python(client, "import os\ntry:\n  while True: print(os.dup(0))\nexcept OSError as e: print(e.errno)",
                    limits={"nofile": 10})
    assert result.stdout.split() == ["3", "4", "5", "6", "7", "8", "9", "24"]


def test_no_more_processes_than_allowed_for_a_user(client, as_root):
    uid = 2147480000 + os.getpid()  # nobody else's
    result = client.commands.run("sleep 5 & sleep 5 & sleep 5 & sleep 5 & wait", user=str(uid), limits={"nproc": 3})
    assert "ork" in result.stderr, result
    with fails("limit_exceeded", field="limits.nproc"):
        client.call("exec", cmd="true", user=str(uid), limits={"nproc": 0})


def test_a_core_is_dumped_only_where_it_may(client, folder):
    def dumped(core):
        return client.commands.run("kill -QUIT $$", cwd=str(folder), limits={"core": core}).core_dumped

    assert not dumped(0)
    with open("/proc/sys/kernel/core_pattern") as file:
        if not re.match(r"[^|/]", file.read()):
            pytest.skip("cores go elsewhere on this machine: " + open("/proc/sys/kernel/core_pattern").read())
    assert dumped(1 << 30)


CONTROLLERS = {"memory": {"memory_max": 64 << 20}, "pids": {"pids_max": 100}, "cpu": {"cpu_max": 0.5}}


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_limit_without_its_controller_is_refused(client, folder, controller):
    if controller in client.hello()["capabilities"]["controllers"]:
        pytest.skip("this machine has the controller " + controller)
    limits = CONTROLLERS[controller]
    with fails("unsupported", field="limits." + [*limits][0]):
        client.call("exec", cmd="touch", args=[str(folder / "ran")], limits=limits)
    assert not (folder / "ran").exists()


def test_without_any_group_they_are_refused_too(start, folder):
    guestd = start(env={"GUESTD_NO_CGROUP": "1"})
    with guestd.connect() as client:
        for limits in CONTROLLERS.values():
            with fails("unsupported", field="limits." + [*limits][0]):
                client.call("exec", cmd="touch", args=[str(folder / "ran")], limits=limits)
        assert client.commands.run("true").oom_killed is None
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("controller, file, value", [
    ("memory", "memory.max", str(64 << 20)), ("pids", "pids.max", "100"), ("cpu", "cpu.max", "50000 100000")])
def test_a_group_is_bounded_for_its_job_alone(client, guestd, controller, file, value):
    if controller not in client.hello()["capabilities"]["controllers"]:
        pytest.skip("this machine has no controller %s to give" % controller)
    read = "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/" + file
    assert client.commands.run(read, limits=CONTROLLERS[controller]).stdout.strip() == value
    assert client.commands.run(read).stdout.split()[0] == "max"
