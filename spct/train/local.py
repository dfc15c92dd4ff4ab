"""An engine over transformers for the models that a training run has just written.

It batches across prompts: calls that are waiting together are generated together, longest prompts
first, which is what matters for a small judge and thousands of short examples (engines/hf shares
one prompt's cache among its samples instead). Every sample has its own noise, drawn from its own
seed (Gumbel-max sampling), so that neither batch nor order changes what is sampled, up to the
rounding of the model's own arithmetic.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spct.engines.ends import end_ids
from spct.errors import ContextOverflow, EngineError, ExtraMissing
from spct.train.adapters import load_merged
from spct.train.sft import load_tokenizer
from spct.types import Completion, Engine, Prompt, SamplingParams, Usage

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(slots=True)
class _Waiting:
    ids: list[int]
    seed: int
    params: SamplingParams
    reply: asyncio.Future[Completion]


class LocalEngine(Engine):
    """Sample from a model folder in batches of `batch_size` sequences."""

    def __init__(
        self,
        model: str | Path,
        *,
        batch_size: int = 256,
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        attention: str | None = None,
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise ExtraMissing("torch", "train") from error
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(str(model))
        precision = None if dtype == "auto" else getattr(torch, dtype)
        self.model: PreTrainedModel = load_merged(model, precision)
        if attention is not None:
            self.model.set_attn_implementation(attention)
        self.model.train(False)
        torch.nn.Module.to(self.model, torch.device(device))
        self.ends = end_ids(self.tokenizer, self.model.generation_config)
        self.batch_size = batch_size
        kind = "" if dtype == "auto" else f":{dtype}"
        commit = getattr(self.model.config, "_commit_hash", None)
        self._fingerprint = f"local:{_weights_hash(Path(model), commit)}{kind}"
        self._waiting: list[_Waiting] = []
        self._batch: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def fingerprint(self) -> str:
        """The weights that it began with."""
        return self._fingerprint

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Queue n samples and wait until their batches are done."""
        if params.grammar or params.top_logprobs is not None or params.stop or params.top_p < 1:
            raise EngineError(
                f"sampling with {params!r}: the local engine knows temperature, max_tokens and "
                "seeds only; use another engine"
            )
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        text = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        ids = list(self.tokenizer(str(text), add_special_tokens=False)["input_ids"])
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) + params.max_tokens > limit:
            raise ContextOverflow(
                f"sampling example {prompt.example_id!r}: {len(ids)} prompt tokens and "
                f"{params.max_tokens} new ones do not fit the context of {limit}; lower max_tokens"
            )
        seeds = params.seeds or tuple(range(n))
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(ids, seed, params, loop.create_future()) for seed in seeds]
        self._waiting += waiting
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        replies = await asyncio.gather(*(w.reply for w in waiting))
        replies[0] = _with_prompt_tokens(replies[0], len(ids))
        return replies

    async def aclose(self) -> None:
        """Stop the worker; what waits or is being generated ends with an error."""
        if self._worker is not None:
            self._worker.cancel()
        _fail([*self._waiting, *self._batch], EngineError("the local engine was closed"))
        self._waiting, self._batch = [], []

    async def _work(self) -> None:
        """Generate batch after batch while anything waits."""
        while self._waiting:
            await asyncio.sleep(0.002)  # let the callers that are ready join
            self._waiting.sort(key=lambda w: len(w.ids))
            first = self._waiting[-1].params
            alike = (w for w in self._waiting if w.params is first or _alike(w.params, first))
            batch = list(alike)[-self.batch_size :]
            chosen = set(map(id, batch))
            self._waiting = [w for w in self._waiting if id(w) not in chosen]
            self._batch = batch
            try:
                completions = await asyncio.to_thread(self._generate, batch, first)
            except Exception as error:  # every caller's of this batch; the next one may do
                _fail(batch, EngineError(f"generating {len(batch)} samples: {error!r}"))
                continue
            for w, completion in zip(batch, completions, strict=True):
                if not w.reply.done():
                    w.reply.set_result(completion)

    def _generate(self, batch: Sequence[_Waiting], params: SamplingParams) -> list[Completion]:
        import torch

        inputs = self.tokenizer.pad(
            {"input_ids": [w.ids for w in batch]}, padding_side="left", return_tensors="pt"
        ).to(self.model.device)
        with torch.inference_mode():
            rows = generate(
                self.model,
                inputs["input_ids"],
                inputs["attention_mask"],
                [w.seed for w in batch],
                params,
                ends=self.ends,
            )
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [
            Completion(
                text,
                "stop" if ids and ids[-1] in self.ends else "length",
                token_ids=tuple(ids),
                usage=Usage(0, len(ids), 0),
            )
            for text, ids in zip(texts, rows, strict=True)
        ]


def generate(
    model: PreTrainedModel,
    ids_B_T: torch.Tensor,
    mask_B_T: torch.Tensor,
    seeds: Sequence[int],
    params: SamplingParams,
    *,
    ends: frozenset[int],
) -> list[list[int]]:
    """Sample token ids after left-padded prompts; finished rows leave the batch.

    A prompt that stands in several rows is read once: its cache is copied to them.
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    generators = [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]
    rows: list[list[int]] = [[] for _ in seeds]
    alive = list(range(len(seeds)))
    both_B_2T = torch.cat([ids_B_T, mask_B_T], -1)
    distinct, owners_B = torch.unique(both_B_2T, dim=0, return_inverse=True)
    ids, mask_U_T = distinct.split(ids_B_T.shape[1], dim=-1)
    positions = (mask_U_T.cumsum(-1) - 1).clamp(min=0)
    ends_E = torch.tensor(sorted(ends), device=ids_B_T.device)
    ended_B = torch.zeros(len(seeds), dtype=torch.bool, device=ids_B_T.device)
    for step in range(params.max_tokens):
        out: Any = model(
            input_ids=ids,
            attention_mask=mask_B_T if step else mask_U_T,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_B_V = out.logits[:, -1].float()
        if step == 0:
            cache.batch_select_indices(owners_B)
            logits_B_V, positions = logits_B_V[owners_B], positions[owners_B]
        chosen_B = _choose(logits_B_V, [generators[i] for i in alive], params.temperature)
        for i, token in zip(alive, chosen_B.tolist(), strict=True):
            rows[i].append(token)
        ended_B |= torch.isin(chosen_B, ends_E)  # such a row runs on until the next compaction
        going = (~ended_B).nonzero().squeeze(-1)
        if len(going) == 0:
            break
        ids, positions = chosen_B[:, None], positions[:, -1:] + 1
        mask_B_T = torch.cat([mask_B_T, mask_B_T.new_ones(len(mask_B_T), 1)], dim=-1)
        if len(going) < 0.8 * len(alive):  # compacting copies the cache, so not at every step
            cache.batch_select_indices(going)
            ids, positions, mask_B_T = ids[going], positions[going], mask_B_T[going]
            ended_B = ended_B[going]
            alive = [alive[j] for j in going.tolist()]
    return [_until(ends, row) for row in rows]


def _choose(
    logits_B_V: torch.Tensor, generators: Sequence[torch.Generator], temperature: float
) -> torch.Tensor:
    """Sample one token a row by Gumbel-max with the row's own noise, or take the likeliest."""
    import torch

    if temperature == 0:
        return logits_B_V.argmax(-1)
    vocabulary = logits_B_V.shape[-1]
    noise_B_V = torch.stack([torch.empty(vocabulary).exponential_(generator=g) for g in generators])
    return (logits_B_V / temperature - noise_B_V.to(logits_B_V.device).log()).argmax(-1)


def _until(ends: frozenset[int], row: list[int]) -> list[int]:
    """The row up to and with its first end token (a finished row may have run on)."""
    first = next((i for i, token in enumerate(row) if token in ends), None)
    return row if first is None else row[: first + 1]


def _fail(waiting: Sequence[_Waiting], error: EngineError) -> None:
    for w in waiting:
        if not w.reply.done():
            w.reply.set_exception(error)


def _alike(a: SamplingParams, b: SamplingParams) -> bool:
    return a.temperature == b.temperature and a.max_tokens == b.max_tokens


def _with_prompt_tokens(completion: Completion, prompt_tokens: int) -> Completion:
    from dataclasses import replace

    usage = Usage(prompt_tokens, completion.usage.completion_tokens, 1)
    return replace(completion, usage=usage)


def _weights_hash(folder: Path, commit: str | None) -> str:
    """A short hash of the weights, so that equal fingerprints may share stored replies.

    Where the folder holds none (a name on the hub): of the name and the commit that was loaded.
    """
    files = sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256(b"" if files else f"{folder}@{commit}".encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
