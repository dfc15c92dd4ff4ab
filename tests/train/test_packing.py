"""Rows of a decision model's training: what is read together, and that no comparison is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.errors import TemplateRefused, TrainError
from spct.train.packing import PackFunnel, rows_of
from spct.types import Example, Message


def ids_of(example, i):
    """A prompt of two ids a query, one a letter, and a last one that all share."""
    return (1, len(example.query[0].content), *map(ord, example.responses[i]), 2)


def example(name, query, responses, gold):
    return Example(name, (Message("user", query),), tuple(responses), gold=tuple(gold))


def sides(row):
    return [row.shared + rest for rest in row.rests]


def test_pairs_of_one_query_share_a_row_and_wins_become_labels():
    pairs = [example("a", "q", ("x", "y"), (1, 0)), example("b", "q", ("z", "y"), (0, 1))]
    (row,), funnel = rows_of(pairs, ids_of, 100, 100)
    assert funnel == PackFunnel(examples=2, rows=1)
    x, y, z = ((1, 1, ord(c), 2) for c in "xyz")
    assert sides(row) == [x, y, z] and row.shared == (1, 1)
    assert row.pairs == ((0, 1), (1, 2)) and row.labels == (1.0, 0.5, 0.0)


def test_single_responses_have_their_label_and_no_pair():
    (row,), _ = rows_of([example("a", "q", ("x",), (1,))], ids_of, 100, 100)
    assert row.pairs == () and row.labels == (1.0,) and sides(row) == [(1, 1, ord("x"), 2)]


def test_long_lists_are_dealt_with_good_and_bad_in_every_hand():
    many = example("a", "q", [chr(97 + i) * 8 for i in range(12)], [1] * 3 + [0] * 9)
    rows, _ = rows_of([many], ids_of, 100, 40)
    assert len(rows) == 3 and all(row.length <= 45 and row.pairs for row in rows)
    assert all(sum(row.labels) == 1 for row in rows)


def test_what_cannot_be_learnt_from_is_counted_by_its_reason_and_said():
    def refusing(e, i):
        if e.responses[i] == "system":
            raise TemplateRefused("no system role")
        return ids_of(e, i)

    given = [
        example("a", "q", ("x", "y"), (1, 1)),
        example("b", "q", ("x",), (0.5,)),
        example("c", "q", ("x", "y"), (1, float("nan"))),
        Example("d", (Message("user", "q"),), ("x", "y")),
        example("e", "q", ("x" * 99, "y"), (1, 0)),
        example("f", "q", ("system", "y", "z"), (2, 1, 0)),
    ]
    (row,), funnel = rows_of(given, refusing, 20, 100)
    assert len(row.pairs) == 1
    assert funnel == PackFunnel(
        examples=6, no_gold=1, not_finite=1, single_not_0_or_1=1, ties=1, too_long=1, refused=1,
        rest=1, rows=1,
    )  # fmt: skip
    funnel.check(20)
    none, funnel = rows_of([example("a", "q", ("x", "y"), (1, 0))], ids_of, 3, 100)
    assert none == []
    with pytest.raises(TrainError, match=r"nothing to learn from .*too_long 2, .*above 3 tokens"):
        funnel.check(3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["q", "qq"]),
            st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=5, unique=True),
            st.data(),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(12, 60),
)
def test_every_comparison_of_short_lists_is_in_some_row(drawn, row_tokens):
    found = [
        example(str(i), query, texts, data.draw(st.permutations(range(len(texts)))))
        for i, (query, texts, data) in enumerate(drawn)
    ]
    fitting = [e for e in found if sum(map(len, e.responses)) + e.n + 3 <= row_tokens]
    if not fitting:
        return
    rows, _ = rows_of(fitting, ids_of, 100, row_tokens)
    known = {(sides(row)[i], sides(row)[j]) for row in rows for i, j in row.pairs}
    for e in fitting:
        for i in range(e.n):
            for j in range(e.n):
                if e.gold[i] > e.gold[j]:
                    assert (ids_of(e, i), ids_of(e, j)) in known
    for row in rows:
        assert all(len(rest) > 0 for rest in row.rests)
        assert len(set(sides(row))) == len(row.rests)
