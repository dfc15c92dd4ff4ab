"""The gateway's settings: where it listens, what it refuses, how it treats groups and failures."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from spct.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ServeConfig(Settings):
    """The section [serve]: settings of `spct serve`."""

    host: str = Field("127.0.0.1", description="Address to listen on; others need a key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    served_name: tuple[str, ...] = Field(
        (),
        description="The model names that callers may give, the first in replies; default: MODEL.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="More Host names to answer to, besides loopback names and `host`."
    )

    keys_file: Path | None = Field(
        None, description="File with one `name key [scopes]` a line; read again when it changes."
    )
    unsafe_no_auth: bool = Field(
        False, description="Serve without a key beyond loopback. Anyone who can connect can judge."
    )

    max_body_bytes: int = Field(2_000_000, ge=1, description="A larger body is a 413.")
    max_header_bytes: int = Field(16_384, ge=256, description="Larger headers are a 431.")
    max_json_depth: int = Field(32, ge=4, description="Deeper JSON is a 400.")
    max_response_bytes: int = Field(262_144, ge=1, description="A longer response is a 422.")
    max_candidates: int = Field(64, ge=1, description="More responses to one query are a 422.")
    max_examples: int = Field(64, ge=1, description="More examples in one request are a 422.")
    max_k: int = Field(128, ge=1, description="A larger k asked for by a caller is a 422.")
    head_timeout_s: float = Field(
        10.0, gt=0, description="A request line with headers that takes longer is a 408."
    )
    body_timeout_s: float = Field(20.0, gt=0, description="A slower body is a 408.")

    rate: float | None = Field(None, gt=0, description="Requests a second and key; above it 429.")
    max_per_key: int = Field(8192, ge=1, description="Requests in flight of one key; above it 429.")
    max_requests: int = Field(8192, ge=1, description="Requests in flight; above it 503.")
    max_held_bytes: int = Field(
        512_000_000, ge=1, description="Bytes of bodies in flight; above it 503."
    )
    max_queue: int = Field(4096, ge=0, description="Examples waiting for the judge; above it 503.")
    max_concurrency: int = Field(64, ge=1, description="Examples judged at the same time.")
    deadline_s: float = Field(
        90.0, gt=0, description="A judgement that takes longer, its wait included, has failed."
    )

    group_size: Annotated[int, Field(ge=1)] | Literal["learn"] = Field(
        1,
        description="Samples of one prompt that are judged together on the per-sample wires; "
        "1 judges each alone, 'learn' finds the size out.",
    )
    group_wait_s: float = Field(
        5.0, ge=0, description="A group that is not complete after this is judged as it is."
    )
    keep_s: float = Field(
        60.0, ge=0, description="How long answers and groups are kept for retries and late members."
    )

    template: str | None = Field(
        None, description="The chat template family of templated text that trainers send."
    )
    answer_temperature: float = Field(
        1.0, gt=0, description="Divides a scalar model's log odds on /v1/systemone, /v1/decisions."
    )
    labels_as_reference: bool = Field(
        False, description="Show a trainer's label to the judge as the reference answer."
    )
    on_unscored: Annotated[float, Field(allow_inf_nan=False)] | Literal["error"] | None = Field(
        None,
        description="What a wire that must have a number gets for a failed judgement: a number, "
        "or 'error' for a 424. Without it those wires are off.",
    )

    judgement_log: Path | None = Field(
        None, description="A run folder that keeps the last verdicts for `spct view`."
    )
    judgement_log_max: int = Field(
        10_000, ge=1, description="Verdicts that it keeps; a new one takes the oldest's place."
    )
    judgement_log_texts: bool = Field(
        False, description="Keep queries, responses and critiques in it too, not only numbers."
    )

    engine_check_s: float = Field(
        10.0, gt=0, description="How often an engine that does not answer is tried again."
    )
    shutdown_timeout_s: float = Field(
        30.0, ge=0, description="How long SIGTERM waits for requests in flight."
    )
    drain_grace_s: float = Field(
        0.0, ge=0, description="How long /readyz says 503 before the port is closed."
    )

    def names(self, model: str) -> tuple[str, ...]:
        """Every name that a caller may give for the model."""
        return self.served_name or (model,)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; names other than localhost do not count."""
    try:
        return host in LOOPBACK or ip_address(host).is_loopback
    except ValueError:
        return False
