"""Train the base model that the study starts from: `python -m recipes.synthetic.base --out DIR`.

It learns to read, from lessons: constraints, responses, and true checks of them with their
evidence; it sees no judgement. The weights in `recipes/synthetic/weights` are shipped, so that the
study measures SPCT and not the patience to teach reading. A plain loop, because its lessons never
end and need no files.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from recipes.synthetic.rows import chat_row, study_formats, vocabulary_texts
from recipes.synthetic.teacher import lesson_text
from recipes.synthetic.tiny import build_tokenizer, new_model
from recipes.synthetic.world import draw_lesson
from spct.train.fitting import encode
from spct.train.sampling import Formats

RATE, WARMUP = 2e-3, 100
PHASES = ((1800, False), (600, True))  # steps, and whether the lessons list lengths
SHARES_OF_N = (3, 4, 2, 1, 1)  # lessons with one to five responses, a batch has one number of them
ROWS = (64, 48, 36, 32, 28)  # of a batch: about 4,000 tokens whatever the number of responses
IGNORED = -100


def lesson_batch(
    rng: random.Random,
    n: int,
    tokenizer: PreTrainedTokenizerFast,
    formats: Formats,
    *,
    lengths: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels of a batch of lessons about `n` responses; the prompt has no label."""
    ids, labels = [], []
    for _ in range(ROWS[n - 1]):
        lesson = draw_lesson(rng, n)
        row = chat_row(lesson, tuple(range(n)), lesson_text(lesson, lengths=lengths), formats)
        whole = encode(tokenizer, row["prompt"] + row["completion"])["input_ids"]
        head = encode(tokenizer, row["prompt"])["input_ids"]
        ids.append(torch.tensor(whole))
        labels.append(torch.tensor([IGNORED] * len(head) + whole[len(head) :]))
    return (
        pad_sequence(ids, batch_first=True, padding_value=int(tokenizer.pad_token_id)),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    )


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean negative log likelihood of the labelled tokens, in bfloat16 where it is safe."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden_B_T_D = model.model(input_ids=ids, use_cache=False).last_hidden_state
        scored = labels[:, 1:] != IGNORED
        logits = model.lm_head(hidden_B_T_D[:, :-1][scored])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][scored])


def train_phase(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    *,
    lengths: bool,
    seed: int,
    log_steps: int = 100,
) -> None:
    """Train on endless lessons: half of the steps at the full rate, then down to 2% of it."""
    formats, rng = study_formats(), random.Random(f"lessons/{seed}/{lengths}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    start = time.monotonic()
    for step in range(1, steps + 1):
        (n,) = rng.choices(range(1, 6), SHARES_OF_N)
        ids, labels = lesson_batch(rng, n, tokenizer, formats, lengths=lengths)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / WARMUP, max(0.02, 2 * (1 - step / steps)))
        loss = loss_of(model, ids, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % log_steps == 0:
            print(f"step {step}: loss {loss.item():.4f}, {time.monotonic() - start:.0f} s")


def train_base(out: Path, seed: int = 0) -> None:
    """Write the base model to `out`."""
    tokenizer = build_tokenizer(vocabulary_texts())
    model = new_model(tokenizer, seed=seed)
    for steps, lengths in PHASES:
        train_phase(model, tokenizer, steps, lengths=lengths, seed=seed)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Train the base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    train_base(parser.parse_args().out)


if __name__ == "__main__":
    main()
