"""The base with its format forced by a grammar: `python -m recipes.smollm2_135m.forced --limit 30`.

What the weights know when the form is not left to them. The embedded engine samples, with the same
compact templates as the trained model.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from recipes.smollm2_135m.baselines import credits_of
from recipes.smollm2_135m.measure import SUBSET, load_tests, write_credits
from recipes.smollm2_135m.mix import HERE
from spct.assemble import build_judge
from spct.config import Config, EngineConfig, JudgeConfig
from spct.engines.weights import default_model


def main() -> None:
    """Measure and write the credits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--limit", type=int, default=30)
    chosen = parser.parse_args()
    config = Config(
        engine=EngineConfig(kind="openvino", model=str(default_model()), force_format="always"),
        judge=JudgeConfig(
            template=str(HERE / "pointwise.txt"), k=1, temperature=0.0, orders="random",
            max_tokens=320,
        ),
    )  # fmt: skip
    judge = build_judge(config)
    for name, examples in load_tests(chosen.work / "data", SUBSET, chosen.limit).items():
        credits = asyncio.run(credits_of(judge, examples))
        print(name, round(sum(credits) / len(credits), 3), flush=True)
        found = {name: {"ids": [e.id for e in examples], "credits": {"1": credits}}}
        write_credits(chosen.work / "results" / "base-forced.json", found)


if __name__ == "__main__":
    main()
