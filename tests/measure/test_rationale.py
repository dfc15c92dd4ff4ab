"""Rationale consistency: the matching by hand, and the command on a stored run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from spct.engines.scripted import ScriptedEngine
from spct.errors import DataError
from spct.measure.agreement import cohens_kappa
from spct.measure.criteria import labels_of
from spct.measure.rationale import consistency, matched, points_of, prompt_of, reasons_of
from spct.text.neutralise import neutralise
from spct.types import Criteria, Criterion, Example, Message, Prompt, Unscored

ROW = Example(
    "e", (Message("user", "q"),), ("a", "b"), (1.0, 0.0), meta={"rationale": ["It is cold", "Salt"]}
)


def test_one_vague_reason_earns_one_point_and_the_best_matching_is_one_to_one() -> None:
    assert consistency([[1.0], [1.0], [1.0], [1.0]]) == pytest.approx(1 / 4)
    # greedily the first point would take 1.0 and leave 0.25; the best matching is 0.75 + 1.0
    assert consistency([[1.0, 0.75], [1.0, 0.25]]) == pytest.approx((0.75 + 1.0) / 2)
    assert consistency([[0.5, 0.0, 0.25]]) == pytest.approx(0.5)
    assert consistency([[], []]) == 0.0


def test_reasons_are_lines_or_sentences_and_at_most_five() -> None:
    assert reasons_of("1. Cold.\n\n- Salt is there.\n") == ("Cold.", "Salt is there.")
    assert reasons_of("It is cold. Salt is there! No?") == ("It is cold.", "Salt is there!", "No?")
    assert len(reasons_of("\n".join("abcdefgh"))) == 5 and reasons_of(" \n") == ()


def test_each_human_point_is_asked_about_with_all_reasons_and_text_is_neutralised() -> None:
    seen: list[Prompt] = []

    def reply(prompt: Prompt, seed: int) -> str:
        seen.append(prompt)
        is_cold = prompt.messages[0].content.endswith("Point: It is cold")
        return r"\boxed{4, 0}" if is_cold else r"\boxed{1, 2}"

    found = asyncio.run(matched(ScriptedEngine(reply), ROW, "Cold\nSalty \\boxed{4, 4}"))
    assert found == pytest.approx((1.0 + 0.5) / 2) and len(seen) == 2
    assert "\\boxed{4, 4}" not in seen[0].messages[0].content
    assert neutralise("Salty \\boxed{4, 4}") in seen[0].messages[0].content
    bad = asyncio.run(matched(ScriptedEngine(lambda p, s: r"\boxed{9, 0}"), ROW, "Cold\nSalty"))
    assert isinstance(bad, Unscored) and "human point 1" in bad.detail
    assert asyncio.run(matched(ScriptedEngine(reply), ROW, "")) == 0.0


@pytest.mark.parametrize("value", [[], [""], [3], {"a": 1}, ["x"] * 21])
def test_a_rationale_that_is_no_list_of_texts_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="rationale of example 'e'"):
        points_of(Example("e", ROW.query, ("a",), meta={"rationale": value}))
    assert prompt_of("e", "p", ("r",)).example_id == "e"


def test_kappa_by_hand_and_labels_by_name_or_order() -> None:
    # 3 yes-yes, 1 yes-no, 1 no-yes, 3 no-no: agreement 6/8, by chance 1/2
    pairs = [(True, True)] * 3 + [(True, False), (False, True)] + [(False, False)] * 3
    assert cohens_kappa(pairs) == pytest.approx((6 / 8 - 1 / 2) / (1 / 2))
    assert cohens_kappa([(True, True)] * 4) is None and cohens_kappa([]) is None
    listed = Criteria((Criterion("x", "X"), Criterion("y", "Y")))
    row = Example("e", ROW.query, ("a", "b"), meta={"met": [[True, 0.2], {"y": 1, "x": None}]})
    assert labels_of(row, listed) == {("e", 0, "x"): 1.0, ("e", 0, "y"): 0.2, ("e", 1, "y"): 1.0}
    for wrong in ([[1]], [[1], [1]], [{"x": 2}, {}], "yes"):
        with pytest.raises(DataError, match="labels of the example 'e'"):
            labels_of(Example("e", ROW.query, ("a", "b"), meta={"met": wrong}), listed)


def test_rows_bring_human_reasons_and_labels_and_the_commands_use_them(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    rows = [
        {
            "id": word,
            "query": f"Say something of a {word}",
            "responses": [f"Behold the {word}", "Behold nothing much"],
            "gold": [1, 0],
            "criteria": [{"name": "word", "text": f"Speaks of the {word}"}],
            "rationale": ["Only the first speaks of it"],
            "met": [[1], [0]],
        }
        for word in ("harbour", "orchard", "glacier")
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask = ("--engine", "scripted", "--output-dir", tmp_path / "runs")
    code, out, _ = run("sample", data, *ask, "--format", "met", "-k", "3")
    folder = out.strip().splitlines()[-1]
    assert code == 0
    code, out, _ = run("criteria", "measure", folder)
    assert code == 0 and "kappa" in out and "1.00" in out
    code, out, err = run("criteria", "rationale", folder, *ask)
    assert code == 3 and "RC of right verdicts: -" in out  # the fake judge matches nothing
    assert "3 replies drawn" in err
