"""What a person sees of a verdict, and how a run is graded where there is gold."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from spct.cli.card import Grades, show_verdict
from spct.core.settle import settle
from spct.measure.rules import credit
from spct.votes.vote import majority, mean_scores


def verdict_of(example, make_trajectory, *scores, vote=None):
    trajectories = [make_trajectory(s, i) for i, s in enumerate(scores)]
    return settle(example.id, trajectories, vote or mean_scores, len(scores))


def shown(example, verdict, **options):
    out = io.StringIO()
    show_verdict(Console(file=out, width=100), example, verdict, full=False, **options)
    return " ".join(out.getvalue().replace("│", " ").split())


def test_rewards_are_means_with_their_scale(make_example, make_trajectory):
    example = make_example("a", "b")
    verdict = verdict_of(example, make_trajectory, (8, 3), (7, 4))
    text = shown(example, verdict, top=10.0)
    assert "7.5 of 10" in text and "3.5 of 10" in text and "100% agree" in text
    assert "7.5 of 10" not in shown(example, verdict)


@pytest.mark.parametrize(
    ("gold", "scores", "said"),
    [
        ((1.0, 0.0), (8, 3), "response 1 wins, right"),
        ((0.0, 1.0), (8, 3), "response 1 wins, wrong"),
        ((1.0, 0.0), (5, 5), "a tie between responses 1, 2, partly right"),
    ],
)
def test_a_verdict_with_gold_is_marked(make_example, make_trajectory, gold, scores, said):
    example = make_example("a", "b", gold=gold)
    text = shown(example, verdict_of(example, make_trajectory, scores), top=10.0)
    assert said in text and "gold" in text and "✓" in text and "✗" in text


def test_without_gold_nothing_is_right_or_wrong(make_example, make_trajectory):
    example = make_example("a", "b")
    text = shown(example, verdict_of(example, make_trajectory, (8, 3)), top=10.0)
    assert "right" not in text and "wrong" not in text and "gold" not in text


def test_one_response_agrees_with_nobody(make_example, make_trajectory):
    example = make_example("a", gold=(1.0,))
    text = shown(example, verdict_of(example, make_trajectory, (7,), (9,)), top=10.0)
    assert "reward 8.0 of 10" in text and "agree" not in text and "right" not in text
    graded = shown(example, verdict_of(example, make_trajectory, (1,), (0,), (1,)), top=1.0)
    assert "0.7 of 1, right" in graded


def test_an_unscored_verdict_has_no_reward_and_no_mark(make_example, make_trajectory):
    example = make_example("a", "b", gold=(1.0, 0.0))
    text = shown(example, verdict_of(example, make_trajectory, "no_verdict"), top=10.0)
    assert "no verdict" in text and "wrong" not in text and "of 10" not in text


def test_grades_count_ties_and_unscored_and_agree_with_the_shared_rule(
    make_example, make_trajectory
):
    example, other = make_example("a", "b", gold=(1.0, 0.0)), make_example("a", "b")
    grades, verdicts = Grades(10.0), []
    for scores in ((8, 3), (3, 8), (5, 5), "no_verdict"):
        verdicts.append(verdict_of(example, make_trajectory, scores))
        grades.add(example, verdicts[-1])
    grades.add(other, verdicts[0])  # without gold it counts nowhere
    assert grades.credits == [credit(v.rewards, example.gold) for v in verdicts] == [1, 0, 0.5, 0]
    line = grades.line()
    assert "accuracy 37.5% [" in line and "of 4 examples with gold" in line
    assert "1 ties share" in line and "1 unscored earn none" in line


def test_majority_rewards_are_shares_and_have_no_scale(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = {"query": "Capital?", "responses": ["the Capital", "x"], "gold": [1, 0]}
    Path("one.jsonl").write_text(json.dumps(row) + "\n")
    fake = ("judge", "one.jsonl", "--engine", "scripted", "-k", "4")
    code, out, err = run(*fake, "--vote", "majority")
    assert code == 0 and "of 10" not in out and "accuracy" in err
    assert "of 10" in run(*fake)[1]
    assert "accuracy" in run(*fake, "--json")[2]
    assert majority.name == "majority"
