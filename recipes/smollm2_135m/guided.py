"""Meta@8: the stored samples, voted by the meta RM: `python -m recipes.smollm2_135m.guided rl`.

The judgements are those of `measure MODEL --k 8 --temperature 0.5`; nothing is sampled again.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from recipes.smollm2_135m.measure import SUBSET, How, load_tests, write_credits
from spct.measure.estimator import by, credits_at
from spct.models.hf_scorer import load_scorer
from spct.runs.store import Store
from spct.train.evaluate import meta_report, with_scores
from spct.types import Example, Verdict
from spct.votes.vote import meta_top


def main() -> None:
    """Score, vote, write the credits."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="rl")
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--limit", type=int)
    chosen = parser.parse_args()
    scorer = load_scorer(chosen.work / "run" / "meta", dtype=torch.bfloat16)
    runs = chosen.work / "results" / "runs" / chosen.model
    everything: list[Example] = []
    all_guided: dict[str, Verdict] = {}
    for name in SUBSET:
        how = How(chosen.k, 0.5)
        (examples,) = load_tests(chosen.work / "data", [name], chosen.limit).values()
        with Store.read(runs / name / how.name) as store:
            verdicts = {v.example_id: v for v in store.verdicts()}
        held = [e for e in examples if e.id in verdicts]
        guided = asyncio.run(with_scores(held, verdicts, scorer))
        everything += held
        all_guided |= guided
        credits = credits_at(held, guided, chosen.k, by(meta_top()))
        print(name, round(sum(credits) / len(credits), 3), flush=True)
        found = {name: {"ids": [e.id for e in held], "credits": {str(chosen.k): credits}}}
        write_credits(chosen.work / "results" / f"{chosen.model}-meta{chosen.k}.json", found)
    print(meta_report(everything, all_guided))


if __name__ == "__main__":
    main()
