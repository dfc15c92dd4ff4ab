"""Training a readout beside a supervised step: python -m benchmarks.decide_train [--rounds 5].

Rows (responses with gold) per second of one process, forward and backward, on the base of the
embedded judge with the recipe's adapters (rank 16 on the upper 18 of 30 layers) and precision:

- supervised: each response is a row of its own, padded; the loss is the word's after it, from
  logits over the vocabulary, as `spct train rft` does it;
- readout: a query's responses in packed rows, two rows of the head, as `spct train decision` does;
- compiled: the same with `compile_layers`.

Goal: at least twice the supervised step. Run it alone; rounds take turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from benchmarks.embedded import SENTENCES
from recipes.smollm2_135m.readout import config, how
from spct.engines.export import export_model
from spct.engines.hf_load import load_tokenizer
from spct.train.decision import encoder, losses, starting_readout
from spct.train.packing import Row, collate, rows_of
from spct.train.readout import Readout, mixed_adapters
from spct.types import Example, Message

RESPONSES = 5
QUERIES = 18  # in batches of six packed rows


def examples() -> list[Example]:
    """Lists whose first response is the best, of about 40 tokens each."""
    rng = random.Random(0)
    gold = (1.0,) + (0.0,) * (RESPONSES - 1)
    return [
        Example(
            f"e{i}",
            (Message("user", f"Describe place {i}. {rng.choice(SENTENCES)}"),),
            tuple(" ".join(rng.choices(SENTENCES, k=2)) for _ in range(RESPONSES)),
            gold=gold,
        )
        for i in range(QUERIES)
    ]


def supervised(readout: Readout, sides: list[torch.Tensor], pad: int) -> torch.Tensor:
    """The loss of one word after each side, from logits over the whole vocabulary."""
    ids = pad_sequence(sides, batch_first=True, padding_value=pad)
    mask = pad_sequence([torch.ones_like(side) for side in sides], batch_first=True)
    logits = readout.model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    labels = torch.where(
        mask[:, 1:].cumsum(1) == mask[:, 1:].sum(1, keepdim=True), ids[:, 1:], -100
    )
    labels = torch.where(mask[:, 1:] == 1, labels, -100)
    return cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)


def batches(rows: list[Row], size: int = 6) -> list[list[Row]]:
    """Rows by length, in batches."""
    by_length = sorted(rows, key=lambda row: row.length)
    return [by_length[i : i + size] for i in range(0, len(rows), size)]


def seconds(step: Callable[[list[Row]], torch.Tensor], rows: list[Row], precise: bool) -> float:
    """Forward and backward over all batches."""
    started = time.perf_counter()
    for some in batches(rows):
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            loss = step(some)
        loss.backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - started


def measure(rounds: int, work: Path) -> None:
    """Rows per second of the three, in turns."""
    export_model(work / "base")
    tokenizer, settings = load_tokenizer(work / "base"), config(1)
    pad, precise = int(tokenizer.pad_token_id), not settings.bf16
    rows, _ = rows_of(examples(), encoder(*how(), tokenizer), settings.max_length, 400)

    def opened(**changes: Any) -> Readout:
        changed = settings.model_copy(update=changes)
        return starting_readout(str(work / "base"), tokenizer, changed).train()

    plain = opened(attention=None, compile_layers=False)
    packed = opened(compile_layers=False)
    fast = opened(compile_layers=True)

    def sft(some: list[Row]) -> torch.Tensor:
        sides = [torch.tensor(row.shared + rest) for row in some for rest in row.rests]
        return supervised(plain, sides, pad)

    def read(readout: Readout, some: list[Row]) -> torch.Tensor:
        batch = collate(some, pad)
        with mixed_adapters(readout.model, not precise):
            pairwise, score = losses(readout(batch), batch)
        return pairwise + settings.log_score * score

    steps: dict[str, Callable[[list[Row]], torch.Tensor]] = {
        "supervised": sft,
        "readout": lambda some: read(packed, some),
        "compiled": lambda some: read(fast, some),
    }
    found: dict[str, list[float]] = {name: [] for name in steps}
    n_sides = sum(len(row.rests) for row in rows)
    for n in range(rounds + 1):
        for name, step in steps.items():
            took = seconds(step, rows, precise)
            if n:  # the first round compiles
                found[name].append(took)
    medians = {name: n_sides / statistics.median(took) for name, took in found.items()}
    for name, per_s in medians.items():
        print(f"{name}: {per_s:.1f} rows/s, {per_s / medians['supervised']:.2f} x supervised")
    print("goal: 2")


def main() -> None:
    """Measure in a folder that goes away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        measure(chosen.rounds, Path(work))


if __name__ == "__main__":
    main()
