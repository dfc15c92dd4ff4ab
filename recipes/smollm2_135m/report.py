"""Turn the credits into tables: `python -m recipes.smollm2_135m.report --work runs/smollm2/cpu`.

Prints Markdown. Intervals are 95%, normal, with the prompt as the unit (several pairs of one
question count as one draw); UKP has only a few debates, so there the pair is the unit, and the page
says so. Differences are paired by example.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recipes.smollm2_135m.measure import SETS, SUBSET
from spct.data.prepare import normalised_query
from spct.data.rows import read_examples

Z95 = 1.959964
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


class Share(NamedTuple):
    """A mean of credits, its 95% half width, and on how many examples and prompts it rests."""

    mean: float
    half: float
    n: int
    prompts: int

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.half:.1f}"


def clustered(values: Sequence[float], clusters: Sequence[str]) -> Share:
    """The mean over examples; its error sums residuals within a cluster first (ratio estimator)."""
    n, mean = len(values), math.fsum(values) / len(values)
    sums: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    c = len(sums)
    variance = math.fsum(s * s for s in sums.values()) * c / max(c - 1, 1) / n**2
    return Share(mean, Z95 * math.sqrt(variance), n, c)


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


def share(credits: Mapping[str, float], units: Mapping[str, str]) -> Share:
    """One cell."""
    return clustered(list(credits.values()), [units[i] for i in credits])


def gap(a: Mapping[str, float], b: Mapping[str, float], units: Mapping[str, str]) -> Share | None:
    """How far `a` is above `b` on the examples that both have."""
    common = [i for i in a if i in b]
    if not common:
        return None
    return clustered([a[i] - b[i] for i in common], [units[i] for i in common])


def accuracy_table(rows: Mapping[str, Any], units: Mapping[str, Any]) -> list[str]:
    """One line a model, one column a set; n where it is less than the whole set."""
    lines = [f"| row | {' | '.join(SETS)} |", "|---|" + "---|" * len(SETS)]
    for label, sets in rows.items():
        cells = []
        for name in SETS:
            if name not in sets:
                cells.append("")
                continue
            cell = share(sets[name], units[name])
            whole = len(units[name])
            cells.append(str(cell) + (f" (n={cell.n})" if cell.n < whole else ""))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def claims_table(rows: Mapping[str, Any], units: Mapping[str, Any]) -> list[str]:
    """The trained judges against base and floors, paired."""
    lines = ["| difference, points | " + " | ".join(SETS) + " |", "|---|" + "---|" * len(SETS)]
    floors = ("base, greedy, format explained", "base, greedy, format forced",
              "length (longest wins)", "bag of words")  # fmt: skip
    others = ("Bradley-Terry", "PairRM", "CLoud, one critique", "pairwise LLM judge, greedy")
    wanted = [(a, b) for a in ("RFT, greedy", "RL, greedy", "RL, Voting@8") for b in floors]
    wanted += [
        ("RFT, greedy", "cold start, greedy"), ("RL, greedy", "RFT, greedy"),
        ("RL, Voting@8", "RL, one sample"), ("RL, Meta@8", "RL, Voting@8"),
    ]  # fmt: skip
    wanted += [(a, b) for a in ("RL, greedy", "RL, Voting@8") for b in others]
    for a, b in wanted:
        if a not in rows or b not in rows:
            continue
        cells = []
        for name in SETS:
            found = gap(rows[a].get(name, {}), rows[b].get(name, {}), units[name])
            if found is None:
                cells.append("")
            else:
                holds = found.mean > found.half
                cells.append(f"**{100 * found.mean:+.1f} ± {100 * found.half:.1f}**" if holds
                             else f"{100 * found.mean:+.1f} ± {100 * found.half:.1f}")  # fmt: skip
        lines.append(f"| {a} - {b} | {' | '.join(cells)} |")
    return lines


def health_table(results: Path) -> list[str]:
    """How judgements failed and tied, and what they cost, over all sets measured."""
    lines = [
        "| row | unscored | ties | picks the first shown | tokens a judgement |",
        "|---|---|---|---|---|",
    ]
    for label, file, k, _ in ROWS:
        path = results / f"{file}.json"
        if not path.is_file() or (label.startswith("RL") and k != "1"):
            continue
        found = [s for s in json.loads(path.read_text("utf-8")).values() if "health" in s]
        if not found:
            continue
        means = [_mean(found, key) for key in ("unscored", "ties", "first", "tokens")]
        shares = " | ".join("none" if m is None else f"{m:.1%}" for m in means[:3])
        lines.append(f"| {label} | {shares} | {means[3]:.0f} |")
    return lines


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
    for table in (accuracy_table(rows, units), claims_table(rows, units),
                  health_table(work / "results"), commands()):  # fmt: skip
        print("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
