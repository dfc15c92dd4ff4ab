"""`spct data`: prepare sets of examples, from the command line; the work is in spct/data.

Every command reads JSONL (or what else `spct validate` reads) and writes our own JSONL, complete or
not at all. Counts go to standard error.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, TextIO

import typer

from spct.cli import source
from spct.cli.bad_rows import DropBad, dropping, read
from spct.data import prepare
from spct.data.dropped import Dropped
from spct.data.fields import text_of
from spct.data.local import SETS, read_local
from spct.data.mapping import parse_mapping
from spct.data.rows import read_examples
from spct.errors import ConfigError, Overlapping
from spct.runs.codec import dump_example, to_line
from spct.runs.folder import atomic_text, folder_for
from spct.types import Example

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Prepare sets of examples: read, split, draw, mix, compare.",
)

File = Annotated[str, typer.Argument(help="Examples as JSONL, JSON or Parquet; - is stdin.")]
To = Annotated[str, typer.Option("--out", "-o", help="JSONL file to write; - is stdout.")]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.")]
Count = Annotated[int, typer.Option(min=1, help="Sub-lists of one example, at most.")]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the queries.")]


@app.command("local")
def local_set(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(SETS)}.")],
    to: To = "-",
    limit: Annotated[int | None, typer.Option(min=1, help="Write the first N examples.")] = None,
) -> None:
    """Write one of the local sets (docs/data.md) as JSONL, from the folder that SPCT_DATA names.

    Example: spct data local truthfulqa_judgements -o truthfulqa.jsonl
    """
    tally: Counter[str] = Counter()
    n = _write(to, islice(read_local(name, tally=tally), limit))
    left_out = {reason: count for reason, count in sorted(tally.items()) if count}
    _say(f"{name}: {n} examples; left out: {_listed(left_out)}")


@app.command()
def convert(
    file: File,
    to: To = "-",
    schema: source.Schema = "auto",
    mapping: source.Map = None,
    negative: source.NegativeSign = None,
    drop_bad: DropBad = False,
) -> None:
    """Write a file of any layout as our own rows, which every command reads without a map.

    Example: spct data convert arena.jsonl --map gold=verdict:1,2,0 --out rows.jsonl
    """
    maps = parse_mapping(mapping or [])
    with dropping(file, _beside(to), wanted=drop_bad) as drop:
        found = read_examples(file, schema=schema, mapping=maps, drop=drop, negative=negative)
        n = _write(to, found)
    _say(f"{n} examples")


@app.command()
def split(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the splits' files.")],
    train: Share = 0.8,
    dev: Share = 0.1,
    test: Share = 0.1,
    salt: Annotated[str, typer.Option(help="Another salt splits another way.")] = "",
    drop_bad: DropBad = False,
) -> None:
    """Write train.jsonl, dev.jsonl and test.jsonl, split by a hash of the query.

    Examples with the same query (but for case, spacing and the stop at its end) go together, and
    where a query goes depends on nothing else in the file. A split with share 0 gets no file.

    Example: spct data split pairs.jsonl --out splits --train 0.9 --dev 0 --test 0.1
    """
    fractions = {"train": train, "dev": dev, "test": test}
    counts = dict.fromkeys((part for part in fractions if fractions[part]), 0)
    with ExitStack() as stack:
        stack.enter_context(folder_for(out))
        drop = stack.enter_context(dropping(file, out, wanted=drop_bad))
        files = {part: stack.enter_context(atomic_text(out / f"{part}.jsonl")) for part in counts}
        for example in read_examples(file, drop=drop):
            part = prepare.split_by_prompt(example, fractions, salt)
            files[part].write(_line(example))
            counts[part] += 1
    _say(f"{out}: {_listed(counts)}")


@app.command()
def draw(
    file: File,
    to: To = "-",
    n: Annotated[int, typer.Option("-n", min=1, help="Responses of a sub-list.")] = 2,
    count: Count = 1,
    seed: Seed = 0,
    drop_bad: DropBad = False,
) -> None:
    """Cut lists down to random sub-lists of n responses with exactly one best.

    Ties and lists without such a sub-list give none. With -n 1 gold must be 0 or 1.

    Example: spct data draw lists.jsonl -n 2 --count 3 -o pairs.jsonl
    """
    seen = without = 0

    def drawn(drop: Dropped | None) -> Iterator[Example]:
        nonlocal seen, without
        for example in read_examples(file, drop=drop):
            found = list(prepare.draw(example, n, count, seed=seed))
            seen, without = seen + 1, without + (not found)
            yield from found

    with dropping(file, _beside(to), wanted=drop_bad) as drop:
        total = _write(to, drawn(drop))
    _say(f"{total} sub-lists of {n} from {seen} examples; {without} examples gave none")


@app.command()
def mix(
    sources: Annotated[list[str], typer.Argument(metavar="FILE[=RATIO]", help="Ratio 1 if none.")],
    to: To = "-",
    total: Annotated[
        int | None, typer.Option(min=1, help="Examples; all that fit if none.")
    ] = None,
    seed: Seed = 0,
    drop_bad: DropBad = False,
) -> None:
    """Interleave files evenly in given ratios, each shuffled; nothing is repeated.

    Example: spct data mix pairs.jsonl=2 lists.jsonl=1 --total 3000 -o mixed.jsonl
    """
    ratios = _ratios(sources)
    read = {}
    for name, ratio in ratios.items():
        with dropping(name, _beside(to), wanted=drop_bad) as drop:
            read[name] = (list(read_examples(name, drop=drop)), ratio)
    mixed = prepare.mix(read, seed=seed, total=total)
    n = _write(to, mixed.examples)
    _say(f"{n} examples; taken: {_listed(mixed.taken)}; left: {_listed(mixed.left)}")


@app.command()
def overlap(
    train: Annotated[str, typer.Argument(help="Examples that are trained on.")],
    test: Annotated[str, typer.Argument(help="Examples that must be unseen.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Words of an n-gram.")] = 13,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Share of known n-grams that makes a query near.")
    ] = 0.5,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="JSONL file for the unseen rest of TEST.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one object.")] = False,
    drop_bad: DropBad = False,
) -> None:
    """Name the test queries that are in training data, wholly or in large part.

    Exits with 6 if there are any, unless --out leaves them out.

    Example: spct data overlap train.jsonl test.jsonl
    """
    tested = read(test, drop_bad)
    with dropping(train, wanted=drop_bad) as drop:
        known = read_examples(train, drop=drop)
        found = prepare.overlap(known, tested, n=n, threshold=threshold)
    report = sys.stderr if out == "-" else sys.stdout
    if as_json:
        print(json.dumps(asdict(found), indent=2), file=report)
    else:
        for id in found.exact:
            print(f"exact\t{id}", file=report)
        for id, share in found.near:
            print(f"{share:.2f}\t{id}", file=report)
    summary = (
        f"of {found.n_test} test queries {len(found.exact)} are in the {found.n_train} training "
        f"examples and {len(found.near)} nearly so; {found.n_too_short} have fewer than {n} words "
        "and were only compared exactly"
    )
    seen = {*found.exact, *dict(found.near)}
    if out is not None:
        n_unseen = _write(out, (example for example in tested if example.id not in seen))
        summary += f"; {n_unseen} are left"
    elif seen:
        raise Overlapping(f"{summary}; leave them out with --out FILE")
    _say(summary)


@app.command()
def reference(file: File, to: To = "-", drop_bad: DropBad = False) -> None:
    """Show the judge the known good answers: meta.golden becomes the reference.

    Example: spct data reference evouna.jsonl -o evouna-with-reference.jsonl
    """
    with_golden = 0

    def shown(drop: Dropped | None) -> Iterator[Example]:
        nonlocal with_golden
        for example in read_examples(file, drop=drop):
            if "golden" in example.meta:
                golden = example.meta["golden"]
                with_golden += bool(text_of(f"{file}: {example.id}", "meta.golden", golden))
            yield prepare.with_reference(example)

    with dropping(file, _beside(to), wanted=drop_bad) as drop:
        n = _write(to, shown(drop))
    _say(f"{n} examples, {with_golden} with a golden answer")


def _beside(to: str) -> Path:
    """The folder of the output: what is left out of it is kept there."""
    return Path() if to == "-" else Path(to).parent


def _write(to: str, examples: Iterable[Example]) -> int:
    """Write examples to a file that appears when it is complete, or to standard output."""
    if to == "-":
        return _write_lines(sys.stdout, examples)
    path = Path(to)
    if path.suffix != ".jsonl":
        raise ConfigError(
            f"--out: got {to!r}, expected a name that ends in .jsonl, or - for stdout"
        )
    with atomic_text(path) as file:
        return _write_lines(file, examples)


def _write_lines(file: TextIO, examples: Iterable[Example]) -> int:
    n = 0
    for example in examples:
        file.write(_line(example))
        n += 1
    return n


def _line(example: Example) -> str:
    return to_line(dump_example(example)) + "\n"


def _ratios(sources: Iterable[str]) -> dict[str, float]:
    """Read FILE=RATIO; a name without a ratio has 1."""
    ratios: dict[str, float] = {}
    for told in sources:
        name, _, text = told.rpartition("=") if "=" in told else (told, "", "1")
        try:
            ratio = float(text)
        except ValueError:
            raise ConfigError(f"got {told!r}, expected FILE=RATIO, such as a.jsonl=2") from None
        if name in ratios:
            raise ConfigError(f"the file {name!r} is given twice; give it one ratio")
        ratios[name] = ratio
    return ratios


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
