"""The process around a command: signals, standard streams, and everything that goes wrong.

The first signal ends a job after what is in flight, the second at once. What goes wrong outside of
spct ends in one sentence and an exit code; what is left is a bug, and keeps its traceback.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from spct.cli.usage import ONE_LINE, explain
from spct.errors import ExtraMissing, SpctError, StoreError, printable

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 30.0


class Stopped(SystemExit):
    """A signal asked us to stop. A SystemExit, because asyncio swallows most others."""


def stop_on_signals() -> None:
    """Let a signal raise `Stopped` wherever the program is, so that all closes on the way out."""
    for number in SIGNALS:
        signal.signal(number, _stop)


def _stop_no_more() -> None:
    """Let a signal end the process as it is: what runs at its exit would print a traceback."""
    for number in SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)  # a second one does not wait
    raise Stopped(128 + signum)


def fast_loop() -> asyncio.AbstractEventLoop:
    """The gateway's loop, of libuv, where there is one."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


class Job:
    """Runs one coroutine that can be asked to stop.

    After the first signal `gate` lets no more items through, so the job ends by itself when what is
    in flight is done; after `patience_s` seconds, or at a second signal, it is cancelled.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._signum: int | None = None

    def gate(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until a signal comes."""
        for item in items:
            if self._signum is not None:
                return
            yield item

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end; raise `Stopped` if a signal cut it short."""

        async def watched() -> T:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            for number in SIGNALS:
                loop.add_signal_handler(number, self._ask, number, loop, task)
            return await work

        try:
            with asyncio.Runner(loop_factory=fast_loop) as runner:
                result = runner.run(watched())
        except asyncio.CancelledError:
            if self._signum is None:
                raise
            raise Stopped(128 + self._signum) from None
        finally:
            stop_on_signals()  # the loop took its own handlers away with it
        if self._signum is not None:
            raise Stopped(128 + self._signum)
        return result

    def _ask(self, signum: int, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        if self._signum is not None:
            task.cancel()
            return
        self._signum = signum
        loop.call_later(self._patience_s, task.cancel)
        print(
            f"stopping: finishing what is in flight, at most {self._patience_s:g} s "
            "(a second signal stops now)",
            file=sys.stderr,
        )


# The extra that brings each package; pip's name where it is another than the module's.
EXTRAS = {
    **dict.fromkeys(("numpy", "scipy", "matplotlib"), "bench"),
    **dict.fromkeys(("torch", "transformers", "peft"), "hf"),
    **dict.fromkeys(("trl", "accelerate"), "train"),
    **dict.fromkeys(("openvino", "openvino_genai", "gguf", "safetensors"), "embedded"),
    "xllamacpp": "llamacpp",
    "pyarrow": "parquet",
    "datasets": "hub",
    "ray": "scale",
    "inspect_ai": "inspect",
}
STAGES = ("rft", "rl", "meta", "bradley-terry", "pairwise", "cloud", "decision")
# What is true when a command is stopped; the others have written nothing.
STOPPED = {
    "judge": "stopped; nothing is stored: what was printed is all (spct sample continues a run)",
    "doctor": "stopped; nothing was changed",
    **dict.fromkeys(
        ("sample", "bench", "compare", "data rft", "train pipeline"),
        "stopped; every reply that came is stored, the same command continues",
    ),
    **dict.fromkeys(
        [f"train {stage}" for stage in STAGES],
        "stopped; the same command continues from the last checkpoint, if there is one yet",
    ),
}


@contextmanager
def in_words(argv: Sequence[str]) -> Iterator[None]:
    """End the process with a sentence and its exit code when the command cannot go on."""
    _open_streams()
    try:
        yield
        sys.stdout.flush()  # a full disk must not wait until the interpreter is gone
    except Stopped:
        _say(_stopped(argv))
        raise
    except SpctError as error:
        _end(error, error.exit_code)
    # Typer's own: usage errors, and Abort where standard input ends in a prompt.
    except ONE_LINE as error:
        _end(explain(error), 2)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        _silence_stdout()
        sys.exit(0)
    # Extras are imported where they are used, by us or by a library of ours.
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _end(ExtraMissing(package, EXTRAS[package]), ExtraMissing.exit_code)
    except UnicodeEncodeError as error:  # a surrogate, or a terminal that is not UTF-8
        _end(f"cannot write {error.object[error.start : error.end]!r}: {error}", 5)
    # What the store and the writers of files did not turn into a StoreError themselves.
    except OSError as error:
        _end(_reason(error), StoreError.exit_code)
    except MemoryError:
        _end("there is not enough memory for this; fewer examples in flight need less", 1)
    finally:
        _stop_no_more()


def _reason(error: OSError) -> str:
    """An error of the system in words: the file, and why."""
    why = error.strerror or str(error) or type(error).__name__
    return why if error.filename is None else f"{os.fsdecode(error.filename)!r}: {why}"


class _Output(io.FileIO):
    """The standard output; a write that fails says that it was this one."""

    def write(self, data: Any, /) -> int:
        """Write bytes, or raise `StoreError` unless the reader went away."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StoreError(f"cannot write to the standard output: {error.strerror}") from error


def _stopped(argv: Sequence[str]) -> str:
    words = [word for word in argv[:2] if not word.startswith("-")]
    known = (STOPPED.get(" ".join(words[:n])) for n in (2, 1))
    return next((told for told in known if told), "stopped; no file was written")


def _open_streams() -> None:
    """Refuse a closed standard output: a file opened later would get its number and our text."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
            if name == "stdout":
                _end("the standard output is closed; send it to a file, or to /dev/null", 5)
    out: Any = sys.__stdout__
    if sys.stdout is out:  # and not what a test reads
        raw = io.BufferedWriter(_Output(out.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(raw, out.encoding, out.errors, line_buffering=out.isatty())


def _silence_stdout() -> None:
    """Let what is still in the buffer go nowhere: at exit Python would write it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(error: object, code: int) -> None:
    if text := printable(str(error)):
        _say(f"error: {text}")
    try:
        sys.stdout.flush()
    except (OSError, SpctError):
        _silence_stdout()
    sys.exit(code)


def _say(text: str) -> None:
    with suppress(OSError):  # a closed or full standard error: the exit code is left
        print(text, file=sys.stderr, flush=True)
