"""What can go wrong loudly. A single bad reply is data (`Unscored`); these are for everything else.

    SpctError
      ConfigError     (ValueError)    a setting, flag or combination of them cannot work
      DataError       (ValueError)    an input row or file is not what it claims to be
      FormatError     (ValueError)    a template and the slots that it must have disagree
      StoreError      (OSError)       a run's store is damaged, locked, full or of another config
      EngineError     (RuntimeError)  the engine cannot answer at all
        EndpointError                 ... the endpoint is unreachable, refuses the key or the model
        ContextOverflow               ... a prompt does not fit the model's context
      TrainError      (RuntimeError)  a training stage cannot go on
      ExtraMissing    (ImportError)   an optional dependency is missing; the message says the cure

A message says what was being done, what was got, what was expected, and what to do about it.
"""

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


class FormatError(SpctError, ValueError):
    """A template and the slots that it must have disagree."""

    exit_code = 2


class StoreError(SpctError, OSError):
    """A run's store is damaged, locked by another process, full, or belongs to another config."""

    exit_code = 5


class EngineError(SpctError, RuntimeError):
    """The engine cannot answer at all; one bad reply is an `Unscored` instead."""

    exit_code = 1


class EndpointError(EngineError):
    """The endpoint is unreachable, refuses the key, or does not have the model."""

    exit_code = 4


class ContextOverflow(EngineError):
    """A prompt, with the tokens asked for, does not fit the model's context."""

    exit_code = 2


class TrainError(SpctError, RuntimeError):
    """A training stage cannot go on."""


class ExtraMissing(SpctError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 2

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed; it comes with: pip install 'spct[{extra}]'"
        )
