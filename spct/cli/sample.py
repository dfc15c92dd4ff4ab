"""`spct sample`: bulk judging into a run folder that can be continued."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.cli import source
from spct.cli.options import takes_settings
from spct.cli.progress import Progress, Style
from spct.cli.signals import Job
from spct.config import Config
from spct.errors import ConfigError
from spct.models.engines import build_engine
from spct.models.judges import build_judge, with_defaults
from spct.runs.database import DB_NAME
from spct.runs.engines import RecordingEngine
from spct.runs.folder import write_run_files
from spct.runs.judging import Tally, check_budget, identity, judge_into, run_folder
from spct.runs.store import Store


@takes_settings
def sample(
    config: Config,
    file: source.File = None,
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    limit: source.Limit = None,
    span: source.Range = None,
    ids: source.Ids = None,
    shuffle: source.Shuffle = False,
    out: Annotated[Path, typer.Option("--output-dir", help="Where run folders go.")] = Path("runs"),
    resume: Annotated[Path | None, typer.Option(help="Continue this run folder.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, keep the old run.")] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Continue although the settings changed.")
    ] = False,
    durable: Annotated[
        bool, typer.Option("--durable", help="Survive a power loss too, at the cost of speed.")
    ] = False,
    progress: Annotated[Style, typer.Option(help="On standard error.")] = "auto",
    max_unscored: source.MaxUnscored = 1.0,
) -> None:
    """Judge a whole file into a run folder; the same command continues it after any stop.

    Every reply is stored before it is parsed. Prints the folder when done.

    Example: spct sample pairs.jsonl -k 8 --output-dir runs
    """
    if resume is not None and fresh:
        raise ConfigError("--resume continues a run and --fresh begins one; give one of them")
    if resume is not None and not (resume / DB_NAME).is_file():
        raise ConfigError(f"--resume {str(resume)!r}: there is no run in this folder")
    if accept_drift and resume is None:
        raise ConfigError("--accept-drift continues a run under other settings: name it, --resume")
    config = with_defaults(config)  # so that the run's settings say what judged
    chosen = source.source_of(
        file, schema, mapping, limit, span, ids, config.judge.seed if shuffle else None
    )
    total = chosen.check()
    selected = None if span or ids else min(total, limit or total)

    def opened(identity: dict[str, Any]) -> Store:
        folder = resume or run_folder(out, Path(chosen.file).stem, identity, fresh=fresh)
        store = Store.open(
            folder, identity, fresh=fresh, accept_drift=accept_drift, durable=durable
        )
        write_run_files(folder, {"identity": identity, "settings": config.model_dump()})
        return store

    job = Job()
    folder = job.run(_sample_all(job, config, chosen, opened, selected, progress))
    print(folder)
    if max_unscored < 1:
        check_budget(_whole(folder), max_unscored)


async def _sample_all(
    job: Job,
    config: Config,
    chosen: source.Source,
    opened: Callable[[dict[str, Any]], Store],
    selected: int | None,
    progress: Style,
) -> Path:
    engine, tally = build_engine(config.engine), Tally()
    try:
        await engine.open()
        made = identity(config, build_judge(config, engine), chosen.identity())
        with closing(opened(made)) as store:
            finished = store.finished_ids()
            left = None if selected is None else selected - len(finished)
            recording = RecordingEngine(engine, store)
            verdicts = judge_into(
                store, build_judge(config, recording), job.gate(chosen.examples()), finished
            )
            with closing(Progress(left, progress)) as bar:
                async with aclosing(verdicts):
                    async for verdict in verdicts:
                        tally.add(verdict)
                        bar.show(tally, engine.retries)
                bar.show(tally, engine.retries, last=True)
            _report(tally, recording, store, len(finished))
            return store.folder
    finally:
        await engine.aclose()


def _whole(folder: Path) -> Tally:
    """All of a run, whichever sessions it took: a second one forgives nothing."""
    tally = Tally()
    with Store.read(folder) as store:
        for verdict in store.verdicts():
            tally.add(verdict)
    return tally


def _report(tally: Tally, recording: RecordingEngine, store: Store, n_before: int) -> None:
    damaged = f"; {store.n_damaged} damaged rows were set aside" if store.n_damaged else ""
    print(
        f"{tally.summary()}\n{recording.n_drawn} replies drawn, {recording.n_replayed} taken from "
        f"the store; {n_before} examples were finished before, {store.counts()['verdicts']} "
        f"verdicts are stored now{damaged}",
        file=sys.stderr,
    )
