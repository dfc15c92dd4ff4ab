"""Disks that fail, fill up or turn read-only, and clocks that jump, over the commands that store.

    python -m tests.fuzz.disks --times 5        (as root, with gcc: it mounts small disks)

Each fault comes at a random moment. A command that meets it must end with 5 and one sentence; the
same command on a sound disk then goes on, pays for nothing that was stored, and comes to what a run
without faults comes to. A jumping clock must change nothing at all.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.kills import Endpoint, commands, spct, stored, write_inputs, wrong_in

SHIM = Path(__file__).with_name("faulty.c")
Environment = dict[str, str]


@contextmanager
def eio(disk: Path, dice: random.Random, shim: str) -> Iterator[Environment]:
    yield {
        "LD_PRELOAD": shim,
        "FAULTY_UNDER": str(disk),
        "FAULTY_AFTER": str(dice.randrange(1, 200)),
    }


@contextmanager
def clock(disk: Path, dice: random.Random, shim: str) -> Iterator[Environment]:
    yield {"LD_PRELOAD": shim, "FAULTY_CLOCK": str(dice.choice((2, 3600, 10**7)))}


@contextmanager
def full(disk: Path, dice: random.Random, shim: str) -> Iterator[Environment]:
    remount(disk, f"size={dice.randrange(8, 600)}k")
    yield {}
    remount(disk, "size=64m")


@contextmanager
def readonly(disk: Path, dice: random.Random, shim: str) -> Iterator[Environment]:
    # A file that is open for writing forbids the change, so a disk turns read-only before a start.
    remount(disk, "ro")
    yield {}
    remount(disk, "rw")


@contextmanager
def fills_up(disk: Path, dice: random.Random, shim: str) -> Iterator[Environment]:
    """Somebody else takes the room in the middle of the run."""
    hog = disk / "hog"

    def fill() -> None:
        time.sleep(dice.uniform(0.5, 3))
        with hog.open("wb") as file:
            try:
                while True:
                    file.write(bytes(2**16))
                    file.flush()
            except OSError:
                pass

    thread = threading.Thread(target=fill)
    thread.start()
    yield {}
    thread.join()
    hog.unlink(missing_ok=True)


FAULTS: dict[str, Callable[[Path, random.Random, str], Any]] = {
    "EIO": eio,
    "full disk": full,
    "disk that fills up": fills_up,
    "read-only disk": readonly,
    "jumping clock": clock,
}


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="each fault over each command")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dice, bad, met = random.Random(args.seed), Counter[str](), Counter[str]()
    root = Path(tempfile.mkdtemp(prefix="spct-disks-"))
    shim, disk = str(root / "faulty.so"), root / "disk"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, str(SHIM), "-ldl"], check=True)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
    endpoint, references = Endpoint(latency_s=0.01), dict[str, Any]()
    write_inputs(root, endpoint.url)
    try:
        for name, (arguments, stores) in commands(root, endpoint.url).items():
            out = disk / "out"

            def run(extra: Environment, command: list[str] = arguments) -> tuple[int, str]:
                done = subprocess.run(
                    spct(*command, "--out", str(disk / "out")),
                    capture_output=True,
                    text=True,
                    env={**os.environ, **extra},
                    timeout=120,
                )
                return done.returncode, done.stderr

            def tell(what: str, errors: str, name: str = name) -> None:
                bad[what] += 1
                print(f"{name}: {what}: {errors[-500:]}", flush=True)

            for fault in [None, *FAULTS] + [*FAULTS] * (args.times - 1):
                shutil.rmtree(out, ignore_errors=True)
                if fault is not None:
                    with FAULTS[fault](disk, dice, shim) as extra:
                        code, errors = run(extra)
                    met[f"{fault}, ended with {code}"] += 1
                    allowed = (0,) if fault == "jumping clock" else (0, 5)
                    if code not in allowed or "Traceback" in errors:
                        tell(f"{fault}: exit {code}", errors)
                before = stored(stores(out)) if out.exists() else set()
                at = len(endpoint.asked)
                code, errors = run({})
                if code:
                    tell(f"after {fault}: exit {code}", errors)
                    continue
                again = before & {a for a in endpoint.asked[at:] if a[0] != "id-0"}
                if again:
                    tell(f"after {fault}: paid twice", str(sorted(again)[:3]))
                for wrong in wrong_in(stores(out), name, references):
                    tell(f"after {fault}: not the same", wrong)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        shutil.rmtree(root, ignore_errors=True)
    for what, count in sorted(met.items()):
        print(f"{what}: {count} runs")
    print(f"{sum(met.values())} runs with a fault: {sum(bad.values())} faults of ours")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
