"""The nouns as plain JSON and back: what the store keeps, `--json` prints and export writes.

A verdict's record has these names, always all of them:

    id rewards winner best k_asked k_drawn k_counted agreement usage unscored prompts trajectories

and each of its trajectories

    index seed order hint prompt principles critique scores expected unscored
    text finish_reason usage meta_score fingerprint

`prompts` holds each distinct prompt once and `prompt` is an index into it, because k samples share
a few prompts. `unscored` of a trajectory is `{reason, detail}` or null, and then principles,
critique, scores and expected are null; `unscored` of a verdict counts the reasons. `error`,
`token_ids` and `logprobs` are there only where an engine gave them.

JSON has no word for infinity and NaN. A log probability that is not finite is null and reads back
as minus infinity; any other number that is not finite is a bug upstream and raises ValueError.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from spct.types import (
    Completion,
    Example,
    Judgement,
    Message,
    Principle,
    Prompt,
    TokenLogprob,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)

Record = dict[str, Any]

# Lone surrogates are no UTF-8; the others break lines or reorder a terminal when printed raw.
_ESCAPED = re.compile(
    "[\ud800-\udfff\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def encode(record: Mapping[str, Any]) -> bytes:
    """Return JSON that `decode` turns back exactly, lone surrogates and NUL included."""
    return _dumps(record).encode("utf-8", "surrogatepass")


def decode(payload: bytes) -> Record:
    """Read what `encode` wrote."""
    record: Record = json.loads(payload.decode("utf-8", "surrogatepass"))
    return record


def to_line(record: Mapping[str, Any]) -> str:
    """Return one line of valid JSON, without its newline, that is safe to print and to split."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", _dumps(record))


def _dumps(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


# --- completions ---------------------------------------------------------------------------------


def dump_completion(completion: Completion) -> Record:
    """Return a completion as JSON values."""
    record: Record = {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "usage": _dump_usage(completion.usage),
    }
    if completion.error is not None:
        record["error"] = completion.error
    if completion.token_ids is not None:
        record["token_ids"] = list(completion.token_ids)
    if completion.logprobs is not None:
        record["logprobs"] = [_dump_logprob(token) for token in completion.logprobs]
    return record


def load_completion(record: Mapping[str, Any]) -> Completion:
    """Read a completion; other keys are left alone, so a trajectory's record will do."""
    ids, logprobs = record.get("token_ids"), record.get("logprobs")
    return Completion(
        text=record["text"],
        finish_reason=record["finish_reason"],
        token_ids=None if ids is None else tuple(ids),
        logprobs=None if logprobs is None else tuple(_load_logprob(token) for token in logprobs),
        usage=Usage(**record["usage"]),
        error=record.get("error"),
    )


def _dump_usage(usage: Usage) -> Record:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "calls": usage.calls,
    }


def _dump_logprob(token: TokenLogprob) -> Record:
    top = {text: _finite_or_none(logprob) for text, logprob in token.top.items()}
    return {"token": token.token, "logprob": _finite_or_none(token.logprob), "top": top}


def _load_logprob(record: Mapping[str, Any]) -> TokenLogprob:
    top = {text: _or_minus_inf(logprob) for text, logprob in record["top"].items()}
    return TokenLogprob(record["token"], _or_minus_inf(record["logprob"]), top)


def _finite_or_none(logprob: float) -> float | None:
    return float(logprob) if math.isfinite(logprob) else None


def _or_minus_inf(logprob: float | None) -> float:
    return -math.inf if logprob is None else logprob


# --- examples and prompts ------------------------------------------------------------------------


def dump_messages(messages: tuple[Message, ...]) -> list[Record]:
    """Return a conversation as JSON values."""
    return [{"role": message.role, "content": message.content} for message in messages]


def load_messages(records: list[Record]) -> tuple[Message, ...]:
    """Read a conversation."""
    return tuple(Message(record["role"], record["content"]) for record in records)


def dump_example(example: Example) -> Record:
    """Return an example as JSON values; its `meta` must hold JSON values already."""
    return {
        "id": example.id,
        "query": dump_messages(example.query),
        "responses": list(example.responses),
        "gold": _floats(example.gold),
        "reference": example.reference,
        "subset": example.subset,
        "meta": dict(example.meta),
    }


def load_example(record: Mapping[str, Any]) -> Example:
    """Read an example that `dump_example` wrote (readers of users' files live in spct.data)."""
    return Example(
        id=record["id"],
        query=load_messages(record["query"]),
        responses=tuple(record["responses"]),
        gold=_tuple_or_none(record["gold"]),
        reference=record["reference"],
        subset=record["subset"],
        meta=record["meta"],
    )


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
    return {
        "id": verdict.example_id,
        "rewards": _floats(verdict.rewards),
        "winner": verdict.winner,
        "best": list(verdict.best),
        "k_asked": verdict.k_asked,
        "k_drawn": verdict.k_drawn,
        "k_counted": verdict.k_counted,
        "agreement": verdict.agreement,
        "usage": _dump_usage(verdict.usage),
        "unscored": dict(verdict.unscored),
        "prompts": [
            {"order": list(p.order), "hint": p.hint, "messages": dump_messages(p.messages)}
            for p in prompts
        ],
        "trajectories": trajectories,
    }


def load_verdict(record: Mapping[str, Any]) -> Verdict:
    """Read a verdict; `winner` and the counts in `unscored` follow from the rest."""
    prompts = [
        Prompt(record["id"], load_messages(p["messages"]), tuple(p["order"]), p["hint"])
        for p in record["prompts"]
    ]
    return Verdict(
        example_id=record["id"],
        rewards=_tuple_or_none(record["rewards"]),
        best=tuple(record["best"]),
        trajectories=tuple(_load_trajectory(t, prompts) for t in record["trajectories"]),
        k_asked=record["k_asked"],
        k_drawn=record["k_drawn"],
        k_counted=record["k_counted"],
        agreement=record["agreement"],
        usage=Usage(**record["usage"]),
    )


def _dump_trajectory(trajectory: Trajectory, prompt: int) -> Record:
    return {
        "index": trajectory.index,
        "seed": trajectory.seed,
        "order": list(trajectory.prompt.order),
        "hint": trajectory.prompt.hint,
        "prompt": prompt,
        **_dump_outcome(trajectory.outcome),
        **dump_completion(trajectory.completion),
        "meta_score": trajectory.meta_score,
        "fingerprint": trajectory.fingerprint,
    }


def _load_trajectory(record: Mapping[str, Any], prompts: list[Prompt]) -> Trajectory:
    prompt = prompts[record["prompt"]]
    return Trajectory(
        example_id=prompt.example_id,
        index=record["index"],
        seed=record["seed"],
        prompt=prompt,
        completion=load_completion(record),
        outcome=_load_outcome(record),
        fingerprint=record["fingerprint"],
        meta_score=record["meta_score"],
    )


def _dump_outcome(outcome: Judgement | Unscored) -> Record:
    if isinstance(outcome, Unscored):
        unscored = {"reason": outcome.reason, "detail": outcome.detail}
        nothing = dict.fromkeys(("principles", "critique", "scores", "expected"))
        return {**nothing, "unscored": unscored}
    return {
        "principles": [
            {"name": p.name, "weight": p.weight, "text": p.text} for p in outcome.principles
        ],
        "critique": outcome.critique,
        "scores": _floats(outcome.scores),
        "expected": _floats(outcome.expected),
        "unscored": None,
    }


def _load_outcome(record: Mapping[str, Any]) -> Judgement | Unscored:
    if record["unscored"] is not None:
        return Unscored(**record["unscored"])
    return Judgement(
        principles=tuple(Principle(**p) for p in record["principles"]),
        critique=record["critique"],
        scores=tuple(record["scores"]),
        expected=_tuple_or_none(record["expected"]),
    )


def _floats(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _tuple_or_none(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)
