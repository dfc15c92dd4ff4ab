"""`spct sample`: bulk judging into a run folder that can be continued."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import typer

from spct.cli import source
from spct.cli.bad_rows import DropBad, RetryUnscored
from spct.cli.options import takes_settings
from spct.cli.process import Job
from spct.cli.progress import Style, opened, watched
from spct.cli.reward_model import Named, load_named
from spct.config import Config, RayConfig
from spct.errors import ConfigError
from spct.models.judges import build_judge, with_defaults
from spct.models.prices import price_of, priced
from spct.protocols import RewardModel
from spct.runs.database import DB_NAME
from spct.runs.engines import RecordingEngine, recorded
from spct.runs.forecast import forecast
from spct.runs.judging import Judge, Tally, judge_into
from spct.runs.packed import Packed
from spct.runs.run import Before, look_back, open_run
from spct.runs.saving import Saving
from spct.runs.shards import Part, Shard
from spct.runs.spending import judge_within, spending_of
from spct.runs.store import Store
from spct.settings import Origins
from spct.types import Example, Verdict
from spct.votes.budget import Spending, read_budget
from spct.votes.price import Price

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The run folder: it continues where there is a run."),
]
Root = Annotated[
    Path, typer.Option("--output-dir", help="Where run folders go that --out does not name.")
]
Amount = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="<amount>",
        help="For the whole file, such as 2M-tokens or 500-calls: a round of orders for each "
        "example, the rest where the winner is least sure; -k is the most for one.",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew, keep the old run.")]
AcceptDrift = Annotated[
    bool, typer.Option("--accept-drift", help="Continue although the settings changed.")
]
Durable = Annotated[
    bool, typer.Option("--durable", help="Survive a power loss too, at the cost of speed.")
]


Dry = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would ask for and cost; ask nothing.")
]


class Opened(Protocol):
    """Opens the run of an identity."""

    def __call__(self, identity: dict[str, Any]) -> AbstractContextManager[Store]:
        """Hold its store."""
        ...


@takes_settings
def sample(
    config: Config,
    ray: RayConfig,
    origins: Origins,
    file: source.File = None,
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    limit: source.Limit = None,
    span: source.Range = None,
    ids: source.Ids = None,
    shuffle: source.Shuffle = False,
    shard: source.ShardOf = None,
    reward_model: Named = None,
    drop_bad: DropBad = False,
    out: Out = None,
    root: Root = Path("runs"),
    budget: Amount = None,
    fresh: Fresh = False,
    retry_unscored: RetryUnscored = False,
    accept_drift: AcceptDrift = False,
    durable: Durable = False,
    dry_run: Dry = False,
    progress: Annotated[Style, typer.Option(help="On standard error.")] = "auto",
    max_unscored: source.MaxUnscored = 1.0,
) -> None:
    """Judge a whole file into a run folder; the same command continues it after any stop.

    Every reply is stored before it is parsed. Prints the folder when done.

    Example: spct sample pairs.jsonl -k 8 --output-dir runs
    """
    if accept_drift and (out is None or not (out / DB_NAME).is_file()):
        raise ConfigError("--accept-drift continues a run under other settings: name it with --out")
    _check_budget(budget, retry_unscored, shard or ray.address)
    config = priced(with_defaults(config))  # so that the run's settings say what judged
    price = price_of(config.engine)
    within = None if budget is None else read_budget(budget, price)
    seed, part = config.judge.seed if shuffle else None, Part(Shard.parse(shard) if shard else None)
    chosen = source.source_of(file, schema, mapping, limit, span, ids, seed, drop_bad)
    chosen = replace(chosen, negative=config.judge.negative)
    told = {"reward_model": {"name": reward_model}} if reward_model else config.model_dump()
    how = {"at": out, "fresh": fresh, "accept_drift": accept_drift, "durable": durable}
    job = Job()
    with chosen.reading(told=config.engine.kind != "scripted", whole=within is not None) as reading:
        data = {"data": reading.data, **part.identity(reading.examples, reading.n)}
        data |= {} if within is None else {"budget": str(within)}
        store_of = _opener(root, part.named(Path(chosen.files[0]).stem), data, told, how)
        model = load_named(reward_model, config, origins) if reward_model else build_judge(config)
        if reward_model and ray.address:
            raise ConfigError("--ray builds the judge of the settings: leave out --reward-model")
        if dry_run:
            print(job.run(forecast(model, filter(part.holds, reading.examples), price)))
            return
        spending = None if within is None else spending_of(model, within)
        whole = price is not None or max_unscored < 1
        asked = Asked(
            config, reading, part, store_of, retry_unscored, progress, spending, ray, whole
        )
        done = job.run(_sample_all(job, model, asked))
    _end(done, price, max_unscored)


def _opener(
    root: Path, name: str, data: dict[str, Any], told: dict[str, Any], how: dict[str, Any]
) -> Opened:
    def store_of(identity: dict[str, Any]) -> AbstractContextManager[Store]:
        return open_run(root, name, identity | data, told, **how)

    return store_of


def _end(done: Done, price: Price | None, max_unscored: float) -> None:
    """The bill, and the folder on standard output."""
    if price is not None:
        print(price.bill(done.whole.usage), file=sys.stderr)
    print(done.folder)
    done.whole.check(max_unscored)


def _check_budget(budget: str | None, retry_unscored: bool, shard: str | None) -> None:
    if budget is not None and retry_unscored:
        raise ConfigError(
            "--retry-unscored asks again for replies that the --budget has paid for; leave one out"
        )
    if budget is not None and shard is not None:
        raise ConfigError(
            "--budget weighs all examples against each other: leave out --shard and --ray"
        )


class Asked(NamedTuple):
    """What to judge and where to store it."""

    config: Config
    reading: source.Reading
    part: Part
    store_of: Opened
    retry_unscored: bool
    progress: Style
    spending: Spending | None
    ray: RayConfig
    whole: bool  # whether its end needs all numbers of the run, or only that something was scored

    async def judge_at(
        self, recording: RewardModel, model: RewardModel, folder: Path
    ) -> Judge[Verdict | Packed]:
        """What judges: the model here, or actors on a Ray cluster."""
        if self.ray.address is None:
            return recording
        from spct.integrations.ray_actors import RayJudge

        made = RayJudge(self.config, model, folder, self.ray)
        await made.open()
        return made


class Done(NamedTuple):
    """Where a run is, and what it came to, whichever sessions it took (see `Asked.whole`)."""

    folder: Path
    whole: Tally


async def _sample_all(job: Job, model: RewardModel, asked: Asked) -> Done:
    try:
        await opened(model, asked.config.engine, asked.progress)
        with asked.store_of(dict(model.identity())) as store:
            before = look_back(store, retry_unscored=asked.retry_unscored)
            recording_model, recording = recorded(model, store, before.again)
            reading, part, finished, tally = asked.reading, asked.part, before.finished, Tally()
            left = reading.n and sum(
                part.holds(e) and e.id not in finished for e in reading.examples
            )

            saving = Saving(model)

            def count(example: Example, verdict: Verdict | Packed) -> None:
                saving.add(verdict)

            def retries() -> int:
                return model.engine.retries if model.engine else 0

            def endpoints() -> Sequence[str]:
                return model.engine.endpoints if model.engine else ()

            spending = asked.spending
            async with watched(tally, left, asked.progress, retries, endpoints):
                if spending is not None:
                    put = store.put_verdict
                    await judge_within(
                        spending,
                        recording_model,
                        list(reading.examples),
                        put=put,
                        gate=job.gate,
                        tally=tally,
                    )
                else:
                    await judge_into(
                        await asked.judge_at(recording_model, model, store.folder),
                        job.gate(reading.examples),
                        put=store.put_verdict,
                        finished=finished,
                        wanted=part.wants,
                        on_verdict=count,
                        tally=tally,
                    )
            if left is None and reading.n is not None:
                part.finish(store.folder)
            if spending is not None:
                print(spending.summary(), file=sys.stderr)
            _report(tally, recording, store, before, asked)
            if line := saving.line():
                print(line, file=sys.stderr)
            if spending is None:
                before.add_to(tally, store, whole=asked.whole)
            return Done(store.folder, tally)
    finally:
        await model.aclose()


def _report(
    tally: Tally,
    recording: RecordingEngine | None,
    store: Store,
    before: Before,
    asked: Asked,
) -> None:
    damaged = f"; {store.n_damaged} damaged rows were set aside" if store.n_damaged else ""
    drawn, replayed = (recording.n_drawn, recording.n_replayed) if recording else (0, 0)
    if asked.spending is not None:  # its steps read again what they drew themselves
        replayed = tally.judgements - drawn
    replies = f"{drawn} replies drawn, {replayed} taken from the store"
    if asked.ray.address is not None:
        replies = f"judged by {asked.ray.actors} actors, which keep their replies"
    print(
        f"{tally.summary()}\n{replies}; "
        f"{len(before.finished)} examples were finished before, {store.counts()['verdicts']} "
        f"verdicts are stored now{damaged}",
        file=sys.stderr,
    )
