"""guestd in a booted microVM: it is the machine's init, and the host drives it over vsock."""

import hashlib
import os

import guestproto
import pytest
from terminal import Terminal
from until import until


def sh(client, script, **params):
    """The stripped stdout of a shell script that ends well."""
    result = client.commands.run(script, **params)
    assert result.exit_code == 0, result
    return result.stdout.strip()


def sleepers(client, seconds):
    """How many `sleep SECONDS` run. The pattern doesn't find the shell that carries it."""
    pattern = f"sleep {seconds[:-1]}[{seconds[-1]}]"
    return int(sh(client, f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '{pattern}' | wc -l"))


AGENTS = "for p in /proc/[0-9]*; do [ $(readlink $p/exe) = /sbin/init ] && echo ${p#/proc/}; done 2>/dev/null; true"


def agent_pid(client):
    """The only other process that runs guestd's binary."""
    [pid] = set(sh(client, AGENTS).split()) - {"1"}
    return pid


class TestBoot:
    def test_ready_says_who_listens_where(self, capsule):
        ready = capsule.ready_params
        assert ready["listen"] == ["vsock:1024"]
        assert {"boot_id", "version", "uptime_ms"} <= set(ready)

    def test_hello_tells_that_trees_are_killed_by_cgroup(self, client):
        hello = client.hello()
        assert hello["protocol"] == 1
        assert hello["kill_tree"] == "cgroup"
        assert client.ping()["uptime_ms"] > 0

    def test_guestd_is_pid_1(self, client):
        assert sh(client, "readlink /proc/1/exe") == "/sbin/init"

    @pytest.mark.parametrize("point, kind", [
        ("/", "ext4"), ("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs"), ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"), ("/run", "tmpfs"), ("/tmp", "tmpfs"), ("/sys/fs/cgroup", "cgroup2")])
    def test_mounts(self, client, point, kind):
        mounts = [line.split()[1:3] for line in client.files.read("/proc/mounts").decode().splitlines()]
        assert [point, kind] in mounts

    def test_controllers_are_delegated(self, client):
        delegated = sh(client, "cat /sys/fs/cgroup/cgroup.subtree_control").split()
        assert {"cpu", "memory", "pids"} <= set(delegated)

    def test_loopback_is_up(self, client):
        assert int(sh(client, "cat /sys/class/net/lo/flags"), 16) & 1
        assert sh(client, "ping -c 1 -W 2 127.0.0.1 >/dev/null && echo here") == "here"

    def test_hostname_is_in_hosts(self, client):
        name = sh(client, "hostname")
        assert name and name in sh(client, "cat /etc/hosts").split()

    def test_standard_devices(self, client):
        assert sh(client, "readlink /dev/fd; echo x >/dev/null; head -c 3 /dev/zero | wc -c").split()[-1] == "3"

    def test_the_agent_is_confined_and_programs_are_not(self, client):
        def status(pid):
            lines = sh(client, f"cat /proc/{pid}/status").splitlines()
            return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}

        agent, program = status(agent_pid(client)), status("self")
        # CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETGID, SETUID
        assert int(agent["CapEff"], 16) == int(agent["CapBnd"], 16) == 0xdf
        assert (agent["Seccomp"], agent["NoNewPrivs"]) == ("2", "1")
        assert (program["Seccomp"], program["NoNewPrivs"]) == ("0", "0")
        assert int(program["CapEff"], 16) > 0xdf

    def test_boot_leaves_no_error_on_the_console(self, capsule):
        assert "panic" not in capsule.console().lower()


class TestPrograms:
    def test_a_program_answers(self, client):
        result = client.commands.run("echo out; echo err >&2; exit 3")
        assert (result.stdout, result.stderr, result.exit_code, result.reason) == ("out\n", "err\n", 3, "exited")

    def test_another_user(self, client):
        assert sh(client, "id -u; id -G; pwd", user="user").split() == ["1000", "1000", "29", "/home/user"]

    def test_every_program_has_a_cgroup_of_its_own(self, client):
        first, second = (sh(client, "cat /proc/self/cgroup") for _ in range(2))
        assert first != "0::/" and second != "0::/"
        assert sh(client, "cat /proc/1/cgroup") not in (first, second)

    def test_timeout_kills_descendants_that_left_the_session(self, client):
        result = client.commands.run("setsid sleep 47110 & (setsid sleep 47110 &) ; sleep 47110", timeout=1)
        assert (result.exit_code, result.reason) == (124, "timed_out")
        assert sleepers(client, "47110") == 0

    def test_kill_by_tag_kills_the_whole_tree(self, client):
        client.commands.run("setsid sleep 47111 & sleep 47111", background=True, tag="tree")
        until(lambda: sleepers(client, "47111") == 2, "both run")
        client.commands.kill(tag="tree")
        assert client.commands.wait(tag="tree", timeout=10).reason == "killed"
        until(lambda: sleepers(client, "47111") == 0, "both are gone")

    def test_orphans_are_reaped(self, client):
        sh(client, "for i in $(seq 300); do (true &); done")
        until(lambda: sh(client, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true") == "0", "no zombies")

    def test_binary_output_arrives_unchanged(self, client):
        script = "cat /bin/busybox"
        stream = client.commands.exec_stream(script)
        digest = hashlib.sha256()
        for item in stream:
            if isinstance(item, guestproto.Data):
                digest.update(item.data)
        assert stream.result().exit_code == 0
        assert digest.hexdigest() == sh(client, "sha256sum /bin/busybox").split()[0]

    def test_default_profile_holds_for_root(self, client):
        result = client.commands.run("mount -t tmpfs none /mnt", seccomp="default")
        assert result.exit_code != 0
        assert "mnt" not in sh(client, "cat /proc/mounts")


class TestTerminals:
    def test_a_terminal_is_the_user_s(self, client):
        terminal = Terminal.run(client, "sh", "-c", "stat -c '%u:%g %a' $(tty); stty size; echo there >/dev/tty", user="user")
        assert terminal.result()["exit_code"] == 0
        assert terminal.bytes.split() == [b"1000:5", b"620", b"24", b"80", b"there"]

    def test_an_editor(self, client):
        terminal = Terminal.run(client, "vi", "/tmp/text", user="user")
        terminal.shows("/tmp/text")
        terminal.type("ihello\x1b")
        terminal.shows("- /tmp/text", "it is back in command mode")
        terminal.type(":wq\r")
        assert terminal.result()["exit_code"] == 0
        assert client.files.read("/tmp/text") == b"hello\n"

    def test_top(self, client):
        terminal = Terminal.run(client, "top")
        terminal.shows("Mem:")
        terminal.type("q")
        assert terminal.result()["exit_code"] == 0

    def test_a_shell_s_jobs(self, client):
        terminal = Terminal.run(client, "sh", "-i", envs={"PS1": "$ "})
        terminal.shows("$")
        terminal.type("sleep 47112\n")
        until(lambda: terminal.look() and sleepers(client, "47112") == 1, "it runs")
        terminal.type("\x03")
        until(lambda: terminal.look() and sleepers(client, "47112") == 0, "it is interrupted")
        terminal.type("exit 3\n")
        assert terminal.result()["exit_code"] == 3


class TestFiles:
    def test_upload_is_checked_and_there(self, client, tmp_path):
        local = tmp_path / "data"
        local.write_bytes(os.urandom(16 << 20))
        entry = client.files.upload("/root/data", local)
        assert entry.size == 16 << 20
        digest = hashlib.sha256(local.read_bytes()).hexdigest()
        assert sh(client, "sha256sum /root/data").split()[0] == digest
        assert client.files.read("/root/data") == local.read_bytes()
        client.files.remove("/root/data")

    def test_tree_is_made_listed_and_removed(self, client):
        client.files.make_dir("/home/user/a/b/c", user="user")
        client.files.write("/home/user/a/b/c/file", b"x")
        assert [e.path for e in client.files.list("/home/user/a", depth=3)] == \
            ["/home/user/a/b", "/home/user/a/b/c", "/home/user/a/b/c/file"]
        assert client.files.stat("/home/user/a").owner == "user"
        assert client.files.remove("/home/user/a") == 4
        with pytest.raises(guestproto.NotFound):
            client.files.list("/home/user/a")

    def test_mount_points_stay(self, client):
        with pytest.raises(guestproto.PermissionDenied):
            client.files.remove("/proc")


class TestVsock:
    def test_many_connections_work_side_by_side(self, capsule):
        clients = [capsule.connect() for _ in range(20)]
        requests = [c.start("exec", cmd="sh", args=["-c", f"sleep 0.2; echo {i}"]) for i, c in enumerate(clients)]
        assert [r.result(30)["stdout"].strip() for r in requests] == [str(i) for i in range(20)]
        for client in clients:
            client.close()

    def test_local_vsock_is_refused(self, client):
        result = client.commands.run("guestctl --connect vsock:1024 ping", timeout=20)
        assert result.exit_code == 125, result
        assert "permission" in result.stderr.lower()

    def test_connections_and_deadlines_outlive_a_pause(self, boot):
        capsule = boot()
        with capsule.connect() as client:
            request = client.start("exec", cmd="sh", args=["-c", "sleep 2; echo late"], timeout=6)
            capsule.pause(12)
            result = request.result(30)
            assert (result["reason"], result["stdout"]) == ("exited", "late\n")


class TestLife:
    def test_agent_comes_back_and_nothing_but_connections_is_lost(self, boot):
        capsule = boot()
        with capsule.connect() as client:
            client.commands.run("sleep 1000", background=True, tag="survivor")
            with pytest.raises(guestproto.ConnectionLost):
                client.call("exec", cmd="kill", args=["-9", agent_pid(client)])
        with capsule.connect() as client:
            assert client.info()["restarts"] == 1
            assert sh(client, "ps | grep -c '[s]leep 1000'") == "1"
            assert sh(client, "echo again") == "again"

    def test_init_executes_itself_and_goes_on(self, boot):
        capsule = boot()
        with capsule.connect() as client:
            sha256 = sh(client, "sha256sum /sbin/init").split()[0]
            background = client.commands.run("echo before; sleep 1; echo after; exit 9", background=True, tag="lasting")
            for reexecs in (1, 2):
                assert client.upgrade("/sbin/init", sha256, supervisor=True)["state"] == "done"
                info = client.info()
                assert (info["reexecs"], info["restarts"], info["pid1"]) == (reexecs, reexecs, True)
            done = background.wait(20, output=True)
            assert (done.stdout, done.exit_code) == ("before\nafter\n", 9)
            assert sh(client, "cat /proc/1/comm") == "init"
            assert client.commands.run("setsid sleep 60 & sleep 60", timeout=0.3, kill_grace=0.1).descendants == 0
            client.shutdown("poweroff", grace=1)
            assert capsule.wait_ended(30) == 0
        assert "Power down" in capsule.console()

    def test_poweroff_ends_the_machine(self, boot):
        capsule = boot()
        with capsule.connect() as client:
            client.shutdown("poweroff")
            assert capsule.wait_ended(30) == 0
        assert "Power down" in capsule.console()

    def test_reboot_resets_the_machine(self, boot):
        capsule = boot()
        with capsule.connect() as client:
            client.shutdown("reboot")
            assert capsule.wait_ended(30) == 0  # -no-reboot: a reset ends QEMU
        assert "Restarting system" in capsule.console()

    def test_programs_end_powers_the_machine_off(self, boot):
        capsule = boot("guestd.hostname=box", "--", "/bin/sleep", "4")
        with capsule.connect() as client:
            assert sh(client, "hostname") == "box"
            until(lambda: [p.tag for p in client.commands.list()] == ["main"], "the program is known as main")
            assert capsule.wait_ended(30) == 0
        assert "Power down" in capsule.console()

    @pytest.mark.parametrize("program", [[], ["--", "/bin/sleep", "1000"], ["--", "/bin/sh", "-c", '"sleep 1000; true"']])
    def test_words_that_the_kernel_does_not_know_are_no_program(self, boot, program):
        """The kernel hands them to init before what follows the dashes: `quiet splash` must not power the machine off."""
        with boot("splash", "nokaslr", *program).connect() as client:
            until(lambda: [p.cmd for p in client.commands.list()] == program[1:2], "only what follows the dashes runs")
            assert sh(client, "tr '\\0' ' ' </proc/1/cmdline").find(" splash nokaslr") > 0

    def test_killing_init_is_not_possible(self, client):
        sh(client, "kill -9 1; kill -TERM -1; true", user="user")
        assert sh(client, "echo here") == "here"
