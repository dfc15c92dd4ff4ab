"""Measure one model on the test sets: `python -m recipes.smollm2_135m.measure rl`.

Models: the stages (base, cold_start, rft, rl) and the floors `length`, `words` (bag of words;
reproduce.py measures the adapter in the package). Judgements are drawn into run folders below
`results/`, so a killed command continues; the credits of each example go to one JSON file that
report.py reads.

A right winner earns 1, a tie at the top its share, an unscored verdict 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipes.smollm2_135m.floors import longest_credit, words_credits
from recipes.smollm2_135m.mix import recipe_formats
from spct.core.generative import GenerativeRM
from spct.data.rows import read_examples
from spct.engines.hf import HFEngine
from spct.measure.bias import first_picks
from spct.measure.estimator import by, credits_at
from spct.measure.metrics import health
from spct.protocols import Engine
from spct.runs.engines import RecordingEngine
from spct.runs.folder import atomic_text
from spct.runs.judging import judge_into
from spct.runs.store import Store
from spct.text.format import POINTWISE, Format
from spct.types import Example, SamplingParams, Verdict
from spct.votes.vote import mean_scores

SUBSET = ("truthfulqa", "evouna", "evouna_ref", "gsm8k_ref", "ukp_shorter")
SUBSET_SIZE = 40  # of each: the 200 items of `make reproduce` and of the sampled rows
SETS = ("truthfulqa", "evouna", "evouna_ref", "gsm8k", "gsm8k_ref", "ukp", "ukp_shorter",
        "pandalm", "llmbar")  # fmt: skip
FLOORS = ("length", "words")


@dataclass(frozen=True, slots=True)
class How:
    """Judgements an example, their temperature and the longest one; orders are balanced.

    At temperature 0 there are two, one in each order of a pair: a judge that only looks at the
    place earns one half, whatever the test set's order.
    """

    k: int = 2
    temperature: float = 0.0
    max_tokens: int = 160
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the folder: greedy, or how many samples."""
        return "greedy" if self.temperature == 0 else f"k{self.k}"


def load_tests(data: Path, sets: Sequence[str], limit: int | None) -> dict[str, list[Example]]:
    """The first `limit` examples of each test file (they lie there in random order)."""
    found = {name: list(read_examples(data / f"test-{name}.jsonl")) for name in sets}
    return {name: examples[:limit] for name, examples in found.items()}


async def draw(
    engine: Engine, examples: Sequence[Example], fmt: Format, how: How, out: Path
) -> dict[str, Verdict]:
    """Draw what the run folder does not hold; return the verdicts by example."""
    identity = {**asdict(how), "engine": engine.fingerprint, "format": fmt.fingerprint}
    with Store.open(out, identity) as store:
        judge = GenerativeRM(
            RecordingEngine(engine, store), fmt, k=how.k, orders="balanced", seed=how.seed,
            params=SamplingParams(temperature=how.temperature, max_tokens=how.max_tokens),
            concurrency=256,
        )  # fmt: skip
        await judge_into(judge, examples, put=store.put_verdict, finished=store.finished_ids())
        return {v.example_id: v for v in store.verdicts()}


def rows_of(
    examples: Sequence[Example], verdicts: Mapping[str, Verdict], ks: Sequence[int]
) -> dict[str, Any]:
    """Credits by k and by example, and the health of the judgements."""
    found = [verdicts[e.id] for e in examples]
    credits = {str(k): credits_at(examples, verdicts, k, by(mean_scores)) for k in ks}
    return {
        "ids": [e.id for e in examples],
        "credits": credits,
        "health": {**asdict(health(found)), "first": first_share(found)},
    }


def first_share(verdicts: Sequence[Verdict]) -> float | None:
    """How often the one best response of a judgement is the one shown first; None of none."""
    picks = [is_first for verdict in verdicts for is_first, _ in first_picks(verdict)]
    return picks.count(True) / len(picks) if picks else None


def measure_model(
    engine: Engine, tests: Mapping[str, list[Example]], fmt: Format, how: How, out: Path
) -> dict[str, Any]:
    """One model on every set."""
    ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= how.k]
    found = {}
    for name, examples in tests.items():
        verdicts = asyncio.run(draw(engine, examples, fmt, how, out / name / how.name))
        found[name] = rows_of(examples, verdicts, ks)
        means = {k: round(sum(c) / len(c), 3) for k, c in found[name]["credits"].items()}
        print(name, how.name, means, found[name]["health"], flush=True)
    return found


def measure_floor(
    name: str, tests: Mapping[str, list[Example]], train: Sequence[Example]
) -> dict[str, Any]:
    """A rule that reads no meaning, in the same form."""
    found = {}
    for test, examples in tests.items():
        if name == "length":
            credits = [longest_credit(e) for e in examples]
        else:
            credits = words_credits(train, examples)
        found[test] = {"ids": [e.id for e in examples], "credits": {"1": credits}}
        print(test, name, round(sum(credits) / len(credits), 3), flush=True)
    return found


def model_folder(name: str, work: Path) -> Path:
    """Where a stage's model lies."""
    return work.parent / "base" if name == "base" else work / "run" / name


def main() -> None:
    """Measure and write the credits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--k", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--full-template", action="store_true", help="The format explained.")
    parser.add_argument("--max-tokens", type=int, default=160)
    chosen = parser.parse_args()
    how = How(chosen.k, chosen.temperature, chosen.max_tokens)
    tests = load_tests(chosen.work / "data", chosen.sets, chosen.limit)
    results = chosen.work / "results"
    results.mkdir(parents=True, exist_ok=True)
    if chosen.model in FLOORS:
        train = [e for part in ("rft", "rl", "meta", "cold_examples", "format_examples")
                 for e in read_examples(chosen.work / "data" / f"{part}.jsonl")]  # fmt: skip
        found, label = measure_floor(chosen.model, tests, train), chosen.model
    else:
        fmt = POINTWISE if chosen.full_template else recipe_formats().several
        engine = HFEngine(
            model_folder(chosen.model, chosen.work), batch_size=chosen.batch, dtype="bfloat16"
        )
        found = measure_model(engine, tests, fmt, how, results / "runs" / chosen.model)
        label = f"{chosen.model}-{how.name}"
    write_credits(results / f"{label}.json", found)


def write_credits(path: Path, found: Mapping[str, Any]) -> None:
    """Add the sets just measured to a model's file of credits."""
    before = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_text(path) as file:
        file.write(json.dumps({**before, **found}) + "\n")


if __name__ == "__main__":
    main()
