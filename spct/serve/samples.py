"""What every wire turns its request into, and what becomes of it: examples and samples (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spct.data.chat.conversation import is_query
from spct.data.criteria import read_criteria
from spct.errors import DataError
from spct.runs.identity import content_id
from spct.serve.config import ServeConfig
from spct.serve.errors import HttpError, invalid
from spct.types import Criteria, Example, Message, Verdict


@dataclass(frozen=True, slots=True)
class Sample:
    """One response that a per-sample wire wants a reward for.

    `group` is the caller's own name for its group, `size` the caller's claim of its size; without
    a name the samples of one query are a group.
    """

    query: tuple[Message, ...]
    response: str
    reference: str | None = None
    group: str | None = None
    size: int | None = None
    criteria: Criteria | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one example: a verdict, or why there is none. Never a number for a failure."""

    verdict: Verdict | None
    error: str | None = None

    def reward(self, index: int) -> float | None:
        """One response's reward, or None."""
        verdict = self.verdict
        return None if verdict is None or verdict.rewards is None else verdict.rewards[index]

    @property
    def why(self) -> str:
        """Why there is no reward."""
        if self.error is not None:
            return self.error
        reasons = self.verdict.unscored if self.verdict else {}
        return ", ".join(f"{reason} {times}" for reason, times in reasons.items()) or "unscored"


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """One sample's place in the outcome that it shares with its group."""

    outcome: Outcome
    index: int = 0

    @property
    def reward(self) -> float | None:
        """The sample's reward, or None."""
        return self.outcome.reward(self.index)

    @property
    def error(self) -> str | None:
        """Why there is no reward, or None."""
        return self.outcome.why if self.reward is None else None


def example(
    query: Sequence[Message],
    responses: Sequence[str],
    config: ServeConfig,
    *,
    reference: str | None = None,
    id: str | None = None,
    criteria: Criteria | None = None,
    group: str | None = None,
) -> Example:
    """An example within the limits, or a 422 that names the field."""
    check_query(query)
    if not responses:
        raise invalid("there is no response to judge; send at least one", "responses")
    if len(responses) > config.max_candidates:
        raise invalid(
            f"{len(responses)} responses to one query; this gateway judges at most "
            f"{config.max_candidates} together",
            "responses",
        )
    for number, response in enumerate(responses):
        check_response(response, config, f"responses[{number}]")
    return Example(
        id or content_id(query, responses, reference),
        tuple(query),
        tuple(responses),
        reference=reference,
        criteria=criteria,
        group=group,
    )


def criteria_of(value: Sequence[Any] | None, param: str) -> Criteria | None:
    """The list that a request brings, read as a file's would be, or a 422 with all its faults."""
    if value is None:
        return None
    try:
        return read_criteria(param, value)
    except DataError as error:
        raise invalid(str(error), param) from error


def check_query(query: Sequence[Message]) -> None:
    """A query must end with a user turn that is not empty, on every wire as in a file."""
    if not is_query(query):
        got = f"a {query[-1].role} turn" if query else "no turn"
        empty = " that is empty" if query and query[-1].role == "user" else ""
        raise invalid(
            f"a query must end with a user turn that says something; it ends with {got}{empty}",
            "query",
        )


def check_response(response: str, config: ServeConfig, param: str) -> None:
    """A response must be within the size limit."""
    if len(response) > config.max_response_bytes // 4:  # cheap: a character is at most 4 bytes
        size = len(response.encode("utf-8", "surrogatepass"))
        if size > config.max_response_bytes:
            raise invalid(
                f"a response of {size} bytes; the limit is {config.max_response_bytes}", param
            )


def check_model(asked: str | None, served: Sequence[str]) -> None:
    """A caller that names a model must name the one that is served."""
    if asked is not None and asked not in served:
        raise HttpError(
            404,
            "model_not_found",
            f"the model asked for is not served here; this gateway serves "
            f"{' or '.join(map(repr, served))}; --served-name adds a name",
            param="model",
        )
