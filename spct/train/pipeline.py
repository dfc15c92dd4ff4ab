"""The stages in a row: cold start, RFT data, RFT, RL, meta data, meta RM, evaluation.

Each stage reads files and writes one folder under `out`, ending with `done.json`; a stage that is
done is skipped, one that was killed continues, and `only` runs a single one again. The models are
base -> cold_start -> rft -> rl; a stage that is left out (the ablations) passes the model before it
on. Without a `sampler` the trajectories come from the model before RFT.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from spct.config import EngineConfig
from spct.data.rows import read_examples
from spct.errors import ConfigError
from spct.models.engines import build_engine
from spct.protocols import Engine
from spct.runs.folder import RunLock, atomic_text, write_run_files
from spct.runs.identity import differences
from spct.runs.store import Store
from spct.settings import Settings
from spct.train import meta_data, meta_rm, rft, rl, sft
from spct.train.adapters import merged_folder
from spct.train.config import MetaConfig, RftDataConfig, RlConfig, SftConfig
from spct.train.dev import DevSet, dev_set
from spct.train.evaluate import EvaluateConfig
from spct.train.evaluate import evaluate as measure
from spct.train.meta_data import Drawn
from spct.train.resume import FREE
from spct.train.sampling import Draw, Formats, draw_into, formats_from
from spct.types import Example, SamplingParams

Stage = Literal["cold_start", "rft_data", "rft", "rl", "meta_data", "meta", "evaluate"]
STAGES: tuple[Stage, ...] = (
    "cold_start", "rft_data", "rft", "rl", "meta_data", "meta", "evaluate",
)  # fmt: skip
MODELS = ("base", "cold_start", "rft", "rl")


class Files(Settings):
    """Where the pipeline reads and writes."""

    out: str = Field(description="Folder of the stages' outputs.")
    base: str = Field(description="Model folder or name to start from.")
    cold_start: str | None = Field(None, description="Chat rows for the cold start.")
    general: str | None = Field(None, description="General chat rows to mix into RFT.")
    rft: str = Field(description="Examples to sample trajectories of.")
    rl: str = Field(description="Examples whose prompts RL takes.")
    dev: str | None = Field(
        None, description="Examples that RL is watched on, and the meta RM is calibrated on."
    )
    test: str = Field(description="Examples that the report is about.")
    format: str = Field("pointwise", description="Shipped format or template file, for n > 1.")
    single_format: str = Field("single", description="The same for single responses (0/1).")


class MetaDataConfig(Settings):
    """Trajectories of the trained model itself, beside those of the RFT stage."""

    n_samples: int = Field(3, ge=1, description="Of the trained model, an example.")
    temperature: float = Field(1.0, ge=0, description="Higher gives more wrong ones to learn from.")
    seed: int = Field(0, description="Seed of orders and samples.")


class PipelineConfig(Settings):
    """`spct train pipeline`: the files, the stages to run, and each stage's settings."""

    files: Files
    stages: tuple[Stage, ...] = Field(STAGES, description="Leave one out to ablate it.")
    sampler: EngineConfig | None = Field(None, description="Writes the RFT trajectories.")
    batch: int = Field(256, gt=0, description="Sequences generated at once by the trained models.")
    device: str = Field("auto", description="Where the trained models generate.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Precision in which they generate; auto is that of the weights."
    )
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = Field(
        None, description="Attention kernel with which they generate; None is the model's own."
    )
    cold_start: SftConfig = SftConfig()
    rft_data: RftDataConfig = RftDataConfig()
    rft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    meta_data: MetaDataConfig = MetaDataConfig()
    meta: MetaConfig = MetaConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A resolved pipeline: its config, and where each stage's folder is."""

    config: PipelineConfig
    examples: Callable[[str], list[Example]]  # reads an example file

    @property
    def out(self) -> Path:
        """Folder of all stages."""
        return Path(self.config.files.out)

    @property
    def formats(self) -> Formats:
        """The two formats."""
        return formats_from(self.config.files.format, self.config.files.single_format)

    def folder(self, stage: str) -> Path:
        """Folder of one stage."""
        return self.out / stage

    def model(self, name: str) -> str:
        """The model of a stage, or of the nearest stage before it that is not left out."""
        for candidate in reversed(MODELS[: MODELS.index(name) + 1]):
            if candidate in self.config.stages:
                return str(self.folder(candidate))
        return self.config.files.base

    def engine(self, model: str) -> Engine:
        """An engine on a model of this pipeline."""
        from spct.engines.hf import HFEngine

        config = self.config
        return HFEngine(
            model,
            batch_size=config.batch,
            max_batch_tokens=None,
            device=config.device,
            dtype=config.dtype,
            attention=config.attention,
        )


def cold_start(p: Pipeline) -> Mapping[str, Any]:
    """Tune the base on given judgements, so that it writes the format."""
    path = p.config.files.cold_start
    if path is None:
        raise ConfigError("the stage cold_start needs files.cold_start; give rows, or leave it out")
    rows = sft.read_chat_rows(Path(path))
    return asdict(sft.train(p.model("base"), rows, p.folder("cold_start"), p.config.cold_start))


def rft_data(p: Pipeline) -> Mapping[str, Any]:
    """Sample, reject, write rows."""
    sampler = p.config.sampler
    engine = p.engine(p.model("cold_start")) if sampler is None else build_engine(sampler)
    general = p.config.files.general
    funnel = asyncio.run(
        rft.build(
            p.examples(p.config.files.rft),
            engine,
            p.formats,
            p.config.rft_data,
            p.folder("rft_data"),
            sft.read_rows(Path(general)) if general else (),
        )
    )
    return funnel.record()


def rft_stage(p: Pipeline) -> Mapping[str, Any]:
    """Tune on the accepted trajectories."""
    rows = sft.read_rows(p.folder("rft_data") / "rows.jsonl")
    return asdict(sft.train(p.model("cold_start"), rows, p.folder("rft"), p.config.rft))


def rl_stage(p: Pipeline) -> Mapping[str, Any]:
    """GRPO from the RFT model, on prompts that are not too easy for it."""
    config, start = p.config.rl, p.model("rft")
    examples = p.examples(p.config.files.rl)
    dev: DevSet | None = None
    if config.dev_steps and p.config.files.dev:
        dev = dev_set(p.examples(p.config.files.dev), examples)
    asked, n_too_easy = len(examples), 0
    if config.drop_easy:
        examples, n_too_easy = asyncio.run(
            rl.hard_examples(examples, p.engine(start), p.formats, config, p.folder("rl"))
        )
    rows, funnel = rl.rl_rows(examples, p.formats, seed=config.seed, passes=config.passes)
    funnel.check(n_too_easy)
    report = rl.train(start, rows, p.folder("rl"), config, p.formats, dev)
    return {
        **asdict(report),
        "n_examples": asked,
        "n_too_easy": n_too_easy,
        "skipped": dict(funnel.skipped),
    }


def meta_data_stage(p: Pipeline) -> Mapping[str, Any]:
    """Label trajectories of the RFT stage and of the trained model."""
    config, files, out = p.config.meta_data, p.config.files, p.folder("meta_data")
    engine, examples = p.engine(p.model("rl")), p.examples(files.rl)
    params = SamplingParams(
        temperature=config.temperature, max_tokens=p.config.rl.max_completion_tokens
    )
    what = Draw(config.n_samples, params=params, seed=config.seed)
    with Store.open(out, what.identity(engine, p.formats)) as store:
        asyncio.run(draw_into(store, examples, engine, p.formats, what, p.config.batch))
    runs = [Drawn("self", out, examples)]
    if "rft_data" in p.config.stages:
        runs.insert(0, Drawn("rft", p.folder("rft_data"), p.examples(files.rft)))
    return asdict(meta_data.build(runs, out / "rows.jsonl"))


def meta_stage(p: Pipeline) -> Mapping[str, Any]:
    """Train the meta RM from the trained model's own weights."""
    rows = sft.read_rows(p.folder("meta_data") / "rows.jsonl")
    cpu = p.config.meta.use_cpu
    start = merged_folder(p.model("rl"), p.folder("meta_base"), use_cpu=cpu)
    return asdict(meta_rm.train(start, rows, p.folder("meta"), p.config.meta))


def evaluate_stage(p: Pipeline) -> Mapping[str, Any]:
    """Measure every model of the pipeline on the test examples."""
    config, files = p.config.evaluate, p.config.files
    test = dev_set(p.examples(files.test), p.examples(files.rft) + p.examples(files.rl))
    trained = [name for name in MODELS if name == "base" or name in p.config.stages]
    models = {name: p.model(name) for name in trained if name not in config.skip}
    report = asyncio.run(
        measure(
            {name: p.engine(model) for name, model in models.items()},
            test.examples,
            p.formats,
            config,
            p.folder("evaluate"),
            str(p.folder("meta")) if "meta" in p.config.stages else None,
            p.examples(files.dev) if files.dev else (),
        )
    )
    return report.record()


RUN: Mapping[Stage, Callable[[Pipeline], Mapping[str, Any]]] = {
    "cold_start": cold_start,
    "rft_data": rft_data,
    "rft": rft_stage,
    "rl": rl_stage,
    "meta_data": meta_data_stage,
    "meta": meta_stage,
    "evaluate": evaluate_stage,
}


# The files that each stage reads, by their names in the settings.
READS: Mapping[Stage, tuple[str, ...]] = {
    "cold_start": ("cold_start",),
    "rft_data": ("rft", "general", "format", "single_format"),
    "rl": ("rl", "format", "single_format"),
    "meta_data": ("rl", "format", "single_format"),
    "evaluate": ("test", "dev", "format", "single_format"),
}


def made_of(config: PipelineConfig, stage: Stage) -> dict[str, Any]:
    """What a stage's result depends on by itself: its settings and a digest of what it reads."""
    paths = {name: getattr(config.files, name) for name in READS.get(stage, ())}
    return {
        "settings": getattr(config, stage).model_dump(mode="json"),
        "files": {
            name: hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
            for name, path in paths.items()
            if path is not None and Path(path).is_file()
        },
    }


def _report_of(done: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a stage that is done; refuse one that was made of something else."""
    report: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    before = report.pop("made_of", None)
    if before is not None and (
        differing := differences(before, made, FREE - {"max_steps"})  # done means all its steps
    ):
        raise ConfigError(
            f"the stage in {str(done.parent)!r} is done, and these differ now: "
            f"{'; '.join(map(str, differing))}; remove the folder to do it again (and those after "
            "it), take another files.out, or for more steps go on with it alone (--only)"
        )
    return report


def run(
    config: PipelineConfig,
    only: Sequence[Stage] = (),
    read: Callable[[str], Iterable[Example]] = read_examples,
) -> dict[str, Any]:
    """Run the stages that are not done (or only those named); return their reports."""
    p = Pipeline(config, lambda path: list(read(path)))
    chosen = [stage for stage in STAGES if stage in (only or config.stages)]
    made = {stage: made_of(config, stage) for stage in chosen}
    done = {stage: p.folder(stage) / "done.json" for stage in chosen}
    reports: dict[str, Any] = {
        stage: _report_of(done[stage], made[stage])
        for stage in chosen
        if stage not in only and done[stage].is_file()
    }
    p.out.mkdir(parents=True, exist_ok=True)
    with RunLock(p.out):  # the same command started twice at once would train twice
        write_run_files(p.out, config.model_dump(mode="json"))
        for stage in chosen:
            if stage in reports:
                continue
            start = time.monotonic()
            report = {**RUN[stage](p), "seconds": round(time.monotonic() - start, 1)}
            with atomic_text(done[stage]) as file:
                content = {**report, "made_of": made[stage]}
                file.write(json.dumps(content, indent=2, default=str) + "\n")
            reports[stage] = report
    return {stage: reports[stage] for stage in chosen}
