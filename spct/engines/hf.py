"""transformers in this process, on CPU or GPU: the reference engine and the trainers' own sampler.

Samples in flight are gathered into batches, longest prompts first, of at most `batch_size` samples
and `max_batch_tokens` tokens; `hf_decode` says how a batch is decoded. A seed means the same draws
whatever else is in the batch.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from spct.engines.ends import end_ids
from spct.engines.plain import Plain, special_tokens, templated
from spct.engines.probe import (
    OnStep,
    Probe,
    check_context,
    check_request,
    cut_at_stop,
    timed_sample,
)
from spct.engines.spellings import summed
from spct.engines.weights import content_key, find_model
from spct.errors import ConfigError, EngineError, ExtraMissing
from spct.protocols import Engine
from spct.types import Completion, Prompt, SamplingParams, TokenLogprob, Usage

try:
    import torch

    from spct.engines.hf_decode import Row, decode
    from spct.engines.hf_load import base_of, is_adapter, load_merged, load_tokenizer
except ImportError as error:
    raise ExtraMissing("transformers", "hf") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class HFEngine(Engine):
    """Samples from a transformers folder, an adapter's folder or a model of the hub.

    `adapters` are peft folders, merged into the weights. `dtype` None is bfloat16 on a GPU and
    float32 on a CPU, "auto" as the weights were saved. `max_batch_tokens` None lets `batch_size`
    alone bound a batch. For a model that is loaded already, as in a trainer, use
    `HFEngine.around(model, tokenizer, name)`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapters: Sequence[str | Path] = (),
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        batch_size: int = 256,
        max_batch_tokens: int | None = 65_536,
    ) -> None:
        folder = _folder_of(model)
        if device in (None, "auto"):
            device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = dtype or ("bfloat16" if str(device).startswith("cuda") else "float32")
        tokenizer = load_tokenizer(folder)
        loaded = load_merged(folder, None if dtype == "auto" else getattr(torch, dtype), adapters)
        if attention is not None:
            loaded.set_attn_implementation(attention)
        torch.nn.Module.to(loaded, torch.device(str(device)))
        loaded.train(False)
        parts = [folder, *adapters] + ([_folder_of(base_of(folder))] if is_adapter(folder) else [])
        key = "+".join(content_key(Path(part)) for part in parts)
        self._set_up(loaded, tokenizer, f"{Path(model).name}@{key}/{dtype}")
        self._batch_size, self._budget = batch_size, max_batch_tokens or sys.maxsize

    @classmethod
    def around(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        *,
        batch_size: int = 256,
        max_batch_tokens: int | None = 65_536,
    ) -> Self:
        """Wrap a loaded model, as it is at the time of each call, under a name of your choice."""
        engine = cls.__new__(cls)
        engine._set_up(model, tokenizer, name)
        engine._batch_size, engine._budget = batch_size, max_batch_tokens or sys.maxsize
        return engine

    def _set_up(self, model: PreTrainedModel, tokenizer: Any, name: str) -> None:
        if tokenizer.chat_template is None:
            raise ConfigError(
                f"the tokenizer of {name!r} has no chat template; add one to its folder"
            )
        self.model, self.network, self.tokenizer = name, model, tokenizer
        text = model.config.get_text_config()
        self.context_length = int(getattr(text, "max_position_embeddings", None) or sys.maxsize)
        self.ends = end_ids(tokenizer, model.generation_config)
        self._plain = Plain(special_tokens(tokenizer))
        self._waiting: list[Row] = []
        self._replies: dict[int, asyncio.Future[None]] = {}  # of each waiting row, by its id()
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
        n_drawn = 1 if params.temperature == 0 else n  # greedy samples are all the same
        rows, loop = self._rows(prompt, n_drawn, params), asyncio.get_running_loop()
        replies = {id(row): loop.create_future() for row in rows}
        self._replies |= replies
        self._waiting += rows
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            await asyncio.gather(*replies.values())
        except asyncio.CancelledError:
            for row in rows:  # a running batch goes on without them
                row.abandoned = True
            raise
        completions = self._completions(rows)
        return completions + [replace(completions[0], usage=Usage())] * (n - n_drawn)

    def complete(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[Completion]:
        """One completion of each prompt, here and now: for code without an event loop."""
        rows = [row for prompt in prompts for row in self._rows(prompt, 1, params)]
        left = list(rows)
        while left:
            self._decode(_take_batch(left, self._batch_size, self._budget))
        return [completion for row in rows for completion in self._completions([row])]

    async def probe(self, on_step: OnStep | None = None) -> Probe:
        """Say what the engine can do, and time one small request."""
        speed, reply = await timed_sample(self, on_step)
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
        """Let the running batch end; samples that still wait get an `EngineError`."""
        self._closed = True
        if self._runner is not None:
            await self._runner

    def _rows(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Row]:
        if params.grammar is not None:
            raise ConfigError(
                "the hf engine cannot force a grammar; use the openvino or llamacpp engine, or an "
                "endpoint that supports it"
            )
        turns = self._plain.messages(prompt)
        ids = templated(self.tokenizer, turns, add_generation_prompt=True, return_dict=False)
        check_context(prompt, len(ids), params.max_tokens, self.context_length)
        return [Row.of(ids, params, params.seeds[i] if params.seeds else None) for i in range(n)]

    async def _run(self) -> None:
        """Decode batch after batch in a thread until no sample waits."""
        while self._waiting:
            await asyncio.sleep(0.002)  # let the callers that are ready join
            taken = _take_batch(self._waiting, self._batch_size, self._budget)
            replies = [self._replies.pop(id(row)) for row in taken]
            batch = [row for row in taken if not row.abandoned]
            failed: EngineError | None = None
            try:
                if self._closed:
                    raise EngineError("the hf engine was closed")
                if batch:
                    await asyncio.to_thread(self._decode, batch)
            except Exception as error:  # out of memory, most likely: it ends these samples only
                failed = _as_engine_error(error, batch)
            for reply in replies:
                if reply.done():  # nobody waits for it any more
                    continue
                if failed is None:
                    reply.set_result(None)
                else:
                    reply.set_exception(failed)

    def _decode(self, rows: Sequence[Row]) -> None:
        decode(self.network, rows, self.ends, self._text)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _completions(self, rows: Sequence[Row]) -> list[Completion]:
        """Rows of one prompt as completions; the first one pays for the prompt."""
        return [
            Completion(
                text=cut_at_stop(self._text(row.ids), row.params.stop),
                finish_reason="stop" if row.stopped else "length",
                token_ids=tuple(row.ids),
                logprobs=self._logprobs(row),
                usage=Usage(0 if i else len(row.prompt_ids), len(row.ids), int(i == 0)),
            )
            for i, row in enumerate(rows)
        ]

    def _logprobs(self, row: Row) -> tuple[TokenLogprob, ...] | None:
        if row.params.top_logprobs is None:
            return None
        spell = self.tokenizer.decode
        return tuple(
            TokenLogprob(
                spell([token]), logprob, summed((spell([other]), x) for other, x in top.items())
            )
            for token, logprob, top in row.logprobs
        )


def _folder_of(model: str | Path) -> Path:
    """The folder of a model, fetched from the hub where the name is none here."""
    path = Path(model).expanduser()
    if is_adapter(path):
        return path
    source = find_model(model)
    if source.kind != "transformers":
        raise ConfigError(
            f"the hf engine reads a transformers folder with safetensors; got the {source.kind} "
            f"model {str(source.path)!r}; use the openvino engine"
        )
    return source.path


def _take_batch(waiting: list[Row], batch_size: int, budget: int) -> list[Row]:
    """Take the longest off the list while they fit; always at least one.

    Rows of like length go together, because a batch is padded to its longest prompt.
    """
    waiting.sort(key=lambda row: len(row.prompt_ids))
    n, most_new, longest = 0, 0, len(waiting[-1].prompt_ids)
    while n < min(batch_size, len(waiting)):
        most_new = max(most_new, waiting[-1 - n].params.max_tokens)
        if n and (n + 1) * (longest + most_new) > budget:
            break
        n += 1
    batch = waiting[-n:]
    del waiting[-n:]
    return batch


def _as_engine_error(error: Exception, batch: Sequence[Row]) -> EngineError:
    if isinstance(error, EngineError):
        return error
    n_tokens = sum(row.size for row in batch)
    return EngineError(
        f"sampling a batch of up to {n_tokens} tokens with transformers: {error!r}; if memory ran "
        "out, lower max_batch_tokens"
    )
