"""What a name stands for: a file, a folder, a pattern, or an address.

Addresses (`s3://`, `gs://`, `hf://datasets/...`, `memory://`) go through fsspec and need the
package of their store. A folder that `datasets.save_to_disk` wrote is its Arrow files in their
order; any other folder is all files in it whose names say that they hold rows.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spct.errors import DataError, ExtraMissing

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


def _remote_files(name: str) -> list[str]:
    store, path = filesystem(name)
    try:
        if _PATTERN.search(path):
            found = sorted(store.glob(path))
        elif not name.startswith("http") and store.isdir(path):  # a web server has no folders
            found = sorted(file for file in store.find(path) if _holds_rows(file))
        else:
            return [name]
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
            size = store.size(path) or 0
        else:
            size = os.path.getsize(name)
    except Exception:  # every store has errors of its own; the reading will say what is wrong
        return 0
    return int(size) * (1 if name.endswith(PLAIN) else UNPACKED)


def fetched(name: str) -> Path:
    """Copy a remote file here; the caller deletes it.

    What needs to jump about in a file (Parquet, Arrow) would ask the store for each jump.
    """
    store, path = filesystem(name)
    with tempfile.NamedTemporaryFile(prefix="spct-", delete=False) as copy:
        try:
            with store.open(path, "rb") as remote:
                shutil.copyfileobj(remote, copy, 2**20)
        except BaseException:
            os.unlink(copy.name)
            raise
    return Path(copy.name)
