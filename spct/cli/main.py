"""The command line: `spct COMMAND`. Commands are imported when called, so help stays quick.

Results go to standard output, messages to standard error. The exit codes stand in spct/errors.py;
a signal is 130 (SIGINT) or 143 (SIGTERM).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from spct import __version__
from spct.cli.process import in_words, stop_on_signals
from spct.cli.usage import moved
from spct.errors import ConfigError, did_you_mean

# Each panel of `spct --help`: the commands in it, where they stand and what they do.
PANELS: dict[str, dict[str, tuple[str, str]]] = {
    "Judge and runs": {
        "judge": ("spct.cli.judge:judge", "Judge examples, or one query with its responses."),
        "sample": ("spct.cli.sample:sample", "Judge a whole file into a run that can continue."),
        "batch": ("spct.cli.batch:app", "Judge through a vendor's batch API."),
        "merge": ("spct.cli.merge:merge", "Put the shards of one run together."),
        "rescore": ("spct.cli.runs:rescore", "Parse and vote a run again, without an LM call."),
        "fit-stopping": (
            "spct.cli.fit:fit_stopping",
            "Measure on a run what an early stop needs to know.",
        ),
        "fit-cascade": (
            "spct.cli.fit_cascade:fit_cascade",
            "Fit a decision model before a judge, on runs of both.",
        ),
        "fit-meta": (
            "spct.cli.fit:fit_meta",
            "Calibrate a meta RM on a run with gold.",
        ),
        "criteria": ("spct.cli.criteria:app", "Write, show, check and lock criteria (rubrics)."),
        "export": ("spct.cli.runs:export", "Write a run's verdicts as JSONL, Parquet or CSV."),
        "runs": ("spct.cli.runs_list:app", "List runs with their figures."),
        "view": ("spct.cli.view:view", "Read judgements in the browser, or as one HTML file."),
        "show": ("spct.cli.view:show", "Print a stored judgement."),
        "doctor": ("spct.cli.doctor:doctor", "Check an engine, endpoint or scorer."),
    },
    "Measure": {
        "bench": ("spct.cli.bench:bench", "Run reward models over benchmarks and report."),
        "best-of-n": (
            "spct.cli.best_of_n:best_of_n",
            "Gold against a judge's reward over n: bench best-of-n.",
        ),
        "compare": ("spct.cli.compare:compare", "The same examples through several models."),
        "rank": ("spct.cli.view:rank", "Rank systems by the verdicts on their answers."),
        "compare-runs": ("spct.cli.bench:compare_runs", "Two benchmark runs, item by item."),
    },
    "Train": {
        "train": ("spct.cli.train:app", "Train a judge, a meta RM or a scalar reward model."),
        "export-model": (
            "spct.cli.export_model:export_model",
            "Write the judge as a transformers folder (vLLM, SGLang).",
        ),
        "push": ("spct.cli.push:push", "Send a trained model with its card to the hub."),
    },
    "Serve": {
        "serve": ("spct.cli.serve:serve", "Serve a reward model to RL trainers."),
    },
    "Data and settings": {
        "data": (
            "spct.cli.data:app+spct.cli.train_data:app",
            "Prepare examples, and what the stages learn from.",
        ),
        "validate": ("spct.cli.validate:validate", "Check a file of examples."),
        "config": ("spct.cli.settings:settings", "Show every setting and where it comes from."),
    },
}
COMMANDS = {name: entry for panel in PANELS.values() for name, entry in panel.items()}


class LazyGroup(TyperGroup):
    """Lists commands from the table above and imports the one that is called."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Every command's name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """What help shows of a command; the real one is loaded by `resolve_command`."""
        if cmd_name not in COMMANDS:
            return None
        panel = next(title for title, commands in PANELS.items() if cmd_name in commands)
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1], rich_help_panel=panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is called; an old or unknown one is named with the right one."""
        if args[:2] == ["bench", "best-of-n"]:  # it measures as bench does, and takes no model
            args = args[1:]
        if args[0] not in COMMANDS:
            meant = did_you_mean(args[0], COMMANDS)
            raise ConfigError(
                moved(args) or f"no command {args[0]!r}{meant} (spct --help lists them)"
            )
        return args[0], load(args[0]), args[1:]


def load(name: str) -> Any:
    """Import a command: a function, or a Typer app with commands of its own."""
    from spct.cli.options import finish  # with pydantic, which `spct --help` does without

    target, *more = map(_imported, COMMANDS[name][0].split("+"))
    if isinstance(target, typer.Typer):
        group, *others = (typer.main.get_command(part) for part in (target, *more))
        for other in others:
            group.commands |= other.commands  # type: ignore[attr-defined]
        return finish(group)
    app = typer.Typer(add_completion=False, context_settings=CONTEXT)
    app.command(name, help=target.__doc__)(target)
    return finish(typer.main.get_command(app))


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


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
    args = sys.argv[1:] if argv is None else argv
    code: object = 0
    with in_words(args):
        command = typer.main.get_command(app)
        if "_SPCT_COMPLETE" in os.environ:  # a shell asks for completions
            command.main(args, prog_name="spct")
        try:  # not `command.main`: it has its own idea of broken pipes and of errors
            with command.make_context("spct", list(args)) as context:
                command.invoke(context)
        except typer.Exit as done:
            code = done.exit_code
    sys.exit(code if isinstance(code, int) else 0)
