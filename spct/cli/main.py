"""The command line: `spct COMMAND`. Commands are imported when called, so help stays quick.

Results go to standard output, messages to standard error. Exit codes: 0 done, 1 internal error,
2 bad usage, config or input, 3 finished but over an error budget, 4 endpoint unreachable or
refused, 5 storage, 6 a gate failed, 130 stopped by SIGINT, 143 by SIGTERM.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from spct import __version__
from spct.cli.signals import Stopped, stop_on_signals
from spct.errors import SpctError

COMMANDS = {
    "judge": ("spct.cli.judge:judge", "Judge examples, or one query with its responses."),
    "sample": ("spct.cli.sample:sample", "Judge a whole file into a run that can continue."),
    "rescore": ("spct.cli.runs:rescore", "Parse and vote a run again, without an LM call."),
    "export": ("spct.cli.runs:export", "Write a run's verdicts as JSONL or Parquet."),
    "doctor": ("spct.cli.doctor:doctor", "Check an engine, endpoint or scorer."),
    "bench": ("spct.cli.bench:bench", "Run reward models over benchmarks and report."),
    "compare-runs": ("spct.cli.bench:compare_runs", "Two benchmark runs, item by item."),
    "compare": ("spct.cli.compare:compare", "The same examples through several reward models."),
    "rft": ("spct.cli.train:rft", "Rejective fine-tuning: build its data, then train."),
    "rl": ("spct.cli.train:rl", "Rule-based online RL (GRPO) of a judge."),
    "meta": ("spct.cli.train:meta", "The meta RM: build its data, then train it."),
    "pipeline": ("spct.cli.train:pipeline", "All training stages in a row, with one report."),
    "train": ("spct.cli.train_heads:app", "Train Bradley-Terry, pairwise and CLoud models."),
    "serve": ("spct.cli.serve:serve", "Serve a reward model to RL trainers."),
    "data": ("spct.cli.data:app", "Prepare sets of examples: split, draw, mix, compare."),
    "validate": ("spct.cli.validate:validate", "Check a file of examples."),
    "config": ("spct.cli.settings:settings", "Show every setting and where it comes from."),
}


class LazyGroup(TyperGroup):
    """Lists commands from the table above and imports the one that is called."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Every command's name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """What help shows of a command; the real one is loaded by `resolve_command`."""
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is called; an unknown one is named with its nearest."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, stub and load(str(name)), rest


def load(name: str) -> Any:
    """Import a command: a function, or a Typer app with commands of its own."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(import_module(module), attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer(add_completion=False, context_settings=CONTEXT)
    app.command(name, help=target.__doc__)(target)
    return typer.main.get_command(app)


CONTEXT = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(cls=LazyGroup, no_args_is_help=True, context_settings=CONTEXT)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Generalist reward models: train, run, measure and serve judges that write principles."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    stop_on_signals()
    try:
        typer.main.get_command(app).main(argv, prog_name="spct")
    except Stopped:
        print("stopped; what is finished is kept, the same command continues", file=sys.stderr)
        raise
    except SpctError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
