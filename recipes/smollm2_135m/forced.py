"""The base with its format forced by a grammar: `python -m recipes.smollm2_135m.forced --limit 40`.

What the weights know when the form is not left to them. The embedded engine writes greedily, with
the same compact templates as the trained model and each pair in both orders.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from statistics import fmean

from recipes.smollm2_135m.measure import (
    SETS,
    SUBSET,
    load_tests,
    rows_of,
    verdicts_of,
    write_credits,
)
from recipes.smollm2_135m.mix import HERE
from spct.config import Config, EngineConfig, JudgeConfig
from spct.engines.weights import default_model
from spct.models.judges import build_judge


def main() -> None:
    """Measure and write the credits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--sets", nargs="+", default=list(SUBSET), choices=SETS)
    parser.add_argument("--limit", type=int, default=40)
    chosen = parser.parse_args()
    config = Config(
        engine=EngineConfig(kind="openvino", model=str(default_model()), force_format="always"),
        judge=JudgeConfig(
            template=str(HERE / "pointwise.txt"), k=2, temperature=0.0, orders="balanced",
            max_tokens=320,
        ),
    )  # fmt: skip
    judge = build_judge(config)
    for name, examples in load_tests(chosen.work / "data", chosen.sets, chosen.limit).items():
        found = rows_of(examples, asyncio.run(verdicts_of(judge, examples)), [1])
        print(name, round(fmean(found["credits"]["1"]), 3), found["health"], flush=True)
        write_credits(chosen.work / "results" / "base-forced.json", {name: found})


if __name__ == "__main__":
    main()
