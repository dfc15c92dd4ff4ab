"""`spct fit-meta`: a meta RM calibrated on a run with gold, and the votes that read its file."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spct.cli.main import app
from spct.config import Config, JudgeConfig
from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError
from spct.models.judges import build_judge, build_vote
from spct.protocols import Scorer
from spct.runs.store import Store
from spct.types import Example, Message
from spct.votes.calibration import MetaFit, read_meta_fit, write_meta_fit
from spct.votes.vote import vote_named
from tests.models.scorers import FunctionScorer


class Reader(FunctionScorer):
    """Likes judgements that prefer the first response as much as `sign` says."""

    def __init__(self, sign: float) -> None:
        super().__init__(lambda c: sign * (3 if "\\boxed{8, 3}" in c[-1].content else -1))
        self.fingerprint = f"reader{sign:g}"


def engine() -> ScriptedEngine:
    """Right in three of four judgements: 8, 3 for responses in their own order."""

    def reply(prompt, seed):
        pair = (8, 3) if seed % 4 else (3, 8)
        return f"Analysis:\nx\nScores: \\boxed{{{pair[0]}, {pair[1]}}}"

    return ScriptedEngine(reply)


def run_of(folder: Path, meta: Scorer | None) -> None:
    rm = GenerativeRM(
        engine(), k=8, orders="fixed", meta=meta, vote=vote_named("meta_top" if meta else "mean")
    )
    query = (Message("user", "q"),)
    examples = [Example(f"e{i}", query, ("a", f"b{i}"), (1.0, 0.0)) for i in range(40)]
    examples.append(Example("no gold", query, ("a", "b")))

    async def judge() -> None:
        with Store.open(folder, dict(rm.identity())) as store:
            for place, example in enumerate(examples):
                await store.put_verdict(await rm.judge(example), example, place)

    asyncio.run(judge())


def fit(folder: Path, to: Path) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["fit-meta", str(folder), "--to", str(to)])
    return found.exit_code, found.output + str(found.exception or "")


def test_a_meta_rm_is_calibrated_on_a_run_and_its_file_names_the_vote(tmp_path: Path) -> None:
    run_of(tmp_path / "run", Reader(1.0))
    code, said = fit(tmp_path / "run", tmp_path / "m.json")
    assert code == 0 and "AUC within an example 1.000 on 320 judgements of 41 examples" in said
    found = read_meta_fit(tmp_path / "m.json")
    assert found.meta == "reader1" and found.slope > 0.5
    settings = JudgeConfig(vote="meta_log_odds", meta_file=str(tmp_path / "m.json"))
    vote = build_vote(settings)
    assert vote.name == f"meta_log_odds({found.slope:.4g},{found.offset:.4g})"
    assert vote_named(vote.name).name == vote.name
    with pytest.raises(ConfigError, match="was measured for the meta RM reader1, this one is"):
        build_judge(Config(judge=settings), engine(), Reader(2.0))
    with pytest.raises(ConfigError, match="goes with a meta-guided vote, not with 'majority'"):
        build_vote(settings.model_copy(update={"vote": "majority"}))


def test_a_meta_rm_that_tells_nothing_leaves_the_plain_vote_and_says_so(tmp_path: Path) -> None:
    run_of(tmp_path / "run", Reader(-1.0))
    code, said = fit(tmp_path / "run", tmp_path / "m.json")
    assert code == 0 and "votes with this file are plain" in said
    for name, plain in (("meta_log_odds_wins", "majority"), ("meta_top", "mean")):
        settings = JudgeConfig(vote=name, meta="nowhere", meta_file=str(tmp_path / "m.json"))
        with pytest.warns(UserWarning, match=f"not above a half .*the vote is '{plain}'"):
            judge = build_judge(Config(judge=settings), engine())
        assert judge.vote.name == plain and judge.meta is None  # and the meta RM is not even loaded


def test_what_cannot_be_calibrated_is_refused(tmp_path: Path) -> None:
    run_of(tmp_path / "run", None)
    code, said = fit(tmp_path / "run", tmp_path / "m.json")
    assert code != 0 and "has no meta scores" in said
    for text in ("", "[]", '{"slope": 1}', json.dumps({"slope": "x"})):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(ConfigError, match="write it with: spct fit-meta RUN"):
            read_meta_fit(tmp_path / "m.json")
    write_meta_fit(MetaFit(float("nan"), 0.0, 0.6, "m", 9), tmp_path / "m.json")
    with pytest.raises(ConfigError, match="slope nan"):
        read_meta_fit(tmp_path / "m.json")


@pytest.mark.parametrize("calibrated", ["meta_weighted", "meta_log_odds", "meta_log_odds_wins"])
def test_equal_meta_scores_give_the_plain_vote(calibrated: str) -> None:
    """All judgements alike, whatever the level: n = 1 too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rm = GenerativeRM(engine(), k=8, meta=Reader(0.0), vote=vote_named(f"{calibrated}(0.5,1)"))
    for responses in (("a", "b"), ("a",)):
        example = Example("e", (Message("user", "q"),), responses)
        verdict = asyncio.run(rm.judge(example))
        plain = vote_named("majority" if "wins" in calibrated else "mean")(verdict.trajectories)
        assert verdict.rewards == pytest.approx(plain)
