"""The gateway as a deployment of Ray Serve: replicas behind Serve's own proxy and autoscaling.

    from ray import serve
    from spct.integrations.ray_serve import deployment

    serve.run(deployment("runs/bt", num_replicas=4, ray_actor_options={"num_gpus": 1}))

Each replica is a whole gateway with its routes, keys (`SPCT_GATEWAY_KEYS` on the nodes) and limits;
groups that are collected over several requests need one replica. Serve's proxy takes the place of
our own HTTP server, and with it what that refuses before a request is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.errors import ExtraMissing
from spct.serve.config import ServeConfig

if TYPE_CHECKING:
    from fastapi import FastAPI


class GatewayApp:
    """An ASGI app that loads its model where it first runs: only names travel to a replica."""

    def __init__(self, model: str, k: int | None, config: Mapping[str, Any]) -> None:
        self._model, self._k, self._config = model, k, dict(config)
        self._app: FastAPI | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or begin and end the app's life."""
        if self._app is None:
            from spct.models.load import load_reward_model
            from spct.serve.app import create_app
            from spct.serve.server import check

            config = ServeConfig(**self._config)
            check(config, os.environ)
            loaded = load_reward_model(self._model, k=self._k)
            self._app = create_app(loaded, config, name=Path(self._model).name)
        await self._app(scope, receive, send)


def deployment(
    model: str, *, k: int | None = None, config: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """An application for `serve.run`: `config` are settings of [serve], `options` Serve's own.

    Raises `ExtraMissing` where Ray is not installed.
    """
    try:
        from ray import serve  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ExtraMissing("ray", "scale") from error

    @serve.deployment(**{"name": "spct", **options})  # type: ignore[untyped-decorator, unused-ignore]
    @serve.ingress(GatewayApp(model, k, config or {}))  # type: ignore[untyped-decorator, unused-ignore]
    class Replica:
        """What Serve starts; the app answers."""

    made: Any = Replica  # which a decorator has made a deployment of
    return made.bind()
