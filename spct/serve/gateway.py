"""The gateway itself, without HTTP: a reward model behind slots, a deadline, groups, counters."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import spct
from spct.engines.readouts.decision import Answers, Question
from spct.errors import ConfigError, DataError, EngineError, FormatError, first_error
from spct.models.answering import Decider, answer_of, check_takes, decider, example_of, verdict_of
from spct.protocols import RewardModel
from spct.runs.identity import content_id, digest
from spct.runs.saving import Saving
from spct.serve.coalesce import Coalescer
from spct.serve.config import ServeConfig
from spct.serve.errors import HttpError, invalid
from spct.serve.groups import Groups, MixedGroup
from spct.serve.judgement_log import JudgementLog
from spct.serve.metrics import Metrics
from spct.serve.readiness import Readiness
from spct.serve.samples import Outcome, Sample, SampleOutcome, check_query, check_response, example
from spct.serve.slots import Slots
from spct.types import Example, Unscored, Usage

T = TypeVar("T")
log = logging.getLogger("spct.serve")


def fingerprint_of(model: RewardModel, name: str) -> dict[str, str]:
    """What the scores come from: name, model, template, recipe, version, and their digest."""
    recipe = dict(model.identity())
    parts = {"name": name, "model": str(recipe.pop("engine", model.fingerprint))}
    if "format" in recipe:
        parts["template"] = str(recipe.pop("format"))
        parts["recipe"] = " ".join(f"{key}={_shown(value)}" for key, value in recipe.items())
    parts["version"] = spct.__version__
    return parts | {"digest": digest(parts)}


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if type(value) in (int, float) else str(value)


def _log_of(model: RewardModel, config: ServeConfig) -> JudgementLog | None:
    """The judgement log, if the operator wants one; a folder in use is an error before serving."""
    if config.judgement_log is None:
        return None
    most, texts = config.judgement_log_max, config.judgement_log_texts
    return JudgementLog(config.judgement_log, model, most=most, texts=texts)


class Gateway:
    """Judges examples and samples for callers; everything HTTP is above it."""

    def __init__(self, model: RewardModel, config: ServeConfig, name: str) -> None:
        self.model, self.config, self.name = model, config, name
        self.fingerprint = fingerprint_of(model, name)
        self.metrics = Metrics(spct.__version__, self.fingerprint["digest"])
        self.saving = Saving(model)
        self.readiness = Readiness(model, config.engine_check_s)
        self.slots = Slots(config.max_concurrency, config.max_queue)
        self.in_flight: Counter[str] = Counter()  # requests being judged, by the caller's name
        self.body_bytes = 0  # of the requests in flight
        self.held = 0  # requests that wait for a group, which takes no slot
        self.draining = False
        self.judgement_log = _log_of(model, config)
        size = config.group_size
        self.is_grouping = size != 1
        groups: Groups[SampleOutcome] = Groups(
            None if size == "learn" else size,
            wait_s=config.group_wait_s,
            keep_s=config.keep_s,
            max_members=config.max_candidates,
        )
        self._coalescer: Coalescer[SampleOutcome] = Coalescer(
            groups,
            lambda judged: judged.reward is not None,
            on_close=self.metrics.count_group,
            on_late=self.metrics.late.inc,
            on_replay=self.metrics.replays.labels("member").inc,
        )

    @property
    def is_full(self) -> bool:
        """Whether one more request would wait beyond the queue's bound.

        Requests that have not come as far as the slots yet count too, so that a burst cannot pass.
        """
        n_requests = self.in_flight.total()
        return (
            self.slots.is_full
            or n_requests - self.held >= self.slots.size + self.slots.queue
            or n_requests >= self.config.max_requests
            or self.body_bytes >= self.config.max_held_bytes
        )

    async def judge(self, asked: Example, caller: str, k: int | None = None) -> Outcome:
        """Judge one example; an engine or deadline failure is an outcome, a bad example a 422."""
        model = self.model if k is None else self._with_k(k)
        if asked.criteria is not None and not model.traits.takes_criteria:
            raise invalid("the model served takes no criteria (--format met)", "criteria")
        verdict = await self._in_slot(lambda: model.judge(asked), "responses")
        if isinstance(verdict, str):
            return self._failed(verdict)
        self.readiness.note(verdict)
        self.metrics.count_verdict(verdict, caller, self.saving.add(verdict))
        if self.judgement_log is not None:
            await self.judgement_log.add(asked, verdict)
        return Outcome(verdict)

    async def _in_slot(self, work: Callable[[], Awaitable[T]], param: str) -> T | str:
        """Do what asks the model, in its turn and time; why it failed, where it did."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.config.deadline_s), self.slots.slot():
                started = loop.time()
                done = await work()
                self.metrics.judge_seconds.observe(loop.time() - started)
                return done
        except TimeoutError:
            return f"no verdict within {self.config.deadline_s:g} s"
        except (FormatError, DataError) as error:
            raise invalid(str(error), param) from error
        except EngineError as error:
            log.warning("the engine failed: %s (--log-level debug says more)", type(error).__name__)
            log.debug("%s", error)
            self.readiness.note_trouble(f"the engine failed ({type(error).__name__})")
            return f"the engine failed ({type(error).__name__})"

    @property
    def answering_name(self) -> str:
        """The name on answers to typed questions, which says what they are made of."""
        how = self.model.traits.answers
        if how == "votes":
            return f"{self.name}:votes@{self.model.identity().get('k')}"
        return self.name if how in (None, "itself") else f"{self.name}:{how}"

    async def answer(self, state: str, questions: Sequence[Question], caller: str) -> Answers:
        """Answer typed questions about a state; one that fails is unscored, never a number."""
        if (model := decider(self.model)) is not None:
            found = await self._in_slot(lambda: _decided(model, state, questions), "questions")
            if isinstance(found, str):
                self.metrics.judged.labels("failed").inc(len(questions))
                return Answers([Unscored("failed", found)] * len(questions))
            self.metrics.count_answers(found, caller)
            await self._keep(state, questions, found)
            return found
        if self.model.traits.answers is None:
            raise HttpError(404, "wire_not_enabled", "the model served answers no typed questions")
        if len(questions) > self.config.max_examples:
            raise invalid(
                f"{len(questions)} questions; each is a judgement of its own here, and the limit "
                f"is {self.config.max_examples}",
                "questions",
            )
        try:
            for question in questions:
                check_takes(self.model, question)
        except DataError as error:
            raise invalid(str(error), "questions") from error
        outcomes = await self.judge_all([example_of(state, q) for q in questions], caller)
        answers = [
            Unscored("failed", outcome.why)
            if outcome.verdict is None
            else answer_of(outcome.verdict, self.model, self.config.answer_temperature)
            for outcome in outcomes
        ]
        return Answers(answers, sum((o.verdict.usage for o in outcomes if o.verdict), Usage()))

    async def _keep(self, state: str, questions: Sequence[Question], found: Answers) -> None:
        """A verdict for each answer, where there is a log; the first has the call's usage."""
        if self.judgement_log is None:
            return
        usage, fingerprint = found.usage, self.model.fingerprint
        for question, answer in zip(questions, found.answers, strict=True):
            kept = verdict_of(state, question, answer, usage, fingerprint)
            await self.judgement_log.add(*kept)
            usage = Usage()

    async def judge_all(
        self, asked: Sequence[Example], caller: str, k: int | None = None
    ) -> list[Outcome]:
        """Judge several examples at once, in order; one bad example ends them all."""
        return await _together([self.judge(one, caller, k) for one in asked])

    async def rewards(self, samples: Sequence[Sample], caller: str) -> list[SampleOutcome]:
        """Reward samples of a per-sample wire: in their groups, or each alone."""
        for number, sample in enumerate(samples):
            check_query(sample.query)
            check_response(sample.response, self.config, f"responses[{number}]")
        is_held = self.is_grouping or any(sample.group is not None for sample in samples)
        self.held += is_held
        try:
            return await _together([self._reward(sample, caller) for sample in samples])
        finally:
            self.held -= is_held

    async def _reward(self, sample: Sample, caller: str) -> SampleOutcome:
        def ask(responses: Sequence[str], closed_with: Sequence[str] = ()) -> Example:
            group = content_id(sample.query, closed_with, sample.reference) if closed_with else None
            return example(
                sample.query,
                responses,
                self.config,
                reference=sample.reference,
                criteria=sample.criteria,
                group=group,
            )

        if sample.group is None and not self.is_grouping:
            return SampleOutcome(await self.judge(ask((sample.response,)), caller))

        async def judge(
            responses: Sequence[str], closed_with: Sequence[str]
        ) -> Mapping[str, SampleOutcome]:
            outcome = await self.judge(ask(responses, closed_with), caller)
            if outcome.verdict is not None and outcome.verdict.rewards is not None:
                # kept for a while, and no wire of samples shows judgements: drop their texts
                outcome = Outcome(replace(outcome.verdict, trajectories=()))
            return {text: SampleOutcome(outcome, i) for i, text in enumerate(responses)}

        subject = (sample.query, sample.reference, sample.criteria)
        key = (caller, subject if sample.group is None else sample.group)
        try:
            return await self._coalescer.answer(key, subject, sample.response, judge, sample.size)
        except MixedGroup as error:
            raise HttpError(409, "mixed_group", str(error), param="group") from error

    def drain(self) -> None:
        """No more work comes: judge the open groups as they are."""
        self.draining = True
        self._coalescer.flush()

    def _with_k(self, k: int) -> RewardModel:
        if k > self.config.max_k:
            raise invalid(f"k is {k}; the limit is {self.config.max_k}", "k")
        if not self.model.traits.gains_from_samples:
            raise invalid("the model served draws no samples; leave k out", "k")
        return self.model.with_(k=k)

    def _failed(self, error: str) -> Outcome:
        self.metrics.judged.labels("failed").inc()
        return Outcome(None, error)


async def _decided(model: Decider, state: str, questions: Sequence[Question]) -> Answers:
    try:
        return await model.decide(state, questions)
    except ConfigError as error:  # more options than labels of one token
        raise DataError(str(error)) from error


async def _together(work: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """Run together; the first error ends the others, and so does being cancelled."""
    if len(work) == 1:
        return [await work[0]]
    with first_error():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
