"""The small study: from a base that can read to a judge that RL has made better."""

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("default"), pytest.mark.timeout(5400)]


def test_accuracy_rises_from_cold_start_to_rl_by_more_than_its_interval(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from recipes.synthetic.study import main

    work, out = tmp_path / "work", tmp_path / "docs"
    main(["--budget", "ci", "--no-ablations", "--work", str(work), "--out", str(out)])
    report = json.loads((work / "ci/run/evaluate/done.json").read_text())
    gain = report["comparisons"]["rl - cold_start, one sample"]
    assert gain["low"] > 0, report["comparisons"]
    page = (out / "study.md").read_text()
    assert "| rl |" in page
    assert (out / "study.svg").is_file()
