"""The chat-completions wire format: sampling parameters to bytes, reply bytes to completions.

Pure. Reading is strict, because whatever is guessed here becomes a score later: a body that is not
UTF-8 JSON with unique keys, finite numbers and choices of the right shape is garbage and says so. A
choice that is well formed but unusable (a tool call, only reasoning, an unknown finish reason) is a
failed completion of its own and does not spoil its siblings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from spct.strict_json import NotStrictJSON, read_json
from spct.types import Completion, FinishReason, Prompt, SamplingParams, TokenLogprob, Usage

# Which request field takes an EBNF grammar: vLLM 0.12 and later, SGLang, llama.cpp's server.
GrammarField = Literal["structured_outputs", "ebnf", "grammar"]

KEPT_BYTES = 2000

# "eos_token" and "stop_sequence" are Text Generation Inference's words for a normal stop.
FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


class GarbageReply(Exception):
    """A 200 that is not a usable chat completion; the message says in what way."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request gave. There may be fewer completions than asked, never none."""

    completions: list[Completion]
    model: str | None
    system_fingerprint: str | None
    usage: Usage | None


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


def encode(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> bytes:
    """JSON bytes; `extra` wins over `fields`, and its None removes a field."""
    merged = {**fields, **extra}
    return json.dumps({k: v for k, v in merged.items() if v is not None}).encode()


def read_reply(body: bytes, n: int) -> Reply:
    """Read a 200's body; raise `GarbageReply` unless it holds at least one choice."""
    reply = strict_json(body)
    if not isinstance(reply, dict):
        raise GarbageReply(f"the body is a JSON {type(reply).__name__}, expected an object")
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        said = reply.get("error", choices)
        raise GarbageReply(f"no choices in the reply: {json.dumps(said)[:500]}")
    completions = [_completion(choice) for choice in _in_order(choices)[:n]]
    usage = _usage(reply.get("usage"))
    return Reply(
        _with_usage(completions, usage),
        _text(reply.get("model")),
        _text(reply.get("system_fingerprint")),
        usage,
    )


def strict_json(body: bytes) -> Any:
    """Parse UTF-8 JSON with unique keys and no NaN, Infinity or lone surrogate."""
    try:
        return read_json(body)
    except NotStrictJSON as error:
        raise GarbageReply(f"the body is not valid JSON: {error}") from None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _in_order(choices: list[Any]) -> list[Any]:
    """By `index` where the indexes are a proper numbering, else as they came."""
    index = [c.get("index") if isinstance(c, dict) else None for c in choices]
    if sorted(i for i in index if isinstance(i, int)) != list(range(len(choices))):
        return choices
    return sorted(choices, key=lambda c: int(c["index"]))


def _completion(choice: object) -> Completion:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise GarbageReply(f"a choice without a message: {json.dumps(choice)[:200]}")
    message, finish = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    if not isinstance(content, str | None):
        raise GarbageReply(f"content is a {type(content).__name__}, expected text")
    if message.get("refusal") and not content:
        return Completion("", "content_filter")
    if not isinstance(finish, str) or finish not in FINISH_REASONS:
        return _failed(f"finish_reason is {finish!r}: the reply may be incomplete", message)
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if not content and thoughts and FINISH_REASONS[finish] == "stop":
        return _failed("the model gave only reasoning and no reply", message)
    return Completion(
        content or "", FINISH_REASONS[finish], logprobs=_logprobs(choice.get("logprobs"))
    )


def _failed(why: str, message: Mapping[str, Any]) -> Completion:
    kept = json.dumps(message, ensure_ascii=False)[:KEPT_BYTES]
    return Completion("", "error", error=f"{why}; the message was {kept}")


def _logprobs(value: object) -> tuple[TokenLogprob, ...] | None:
    if not isinstance(value, dict) or not isinstance(value.get("content"), list):
        return None
    try:
        return tuple(
            TokenLogprob(
                str(entry["token"]),
                float(entry["logprob"]),
                {str(t["token"]): float(t["logprob"]) for t in entry.get("top_logprobs") or ()},
            )
            for entry in value["content"]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GarbageReply(f"logprobs of an unknown shape: {error!r}") from None


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    read, written = value.get("prompt_tokens"), value.get("completion_tokens")
    if not isinstance(read, int) or not isinstance(written, int) or min(read, written) < 0:
        return None
    return Usage(read, written, calls=1)


def _with_usage(completions: list[Completion], usage: Usage | None) -> list[Completion]:
    """Share a request's tokens out: the prompt's to the first, the rest by length of text.

    The endpoint tells only the sum, which these shares keep exactly.
    """
    total = usage or Usage(calls=1)
    size = sum(len(c.text) + 1 for c in completions)
    shared, done, seen = [], 0, 0
    for i, c in enumerate(completions):
        seen += len(c.text) + 1
        upto = total.completion_tokens * seen // size
        mine = Usage(0 if i else total.prompt_tokens, upto - done, 0 if i else 1)
        shared.append(
            Completion(c.text, c.finish_reason, logprobs=c.logprobs, usage=mine, error=c.error)
        )
        done = upto
    return shared
