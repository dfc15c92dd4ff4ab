"""Human labels by criterion: the topical_chat set as rows with criteria and `met` labels.

    SPCT_DATA=... python -m benchmarks.topical_chat rows.jsonl [--contexts 60]
    spct sample rows.jsonl --reward-model criteria.toml --output-dir runs
    spct criteria measure RUN

criteria.toml holds `[decision]` with `ask = "criteria"`, or a judge of the format met. 60 dialogues
with 6 answers each; a label is the mean of three people's ratings, on its criterion's scale brought
to 0..1. The data are never part of the package.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from spct.data.local import data_root
from spct.runs.folder import atomic_text

# name: the statement, and the ends of the scale that people rated it on
CRITERIA = {
    "understandability": ("The response can be understood in this dialogue.", 0, 1),
    "naturalness": ("The response is something that a person would naturally say.", 1, 3),
    "coherence": ("The response follows from what was said before in the dialogue.", 1, 3),
    "engagingness": ("The response is interesting and invites the dialogue to go on.", 1, 3),
    "groundedness": ("The response makes use of a fact given for the dialogue.", 0, 1),
}


def rows(n_contexts: int) -> Iterator[dict[str, Any]]:
    """One row a dialogue; gold is the overall rating."""
    path = data_root() / "topical_chat" / "topical_chat.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    by_context = groupby(items, key=lambda item: (item["source"], item["context"]))
    for number, ((source, fact), some) in enumerate(by_context):
        if number == n_contexts:
            return
        answers = list({item["system_output"].strip(): item for item in some}.items())
        yield {
            "id": f"dialogue-{number}",
            "query": f"Fact for the dialogue: {fact.strip()}\n\nDialogue:\n{source.strip()}",
            "responses": [text for text, _ in answers],
            "gold": [item["scores"]["overall"] for _, item in answers],
            "criteria": [{"name": name, "text": said} for name, (said, _, _) in CRITERIA.items()],
            "meta": {
                "met": [
                    {
                        name: (item["scores"][name] - low) / (high - low)
                        for name, (_, low, high) in CRITERIA.items()
                    }
                    for _, item in answers
                ]
            },
        }


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--contexts", type=int, default=60)
    chosen = parser.parse_args()
    with atomic_text(chosen.out) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(chosen.contexts))


if __name__ == "__main__":
    main()
