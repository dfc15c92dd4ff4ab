"""What a name stands for: a file, a folder, a pattern, or an address.

Addresses (`s3://`, `gs://`, `hf://datasets/...`, `memory://`) go through fsspec and need the
package of their store. A folder that `datasets.save_to_disk` wrote is its Arrow files in their
order; any other folder is all files in it whose names say that they hold rows.
"""

from __future__ import annotations

import glob
import io
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

from spct.errors import DataError, ExtraMissing

T = TypeVar("T")

STALL_S = 120.0  # more than a healthy store's client takes for its own tries
WRITE_S = 600.0  # a call may send 50 MB, which take minutes on a slow line
ROWS = (".jsonl", ".json", ".ndjson", ".parquet", ".pq", ".csv", ".tsv", ".arrow", ".feather")
PACKED = (".gz", ".zst")
PLAIN = (".jsonl", ".json", ".ndjson", ".csv", ".tsv")
UNPACKED = 5  # how many bytes of text a byte of the other files is taken for
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_PATTERN = re.compile(r"[*?[]")


def is_address(name: str) -> bool:
    """Whether a name is an address and no path."""
    return bool(_ADDRESS.match(name))


def unpacked_name(name: str) -> str:
    """The name without the ending of its compression."""
    return next((name.removesuffix(end) for end in PACKED if name.endswith(end)), name)


def expand(names: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files that names stand for, in order, each once; raise `DataError` for one of nothing."""
    found = [file for name in names for file in _files(os.fspath(name))]
    return list(dict.fromkeys(found))


def _files(name: str) -> list[str]:
    if name == "-":
        return [name]
    if is_address(name):
        return _remote_files(name)
    if Path(name).is_dir():
        return _in_folder(name)
    if _PATTERN.search(name) and not Path(name).exists():
        if files := [file for file in sorted(glob.glob(name, recursive=True)) if _is_file(file)]:
            return files
        raise DataError(f"reading {name}: the pattern matches no file")
    if not Path(name).exists():
        raise DataError(f"reading the input: the file {name!r} does not exist")
    return [name]


def _is_file(name: str) -> bool:
    return not Path(name).is_dir()


def _holds_rows(name: str) -> bool:
    return unpacked_name(name).endswith(ROWS)


def _in_folder(name: str) -> list[str]:
    folder = Path(name)
    state = folder / "state.json"
    if state.is_file() and (folder / "dataset_info.json").is_file():
        try:
            files = [
                folder / part["filename"] for part in json.loads(state.read_text())["_data_files"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"reading {state}: {error!r}; it is not what `datasets` writes"
            ) from None
        return [str(file) for file in files]
    if (folder / "dataset_dict.json").is_file():
        splits = ", ".join(sorted(str(part) for part in folder.iterdir() if part.is_dir()))
        raise DataError(f"reading {name}: it is a folder with several splits; name one: {splits}")
    inside = (file for file in sorted(folder.rglob("*")) if file.is_file())
    shown = [str(f) for f in inside if not f.name.startswith((".", "_")) and _holds_rows(f.name)]
    if not shown:
        raise DataError(
            f"reading {name}: it is a folder without a file of rows ({', '.join(ROWS)})"
        )
    return shown


def filesystem(name: str) -> tuple[Any, str]:
    """The store that an address names, and the path in it."""
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("fsspec", "scale") from error
    try:
        store, path = fsspec.core.url_to_fs(name)
    except ImportError as error:  # fsspec says which package opens this kind of address
        raise DataError(f"opening {name}: {error}") from error
    except Exception as error:  # every store has errors of its own
        raise DataError(f"opening {name}: {told(error)}") from error
    return store, path


def told(error: BaseException) -> str:
    """An error of a store in one line; some have no words."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def within(name: str, call: Callable[..., T], *args: Any) -> T:
    """What a store that is read answers; one that says nothing for `STALL_S` is an error."""
    try:
        return _answer(STALL_S, call, *args)
    except Silent as error:
        raise DataError(f"reading {name}: {error}; the same command tries again") from None


class Silent(TimeoutError):
    """A store gave no answer within its time."""


def _answer(seconds: float, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What a store answers, and no endless wait: `Silent` is raised after so many seconds.

    Several stores' own clients wait for ever, or try again for many minutes.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(call(*args, **kwargs))
        except BaseException as error:  # whatever it is, it belongs to who asked
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # a stuck one must not keep us from ending
    try:
        return answer.result(seconds)
    except TimeoutError:
        if answer.done():
            raise
        raise Silent(f"got nothing from its store for {seconds:g} s") from None


class Patient:
    """A store that is written to, or a file in it: each call must answer within `WRITE_S`.

    After one that did not, every other raises `Silent` at once: nobody waits again to clear up.
    """

    def __init__(self, of: Any, is_silent: threading.Event | None = None) -> None:
        self._of, self._is_silent = of, is_silent or threading.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._is_silent.is_set():
                raise Silent("its store has said nothing before")
            try:
                answer = _answer(WRITE_S, found, *args, **kwargs)
            except Silent:
                self._is_silent.set()
                raise
            return Patient(answer, self._is_silent) if hasattr(answer, "write") else answer

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._is_silent.is_set():
            with suppress(Exception):  # or the file would write its rest as it goes, and wait
                self._of.closed = True


def writable(name: str) -> tuple[Any, str]:
    """The store that the name of a folder stands for, to be written to, and the path in it."""
    store, path = filesystem(name)
    return (Patient(store) if is_address(name) else store), path


class _Remote(io.RawIOBase):
    """The bytes of a remote file, each piece within its time."""

    def __init__(self, name: str, file: Any) -> None:
        self._name, self._file = name, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found: bytes = within(self._name, self._file.read, len(buffer))
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def remote(name: str) -> Iterator[BinaryIO]:
    """The bytes of an address."""
    store, path = filesystem(name)
    with within(name, store.open, path, "rb") as file:
        # fsspec's own files know no readline of a bounded length
        yield io.BufferedReader(_Remote(name, file), 2**20)


def _remote_files(name: str) -> list[str]:
    store, path = filesystem(name)
    try:
        if _PATTERN.search(path):
            found = sorted(within(name, store.glob, path))
        elif name.startswith("http") or not within(name, store.isdir, path):
            return [name]  # a web server has no folders
        else:
            found = sorted(file for file in within(name, store.find, path) if _holds_rows(file))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"listing {name}: {told(error)}") from error
    if not found:
        raise DataError(f"{name} holds no file of rows")
    return [store.unstrip_protocol(file) for file in found]


def weight(name: str) -> int:
    """About how many bytes of rows a file holds, without opening it; 0 where nobody knows."""
    try:
        if is_address(name):
            store, path = filesystem(name)
            size = within(name, store.size, path) or 0
        else:
            size = os.path.getsize(name)
    except DataError:
        raise
    except Exception:  # every store has errors of its own; the reading will say what is wrong
        return 0
    return int(size) * (1 if name.endswith(PLAIN) else UNPACKED)


def fetched(name: str) -> Path:
    """Copy a remote file here; the caller deletes it.

    What needs to jump about in a file (Parquet, Arrow) would ask the store for each jump.
    """
    with tempfile.NamedTemporaryFile(prefix="spct-", delete=False) as copy:
        try:
            with remote(name) as file:
                shutil.copyfileobj(file, copy, 2**20)
        except BaseException:
            os.unlink(copy.name)
            raise
    return Path(copy.name)
