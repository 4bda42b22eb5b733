"""Machines that are saved to disk and brought back, left by one program and found by another, and booted side by side."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

import guestproto
import microvm
import pytest
import vmlib
from until import until

IMAGE = pathlib.Path(microvm.__file__).parents[1]
COUNTER = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


def sh(client, script, **params):
    result = client.commands.run(script, **params)
    assert result.exit_code == 0, result
    return result.stdout.strip()


@pytest.fixture
def folder():
    """A snapshot's place."""
    path = vmlib.short_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def restore():
    """restore(folder) → a machine of the test's own, which went on from the snapshot."""
    running = []

    def start(folder):
        running.append(vmlib.Capsule.restore(folder, vmlib.short_folder()))
        return running[-1]

    yield start
    for capsule in running:
        capsule.close()


def counted(client):
    """What the counter has said in all, to its end here."""
    client.commands.kill(tag="counter")
    said = b""
    for item in client.commands.attach(tag="counter"):
        assert not isinstance(item, guestproto.Gap)
        if isinstance(item, guestproto.Data):
            said += item.data
    return [int(line) for line in said.split()]


class TestSave:
    def test_a_machine_goes_on_where_it_stopped(self, boot, folder, restore):
        capsule = boot()
        with capsule.connect() as client:
            before = client.info()
            client.commands.run(COUNTER, background=True, tag="counter")
            done = client.commands.run("echo kept; exit 3", background=True, tag="done")
            until(lambda: done.get().state == "exited", "it has exited")
            client.files.write("/root/disk", b"on the disk")
            client.files.write("/tmp/memory", b"in memory")
        capsule.save(folder)
        assert capsule.qemu.poll() == 0

        with restore(folder).connect() as client:
            after = client.info()
            assert (after["boot_id"], after["restarts"]) == (before["boot_id"], before["restarts"])
            assert client.files.read("/root/disk") == b"on the disk"
            assert client.files.read("/tmp/memory") == b"in memory"
            result = client.commands.wait(tag="done", output=True)
            assert (result.stdout, result.exit_code) == ("kept\n", 3)
            numbers = counted(client)
            assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 1

    def test_two_go_on_from_one_snapshot(self, boot, folder, restore):
        capsule = boot()
        with capsule.connect() as client:
            client.files.write("/root/file", b"first")
            client.commands.run(COUNTER, background=True, tag="counter")
        capsule.save(folder)
        # A snapshot needs nothing but its folder.
        shutil.rmtree(capsule.directory)
        moved = folder / "moved"
        moved.mkdir()
        for path in list(folder.iterdir()):
            if path != moved:
                path.rename(moved / path.name)

        with restore(moved).connect() as one, restore(moved).connect() as other:
            one.files.write("/root/file", b"changed")
            assert other.files.read("/root/file") == b"first"
            one.commands.kill(tag="counter")
            assert other.commands.get(tag="counter").state == "running"
        with restore(moved).connect() as third:
            assert third.files.read("/root/file") == b"first"

    def test_again_and_again_and_the_first_connection_always_works(self, boot, folder, restore):
        capsule = boot()
        with capsule.connect() as client:
            client.commands.run(COUNTER, background=True, tag="counter")
        for n in range(4):
            capsule.save(folder / str(n))
            capsule = restore(folder / str(n))
            with capsule.connect() as client:
                assert sh(client, f"echo {n} >>/root/file; wc -l </root/file") == str(n + 1)
        with capsule.connect() as client:
            numbers = counted(client)
            assert numbers == list(range(1, len(numbers) + 1))

    def test_what_cannot_be_saved_goes_on(self, boot, folder):
        capsule = boot()
        with capsule.connect() as client:
            client.commands.run(COUNTER, background=True, tag="counter")
        (folder / "memory").symlink_to("/dev/full")
        with pytest.raises(microvm.QmpError):
            capsule.save(folder)
        assert not (folder / "machine.json").exists()
        with capsule.connect() as client:
            assert client.commands.get(tag="counter").state == "running"
        (folder / "memory").unlink()
        capsule.save(folder)


class TestFinding:
    def test_a_machine_outlives_the_program_that_booted_it(self, rootfs, folder, restore):
        program = ("import os, sys, microvm; m = microvm.Machine(sys.argv[1], sys.argv[2]); m.wait_ready(); "
                   "os.kill(os.getpid(), 9)")
        directory = vmlib.short_folder()
        run = subprocess.run([sys.executable, "-c", program, directory, rootfs], env={**os.environ, "PYTHONPATH": str(IMAGE)})
        assert run.returncode == -9
        capsule = vmlib.Capsule.attach(directory)
        try:
            with capsule.connect() as client:
                client.files.write("/root/file", b"here")
            capsule.save(folder)
            with restore(folder).connect() as client:
                assert client.files.read("/root/file") == b"here"
            with pytest.raises(ProcessLookupError):
                vmlib.Capsule.attach(directory)
        finally:
            capsule.close()

    def test_another_process_of_that_number_is_not_taken_for_it(self, boot):
        capsule = boot()
        running = capsule.directory / "running.json"
        known = json.loads(running.read_text())
        known["qemu"][1] -= 1
        running.write_text(json.dumps(known))
        with pytest.raises(ProcessLookupError):
            vmlib.Capsule.attach(capsule.directory)


class TestMany:
    def test_three_boot_at_once_and_none_is_taken_for_another(self, rootfs):
        with concurrent.futures.ThreadPoolExecutor() as threads:
            boots = [threads.submit(vmlib.Capsule, rootfs, [f"guestd.hostname=box{n}"], memory=256) for n in range(3)]
            concurrent.futures.wait(boots)
        capsules = [boot.result() for boot in boots if not boot.exception()]
        try:
            assert len(capsules) == 3
            for n, capsule in enumerate(capsules):
                with capsule.connect() as client:
                    assert sh(client, "hostname") == f"box{n}"
        finally:
            for capsule in capsules:
                capsule.close()

    def test_processors_and_memory_are_those_asked_for(self, rootfs):
        with vmlib.Capsule(rootfs, vcpus=2, memory=300) as capsule, capsule.connect() as client:
            assert sh(client, "nproc") == "2"
            assert 200 << 10 < int(sh(client, "sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo")) < 300 << 10
