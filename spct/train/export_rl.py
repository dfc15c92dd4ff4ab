"""Prompts of RL as the rows that TRL, verl and OpenRLHF read, with gold and order inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from spct.errors import ConfigError, ExtraMissing
from spct.runs.folder import atomic_path
from spct.train.fitting import Row
from spct.train.reward import Truth
from spct.train.rft import write_rows
from spct.train.sampling import Formats

Trainer = Literal["trl", "verl", "openrlhf"]
SOURCE = "spct/outcome"


def rows_for(trainer: Trainer, rows: Sequence[Row], formats: Formats) -> list[Row]:
    """The rows of `rl_rows` in a trainer's fields."""
    made = []
    for i, row in enumerate(rows):
        pattern = formats.for_n(len(row["order"])).pattern
        if pattern == "met":
            raise ConfigError("RL pays scores or a choice; a format of criteria met has neither")
        truth = Truth(tuple(row["gold"]), tuple(row["order"]), pattern)
        match trainer:
            case "trl":
                made.append({**row, "pattern": pattern})
            case "verl":
                info = {"index": i, "split": "train", "example_id": row["example_id"]}
                model = {"style": "rule", "ground_truth": truth.text()}
                made.append({"data_source": SOURCE, "prompt": row["prompt"],
                             "ability": "judgement", "reward_model": model,
                             "extra_info": info})  # fmt: skip
            case "openrlhf":
                made.append({"input": row["prompt"], "label": truth.text(),
                             "example_id": row["example_id"]})  # fmt: skip
    return made


def write(rows: Sequence[Row], path: Path) -> None:
    """Write .jsonl or .parquet; the file appears under its name only when complete."""
    if path.suffix == ".jsonl":
        return write_rows(rows, path)
    if path.suffix != ".parquet":
        raise ConfigError(f"writing {str(path)!r}: expected a name that ends in .jsonl or .parquet")
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise ExtraMissing("pyarrow", "parquet") from error
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist(list(rows)), part)
