"""`--dry-run` of what trains a head or a readout, and of the pipeline: each stage told in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spct.cli.dry_run import meta, rft, rl, sampling, tell
from spct.train.config import CloudConfig, DecisionConfig, HeadConfig, PairwiseConfig, ScalarConfig
from spct.train.dry_run import Rows, counter_of, evenly, rows_of
from spct.train.pairs import Pair
from spct.types import Example

if TYPE_CHECKING:
    from spct.models.encode import Conversation
    from spct.train.pipeline import Pipeline

LONGER = "a pair counts with its longer side: hours are an upper end"


def bradley_terry(
    pairs: Sequence[Pair], model: str, out: Path, config: ScalarConfig, on: str | None
) -> None:
    """Tell what `train bradley-terry` would do."""
    from spct.models.scalar import conversation

    def read(pair: Pair) -> Conversation:
        return longer(conversation(pair.example, i) for i in (pair.chosen, pair.rejected))

    _head("train bradley-terry", pairs, read, model, out, config, on, [LONGER])


def pairwise(
    pairs: Sequence[Pair], model: str, out: Path, config: PairwiseConfig, on: str | None
) -> None:
    """Tell what `train pairwise` would do: each pair enters in both orders."""
    from spct.models.pairwise import pair_conversation

    both = [
        (p.example, *order)
        for p in pairs
        for order in ((p.chosen, p.rejected), (p.rejected, p.chosen))
    ]
    _head("train pairwise", both, lambda row: pair_conversation(row[0], row[1], row[2]),
          model, out, config, on, ["a row is one order of a pair"])  # fmt: skip


def longer(conversations: Any) -> Conversation:
    """The conversation of more characters."""
    found: Conversation = max(conversations, key=lambda turns: sum(len(m.content) for m in turns))
    return found


def _head(
    stage: str, rows: Sequence[Any], read: Callable[[Any], Conversation], model: str, out: Path,
    config: HeadConfig, on: str | None, notes: Sequence[str], added: int = 0,
) -> None:  # fmt: skip
    if config.frozen:
        config = config.model_copy(
            update={"max_steps": max(1, math.ceil(len(rows) / config.batch_size))}
        )
        notes = [*notes, "frozen: every row is read once, and the head is fitted to the end"]

    def turns(row: Any) -> list[dict[str, str]]:
        return [{"role": m.role, "content": m.content} for m in read(row)]

    def measured(tokenizer: Any) -> Rows:
        count = counter_of(tokenizer)
        return rows_of(rows, turns, count, config.max_length - added, added=added)

    tell(stage, model, out, config, on, None, measured, notes)


def cloud(
    critiqued: Sequence[Example], pairs: Sequence[Pair], model: str, out: Path,
    config: CloudConfig, on: str | None,
) -> None:  # fmt: skip
    """Tell what the three steps of `train cloud` would do."""
    from spct.models.critique import critique_prompt
    from spct.train.cloud import critic_rows
    from spct.train.sft import completed

    rows = critic_rows(critiqued)
    limit = config.critic.max_length

    def measured(tokenizer: Any) -> Rows:
        return rows_of(rows, completed, counter_of(tokenizer), limit)

    tell("train cloud, critic", model, out / "critic", config.critic, on, None, measured)
    responses = {(p.example.id, i) for p in pairs for i in range(p.example.n)}
    print(f"critiques of its own: {len(responses) * config.n_critiques:,}, of at most "
          f"{config.max_critique_tokens:,} tokens\n")  # fmt: skip

    def read(pair: Pair) -> Conversation:
        sides = (critique_prompt(pair.example, i) for i in (pair.chosen, pair.rejected))
        return longer(side.messages for side in sides)

    notes = [LONGER, f"a critique counts with all {config.max_critique_tokens} tokens"]
    pairs = [p for p in pairs for _ in range(config.n_critiques)]
    _head("train cloud, head", pairs, read, model, out / "head", config.head, on, notes,
          added=config.max_critique_tokens)  # fmt: skip


def decision(
    examples: Sequence[Example], model: str, out: Path, config: DecisionConfig, on: str | None,
    asked: Any, wording: Any,
) -> None:  # fmt: skip
    """Tell what `train decision` would do; rows are packed of responses, as in training."""
    from spct.train.decision import encoder, is_calibration
    from spct.train.packing import rows_of as packed

    fitted = [e for e in examples if not is_calibration(e, config.calibration)]
    some = [fitted[i] for i in evenly(len(fitted))]
    notes = [
        f"{len(examples) - len(fitted):,} examples are held out to fit the temperature",
        "a row holds responses of one query, whose beginning is read once",
    ]

    def measured(tokenizer: Any) -> Rows:
        if tokenizer is None:
            lengths: list[int | None] = [config.row_tokens] * len(some)
            return Rows(len(fitted), {}, lengths, config.row_tokens)
        ids_of = encoder(asked, wording, tokenizer)
        rows, funnel = packed(some, ids_of, config.max_length, config.row_tokens)
        funnel.check(config.max_length)
        notes.append(f"of the examples looked at: {funnel}")
        scaled = round(len(rows) * len(fitted) / len(some))
        longest = max(config.row_tokens, *(row.length for row in rows))
        return Rows(scaled, {}, [row.length for row in rows], longest)

    tell("train decision", model, out, config, on, None, measured, notes)


def pipeline(p: Pipeline, drop_bad: bool) -> None:
    """Tell what each stage of a pipeline would do; later ones start from the base's shape."""
    config, files = p.config, p.config.files
    base = files.base
    for stage in config.stages:
        print(f"== {stage}")
        match stage:
            case "cold_start" if files.cold_start:
                rft(Path(files.cold_start), base, p.folder(stage), config.cold_start, None)
            case "rft_data":
                how = config.rft_data
                sampling(Path(files.rft), how.n_samples, how.hinted, how.max_tokens, p.formats,
                         drop_bad)  # fmt: skip
            case "rft":
                rows = p.folder("rft_data") / "rows.jsonl"
                rft(rows, base, p.folder(stage), config.rft, None)
            case "rl":
                rl(Path(files.rl), base, p.folder(stage), config.rl, None, p.formats, drop_bad)
            case "meta_data":
                sampling(Path(files.rl), config.meta_data.n_samples, False,
                         config.rl.max_completion_tokens, p.formats, drop_bad)  # fmt: skip
            case "meta":
                rows = p.folder("meta_data") / "rows.jsonl"
                meta(rows, base, p.folder(stage), config.meta, None)
            case "evaluate":
                sampling(Path(files.test), config.evaluate.k, False, config.evaluate.max_tokens,
                         p.formats, drop_bad)  # fmt: skip
        print()
