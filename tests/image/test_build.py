"""Templates: what is in them, that each kind boots, and that the same inputs make the same bytes."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import guestproto
import pytest
from conftest import IMAGE, script
from until import until

KINDS = {"ext4": "root.ext4", "tar": "root.tar", "oci": "oci.tar", "initramfs": "initramfs"}
CACHE = pathlib.Path(
    os.environ.get("GUESTD_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "guestd"
)


@pytest.fixture(scope="session")
def minimal():
    return pathlib.Path(script("build.sh", "minimal"))


@pytest.fixture(scope="session")
def base_python():
    return pathlib.Path(script("build.sh", "base-python", KINDS="ext4"))


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_apart(folder):
    """All of minimal, with nothing of the cache but the kernel, by somebody with other habits."""
    cache = folder / "cache"
    cache.mkdir(parents=True)
    (cache / "kernel").symlink_to(CACHE / "kernel")
    command = 'umask 077; exec sh "$0" minimal "$1"'
    run = subprocess.run(
        ["sh", "-c", command, IMAGE / "build.sh", folder / "out"], check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "GUESTD_CACHE": str(cache), "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"})
    return pathlib.Path(run.stdout.strip())


def date(template):
    return int((template / "root.tar").stat().st_mtime)


def test_same_inputs_same_bytes(minimal, tmp_path):
    """The Debian below is made again, too. Those of different package lists can't be the same: again, then."""
    one, other = minimal, build_apart(tmp_path / "a")
    for name in ("b", "c"):
        if date(one) == date(other):
            break
        one, other = other, build_apart(tmp_path / name)
    assert date(one) == date(other)
    assert {file: digest(one / file) for file in KINDS.values()} == {
        file: digest(other / file) for file in KINDS.values()}


def test_the_release_tells_nothing_of_where_it_was_made(tmp_path):
    tree = tmp_path / "some/where/else"
    for name in ("guestd", "proto", "image"):
        shutil.copytree(IMAGE.parent / name, tree / name)
    for name in ("meson.build", "meson_options.txt"):
        shutil.copy(IMAGE.parent / name, tree / name)
    subprocess.run(["sh", tree / "image/release.sh", tmp_path / "out"], check=True)
    here = pathlib.Path(script("binaries.sh"))
    assert [digest(tmp_path / "out" / name) for name in ("guestd", "guestctl")] == [
        digest(here / name) for name in ("guestd", "guestctl")]


def test_what_is_there_stays(minimal):
    before = {file: (minimal / file).stat().st_ino for file in KINDS.values()}
    script("build.sh", "minimal")
    assert {file: (minimal / file).stat().st_ino for file in KINDS.values()} == before


def test_the_tree(minimal):
    with tarfile.open(minimal / "root.tar") as tar:
        members = {member.name: member for member in tar}
    names = list(members)
    assert names == sorted(names, key=lambda name: name.encode().split(b"/"))
    assert [name for name in names if name.startswith("./root/")] == []
    for name in ("./app", "./data", "./workspace", "./home/user"):
        assert members[name].isdir() and members[name].uid == members[name].gid == 1000, name
    assert members["./usr/sbin/init"].mode == 0o755 and "./usr/bin/git" in members
    assert max(member.mtime for member in members.values()) <= date(minimal)
    assert not any(member.name.startswith(("./etc/resolv.conf", "./etc/machine-id")) for member in members.values())


def test_a_disk_boots(minimal, boot):
    with boot(minimal / "root.ext4").connect() as client:
        done = client.call("exec", cmd="sh", args=["-ec", "cd; pwd; id -un; git init -q repo; ls /root"], user="user")
        assert done["stdout"] == "/home/user\nuser\n"
        done = client.commands.run("cat /etc/hostname; git -C /home/user/repo -c safe.directory='*' status -s; pwd")
        assert (done.stdout, done.exit_code) == ("capsule\n/root\n", 0)
        assert client.commands.run("command -v python").exit_code != 0


def test_python_is_there(base_python, boot):
    with boot(base_python / "root.ext4").connect() as client:
        for name in ("python", "python3"):
            assert client.call("exec", cmd=name, args=["-c", "print(6 * 7)"])["stdout"] == "42\n"


def test_the_oci_image_is_what_its_digests_say(minimal):
    with tarfile.open(minimal / "oci.tar") as tar:
        def read(name):
            return tar.extractfile(name).read()

        def blob(descriptor):
            algorithm, _, sum = descriptor["digest"].partition(":")
            data = read(f"blobs/{algorithm}/{sum}")
            assert hashlib.sha256(data).hexdigest() == sum and len(data) == descriptor["size"]
            return data

        assert json.loads(read("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        [described] = json.loads(read("index.json"))["manifests"]
        manifest = json.loads(blob(described))
        config = json.loads(blob(manifest["config"]))
        [layer] = manifest["layers"]
        assert hashlib.sha256(blob(layer)).hexdigest() == digest(minimal / "root.tar")
        assert config["rootfs"]["diff_ids"] == [layer["digest"]]
        assert config["config"]["Entrypoint"] == ["/sbin/init"]


# ── containers ──

# As little of the machine as possible is asked for: these also run where podman itself is in a container.
PODMAN = ["podman", "--runtime", "runc", "run", "--rm", "--network=none", "--ulimit", "nofile=1024:2048", "--ulimit",
          "nproc=9000:9000"]


@pytest.fixture
def podman():
    """podman(*arguments) → what it prints. Its images, and what it runs, are the test's own."""
    if not shutil.which("podman") or not shutil.which("runc"):
        pytest.skip("no podman with runc here")
    made = []

    def run(*arguments):
        done = subprocess.run(["podman", *arguments], stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    run.made = made
    yield run
    for image in made:
        subprocess.run(["podman", "rmi", "--force", image], stdout=subprocess.DEVNULL, check=True)


def check_container(image, folder, cmd, *args):
    """guestd is what the image starts, and serves where its option says."""
    container = subprocess.Popen([*PODMAN, "-v", f"{folder}:/socket", image, "--listen", "unix:/socket/s"])

    def connected():
        assert container.poll() is None
        try:
            return guestproto.connect(f"unix:{folder}/s")
        except OSError:
            return None

    try:
        with until(connected, "guestd answers in the container", 60) as client:
            done = client.call("exec", cmd=cmd, args=list(args))
            assert (done["exit_code"], client.call("info")["pid1"]) == (0, True)
            client.call("shutdown", mode="exit", grace=1)
        assert container.wait(60) == 0
        return done["stdout"]
    finally:
        container.kill()
        container.wait()


def test_podman_runs_the_oci_image(minimal, podman, tmp_path):
    name = podman("load", "-q", "-i", minimal / "oci.tar").rpartition(" ")[2]
    podman.made.append(name)
    assert "minimal" in name
    assert check_container(name, tmp_path, "git", "--version").startswith("git version ")


def test_two_lines_add_guestd_to_any_base(podman, tmp_path):
    """Here to an empty one, with a program of its own kind."""
    release = pathlib.Path(script("binaries.sh"))
    name = f"localhost/guestd-test-{os.getpid()}"
    podman("build", "-q", "-t", name, "--build-arg", "BASE=scratch", "-f", IMAGE / "Containerfile", release)
    podman.made.append(name)
    assert check_container(name, tmp_path, "/sbin/guestd", "--version").startswith("guestd ")
