"""Progress goes by the clock: something is said before the first verdict is there."""

import asyncio
import json

import pytest

from spct.cli import progress
from spct.cli.progress import opened, watched
from spct.config import EngineConfig
from spct.runs.judging import Tally


class Opening:
    """The one method of a model that is used here."""

    def __init__(self):
        self.was_opened = False

    async def open(self):
        self.was_opened = True


@pytest.mark.parametrize(
    ("kind", "style", "said"),
    [
        ("openvino", "auto", "loading a.gguf with the adapter b (openvino)"),
        ("hf", "plain", "loading a.gguf with the adapter b (hf)"),
        ("openai", "auto", ""),
        ("scripted", "auto", ""),
        ("openvino", "none", ""),
        ("openvino", "json", ""),  # every line is JSON
    ],
)
async def test_what_is_loaded_is_said_first(capsys, kind, style, said):
    model = Opening()
    await opened(model, EngineConfig(kind=kind, model="a.gguf", adapter="b"), style)
    assert capsys.readouterr().err.strip() == said and model.was_opened


async def test_a_line_comes_before_the_first_verdict(capsys, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_S", 0.01)
    monkeypatch.setattr(progress, "LINE_S", 0.01)
    tally = Tally()
    async with watched(tally, 4, "json", lambda: 7):
        while not (said := capsys.readouterr().err):
            await asyncio.sleep(0.01)
        first = json.loads(said.splitlines()[0])
        tally.examples = 3
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (first["done"], first["total"], first["eta_s"], first["retries"]) == (0, 4, None, 7)
    assert last["done"] == 3 and last["per_second"] > 0 and last["eta_s"] >= 0


async def test_lines_for_people_and_none_at_all(capsys):
    async with watched(Tally(), None, "plain"):
        pass
    assert "0/?  0.00/s  ETA ?" in capsys.readouterr().err
    async with watched(Tally(), 1, "none"):
        pass
    assert capsys.readouterr().err == ""


async def test_an_error_inside_comes_out_and_the_clock_stops():
    with pytest.raises(KeyError):
        async with watched(Tally(), 1, "plain"):
            raise KeyError
    assert len(asyncio.all_tasks()) == 1


async def test_a_part_is_named_where_a_command_judges_several(capsys) -> None:
    async with watched(Tally(), 2, "plain", part="first on pairs, greedy"):
        pass
    assert capsys.readouterr().err.startswith("first on pairs, greedy: 0/2 ")
