"""--drop-bad: bad rows are left out, counted by kind, and kept in a file to look at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spct.runs.codec import to_line
from spct.runs.folder import atomic_text

if TYPE_CHECKING:
    from spct.data.dropped import Dropped
    from spct.types import Example

DropBad = Annotated[
    bool,
    typer.Option(
        "--drop-bad",
        rich_help_panel="Which examples",
        help="Leave bad rows out: counts by kind on stderr, the rows in NAME.bad.jsonl.",
    ),
]
RetryUnscored = Annotated[
    bool, typer.Option("--retry-unscored", help="Ask again for judgements that do not count.")
]
MAX_KINDS = 10


def read(path: str | Path, drop_bad: bool) -> list[Example]:
    """The examples of a file, without its bad rows if they are to be dropped."""
    from spct.data.rows import read_examples

    with dropping(str(path), wanted=drop_bad) as drop:
        return list(read_examples(path, drop=drop))


@contextmanager
def dropping(
    source: str, folder: Path | None = None, *, wanted: bool = True
) -> Iterator[Dropped | None]:
    """What `read_examples` takes as `drop`; the counts are told and the file is there at the end.

    The file lies in the given folder, or in the current one, and only if a row was bad.
    """
    if not wanted:
        yield None
        return
    from spct.data.dropped import Dropped

    stem = "stdin" if source == "-" else Path(source).name.partition(".")[0] or "rows"
    path = (folder or Path()) / f"{stem}.bad.jsonl"
    with ExitStack() as stack:
        file: Any = None

        def keep(row: dict[str, Any]) -> None:
            nonlocal file
            file = file or stack.enter_context(atomic_text(path))
            file.write(to_line(row) + "\n")

        dropped = Dropped(keep)
        yield dropped
    if dropped.n:
        print(f"{source}: bad rows left out: {dropped.n:,}; see {path}", file=sys.stderr)
        kinds = sorted(dropped.kinds.items(), key=lambda kind: -kind[1])
        for kind, n in kinds[:MAX_KINDS]:
            print(f"  {n:,}: {kind:.300}", file=sys.stderr)
        if len(kinds) > MAX_KINDS:
            print(f"  ... and {len(kinds) - MAX_KINDS} more kinds", file=sys.stderr)
