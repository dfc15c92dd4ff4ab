"""Whether the first verdict leans the right way: `python -m recipes.smollm2_135m.leaning FOLDER`.

For training runs: a minute of one core where greedy judgements take ten, and blind to a lean that
comes from the place. The judgement of a pair is given up to its first verdict, in both orders; what
counts is whether the better response is called good with more probability when it stands first
than the worse one is. Generation may still fail where this does not: quotations are given here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.smollm2_135m.critiques import judgement_text, verdict_spans
from recipes.smollm2_135m.measure import SUBSET, load_tests
from recipes.smollm2_135m.mix import recipe_formats
from recipes.smollm2_135m.report import prompts_of
from spct.engines.hf_load import load_merged, load_tokenizer
from spct.measure.intervals import mean_interval
from spct.measure.tables import interval
from spct.types import Example

if TYPE_CHECKING:
    import torch

BATCH = 16


def words_apart(good: str, bad: str) -> tuple[str, str, str]:
    """What two verdicts share, and the word in which each goes its own way."""
    pairs = list(zip(good.split(), bad.split(), strict=False))
    shared = [g for g, _ in takewhile(lambda words: words[0] == words[1], pairs)]
    return " ".join(shared), *pairs[len(shared)]


def first_verdicts(pair: Example) -> list[tuple[str, str, str, str]]:
    """Better first, worse first: the prompt, the judgement so far, the good and the bad word."""
    best = (pair.gold or ()).index(max(pair.gold or ()))
    orders = ((best, 1 - best), (1 - best, best))
    texts = [judgement_text(pair, order) for order in orders]
    starts = [verdict_spans(text)[0] for text in texts]
    good, bad = (text[a:b] for text, (a, b) in zip(texts, starts, strict=True))
    shared, *words = words_apart(good, bad)
    fmt = recipe_formats().several
    return [
        (fmt.render(pair, order).messages[0].content, (text[:a] + shared).rstrip(), *words)
        for order, text, (a, _) in zip(orders, texts, starts, strict=True)
    ]


def leans(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> list[float]:
    """Logit of the good word over the bad one, two numbers per pair: better first, worse first."""
    import torch

    rows = []
    for prompt, so_far, good, bad in (row for pair in pairs for row in first_verdicts(pair)):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        ids, *words = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (f"{asked}{so_far}", f" {good}", f" {bad}")
        )
        rows.append((ids, words[0][0], words[1][0]))
    found = [0.0] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for k in range(0, len(rows), BATCH):
        some = by_length[k : k + BATCH]
        with torch.inference_mode():
            logits_B_V = next_logits(model, tokenizer, [rows[i][0] for i in some])
        for i, logits_V in zip(some, logits_B_V, strict=True):
            found[i] = float(logits_V[rows[i][1]] - logits_V[rows[i][2]])
    return found


def next_logits(model: Any, tokenizer: Any, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits of the next token after each row."""
    inputs = tokenizer.pad({"input_ids": list(ids)}, padding_side="left", return_tensors="pt")
    places = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    out = model(**inputs, position_ids=places, logits_to_keep=1, use_cache=False)
    logits: torch.Tensor = out.logits[:, -1].float()
    return logits


def main() -> None:
    """Print, for each set, how often the lean is right, and how far it is for the first shown."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="Folder of a stage or of a checkpoint.")
    parser.add_argument("--work", type=Path, default=Path("runs/smollm2/cpu"))
    parser.add_argument("--sets", nargs="+", default=list(SUBSET))
    parser.add_argument("--limit", type=int, default=60)
    chosen = parser.parse_args()
    model = load_merged(chosen.model, torch.bfloat16)
    tokenizer = load_tokenizer(str(chosen.work.parent / "base"))
    units = prompts_of(chosen.work / "data")
    for name, pairs in load_tests(chosen.work / "data", chosen.sets, chosen.limit).items():
        found = leans(model, tokenizer, pairs)
        gaps = [a - b for a, b in zip(found[::2], found[1::2], strict=True)]
        right = mean_interval([float(g > 0) for g in gaps], [units[name][e.id] for e in pairs])
        gap, place = sum(gaps) / len(gaps), sum(found) / len(found)
        print(
            f"{name}: right {interval(right)} of {len(pairs)} pairs; "
            f"gap {gap:.2f}, for the first {place:.2f}"
        )


if __name__ == "__main__":
    main()
