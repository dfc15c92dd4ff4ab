"""A reader over an endpoint that serves decisions itself: `/v1/systemone` or `/v1/decisions`.

Keys, limits, retries and outages are those of the openai engine, whose connections it uses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from spct.engines.caller import Request
from spct.engines.openai.engine import OpenAIEngine
from spct.engines.openai.openai_errors import failure
from spct.engines.readouts.decision import Answer, Answers, Question, averaged, rotations
from spct.engines.readouts.wires import GarbageAnswers, Wire, read_reply, request_of
from spct.engines.retry import Failure
from spct.engines.transport import Http
from spct.types import Reason, Unscored, Usage

MOST = 400  # questions in one request, as both wires allow


class WireReader:
    """Asks all questions about a state in one request; option orders are further requests."""

    def __init__(self, endpoint: OpenAIEngine, wire: Wire, *, n_rotations: int = 1) -> None:
        self.endpoint, self.wire, self.n_rotations = endpoint, wire, n_rotations

    @property
    def fingerprint(self) -> str:
        """The endpoint, its model, the wire and the rotations."""
        return f"{self.endpoint.fingerprint}/{self.wire}-r{self.n_rotations}"

    async def open(self) -> None:
        """Find the model's name if none was given."""
        await self.endpoint.open()

    async def answer(self, state: str, questions: Sequence[Question]) -> Answers:
        """One request per rotation and 400 questions; what fails is unscored with its reason."""
        await self.open()
        found, usage = list[Answer | Unscored](), Usage()
        for start in range(0, len(questions), MOST):
            some = await self._rotated(state, questions[start : start + MOST])
            found, usage = found + some.answers, usage + some.usage
        return Answers(found, usage)

    async def _rotated(self, state: str, questions: Sequence[Question]) -> Answers:
        n_rounds = self.n_rotations if any(q.kind == "choice" for q in questions) else 1
        rounds: list[list[tuple[tuple[int, ...], Answer | Unscored]]] = [[] for _ in questions]
        usage = Usage()
        for r in range(n_rounds):
            orders = [_order(q, r) for q in questions]
            turned = [_turned(q, order) for q, order in zip(questions, orders, strict=True)]
            answers, used = await self._ask(state, turned)
            usage += used
            for kept, order, answer in zip(rounds, orders, answers, strict=True):
                kept.append((order, answer))
        return Answers([averaged(kept) for kept in rounds], usage)

    async def _ask(self, state: str, questions: Sequence[Question]) -> Answers:
        fields = request_of(self.wire, self.endpoint.model, state, questions)
        body = json.dumps(fields).encode()
        url = self.endpoint.transport.url(self.wire)

        def read(http: Http) -> Answers | Failure:
            if bad := failure(http, url, fields, is_new=False):
                return bad
            try:
                return read_reply(self.wire, http.body, questions)
            except GarbageAnswers as error:
                return Failure("garbage", str(error))

        request = Request("POST", self.wire, body, len(body) // 4)
        got = await self.endpoint.call(request, read)
        if isinstance(got, Failure):
            reason: Reason = "refused" if got.kind == "refused" else "failed"
            return Answers([Unscored(reason, got.message)] * len(questions), Usage(calls=1))
        return got

    async def aclose(self) -> None:
        """Close the connections."""
        await self.endpoint.aclose()


def _order(question: Question, r: int) -> tuple[int, ...]:
    n = len(question.options)
    if question.kind != "choice":
        return tuple(range(n))
    return rotations(n, n)[r % n]


def _turned(question: Question, order: tuple[int, ...]) -> Question:
    """The question with its options in another order."""
    options = tuple(question.options[i] for i in order)
    texts = tuple(question.texts[i] for i in order) if question.texts else ()
    return Question(question.name, question.kind, question.instructions, options, texts)
