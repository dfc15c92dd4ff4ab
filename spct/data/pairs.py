"""Local sets with a verdict on two responses, in the order of the file; a tie has equal gold.

No name of a model reaches an example. What is known beyond the gold is in `meta`.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spct.data.entries import Candidate, Entry, Tally, entries, listed, paired, short_hash
from spct.data.faults import bad
from spct.data.layouts.words import FIRST, SECOND, TIE
from spct.data.published import readers
from spct.data.published.readers import Read
from spct.data.turns import dialogue
from spct.errors import DataError
from spct.types import Example


def _two(first: str, second: str, gold: tuple[float, float]) -> list[Candidate]:
    return [(first, gold[0], {}), (second, gold[1], {})]


def _tsv(path: Path, columns: int) -> Iterator[list[str]]:
    """Yield the rows of a tab-separated file without quoting, after its comment line."""
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if row and row[0].startswith("#"):
                continue
            if len(row) != columns:
                raise bad(f"{path}:{number}", "row", row, f"{columns} columns split by tabs")
            yield row


def _debates(folder: Path) -> Iterator[tuple[Path, str]]:
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise DataError(f"reading {folder}: got no .csv file, expected one a debate side")
    for path in paths:
        topic, _, side = (part.replace("-", " ").strip() for part in path.stem.partition("_"))
        yield path, f"Debate: {topic}\nSide: {side}\nGive a convincing argument for this side."


def ukp(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs of arguments for one side of a debate; the more convincing one has gold 1."""
    labels = {"a1": FIRST, "a2": SECOND}
    for path, query in _debates(folder / "UKPConvArg1Strict-CSV"):
        for id, label, *arguments in _tsv(path, 4):
            if label not in labels:
                raise bad(f"{path}: {id}", "label", label, "a1 or a2")
            first, second = (argument.replace("<br/>", "\n") for argument in arguments)
            candidates = _two(first, second, labels[label])
            if example := paired(f"ukp-{id}", query, candidates, tally, subset=path.stem):
                yield example


def ukp_ranking(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield all arguments for one side of a debate; gold is minus the file's rank score.

    The file does not say which end is better: in 8,691 of its 9,377 pairs the more convincing
    argument has the lower score.
    """
    for path, query in _debates(folder / "UKPConvArg1-Ranking-CSV"):
        rows: list[Candidate] = [
            (text.replace("<br/>", "\n"), -float(rank), {}) for _, rank, text in _tsv(path, 3)
        ]
        if example := listed(f"ukp-ranking-{path.stem}", query, rows, tally, subset=path.stem):
            yield example


def hh_harmless(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs of last assistant turns of one dialogue; the labels are noisy."""
    for i, entry in enumerate(entries(folder / "test.jsonl.gz")):
        ends = [entry.raw(field).rpartition("\n\nAssistant:") for field in ("chosen", "rejected")]
        if ends[0][0] != ends[1][0]:
            tally["turns before the last one differ"] += 1
            continue
        turns = dialogue(ends[0][0])
        if not turns or turns[-1].role != "user":
            tally["no user turn before the last one"] += 1
            continue
        if example := paired(f"hh-{i}", turns, _two(ends[0][2], ends[1][2], FIRST), tally):
            yield example


def finegrained(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield the six pairs of four answers to a question; verdicts may be intransitive.

    The passages that the answers should rest on are in `meta`, as are the error spans of the
    first answer, what it misses, and its corrected text.
    """
    verdicts = {1: FIRST, 2: SECOND, 0: TIE}
    for i, entry in enumerate(entries(folder / "dev_feedback.jsonl.gz")):
        answers = [entry.raw(f"prediction {number}") for number in range(1, 5)]
        evidence = [_errors(entry, answers[0]), {}, {}, {}]
        meta = {"golden": entry.text("gold"), "passages": entry.items("passages")}
        preference = entry.items("preference")
        if len(preference) != 6:
            raise bad(entry.place, "preference", preference, "six verdicts")
        for (a, b), verdict in zip(itertools.combinations(range(4), 2), preference, strict=True):
            if verdict not in verdicts:
                raise bad(entry.place, "preference", preference, "verdicts 0, 1 or 2")
            gold = verdicts[verdict]
            candidates = [(answers[a], gold[0], evidence[a]), (answers[b], gold[1], evidence[b])]
            name = f"finegrained-{i}-{a + 1}v{b + 1}"
            if example := paired(name, entry.text("question"), candidates, tally, meta=meta):
                yield example


def _errors(entry: Entry, answer: str) -> dict[str, Any]:
    """Return the error spans and missing sentences of the first answer, with their texts."""
    feedback = Entry(entry.place, entry.get("feedback"))
    passages = entry.items("passages")
    spans = [
        {"type": error["error type"], "text": answer[error["start"] : error["end"]].strip()}
        for error in feedback.items("errors")
    ]
    missing = []
    for gap in feedback.items("missing-info"):
        sentences = dict(enumerate(passages)).get(gap["passage_id"] - 1, [])  # ids start at 1
        texts = [sentences[s] for s in gap["sentence_id"] if 0 <= s < len(sentences)]
        missing.append({"type": gap["error type"], "texts": texts})
    return {
        "errors": spans,
        "missing": missing,
        "corrected": feedback.text("corrected-prediction"),
    }


def llmeval2(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs with ties from 15 sources.

    The mt-bench rows have no query (each response is a whole conversation) and are left out.
    """
    labels = {"model1": FIRST, "model2": SECOND, "TIE": TIE}
    for i, entry in enumerate(entries(folder / "LLMEval2_benchmark.jsonl.gz")):
        gold = entry.one_of("human", labels)
        candidates = _two(entry.text("response1"), entry.text("response2"), gold)
        name, subset = f"llmeval2-{i}", entry.text("dataset")
        if example := paired(name, entry.text("query"), candidates, tally, subset=subset):
            yield example


def _known(name: str, read: Read, tally: Tally, subset: str | None = None) -> Example | None:
    """The pair that the reader of its set gives; without a verdict there is nothing to learn."""
    if read.gold is None:
        tally["no majority"] += 1
        return None
    candidates: list[Candidate] = [
        (text, gold, {}) for text, gold in zip(read.responses, read.gold, strict=True)
    ]
    return paired(name, read.query[0].content, candidates, tally, subset=subset or read.subset)


def pandalm(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs with the majority verdict of three annotators; ties count as a verdict."""
    for entry in entries(folder / "testset-v1.jsonl.gz"):
        name = f"pandalm-{entry.get('idx')}"
        if example := _known(name, readers.pandalm(entry.columns()), tally):
            yield example


def autoj(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs with ties of 58 scenarios; for development, not for training."""
    for i, entry in enumerate(entries(folder / "testdata_pairwise.jsonl.gz")):
        if example := _known(f"autoj-{i}", readers.autoj(entry.columns()), tally):
            yield example


def judgebench(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs of which exactly one is correct; a benchmark, never trained on."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise DataError(f"reading {folder}: got no .jsonl file, expected the GPT-4o pairs")
    for entry in itertools.chain.from_iterable(map(entries, paths)):
        name = f"judgebench-{entry.text('pair_id')}"
        if example := _known(name, readers.judgebench(entry.columns()), tally):
            yield example


LLMBAR_PARTS: Mapping[str, str] = {
    "Natural": "LLMBar/Natural",
    "FairEval": "Processed/FairEval",
    "MT-Bench": "Processed/MT-Bench",
}


def llmbar(folder: Path, tally: Tally) -> Iterator[Example]:
    """Yield pairs on following instructions; a benchmark, never trained on."""
    for part, path in LLMBAR_PARTS.items():
        for i, entry in enumerate(entries(folder / path / "dataset.json")):
            name = f"llmbar-{part}-{i}-{short_hash(entry.text('input'))}"
            if example := _known(name, readers.llmbar(entry.columns()), tally, part):
                yield example
