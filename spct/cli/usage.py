"""What a person meets who types something else: old spellings and near misses.

Every usage error is one line that names the right word; nothing here knows what a command does.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.exceptions import TyperException

from spct.errors import did_you_mean

ONE_LINE = (TyperException, typer.Abort)

# Commands of version 0.1 and what they are called now.
OLD_COMMANDS = {
    ("rft", "data"): "spct data rft",
    ("rft", "filter"): "spct data rft-filter",
    ("rft", "train"): "spct train rft",
    ("rft",): "spct data rft (its data) and spct train rft",
    ("rl",): "spct train rl",
    ("meta", "data"): "spct data meta",
    ("meta", "train"): "spct train meta",
    ("meta",): "spct data meta (its data) and spct train meta",
    ("pipeline",): "spct train pipeline --config FILE",
}
# Flags of version 0.1, by command, and what they are called now.
OLD_FLAGS = {
    ("bench", "--output-dir"): "--out (-o), the run folder",
    ("compare", "--k"): "-k (--samples)",
    ("judge", "--lenient"): "--parse lenient",
    ("sample", "--lenient"): "--parse lenient",
    ("rescore", "--lenient"): "--parse lenient",
    **{
        (command, flag): now
        for command in ("judge", "sample", "rescore", "doctor")
        for flag, now in (
            ("--concurrency", "--examples-in-flight"),
            ("--lenient", "--parse lenient"),
            ("--no-lenient", "--parse strict"),
        )
    },
    ("serve", "--max-concurrency"): "--examples-in-flight",
    ("serve", "-j"): "--examples-in-flight (-j is requests in flight, as everywhere)",
    ("sample", "--resume"): "--out (-o), the run folder: it continues where there is a run",
}


def moved(args: list[str]) -> str | None:
    """The answer to a command of version 0.1, or None."""
    words = [word for word in args[:2] if not word.startswith("-")]
    for n in (2, 1):
        if (now := OLD_COMMANDS.get(tuple(words[:n]))) is not None and len(words) >= n:
            return f"spct {' '.join(words[:n])} is now: {now}"
    return None


def explain(error: BaseException) -> str:
    """A usage error in one line, with the nearest word that is known; "" where help was shown."""
    context: Any = getattr(error, "ctx", None)
    flag = str(getattr(error, "option_name", ""))
    if context is None or not flag or type(error).__name__ != "NoSuchOption":
        message = getattr(error, "format_message", lambda: "stopped: there is no more input")()
        return " ".join(message.split())
    command = context.command_path.removeprefix("spct ")
    old = {name: now for (of, name), now in OLD_FLAGS.items() if of == command}
    if flag in old:
        return f"spct {command}: {flag} is now: {old[flag]}"
    if command == "config":  # it took the flags of engine and judge
        return f"spct config: no option {flag}; name a setting by --set, such as --set judge.k=4"
    known = sorted({name for p in context.command.params for name in (*p.opts, *p.secondary_opts)})
    # difflib finds nothing near a word of one letter.
    short = flag[1:] if len(flag) == 3 else f"-{flag}"  # --k for -k, -config for --config
    meant = f"; did you mean {short}?" if short in known else ""
    meant = meant or did_you_mean(flag, [*known, *old], shown="{}")
    listed = "--help-all" if "--help-all" in known else "--help"
    return f"spct {command}: no option {flag}{meant} (spct {command} {listed} lists them)"
