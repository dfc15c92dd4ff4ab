"""transformers in this process, on CPU or GPU: the reference engine and a trainer's own sampler.

Each prompt is computed once; its keys and values are then repeated for its samples, and all
samples of the batch decode together. Every sample has its own random generator, so a seed means
the same draws whatever else is in the batch. Calls in flight are gathered into batches that hold at
most `max_batch_tokens` tokens. Weights are read from safetensors only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from spct.engines.ends import end_ids
from spct.engines.hf_decode import Row, decode
from spct.engines.lora import check_applied, find_lora
from spct.engines.probe import (
    Probe,
    chat_messages,
    check_context,
    check_request,
    cut_at_stop,
    timed_sample,
)
from spct.engines.weights import content_key, find_model
from spct.errors import ConfigError, EngineError, ExtraMissing
from spct.types import Completion, Engine, Prompt, SamplingParams, TokenLogprob, Usage

try:
    import torch
    import transformers
except ImportError as error:
    raise ExtraMissing("transformers", "hf") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(slots=True)
class _Call:
    """A `sample` call that waits for its batch."""

    prompt_ids: list[int]
    n: int
    params: SamplingParams
    future: asyncio.Future[list[Row]]

    @property
    def size(self) -> int:
        """The most tokens that its rows can take in a batch."""
        return self.n * (len(self.prompt_ids) + self.params.max_tokens)


class HFEngine(Engine):
    """Samples from a transformers folder; bfloat16 on a GPU, float32 on a CPU.

    `adapters` are peft folders, merged into the weights. For a model that is loaded already, as in
    a trainer, use `HFEngine.around(model, tokenizer, name)`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapters: Sequence[str | Path] = (),
        device: str | None = None,
        dtype: str | None = None,
        max_batch_tokens: int = 65_536,
    ) -> None:
        source = find_model(model)
        if source.kind != "transformers":
            raise ConfigError(
                f"the hf engine reads a transformers folder with safetensors; got the "
                f"{source.kind} model {str(source.path)!r}; use the openvino engine"
            )
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = dtype or ("bfloat16" if where.startswith("cuda") else "float32")
        loaded, tokenizer = _load(source.path, adapters, where, getattr(torch, kind))
        key = "+".join(
            [content_key(source.path), *(content_key(find_lora(path).path) for path in adapters)]
        )
        self._set_up(loaded, tokenizer, f"{source.name}@{key}/{kind}", max_batch_tokens)

    @classmethod
    def around(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        *,
        max_batch_tokens: int = 65_536,
    ) -> Self:
        """Wrap a loaded model, as it is at the time of each call, under a name of your choice."""
        engine = cls.__new__(cls)
        engine._set_up(model, tokenizer, name, max_batch_tokens)
        return engine

    def _set_up(self, model: Any, tokenizer: Any, name: str, max_batch_tokens: int) -> None:
        if tokenizer.chat_template is None:
            raise ConfigError(
                f"the tokenizer of {name!r} has no chat template; add one to its folder"
            )
        self.model = name
        self.context_length = int(model.config.get_text_config().max_position_embeddings)
        self._model, self._tokenizer, self._budget = model, tokenizer, max_batch_tokens
        self._ends = set(end_ids(tokenizer, model.generation_config))
        self._waiting: list[_Call] = []
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def fingerprint(self) -> str:
        """The engine, the model's name and content key, the adapters' and the precision."""
        return f"hf/{self.model}"

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Draw n completions of one prompt; sample i is seeded by `params.seeds[i]`."""
        if self._closed:
            raise EngineError("sampling from the hf engine after it was closed")
        check_request(n, params)
        if params.grammar is not None:
            raise ConfigError(
                "the hf engine cannot force a grammar; use the openvino or llamacpp engine, or an "
                "endpoint that supports it"
            )
        ids = self._tokenizer.apply_chat_template(
            chat_messages(prompt), add_generation_prompt=True, return_dict=False
        )
        check_context(prompt, len(ids), params.max_tokens, self.context_length)
        n_drawn = 1 if params.temperature == 0 else n  # greedy samples are all the same
        future: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(list(ids), n_drawn, params, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        replies = [self._completion(row, params) for row in await future]
        paid = replies[0].usage + Usage(prompt_tokens=len(ids), calls=1)
        replies[0] = replace(replies[0], usage=paid)
        return replies + [replace(replies[0], usage=Usage())] * (n - n_drawn)

    async def probe(self) -> Probe:
        """Say what the engine can do, and time one small request."""
        speed, reply = await timed_sample(self)
        return Probe(
            engine="hf",
            model=self.model,
            context_length=self.context_length,
            n=True,
            logprobs="top",
            grammar=False,
            seeds="sample",
            tokens_per_second=speed,
            sample=reply,
        )

    async def aclose(self) -> None:
        """Let the running batch end; calls that still wait get an `EngineError`."""
        self._closed = True
        if self._runner is not None:
            await self._runner
        self._model = None

    async def _run(self) -> None:
        """Decode batch after batch in a thread until no call waits."""
        await asyncio.sleep(0)  # calls made in the same turn of the loop share the first batch
        while self._waiting:
            batch = _take_batch(self._waiting, self._budget)
            try:
                if self._closed:
                    raise EngineError("the hf engine was closed")
                groups = await asyncio.to_thread(self._decode, batch)
            except Exception as error:  # out of memory, most likely: it ends these calls only
                for call in batch:
                    if not call.future.done():
                        call.future.set_exception(_as_engine_error(error, batch))
                continue
            for call, rows in zip(batch, groups, strict=True):
                if not call.future.done():
                    call.future.set_result(rows)

    def _decode(self, batch: Sequence[_Call]) -> list[list[Row]]:
        prompts = [(call.prompt_ids, call.n, call.params) for call in batch]
        return decode(self._model, prompts, self._ends, self._text)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _completion(self, row: Row, params: SamplingParams) -> Completion:
        logprobs = None
        if params.top_logprobs is not None:
            logprobs = tuple(self._logprob(*entry) for entry in row.logprobs)
        return Completion(
            text=cut_at_stop(self._text(row.ids), params.stop),
            finish_reason="stop" if row.stopped else "length",
            token_ids=tuple(row.ids),
            logprobs=logprobs,
            usage=Usage(completion_tokens=len(row.ids)),
        )

    def _logprob(self, token: int, logprob: float, top: dict[int, float]) -> TokenLogprob:
        shown = {self._tokenizer.decode([other]): value for other, value in top.items()}
        return TokenLogprob(self._tokenizer.decode([token]), logprob, shown)


def _take_batch(waiting: list[_Call], budget: int) -> list[_Call]:
    """Take calls off the front while they fit the budget; always at least one."""
    batch = [waiting.pop(0)]
    while waiting and sum(call.size for call in batch) + waiting[0].size <= budget:
        batch.append(waiting.pop(0))
    return batch


def _as_engine_error(error: Exception, batch: Sequence[_Call]) -> EngineError:
    if isinstance(error, EngineError):
        return error
    n_tokens = sum(call.size for call in batch)
    return EngineError(
        f"sampling a batch of up to {n_tokens} tokens with transformers: {error!r}; if memory ran "
        "out, lower max_batch_tokens"
    )


def _load(path: Path, adapters: Sequence[str | Path], device: str, dtype: torch.dtype) -> Any:
    auto = transformers.AutoModelForCausalLM
    try:
        model: Any = auto.from_pretrained(path, dtype=dtype, use_safetensors=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(f"loading the model {str(path)!r} with transformers: {error}") from error
    for adapter in adapters:
        try:
            from peft import PeftModel
        except ImportError as error:
            raise ExtraMissing("peft", "train") from error
        folder = find_lora(adapter).path.parent
        model = PeftModel.from_pretrained(model, str(folder))
        check_applied(model, folder)
        model = model.merge_and_unload()
    return model.to(device).eval(), tokenizer
