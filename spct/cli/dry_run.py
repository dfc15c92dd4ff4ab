"""`--dry-run` of the training commands: what is read for it, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spct.errors import ConfigError
from spct.train.config import MetaConfig, Optimisation, RlConfig, SftConfig
from spct.train.dry_run import DryRun, Rows, counter_of, devices_here, evenly, rows_of
from spct.types import Example

DryRunFlag = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Tell rows, tokens, steps, memory, hours and files, and train nothing. --model may "
        "be a config.json then.",
    ),
]
On = Annotated[
    str | None,
    typer.Option("--on", help="With --dry-run: GPUs to plan for, such as 8xH100; else those here."),
]


def rft(rows: Path, model: str, out: Path, config: SftConfig, on: str | None) -> None:
    """Tell what `train rft` would do."""
    from spct.train.sft import completed, read_rows

    tell("train rft", model, out, config, on, rows,
          lambda tokenizer: rows_of(
              read_rows(rows), completed, counter_of(tokenizer), config.max_length))  # fmt: skip


def meta(rows: Path, model: str, out: Path, config: MetaConfig, on: str | None) -> None:
    """Tell what `train meta` would do."""
    from spct.train.meta_rm import pos_weight
    from spct.train.sft import read_labelled_rows

    def measured(tokenizer: Any) -> Rows:
        found = read_labelled_rows(rows)
        pos_weight([row["label"] for row in found])  # both labels, or no training
        return rows_of(found, lambda row: row["messages"], counter_of(tokenizer), config.max_length)

    tell("train meta", model, out, config, on, rows, measured)


def rl(
    examples: Path, model: str, out: Path, config: RlConfig, on: str | None, formats: Any,
    drop_bad: bool,
) -> None:  # fmt: skip
    """Tell what `train rl` would do."""
    from spct.cli.bad_rows import read
    from spct.train.rl import rl_rows

    def measured(tokenizer: Any) -> Rows:
        usable, problems = _usable(read(examples, drop_bad))
        room = config.max_length - config.max_completion_tokens
        return rows_of(
            usable,
            lambda example: rl_rows([example], formats, seed=config.seed)[0][0]["prompt"],
            counter_of(tokenizer), room, added=config.max_completion_tokens, left_out=problems,
        )  # fmt: skip

    notes = [
        f"rollouts count with all {config.max_completion_tokens} tokens: hours are an upper end",
        *(["prompts that are too easy are known only when they are sampled (drop_easy)"]
          if config.drop_easy else []),
    ]  # fmt: skip
    tell("train rl", model, out, config, on, examples, measured, notes)


def _usable(examples: Sequence[Example]) -> tuple[list[Example], Counter[str]]:
    """The examples whose gold can train, and why the others cannot."""
    from spct.train.outcome import gold_problem

    problems = [gold_problem(e.gold, e.n) for e in examples]
    usable = [e for e, problem in zip(examples, problems, strict=True) if problem is None]
    return usable, Counter(filter(None, problems))


def sampling(
    path: Path, n: int, hinted: bool, max_tokens: int, formats: Any, drop_bad: bool
) -> None:
    """Tell what drawing training data would ask of an engine, and ask nothing."""
    from spct.cli.bad_rows import read

    if not path.exists():
        print(f"samples {n + hinted} of each example; {path} is not there yet")
        return
    found = read(path, drop_bad)
    usable, problems = _usable(found)
    count = counter_of(None)
    lengths = []
    for i in evenly(len(usable)):
        prompt = formats.of(usable[i]).render(usable[i], tuple(range(usable[i].n)))
        lengths.append(count([{"content": m.content} for m in prompt.messages]))
    samples = sum(n + (hinted and e.n > 1) for e in usable)
    mean = sum(lengths) / max(1, len(lengths))
    left_out = "".join(f", {number:,} with {why}" for why, number in problems.items())
    print(f"rows    {len(found):,} examples{left_out}; {len(usable):,} to sample")
    print(
        f"samples {samples:,}; about {mean:,.0f} tokens to read for each (a quarter of the "
        f"characters), at most {max_tokens:,} to write: {samples * mean / 1e6:,.1f}M and "
        f"{samples * max_tokens / 1e6:,.1f}M tokens"
    )


def tell(
    stage: str, model: str, out: Path, config: Optimisation, on: str | None, data: Path | None,
    measured: Callable[[Any], Rows], notes: Sequence[str] = (),
) -> None:  # fmt: skip
    """Tell what a stage would do; `measured` looks at its rows with the tokenizer (or None).

    `data` is the file that an earlier stage may still have to write.
    """
    from spct.train.estimate import architecture, devices_named

    shape, tokenizer = _described(model)
    n_gpus, devices = devices_here(config.use_cpu)
    if on is not None:
        n_gpus, named = devices_named(on)
        devices = [named]
    if config.batch_size % (config.micro_batch_size * n_gpus):
        from spct.train.sft import batch_arguments

        batch_arguments(config, n_gpus)  # says what is uneven
    found = DryRun(
        stage, model, out, config,
        architecture(shape, config.lora_rank, config.lora_skip_layers), n_gpus, devices,
        elsewhere=on is not None,
    )  # fmt: skip
    if data is None or data.exists():
        found.rows = measured(tokenizer)
    found.notes = [*notes]  # measuring may add to them
    if tokenizer is None:
        found.notes.append("no tokenizer there: a token counts as 4 characters")
    found.check()
    print(found.text(), end="")


def _described(model: str) -> tuple[Path, Any]:
    """The config.json of a model, and its tokenizer where there is one; no weights are fetched."""
    from spct.engines.hf_load import base_of, load_tokenizer
    from spct.engines.hub import WITHOUT_WEIGHTS, start_of

    if Path(model).is_file():
        return Path(model), None
    folder = Path(start_of(base_of(model), WITHOUT_WEIGHTS))
    shape = folder / "config.json"
    if not shape.is_file():
        raise ConfigError(f"--model {model!r}: it has no config.json to plan with")
    has_tokenizer = (folder / "tokenizer_config.json").is_file()
    return shape, load_tokenizer(folder) if has_tokenizer else None
