"""boot.py ROUNDS NAME=INIT...: boots a machine of each init in turn, and tells what each took from its exec to `ready`."""

import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "image"), str(ROOT / "proto/python")]

import guestproto_wire  # noqa: E402  (it needs the path above)
from microvm import Machine  # noqa: E402


def boot(folder, disk):
    with tempfile.TemporaryDirectory(dir=folder) as place, Machine(place, disk) as machine:
        ready = guestproto_wire.decode_body(machine.wait_ready())[3]
        return machine.phases(ready["uptime_ms"]), machine.settings.accel


def main():
    rounds, inits = int(sys.argv[1]), dict(argument.split("=", 1) for argument in sys.argv[2:])
    took = {name: [] for name in inits}
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        for name, init in inits.items():
            subprocess.run(["sh", ROOT / "image/rootfs.sh", init, f"{folder}/{name}"], check=True)
        for _ in range(rounds):
            for name in inits:
                phases, accel = boot(folder, f"{folder}/{name}")
                took[name].append(phases.guestd)
    for name, times in took.items():
        print(f"{name:10} {statistics.median(times):5.0f} ms  ({min(times)} to {max(times)}, {rounds} boots, {accel})")


if __name__ == "__main__":
    main()
