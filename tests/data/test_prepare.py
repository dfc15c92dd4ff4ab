"""Splits, dedupe, overlap, cutting down and mixing, each with its counts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.data.prepare import (
    dedupe,
    draw,
    has_best,
    mix,
    normalised_query,
    overlap,
    select,
    split_by_prompt,
    with_reference,
)
from spct.errors import ConfigError, DataError
from spct.types import Example, Message

PARTS = {"train": 0.8, "dev": 0.1, "test": 0.1}


def example(
    query: str = "q",
    responses: tuple[str, ...] = ("a", "b"),
    gold: tuple[float, ...] | None = (1.0, 0.0),
    **fields: Any,
) -> Example:
    return Example(
        **{
            "id": f"{query}/{'|'.join(responses)}",
            "query": (Message("user", query),),
            "responses": responses,
            "gold": gold,
            **fields,
        }
    )


# Splits


def test_case_width_spacing_and_a_final_stop_do_not_make_another_query() -> None:
    forms = ["What is it?", "what  is\nit", " WHAT IS IT ", "Ｗｈａｔ is it?"]
    assert len({normalised_query(example(form)) for form in forms}) == 1
    assert normalised_query(example("2 + 2?")) != normalised_query(example("2 - 2?"))
    assert normalised_query(example("???")) == "???"


@given(st.text(min_size=1), st.text())
def test_a_split_depends_on_the_normalised_query_and_the_salt_alone(query: str, salt: str) -> None:
    salt = salt.encode("utf-8", "ignore").decode()
    query = query.encode("utf-8", "ignore").decode() or "q"
    first = split_by_prompt(example(query), PARTS, salt)
    assert first == split_by_prompt(example(f" {query} ", ("x",), (1.0,)), PARTS, salt)
    assert first in PARTS


def test_splits_have_their_fractions_and_differ_by_salt() -> None:
    queries = [example(f"question {i}") for i in range(4000)]
    names = [split_by_prompt(e, PARTS, "a") for e in queries]
    assert names.count("train") == pytest.approx(3200, abs=120)  # > 4 standard deviations
    assert names.count("dev") == pytest.approx(400, abs=90)
    assert names != [split_by_prompt(e, PARTS, "b") for e in queries]
    assert {split_by_prompt(e, {"all": 1.0, "none": 0.0}, "a") for e in queries} == {"all"}


@pytest.mark.parametrize("parts", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}])
def test_fractions_that_do_not_sum_to_one_are_refused(parts: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="sum of 1"):
        split_by_prompt(example(), parts, "")


# Dedupe


def test_copies_and_swapped_copies_are_dropped_and_counted() -> None:
    done = dedupe(
        [
            example(id="1"),
            example(id="2"),
            example(id="3", responses=("b", "a"), gold=(0.0, 1.0)),
            example(id="4", query="other"),
            example(id="5", reference="r"),
        ]
    )
    assert [e.id for e in done.examples] == ["1", "4", "5"]
    assert (done.n_in, done.n_duplicates, done.n_conflicts) == (5, 2, 0)


def test_all_sides_of_a_conflict_are_dropped() -> None:
    swapped = example(id="2", responses=("b", "a"), gold=(1.0, 0.0))
    done = dedupe([example(id="1"), swapped, example(id="3"), example(id="4", gold=None)])
    assert done.examples == ()
    assert (done.n_in, done.n_duplicates, done.n_conflicts) == (4, 0, 4)


def test_an_example_without_gold_gives_way_to_its_copy_with_gold() -> None:
    done = dedupe([example(id="1", gold=None), example(id="2")])
    assert [e.id for e in done.examples] == ["2"]


# Overlap


def test_shared_queries_are_exact_and_long_shared_passages_are_near() -> None:
    words = [f"w{i}" for i in range(60)]
    train = [example(" ".join(words)), example("Short one?")]
    test = [
        example("short  ONE", id="same"),
        example(" ".join(words[:40]) + " with another end", id="most"),
        example(" ".join(words[:14]) + " " + " ".join(f"x{i}" for i in range(40)), id="little"),
        example("another short one", id="short"),
    ]
    report = overlap(train, test)
    assert (report.n_train, report.n_test, report.n_too_short) == (2, 4, 2)
    assert report.exact == ("same",)
    assert [id for id, _ in report.near] == ["most"]
    assert report.near[0][1] == pytest.approx(28 / 31)  # 43 words: 31 13-grams, 28 of them shared


# Cutting down


def listed() -> Example:
    evidence = [{"i": i} for i in range(5)]
    return example(
        "q", tuple("abcde"), (1.0, 1.0, 0.0, 0.0, 0.0), id="x", meta={"evidence": evidence, "s": 1}
    )


def test_select_keeps_responses_gold_and_evidence_aligned() -> None:
    cut = select(listed(), [4, 0])
    assert (cut.id, cut.responses, cut.gold) == ("x#4.0", ("e", "a"), (0.0, 1.0))
    assert cut.meta == {"evidence": [{"i": 4}, {"i": 0}], "s": 1}


@pytest.mark.parametrize("keep", [[], [0, 0], [5], [-1]])
def test_select_refuses_indices_that_are_not_there(keep: list[int]) -> None:
    with pytest.raises(ConfigError, match="distinct indices"):
        select(listed(), keep)


def test_a_single_response_needs_gold_0_or_1() -> None:
    assert select(example(gold=(0.7, 0.2), responses=("a", "b")), [0, 1]).n == 2
    with pytest.raises(ConfigError, match="gold 0 or 1"):
        select(example(gold=(0.7, 0.2)), [0])


def test_drawn_lists_are_distinct_have_one_best_and_repeat_under_a_seed() -> None:
    drawn = list(draw(listed(), 3, 4, seed=1))
    assert len({frozenset(e.responses) for e in drawn}) == len(drawn) == 4
    assert all(has_best(e) and e.n == 3 for e in drawn)
    assert drawn == list(draw(listed(), 3, 4, seed=1)) != list(draw(listed(), 3, 4, seed=2))
    assert len(list(draw(listed(), 1, 99, seed=1))) == 5
    assert list(draw(listed(), 6, 3, seed=1)) == []
    assert list(draw(example(gold=(1.0, 1.0)), 2, 3, seed=1)) == []


def test_has_best_wants_exactly_one_highest() -> None:
    golds = [(1.0, 0.0), (0.5, 0.5), (1.0, 1.0, 0.0), (0.0,), None]
    assert [has_best(example(gold=g, responses=("a",) * len(g or "ab"))) for g in golds] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_the_golden_answer_becomes_the_reference_only_on_request() -> None:
    source = example(meta={"golden": "g"})
    assert (source.reference, with_reference(source).reference) == (None, "g")
    assert with_reference(example(reference="r")).reference == "r"


# Mixing


def pool(name: str, size: int) -> list[Example]:
    return [example(f"{name}{i}", id=f"{name}{i}") for i in range(size)]


def test_a_mixture_has_its_ratios_throughout_and_counts_what_it_leaves() -> None:
    mixed = mix({"a": (pool("a", 90), 3), "b": (pool("b", 100), 1)}, seed=0)
    assert (mixed.taken, mixed.left) == ({"a": 90, "b": 30}, {"a": 0, "b": 70})
    for start in range(0, 120, 20):
        window = [e.id[0] for e in mixed.examples[start : start + 20]]
        assert window.count("a") in (14, 15, 16)


def test_a_mixture_is_the_same_under_a_seed_whatever_the_order_of_its_sources() -> None:
    sources = {name: (pool(name, 20), 1.0) for name in "abc"}
    backwards = dict(reversed(list(sources.items())))
    assert mix(sources, seed=3).examples == mix(backwards, seed=3).examples
    assert mix(sources, seed=3).examples != mix(sources, seed=4).examples


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 9)), min_size=1, max_size=4))
def test_a_mixture_repeats_nothing_and_takes_no_more_than_there_is(
    sizes: list[tuple[int, float]],
) -> None:
    sources = {str(i): (pool(f"{i}-", n), ratio) for i, (n, ratio) in enumerate(sizes)}
    mixed = mix(sources, seed=0)
    assert len({e.id for e in mixed.examples}) == len(mixed.examples) == sum(mixed.taken.values())
    assert all(mixed.taken[k] + mixed.left[k] == len(s) for k, (s, _) in sources.items())


def test_mixtures_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        mix({}, seed=0)
    with pytest.raises(ConfigError, match="above 0"):
        mix({"a": (pool("a", 2), 0.0)}, seed=0)
    with pytest.raises(ConfigError, match="0 to 4"):
        mix({"a": (pool("a", 2), 1.0), "b": (pool("b", 9), 1.0)}, seed=0, total=5)
    with pytest.raises(DataError, match="more than one place"):
        mix({"a": (pool("a", 2), 1.0), "b": (pool("a", 2), 1.0)}, seed=0)


@pytest.mark.parametrize("evidence", ["text", ["one"], 3])
def test_evidence_that_is_not_one_entry_a_response_is_the_users_own(evidence: object) -> None:
    example = Example(
        "e", (Message("user", "q"),), ("a", "b", "c"), (1, 0, 0), meta={"evidence": evidence}
    )
    assert select(example, (0, 1)).meta["evidence"] == evidence
