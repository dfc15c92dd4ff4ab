"""The page on guided votes is computed from the verdicts that it is about."""

from pathlib import Path

import pytest

from recipes.synthetic import guided
from tests.models.scorers import FunctionScorer


@pytest.mark.slow
def test_an_oracle_is_worth_its_votes_and_a_coin_is_not(tmp_path: Path) -> None:
    pairs = guided.lists("test", 30, "test")
    meta = FunctionScorer(lambda conversation: 0.0)
    verdicts = guided.judged(pairs, 32, tmp_path / "test", meta)
    assert guided.judged(pairs, 32, tmp_path / "test", meta) == verdicts  # taken from the store
    found = {}
    for auc in (0.5, 1.0):
        simulated = guided.simulated(pairs, verdicts, auc)
        found[auc] = guided.compared(pairs, simulated, guided.labels(pairs, simulated))
    assert found[0.5].auc == pytest.approx(0.5, abs=0.08) and found[1.0].auc == 1.0
    oracle = found[1.0].gain["meta_weighted", 8].point
    assert oracle > found[0.5].gain["meta_weighted", 8].point and oracle > 0.05
    text = guided.page(found[1.0], found, 30, 7, guided.orders_table(5))
    assert "meta_weighted at k = 8" in text and "| 1 (oracle) | 1.000 |" in text
