"""The writer of criteria: a list from the query alone, before any response is seen.

The same query (and reference) is asked about under the same id and seeds in any run, so a store
finds the reply again, and all responses, votes and epochs share one list. A reply that is no list
of 1 to `MOST` criteria is unscored with its reason, never a short or an empty list.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from spct.core.orders import sample_seed
from spct.data.criteria import read_criteria
from spct.data.criteria_files import list_key
from spct.errors import EXAMPLE_FAULTS, DataError
from spct.protocols import Engine
from spct.text.format import unfinished
from spct.text.slots import harmless
from spct.text.template import filled, shipped_template
from spct.text.thought import after_thought
from spct.types import (
    Completion,
    Criteria,
    Example,
    Message,
    Prompt,
    SamplingParams,
    Unscored,
    Usage,
)

MOST = 12  # criteria of one list; a reply with more did not do what it was asked
_TEMPLATE = shipped_template("criteria")


@dataclass(frozen=True, eq=False)
class CriteriaWriter:
    """Writes lists with whatever engine it is given; greedy unless `temperature` says otherwise.

    `template` is the wording that a writer was trained on, with the slots of ours.
    """

    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int = 0
    template: str = _TEMPLATE
    _written: dict[tuple[str, str], asyncio.Future[Criteria | Unscored]] = field(
        default_factory=dict, repr=False
    )

    @property
    def fingerprint(self) -> str:
        """Wording and sampling; the engine is named by the judge."""
        return (
            f"written:{self.temperature:g}-{self.max_tokens}-"
            f"{sample_seed(self.seed, self.template, 0)}"
        )

    def prompt(self, example: Example) -> Prompt:
        """What the writer reads: query and reference, and no response."""
        turns, _, reference = harmless(example.query, (), example.reference)
        slots = {"conversation": "\n\n".join(turns), "reference": reference}
        text = Message("user", filled(self.template, slots))
        return Prompt(list_key(example.query, example.reference), (text,), ())

    async def write(self, example: Example, engine: Engine) -> tuple[Criteria | Unscored, Usage]:
        """The list for an example's query, written once, and what it cost whoever came first."""
        key = (engine.fingerprint, list_key(example.query, example.reference))
        known = self._written.get(key)
        if known is not None and known.done():
            return known.result(), Usage()
        if known is not None and known.get_loop() is asyncio.get_running_loop():
            return await known, Usage()
        future: asyncio.Future[Criteria | Unscored] = asyncio.get_running_loop().create_future()
        self._written[key] = future
        try:
            (found, reply) = (await self.write_several(example, engine, 1))[0]
        except BaseException:
            del self._written[key]
            future.cancel()
            raise
        if isinstance(found, Unscored) and found.reason == "failed":
            del self._written[key]  # the next one may ask again
        future.set_result(found)
        return found, reply.usage

    async def write_several(
        self, example: Example, engine: Engine, count: int
    ) -> list[tuple[Criteria | Unscored, Completion]]:
        """`count` lists for one query, each with its reply."""
        prompt = self.prompt(example)
        seeds = tuple(sample_seed(self.seed, prompt.example_id, i) for i in range(count))
        params = SamplingParams(self.temperature, max_tokens=self.max_tokens, seeds=seeds)
        try:
            replies = await engine.sample(prompt, count, params)
        except EXAMPLE_FAULTS as error:
            replies = [Completion("", "error", error=str(error))] * count
        return [(read_list(reply), reply) for reply in replies]


def read_list(reply: Completion) -> Criteria | Unscored:
    """The list that a writer's reply holds, or why it holds none."""
    if reply.finish_reason != "stop":
        return unfinished(reply)
    text = reply.text[after_thought(reply.text, len(reply.text)) :]
    if not text.strip():
        return Unscored("empty", "the writer wrote nothing")
    try:
        criteria = read_criteria("the writer's reply", text, source="written")
    except DataError as error:
        return Unscored("no_criteria", str(error).removeprefix("reading the writer's reply: "))
    if len(criteria.items) > MOST:
        return Unscored("no_criteria", f"{len(criteria.items)} criteria, at most {MOST} are a list")
    return replace(criteria, source="written")
