"""The nouns as plain JSON and back: what the store keeps, `--json` prints and export writes.

A verdict's record has these names, always all of them:

    id rewards winner best k_asked k_drawn k_counted agreement usage unscored prompts trajectories

and each of its trajectories

    index seed order hint prompt principles critique scores expected unscored
    text finish_reason usage meta_score fingerprint

`prompts` holds each distinct prompt once and `prompt` is an index into it, because k samples share
a few prompts. `unscored` of a trajectory is `{reason, detail}` or null, and then principles,
critique, scores and expected are null; `unscored` of a verdict counts the reasons. `error`,
`token_ids` and `logprobs` are there only where an engine gave them, `decisions` only where a
decision model did. A verdict by criteria has its list as `criteria`, once; prompts have the order
that they show it in, and a trajectory that was put together has its replies as `parts`: `prompt`
(an index), `seed`, `checked` or `unscored`, and the reply's own fields.

JSON cannot represent infinity and NaN. A log probability that is not finite is null and reads back
as minus infinity; any other number that is not finite is a bug upstream and raises ValueError.
A record may come from elsewhere: the loaders check its shape, and raise `BadRecord`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from spct.types import (
    Checked,
    Completion,
    Criteria,
    Example,
    Judgement,
    Message,
    Part,
    Prompt,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)

Record = dict[str, Any]

# Lone surrogates are not UTF-8; the others break lines or reorder a terminal when printed raw.
_ESCAPED = re.compile(
    "[\ud800-\udfff\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_MOST_TOKENS = 2**53
_JUDGEMENT = ("principles", "critique", "scores", "expected")


class BadRecord(ValueError):
    """A record that this spct did not write: the message says what is wrong with it."""


def encode(record: Mapping[str, Any]) -> bytes:
    """Return JSON that `decode` turns back exactly, lone surrogates and NUL included."""
    return _dumps(record).encode("utf-8", "surrogatepass")


def decode(payload: bytes) -> Record:
    """Read what `encode` wrote; raise `BadRecord` on anything else."""
    try:
        try:
            # decoded here: of bytes that are no UTF-8 the reader makes other keys without a word
            record = from_json(payload.decode(), allow_inf_nan=False, cache_strings="keys")
        except ValueError:  # or half surrogate pairs: a reply may hold them, and was paid for
            text = payload.decode("utf-8", "surrogatepass")
            record = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"not the JSON of a record: {error}") from None
    if not isinstance(record, dict):
        raise BadRecord(f"got {type(record).__name__}, expected a JSON object")
    return record


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def to_line(record: Mapping[str, Any]) -> str:
    """Return one line of valid JSON, without its newline, that is safe to print and to split."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", _dumps(record))


def _dumps(record: Mapping[str, Any]) -> str:
    # Not pydantic's dump_json, which fails on lone surrogates.
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # built when first used: a command that stores nothing builds none


def _load(kind: Any, record: object) -> Any:
    """Validate; keys that a noun does not have are left alone."""
    try:
        return _adapter(kind).validate_python(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRecord(f"{kind.__name__}: {where}: {first['msg']}") from None


# --- completions ---------------------------------------------------------------------------------


def dump_completion(completion: Completion) -> Record:
    """Return a completion as JSON values."""
    record: Record = _adapter(Completion).dump_python(completion, mode="json", exclude_none=True)
    # keys are taken from the noun: pydantic's JSON mode writes other ones for half surrogates
    for token, own in zip(record.get("logprobs", ()), completion.logprobs or (), strict=True):
        token["logprob"] = token["logprob"] if math.isfinite(token["logprob"]) else None
        token["top"] = {t: p if math.isfinite(p) else None for t, p in own.top.items()}
    return record


def load_completion(record: Mapping[str, Any]) -> Completion:
    """Read a completion; other keys are left alone, so a trajectory's record will do."""
    if record.get("logprobs"):
        try:
            tokens = [
                {
                    "token": token["token"],
                    "logprob": _or_minus_inf(token["logprob"]),
                    "top": {text: _or_minus_inf(value) for text, value in token["top"].items()},
                }
                for token in record["logprobs"]
            ]
        except (KeyError, TypeError, AttributeError):
            raise BadRecord("Completion: logprobs: expected token, logprob and top") from None
        record = {**record, "logprobs": tokens}
    completion: Completion = _load(Completion, record)
    return _usable(completion)


_Counted = TypeVar("_Counted", Completion, Verdict)


def _usable(counted: _Counted) -> _Counted:
    """Without the counts that no request can have; an endpoint once said them, and was believed."""
    usage = counted.usage
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.calls, usage.cached_tokens)
    if min(counts) >= 0 and max(counts) <= _MOST_TOKENS:
        return counted  # as nearly all are: a copy of each costs a sixth of reading a run
    usage = Usage(*(count if 0 <= count <= _MOST_TOKENS else 0 for count in counts))
    return replace(counted, usage=usage)


def _or_minus_inf(logprob: float | None) -> float:
    return -math.inf if logprob is None else logprob


# --- examples and prompts ------------------------------------------------------------------------


def dump_messages(messages: tuple[Message, ...]) -> list[Record]:
    """Return a conversation as JSON values."""
    return [{"role": message.role, "content": message.content} for message in messages]


def dump_example(example: Example) -> Record:
    """Return an example as JSON values; its `meta` must hold JSON values already."""
    record: Record = _adapter(Example).dump_python(example, mode="json", exclude={"meta"})
    late = {name: record.pop(name) for name in ("criteria", "group")}
    record["meta"] = dict(example.meta)  # its keys as they are, as in dump_completion
    return record | {name: value for name, value in late.items() if value is not None}


def load_example(record: Mapping[str, Any]) -> Example:
    """Read an example that `dump_example` wrote (readers of users' files live in spct.data)."""
    example: Example = _load(Example, record)
    return example


# --- verdicts ------------------------------------------------------------------------------------


def dump_verdict(verdict: Verdict) -> Record:
    """Return a verdict as JSON values, with the names that the module's docstring lists."""
    prompts: dict[Prompt, int] = {}
    trajectories = []
    for trajectory in verdict.trajectories:
        named = {verdict.example_id, trajectory.example_id, trajectory.prompt.example_id}
        if len(named) > 1:
            raise ValueError(f"a verdict holds trajectories of several examples: {sorted(named)}")
        index = prompts.setdefault(trajectory.prompt, len(prompts))
        trajectories.append(_dump_trajectory(trajectory, index))
        if trajectory.parts:
            trajectories[-1]["parts"] = [
                _dump_part(part, prompts.setdefault(part.prompt, len(prompts)))
                for part in trajectory.parts
            ]
    criteria = next((t.criteria for t in verdict.trajectories if t.criteria is not None), None)
    listed = {"criteria": _adapter(Criteria).dump_python(criteria, mode="json")} if criteria else {}
    own = _adapter(Verdict).dump_python(verdict, mode="json", exclude={"trajectories"})
    return {
        "id": own.pop("example_id"),
        "rewards": own.pop("rewards"),
        "winner": verdict.winner,
        **own,
        "unscored": dict(verdict.unscored),
        **listed,
        "prompts": [
            {"order": list(p.order), "hint": p.hint, "messages": dump_messages(p.messages)}
            | ({"criteria": list(p.criteria)} if p.criteria else {})
            for p in prompts
        ],
        "trajectories": trajectories,
    }


def _dump_part(part: Part, prompt: int) -> Record:
    kind: Any = type(part.outcome)
    name = "unscored" if isinstance(part.outcome, Unscored) else "checked"
    return {
        "prompt": prompt,
        "seed": part.seed,
        name: _adapter(kind).dump_python(part.outcome, mode="json"),
        **dump_completion(part.completion),
    }


def _load_part(record: Mapping[str, Any], prompts: Mapping[int, Prompt]) -> Part:
    is_unscored = "unscored" in record
    outcome = (
        _load(Unscored, record["unscored"]) if is_unscored else _load(Checked, record["checked"])
    )
    return Part(prompts[record["prompt"]], load_completion(record), int(record["seed"]), outcome)


def _dump_trajectory(trajectory: Trajectory, prompt: int) -> Record:
    outcome = trajectory.outcome
    kind: Any = type(outcome)
    said = _adapter(kind).dump_python(outcome, mode="json")
    is_unscored = isinstance(outcome, Unscored)
    if not said.get("decisions", True):  # only a decision model has them
        del said["decisions"]
    return {
        "index": trajectory.index,
        "seed": trajectory.seed,
        "order": list(trajectory.prompt.order),
        "hint": trajectory.prompt.hint,
        "prompt": prompt,
        **(dict.fromkeys(_JUDGEMENT) if is_unscored else said),
        "unscored": said if is_unscored else None,
        **dump_completion(trajectory.completion),
        "meta_score": trajectory.meta_score,
        "fingerprint": trajectory.fingerprint,
    }


def load_verdict(record: Mapping[str, Any]) -> Verdict:
    """Read a verdict; `winner` and the counts in `unscored` follow from the rest."""
    try:
        example_id = record["id"]
        prompts = {  # not a list: there, an index of -1 would name the last one
            i: _load(Prompt, {**p, "example_id": example_id})
            for i, p in enumerate(record["prompts"])
        }
        criteria = _load(Criteria, record["criteria"]) if record.get("criteria") else None
        trajectories = [
            {
                **t,
                "criteria": criteria,
                "parts": tuple(_load_part(part, prompts) for part in t.get("parts", ())),
                "example_id": example_id,
                "prompt": prompts[t["prompt"]],
                "completion": load_completion(t),
                "outcome": _load(Judgement, t)
                if t["unscored"] is None
                else _load(Unscored, t["unscored"]),
            }
            for t in record["trajectories"]
        ]
    except (KeyError, TypeError) as error:
        raise BadRecord(f"a verdict's record is not complete: {error!r}") from None
    verdict: Verdict = _load(
        Verdict, {**record, "example_id": example_id, "trajectories": trajectories}
    )
    return _usable(verdict)


def check_verdict(verdict: Verdict) -> None:
    """Raise `BadRecord` where the parts of a verdict contradict each other."""
    scores = [t.judgement.scores for t in verdict.trajectories if t.judgement is not None]
    rows = [*scores, *([] if verdict.rewards is None else [verdict.rewards])]
    sizes = {len(row) for row in rows}
    if not all(math.isfinite(value) for row in rows for value in row):
        raise BadRecord("a verdict's scores or rewards are not finite")
    if verdict.k_drawn != len(verdict.trajectories) or not 0 <= verdict.k_counted <= len(scores):
        raise BadRecord("a verdict's counts are not those of its trajectories")
    if verdict.rewards is not None and any(not 0 <= i < len(verdict.rewards) for i in verdict.best):
        raise BadRecord("the best of a verdict are not among its responses")
    if len(sizes) > 1:
        raise BadRecord(f"a verdict's rows have different lengths: {sorted(sizes)}")
    for t in verdict.trajectories:
        _check_parts(t)


def _check_parts(t: Trajectory) -> None:
    m = 0 if t.criteria is None else len(t.criteria.items)
    for part in t.parts:
        order, shown = part.prompt.order, part.prompt.criteria
        said = len(part.outcome.met) if isinstance(part.outcome, Checked) else len(shown)
        is_inside = len(order) == 1 and order[0] in t.prompt.order
        if not is_inside or said != len(shown) or any(not 0 <= i < m for i in shown):
            raise BadRecord("a part of a verdict names a response or criterion that is not there")
