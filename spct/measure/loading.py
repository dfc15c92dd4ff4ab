"""Reading a benchmark: where its files are, what is odd in them, whether they are all there."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spct.data.files import dataset_hash
from spct.data.published.items import problems_of
from spct.data.published.sources import Folder, HubSource, Source
from spct.errors import ConfigError, DataError
from spct.measure.benchmarks import Benchmark
from spct.types import Example

DATA_VARIABLE = "SPCT_DATA"
DEFAULT_DATA = Path("../shared/data")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A benchmark's examples with what is known about them before anything is judged."""

    benchmark: Benchmark
    examples: tuple[Example, ...]
    problems: tuple[str, ...]
    missing: tuple[str, ...]  # why the copy or the selection is partial; empty when complete
    sha256: str
    n_units: int
    n_units_of_copy: int
    by_id: Mapping[str, Example] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the score on these items is the benchmark's official score."""
        return not self.missing


def source_of(benchmark: Benchmark, data: Path | None) -> Source:
    """The folder with the benchmark's files, else the hub.

    `data` may be the published layout itself or a folder of such folders; without it, SPCT_DATA
    and ../shared/data are tried for the latter.
    """
    if data is not None and not data.is_dir():
        raise DataError(f"looking for {benchmark.title}: --data {data} is not a folder")
    given = os.environ.get(DATA_VARIABLE)
    root = data or (Path(given) if given else DEFAULT_DATA)
    if benchmark.folder and (root / benchmark.folder).is_dir():
        return Folder(root / benchmark.folder, benchmark.title)
    if data is not None:
        return Folder(data, benchmark.title)
    if not benchmark.hub:
        raise DataError(
            f"looking for {benchmark.title}: it is not on the hub in a form that is read here and "
            f"{root / benchmark.folder} does not exist; give its published files with --data DIR"
        )
    return HubSource(benchmark.hub, benchmark.title)


def load_benchmark(
    benchmark: Benchmark, data: Path | None = None, *, limit: int | None = None, seed: int = 0
) -> Loaded:
    """Read and check a benchmark; `limit` keeps that many units, drawn by `seed`, in file order."""
    if benchmark.file is None:
        source = source_of(benchmark, data)
        examples = list(benchmark.load(source))
        sha256 = source.sha256(*benchmark.patterns)
    else:
        examples = list(benchmark.load(Folder(benchmark.file.parent, benchmark.title)))
        sha256 = dataset_hash(benchmark.file)
    if not examples:
        raise DataError(f"reading {benchmark.title}: got no items, expected at least one")
    examples, unknown = _known(benchmark, examples)
    problems = problems_of(examples) + unknown
    missing = _missing(benchmark, examples) + missing_files(benchmark, examples)
    units = list(dict.fromkeys(str(e.meta["unit"]) for e in examples))
    kept = _limited(units, limit, seed)
    if len(kept) < len(units):
        missing.append(f"--limit: {len(kept)} of {len(units)} units, drawn by seed {seed}")
        examples = [e for e in examples if e.meta["unit"] in kept]
    return Loaded(
        benchmark,
        tuple(examples),
        tuple(problems),
        tuple(missing),
        sha256,
        len(kept),
        len(units),
        {e.id: e for e in examples},
    )


def _limited(units: Sequence[str], limit: int | None, seed: int) -> set[str]:
    if limit is None or limit >= len(units):
        return set(units)
    if limit < 1:
        raise ConfigError(f"--limit: got {limit}, expected at least 1")
    rng, kept = random.Random(f"limit {seed}"), set[str]()
    while len(kept) < limit:  # one by one, so that a larger limit holds all of a smaller one
        kept.add(units[rng.randrange(len(units))])
    return kept


def _known(benchmark: Benchmark, examples: list[Example]) -> tuple[list[Example], list[str]]:
    """Leave out subsets that are not the benchmark's (RewardBench's prior sets), and say so."""
    if not benchmark.expected or "" in benchmark.expected:
        return examples, []
    known = [e for e in examples if e.subset in benchmark.expected]
    strange = Counter(e.subset for e in examples if e.subset not in benchmark.expected)
    if not known:
        raise DataError(
            f"reading {benchmark.title}: got only the subsets {sorted(map(str, strange))}, "
            f"expected {', '.join(benchmark.expected)}"
        )
    return known, [f"left out {n} items of the unknown subset {s!r}" for s, n in strange.items()]


def _missing(benchmark: Benchmark, examples: Sequence[Example]) -> list[str]:
    """Where the copy has another number of rows than the benchmark."""
    rows = {(e.subset or "", str(e.meta["source"])) for e in examples}
    counts = Counter(subset for subset, _ in rows)
    found = []
    for subset, expected in benchmark.expected.items():
        n = counts[subset] if subset else len(rows)
        at_least = subset in benchmark.expected_is_minimum
        if n < expected or (n > expected and not at_least):
            what = f"subset {subset!r}" if subset else "the benchmark"
            found.append(f"{what}: {n} items, expected {'at least ' if at_least else ''}{expected}")
    return found


def missing_files(benchmark: Benchmark, examples: Sequence[Example], shown: int = 5) -> list[str]:
    """The files of the published layout that no row came from.

    RMB publishes no row counts of its pairs, so only the list of files tells a whole copy.
    """
    paths = {str(e.meta["place"]).rpartition(":")[0] for e in examples}
    there = {re.sub(r"\.[^/]*$", "", path) for path in paths}  # .json, .jsonl, .json.gz, .parquet
    lacking = [name for name in benchmark.files if not any(p.endswith(name) for p in there)]
    if not lacking:
        return []
    more = f" and {len(lacking) - shown} more" if len(lacking) > shown else ""
    names = ", ".join(repr(name) for name in lacking[:shown])
    return [f"{len(lacking)} of {len(benchmark.files)} files are not there: {names}{more}"]
