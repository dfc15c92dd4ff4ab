import os
import signal

import pytest
from hypothesis import settings

from spct.types import Completion, Example, Judgement, Message, Prompt, Trajectory, Unscored

# Workers share the cores: a pool of threads each would make them wait for one another.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

settings.register_profile("fast", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(("SPCT_", "OPENAI_")) and name != "SPCT_DATA":
            monkeypatch.delenv(name)


@pytest.fixture
def run(capsys):
    """Run `spct ...` in this process; return its exit code, standard output and standard error."""

    from spct.cli.main import main

    def call(*argv):
        handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as done:
                main([str(arg) for arg in argv])
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capsys.readouterr()
        return done.value.code, out, err

    return call


@pytest.fixture
def make_example():
    def make(*responses, id="e", query="Why is the sky blue?", **fields):
        return Example(id, (Message("user", query),), responses or ("a", "b"), **fields)

    return make


@pytest.fixture
def make_trajectory():
    """A trajectory that says these scores, or the reason of an unscored one."""

    def make(scores, index=0, *, meta_score=None, expected=None):
        n = len(scores) if isinstance(scores, tuple) else 2
        outcome = (
            Unscored(scores)
            if isinstance(scores, str)
            else Judgement((), "", tuple(map(float, scores)), expected)
        )
        prompt = Prompt("e", (), tuple(range(n)))
        return Trajectory("e", index, index, prompt, Completion(""), outcome, "test", meta_score)

    return make
