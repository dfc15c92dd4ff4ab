"""How much the base knows without saying it: `python -m recipes.smollm2_135m.probe` (two minutes).

A logistic regression on the difference of two answers' hidden states in the untrained base, fitted
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
from recipes.smollm2_135m.report import clustered
from spct.data.prepare import normalised_query
from spct.train.sft import load_tokenizer
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


def differences(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> torch.Tensor:
    """State of the better answer minus that of the worse one: (layers, pairs, width)."""
    texts = []
    for e in pairs:
        better = (e.gold or ()).index(max(e.gold or ()))
        for i in (better, 1 - better):
            turns = [
                {"role": "user", "content": e.query[-1].content},
                {"role": "assistant", "content": e.responses[i]},
            ]
            texts.append(str(tokenizer.apply_chat_template(turns, tokenize=False)) + ASKS)
    states = features(model, tokenizer, texts)
    return states[:, 0::2] - states[:, 1::2]


def fit(x_P_W: torch.Tensor, penalty: float) -> torch.Tensor:
    """The weights of a logistic regression whose every label is 1."""
    import torch

    weight = torch.zeros(x_P_W.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        total = torch.nn.functional.softplus(-(x_P_W @ weight)).mean()
        total = total + penalty * (weight**2).sum() / 2
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach()


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
    x, y = differences(model, tokenizer, seen), differences(model, tokenizer, unseen)
    for layer, x_P_W, y_P_W in zip(LAYERS, x, y, strict=True):
        scale = x_P_W.std(0) + 1e-4
        for penalty in PENALTIES:
            right = (y_P_W / scale @ fit(x_P_W / scale, penalty) > 0).float().tolist()
            found = clustered(right, [normalised_query(e) for e in unseen])
            print(f"layer {layer}, penalty {penalty}: {found} on {found.n} pairs", flush=True)


if __name__ == "__main__":
    main()
