"""Run folders: `runs/<utc>_<name>_<id>/` with run.db, config.json and env.json, and their lock."""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from spct import __version__
from spct.errors import StoreError


def new_run_folder(root: str | Path, name: str) -> Path:
    """Make a folder that only its owner can read, with an id so that no two runs share it."""
    utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    slug = re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:40] or "run"
    folder = Path(root) / f"{utc}_{slug}_{secrets.token_hex(3)}"
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StoreError(f"cannot make the run folder {folder}: {error}") from error
    return folder


def write_run_files(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json and env.json before any work starts; `config` must hold no secret."""
    for name, content in (("config.json", dict(config)), ("env.json", environment())):
        with atomic_text(folder / name) as file:
            file.write(json.dumps(content, indent=2, sort_keys=True) + "\n")


def environment() -> dict[str, Any]:
    """Return the versions that a result depends on; no host name, user, path or variable."""
    from importlib.metadata import distributions

    packages = {d.name: d.version for d in distributions()}
    return {
        "spct": __version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": dict(sorted(packages.items())),
    }


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only when it is complete."""
    with atomic_path(path) as part, part.open("x", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a new name beside `path`; what is written there replaces `path` at the end."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


class RunLock:
    """An exclusive lock on a run folder, held until `release` or the death of the process."""

    def __init__(self, folder: Path) -> None:
        import fcntl  # POSIX only, as the lock that dies with its holder is

        path = folder / "run.lock"
        try:
            # Not run.db: closing another descriptor of it would drop SQLite's own locks.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the lock {path}: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise StoreError(
                f"the run in {folder} is in use by process {holder}; wait until it ends, stop it,"
                " or choose another run folder"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next process in."""
        os.ftruncate(self._file, 0)
        os.close(self._file)
