"""Virtual environments with other people's software, made once and kept in `.external/`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".external"
RAY = ("ray[data,serve]>=2.40", "-e", f"{ROOT}[parquet]")


def environment(
    name: str,
    *packages: str,
    no_deps: tuple[str, ...] = (),
    python: str = sys.executable,
    beside: bool = False,
) -> Path:
    """The interpreter of an environment that holds the packages; made at its first use.

    With `beside` it also sees what is installed here, behind its own: spct with torch and TRL. What
    is in `no_deps` is then built with those.
    """
    folder = HOME / name
    done = folder / "done"
    wanted = "\n".join((*packages, "-", *no_deps))
    if not done.is_file() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "--disable-pip-version-check", "install", "-q"]
        if packages:
            subprocess.run([*pip, *packages], check=True, cwd=ROOT)
        if beside:
            (own,) = folder.glob("lib/python*/site-packages")
            (own / "zz_beside.pth").write_text(sysconfig.get_paths()["purelib"])
            pip.append("--no-build-isolation")
        if no_deps:
            subprocess.run([*pip, "--no-deps", *no_deps], check=True, cwd=ROOT)
        done.write_text(wanted)
    return folder / "bin" / "python"


def run(python: Path, code: str, *arguments: str, **environ: str) -> str:
    """What a script prints in an environment; an error shows all that it said."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-c", code, *arguments],
        capture_output=True, text=True, timeout=900, env={**clean, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@contextmanager
def gateway(*arguments: str) -> Iterator[str]:
    """The address of `spct serve scripted` as a process of this checkout."""
    command = [sys.executable, "-c", "from spct.cli.main import main; main()", "serve", "scripted",
               "--port", "0", "--log-level", "error", *arguments]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert running.stdout is not None
        found = re.search(r"http://\S+", running.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        running.terminate()
        running.communicate(timeout=30)
