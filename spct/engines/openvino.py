"""The embedded default: openvino-genai in this process, with continuous batching.

One worker thread steps the pipeline, and every `sample` call in flight shares its batch. Each
sample is a request of its own, with its own seed and its own grammar state (the library shares one
grammar state among the sequences of a request, which garbles them). The prompt is still computed
once: the first sample of a prompt leads, and the others start when its first token is there and
find the prompt in the prefix cache.

It runs in float32 (`EXECUTION_MODE_HINT=ACCURACY`): the default rounds to bfloat16 on some CPUs,
which moves log probabilities by 0.02 and makes a sample depend on what else is in the batch.
"""

from __future__ import annotations

import asyncio
import queue
import secrets
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spct.engines.lora import Lora, check_is_plain, find_lora
from spct.engines.plain import Plain
from spct.engines.probe import (
    OnStep,
    Probe,
    check_context,
    check_request,
    cut_at_stop,
    hand_on,
    timed_sample,
)
from spct.engines.weights import as_f16, content_key, facts_of, find_model, folder_facts
from spct.errors import ConfigError, EngineError, ExtraMissing
from spct.protocols import Engine
from spct.types import Completion, FinishReason, Prompt, SamplingParams, TokenLogprob, Usage

try:
    import openvino_genai as genai
except ImportError as error:
    raise ExtraMissing("openvino-genai", "embedded") from error

if TYPE_CHECKING:
    from openvino import Tensor
    from openvino_genai.py_openvino_genai import GenerationHandle, GenerationOutput


@dataclass(slots=True)
class _Job:
    """One sample: a request of the pipeline, from the queue to its result."""

    prompt_key: bytes
    input_ids: Tensor
    config: genai.GenerationConfig
    future: Future[GenerationOutput] = field(default_factory=Future)
    handle: GenerationHandle | None = None
    started: bool = False  # its first token is there, so its prompt is in the cache
    abandoned: bool = False  # nobody waits for it any more


class OpenVINOEngine(Engine):
    """Samples from a GGUF file or an exported OpenVINO folder; None is the default model.

    `adapters` are LoRA files or folders in peft's safetensors layout. `cache_gib` bounds the memory
    for keys and values; `max_concurrency` how many samples are computed at a time.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        adapters: Sequence[str | Path] = (),
        max_concurrency: int = 128,
        cache_gib: int = 2,
        device: str = "CPU",
    ) -> None:
        source = find_model(model)
        if source.kind == "transformers":
            raise ConfigError(
                f"the openvino engine cannot read the transformers folder {str(source.path)!r}; "
                f"use the hf engine, or export it: optimum-cli export openvino -m {source.path} OUT"
            )
        self.model = source.name
        loras = [find_lora(path) for path in adapters]
        is_gguf = source.kind == "gguf"
        self._path = as_f16(source.path, loras=loras) if is_gguf else source.path
        facts = facts_of(self._path) if is_gguf else folder_facts(self._path)
        self.context_length, self._plain = facts.context_length, Plain(facts.special_tokens)
        # A GGUF model's copy has the adapters in its weights; a folder's are applied as it runs.
        self._loras = () if is_gguf else tuple(loras)
        keys = [content_key(self._path), *(content_key(lora.path) for lora in self._loras)]
        self._fingerprint = f"openvino/{self.model}@{'+'.join(keys)}"
        self._scheduler = genai.SchedulerConfig()
        self._scheduler.enable_prefix_caching = True
        self._scheduler.cache_size = cache_gib
        self._scheduler.max_num_seqs = max_concurrency
        self._device = device
        self._pipeline = self._load()
        self._tokenizer = self._pipeline.get_tokenizer()
        self._eos = self._pipeline.get_config()
        self._pieces: dict[int, str] = {}
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._worker = threading.Thread(target=self._run, name="spct-openvino", daemon=True)
        self._worker.start()

    @property
    def fingerprint(self) -> str:
        """The engine, the model's name and the key of its content, and the adapters'."""
        return self._fingerprint

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> list[Completion]:
        """Draw n completions of one prompt; sample i is seeded by `params.seeds[i]`."""
        if self._closed:
            raise EngineError("sampling from the openvino engine after it was closed")
        check_request(n, params)
        if params.top_logprobs:
            raise ConfigError(
                f"top_logprobs is {params.top_logprobs!r}, but the openvino engine gives the log "
                "probability of the sampled token only: use 0, or the llamacpp, hf or openai engine"
            )
        text = self._tokenizer.apply_chat_template(self._plain.messages(prompt), True)
        input_ids = self._tokenizer.encode(text, add_special_tokens=False).input_ids
        n_prompt = int(input_ids.shape[1])
        check_context(prompt, n_prompt, params.max_tokens, self.context_length)
        n_drawn = 1 if params.temperature == 0 else n  # greedy samples are all the same
        jobs = [
            _Job(input_ids.data.tobytes(), input_ids, self._config(params, i))
            for i in range(n_drawn)
        ]

        async def finished(i: int, job: _Job) -> Completion:
            reply = self._completion(await asyncio.wrap_future(job.future), params)
            if i == 0:  # the prompt is computed once, and counted once
                paid = reply.usage + Usage(prompt_tokens=n_prompt, calls=1)
                reply = replace(reply, usage=paid)
            await hand_on(params, i, [reply])
            return reply

        for job in jobs:
            self._inbox.put(job)
        try:
            replies = await asyncio.gather(*(finished(i, job) for i, job in enumerate(jobs)))
        except BaseException:
            for job in jobs:
                job.abandoned = True
            raise
        return replies + [replace(replies[0], usage=Usage())] * (n - n_drawn)

    async def probe(self, on_step: OnStep | None = None) -> Probe:
        """Say what the engine can do, and time one small request."""
        speed, reply = await timed_sample(self, on_step)
        return Probe(
            engine="openvino",
            model=self.model,
            context_length=self.context_length,
            n=True,
            logprobs="sampled",
            grammar=True,
            seeds="sample",
            tokens_per_second=speed,
            sample=reply,
        )

    async def aclose(self) -> None:
        """Stop the worker; calls in flight get an `EngineError`."""
        self._closed = True
        self._inbox.put(None)
        await asyncio.to_thread(self._worker.join)

    def _load(self) -> genai.ContinuousBatchingPipeline:
        properties: dict[str, object] = {"EXECUTION_MODE_HINT": "ACCURACY"}
        if self._loras:
            properties["adapters"] = _adapter_config(self._loras)
        try:
            return genai.ContinuousBatchingPipeline(
                self._path, self._scheduler, self._device, properties
            )
        except RuntimeError as error:
            raise EngineError(
                f"loading {str(self._path)!r} into openvino-genai on {self._device!r}: {error}"
            ) from error

    def _config(self, params: SamplingParams, i: int) -> genai.GenerationConfig:
        config = genai.GenerationConfig()
        config.set_eos_token_id(self._eos.eos_token_id)
        config.stop_token_ids = self._eos.stop_token_ids
        config.max_new_tokens = params.max_tokens
        config.do_sample = params.temperature > 0
        if config.do_sample:
            config.temperature = params.temperature
            config.top_p = params.top_p
        # Without a seed the library would use 0 each time, and all samples would be equal.
        seed = params.seeds[i] if params.seeds else secrets.randbits(32)
        config.rng_seed = seed % 2**32
        config.logprobs = 0 if params.top_logprobs is None else 1
        if params.stop:
            config.stop_strings = set(params.stop)
        if params.grammar is not None:
            config.structured_output_config = genai.StructuredOutputConfig(grammar=params.grammar)
        return config

    def _completion(self, output: GenerationOutput, params: SamplingParams) -> Completion:
        ids = tuple(output.generated_ids)
        reasons: dict[genai.GenerationFinishReason, FinishReason] = {
            genai.GenerationFinishReason.STOP: "stop",
            genai.GenerationFinishReason.LENGTH: "length",
        }
        reason = reasons.get(output.finish_reason)
        if reason is None:
            why = f"openvino-genai ended a sample with {output.finish_reason.name}: out of cache"
            return Completion("", "error", error=f"{why}; raise cache_gib")
        logprobs = None
        if params.top_logprobs is not None:
            pairs = zip(ids, output.generated_log_probs, strict=True)
            logprobs = tuple(TokenLogprob(self._piece(token), value) for token, value in pairs)
        return Completion(
            text=cut_at_stop(self._tokenizer.decode(list(ids)), params.stop),
            finish_reason=reason,
            token_ids=ids,
            logprobs=logprobs,
            usage=Usage(completion_tokens=len(ids)),
        )

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode([token], skip_special_tokens=False)
        return self._pieces[token]

    def _run(self) -> None:
        """The worker: admit what has come in, step, hand out what has finished, until closed."""
        waiting: deque[_Job] = deque()
        active: list[_Job] = []
        n_requests = 0
        while self._receive(waiting, wait=not active and not waiting):
            try:
                admitted = _admissible(waiting, active)
                active += admitted  # before they are added: a refusal of one ends them all
                for job in admitted:
                    n_requests += 1
                    job.handle = self._pipeline.add_request(n_requests, job.input_ids, job.config)
                if active:
                    self._pipeline.step()
                active = _settle(active)
            except Exception as error:  # whatever the library raises ends the calls, not the thread
                _fail([*active, *waiting], f"openvino-genai could not go on: {error}")
                waiting.clear()
                active = []
                # A failed step (an unreadable grammar, for one) leaves the scheduler unusable.
                self._pipeline = self._load()
        for job in active:
            assert job.handle is not None
            job.handle.cancel()
        if active:
            self._pipeline.step()  # frees what they hold
        _fail([*active, *waiting], "the openvino engine was closed")

    def _receive(self, waiting: deque[_Job], *, wait: bool) -> bool:
        """Move new jobs to `waiting`, blocking for the first if `wait`; False when closed."""
        while wait or not self._inbox.empty():
            job = self._inbox.get()
            if job is None:
                return False
            waiting.append(job)
            wait = False
        return True


def _admissible(waiting: deque[_Job], active: Sequence[_Job]) -> list[_Job]:
    """Take out of `waiting` the jobs whose prompt nobody else is computing right now."""
    computing = {job.prompt_key for job in active if not job.started}
    admitted = []
    for _ in range(len(waiting)):
        job = waiting.popleft()
        if job.prompt_key in computing:
            waiting.append(job)
        elif not job.abandoned and job.future.set_running_or_notify_cancel():
            known = any(other.started and other.prompt_key == job.prompt_key for other in active)
            job.started = known  # then its prompt is in the cache already
            if not known:
                computing.add(job.prompt_key)
            admitted.append(job)
    return admitted


def _settle(active: Sequence[_Job]) -> list[_Job]:
    """Resolve the jobs that have finished and return the others."""
    left = []
    for job in active:
        assert job.handle is not None
        if job.abandoned:
            job.handle.cancel()
            job.future.set_exception(EngineError("the call was cancelled"))
        elif job.handle.get_status() == genai.GenerationStatus.RUNNING:
            job.started = job.started or job.handle.can_read()
            left.append(job)
        else:
            job.future.set_result(job.handle.read_all()[0])
    return left


def _fail(jobs: Sequence[_Job], why: str) -> None:
    for job in jobs:
        if job.future.running() or job.future.set_running_or_notify_cancel():
            job.future.set_exception(EngineError(why))


def _adapter_config(loras: Sequence[Lora]) -> genai.AdapterConfig:
    config = genai.AdapterConfig()
    for lora in loras:
        check_is_plain(lora)
        config.add(genai.Adapter(lora.path), lora.scale)
    return config
