"""Run folders: `runs/<utc>_<name>_<id>/` with run.db, config.json and env.json, and their lock.

Which folder a command continues does not depend on the clock: config.json carries the run's number
among those of its root, and the highest one of an identity is the one that was begun last. Looking
for a folder and making one happen under a lock of the root, so that two commands at once cannot
both find nothing. A folder appears under its name only when its config.json is in it: whatever
stops a command on the way, there is never a folder that no command would continue.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self, TextIO

from spct import __version__
from spct.errors import StoreError

CONFIG_NAME, ENV_NAME = "config.json", "env.json"
_MOST_CONFIG_BYTES = 2**24  # a config.json beyond this is not one of ours


class Claim(NamedTuple):
    """A run folder that this process alone may write, and whether it was made just now."""

    folder: Path
    lock: RunLock
    is_new: bool


@contextmanager
def claimed(
    root: Path,
    name: str,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    fresh: bool = False,
    at: Path | None = None,
) -> Iterator[Claim]:
    """Hold the run folder of `identity` under `root` that a command continues, or a new one.

    `fresh` always makes a new one; `at` names the folder itself, made where it is not there. The
    files of a new folder are written; those of an old one are the caller's to write, once it knows
    that it goes on with the same run (`write_run_files`).
    """
    content = {"identity": dict(identity), "settings": dict(settings)}
    if at is not None and at.is_dir():
        claim = Claim(at, RunLock(at), is_new=False)
    elif at is not None:
        with _root_lock(at.parent):
            claim = _claim_at(at, content)
    else:
        with _root_lock(root):
            found = None if fresh else find_run(root, identity)
            claim = _claim_at(found, content) if found else _new_run(root, name, content)
    try:
        yield claim
    finally:
        claim.lock.release()


def find_run(root: Path, identity: Mapping[str, Any]) -> Path | None:
    """The run folder under `root` that was begun last with this identity."""
    found = []
    identity = json.loads(json.dumps(identity))  # as config.json holds it: tuples are lists there
    for file in root.glob("*/" + CONFIG_NAME):
        config = read_config(file)
        if config is not None and config.get("identity") == identity:
            found.append((_number(config), file.parent.name, file.parent))
    return max(found)[2] if found else None


def read_config(file: Path) -> dict[str, Any] | None:
    """What a config.json holds; None if it is damaged or not a run's: it is never continued."""
    try:
        if file.stat().st_size > _MOST_CONFIG_BYTES:
            return None
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _number(config: Mapping[str, Any]) -> int:
    number = config.get("number", 0)  # runs of 0.1.0 have none: they come before all others
    return number if isinstance(number, int) else 0


def _new_run(root: Path, name: str, content: Mapping[str, Any]) -> Claim:
    """Make a folder that only its owner can read, with an id so that no two runs share it."""
    for stale in root.glob(".*.part"):  # of a command that was killed while it held the root
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
    utc = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    slug = re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:40] or "run"
    numbers = [_number(read_config(file) or {}) for file in root.glob("*/" + CONFIG_NAME)]
    folder = root / f"{utc}_{slug}_{secrets.token_hex(3)}"
    return _made(folder, {**content, "number": max(numbers, default=0) + 1})


def _claim_at(folder: Path, content: Mapping[str, Any]) -> Claim:
    """The folder itself; made if it is not there."""
    if not folder.is_dir():
        return _made(folder, {**content, "number": 1})
    return Claim(folder, RunLock(folder), is_new=False)


def _made(folder: Path, content: Mapping[str, Any]) -> Claim:
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a kill: under the lock nobody else is at it
    try:
        try:
            part.mkdir(mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot make the run folder {folder}: {error}") from error
        lock = RunLock(part)
        try:
            write_run_files(part, content)
            part.rename(folder)
        except OSError as error:
            lock.release()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"cannot make the run folder {folder}: {error}") from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Claim(folder, lock, is_new=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error}") from error


@contextmanager
def folder_for(folder: Path) -> Iterator[None]:
    """Make a folder for what is written inside; after an error no empty one of it is left."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    _make(folder)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # something was written there
                path.rmdir()
        raise


@contextmanager
def _root_lock(root: Path) -> Iterator[None]:
    """Nobody else looks for a run here or makes one; held for as long as that takes."""
    import fcntl  # POSIX only, as the lock that dies with its holder is

    _make(root)
    try:
        file = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot open the folder {root}: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # of the folder itself: it leaves no file behind
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot lock the folder {root}: {error}") from error
    finally:
        os.close(file)


def write_run_files(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json and env.json before any work starts; `config` must hold no secret.

    A run keeps the number that it has.
    """
    if number := _number(read_config(folder / CONFIG_NAME) or {}):
        config = {"number": number, **config}
    for name, content in ((CONFIG_NAME, dict(config)), (ENV_NAME, environment())):
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
        with suppress(OSError):  # the disk that refused the file may refuse its removal too
            part.unlink(missing_ok=True)


class RunLock:
    """An exclusive lock on a run folder, held until `release` or the death of the process."""

    def __init__(self, folder: Path) -> None:
        import fcntl  # POSIX only, as the lock that dies with its holder is

        path = folder / "run.lock"
        self._file: int | None = None
        try:
            # Not run.db: closing another descriptor of it would drop SQLite's own locks. Without
            # O_NONBLOCK a pipe of this name would hold us for ever.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(path, flags, 0o600)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise OSError("it is not a regular file")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = self._holder()
            self.release()
            raise StoreError(
                f"the run in {folder} is in use by process {holder}; wait until it ends, stop it,"
                " or choose another run folder"
            ) from error
        except OSError as error:
            self.release()
            raise StoreError(
                f"cannot lock the run in {folder}: {path}: {error}; the folder must be one that "
                "this user can write, on a disk with room"
            ) from error

    def _holder(self) -> str:
        assert self._file is not None
        with suppress(OSError):
            return os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
        return "unknown"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the next process in. Idempotent.

        The number stays in the file: it says who held the run last, and a full disk at the end of
        a run must not turn a finished one into an error.
        """
        if self._file is not None:
            os.close(self._file)
            self._file = None
