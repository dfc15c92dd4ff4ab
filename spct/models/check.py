"""Is this a scorer to be trusted? The faults that give plausible numbers, found by measuring.

`check_model` looks inside a local model; `check_remote` can only ask a server questions. Both
return findings that say what was measured, what is wrong, and the setting that fixes it. A finding
is "failed" where scores would be wrong, "warned" where it cannot be determined from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spct.errors import CheckFailed, ContextOverflow, SpctError
from spct.models.encode import Conversation
from spct.protocols import Scorer
from spct.types import Message

if TYPE_CHECKING:
    from spct.models.hf_scorer import HFScorer

TOLERANCE = 1e-3  # logits; bfloat16 on an accelerator differs by about that much
PROBES: tuple[Conversation, ...] = tuple(
    (Message("user", query), Message("assistant", response))
    for query, response in (
        ("Name the capital of France.", "Paris."),
        ("Name the capital of France.", "I would rather talk about the weather today."),
        ("Add 17 and 25.", "17 + 25 = 42, because 17 + 20 = 37 and 37 + 5 = 42."),
        ("Add 17 and 25.", "The sum is 43, I think, or some other number near it. " * 4),
        ("Write one word.", "a"),
    )
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One question, its answer, and what to do where the answer is bad."""

    name: str
    status: Literal["passed", "warned", "failed"]
    measured: str
    fix: str = ""

    def __str__(self) -> str:
        tail = f" -> {self.fix}" if self.fix else ""
        return f"{self.status:7} {self.name}: {self.measured}{tail}"


@dataclass(frozen=True, slots=True)
class ScorerReport:
    """All findings about one scorer."""

    scorer: str
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return "\n".join([f"scorer {self.scorer}", *map(str, self.findings)])

    @property
    def worst(self) -> Finding | None:
        """The first failed finding, or None."""
        return next((f for f in self.findings if f.status == "failed"), None)

    def raise_if_bad(self) -> None:
        """Raise `CheckFailed` if a finding failed."""
        if self.worst is not None:
            raise CheckFailed(f"checking the scorer {self.scorer!r}: {self.worst}")


def check_scorer(spec: Path | str) -> ScorerReport:
    """Check the scalar model in a folder, or the one that a .toml file names."""
    check = check_spec if str(spec).endswith(".toml") else check_folder
    return ScorerReport(str(spec), tuple(asyncio.run(check(spec))))


async def check_folder(folder: Path | str) -> list[Finding]:
    """Load a scalar model and check it; a model that cannot be loaded is the only finding."""
    from spct.models.hf_scorer import load_scorer

    try:
        scorer = load_scorer(folder)
    except SpctError as error:
        return [Finding("head", "failed", str(error))]
    try:
        return await check_model(scorer)
    finally:
        await scorer.aclose()


async def check_spec(spec: Path | str) -> list[Finding]:
    """Check the scorer that a config file names, in a folder or behind a server."""
    from spct.models.load import load_reward_model, local_scorer, scorer_of

    scorer = scorer_of(load_reward_model(spec), str(spec))
    local = local_scorer(scorer)
    try:
        return await (check_remote(scorer) if local is None else check_model(local))
    finally:
        await scorer.aclose()


async def check_model(scorer: HFScorer) -> list[Finding]:
    """Every question that can be put to a model in memory."""
    return [
        _head(scorer),
        _position(scorer),
        _padding(scorer),
        _bos(scorer),
        await _batching(scorer),
        _activation(await scorer.score(PROBES)),
        await _truncation(scorer, scorer.encoder.max_length),
        _constant(await scorer.score(PROBES)),
    ]


async def check_remote(scorer: Scorer, *, n_long: int = 200_000) -> list[Finding]:
    """The questions that a server can be asked; `n_long` words should exceed any context."""
    logits = await scorer.score(PROBES)
    return [
        _activation(logits),
        await _batching(scorer),
        await _truncation(scorer, n_long),
        _constant(logits),
    ]


def _head(scorer: HFScorer) -> Finding:
    """Whether the head's weights still look like what transformers draws for a new one."""
    from spct.models.head import head_weights

    weights = head_weights(scorer.model)
    if not weights:
        return Finding(
            "head", "failed", "the model has no head weights", "load a sequence classifier"
        )
    weight = next(w for n, w in weights.items() if n.endswith("weight")).float()
    std, mean = float(weight.std()), float(weight.mean())
    drawn = getattr(scorer.model.config.get_text_config(), "initializer_range", 0.02)
    if std == 0:
        return Finding("head", "failed", f"all its weights are {mean:g}", "train it (spct train)")
    n = weight.numel()
    measured = f"{n} weights, deviation {std:.4g} (a new head: {drawn:g}), mean {mean:.2g}"
    # three standard errors of a sample's deviation and mean, as a new head is drawn
    fresh = abs(std / drawn - 1) < 3 / (2 * n) ** 0.5 and abs(mean) < 3 * drawn / n**0.5
    if fresh:
        return Finding(
            "head",
            "warned",
            f"{measured}: it cannot be distinguished from one that was never trained",
            "see whether accuracy on known pairs is above chance (spct compare)",
        )
    return Finding("head", "passed", measured)


def _position(scorer: HFScorer) -> Finding:
    """One unpadded forward under the model's own config must read where the scorer reads."""
    ids = [scorer.encoder.ids(probe) for probe in PROBES]
    own = [scorer.forward_as_configured(one) for one in ids]
    ours = [scorer.forward([one])[0] for one in ids]
    off = _largest(own, ours)
    measured = f"logits differ by {off:.2g} from one unpadded forward under the model's own config"
    if off > TOLERANCE:
        pad = scorer.model.config.get_text_config().pad_token_id
        return Finding(
            "position",
            "failed",
            f"{measured}, which takes the token {pad} at the end for padding",
            "spct reads the last token: if the model was trained to, set config.pad_token_id to a "
            "token that ends no conversation; if not, it must be scored where it was trained",
        )
    return Finding("position", "passed", measured)


def _padding(scorer: HFScorer) -> Finding:
    """The same conversation alone, padded on the right, padded on the left."""
    ids = [scorer.encoder.ids(probe) for probe in PROBES]
    alone = [scorer.forward([one])[0] for one in ids]
    right, left = scorer.forward(ids), scorer.forward(ids, left=True)
    off_right = _largest(alone, right)
    off_left = _largest(alone, left)
    measured = f"logits move by {off_right:.2g} (right), {off_left:.2g} (left)"
    if off_right > TOLERANCE:
        return Finding(
            "padding",
            "failed",
            measured,
            "set config.pad_token_id to the tokenizer's padding token and padding_side = right",
        )
    if off_left > TOLERANCE:
        fix = "spct pads right; set padding_side = right where this model is used elsewhere"
        return Finding("padding", "warned", measured, fix)
    return Finding("padding", "passed", measured)


def _bos(scorer: HFScorer) -> Finding:
    tokenizer = scorer.encoder.tokenizer
    bos = tokenizer.bos_token_id
    ids = scorer.encoder.ids(PROBES[0])
    leading = next((i for i, one in enumerate(ids) if one != bos), len(ids))
    if leading > 1:
        fix = "take the BOS out of the chat template, or set add_bos_token = false"
        return Finding("BOS", "failed", f"a conversation begins with {leading} of them", fix)
    as_text = tokenizer(scorer.encoder.text(PROBES[0]))["input_ids"]
    doubled = bos is not None and list(as_text[:2]) == [bos, bos]
    if doubled:
        return Finding(
            "BOS",
            "warned",
            "one here, but two when the templated text is tokenised again, as servers do",
            "send token ids, or add_special_tokens = false, or text without its BOS",
        )
    return Finding("BOS", "passed", f"{leading} at the beginning")


async def _batching(scorer: Scorer) -> Finding:
    together = await scorer.score(PROBES)
    alone = [(await scorer.score([probe]))[0] for probe in PROBES]
    off = _largest(together, alone)
    measured = f"logits of a batch and of single calls differ by {off:.2g}"
    if off > TOLERANCE:
        fix = "load in float32, and see the padding finding; on a server, try one version newer"
        return Finding("batch against single", "failed", measured, fix)
    return Finding("batch against single", "passed", measured)


def _activation(logits: Sequence[float]) -> Finding:
    """A sigmoid leaves nothing outside 0..1; a raw head rarely keeps all probes inside."""
    measured = f"probes score {min(logits):.3g} to {max(logits):.3g}"
    if all(0 < logit < 1 for logit in logits):
        return Finding(
            "activation",
            "warned",
            f"{measured}: all within 0..1, so a sigmoid may be on",
            "ask for use_activation = false (vLLM), raw_scores = true (TEI)",
        )
    return Finding("activation", "passed", measured)


async def _truncation(scorer: Scorer, n_words: int) -> Finding:
    """What is too long must be refused: a cut conversation scores like another one."""
    filler = " a" * n_words
    ends: Callable[[str], Conversation] = lambda end: (  # noqa: E731
        Message("user", "q"),
        Message("assistant", filler + end),
    )
    try:
        first, second = await scorer.score([ends(" good"), ends(" a wholly different end")])
    except ContextOverflow:
        return Finding("truncation", "passed", "a conversation that is too long is refused")
    except SpctError as error:
        return Finding("truncation", "passed", f"refused: {str(error)[:120]}")
    if abs(first - second) < 1e-9:
        fix = "leave truncate_prompt_tokens unset, and set max_length to the model's context"
        return Finding("truncation", "failed", "two long texts with other ends score alike", fix)
    return Finding("truncation", "warned", f"{n_words} words were taken; the limit was not reached")


def _constant(logits: Sequence[float]) -> Finding:
    spread = max(logits) - min(logits)
    if spread < 1e-6:
        fix = "the head or the pooling is broken: it must read the last token that is not padding"
        return Finding("spread", "failed", "five different conversations score alike", fix)
    return Finding("spread", "passed", f"probes differ by up to {spread:.3g}")


def _largest(a: Sequence[float], b: Sequence[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
