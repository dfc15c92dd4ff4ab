"""What a run would ask for and cost, before anything is asked: `spct sample --dry-run`.

Prompts are built as a run builds them, by the model itself over an engine that only counts. Tokens
are estimated from characters, replies are counted at their limit, so the cost is an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from spct.protocols import Engine, RewardModel
from spct.types import Completion, Example, Prompt, SamplingParams, Usage
from spct.votes.price import Price

SAMPLE = 200  # at least so many have their prompts built; the rest is taken to be like them
CHARACTERS = 4  # a token, in English


@dataclass(slots=True)
class _Counting(Engine):
    """Answers nothing and adds up what it was asked for."""

    fingerprint: str
    usage: Usage = field(default_factory=Usage)
    judgements: int = 0

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        characters = sum(len(message.content) for message in prompt.messages)
        self.usage += Usage(-(-characters // CHARACTERS), n * params.max_tokens, 1)
        self.judgements += n
        return [Completion("", "error", error="nothing was asked")] * n

    async def aclose(self) -> None:
        pass


async def forecast(model: RewardModel, examples: Iterable[Example], price: Price | None) -> str:
    """Lines for people: examples, judgements, requests, tokens and what they cost at most."""
    n, some = _spread(examples)
    if model.engine is None:
        return f"{n:,} examples, judged without an engine: nothing to pay for"
    counting = _Counting("dry run")
    counted = model.with_(engine=counting)
    for example in some:
        await counted.judge(example)
    times = n / max(1, len(some))
    used = counting.usage
    whole = Usage(
        round(times * used.prompt_tokens),
        round(times * used.completion_tokens),
        round(times * used.calls),
    )
    about = "" if len(some) == n else "about "
    lines = [
        f"{n:,} examples, {about}{round(times * counting.judgements):,} judgements in "
        f"{whole.calls:,} requests (a prompt each): {about}{whole.prompt_tokens:,} tokens to read "
        f"({CHARACTERS} characters a token), at most {whole.completion_tokens:,} to write",
        "nothing was asked of a model",
    ]
    if price is not None:
        lines.insert(1, price.forecast(whole))
    return "\n".join(lines)


def _spread(examples: Iterable[Example]) -> tuple[int, list[Example]]:
    """How many there are, and some of them at equal distances; the others are not held."""
    n, step, some = 0, 1, list[Example]()
    for example in examples:
        if n % step == 0:
            some.append(example)
        if len(some) > 2 * SAMPLE:
            some, step = some[::2], 2 * step
        n += 1
    return n, some
