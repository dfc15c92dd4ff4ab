"""A person's own verdicts on a run: one JSON line each in `human.jsonl`, the last one counts.

A mark is the index of the best response, "tie", or "skip" (seen, not decided). Marks are evidence
of their own: nothing here changes a verdict, and gold stays what the data say.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spct.errors import DataError, StoreError
from spct.measure.agreement import cohens_kappa
from spct.view.keys import id_of

NAME = "human.jsonl"


class Marks:
    """The marks of one run folder; `read` again sees what another page wrote."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    @property
    def is_writable(self) -> bool:
        """Whether a mark can be kept here."""
        target = self.path if self.path.exists() else self.path.parent
        return os.access(target, os.W_OK)

    def read(self) -> dict[str, dict[str, Any]]:
        """The last mark of each example; a line that a crash cut short is left out."""
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read the verdicts in {self.path}: {error}") from error
        found: dict[str, dict[str, Any]] = {}
        for line in lines:
            try:
                mark = json.loads(line)
                found[mark["id"]] = {"mark": mark["mark"], "note": str(mark.get("note", ""))}
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def by_id(self) -> dict[str, dict[str, Any]]:
        """The same by the example's own id."""
        return {id_of(key): mark for key, mark in self.read().items()}

    def add(self, id: str, mark: object, note: str, n: int) -> None:
        """Keep a mark for an example of `n` responses."""
        is_index = isinstance(mark, int) and not isinstance(mark, bool) and 0 <= mark < n
        if not (is_index or mark in ("tie", "skip")):
            raise DataError(
                f"marking example {id!r}: got {mark!r}, expected a response from 0 to {n - 1},"
                ' "tie" or "skip"'
            )
        line = json.dumps({"id": id, "mark": mark, "note": note[:2000], "time": time.time()})
        try:
            # one write of one line: two pages that append at once do not mix their lines
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise StoreError(
                f"cannot keep your verdict in {self.path}: {error}; copy the run to a folder that"
                " you can write to"
            ) from error


def agreement(pairs: Sequence[tuple[object, int | None]]) -> dict[str, Any] | None:
    """How often people's marks are the judge's winners (None is a tie), skipped ones left out."""
    both = [(mark, "tie" if winner is None else winner) for mark, winner in pairs if mark != "skip"]
    if not both:
        return None
    share = sum(a == b for a, b in both) / len(both)
    return {"n": len(both), "agreement": share, "kappa": cohens_kappa(both)}
