"""Turn the credits into tables: `python -m recipes.smollm2_135m.report --work runs/smollm2/cpu`.

Prints Markdown. Intervals are those of every report (spct/measure): 95%, bootstrapped with the
prompt as the unit, so several pairs of one question count as one draw; UKP has only a few debates,
so there the pair is the unit, and the page says so. Differences are paired by example.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.smollm2_135m.measure import SETS, SUBSET
from spct.data.prepare import normalised_query
from spct.data.rows import read_examples
from spct.measure.intervals import Interval, difference, mean_interval, sign_of
from spct.measure.tables import interval, number, percent, table

BY_PAIR = ("ukp", "ukp_shorter")
FIVE = f"--sets {' '.join(SUBSET)}"
GREEDY = (
    "measure rl --sets truthfulqa evouna_ref gsm8k_ref ukp_shorter",
    "measure rl --limit 100 --sets evouna",
    "measure rl --limit 60 --sets gsm8k ukp pandalm llmbar",
)
FORCED = (f"forced --limit 40 {FIVE}", "forced --limit 40 --sets pandalm llmbar")
SAMPLED = tuple(
    f"measure rl --k 8 --temperature 0.5 {sets}"
    for sets in ("--limit 150 --sets truthfulqa", "--sets ukp_shorter",
                 "--limit 40 --sets evouna_ref", "--limit 20 --sets gsm8k_ref evouna")
)  # fmt: skip
EXPLAINED = tuple(
    f"measure base --full-template --max-tokens 320 {sets}"
    for sets in ("--limit 20 --sets gsm8k_ref",
                 "--limit 10 --sets truthfulqa evouna evouna_ref ukp_shorter")
)  # fmt: skip
# label, file, k, commands after the package's name: sets differ in size where time was short
ROWS: Sequence[tuple[str, str, str, tuple[str, ...]]] = (
    ("length (longest wins)", "length", "1", ("measure length",)),
    ("bag of words", "words", "1", ("measure words",)),
    ("base, greedy, format explained", "base-greedy", "1", EXPLAINED),
    ("base, greedy, format forced", "base-forced", "1", FORCED),
    ("cold start, greedy", "cold_start-greedy", "1", (f"measure cold_start --limit 60 {FIVE}",)),
    ("RFT, greedy", "rft-greedy", "1", (f"measure rft --limit 60 {FIVE}",)),
    ("RL, greedy", "rl-greedy", "1", GREEDY),
    ("RL, one sample", "rl-k8", "1", SAMPLED),
    ("RL, Voting@8", "rl-k8", "8", SAMPLED),
    ("RL, Meta@8", "rl-meta8", "8", ("guided rl --k 8 --limit 60",)),
    ("Bradley-Terry", "bradley-terry", "1", ("baselines bradley-terry --limit 100",)),
    ("PairRM", "pairwise", "1", ("baselines pairwise --limit 100",)),
    ("CLoud, one critique", "cloud", "1", ("baselines cloud --limit 60",)),
    ("pairwise LLM judge, greedy", "judge", "1", ("baselines judge --limit 60",)),
)


def prompts_of(data: Path) -> dict[str, dict[str, str]]:
    """For each test set, the unit that each example belongs to."""
    return {
        name: {
            e.id: e.id if name in BY_PAIR else normalised_query(e)
            for e in read_examples(data / f"test-{name}.jsonl")
        }
        for name in SETS
    }


def load_rows(results: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Row label -> set -> example id -> credit, for the rows that have been measured."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for label, file, k, _ in ROWS:
        path = results / f"{file}.json"
        if path.is_file():
            measured = json.loads(path.read_text("utf-8"))
            rows[label] = {
                name: dict(zip(found["ids"], found["credits"][k], strict=True))
                for name, found in measured.items()
                if k in found["credits"]
            }
    return rows


def share(credits: Mapping[str, float], units: Mapping[str, str]) -> Interval:
    """One cell."""
    return mean_interval(list(credits.values()), [units[i] for i in credits])


def gap(
    a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str]
) -> Interval | None:
    """How far `a` is above `b` on the examples that both have; None of fewer than two."""
    common = [i for i in a if i in b]
    if len(common) < 2:
        return None
    return difference([a[i] for i in common], [b[i] for i in common], [units[i] for i in common])


def accuracy_table(rows: Mapping[str, Any], units: Mapping[str, Any]) -> str:
    """One line per model, one column per set; n where it is less than the whole set."""

    def cell(sets: Mapping[str, Any], name: str) -> str:
        if name not in sets:
            return ""
        n = len(sets[name])
        shown = interval(share(sets[name], units[name]))
        return shown + (f" (n={n})" if n < len(units[name]) else "")

    lines = [[label, *(cell(sets, name) for name in SETS)] for label, sets in rows.items()]
    return table(["row", *SETS], lines)


def claims_table(rows: Mapping[str, Any], units: Mapping[str, Any]) -> str:
    """The trained judges against base and floors, paired; bold where one holds."""
    floors = ("base, greedy, format explained", "base, greedy, format forced",
              "length (longest wins)", "bag of words")  # fmt: skip
    others = ("Bradley-Terry", "PairRM", "CLoud, one critique", "pairwise LLM judge, greedy")
    wanted = [(a, b) for a in ("RFT, greedy", "RL, greedy", "RL, Voting@8") for b in floors]
    wanted += [
        ("RFT, greedy", "cold start, greedy"), ("RL, greedy", "RFT, greedy"),
        ("RL, Voting@8", "RL, one sample"), ("RL, Meta@8", "RL, Voting@8"),
    ]  # fmt: skip
    wanted += [(a, b) for a in ("RL, greedy", "RL, Voting@8") for b in others]

    def cell(a: str, b: str, name: str) -> str:
        found = gap(rows[a].get(name, {}), rows[b].get(name, {}), units[name])
        shown = "" if found is None else interval(found, signed=True)
        return f"**{shown}**" if found is not None and sign_of(found) == 1 else shown

    lines = [
        [f"{a} - {b}", *(cell(a, b, name) for name in SETS)]
        for a, b in wanted
        if a in rows and b in rows
    ]
    return table(["difference, points", *SETS], lines)


def health_table(results: Path) -> str:
    """How judgements failed and tied, and what they cost, over all sets measured."""
    lines = []
    for label, file, k, _ in ROWS:
        path = results / f"{file}.json"
        if not path.is_file() or (label.startswith("RL") and k != "1"):
            continue
        found = [s for s in json.loads(path.read_text("utf-8")).values() if "health" in s]
        if not found:
            continue
        shares = [percent(_mean(found, key)) for key in ("unscored", "ties", "first")]
        lines.append([label, *shares, number(_mean(found, "tokens"), 0)])
    head = ["row", "unscored", "ties", "picks the first shown", "tokens per judgement"]
    return table(head, lines)


def _mean(found: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """A health figure over sets, by their examples; sets that have none are left out."""
    known = [(len(s["ids"]), s["health"][key]) for s in found if s["health"][key] is not None]
    return sum(n * value for n, value in known) / sum(n for n, _ in known) if known else None


def commands() -> list[str]:
    """The commands of every row."""
    return [
        f"- {label}: " + "; ".join(f"`python -m recipes.smollm2_135m.{c}`" for c in found)
        for label, _, _, found in ROWS
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    work = parser.parse_args().work
    units, rows = prompts_of(work / "data"), load_rows(work / "results")
    sizes = ", ".join(
        f"{name} {len(units[name])} of {len(set(units[name].values()))}" for name in SETS
    )
    print(f"Pairs and units of each set: {sizes}.\n")
    print(accuracy_table(rows, units), claims_table(rows, units), sep="\n")
    print(health_table(work / "results"))
    print("\n".join(commands()))


if __name__ == "__main__":
    main()
