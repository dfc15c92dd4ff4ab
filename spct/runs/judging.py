"""A run: examples through a judge into one folder that survives a kill.

The folder's store holds every reply before it is parsed, and every verdict. The same command finds
its folder again by its config, continues what is unfinished and repeats nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spct.config import Config
from spct.core.generative import GenerativeRM, stream
from spct.errors import OverBudget
from spct.runs.folder import new_run_folder
from spct.runs.store import Store
from spct.types import Example, Reason, Usage, Verdict


@dataclass(slots=True)
class Tally:
    """What a run came to so far. Nothing that failed is missing from it."""

    examples: int = 0
    without_rewards: int = 0
    judgements: int = 0
    ties: int = 0
    unscored: dict[Reason, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.examples += 1
        self.without_rewards += verdict.rewards is None
        self.judgements += verdict.k_drawn
        self.ties += len(verdict.best) > 1
        for reason, count in verdict.unscored.items():
            self.unscored[reason] = self.unscored.get(reason, 0) + count
        self.usage += verdict.usage

    @property
    def n_unscored(self) -> int:
        """Trajectories that could not be counted."""
        return sum(self.unscored.values())

    @property
    def unscored_share(self) -> float:
        """The unscored among the judgements drawn; 0 for an empty tally."""
        return self.n_unscored / self.judgements if self.judgements else 0.0

    def summary(self) -> str:
        """One line for people."""
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.unscored.items()))
        return (
            f"{self.examples} examples, {self.judgements} judgements"
            f" ({self.unscored_share:.1%} unscored{': ' + reasons if reasons else ''}),"
            f" {self.without_rewards} without rewards, {self.ties} ties,"
            f" {self.usage.prompt_tokens} + {self.usage.completion_tokens} tokens"
            f" in {self.usage.calls} calls"
        )


# Settings that change how a run is carried out but not what a finished verdict holds.
_NOT_IDENTITY = {
    "engine": {"kind", "model", "adapter", "base_url", "api_key_env", "max_concurrency", "rpm"}
    | {"tpm", "timeout", "deadline", "max_retries", "retry_budget", "grammar_field", "extra_body"},
    "judge": {"concurrency", "template"},  # its text is in the format's fingerprint
}


def identity(config: Config, rm: GenerativeRM, data: dict[str, Any]) -> dict[str, Any]:
    """All that a finished verdict depends on, flat; `data` says which examples in which way."""
    settings = {
        f"{section}.{key}": value
        for section, values in config.model_dump().items()
        for key, value in values.items()
        if key not in _NOT_IDENTITY[section]
    }
    made = {"engine": rm.engine.fingerprint, "format": rm.fmt.fingerprint}
    return {**made, **settings, **{f"data.{key}": value for key, value in data.items()}}


def find_run(root: Path, config: dict[str, Any]) -> Path | None:
    """The newest run folder under `root` that was begun with this config."""
    for file in sorted(root.glob("*/config.json"), reverse=True):
        try:
            if json.loads(file.read_text("utf-8"))["identity"] == config:
                return file.parent
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a run of ours, or damaged: never continued by accident
    return None


def run_folder(root: Path, name: str, config: dict[str, Any], *, fresh: bool) -> Path:
    """The folder that this command continues, or a new one."""
    found = None if fresh else find_run(root, config)
    return found or new_run_folder(root, name)


async def judge_into(
    store: Store, rm: GenerativeRM, examples: Iterable[Example], finished: Collection[str]
) -> AsyncGenerator[Verdict, None]:
    """Judge what is not finished; each verdict is committed before it is yielded."""
    positions: dict[str, int] = {}

    def unfinished() -> Iterator[Example]:
        for position, example in enumerate(examples):
            if example.id not in finished:
                positions[example.id] = position
                yield example

    async def judge(example: Example) -> Verdict:
        verdict = await rm.judge(example)
        await store.put_verdict(verdict, example, position=positions.pop(example.id))
        return verdict

    async with aclosing(stream(judge, unfinished(), rm.concurrency)) as verdicts:
        async for verdict in verdicts:
            yield verdict


def check_budget(tally: Tally, max_unscored: float) -> None:
    """Raise `OverBudget` if more judgements are unscored than allowed."""
    if tally.unscored_share > max_unscored:
        raise OverBudget(
            f"{tally.unscored_share:.1%} of the judgements are unscored, allowed is "
            f"{max_unscored:.1%} (--max-unscored); the reasons are in the records"
        )
