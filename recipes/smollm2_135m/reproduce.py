"""Check the shipped judge against the report: `make reproduce` (about ten minutes on two cores).

Judges the first 40 pairs of five test sets greedily with the adapter in the package, and compares
with the credits in results.json, example by example. Fails if the accuracy on all of them differs
by more than the tolerance: half precision, another batch or another processor flips a few verdicts,
and one flip moves a set of 40 by more than two points.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.smollm2_135m.measure import SUBSET, SUBSET_SIZE, How, load_tests, measure_model
from recipes.smollm2_135m.mix import prepare, recipe_formats
from recipes.smollm2_135m.run import convert
from recipes.smollm2_135m.ship import RESULTS, WEIGHTS, unpack
from spct.engines.hf import HFEngine

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


def _percent(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / max(len(values), 1):.1f}"


def main() -> int:
    """Measure the shipped adapter and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--limit", type=int, default=SUBSET_SIZE, help="Pairs of each set.")
    chosen = parser.parse_args()
    if not (WEIGHTS / "adapter_model.safetensors").is_file():
        print(
            "reproducing the shipped judge: the package holds no adapter yet; train one with "
            "python -m recipes.smollm2_135m.run and put it there with recipes.smollm2_135m.ship",
            file=sys.stderr,
        )
        return 3
    root, base = chosen.work / "cpu", chosen.work / "base"
    convert(base)
    prepare(root / "data", "cpu")
    unpack(WEIGHTS, base, root / "shipped")
    engine = HFEngine(root / "shipped", batch_size=48, dtype="bfloat16")
    tests = load_tests(root / "data", SUBSET, chosen.limit)
    measured = measure_model(
        engine, tests, recipe_formats().several, How(), root / "results/runs/shipped"
    )
    found = {
        name: dict(zip(m["ids"], m["credits"]["1"], strict=True)) for name, m in measured.items()
    }
    reported = json.loads(RESULTS.read_text("utf-8"))["shipped"]
    lines, gap = compare(reported, found)
    print("\n".join(lines))
    ok = abs(gap) <= TOLERANCE
    verdict = "reproduced" if ok else "NOT reproduced"
    print(f"{verdict}: {100 * gap:+.1f} points over all, tolerance {100 * TOLERANCE:.0f}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
