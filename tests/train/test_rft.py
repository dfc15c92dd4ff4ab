"""Rejection, hints and the funnel, worked by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spct.data.dropped import Dropped
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, ContextOverflow, DataError, EngineError, TrainError
from spct.train.config import RftDataConfig
from spct.train.rft import (
    Funnel,
    as_messages,
    build,
    general_rows,
    is_too_easy,
    reject,
    training_row,
)
from spct.train.sampling import Formats
from spct.train.sft import read_chat_rows
from spct.types import Example, Message, Prompt, Trajectory
from tests.train.conftest import PAIR, judged

CONFIG = RftDataConfig(n_samples=3)
RIGHT, WRONG, TIE = (8.0, 3.0), (3.0, 8.0), (5.0, 5.0)


def kept_of(*trajectories: Trajectory, config: RftDataConfig = CONFIG) -> tuple[list[int], Funnel]:
    funnel = Funnel()
    return [t.index for t in reject(PAIR, trajectories, config, funnel)], funnel


def test_unscored_wrong_and_tied_trajectories_are_rejected() -> None:
    kept, funnel = kept_of(
        judged(PAIR, None, index=0), judged(PAIR, WRONG, index=1), judged(PAIR, TIE, index=2)
    )
    assert kept == []
    assert funnel.total("unscored") == 1
    assert funnel.total("wrong") == 2
    assert funnel.total("kept") == 0


def test_right_trajectories_of_a_mixed_example_are_kept() -> None:
    kept, funnel = kept_of(
        judged(PAIR, RIGHT, index=0), judged(PAIR, WRONG, index=1), judged(PAIR, RIGHT, index=2)
    )
    assert kept == [0, 2]
    assert funnel.counts["kept", 2, "toy"] == 2


def test_an_example_that_all_samples_get_right_is_too_easy() -> None:
    kept, funnel = kept_of(*(judged(PAIR, RIGHT, index=i) for i in range(3)))
    assert kept == []
    assert funnel.total("too_easy") == 1
    assert funnel.total("kept") == 0


def test_two_right_of_three_drawn_is_not_too_easy_while_the_third_is_missing() -> None:
    two = [judged(PAIR, RIGHT, index=i) for i in range(2)]
    assert not is_too_easy(PAIR, two, 3)
    assert is_too_easy(PAIR, two, 2)


def test_a_hinted_trajectory_is_dropped_only_when_wrong() -> None:
    easy = [judged(PAIR, RIGHT, index=i) for i in range(3)]
    kept, funnel = kept_of(*easy, judged(PAIR, RIGHT, index=3, hint=0))
    assert kept == [3]  # the example is too easy, its hinted sample stays
    assert funnel.total("hinted_kept") == 1
    kept, funnel = kept_of(judged(PAIR, WRONG, index=0), judged(PAIR, TIE, index=3, hint=0))
    assert kept == []
    assert funnel.total("hinted_wrong") == 1


def test_the_hint_is_not_in_the_training_prompt() -> None:
    trajectory = judged(PAIR, RIGHT, hint=0)
    assert "The best response is" in trajectory.prompt.messages[0].content
    row = training_row(PAIR, trajectory, Formats())
    assert "The best response is" not in json.dumps(row)
    assert row["hinted"] is True
    assert [m["role"] for m in as_messages(row)["messages"]] == ["user", "assistant"]


def test_equal_trajectories_are_kept_once_and_others_up_to_the_limit() -> None:
    same = [judged(PAIR, RIGHT, index=i, text="x \\boxed{8, 3}") for i in range(2)]
    kept, funnel = kept_of(*same, judged(PAIR, WRONG, index=2))
    assert kept == [0]
    assert funnel.total("duplicate") == 1
    limited = CONFIG.model_copy(update={"max_kept_per_example": 1})
    three = [judged(PAIR, s, index=i) for i, s in enumerate((RIGHT, RIGHT, WRONG))]
    kept, funnel = kept_of(*three, config=limited)
    assert kept == [0]
    assert funnel.total("over_limit") == 1


def test_switches_leave_out_hinted_or_non_hinted() -> None:
    no_plain = CONFIG.model_copy(update={"non_hinted": False})
    plain = [judged(PAIR, RIGHT, index=0), judged(PAIR, WRONG, index=1)]
    kept, funnel = kept_of(*plain, judged(PAIR, RIGHT, index=3, hint=0), config=no_plain)
    assert kept == [3]
    assert funnel.total("switched_off") == 1


async def test_gold_that_cannot_decide_is_not_asked_about_and_counted_by_its_fault(
    tmp_path: Path,
) -> None:
    faulty = [
        replace(PAIR, id=str(gold), gold=gold)
        for gold in (None, (1.0, 1.0), (0.0, 0.0), (2.0, 2.0))
    ]
    engine = ScriptedEngine(reply)
    funnel = await build([*faulty, PAIR], engine, Formats(), CONFIG, tmp_path / "a")
    assert engine.n_samples == 4  # of the pair, with the hinted one
    skipped = {"no gold": 1, "no unique best": 3}
    record = json.loads((tmp_path / "a/funnel.json").read_text())
    assert record == funnel.record() and record["skipped"] == skipped
    (row,) = record["by_n_and_source"]
    assert (row["source"], row["asked"], row["skipped"]) == ("toy", 1, skipped)
    with pytest.raises(TrainError, match=r"none is left .*'no gold': 1, 'no unique best': 3"):
        await build(faulty, engine, Formats(), CONFIG, tmp_path / "b")
    assert engine.n_samples == 4 and (tmp_path / "b/funnel.json").is_file()


def test_general_rows_are_mixed_in_by_ratio_and_never_repeated() -> None:
    general = [
        {"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": "a"}]}
        for i in range(4)
    ]
    rows = general_rows(general, 3, seed=0)
    assert len({row["prompt"][0]["content"] for row in rows}) == 3
    with pytest.raises(ConfigError, match="lower general_ratio"):
        general_rows(general, 5, seed=0)
    with pytest.raises(DataError, match="expected `prompt` and `completion`"):
        general_rows([{"text": "x"}], 1, seed=0)


def reply(prompt: Prompt, seed: int) -> str:
    """Right when hinted, otherwise right for two seeds of three; scores in the order shown."""
    right = prompt.hint is not None or seed % 3
    first = 9 if right else 1
    scores = [first if original == 0 else 5 for original in prompt.order]
    verdict = f"Scores: \\boxed{{{scores[0]}, {scores[1]}}}"
    return f"Specific Criteria:\n1. **a**: b\nAnalysis:\n{seed}\n{verdict}"


async def test_build_writes_rows_and_a_funnel_that_add_up_and_resumes(tmp_path: Path) -> None:
    examples = [
        Example(f"e{i}", (Message("user", f"q{i}"),), ("good", "bad"), (1.0, 0.0), subset="s")
        for i in range(20)
    ]
    engine = ScriptedEngine(reply)
    config = CONFIG.model_copy(update={"general_ratio": 0.1})
    general = [
        {"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": "a"}]}
        for i in range(20)
    ]
    funnel = await build(examples, engine, Formats(), config, tmp_path, general)
    assert engine.n_samples == 20 * 4
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    judged_rows = [row for row in rows if row["source"] != "general"]
    assert len(judged_rows) == funnel.total("kept") + funnel.total("hinted_kept")
    assert funnel.total("hinted_kept") + funnel.total("duplicate") >= 20
    assert len(rows) - len(judged_rows) == funnel.general == round(0.1 * len(judged_rows))
    record = json.loads((tmp_path / "funnel.json").read_text())
    assert record["totals"]["asked"] == 20
    assert record["by_n_and_source"][0]["n"] == 2

    again = ScriptedEngine(reply)
    await build(examples, again, Formats(), config, tmp_path, general)
    assert again.n_samples == 0  # everything was in the run folder


async def test_build_continues_after_a_kill_with_the_same_rows(tmp_path: Path) -> None:
    examples = [
        Example(f"e{i}", (Message("user", f"q{i}"),), ("good", "bad"), (1.0, 0.0))
        for i in range(12)
    ]
    calls = 0

    def dies(prompt: Prompt, seed: int) -> str:
        nonlocal calls
        calls += 1
        if calls > 17:
            raise EngineError("the engine died")
        return reply(prompt, seed)

    config = CONFIG.model_copy(update={"concurrency": 1})
    with pytest.raises(EngineError, match="died"):
        await build(examples, ScriptedEngine(dies), Formats(), config, tmp_path / "a")
    rest = ScriptedEngine(reply)
    await build(examples, rest, Formats(), config, tmp_path / "a")
    assert 0 < rest.n_samples < 12 * 4
    await build(examples, ScriptedEngine(reply), Formats(), config, tmp_path / "b")
    assert (tmp_path / "a/rows.jsonl").read_text() == (tmp_path / "b/rows.jsonl").read_text()


async def test_an_example_longer_than_the_context_is_counted_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    def overflowing(prompt: Prompt, seed: int) -> str:
        if prompt.example_id == "long":
            raise ContextOverflow("sampling example 'long': 9000 tokens do not fit 4096")
        return reply(prompt, seed)

    examples = [
        Example(name, (Message("user", name),), ("good", "bad"), (1.0, 0.0))
        for name in ("short", "long")
    ]
    config = CONFIG.model_copy(update={"hinted": False})
    funnel = await build(examples, ScriptedEngine(overflowing), Formats(), config, tmp_path)
    assert funnel.total("asked") == 2
    assert funnel.total("unscored") == 3


async def test_the_rows_follow_the_examples_as_they_are_now(tmp_path: Path) -> None:
    """Gold may change and examples may go; what the model was shown may not."""
    examples = [
        Example(f"e{i}", (Message("user", f"q{i}"),), ("good", "bad"), (1.0, 0.0)) for i in range(4)
    ]
    await build(examples, ScriptedEngine(reply), Formats(), CONFIG, tmp_path)
    again = ScriptedEngine(reply)
    relabelled = [replace(examples[0], gold=(0.0, 1.0)), *examples[1:3]]
    funnel = await build(relabelled, again, Formats(), CONFIG, tmp_path)
    assert again.n_samples == 0
    assert funnel.total("asked") == 3
    assert funnel.total("hinted_wrong") == 1  # e0's, hinted at what was right then
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert "e3" not in {row["example_id"] for row in rows}
    assert all(
        "{1, 5}" in row["completion"][0]["content"] or "{5, 1}" in row["completion"][0]["content"]
        for row in rows
        if row["example_id"] == "e0"
    )
    other = [replace(examples[0], responses=("better", "bad"))]
    with pytest.raises(DataError, match="'e0' has other texts"):
        await build(other, again, Formats(), CONFIG, tmp_path)


def test_bad_chat_rows_are_named_or_left_out(tmp_path: Path) -> None:
    good = {"prompt": [{"role": "user", "content": "q"}],
            "completion": [{"role": "assistant", "content": "a"}]}  # fmt: skip
    bad = [{**good, "prompt": "q"}, {**good, "completion": []}, {"prompt": good["prompt"]},
           {**good, "completion": [{"role": "assistant", "content": None}]}, ["x"]]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [good, *bad, good])) + "\nnot JSON\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2.*prompt.*a list of messages"):
        read_chat_rows(path)
    dropped = Dropped()
    assert read_chat_rows(path, dropped) == [good, good]
    assert dropped.n == 6 and len(dropped.kinds) == 4
