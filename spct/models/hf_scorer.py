"""A scorer on transformers: one pooled forward pass through a one-logit head, no activation.

Calls that are made at the same time share batches: they wait in one list, and each round takes what
is there, sorted by length. Forwards run in a thread of their own, so the event loop stays free. A
conversation that does not fit is refused and never cut.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spct.engines.checkpoint import ADAPTER, read_object
from spct.errors import ConfigError, EngineError, ExtraMissing
from spct.models.batches import length_sorted
from spct.models.encode import Conversation, Encoder, load_tokenizer
from spct.models.head import load_head, weights_digest
from spct.models.model_card import read_card
from spct.types import Usage

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROUND = 8  # batches' worth of waiting conversations that one round sorts together


@dataclass(frozen=True, slots=True)
class _Job:
    ids: list[int]
    logit: asyncio.Future[float]


class HFScorer:
    """Scores conversations with a sequence classifier of one logit.

    A batch holds at most `max_batch` conversations and `max_batch_tokens` tokens with padding.
    `usage` counts tokens read and conversations scored so far.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        max_length: int,
        max_batch: int = 32,
        max_batch_tokens: int = 16384,
    ) -> None:
        self.model, self.encoder = model, Encoder(tokenizer, max_length)
        self.max_batch, self.max_batch_tokens = max_batch, max_batch_tokens
        self.usage = Usage()
        self._fingerprint = f"hf-scorer:{name}-{weights_digest(model)}"
        self._waiting: list[_Job] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scorer")

    @property
    def fingerprint(self) -> str:
        """Names the folder and digests the config and the head's weights."""
        return self._fingerprint

    async def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return one logit per conversation; `ContextOverflow` if one does not fit."""
        loop = asyncio.get_running_loop()
        jobs = [_Job(self.encoder.fitting(c), loop.create_future()) for c in conversations]
        self._waiting += jobs
        # The worker ends when nothing waits, so a scorer that is merely held keeps no task alive.
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return list(await asyncio.gather(*(job.logit for job in jobs)))

    async def aclose(self) -> None:
        """Stop the thread. Idempotent."""
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(0)  # lets callers of the same moment join the batch
            size = ROUND * self.max_batch
            jobs = [job for job in self._waiting[:size] if not job.logit.done()]
            self._waiting = self._waiting[size:]
            for batch in self.batches([job.ids for job in jobs]):
                some = [jobs[i] for i in batch]
                try:
                    logits = await loop.run_in_executor(
                        self._thread, self.forward, [job.ids for job in some]
                    )
                except Exception as error:  # out of memory, most likely: it ends this batch only
                    failed = _as_engine_error(error, some)
                    for job in some:
                        if not job.logit.done():
                            job.logit.set_exception(failed)
                    continue
                for job, logit in zip(some, logits, strict=True):
                    if not job.logit.done():  # done here means that its caller is gone
                        job.logit.set_result(logit)

    def batches(self, ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """The batches that these sequences would be computed in, as indices."""
        lengths = [len(one) for one in ids]
        return list(
            length_sorted(lengths, max_batch=self.max_batch, max_tokens=self.max_batch_tokens)
        )

    def forward(self, ids: Sequence[Sequence[int]], *, left: bool = False) -> list[float]:
        """One forward of one padded batch; `left` pads on the other side (for the check)."""
        # The reward is read at the last position of the mask. transformers looks for it by the id
        # of the padding token: the last position that holds another. Where that id also ends the
        # conversation (a tokenizer that pads with its end token), it would read one token early.
        # So each batch is padded with an id that ends none of its conversations.
        ends = {one[-1] for one in ids}
        pad = next(i for i in range(len(ends) + 1) if i not in ends)
        with _padded_by(self.model, pad):
            logits = self._run(ids, pad, left=left)
        if bad := [logit for logit in logits if not math.isfinite(logit)]:
            raise EngineError(
                f"scoring with {self._fingerprint}: got {bad[0]!r}, expected a finite logit; the "
                "weights are damaged, or the dtype overflows (load the model in float32)"
            )
        self.usage += Usage(prompt_tokens=sum(map(len, ids)), calls=len(ids))
        return logits

    def forward_as_configured(self, ids: Sequence[int]) -> float:
        """One conversation, unpadded, under the model's own config: what its card says of it."""
        return self._run([ids], 0)[0]

    def _run(self, ids: Sequence[Sequence[int]], pad: int, *, left: bool = False) -> list[float]:
        import torch

        width = max(map(len, ids))
        rows, masks = [], []
        for one in ids:
            fill = width - len(one)
            pads, mask = [pad] * fill, [0] * fill
            rows.append([*pads, *one] if left else [*one, *pads])
            masks.append([*mask, *[1] * len(one)] if left else [*[1] * len(one), *mask])
        with torch.inference_mode():
            input_ids = torch.tensor(rows, device=self.model.device)
            attention = torch.tensor(masks, device=self.model.device)
            logits_B = self.model(input_ids=input_ids, attention_mask=attention).logits.squeeze(-1)
        return [float(logit) for logit in logits_B.float().tolist()]


def _as_engine_error(error: Exception, jobs: Sequence[_Job]) -> EngineError:
    if isinstance(error, EngineError):
        return error
    n_tokens = sum(len(job.ids) for job in jobs)
    return EngineError(
        f"scoring a batch of {n_tokens} tokens with transformers: {error!r}; if memory ran out, "
        "lower max_batch or max_length"
    )


@contextmanager
def _padded_by(model: PreTrainedModel, pad: int) -> Iterator[None]:
    config = model.config.get_text_config()
    own = config.pad_token_id
    config.pad_token_id = pad
    try:
        yield
    finally:
        config.pad_token_id = own


def load_scorer(
    folder: Path | str,
    *,
    device: str = "auto",
    dtype: torch.dtype | None = None,
    max_length: int | None = None,
    max_batch: int = 32,
) -> HFScorer:
    """Load a scalar model of one logit: a folder of ours, or any sequence classifier."""
    path = Path(folder)
    if not (path / "config.json").is_file() and not (path / ADAPTER).is_file():
        raise ConfigError(
            f"loading the scorer {str(folder)!r}: no config.json there; expected the folder of a "
            "trained scalar model"
        )
    try:
        import torch
    except ImportError as error:
        raise ExtraMissing("torch", "hf") from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    card = read_card(path)
    model = load_head(path, device=device, dtype=dtype)
    tokenizer = load_tokenizer(str(path) if _has_tokenizer(path) else _base(path))
    length = max_length or (card.max_length if card else context_length(model))
    return HFScorer(model, tokenizer, name=path.name, max_length=length, max_batch=max_batch)


def context_length(model: PreTrainedModel) -> int:
    """How many tokens the backbone takes."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 2**31 - 1))


def _has_tokenizer(path: Path) -> bool:
    return (path / "tokenizer_config.json").is_file()


def _base(path: Path) -> str:
    if not (path / ADAPTER).is_file():
        return str(path)
    return str(read_object(path / ADAPTER)["base_model_name_or_path"])
