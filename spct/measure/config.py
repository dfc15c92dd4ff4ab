"""The settings of `spct bench` and `spct compare`; every flag is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from spct.data.criteria import Negative
from spct.settings import Settings

Way = Literal["given", "written", "swapped", "none"]
NEGATIVE = Field(None, description="What criteria with weights or points below zero mean.")


class Sampled(Settings):
    """Numbers of samples to report."""

    samples: tuple[int, ...] = Field((1, 2, 4, 8), description="Rows to report, such as 1,2,4,8.")

    @field_validator("samples")
    @classmethod
    def _rising(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        if not ks or min(ks) < 1:
            raise ValueError("expected numbers from 1 up such as 1,2,4,8")
        return tuple(sorted(set(ks)))


class BenchConfig(Sampled):
    """What is judged, how often, and how figures are made of it."""

    benchmarks: tuple[str, ...] = Field((), description="A benchmark's name, or a file of rows.")
    data: Path | None = Field(
        None, description="Folder with the published files; else SPCT_DATA, the hub."
    )
    drop_bad: bool = Field(False, description="Leave bad rows out of a file of rows.")
    negative: Negative | None = NEGATIVE
    criteria: tuple[Way, ...] = Field(
        (), description="Rows of a judge by criteria: given,written,swapped,none."
    )
    greedy: bool = Field(True, description="Also judge once at temperature 0.")
    limit: tuple[str, ...] = Field(
        (), description="Units of each benchmark, N or NAME=N, drawn by the first seed."
    )
    probes: int = Field(0, ge=0, description="Attack and bias probes: items of each family.")
    seed: tuple[int, ...] = Field((0,), description="Seed; several, 0,1,2, give one row each.")
    resamples: int = Field(10_000, ge=100, description="Of the bootstrap.")
    fail_under: tuple[str, ...] = Field(
        (), description="BENCHMARK=SCORE: exit with 6 if a model's last row is below it."
    )
    max_unscored: float = Field(
        1.0, ge=0, le=1, description="Exit with 3 above this share of unscored judgements."
    )

    @field_validator("seed")
    @classmethod
    def _some_seed(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError("expected seeds that differ, at least one")
        return seeds


class CompareConfig(Sampled):
    """On how many examples, and at which numbers of samples."""

    samples: tuple[int, ...] = Field(
        (1, 2, 4, 8, 16, 32), description="Numbers of samples, all dividing the largest."
    )
    limit: int | None = Field(None, ge=1, description="Examples at most.")
    negative: Negative | None = NEGATIVE
    timed: int = Field(16, ge=1, description="Examples that cost is measured on.")
