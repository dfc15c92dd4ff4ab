"""Checkable instructions: gold is what the check says, and the check is what a reader would say."""

import random

import pytest

from recipes.smollm2_135m.instructions import HELD_OUT, KINDS, KNOWN, tasks
from spct.types import Example, Message

TEXTS = (
    "Cats sleep most of the day.", "Nobody has counted the stars, so we do not know.",
    "It was raining in the morning.", "The bridge opened in two parts.",
    "Some people prefer the old road.", "Water boils sooner on a mountain.",
)  # fmt: skip
SOURCES = [Example("e", (Message("user", "What do you know?"),), TEXTS, gold=(1.0,) + (0.0,) * 5)]
BY_HAND = {
    "words_most": (3, "Only three words.", "These are four words."),
    "words_least": (3, "Only three words.", "Two words."),
    "sentences": (2, "One. Two!", "One, two."),
    "list": (2, "- one\n- two", "- one\ntwo"),
    "contain": ("road", "The Road is long.", "Broad roads."),
    "avoid": ("road", "Broad roads.", "The road is long."),
    "begins": ("Well,", "Well, yes.", "Yes. Well, no."),
    "ends": ("The end.", "Yes. The end.", "The end. Yes."),
    "case": ("upper", "ALL OF IT, 3 TIMES.", "ALMOST all OF IT."),
    "json": (("a", "b"), '{"a": 1, "b": 2}', '{"a": 1, "b": 2'),
    "number": ((5, 9), "9", "10"),
    "language": ("French", "Je pense que oui.", "I think so."),
    "order": (("pear", "fig", "apple"), "apple, fig, pear", "apple, pear, fig"),
    "question": (None, "Is it?", "It is."),
    "commas": (None, "No and no.", "No, no."),
    "quoted": (None, '"All of it."', '"All" of it.'),
    "exactly": ("So it is", "So it is", "So it is."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_by_hand(kind):
    value, good, bad = BY_HAND[kind]
    assert KINDS[kind].check(value, good)[0]
    assert not KINDS[kind].check(value, bad)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_one_response_of_several_does_what_is_asked(kind):
    made = list(tasks(SOURCES, [kind], 40, seed=1))
    assert len(made) == 40
    for e in made:
        assert len(set(e.responses)) == e.n and len(e.meta["findings"]) == e.n
        assert e.meta["instruction"] in e.query[-1].content
        assert sum(e.gold) == 1 if e.n > 1 else e.gold[0] in (0.0, 1.0)


def test_kinds_held_out_are_not_among_the_known_ones():
    assert not set(HELD_OUT) & set(KNOWN) and len(HELD_OUT) == 2
    assert {e.subset for e in tasks(SOURCES, KNOWN, 60, seed=0)} == set(KNOWN)


def test_a_seed_gives_the_same_tasks_and_nothing_comes_of_no_sources():
    first, second = (list(tasks(SOURCES, KNOWN, 30, seed=5)) for _ in range(2))
    assert first == second != list(tasks(SOURCES, KNOWN, 30, seed=6))
    assert list(tasks([], KNOWN, 30, seed=5)) == []


def test_length_does_not_give_the_answer_away():
    made = [e for e in tasks(SOURCES, KNOWN, 900, seed=3) if e.n == 2]
    longer = [
        len(e.responses[e.gold.index(1.0)]) > len(e.responses[e.gold.index(0.0)]) for e in made
    ]
    assert 0.35 < sum(longer) / len(longer) < 0.65, random.sample(made, 3)
