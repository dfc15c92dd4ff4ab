"""`spct batch`: judge through a vendor's batch API, at half the price and within a day."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.cli import source
from spct.cli.bad_rows import DropBad
from spct.cli.options import takes_settings
from spct.cli.process import Job
from spct.config import Config
from spct.engines.openai import OpenAIEngine
from spct.errors import StoreError
from spct.models import batch as batches
from spct.models.engines import endpoint_engine
from spct.models.judges import build_judge, with_defaults
from spct.models.prices import price_of, priced
from spct.protocols import RewardModel
from spct.runs.engines import recorded
from spct.runs.folder import CONFIG_NAME, read_config
from spct.runs.identity import digest_of_all
from spct.runs.judging import Tally, judge_into
from spct.runs.run import look_back, open_run
from spct.runs.store import Store
from spct.settings import validated
from spct.types import Example
from spct.votes.price import BATCH_SHARE

app = typer.Typer(
    add_completion=False, help="Judge through a vendor's batch API: write requests, read replies."
)
Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder: made, or continued.")]
Run = Annotated[Path, typer.Argument(help="The run folder.", exists=False)]
Files = Annotated[list[Path], typer.Argument(help="Output files of the batch, in any order.")]


@takes_settings
def write(
    config: Config,
    out: Out,
    file: source.File = None,
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    limit: source.Limit = None,
    drop_bad: DropBad = False,
) -> None:
    """Write the requests that a run lacks as files for a batch API (OpenAI's JSON lines).

    Run it again after `spct batch read`: it then writes only what failed or did not come.

    Example: spct batch write pairs.jsonl -k 8 --model gpt-5-mini -o runs/batch
    """
    named, engine = endpoint_engine(config.engine)
    config = priced(with_defaults(config.model_copy(update={"engine": named})), BATCH_SHARE)
    chosen = source.source_of(file, schema, mapping, limit, None, None, None, drop_bad)
    examples = chosen.read(told=True)
    model, job = build_judge(config, engine), Job()

    async def work() -> list[Path]:
        identity = dict(model.identity()) | {"data": digest_of_all(examples)}
        with open_run(out.parent, out.name, identity, config.model_dump(), at=out) as store:
            found = await batches.missing(model, engine, store, examples)
            batches.keep_examples(store.folder / batches.FOLDER, examples)
            wanted = [one for lacking in found.values() for one in lacking]
            return batches.write(store.folder / batches.FOLDER, wanted)

    files = job.run(work())
    print(f"{len(files)} files of requests" if files else "nothing is missing", file=sys.stderr)
    for path in files:
        print(path)


def read(run: Run, files: Files) -> None:
    """Read the replies of a batch into its run, and judge every example that is complete.

    Example: spct batch read runs/batch output.jsonl errors.jsonl
    """
    settings: Any = (read_config(run / CONFIG_NAME) or {}).get("settings")
    if not isinstance(settings, dict) or not (run / batches.FOLDER).is_dir():
        raise StoreError(f"{run} is not the run of a batch; `spct batch write` makes one")
    config = validated(Config, settings, str(run / CONFIG_NAME))
    _, engine = endpoint_engine(config.engine)
    model = build_judge(config, engine)
    tally, left = Job().run(_read(run, files, model, engine))
    print(tally.summary(), file=sys.stderr)
    if price := price_of(config.engine):
        print(price.bill(tally.usage), file=sys.stderr)
    if left:
        print(f"{left} examples lack replies: spct batch write again", file=sys.stderr)
    print(run)


async def _read(
    run: Path, files: list[Path], model: RewardModel, engine: OpenAIEngine
) -> tuple[Tally, int]:
    folder = run / batches.FOLDER
    examples: list[Example] = batches.kept_examples(folder)
    identity = dict(model.identity()) | {"data": digest_of_all(examples)}
    with Store.open(run, identity) as store:
        counts = await batches.read(folder, store, files)
        told = ", ".join(f"{n} {word}" for word, n in sorted(counts.items()) if n)
        print(told or "no line was read", file=sys.stderr)
        lacking = await batches.missing(model, engine, store, examples)
        waiting = {id for id, wanted in lacking.items() if wanted}
        before = look_back(store)
        replaying, _ = recorded(model, store)
        tally = await judge_into(
            replaying,
            examples,
            put=store.put_verdict,
            finished=before.finished,
            wanted=lambda example: example.id not in waiting,
        )
        before.add_to(tally, store)
        return tally, len(waiting)


app.command("write")(write)
app.command("read")(read)
