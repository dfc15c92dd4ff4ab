"""`spct doctor`: what an engine can do, and one judgement from it as a sample."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from spct.cli.card import show_verdict
from spct.cli.options import takes_settings
from spct.config import Config
from spct.errors import ConfigError, EndpointError, EngineError, printable
from spct.models.engines import build_engine, engine_kind
from spct.models.judges import adapter_shown, build_judge, with_defaults
from spct.models.readers import try_readers
from spct.protocols import Engine
from spct.runs.codec import dump_verdict
from spct.types import Example, Message, Verdict

SAMPLE = Example(
    "doctor",
    (Message("user", "What is the capital of Australia?"),),
    ("The capital of Australia is Canberra.", "It is Sydney, the largest city of Australia."),
    gold=(1.0, 0.0),
)
_UNKNOWN = "could not tell"


@takes_settings
def doctor(
    config: Config,
    scorer: Annotated[
        Path | None, typer.Option(help="Check this scalar model's folder instead of an engine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object on stdout.")] = False,
) -> None:
    """Check an engine or endpoint: reachable, key, model, n, log probabilities, seeds, length.

    Ends with one sample judgement. Exits with 4 if an endpoint cannot be used.
    """
    if scorer is not None:
        _check_scorer(scorer, as_json)
        return
    config = with_defaults(config)
    kind = engine_kind(config.engine)
    engine = build_engine(config.engine)
    facts, verdict = asyncio.run(_examine(config, engine))
    if as_json:
        shown = dump_verdict(verdict) if verdict else None
        print(json.dumps({"engine": kind, **facts, "judgement": shown}, indent=2))
    else:
        for name, value in {"engine": kind, **facts}.items():
            if name != "problem" or value is not None:
                print(f"{name.replace('_', ' '):20} {_worded(value)}")
        if verdict:
            show_verdict(Console(), SAMPLE, verdict, full=True)
    problem = facts.get("problem")
    if problem and verdict is None:
        raise EndpointError(str(problem))
    if verdict is not None and verdict.k_counted == 0:
        raise EngineError(
            "the sample judgements were all unscored, for the reasons shown: try --force-format "
            "always for a model that was not trained to judge, or a larger --max-tokens"
        )


async def _examine(config: Config, engine: Engine) -> tuple[dict[str, Any], Verdict | None]:
    try:
        facts: dict[str, Any] = {}
        if (report := await engine.probe(_progress)) is not None:
            facts |= {k: v for k, v in asdict(report).items() if k not in ("engine", "sample")}
            if not report.is_usable:
                return facts, None
        _progress("asking for decisions")
        tried = await try_readers(config.engine, engine)
        facts |= {f"decisions by {how}": said for how, said in tried.items()}
        _progress("judging a sample")
        facts |= {"adapter": adapter_shown(config.engine), "fingerprint": engine.fingerprint}
        small = config.model_copy(update={"judge": config.judge.model_copy(update={"k": 2})})
        verdict = await build_judge(small, engine).judge(SAMPLE)
        return facts | ({"endpoints": engine.endpoints} if engine.endpoints else {}), verdict
    finally:
        await engine.aclose()


def _progress(step: str) -> None:
    print(f"{step} ...", file=sys.stderr, flush=True)


def _worded(value: object) -> str:
    match value:
        case None:
            return _UNKNOWN
        case True | False:
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}"
        case list() | tuple():
            return ", ".join(printable(str(item)) for item in value[:10]) or "none"
        case _:
            return printable(str(value))


def _check_scorer(folder: Path, as_json: bool) -> None:
    from spct.models.check import check_scorer

    if not folder.exists():
        raise ConfigError(
            f"--scorer {str(folder)!r}: nothing is there; expected a scalar model's folder, or a "
            ".toml file with [scorer]"
        )
    report = check_scorer(folder)
    print(json.dumps(asdict(report), indent=2) if as_json else str(report))
    report.raise_if_bad()
