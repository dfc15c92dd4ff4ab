"""The routes of OpenRLHF, slime and NeMo Gym."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from spct.serve.routes.shared import ERRORS, Asker, Caller, Wires, rewards_of
from spct.serve.samples import SampleOutcome
from spct.serve.wires import nemo_gym, openrlhf, slime


def add_trainers(app: FastAPI, wires: Wires) -> None:
    """Add the routes."""
    _add_openrlhf(app, wires)
    _add_slime(app, wires)
    _add_nemo_gym(app, wires)


def _add_openrlhf(app: FastAPI, wires: Wires) -> None:
    gateway, config = wires.gateway, wires.config

    @app.post("/get_reward", response_model=openrlhf.Reply, responses=ERRORS, tags=["OpenRLHF"])
    async def get_reward(body: openrlhf.Request, caller: Caller) -> Response:
        """OpenRLHF: rewards of decoded samples; empty in, empty out."""
        wires.check_enabled(body, "openrlhf")
        judged = await gateway.rewards(
            await caller.read(openrlhf.read, body, wires.template, config), caller.name
        )
        numbers = wires.price(rewards_of(judged), "openrlhf")
        return wires.reply(openrlhf.write(judged, numbers), rewards_of(judged))


def _add_slime(app: FastAPI, wires: Wires) -> None:
    gateway, config = wires.gateway, wires.config

    async def judge(body: slime.Request, caller: Asker) -> tuple[SampleOutcome, float]:
        wires.check_enabled(body, "slime")
        (judged,) = await gateway.rewards(
            [await caller.read(slime.read, body, wires.template, config)], caller.name
        )
        return judged, wires.price([judged.reward], "slime")[0]

    @app.post("/remote_rm", response_model=float, responses=ERRORS, tags=["slime"])
    async def remote_rm(body: slime.Request, caller: Caller) -> Response:
        """slime: the reward of one sample, a bare number."""
        judged, number = await judge(body, caller)
        return wires.reply(repr(number).encode(), [judged.reward])

    @app.post("/remote_rm/detail", response_model=slime.Reply, responses=ERRORS, tags=["slime"])
    async def remote_rm_detail(body: slime.Request, caller: Caller) -> Response:
        """slime: the reward of one sample, for --reward-key reward."""
        judged, number = await judge(body, caller)
        return wires.reply(slime.write(judged, number), [judged.reward])


def _add_nemo_gym(app: FastAPI, wires: Wires) -> None:
    gateway, config = wires.gateway, wires.config

    @app.post("/verify", response_model=nemo_gym.VerifyReply, responses=ERRORS, tags=["NeMo Gym"])
    async def verify(body: nemo_gym.VerifyRequest, caller: Caller) -> Response:
        """NeMo Gym: one rollout and its reward; a failed judgement masks the sample."""
        wires.check_enabled(body, "nemo_gym")
        (judged,) = await gateway.rewards(
            [await caller.read(nemo_gym.read_verify, body, config)], caller.name
        )
        (number,) = wires.price([judged.reward], "nemo_gym")
        return wires.reply(nemo_gym.write_verify(body, judged, number), [judged.reward])

    @app.post("/compare", response_model=nemo_gym.CompareReply, responses=ERRORS, tags=["NeMo Gym"])
    async def compare(body: nemo_gym.CompareRequest, caller: Caller) -> Response:
        """NeMo Gym: one reward per response, judged together."""
        wires.check_enabled(body, "nemo_gym")
        asked = await caller.read(nemo_gym.read_compare, body, config)
        outcome = await gateway.judge(asked, caller.name)
        rewards = [outcome.reward(i) for i in range(asked.n)]
        numbers = wires.price(rewards, "nemo_gym")
        return wires.reply(nemo_gym.write_compare(outcome, numbers), rewards)

    @app.post("/seed_session", responses=ERRORS, tags=["NeMo Gym"])
    async def seed_session(body: nemo_gym.SeedRequest, caller: Caller) -> dict[str, Any]:
        """NeMo Gym: the start of a rollout. Nothing is kept; a session's id is given back."""
        known = body.resources_session_id
        return {} if known is None else {"resources_session_id": known}

    @app.post("/close_session", responses=ERRORS, tags=["NeMo Gym"])
    async def close_session(body: nemo_gym.SeedRequest, caller: Caller) -> dict[str, Any]:
        """NeMo Gym: the end of a session, of which there was nothing to keep."""
        return await seed_session(body, caller)

    @app.get("/reverify_mode", response_model=str, responses=ERRORS, tags=["NeMo Gym"])
    async def reverify_mode() -> str:
        """NeMo Gym: whether a stored rollout may be judged again; it may, from its request."""
        return "stateless"

    @app.post(
        "/aggregate_metrics",
        response_model=nemo_gym.AggregateReply,
        responses=ERRORS,
        tags=["NeMo Gym"],
    )
    async def aggregate_metrics(
        body: nemo_gym.AggregateRequest, caller: Caller
    ) -> nemo_gym.AggregateReply:
        """NeMo Gym: statistics of the rewards of a whole run."""
        return nemo_gym.aggregate(body)
