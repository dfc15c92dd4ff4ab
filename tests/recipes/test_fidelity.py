"""S-Corr on the synthetic world, held against a count by hand."""

import json
import random
from pathlib import Path

import pytest

from recipes.synthetic.fidelity import REASONS, Fidelity, fidelity, s_corr_change, s_corr_interval
from recipes.synthetic.rows import study_formats
from recipes.synthetic.teacher import CAREFUL, ERRING, Teacher, judgement_text
from recipes.synthetic.world import draw_examples
from recipes.synthetic.write import write_study
from spct.core.settle import settle
from spct.measure.intervals import Interval
from spct.measure.metrics import Health
from spct.runs.codec import dump_example, to_line
from spct.runs.store import Store
from spct.train.evaluate import ModelReport, Report, save_curves
from spct.types import Completion, Example, Trajectory
from spct.votes.vote import mean_scores

EXAMPLES = draw_examples(3, 50, "fidelity")


def judged(teacher: Teacher, example: Example, i: int, index: int = 0) -> Trajectory:
    formats, order = study_formats(), tuple(range(example.n))
    text = judgement_text(example, order, random.Random(f"{i}/{index}"), teacher)
    prompt = formats.of(example).render(example, order)
    read = formats.of(example).read(Completion(text), order)
    return Trajectory(example.id, index, 0, prompt, Completion(text), read, "t")


def all_judged(teacher: Teacher) -> list[tuple[Example, Trajectory]]:
    return [(example, judged(teacher, example, i)) for i, example in enumerate(EXAMPLES)]


def test_s_corr_is_the_count_by_hand_on_fifty_judgements() -> None:
    pairs, formats = all_judged(ERRING), study_formats()
    sound = unsound = wrong = 0
    for example, trajectory in pairs:
        order, text = trajectory.prompt.order, trajectory.completion.text
        read = formats.of(example).read(Completion(text), order)
        # by hand: the best strictly above all others (0 or 1 for one), and a careful teacher's text
        top = max(range(example.n), key=lambda j: example.gold[j])
        others = [s for j, s in enumerate(read.scores) if j != top]
        if example.n == 1:
            is_right = read.scores[0] == example.gold[0]
        else:
            is_right = all(read.scores[top] > s for s in others)
        careful = judgement_text(example, order, random.Random(0), CAREFUL)
        sound += is_right and text == careful
        unsound += is_right and text != careful
        wrong += not is_right
    found = fidelity(pairs)
    assert found == Fidelity(sound, unsound, wrong, 0) and sound and unsound and wrong
    assert found.s_corr == pytest.approx(unsound / (sound + unsound))
    assert found.f_score == pytest.approx((sound + unsound) / 50 * sound / (sound + unsound))
    told = s_corr_interval(pairs)
    assert told is not None and told.point == pytest.approx(found.s_corr)
    assert Fidelity(0, 0, 3, 1).s_corr is None


def test_a_favour_after_true_checks_is_no_fault_of_the_checks() -> None:
    pairs = all_judged(Teacher(favour=1.0))
    assert fidelity(pairs, REASONS).s_corr == 0
    assert (fidelity(pairs).s_corr or 0) > 0.5
    moved = s_corr_change(pairs, all_judged(CAREFUL))
    assert moved is not None and moved.high is not None and moved.high < 0


def test_unscored_judgements_bound_s_corr_and_are_not_in_it() -> None:
    found = Fidelity(right_sound=6, right_unsound=2, wrong=1, unscored=2)
    assert found.s_corr == pytest.approx(2 / 8)
    assert found.bounds == (pytest.approx(2 / 10), pytest.approx(4 / 10))


@pytest.mark.slow
async def test_the_study_s_page_has_s_corr_and_f_score_of_every_stage(tmp_path: Path) -> None:
    stages = {"cold_start": ERRING, "rft": Teacher(misread=0.1), "rl": CAREFUL}
    rows = "".join(f"{to_line(dump_example(e))}\n" for e in EXAMPLES)
    (tmp_path / "test.jsonl").write_text(rows)
    half = Interval(0.5, 0.4, 0.6)
    report = Report(len(EXAMPLES))
    for name, teacher in stages.items():
        report.models[name] = ModelReport(half, {1: half}, Health(0.0, 0.1, 60.0))
        with Store.open(tmp_path / "run" / "evaluate" / name / "sampled", {"of": name}) as store:
            for i, example in enumerate(EXAMPLES):
                some = [judged(teacher, example, i, index) for index in range(4)]
                await store.put_verdict(settle(example.id, some, mean_scores, 4))
    save_curves(report, tmp_path / "run" / "evaluate")
    evaluated = {**json.loads(json.dumps(report.record())), "seconds": 1.0}
    full = {
        "evaluate": evaluated,
        "rft_data": {"totals": {"kept": 1}, "seconds": 1.0},
        "rl": {"n_examples": 1, "n_too_easy": 0, "steps": 1, "seconds": 1.0},
    }
    write_study(tmp_path, tmp_path, "ci", {"full": full})
    page = (tmp_path / "study.md").read_text()
    assert "| model | L-Acc | S-Corr | F-Score |" in page
    assert "| rl | 100.0% | 0.0 [0.0, " in page and "| 100.0% | 0 of 200 | 0.0% to 0.0% |" in page
    expected = fidelity(
        (e, judged(ERRING, e, i, k)) for i, e in enumerate(EXAMPLES) for k in range(4)
    )
    (cold,) = [line for line in page.split("Right for")[1].splitlines() if "| cold_start" in line]
    assert cold.split(" | ")[1] == f"{100 * (expected.l_acc or 0):.1f}%"
    assert cold.split(" | ")[2].startswith(f"{100 * (expected.s_corr or 0):.1f} [")
    assert "S-Corr, rft - cold_start: -" in page and "points (fewer)" in page
