"""The recipe's data: licensed sets, split by prompt, cut to short examples, mixed.

    python -m recipes.smollm2_135m.mix --out runs/smollm2/data --budget cpu

The shares follow what a small model can read: short answers first. Every example fits in
`max_chars`; of several responses exactly one is best. Seven of eight EVOUNA and GSM8K examples show
the reference (golden answer, final number). Pairs of UKP are drawn so that the longer argument wins
as often as the shorter: in the raw pairs it wins 77%, and a judge would learn no more than that.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from recipes.smollm2_135m.critiques import judgement_text, verdict_spans
from spct.core.plan import order_of
from spct.data.entries import Tally
from spct.data.local import read_local
from spct.data.prepare import draw, has_best, mix, split_by_prompt, with_reference
from spct.runs.codec import dump_example
from spct.train.fitting import Row
from spct.train.rft import write_rows
from spct.train.sampling import Formats, formats_from
from spct.types import Example

HERE = Path(__file__).parent
SEED = 0
FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}
SALT = "smollm2-135m"
WHOLE = 4  # one cold-start row in so many is learned whole, the others at their verdicts
HINTED = 8  # one cold-start row in so many shows the hint, so that RFT's hints are understood


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything a budget takes."""

    format: int
    cold_start: int
    rft: int
    rl: int
    meta: int
    dev: int
    test: int  # pairs of each test set
    max_chars: int  # of query and responses together, in training and dev
    test_chars: int  # the same for the tests
    shares: Mapping[str, float]


SHARES = {
    "truthfulqa": 0.52, "evouna": 0.31, "ukp": 0.08, "gsm8k": 0.06, "hh": 0.01,
    "finegrained": 0.01, "halueval": 0.01,
}  # fmt: skip
SIZES = {
    "cpu": Sizes(240, 3000, 200, 480, 80, 100, 250, 500, 700, SHARES),
    "gpu": Sizes(4000, 30_000, 4000, 6000, 2000, 400, 800, 2400, 2400, SHARES),
}
# Sizes in the sets that hold lists: a list of four costs the fewest tokens a label, a pair in both
# orders the most.
N_SHARES = {
    "truthfulqa": {1: 0.12, 2: 0.33, 3: 0.10, 4: 0.40, 5: 0.05},
    "evouna": {1: 0.30, 2: 0.50, 3: 0.13, 4: 0.05, 5: 0.02},
}


def characters(example: Example) -> int:
    """What the judge has to read, without the template."""
    return sum(len(m.content) for m in example.query) + sum(map(len, example.responses))


def in_split(name: str, split: str) -> list[Example]:
    """The examples of one local set whose prompt falls into the split."""
    return [e for e in read_set(name) if split_by_prompt(e, FRACTIONS, SALT) == split]


@cache
def read_set(name: str) -> tuple[Example, ...]:
    """A local set, read once; what its reader leaves out is told on standard error."""
    tally = Tally()
    found = tuple(read_local(name, tally=tally))
    left_out = {reason: count for reason, count in sorted(tally.items()) if count}
    print(f"{name}: {len(found)} examples; left out: {left_out}", file=sys.stderr)
    return found


def sub_lists(
    examples: Iterable[Example], counts: Mapping[int, int], max_chars: int
) -> Iterator[Example]:
    """Single responses, pairs and lists out of lists: up to `counts[n]` of each size a question."""
    for example in examples:
        for n, count in counts.items():
            for drawn in draw(example, n, count, seed=SEED):
                if characters(drawn) <= max_chars:
                    yield drawn


def balanced(examples: Iterable[Example], side: Callable[[Example], bool]) -> list[Example]:
    """As many examples on either side, drawn at random; the order is shuffled."""
    rng = random.Random(SEED)
    groups: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        groups[side(example)].append(example)
    size = min(map(len, groups))
    kept = [e for group in groups for e in rng.sample(group, size)]
    rng.shuffle(kept)
    return kept


def longer_wins(example: Example) -> bool:
    """Whether the best response is also the longest."""
    gold, lengths = example.gold or (), [len(r) for r in example.responses]
    return lengths[gold.index(max(gold))] == max(lengths)


def is_good(example: Example) -> bool:
    """Whether a single response has gold 1."""
    return example.gold == (1.0,)


def by_size(examples: list[Example], shares: Mapping[int, float]) -> list[Example]:
    """Lists of these sizes in these shares, single responses half good and half bad."""
    sizes: dict[int, list[Example]] = {n: [e for e in examples if e.n == n] for n in shares}
    sizes[1] = balanced(sizes[1], is_good)
    return list(mix({str(n): (sizes[n], share) for n, share in shares.items()}, seed=SEED).examples)


def referenced(examples: Iterable[Example]) -> list[Example]:
    """Seven of eight examples with their golden answer (GSM8K: the final number) as reference."""
    return [shown(e) if i % 8 else e for i, e in enumerate(examples)]


def shown(example: Example) -> Example:
    """The example with the reference that its set has."""
    if final := example.meta.get("golden_final"):
        return replace(example, id=f"{example.id}+ref", reference=str(final))
    return replace(with_reference(example), id=f"{example.id}+ref")


def training_sets(split: str, max_chars: int) -> dict[str, list[Example]]:
    """Every set of the recipe, cut to size, for one split."""
    lists = {1: 4, 2: 24, 3: 8, 4: 3, 5: 2}
    short = {1: 1, 2: 3, 3: 1, 4: 1, 5: 1}

    def fits(example: Example) -> bool:
        return characters(example) <= max_chars

    pairs = {
        name: [e for e in in_split(source, split) if has_best(e) and fits(e)]
        for name, source in (("hh", "hh_harmless_base"), ("finegrained", "finegrained_rlhf_qa"))
    }
    truthful = list(sub_lists(in_split("truthfulqa_judgements", split), lists, max_chars))
    answers = list(sub_lists(in_split("evouna_openqa", split), short, max_chars))
    solutions = sub_lists(in_split("gsm8k_solutions", split), {1: 1, 2: 2}, 2 * max_chars)
    return {
        "truthfulqa": by_size(truthful, N_SHARES["truthfulqa"]),
        "evouna": referenced(by_size(answers, N_SHARES["evouna"])),
        "ukp": balanced(filter(fits, in_split("ukp_convarg1", split)), longer_wins),
        "gsm8k": referenced(solutions),
        **pairs,
        "halueval": balanced(filter(fits, in_split("halueval_general", split)), is_good),
    }


def test_sets(max_chars: int, count: int, split: str = "test") -> dict[str, list[Example]]:
    """Pairs of each test set: at most `count`, prompts as evenly drawn as the set allows."""
    truthful = list(sub_lists(in_split("truthfulqa_judgements", split), {2: 5}, max_chars))
    answers = list(sub_lists(in_split("evouna_openqa", split), {2: 3}, max_chars))
    solutions = list(sub_lists(in_split("gsm8k_solutions", split), {2: 4}, 2 * max_chars))
    arguments = [e for e in in_split("ukp_convarg1", split) if characters(e) <= max_chars]
    sets = {
        "truthfulqa": truthful,
        "evouna": answers,
        "evouna_ref": [shown(e) for e in answers],
        "gsm8k": solutions,
        "gsm8k_ref": [shown(e) for e in solutions],
        "ukp": arguments,
        "ukp_shorter": [e for e in arguments if not longer_wins(e)],
    }
    for name, source in (("pandalm", "pandalm_testset"), ("llmbar", "llmbar")):  # transfer sets
        sets[name] = [e for e in read_set(source) if has_best(e) and characters(e) <= max_chars]
    return {
        name: random.Random(SEED).sample(examples, min(count, len(examples)))
        for name, examples in sets.items()
    }


def cold_rows(
    examples: Iterable[Example], formats: Formats, *, verdicts_only: bool = False
) -> list[Row]:
    """Prompts with judgements written from the evidence; one example in HINTED shows the hint.

    A pair comes in both orders: the length sampler puts the two into one batch, where what the
    place says cancels. With `verdicts_only` the loss covers only the words and scores that decide,
    but for one example in WHOLE: without any whole judgement the text around the verdicts decays.
    """
    rows = []
    for i, example in enumerate(examples):
        gold = example.gold or ()
        hint = gold.index(max(gold)) if example.n > 1 and i % HINTED == 1 else None
        orders = [(0, 1), (1, 0)] if example.n == 2 else [order_of(example, 0, "random", SEED)]
        for order in orders:
            prompt = formats.of(example).render(example, order, hint)
            row = written(prompt.messages[0].content, judgement_text(example, order), example.id)
            if verdicts_only and i % WHOLE:
                row["focus"] = verdict_spans(row["completion"][0]["content"])
            rows.append(row)
    return rows


def written(prompt: str, completion: str, example_id: str) -> Row:
    """A row of one prompt and one completion."""
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
        "example_id": example_id,
    }


def recipe_formats() -> Formats:
    """The compact templates that the model is trained on."""
    return formats_from(str(HERE / "pointwise.txt"), str(HERE / "single.txt"))


def prepare(out: Path, budget: str) -> None:
    """Write format, cold, rft, rl, meta, dev and test-*.jsonl, unless they are there."""
    if (out / "cold.jsonl").is_file():
        return
    sizes = SIZES[budget]
    out.mkdir(parents=True, exist_ok=True)
    parts = {
        "format": sizes.format,
        "cold": sizes.cold_start,
        "rft": sizes.rft,
        "rl": sizes.rl,
        "meta": sizes.meta,
    }
    sets = training_sets("train", sizes.max_chars)
    mixed = mixture(sets, sizes.shares, sum(parts.values()))
    random.Random(SEED).shuffle(mixed)
    taken = cut(mixed, parts)
    dev = mixture(training_sets("dev", sizes.max_chars), sizes.shares, sizes.dev)
    for name in ("rft", "rl", "meta"):
        write(out / f"{name}.jsonl", taken[name])
    for name in ("format", "cold"):  # for the baselines: the same data
        write(out / f"{name}_examples.jsonl", taken[name])
    write(out / "dev.jsonl", dev)
    tests = test_sets(sizes.test_chars, sizes.test)
    for name, examples in tests.items():
        write(out / f"test-{name}.jsonl", examples)
    formats = recipe_formats()
    write_rows(cold_rows(taken["format"], formats), out / "format.jsonl")
    write_rows(cold_rows(taken["cold"], formats, verdicts_only=True), out / "cold.jsonl")


def cut(examples: list[Example], parts: Mapping[str, int]) -> dict[str, list[Example]]:
    """The examples in parts of these sizes, in order; all shrink alike if there are too few."""
    share = min(1.0, len(examples) / sum(parts.values()))
    start, taken = 0, {}
    for name, size in parts.items():
        taken[name] = examples[start : start + int(size * share)]
        start += int(size * share)
    return taken


def mixture(
    sets: Mapping[str, list[Example]], shares: Mapping[str, float], total: int
) -> list[Example]:
    """`total` examples in these shares; a set that is too small gives what it has, and is named."""
    rng = random.Random(SEED)
    chosen: list[Example] = []
    for name, share in shares.items():
        wanted = round(total * share)
        if wanted > len(sets[name]):
            print(f"{name}: {len(sets[name])} examples of {wanted} wanted", file=sys.stderr)
        chosen += rng.sample(sets[name], min(wanted, len(sets[name])))
    return chosen


def write(path: Path, examples: Iterable[Example]) -> None:
    """Write examples as JSON lines in our own schema."""
    write_rows((dump_example(e) for e in examples), path)


def main() -> None:
    """Write the recipe's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", choices=sorted(SIZES), default="cpu")
    chosen = parser.parse_args()
    prepare(chosen.out, chosen.budget)


if __name__ == "__main__":
    main()
