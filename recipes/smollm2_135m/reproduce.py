"""Check what is shipped against the report: `make reproduce` (about ten minutes on two cores).

Reads the first 40 pairs of the readout's test sets with the embedded engine, where a readout is
shipped; judges the first 40 pairs of five test sets greedily with the adapter in the package. Both
are compared with the credits in results.json. Fails if the accuracy on all of them differs by more
than the tolerance: half precision, another batch or another processor flips a few verdicts, and one
flip moves a set of 40 by more than two points.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.smollm2_135m.measure import SUBSET, SUBSET_SIZE, How, load_tests, measure_model
from recipes.smollm2_135m.mix import prepare, recipe_formats
from recipes.smollm2_135m.readout_tests import tests
from recipes.smollm2_135m.run import convert
from recipes.smollm2_135m.ship import RESULTS, WEIGHTS, unpack
from spct.engines.hf import HFEngine
from spct.measure.rules import credit, gold_of
from spct.models.load import load_readout
from spct.models.shipped import shipped as shipped_judge
from spct.models.shipped import shipped_readout
from spct.types import Example

TOLERANCE = 0.03  # of all 200


def compare(
    reported: Mapping[str, Mapping[str, float]], found: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], float]:
    """One line a set, and the difference of the means over all examples that both have."""
    lines, gaps = [], []
    for name, credits in found.items():
        common = [i for i in credits if i in reported.get(name, {})]
        differing = sum(credits[i] != reported[name][i] for i in common)
        gaps += [credits[i] - reported[name][i] for i in common]
        ours, theirs = ([x[i] for i in common] for x in (credits, reported[name]))
        lines.append(
            f"{name}: reported {_percent(theirs)}, found {_percent(ours)} on {len(common)} pairs, "
            f"{differing} differ"
        )
    return lines, sum(gaps) / len(gaps) if gaps else float("nan")


def readout_again(limit: int) -> tuple[list[str], float]:
    """The shipped readout on the embedded engine against the shares that were reported."""
    reported = json.loads(RESULTS.read_text("utf-8"))["readout"]
    return asyncio.run(_read_again(tests(), reported, limit))


async def _read_again(
    known: Mapping[str, list[Example]], reported: Mapping[str, list[float]], limit: int
) -> tuple[list[str], float]:
    readout, lines, gaps = load_readout(), [], []
    for name, theirs in reported.items():
        pairs = known[name][: min(limit, len(theirs))]
        verdicts = [await readout.judge(pair) for pair in pairs]
        ours = [credit(v.rewards, gold_of(e)) for v, e in zip(verdicts, pairs, strict=True)]
        gaps += [a - b for a, b in zip(ours, theirs, strict=False)]
        lines.append(
            f"readout, {name}: reported {_percent(theirs[: len(ours)])}, found {_percent(ours)} "
            f"on {len(ours)} pairs"
        )
    await readout.aclose()
    return lines, sum(gaps) / len(gaps)


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / max(len(values), 1):.1f}"


def judge_again(work: Path, limit: int) -> tuple[list[str], float]:
    """The shipped judge, greedy on the first pairs of each set, against what was reported."""
    root, base = work / "cpu", work / "base"
    convert(base)
    prepare(root / "data", "cpu")
    unpack(WEIGHTS, base, root / "shipped")
    engine = HFEngine(root / "shipped", batch_size=48, dtype="bfloat16")
    measured = measure_model(
        engine, load_tests(root / "data", SUBSET, limit), recipe_formats().several, How(),
        root / "results/runs/shipped",
    )  # fmt: skip
    found = {
        name: dict(zip(m["ids"], m["credits"]["1"], strict=True)) for name, m in measured.items()
    }
    return compare(json.loads(RESULTS.read_text("utf-8"))["shipped"], found)


def main() -> int:
    """Measure the shipped adapters and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--limit", type=int, default=SUBSET_SIZE, help="Pairs of each set.")
    parser.add_argument("--only", choices=("readout", "judge"), help="One of the two.")
    chosen = parser.parse_args()
    there = {"readout": shipped_readout(), "judge": shipped_judge()}
    wanted = [chosen.only] if chosen.only else list(there)
    for name in (name for name in wanted if there[name] is None):
        print(
            f"reproducing: the package holds no {name} yet; train it (python -m "
            "recipes.smollm2_135m.run, or readout) and ship it (recipes.smollm2_135m.ship)",
            file=sys.stderr,
        )
    wanted = [name for name in wanted if there[name] is not None]
    if not wanted:
        return 3
    ok = True
    for name in wanted:
        again = readout_again(chosen.limit) if name == "readout" else None
        lines, gap = again or judge_again(chosen.work, chosen.limit)
        print("\n".join(lines))
        good = abs(gap) <= TOLERANCE
        ok = ok and good
        verdict = "reproduced" if good else "NOT reproduced"
        print(
            f"{name} {verdict}: {100 * gap:+.1f} points over all, tolerance {100 * TOLERANCE:.0f}"
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
