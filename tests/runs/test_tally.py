from __future__ import annotations

from dataclasses import replace

import pytest

from spct.errors import OverBudget
from spct.runs.judging import Tally
from spct.types import Completion, Unscored, Verdict
from tests.runs.nouns import prompt_of, reply_of, verdict_of


def failing(example_id: str, *details: str) -> Verdict:
    prompt = prompt_of(example_id)
    failed = [
        (prompt, i, Completion("", "error", error=detail)) for i, detail in enumerate(details)
    ]
    return verdict_of(example_id, failed)


def scored(example_id: str) -> Verdict:
    prompt = prompt_of(example_id)
    return verdict_of(example_id, [(prompt, 1, reply_of(prompt, 1))])


def tally_of(*verdicts: Verdict) -> Tally:
    tally = Tally()
    for verdict in verdicts:
        tally.add(verdict)
    return tally


def test_the_commonest_reasons_are_told_with_their_counts_and_not_once_a_row() -> None:
    tally = tally_of(*(failing(f"id-{i}", f"row {i}: no choices in 'reply {i}'") for i in range(9)))
    tally.add(failing("x", "timed out"))
    tally.add(scored("y"))
    first, second = tally.reasons()
    assert first == "  unscored, 9 of 11: failed: row 0: no choices in 'reply 0'"
    assert second == "  unscored, 1 of 11: failed: timed out"
    assert tally.summary().splitlines()[1:] == [first, second]


def test_many_causes_are_cut_short_and_counted() -> None:
    tally = tally_of(*(failing(f"id-{c}", f"cause {c * 3}") for c in "abcdef"))
    assert len(tally.reasons()) == 4
    assert tally.reasons()[-1] == "  unscored, 3 of 6: 3 other causes"


def test_nothing_scored_is_always_an_error_and_an_empty_run_is_not() -> None:
    nothing = tally_of(failing("a", "x"), failing("b", "y"))
    with pytest.raises(OverBudget, match="nothing was scored: none of 2 examples") as caught:
        nothing.check()
    assert str(caught.value).splitlines()[1:] == nothing.reasons()  # once: not in the summary too
    assert len(nothing.summary().splitlines()) == 1
    assert caught.value.exit_code == 3
    Tally().check()
    tally_of(failing("a", "x"), scored("b")).check()


def test_more_unscored_than_allowed_is_an_error() -> None:
    tally = tally_of(failing("a", "x"), scored("b"))
    tally.check(0.5)
    with pytest.raises(OverBudget, match=r"50\.0% of the judgements are unscored"):
        tally.check(0.4)


def test_every_reason_is_counted_under_its_name() -> None:
    verdict = failing("a", "x", "y")
    first, second = verdict.trajectories
    mixed = replace(verdict, trajectories=(first, replace(second, outcome=Unscored("empty"))))
    assert tally_of(mixed).unscored == {"failed": 1, "empty": 1}
    assert "unscored, 1 of 3: empty" in tally_of(mixed, scored("b")).summary()
