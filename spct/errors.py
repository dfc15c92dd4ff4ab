"""What can go wrong loudly. A single bad reply is data (`Unscored`); these are for everything else.

    SpctError                       1
      ConfigError     (ValueError)    2  a setting, flag or combination of them cannot work
      DataError       (ValueError)    2  an input row or file is not what it claims to be
        TemplateError                 2  ... templated text that no chat template explains
      FormatError     (ValueError)    2  a template and the slots that it must have disagree
      OverBudget                      3  nothing was scored, or less than was demanded
      StoreError      (OSError)       5  a run's store is damaged, locked, full or of another config
      EngineError     (RuntimeError)  4  the engine cannot answer at all
        EndpointError                 4  ... the endpoint is unreachable, refuses key or model
        ContextOverflow               2  ... a prompt does not fit the model's context
      TrainError      (RuntimeError)  2  a training stage cannot go on
      ExtraMissing    (ImportError)   2  an optional dependency is missing; the message has the cure
      GateFailed                      6  a result is below what was asked for
        CheckFailed   (ValueError)    6  ... a scorer's numbers cannot be trusted
        Overlapping                   6  ... test queries are in the training data

The number is the exit code of the command line: 0 is done, 1 a bug, 130 and 143 a signal. A message
says what was being done, what was got, what was expected, and what to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

SUMS_ARE_GONE = (
    "there is no vote 'sum': rewards are means over the counted judgements now, on the judge's "
    "scale; --vote mean ranks alike"
)


class SpctError(Exception):
    """Base of every error that spct raises on purpose; `exit_code` is the CLI's."""

    exit_code = 1


class ConfigError(SpctError, ValueError):
    """A setting, flag or combination of settings that cannot work."""

    exit_code = 2


class DataError(SpctError, ValueError):
    """An input row or file that is not what it claims to be; names file, line and field."""

    exit_code = 2


class TemplateError(DataError):
    """Text with control tokens that no chat template, or not the named one, explains."""


class FormatError(SpctError, ValueError):
    """A template and the slots that it must have disagree."""

    exit_code = 2


class OverBudget(SpctError):
    """Finished, but nothing was scored, or more judgements are unscored than was allowed."""

    exit_code = 3


class StoreError(SpctError, OSError):
    """A run's store is damaged, locked by another process, full, or belongs to another config."""

    exit_code = 5


class EngineError(SpctError, RuntimeError):
    """The engine cannot answer at all; one bad reply is an `Unscored` instead."""

    exit_code = 4


class EndpointError(EngineError):
    """The endpoint is unreachable, refuses the key, or does not have the model."""


class ContextOverflow(EngineError):
    """A prompt, with the tokens asked for, does not fit the model's context."""

    exit_code = 2


class TemplateRefused(FormatError):
    """A model's chat template cannot write these turns, such as one without a system role."""


# What is wrong with one example alone: it stays unscored with its reason, and the others go on.
EXAMPLE_FAULTS = (ContextOverflow, TemplateRefused)


class TrainError(SpctError, RuntimeError):
    """A training stage cannot go on, with these data and settings."""

    exit_code = 2


class ExtraMissing(SpctError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 2

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed; it comes with: pip install 'spct[{extra}]'"
        )


class GateFailed(SpctError):
    """A result is not as good as the caller demanded."""

    exit_code = 6


class CheckFailed(GateFailed, ValueError):
    """A scorer's numbers cannot be trusted."""


class Overlapping(GateFailed):
    """Test queries were found in training data."""


NOT_UTF8 = "; save it as UTF-8 (from UTF-16: iconv -f UTF-16 -t UTF-8 OLD > NEW)"


def did_you_mean(word: str, known: Iterable[str], *, shown: str = "{!r}") -> str:
    """The end of a message about an unknown word: "; did you mean 'k'?", or nothing."""
    near = get_close_matches(word, known, 1)
    return f"; did you mean {shown.format(near[0])}?" if near else ""


@contextmanager
def first_error() -> Iterator[None]:
    """Around a `TaskGroup`: raise the error of the one task that failed.

    The group cancels the others for it, so what it wraps is that one error.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


# C0 but for tab and newline, DEL and C1, zero-width and bidi controls, line separators, BOM.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def printable(text: str) -> str:
    """Text without control, bidi and zero-width characters or lone surrogates.

    What others wrote is shown on terminals and in logs through this alone: an escape sequence in a
    response must not move the cursor, and a bidi mark must not reorder a line.
    """
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode()
