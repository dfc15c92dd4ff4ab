"""Files that hold no rows, though somebody takes them for such: each has its own sentence."""

from __future__ import annotations

import json
import re
from typing import Any

from spct.data.faults import Fault, named

_ROWS = "one JSON object per line, or one JSON array of objects"
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file under another name", "give it a name that ends in .parquet"),
    (b"\x1f\x8b", "a gzip file under another name", "give it a name that ends in .jsonl.gz"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file under another name", "let its name end in .jsonl.zst"),
    (b"PK\x03\x04", "a zip file", "unpack it first: unzip FILE"),
    (b"ARROW1", "an Arrow file under another name", "give it a name that ends in .arrow"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS and not the file itself",
        "fetch the file: git lfs pull",
    ),
)
_PAGE = re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def not_rows(name: str, line: bytes) -> Fault | None:
    """What a file is that does not begin as rows do, by its first line that is not empty."""
    for magic, what, fix in _MAGIC:
        if line.startswith(magic):
            return Fault("file", what, _ROWS, fix)
    if line.startswith(_UTF16) or b"\0" in line[:4]:
        way = f"iconv -f UTF-16 -t UTF-8 {name} > utf8.jsonl"
        return Fault("encoding", "UTF-16", "UTF-8", f"convert it: {way}")
    if _PAGE.match(line):
        fix = "a download may have failed, or the link may be that of the page"
        return Fault("file", "a web page", _ROWS, fix)
    if _is_table(line):
        ending = ".tsv" if b"\t" in line and b"," not in line else ".csv"
        first = line.decode("utf-8", "replace").strip()
        what = f"a CSV table under another name, which begins with {first!r:.120}"
        return Fault("file", what, _ROWS, f"give it a name that ends in {ending}")
    return None


def _is_table(line: bytes) -> bool:
    text = line.decode("utf-8", "replace").strip()
    if text[:1] in ("{", "[") and text[-1:] in ("}", "]", ","):
        return False
    cells = re.split(r"[,\t;]", text)
    is_header = len(cells) > 1 and all(re.fullmatch(r'\s*"?[\w .#-]{1,60}"?\s*', c) for c in cells)
    return is_header


def is_open_object(line: bytes) -> bool:
    """Whether an object begins on this line and does not end on it."""
    text = line.strip()
    return text.startswith(b"{") and text[-1:] in (b"{", b"[", b",", b":")


def one_object(name: str, data: bytes) -> Fault | None:
    """What a text is that holds an object over several lines; None if it is no JSON at all."""
    try:
        value, end = json.JSONDecoder().raw_decode(data.decode("utf-8").strip())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if data.decode("utf-8").strip()[end:].strip():
        fix = f"put each on one line: jq -c . {name} > rows.jsonl"
        return Fault("file", "objects that go over several lines", _ROWS, fix)
    return of_object(name, value) or Fault(
        "file",
        f"one JSON object with the keys {named(value)}",
        _ROWS,
        f"if it is one row, put it on one line: jq -c . {name} > rows.jsonl",
    )


def of_object(name: str, value: dict[str, Any]) -> Fault | None:
    """What one JSON object holds that is not a row but a whole file; None if it may be a row."""
    lists = {k: v for k, v in value.items() if isinstance(v, list) and v}
    tables = [
        k
        for k, v in lists.items()
        if all(isinstance(item, dict) and not item.keys() & {"role", "from"} for item in v)
    ]
    got = f"one JSON object with the keys {named(value)}"
    if tables and len(tables) == len(lists) and len(value) - len(tables) <= 3:
        key = tables[0] if len(tables) == 1 else None
        if key is not None and len(value) > 1 and len(value[key]) < 3:
            return None  # more likely a row with messages
        path = f".{json.dumps(key)}[]" if key else ".[][]"
        return Fault("file", got, _ROWS, f"take its rows out: jq -c '{path}' {name} > rows.jsonl")
    sizes = {len(v) for v in lists.values()}
    if len(lists) == len(value) > 1 and len(sizes) == 1 and sizes.pop() > 2:
        way = f"python -c \"import json, pandas as pd; pd.DataFrame(json.load(open('{name}')))"
        way += ".to_json('rows.jsonl', orient='records', lines=True)\""
        return Fault("file", f"one JSON object of columns ({named(value)})", _ROWS, way)
    rows = [v for v in value.values() if isinstance(v, dict)]
    if len(rows) == len(value) > 2 and len({tuple(sorted(map(str, row))) for row in rows}) == 1:
        got = f"one JSON object with a row under each of {len(rows):,} keys"
        return Fault("file", got, _ROWS, f"take the rows out: jq -c '.[]' {name} > rows.jsonl")
    return None
