"""The two scripts that a newcomer copies: they run, and they use the public names alone."""

import ast
import json
from pathlib import Path

import pytest

import spct
from recipes import basic

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("name", ["basic", "loop"])
def test_a_short_recipe_takes_from_spct_only_what_is_public(name: str) -> None:
    tree = ast.parse((RECIPES / f"{name}.py").read_text("utf-8"))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {m for m in modules if m and m.startswith("spct")} == {"spct"}
    used = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "spct"
    }
    assert used and used <= set(spct.__all__)


def test_every_public_name_is_there() -> None:
    assert all(getattr(spct, name) is not None for name in spct.__all__)
    with pytest.raises(AttributeError, match="no attribute 'jugde'"):
        spct.jugde  # noqa: B018


def test_basic_judges_measures_and_writes_rows(tmp_path: Path, capsys) -> None:
    basic.main("scripted", tmp_path)
    printed = capsys.readouterr().out
    assert "fact-tides: rewards (" in printed and "length, reward: " in printed
    rows = [json.loads(s) for s in (tmp_path / "rft" / "rows.jsonl").read_text().splitlines()]
    assert rows and all(row["completion"][0]["content"].count("boxed") for row in rows)
    assert (tmp_path / "bench" / "report.md").is_file()
    assert len((RECIPES / "basic.py").read_text().splitlines()) <= 55


@pytest.mark.slow
def test_the_loop_learns_to_judge() -> None:
    from recipes import loop

    shares = loop.train()
    assert sum(shares[:5]) / 5 < 0.3 and sum(shares[-5:]) / 5 > 0.9
    assert len((RECIPES / "loop.py").read_text().splitlines()) <= 110
