"""The chat-completions wire format: sampling parameters to bytes, reply bytes to completions.

Pure. Reading is strict, because whatever is guessed here becomes a score later: a body that is not
strict JSON with choices of the right shape is garbage and says so. A choice that is well formed but
unusable (a tool call, only reasoning, an unknown finish reason, impossible log probabilities) is a
failed completion of its own and does not spoil its siblings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from spct.engines.openai.logprobs import BadLogprobs, read_logprobs
from spct.strict_json import NotStrictJSON, read_json
from spct.types import Completion, FinishReason, Prompt, SamplingParams, Usage

# Which request field takes an EBNF grammar: vLLM 0.12 and later, SGLang, llama.cpp's server.
GrammarField = Literal["structured_outputs", "ebnf", "grammar"]
GRAMMAR_FIELDS: tuple[GrammarField, ...] = ("structured_outputs", "ebnf", "grammar")

KEPT_BYTES = 2000
OMIT = "omit"  # as a value of extra_body: leave the field out (TOML cannot write a null)
MOST_TOKENS = 2**53  # a larger count is no count: no request has it, and no Parquet column holds it

# Every vendor has words of its own for the same two normal ends; compared in lower case.
_ENDS: dict[FinishReason, str] = {
    # OpenAI; TGI; Anthropic; Gemini and Cohere (upper case there); Fireworks, Ollama
    "stop": "stop eos eos_token end_turn stop_sequence stop_token complete completed end_of_text "
    "end_of_sequence end_token end finished done",
    # OpenAI; Anthropic and Gemini; Responses API; Mistral; vLLM's native route; TGI
    "length": "length max_tokens max_token max_length max_new_tokens max_output_tokens token_limit "
    "model_length max_completion_tokens model_context_window_exceeded max_context_length",
    # OpenAI; Anthropic; Gemini; Bedrock; Zhipu; Cohere
    "content_filter": "content_filter content_filtered refusal safety recitation blocklist spii "
    "prohibited_content image_safety guardrail_intervened sensitive error_toxic moderation",
}
FINISH_REASONS: dict[str, FinishReason] = {
    word: reason for reason, words in _ENDS.items() for word in words.split()
}
_THOUGHTS = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})


class GarbageReply(Exception):
    """A 200 that is not a usable chat completion; the message says in what way."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request gave. There may be fewer completions than asked, never none.

    `usage` counts what the endpoint reported; `has_usage` says whether it reported all of it.
    """

    completions: list[Completion]
    model: str | None
    system_fingerprint: str | None
    usage: Usage
    has_usage: bool


def request_fields(
    prompt: Prompt,
    n: int,
    params: SamplingParams,
    seed: int | None,
    grammar_field: GrammarField,
) -> dict[str, Any]:
    """The request as a dict, without the model and the extra fields."""
    fields: dict[str, Any] = {
        "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_tokens": params.max_tokens,
    }
    if n > 1:
        fields["n"] = n
    if seed is not None:
        fields["seed"] = seed
    if params.stop:
        fields["stop"] = list(params.stop)
    if params.top_logprobs is not None:
        fields["logprobs"] = True
        fields["top_logprobs"] = params.top_logprobs
    if params.grammar is not None:
        nested = grammar_field == "structured_outputs"
        fields[grammar_field] = {"grammar": params.grammar} if nested else params.grammar
    return fields


def translated(fields: Mapping[str, Any], learnt: Mapping[str, str | None]) -> dict[str, Any]:
    """The fields under the names that an endpoint takes; None as its name leaves a field out."""
    named = {learnt.get(name, name): value for name, value in fields.items()}
    return {name: value for name, value in named.items() if name is not None}


def encode(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """JSON bytes; `extra` wins over `fields`, and its None (or "omit") removes a field."""
    merged = {**fields, **extra}
    return json.dumps({k: v for k, v in merged.items() if v is not None and v != OMIT}).encode()


def read_reply(body: bytes, n: int) -> Reply:
    """Read a 200's body; raise `GarbageReply` unless it holds at least one choice."""
    reply = strict_json(body)
    if not isinstance(reply, dict):
        raise GarbageReply(f"the body is a JSON {type(reply).__name__}, expected an object")
    choices = reply.get("choices")
    if choices and _is_error(reply.get("error")):
        raise GarbageReply(f"an error beside the choices: {json.dumps(reply['error'])[:500]}")
    if not isinstance(choices, list) or not choices:
        raise GarbageReply(f"no choices in the reply: {json.dumps(reply)[:500]}")
    completions = _completions(_in_order(choices)[:n])
    usage, has_usage = _usage(reply.get("usage"))
    return Reply(
        _with_usage(completions, usage),
        _text(reply.get("model")),
        _text(reply.get("system_fingerprint")),
        usage,
        has_usage,
    )


def read_models(body: bytes) -> list[dict[str, Any]]:
    """Read what GET /models answers; raise `GarbageReply` where it is no list of models."""
    try:
        return [entry for entry in strict_json(body)["data"] if entry["id"]]
    except (KeyError, TypeError):
        raise GarbageReply(f"got {body[:200]!r}, expected a list `data` of models") from None


def strict_json(body: bytes) -> Any:
    """Parse strict JSON; what Python servers write for a probability of zero is read as a floor."""
    try:
        # -Infinity is not JSON; with the key in front it cannot be part of a quoted text
        return read_json(_MINUS_INFINITY.sub(rb"\1-9999.0", body))
    except NotStrictJSON as error:
        raise GarbageReply(f"the body is not valid JSON: {error}") from None


_MINUS_INFINITY = re.compile(rb'("logprob"\s*:\s*)-Infinity')


def _is_error(value: object) -> bool:
    """Whether a field `error` says that there is one: not null, empty, or an object of nothings."""
    return any(value.values()) if isinstance(value, dict) else bool(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _in_order(choices: list[Any]) -> list[Any]:
    """By `index` where the indexes are a proper numbering, else as they came."""
    index = [c.get("index") if isinstance(c, dict) else None for c in choices]
    if sorted(i for i in index if isinstance(i, int)) != list(range(len(choices))):
        return choices
    return sorted(choices, key=lambda c: int(c["index"]))


def _completions(choices: list[Any]) -> list[Completion]:
    """Each choice read; one of no shape fails alone, unless none has any."""
    read: list[Completion] = []
    misshapen: list[GarbageReply] = []
    for choice in choices:
        try:
            read.append(_completion(choice))
        except GarbageReply as error:
            misshapen.append(error)
            read.append(Completion("", "error", error=str(error)))
    if len(misshapen) == len(choices):
        raise misshapen[0]
    return read


def _completion(choice: object) -> Completion:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise GarbageReply(f"a choice without a message: {json.dumps(choice)[:200]}")
    message = choice["message"]
    if _is_error(choice.get("error")):
        return _failed("the choice carries an error", choice)
    finish = finish_reason(choice.get("finish_reason"))
    try:
        content, has_thought = _content(message.get("content"))
    except _UnknownPart as error:
        return _failed(str(error), choice)
    if message.get("refusal") and not content:
        return Completion("", "content_filter")
    if finish is None:
        said = choice.get("finish_reason")
        return _failed(f"finish_reason is {said!r}: the reply may be incomplete", choice)
    has_thought |= bool(message.get("reasoning_content") or message.get("reasoning"))
    # white space left where a reasoning parser has taken everything out is no reply either
    if has_thought and not content.strip() and finish == "stop":
        return _failed("the model gave only reasoning and no reply", choice)
    try:
        return Completion(content, finish, logprobs=read_logprobs(choice.get("logprobs"), content))
    except BadLogprobs as error:
        return _failed(str(error), choice)


def finish_reason(said: object) -> FinishReason | None:
    """Our word for an endpoint's; None for one that does not say how the reply ended."""
    if not isinstance(said, str):
        return None
    return FINISH_REASONS.get(said.strip().lower().removeprefix("finish_reason_"))


class _UnknownPart(Exception):
    """A part of a reply that cannot be read as text."""


def _content(value: object) -> tuple[str, bool]:
    """The text of a reply, in one piece or in parts, and whether there was a thought among them."""
    if value is None or isinstance(value, str):
        return value or "", False
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list):
        raise GarbageReply(f"content is a {type(value).__name__}, expected text or a list of parts")
    texts, has_thought = [], False
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind in ("text", "output_text") and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _THOUGHTS:
            has_thought = True
        else:
            raise _UnknownPart(f"a part of the content is of the unknown type {kind!r}")
    return "".join(texts), has_thought


def _failed(why: str, choice: Mapping[str, Any]) -> Completion:
    known = {k: choice[k] for k in ("message", "error") if choice.get(k)}
    kept = json.dumps(known, ensure_ascii=False)[:KEPT_BYTES]
    return Completion("", "error", error=f"{why}; the choice was {kept}")


def _usage(value: object) -> tuple[Usage, bool]:
    """The token counts of a request, each 0 unless it is one, and whether both are."""
    found = value if isinstance(value, dict) else {}
    counts = [_count(found.get(name)) for name in ("prompt_tokens", "completion_tokens")]
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if cached is None:  # DeepSeek's name, and Anthropic's
        cached = found.get("prompt_cache_hit_tokens", found.get("cache_read_input_tokens"))
    read = counts[0] or 0
    return Usage(read, counts[1] or 0, 1, min(_count(cached) or 0, read)), None not in counts


def _count(value: object) -> int | None:
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if is_one else None  # type: ignore[return-value]


def _with_usage(completions: Sequence[Completion], total: Usage) -> list[Completion]:
    """Share a request's tokens out: the prompt's to the first, the rest by length of text.

    The endpoint tells only the sum, which these shares keep exactly.
    """
    size = sum(len(c.text) + 1 for c in completions)
    shared, done, seen = [], 0, 0
    for i, c in enumerate(completions):
        seen += len(c.text) + 1
        upto = total.completion_tokens * seen // size
        mine = Usage(0, upto - done) if i else replace(total, completion_tokens=upto - done)
        shared.append(replace(c, usage=mine))
        done = upto
    return shared
