"""One HTML file that holds a run: opens by double click, asks no network, can be mailed.

The page is the served one over another source: the same answers as `api.py` gives, inlined as JSON.
Prompts are the bulk of a run, and nearly all of a prompt is the template, the query and the
responses; so a prompt is kept as pieces: a reference to the example's own text, or the number of a
text that is stored once for the whole file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spct.errors import ConfigError, StoreError
from spct.runs.redact import hidden, without_texts
from spct.view.run import RunView, compare, runs_in
from spct.view.shell import fill, in_page, script, style

_PIECE = 40  # characters from which a text of the example is worth a reference


class Pieces:
    """Texts that many prompts share, each kept once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._number: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of this text."""
        if text not in self._number:
            self._number[text] = len(self.texts)
            self.texts.append(text)
        return self._number[text]

    def taken_apart(self, content: str, example: dict[str, Any]) -> list[Any]:
        """A prompt's text as references to the example and numbers of shared pieces."""
        known = [("response", i, text) for i, text in enumerate(example["responses"])]
        known += [("query", i, turn["content"]) for i, turn in enumerate(example["query"])]
        known = sorted((k for k in known if len(k[2]) >= _PIECE), key=lambda k: -len(k[2]))
        parts: list[Any] = [content]
        for kind, i, text in known:
            split: list[Any] = []
            for part in parts:
                if not isinstance(part, str):
                    split.append(part)
                    continue
                before, found, after = part.partition(text)
                split += [before, [kind, i], after] if found else [part]
            parts = split
        return [self.number(p) if isinstance(p, str) else p for p in parts if p != ""]


def export(
    runs: Sequence[RunView],
    path: Path,
    *,
    limit: int | None = None,
    only_wrong: bool = False,
    redact: bool = False,
    ranking: dict[str, Any] | None = None,
) -> int:
    """Write the page and return how many examples it holds.

    `limit` keeps the first examples of each run, `only_wrong` those that were judged wrong, and
    `redact` replaces every text by its length: verdicts, scores, orders and votes stay.
    """
    if path.suffix != ".html":
        raise ConfigError(f"--export: got {str(path)!r}, expected a name that ends in .html")
    pieces = Pieces()
    data: dict[str, Any] = {"rows": [], "examples": [], "figures": [], "compare": {}}
    n_written = 0
    for run in runs:
        filters = {"outcome": "wrong"} if only_wrong else {}
        rows = run.page(filters, offset=0, limit=limit if limit is not None else 1 << 40)["rows"]
        examples = {one["key"]: one for one in run.examples([row["id"] for row in rows])}
        if redact:
            rows = [row | {"head": hidden(row["head"]), "subset": row["subset"]} for row in rows]
            examples = {id: without_texts(one) for id, one in examples.items()}
        for one in examples.values():
            _compact(one, pieces)
        data["rows"].append(rows)
        data["examples"].append(examples)
        data["figures"].append(run.figures())
        n_written += len(rows)
    for i, before in enumerate(runs):
        for j, after in enumerate(runs[i + 1 :], i + 1):
            found = compare(before, after)
            if redact:
                found["changed"] = [c | {"head": hidden(c["head"])} for c in found["changed"]]
            data["compare"][f"{i},{j}"] = found
    note = _note(limit, only_wrong, redact)
    facts = [run.facts() | {"note": note} for run in runs]
    data |= {"boot": {"runs": facts, "ranking": ranking}, "pieces": pieces.texts}
    try:
        path.write_text(_page(data), "utf-8")
    except OSError as error:
        raise StoreError(f"cannot write the page {path}: {error}") from error
    return n_written


PAGE_EXAMPLES = 200  # of each run, in the page that bench writes beside its report


def write_page(folder: Path) -> Path:
    """Write `report.html` beside a report: the first examples of every run below the folder."""
    runs = runs_in([folder])
    try:
        for run in runs:
            run.index.follow()
        export(runs, folder / "report.html", limit=PAGE_EXAMPLES)
    finally:
        for run in runs:
            run.close()
    return folder / "report.html"


def _page(data: dict[str, Any]) -> str:
    code, css = script(), style()
    code = code.replace("</script", "<\\/script")
    policy = (
        f"default-src 'none'; script-src {_hash(code)}; style-src {_hash(css)}; base-uri 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{css}</style>'
    held = f'<script type="application/json" id="data">{in_page(data)}</script>'
    page = fill(head, held, f"<script>{code}</script>")
    return page


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
    return f"'sha256-{digest}'"


def _note(limit: int | None, only_wrong: bool, redact: bool) -> str:
    said = []
    if limit is not None:
        said.append(f"the first {limit} examples")
    if only_wrong:
        said.append("only those judged wrong")
    if redact:
        said.append("texts left out")
    return f"This page holds {', '.join(said)}." if said else ""


def _compact(found: dict[str, Any], pieces: Pieces) -> None:
    """Take the prompts apart, and leave out of each judgement what its reply says already."""
    example = found.get("example")
    for prompt in found["prompts"]:
        prompt["messages"] = [
            {
                "role": message["role"],
                "pieces": pieces.taken_apart(message["content"], example)
                if example
                else [pieces.number(message["content"])],
            }
            for message in prompt["messages"]
        ]
