"""The shipped readout beside the judge: probabilities on the card, and an honest last line."""

import asyncio
from dataclasses import replace

import pytest

from spct.cli.beside import MOST, Beside
from spct.config import Config, EngineConfig
from spct.errors import ConfigError
from spct.models.decision import DecisionRM, asking
from spct.models.load import load_reward_model
from spct.models.model_card import ModelCard
from spct.models.shipped import READOUT
from spct.types import Message, Unscored, Usage
from tests.cli.test_card import shown, verdict_of
from tests.models.test_decision import Says, likes

CARD = ModelCard(
    paradigm="decision", base="b", steps=1, n_pairs=1, max_length=50,
    measured={"hard": 0.55, "easy": 0.981},
)  # fmt: skip


class Long(Says):
    """Every answer reads 60 tokens."""

    async def answer(self, state, questions):
        return (await super().answer(state, questions))._replace(usage=Usage(60, 0, 1))


def beside(reader, *examples):
    found = Beside(DecisionRM(reader, asking("yes_no")), CARD)
    asyncio.run(found.read(examples))
    return found


def test_the_card_shows_the_probability_and_its_winner(make_example, make_trajectory):
    example = make_example("good", "bad", gold=(1.0, 0.0))
    found = beside(Says(likes("good")), example)
    verdict = verdict_of(example, make_trajectory, (3, 8))
    text = shown(example, verdict, top=10.0, other=found.found[example.id])
    assert "readout" in text and "90% ★" in text and "20% " in text
    assert "readout" not in shown(example, verdict, top=10.0)
    silent = beside(Says(lambda *_: Unscored("refused")), example)
    assert "%" not in shown(example, verdict, top=10.0, other=silent.found[example.id])


def test_the_last_line_says_what_it_is_good_at_and_what_it_does_not_know(make_example):
    example = make_example("good", "bad", gold=(0.0, 1.0))
    line = beside(Says(likes("good")), example).line()
    assert line.startswith("readout: 0 of 1 right here; on pairs that it never saw: easy 98%")
    assert "hard 55% (chance 50%)" in line
    line = beside(Long(likes("bad")), example).line()
    assert "1 of 1 right here; 1 longer than it knows (its training ended at 50 tokens)" in line


@pytest.mark.parametrize(
    ("query", "english"),
    [
        ("What is the capital of France?", True),
        ("Is it 4 or 5?", True),  # few words do not tell
        ("2 + 2 = ?", True),
        ("", True),
        ("Wie heißt die größte Stadt in Brasilien und warum?", False),
        ("Quelle est la plus grande ville du Brésil, et pourquoi ?", False),
        ("¿Cuál es la ciudad más grande de Brasil y por qué?", False),
        ("Какой город самый большой?", False),
        ("巴西最大的城市是哪个？", False),
    ],
)
def test_the_last_line_counts_queries_in_other_languages(make_example, query, english):
    example = replace(make_example("good", "bad"), query=(Message("user", query),))
    line = beside(Says(likes("good")), example).line()
    assert ("1 not in English, which is all that it was trained on; " in line) == (not english)


def test_it_stands_beside_the_shipped_judge_alone():
    assert Beside.of(Config(engine=EngineConfig(kind="scripted")), 1) is None
    assert Beside.of(Config(), MOST + 1) is None


def test_without_weights_its_name_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("spct.models.shipped.FOLDER", tmp_path)
    with pytest.raises(ConfigError, match=r"recipes\.smollm2_135m\.readout"):
        load_reward_model(READOUT)
