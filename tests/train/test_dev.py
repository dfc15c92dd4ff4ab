"""What an evaluation of a training run keeps: a run folder that the viewer opens."""

from pathlib import Path
from typing import Any

from spct.core.settle import settle
from spct.train.dev import DevSet, both_orders, keep
from spct.view.keys import key_of
from spct.view.run import RunView
from spct.votes.vote import mean_scores
from tests.train.conftest import judged


def test_judgements_of_an_evaluation_open_in_the_viewer_also_after_a_resume(
    tmp_path: Path, make_example: Any
) -> None:
    examples = [make_example("a", "b", id=str(i), gold=(1.0, 0.0)) for i in range(3)]
    said = [((8, 3), (7, 4)), ((8, 3), (3, 8)), ((2, 9), None)]  # as given, reversed
    verdicts = {
        e.id: settle(e.id, [judged(e, s, index=i) for i, s in enumerate(two)], mean_scores, 2)
        for e, two in zip(examples, said, strict=True)
    }
    measured = both_orders(examples, verdicts)
    assert (measured.forward, measured.reversed, measured.both) == (2 / 3, 1 / 3, 1 / 3)
    for _ in range(2):  # a run that resumes from before an evaluation makes it again
        keep(tmp_path / "rl", 50, DevSet(tuple(examples)), verdicts, {"scale": [1, 10]})
    view = RunView(tmp_path / "rl" / "evaluations" / "step-000050", "step 50")
    view.index.follow()
    page = view.page({}, offset=0, limit=9)
    assert [(row["id"], row["outcome"]) for row in page["rows"]] == [
        ("0", "right"), ("1", "tie"), ("2", "wrong"),
    ]  # fmt: skip
    assert len(view.example(key_of("2"))["trajectories"]) == 2
    assert view.settings.model == "rl at step 50" and view.settings.scale is not None
    view.close()
