"""/v1/systemone and /v1/decisions: typed questions, answered by any reward model."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.responses import Response

from spct.engines.readouts.decision import Answer, Answers
from spct.serve.routes.shared import ERRORS, Caller, Wires
from spct.serve.samples import check_model
from spct.serve.wires import decisions, systemone


def add_decisions(app: FastAPI, wires: Wires) -> None:
    """Add the two routes."""
    gateway, config, name = wires.gateway, wires.config, wires.gateway.answering_name

    @app.post(
        "/v1/systemone",
        response_model=systemone.SystemOneReply,
        responses=ERRORS,
        tags=["decisions"],
    )
    async def system_one(body: systemone.SystemOneRequest, caller: Caller) -> Response:
        """Questions by name; one that could not be answered is missing from the reply."""
        check_model(body.model, (*config.names(wires.name), name))
        wires.count_unknown(body, "systemone")
        state, questions = await caller.read(systemone.read, body)
        found = await gateway.answer(state, questions, caller.name)
        return wires.reply(systemone.write(questions, found, name), _certainties(found))

    @app.post(
        "/v1/decisions",
        response_model=decisions.DecisionsReply,
        responses=ERRORS,
        tags=["decisions"],
    )
    async def decide(body: decisions.DecisionsRequest, caller: Caller) -> Response:
        """Questions in a list; one that could not be answered is a refusal."""
        check_model(body.model, (*config.names(wires.name), name))
        wires.count_unknown(body, "decisions")
        state, questions = await caller.read(decisions.read, body)
        found = await gateway.answer(state, questions, caller.name)
        return wires.reply(decisions.write(body, found, name), _certainties(found))


def _certainties(found: Answers) -> Sequence[float | None]:
    """One number per answer and None per failure, which is what a reply counts."""
    return [one.confidence if isinstance(one, Answer) else None for one in found.answers]
