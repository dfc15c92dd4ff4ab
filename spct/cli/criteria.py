"""`spct criteria`: lists of criteria written once, shown, checked and locked.

A list is a row of a JSON lines file that people edit; judges take it by `--criteria FILE`. Writing
stores every reply in a run folder, so the same command goes on after a kill and pays once.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from spct.cli import source
from spct.cli.options import takes_settings
from spct.cli.process import Job
from spct.cli.rationale import rationale
from spct.config import Config
from spct.core.stream import stream
from spct.data.criteria import Negative
from spct.data.criteria_files import CriteriaFile, Listed, dump_listed, list_key, read_criteria_file
from spct.errors import ConfigError, OverBudget, printable
from spct.measure.criteria import criterion_figures, labels_of
from spct.models.engines import build_engine
from spct.models.judges import with_defaults
from spct.models.writer import CriteriaWriter
from spct.runs.codec import to_line
from spct.runs.criteria_rows import write_criteria
from spct.runs.engines import RecordingEngine
from spct.runs.folder import atomic_text
from spct.runs.identity import digest_of_all
from spct.runs.rows import Sound
from spct.runs.run import open_run
from spct.runs.store import Store
from spct.runs.table import valid
from spct.types import Criteria, Example, Unscored, Usage, Verdict

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Criteria (rubrics): write them once per query, show, check and lock them.",
)
Lists = Annotated[Path, typer.Argument(metavar="FILE", help="A file of criteria.")]
Sign = Annotated[
    str | None, typer.Option("--negative", help="occurs-is-bad or met-is-good, for such weights.")
]
app.command()(rationale)
NEGATIONS = (" not ", " no ", " never ", "n't ", " without ", " avoid")
MANY = 12  # more criteria in a list than this are told


@app.command()
@takes_settings
def write(
    config: Config,
    file: source.File = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")] = None,
    lists: Annotated[int, typer.Option(min=1, help="Lists per query; the first is kept.")] = 1,
    root: Annotated[Path, typer.Option("--output-dir", help="Where the replies are kept.")] = Path(
        "runs"
    ),
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    limit: source.Limit = None,
) -> None:
    """Write a list of criteria for each distinct query, from the query (and reference) alone.

    With --lists 3 the spread says how much three lists for one query have in common.

    Example: spct criteria write pairs.jsonl --out criteria.jsonl
    """
    if out is None:
        raise ConfigError("name the file to write: --out criteria.jsonl")
    config = with_defaults(config)
    chosen = source.source_of(file, schema, mapping, limit, None, None, None)
    asked = {list_key(e.query, e.reference): e for e in chosen.read()}
    examples = [replace(e, id=key, responses=("",), gold=None) for key, e in asked.items()]
    writer = CriteriaWriter(0.7 if lists > 1 else 0.0, seed=config.judge.seed)
    job = Job()
    identity = {"data": digest_of_all(e.id for e in examples), "criteria": writer.fingerprint}
    written = job.run(_write_all(job, config, writer, examples, lists, root, identity))
    rows = [
        to_line(dump_listed(Listed(e.query, e.reference, found)))
        for e, some in zip(examples, written.lists, strict=True)
        for found in some[:1]
        if isinstance(found, Criteria)
    ]
    with atomic_text(out) as target:
        target.writelines(f"{row}\n" for row in rows)
    print(written.summary(len(examples), len(rows)), file=sys.stderr)
    print(out)
    if len(rows) < len(examples) and not rows:
        raise OverBudget("no list could be read from any reply; the reasons are above")


class _Written:
    """The lists of every query, in order, and what they cost."""

    def __init__(self) -> None:
        self.lists: list[list[Criteria | Unscored]] = []
        self.usage = Usage()
        self.n_drawn = self.n_replayed = 0

    def summary(self, n_queries: int, n_rows: int) -> str:
        """Lines for people: counts, the reasons of failures, cost, and the spread of many lists."""
        bad = Counter(
            f"{one.reason}: {one.detail[:120]}"
            for some in self.lists
            for one in some
            if isinstance(one, Unscored)
        )
        lines = [
            f"{n_rows} lists for {n_queries} queries, {self.n_drawn} replies drawn, "
            f"{self.n_replayed} taken from the store, {self.usage.prompt_tokens} + "
            f"{self.usage.completion_tokens} tokens"
        ]
        lines += [f"  unscored, {n}: {printable(why)}" for why, n in bad.most_common(3)]
        shared = [s for some in self.lists if (s := _shared(some)) is not None]
        if shared:
            mean = sum(shared) / len(shared)
            lines.append(f"  words that two lists for one query share: {mean:.0%} (Jaccard, mean)")
        return "\n".join(lines)


async def _write_all(
    job: Job,
    config: Config,
    writer: CriteriaWriter,
    examples: Sequence[Example],
    count: int,
    root: Path,
    identity: dict[str, str],
) -> _Written:
    engine, written = build_engine(config.engine), _Written()
    found: dict[str, list[Criteria | Unscored]] = {}
    try:
        await engine.open()
        whole = {"engine": engine.fingerprint, **identity}
        with open_run(root, "criteria", whole, config.model_dump()) as store:
            recording = RecordingEngine(engine, store)

            async def one(example: Example) -> Verdict:
                some = await writer.write_several(example, recording, count)
                found[example.id] = [criteria for criteria, _ in some]
                usage = sum((reply.usage for _, reply in some), Usage())
                return Verdict(example.id, None, (), (), count, count, 0, None, usage)

            async for done in stream(one, job.gate(examples), config.judge.concurrency):
                written.usage += done.usage
            written.n_drawn, written.n_replayed = recording.n_drawn, recording.n_replayed
    finally:
        await engine.aclose()
    written.lists = [found.get(example.id, []) for example in examples]
    return written


def _shared(lists: Sequence[Criteria | Unscored]) -> float | None:
    words = [
        {word for item in one.items for word in item.text.lower().split() if len(word) > 3}
        for one in lists
        if isinstance(one, Criteria)
    ]
    pairs = [(a, b) for i, a in enumerate(words) for b in words[i + 1 :] if a | b]
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs) if pairs else None


@app.command()
def show(file: Lists, negative: Sign = None) -> None:
    """Print the lists of a file as people read them."""
    for query, criteria in _lists(_read(file, negative)):
        print(printable(f"{query}  [{criteria.fingerprint}, {criteria.source}]"))
        for item in criteria.items:
            marks = "".join(f" [{m}]" for m in (item.kind,) if m != "met")
            gate = " [required]" if item.required else ""
            print(printable(f"  {item.weight:g}  {item.name}: {item.text}{marks}{gate}"))


@app.command()
def check(file: Lists, negative: Sign = None) -> None:
    """Check a file of criteria: faults, negations, texts that occur twice, counts."""
    lists = list(_lists(_read(file, negative)))
    sizes = [len(criteria.items) for _, criteria in lists]
    for query, criteria in lists:
        for note in _notes(criteria):
            print(printable(f"{query[:60]}: {note}"))
    kinds = Counter(item.kind for _, criteria in lists for item in criteria.items)
    gates = sum(item.required for _, criteria in lists for item in criteria.items)
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    n, low, high = len(lists), min(sizes), max(sizes)
    print(
        f"{n} {'list' if n == 1 else 'lists'} of {low if low == high else f'{low} to {high}'} "
        f"criteria ({told}; {gates} required), no faults"
    )


@app.command()
def lock(
    file: Lists,
    again: Annotated[
        bool, typer.Option("--again", help="Lock the lists as they are now, edited or not.")
    ] = False,
) -> None:
    """Write each list's fingerprint beside it: an edit is then refused until it is locked again."""
    found = read_criteria_file(file, unlocked=again)
    if found.common is not None:
        raise ConfigError(f"{file} is one list for all queries; what is locked has a query")
    rows = [replace(one, locked=one.criteria.fingerprint) for one in found.lists]
    with atomic_text(file) as target:
        target.writelines(f"{to_line(dump_listed(one))}\n" for one in rows)
    print(f"{len(rows)} lists are locked in {file}")


@app.command()
def measure(
    run: Annotated[Path, typer.Argument(help="A run judged by criteria.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Also one CSV row per response and criterion.")
    ] = None,
    order: Annotated[
        bool,
        typer.Option("--order", help="Also what the order of the criteria changes (k above 1)."),
    ] = False,
    other: Annotated[
        Path | None,
        typer.Option("--beside", help="A run that asks otherwise (met, met_one): do both agree?"),
    ] = None,
) -> None:
    """What a run says of its criteria: met rate, flips between votes, alpha, dead ones, overlap.

    Where rows bring people's labels as `met` in their meta, also kappa with these.
    """
    with closing(Store.read(run)) as store:
        if to is not None:
            with atomic_text(to) as file:
                n = write_criteria(store.verdicts(), file, valid)
            print(f"{n} rows in {to}", file=sys.stderr)
        labels: dict[tuple[str, int, str], float] = {}
        verdicts, prompts = [], []
        for judged in store.judged():
            verdicts.append(judged.verdict)
            prompts.append(_prompt(judged))
            found = next((t.criteria for t in judged.verdict.trajectories if t.criteria), None)
            if judged.example is not None and found is not None:
                labels |= labels_of(judged.example, found)
    figures = criterion_figures(verdicts, labels)
    if not figures:
        raise ConfigError(f"no verdict of {run} was made criterion by criterion (--format met)")
    kappas = "  kappa" if labels else ""
    print(f"met rate  flip rate  alpha  overlap{kappas}  unscored  criterion")
    for one in figures:
        told = [_number(v) for v in (one.met_rate, one.flip_rate, one.alpha, one.overlap)]
        agreed = f"  {_number(one.kappa):>5}" if labels else ""
        dead = "  dead: says the same of every response" if one.dead else ""
        print(
            f"{told[0]:>8}  {told[1]:>9}  {told[2]:>5}  {told[3]:>7}{agreed}  {one.unscored:>4} of "
            f"{one.n:<4} {printable(one.name)}{dead}"
        )
    if order or other is not None:
        from spct.measure import criteria_probes  # numpy, which the rest needs none of

        own = [*zip(prompts, verdicts, strict=True)]
        if order:
            print(criteria_probes.order_line(own))
        if other is not None:
            with closing(Store.read(other)) as store:
                theirs = [(_prompt(judged), judged.verdict) for judged in store.judged()]
            print(criteria_probes.beside_line(own, theirs, str(other)))


def _prompt(judged: Sound) -> str:
    """What an example is resampled with: its query, or its id where the run has no texts."""
    example = judged.example
    return judged.verdict.example_id if example is None else repr(example.query)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _read(file: Path, negative: str | None) -> CriteriaFile:
    signs: tuple[Negative, ...] = ("occurs-is-bad", "met-is-good")
    sign = next((one for one in signs if one == negative), None)
    if sign != negative:
        raise ConfigError(f"--negative {negative}: expected {' or '.join(signs)}")
    return read_criteria_file(file, sign)


def _lists(file: CriteriaFile) -> Iterator[tuple[str, Criteria]]:
    if file.common is not None:
        yield "(every query)", file.common
    for one in file.lists:
        yield " ".join(one.query[-1].content.split()), one.criteria


def _notes(criteria: Criteria) -> Iterator[str]:
    """What is no fault, and yet often a mistake."""
    seen: dict[str, str] = {}
    for item in criteria.items:
        said = " ".join(item.text.lower().split()).rstrip(".")
        if (before := seen.setdefault(said, item.name)) != item.name:
            yield f"{item.name!r} says what {before!r} says"
        if any(word in f" {said} " for word in NEGATIONS):
            yield f"{item.name!r} is a negation, which judges misread: {item.text[:80]!r}"
    if len(criteria.items) > MANY:
        yield f"{len(criteria.items)} criteria; long lists are judged in pieces (--chunk)"
