"""The two public wires for decisions, client side (pure): a request out, answers back.

`/v1/systemone` names its kinds noul, choice and score and answers by name; `/v1/decisions`
(OpenAI's and SGLang's) calls the first predicate and answers in order. A question that is missing
from the reply or refused is unscored; numbers that are no distribution are too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from spct.engines.readouts.decision import Answer, Answers, Question, checked
from spct.strict_json import NotStrictJSON, read_json
from spct.types import Unscored, Usage

Wire = Literal["systemone", "decisions"]
JSON = dict[str, Any]


class GarbageAnswers(Exception):
    """A 200 whose body is no reply of this wire; the message says in what way."""


def request_of(wire: Wire, model: str, state: str, questions: Sequence[Question]) -> JSON:
    """The request's body."""
    if wire == "systemone":
        asked = {q.name: _systemone_question(q) for q in questions}
        return {"model": model, "state": state, "questions": asked}
    return {"model": model, "input": state, "questions": list(map(_decisions_question, questions))}


def _systemone_question(q: Question) -> JSON:
    texts = q.texts or (None,) * len(q.options)
    match q.kind:
        case "yes_no":
            criteria = {n: t for n, t in zip(("true", "false"), texts, strict=True) if t}
            extra = {"criteria": criteria} if criteria else {}
            return {"type": "noul", "instructions": q.instructions, **extra}
        case "choice":
            named: object = dict(zip(q.options, texts, strict=True))
        case "score":
            named = [_level(o, t) for o, t in zip(q.options, texts, strict=True)]
    return {"type": q.kind, "instructions": q.instructions, "criteria": named}


def _level(option: str, text: str | None) -> str:
    return f"{option}: {text}" if text else option


def _decisions_question(q: Question) -> JSON:
    texts = q.texts or (None,) * len(q.options)
    shared = {"name": q.name, "instructions": q.instructions}
    if q.kind == "yes_no":
        return {**shared, "type": "predicate"}
    name, many = ("value", "choices") if q.kind == "choice" else ("label", "levels")
    entries = [
        {name: option} | ({"description": text} if text else {})
        for option, text in zip(q.options, texts, strict=True)
    ]
    return {**shared, "type": q.kind, many: entries}


def read_reply(wire: Wire, body: bytes, questions: Sequence[Question]) -> Answers:
    """The answers in the order of the questions, and what the call cost."""
    try:
        reply = read_json(body)
    except NotStrictJSON as error:
        raise GarbageAnswers(f"the reply is not JSON: {error}") from None
    if isinstance(reply, dict) and isinstance(reply.get("result"), dict):
        reply = reply["result"]  # one server wraps everything
    if not isinstance(reply, dict) or "answers" not in reply:
        raise GarbageAnswers("the reply has no `answers`")
    given = reply["answers"]
    if wire == "systemone":
        if not isinstance(given, dict):
            raise GarbageAnswers(f"`answers` is a {type(given).__name__}, expected an object")
        answers = [_answer(given.get(q.name), q, _systemone_masses) for q in questions]
    else:
        if not isinstance(given, list) or len(given) != len(questions):
            raise GarbageAnswers(f"`answers` is not a list of {len(questions)}")
        answers = [_answer(a, q, _decisions_masses) for a, q in zip(given, questions, strict=True)]
    return Answers(answers, _usage(reply.get("usage")))


def _answer(entry: object, q: Question, masses: Any) -> Answer | Unscored:
    if entry is None:
        return Unscored("refused", "the question is missing from the reply")
    if not isinstance(entry, dict):
        return Unscored("no_verdict", f"the answer is a {type(entry).__name__}")
    if entry.get("type") == "refusal":
        return Unscored("refused", "the endpoint refused the question")
    try:
        found = [float(p) for p in masses(entry, q)]
    except (KeyError, TypeError, ValueError, IndexError):
        return Unscored(
            "no_verdict", f"the answer lacks the options' probabilities: {entry!r:.200}"
        )
    answer = checked(found, len(q.options))
    mass = entry.get("option_mass")
    if isinstance(answer, Answer) and isinstance(mass, (int, float)):
        return Answer(answer.probabilities, float(mass))
    return answer


def _systemone_masses(entry: Mapping[str, Any], q: Question) -> list[float]:
    if q.kind == "yes_no":
        return [entry["noul"], 1 - entry["noul"]]
    names = q.options if q.kind == "choice" else [str(i) for i in range(len(q.options))]
    return _by_name(entry["probabilities"], names)


def _by_name(given: Mapping[str, float], names: Sequence[str]) -> list[float]:
    if set(given) - set(names):
        raise ValueError("options that were not offered")
    return [given[name] for name in names]


def _decisions_masses(entry: Mapping[str, Any], q: Question) -> list[float]:
    if q.kind == "yes_no":
        return [entry["probability"], 1 - entry["probability"]]
    key = "value" if q.kind == "choice" else "label"
    given = {str(one[key]): one["probability"] for one in entry["probabilities"]}
    return _by_name(given, q.options)


def _usage(given: object) -> Usage:
    """Token counts under either spelling; counts that are no counts are zero."""
    if not isinstance(given, dict):
        return Usage(calls=1)

    def count(*names: str) -> int:
        found = next((given[n] for n in names if n in given), 0)
        is_count = isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**63
        return found if is_count else 0

    read = count("input_tokens", "inputTokens", "prompt_tokens")
    return Usage(read, count("output_tokens", "outputTokens", "completion_tokens"), 1)
