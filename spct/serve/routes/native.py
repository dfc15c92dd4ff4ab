"""/v1/judge and /v1/rewards: one request body, and as much of the verdicts as is asked for."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.responses import Response

from spct.serve.errors import invalid
from spct.serve.routes.shared import ERRORS, Caller, Wires, rewards_of
from spct.serve.samples import SampleOutcome, check_model
from spct.serve.wires.native import (
    JudgeReply,
    JudgeRequest,
    RewardsReply,
    read_examples,
    read_members,
    write_judge,
    write_members,
    write_rewards,
)


def add_native(app: FastAPI, wires: Wires) -> None:
    """Add the two routes."""
    gateway, config, name = wires.gateway, wires.config, wires.name

    @app.post("/v1/judge", response_model=JudgeReply, responses=ERRORS, tags=["native"])
    async def judge(body: JudgeRequest, caller: Caller) -> Response:
        """Judge one or many examples; principles, critiques and votes on request."""
        check_model(body.model, config.names(name))
        if body.group is not None:
            raise invalid("members of a group get their rewards from /v1/rewards", "group")
        asked = await caller.read(read_examples, body, config)
        outcomes = await gateway.judge_all(asked, caller.name, body.k)
        reply = write_judge(body, outcomes, asked, name, gateway.fingerprint)
        return wires.reply(reply, [outcome.reward(0) for outcome in outcomes])

    @app.post("/v1/rewards", response_model=RewardsReply, responses=ERRORS, tags=["native"])
    async def rewards(body: JudgeRequest, caller: Caller) -> Response:
        """The rewards alone, of one or many examples, or of some members of a group."""
        check_model(body.model, config.names(name))
        if body.include:
            raise invalid("rewards come alone here; ask /v1/judge for more", "include")
        if body.group is not None:
            members = await gateway.rewards(await caller.read(read_members, body), caller.name)
            reply = write_members(members, name, gateway.fingerprint)
            return wires.reply(reply, rewards_of(members))
        asked = await caller.read(read_examples, body, config)
        outcomes = await gateway.judge_all(asked, caller.name, body.k)
        judged = [
            [SampleOutcome(outcome, i) for i in range(one.n)]
            for one, outcome in zip(asked, outcomes, strict=True)
        ]
        several = body.examples is not None
        reply = write_rewards(judged, name, gateway.fingerprint, several=several)
        return wires.reply(reply, [reward for one in judged for reward in rewards_of(one)])
