"""How much the base knows without saying it: `python -m recipes.smollm2_135m.probe` (two minutes).

A Bradley-Terry fit on two answers' hidden states in the untrained base, fitted
on TruthfulQA training pairs and tried on unseen questions. It bounds from below what a judge on
this base could say. All penalties are printed; none is chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.smollm2_135m.baselines import pair_examples
from recipes.smollm2_135m.measure import load_tests
from spct.data.prepare import normalised_query
from spct.engines.hf_load import load_tokenizer
from spct.measure.intervals import mean_interval
from spct.measure.tables import interval
from spct.train.linear import Features, fit
from spct.types import Example

if TYPE_CHECKING:
    import torch

LAYERS = (15, 22, 30)
PENALTIES = (0.03, 0.3, 3.0)
ASKS = "\nIs that true?"


def features(model: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    """Hidden states at the last token: (layers, texts, width)."""
    import torch

    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            states = model(ids, output_hidden_states=True).hidden_states
        rows.append(torch.stack([states[layer][0, -1].float() for layer in LAYERS]))
    return torch.stack(rows, dim=1)


def states_of(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> list[Features]:
    """The better and the worse answer of each pair as the base sees them, one entry a layer."""
    import torch

    texts = []
    for e in pairs:
        better = (e.gold or ()).index(max(e.gold or ()))
        for i in (better, 1 - better):
            turns = [
                {"role": "user", "content": e.query[-1].content},
                {"role": "assistant", "content": e.responses[i]},
            ]
            texts.append(str(tokenizer.apply_chat_template(turns, tokenize=False)) + ASKS)
    none = torch.zeros(len(pairs), dtype=torch.float64)
    return [
        Features(layer[0::2], layer[1::2], none)
        for layer in features(model, tokenizer, texts).double()
    ]


def main() -> None:
    """Print accuracy on unseen questions for each layer and penalty."""
    import torch
    from transformers import AutoModel

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--train", type=int, default=450)
    parser.add_argument("--test", type=int, default=250)
    chosen = parser.parse_args()
    data, base = chosen.work / "data", chosen.work.parent / "base"
    seen = [e for part in ("format", "cold")
            for e in pair_examples(data / f"{part}_examples.jsonl", 10_000)
            if e.id.startswith("truthfulqa")][: chosen.train]  # fmt: skip
    unseen = load_tests(data, ["truthfulqa"], chosen.test)["truthfulqa"]
    tokenizer = load_tokenizer(str(base))
    model = AutoModel.from_pretrained(str(base), dtype=torch.bfloat16)
    fitted, tried = states_of(model, tokenizer, seen), states_of(model, tokenizer, unseen)
    units = [normalised_query(e) for e in unseen]
    for layer, x, y in zip(LAYERS, fitted, tried, strict=True):
        for penalty in PENALTIES:
            weights, _ = fit(x, penalty)
            right = (y.first_P_H @ weights > y.second_P_H @ weights).double().tolist()
            found = interval(mean_interval(right, units))
            print(f"layer {layer}, penalty {penalty}: {found} on {len(right)} pairs", flush=True)


if __name__ == "__main__":
    main()
