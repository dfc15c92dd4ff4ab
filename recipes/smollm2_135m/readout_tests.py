"""The readout on prompts that no training saw: `python -m recipes.smollm2_135m.readout_tests`.

Pairs of each set's test split (GSM8K and HH: of the development split too, which nothing else
uses); checkable instructions of the kinds trained on and of the two held out, on test questions;
two sets that it never saw. Rows: the readout, its base asked the same question untrained, the
longest response, a bag of words fitted to the same training pairs of the same set (of all sets
where it has none); `frozen_heads` adds two. What
is read goes into results/readout/; `--report` prints the tables from it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from recipes.smollm2_135m.floors import longest_credit, words_credits
from recipes.smollm2_135m.instructions import HELD_OUT, KNOWN, tasks
from recipes.smollm2_135m.mix import SEED, in_split, read_set
from recipes.smollm2_135m.readout import SIZES, config, how, mixture, offered, short
from spct.data.prepare import has_best, normalised_query, select
from spct.engines.hf_load import load_merged, load_tokenizer
from spct.measure.intervals import Interval, difference, mean_interval
from spct.measure.tables import interval, table
from spct.measure.temperature import binary_ece
from spct.models.model_card import read_card
from spct.runs.folder import atomic_text
from spct.train.decision import encoder, label_ids
from spct.train.packing import Ids, Row, collate, common, dealt
from spct.types import Example

SETS = (*SIZES, "instructions_new", "pandalm", "llmbar")
ROWS = ("readout", "base", "length", "words", "heads", "encoder")
PAIRS = 800  # of a set at most
MEAN = ("truthfulqa", "ukp", "evouna", "gsm8k", "hh", "instructions")  # what the mean is over


def pairs_in(example: Example) -> list[Example]:
    """Every pair whose gold differs, in the order of the list."""
    gold = example.gold or ()
    return [
        replace(select(example, pair), id=f"{example.id}-{pair[0]}-{pair[1]}")
        for pair in combinations(range(example.n), 2)
        if gold[pair[0]] != gold[pair[1]]
    ]


def tests() -> dict[str, list[Example]]:
    """At most `PAIRS` pairs of each set, whole lists drawn in random order."""
    later = offered("dev")
    lists = {name: read() for name, read in offered("test").items() if name != "instructions"}
    for name in ("gsm8k", "gsm8k_ref", "hh"):
        lists[name] += later[name]()
    sources = [*in_split("truthfulqa_judgements", "test"), *in_split("evouna_openqa", "test")]
    lists["instructions"] = list(tasks(sources, KNOWN, 500, SEED + 1))
    lists["instructions_new"] = list(tasks(sources, HELD_OUT, 250, SEED + 1))
    for name, source in (("pandalm", "pandalm_testset"), ("llmbar", "llmbar")):
        lists[name] = [e for e in read_set(source) if has_best(e) and short(e)]
    found = {}
    for name, examples in lists.items():
        mixed = random.Random(SEED).sample(examples, len(examples))
        kept = [pair for e in mixed for pair in pairs_in(e)][:PAIRS]
        found[name] = random.Random(SEED).sample(kept, len(kept))
    return found


class Reader:
    """A readout, or with no adapter its base: log odds of yes over no about single responses."""

    def __init__(self, base: Path, *adapters: Path) -> None:
        import torch

        from spct.train.readout import Readout

        model = load_merged(str(base), torch.bfloat16, tuple(map(str, adapters)))
        self.tokenizer = load_tokenizer(base)
        self.readout = Readout(model, label_ids(self.tokenizer))
        self.ids_of = encoder(*how(), self.tokenizer)

    def margins(self, pairs: Sequence[Example]) -> list[float]:
        """The first response's log odds minus the second's; every response is read once."""
        import torch

        queries: dict[tuple[str, str | None], dict[Ids, None]] = {}
        for e in pairs:
            sides = queries.setdefault((str(e.query), e.reference), {})
            sides |= {self.ids_of(e, i): None for i in range(e.n)}
        rows = [row for sides in queries.values() for row in packed(list(sides))]
        rows.sort(key=lambda row: row.length)
        known: dict[Ids, float] = {}
        for start in range(0, len(rows), 4):
            some = rows[start : start + 4]
            with torch.inference_mode():
                z_S = self.readout(collate(some, int(self.tokenizer.pad_token_id))).tolist()
            read = [row.shared + rest for row in some for rest in row.rests]
            known |= dict(zip(read, z_S, strict=True))
        return [known[self.ids_of(e, 0)] - known[self.ids_of(e, 1)] for e in pairs]


def packed(sides: list[Ids]) -> list[Row]:
    """One query's responses in packed rows."""
    return [
        Row(hand[0][0][:n], tuple(ids[n:] for ids, _ in hand), (0.0,) * len(hand), ())
        for hand in dealt([(ids, 0.0) for ids in sides], config(1).row_tokens)
        for n in [common([ids[:-1] for ids, _ in hand])]
    ]


def first_wins(pair: Example) -> bool:
    """Whether the first response is the better one."""
    gold = pair.gold or ()
    return gold[0] > gold[1]


def earned(margins: Sequence[float], pairs: Sequence[Example]) -> list[float]:
    """1 where the margin points to the better response, one half where it is 0."""
    return [
        0.5 if m == 0 else float((m > 0) == first_wins(e))
        for m, e in zip(margins, pairs, strict=True)
    ]


def measure(work: Path, out: Path, sets: Sequence[str], limit: int | None) -> None:
    """Read the sets, then fit their floors; what is there already is kept, so a kill costs a set.

    `limit` takes the first so many pairs of each set (they stand in random order).
    """
    known = {name: pairs[:limit] for name, pairs in tests().items() if name in sets}
    for row, adapters in (("readout", (work / "readout",)), ("base", ())):
        reader = Reader(work / "base", *adapters)
        for name, pairs in known.items():
            found = read_results(out / f"{name}.json") or {
                "units": [normalised_query(e) for e in pairs],
                "first_wins": [first_wins(e) for e in pairs],
                "length": [longest_credit(e) for e in pairs],
            }
            if row not in found:
                margins = reader.margins(pairs)
                found |= {f"{row}_margins": margins, row: earned(margins, pairs)}
                write_results(out / f"{name}.json", found)
    trained = mixture("train", SIZES)
    for name, pairs in known.items():
        found = read_results(out / f"{name}.json")
        if "words" not in found:
            same = [e for e in trained if e.subset == name] or trained
            found["words"] = words_credits([e for e in same if e.n > 1], pairs)
            write_results(out / f"{name}.json", found)


def read_results(path: Path) -> dict[str, Any]:
    """What was measured of a set; nothing where it was not."""
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def write_results(path: Path, found: Mapping[str, Any]) -> None:
    """Keep what was measured of a set, and say it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_text(path) as file:
        file.write(json.dumps(found) + "\n")
    means = {row: round(sum(found[row]) / len(found[row]), 3) for row in ROWS if row in found}
    print(path.stem, len(found["units"]), means, flush=True)


def results(out: Path) -> dict[str, dict[str, Any]]:
    """All sets that were measured."""
    return {name: found for name in SETS if (found := read_results(out / f"{name}.json"))}


def accuracy(found: Mapping[str, Any]) -> str:
    """One line a set: each row's share of right pairs, and the readout's lead over the others."""
    rows = [row for row in ROWS if any(row in one for one in found.values())]
    others = [row for row in rows if row != "readout"]
    lines: list[list[str]] = []
    parts: dict[str, list[Interval]] = {}
    for name, one in found.items():
        units = one["units"]
        figures = {row: mean_interval(one[row], units) for row in rows if row in one}
        for row in others:
            if row in one:
                figures[f"- {row}"] = difference(one["readout"], one[row], units)
        if name in MEAN:
            for key, figure in figures.items():
                parts.setdefault(key, []).append(figure)
        lines.append([name, str(len(units)), str(len(set(units))), *_cells(figures, rows, others)])
    # a row that lacks one of the sets has no mean to stand beside the others'
    means = {key: mean_of(some) for key, some in parts.items() if len(some) == len(MEAN)}
    lines.append([f"mean of {len(MEAN)} sets (*)", "", "", *_cells(means, rows, others)])
    head = ["pairs of", "pairs", "prompts", *rows, *(f"readout - {row}" for row in others)]
    return table(head, lines) + f"(*) {', '.join(MEAN)}\n"


def _cells(
    figures: Mapping[str, Interval], rows: Sequence[str], others: Sequence[str]
) -> list[str]:
    shares = [interval(figures.get(row)) for row in rows]
    return shares + [interval(figures.get(f"- {row}"), signed=True) for row in others]


def mean_of(parts: Sequence[Interval]) -> Interval:
    """The mean over sets, which are independent: squares of the half widths add up."""
    point = sum(part.point for part in parts) / len(parts)
    ends = [(part.low, part.high) for part in parts]
    halves = [0.0 if low is None or high is None else (high - low) / 2 for low, high in ends]
    half = math.sqrt(sum(h * h for h in halves)) / len(parts)
    return Interval(point, point - half, point + half)


def calibration(found: Mapping[str, Any], row: str, temperature: float) -> str:
    """Calibration error over all pairs before and after the temperature; places and orders."""
    margins = [m for one in found.values() for m in one[f"{row}_margins"]]
    golds = [int(g) for one in found.values() for g in one["first_wins"]]
    units = [u for one in found.values() for u in one["units"]]
    cooled = [m / temperature for m in margins]
    low, high = _ece_interval(cooled, golds, units)
    firsts = [m > 0 for m in margins if m != 0]
    return (
        f"{row}, {len(margins)} pairs: ECE {binary_ece(margins, golds):.3f} as trained, "
        f"{binary_ece(cooled, golds):.3f} [{low:.3f}, {high:.3f}] at the card's temperature "
        f"{temperature:.2f}; the first response is chosen in "
        f"{100 * sum(firsts) / len(firsts):.1f}% (it is the better one in "
        f"{100 * sum(golds) / len(golds):.1f}%); each response is read alone, so both orders agree."
    )


def _ece_interval(
    margins: Sequence[float], golds: Sequence[int], units: Sequence[str], resamples: int = 300
) -> tuple[float, float]:
    """95% of resamples of whole prompts."""
    rng = random.Random(SEED)
    groups: dict[str, list[int]] = {}
    for i, unit in enumerate(units):
        groups.setdefault(unit, []).append(i)
    prompts = list(groups.values())
    drawn = []
    for _ in range(resamples):
        some = [i for group in rng.choices(prompts, k=len(prompts)) for i in group]
        drawn.append(binary_ece([margins[i] for i in some], [golds[i] for i in some]))
    drawn.sort()
    return drawn[int(0.025 * resamples)], drawn[int(0.975 * resamples)]


def main() -> None:
    """Measure, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    parser.add_argument("--limit", type=int, help="Pairs of each set.")
    parser.add_argument("--report", action="store_true", help="Print the tables of what is there.")
    chosen = parser.parse_args()
    out = chosen.work / "results" / "readout"
    if not chosen.report:
        measure(chosen.work, out, chosen.sets, chosen.limit)
        return
    found, card = results(out), read_card(chosen.work / "readout")
    print(accuracy(found))
    print(calibration(found, "readout", 1.0 if card is None else card.temperature))
    print(calibration(found, "base", 1.0))


if __name__ == "__main__":
    main()
