"""Judge, benchmark and write training rows, with nothing but the public names.

python recipes/basic.py             # the fake judge: at once, to see how things fit together
python recipes/basic.py default     # the judge that comes with the package, or your endpoint
"""

import json
import sys
from pathlib import Path

import spct

EXAMPLES = Path(__file__).parents[1] / "examples" / "comparisons.jsonl"


def main(name: str = "scripted", out: Path = Path("runs/basic")) -> None:
    """Judge the examples, measure the judge beside a baseline, keep what would train it."""
    examples = list(spct.read_examples(EXAMPLES))

    # Judge: k judgements of each example, voted. Unscored ones are counted and never numbers.
    judge = spct.load_reward_model(name, k=4, seed=0)
    for example, verdict in zip(examples, spct.judge_all(judge, examples), strict=True):
        print(f"{example.id}: rewards {verdict.rewards}, best {verdict.best}, {verdict.unscored}")

    # Bench: how often is the right response on top, and does that grow with k?
    out.mkdir(parents=True, exist_ok=True)
    lines = EXAMPLES.read_text("utf-8").splitlines()
    several = [line for line in lines if len(json.loads(line)["responses"]) > 1]
    (out / "several.jsonl").write_text("\n".join(several))
    files = [out / "several.jsonl"]
    report = spct.bench([name, "length"], files, out / "bench", samples=(1, 2, 4))
    for row in report["benchmarks"][0]["rows"]:
        overall = row["score"]["overall"]
        low, high = overall["low"], overall["high"]
        print(f"{row['model']}, {row['row']}: {overall['point']:.1%} ({low:.1%} to {high:.1%})")

    # RFT: judgements that are right where not all are, as rows for `spct train rft`.
    engine = spct.load_reward_model(name).engine
    assert engine is not None, f"{name} writes no judgements"
    print(spct.rft(examples, engine, out / "rft", n_samples=3, temperature=0.7).record())


if __name__ == "__main__":
    main(*sys.argv[1:2])
