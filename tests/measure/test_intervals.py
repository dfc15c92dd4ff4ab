"""The intervals cover what they claim to, and the compressed bootstrap is the plain one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spct.errors import DataError
from spct.measure.aggregates import auc, macro, micro
from spct.measure.intervals import (
    Interval,
    bootstrap,
    difference,
    kinds_of,
    mcnemar,
    mean_interval,
    mean_of_kinds,
    paired_bootstrap,
    sign_of,
    wilson,
)
from spct.measure.rules import Credit
from tests.measure.makers import credits


def test_no_scored_unit_is_an_error_and_never_a_score_of_zero() -> None:
    with pytest.raises(DataError, match="no scored unit"):
        bootstrap([], micro)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others() -> None:
    data = credits(np.random.default_rng(1).random(60))
    assert bootstrap(data, micro, seed=3) == bootstrap(data, micro, seed=3)
    assert bootstrap(data, micro, seed=3) != bootstrap(data, micro, seed=4)


def test_the_compressed_bootstrap_agrees_with_drawing_clusters_one_by_one() -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2, 150).astype(float)
    found = bootstrap(credits(values), micro, resamples=20_000)["overall"]
    plain = values[rng.integers(0, 150, (20_000, 150))].mean(axis=1)
    assert found.point == values.mean()
    assert (found.low, found.high) == pytest.approx(np.quantile(plain, (0.025, 0.975)), abs=0.008)


def test_many_kinds_of_clusters_take_the_other_path_to_the_same_answer() -> None:
    values = np.random.default_rng(6).random(2500)  # all different: more kinds than the multinomial
    found = bootstrap(credits(values), micro, resamples=2000)["overall"]
    error = values.std() / 50
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_units_of_one_prompt_are_drawn_together() -> None:
    # 10 prompts of 20 equal units each: the interval must be that of 10, not of 200
    values = [1.0, 0.0] * 5
    together = [
        Credit(f"u{i}-{j}", f"c{i}", ("all",), v) for i, v in enumerate(values) for j in range(20)
    ]
    alone = credits(values)
    wide, same = (bootstrap(d, micro)["overall"] for d in (together, alone))
    assert wide == same


def _covers(n: int, p: float, runs: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    hits = 0
    for run in range(runs):
        values = (rng.random(n) < p).astype(float)
        interval = bootstrap(credits(values), micro, resamples=1000, seed=run)["overall"]
        assert interval.low is not None and interval.high is not None
        hits += interval.low <= p <= interval.high
    return hits / runs


def test_a_nominal_95_percent_interval_covers_the_truth_93_to_97_percent_of_the_time() -> None:
    assert 0.93 <= _covers(n=300, p=0.7, runs=1000, seed=11) <= 0.97


def test_clustered_units_are_covered_too() -> None:
    rng = np.random.default_rng(12)
    hits, runs = 0, 500
    for run in range(runs):
        of_prompt = rng.beta(3, 2, 100)  # mean 0.6, units of a prompt are alike
        values = rng.random((100, 3)) < of_prompt[:, None]
        data = [
            Credit(f"u{i}-{j}", f"c{i}", ("all",), float(v))
            for i, row in enumerate(values)
            for j, v in enumerate(row)
        ]
        interval = bootstrap(data, micro, resamples=500, seed=run)["overall"]
        assert interval.low is not None and interval.high is not None
        hits += interval.low <= 0.6 <= interval.high
    assert 0.93 <= hits / runs <= 0.97


def test_all_right_has_a_wilson_interval_since_resampling_sees_no_doubt() -> None:
    found = bootstrap(credits([1.0] * 20), micro)["overall"]
    assert found == pytest.approx((1.0, *wilson(20, 20)[1:]))
    assert found.low is not None and found.low < 0.85


def test_a_section_that_is_all_right_is_as_sure_as_its_own_prompts_allow() -> None:
    other = [c._replace(cluster=f"b{c.cluster}") for c in credits([0, 1] * 50, "b")]
    found = bootstrap(credits([1.0] * 4, "a") + other, macro)
    assert found["a"] == pytest.approx(wilson(4, 4))


def test_all_alike_but_not_all_right_has_a_wilson_interval_rather_than_one_of_no_width() -> None:
    assert bootstrap(credits([0.5] * 20), micro)["overall"] == pytest.approx(wilson(10, 20))
    thirds = bootstrap(credits([1 / 3] * 7), micro)["overall"]  # sums of thirds are not exact
    assert thirds == pytest.approx(wilson(7 / 3, 7))


def test_a_weighted_credit_counts_by_its_weight() -> None:
    data = [Credit("a", "a", ("all",), 1.0, 3.0), Credit("b", "b", ("all",), 0.0, 1.0)]
    assert bootstrap(data, micro)["overall"].point == 0.75


def test_a_mean_over_examples_has_the_interval_of_every_report() -> None:
    values = np.random.default_rng(9).integers(0, 2, 40).astype(float).tolist()
    prompts = [f"c{i // 2}" for i in range(40)]  # two examples of each prompt
    found = mean_interval(values, prompts)
    same = [
        Credit(f"u{i}", p, ("all",), v)
        for i, (v, p) in enumerate(zip(values, prompts, strict=True))
    ]
    assert found == bootstrap(same, micro)["overall"]
    with pytest.raises(DataError, match="from 1 examples"):
        mean_interval([1.0], ["a"])


def test_a_difference_is_paired_and_has_no_interval_where_all_agree() -> None:
    a, b, prompts = [1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], list("wxyz")
    found = difference(a, b, prompts)
    assert found.point == 0.25 and found.low is not None and found.low >= 0
    assert difference(a, a, prompts) == (0.0, None, None)
    assert difference([1.0, 1.0], [0.0, 0.0], ["x", "y"]) == (1.0, None, None)
    with pytest.raises(ValueError, match="zip"):
        difference(a, b[:2], prompts)


def test_the_sign_of_an_interval_is_that_of_all_of_it() -> None:
    assert [sign_of(Interval(*x)) for x in ((1, 0.5, 2), (-1, -2, -0.1), (1, -1, 3))] == [1, -1, 0]
    assert sign_of(Interval(1.0, None, None)) == 0


def test_sections_have_intervals_of_their_own() -> None:
    data = credits([1, 0, 1, 1], "a") + [
        c._replace(cluster=f"b{c.cluster}") for c in credits([0, 0, 1, 0], "b")
    ]
    found = bootstrap(data, macro)
    assert found["a"].point == 0.75 and found["b"].point == 0.25 and found["overall"].point == 0.5


def test_auc_has_an_interval() -> None:
    rng = np.random.default_rng(7)
    data = [
        Credit(f"u{i}", f"c{i}", ("s", float(i % 2), float(rng.integers(1, 6) + i % 2)), 1.0)
        for i in range(200)
    ]
    found = bootstrap(data, auc, resamples=2000)["overall"]
    assert found.low is not None and found.high is not None
    assert 0.5 < found.low < found.point < found.high < 0.9


def test_wilson_by_hand() -> None:
    z = 1.959963984540054
    centre = (3 + z * z / 2) / (10 + z * z)
    half = z / (10 + z * z) * (3 * 7 / 10 + z * z / 4) ** 0.5
    assert wilson(3, 10) == pytest.approx((0.3, centre - half, centre + half))
    assert wilson(0, 0).low is None


def test_mcnemar_is_the_exact_binomial_of_the_units_that_differ() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 2**8)


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(8)
    a = rng.integers(0, 2, 200).astype(float)
    b = a.copy()
    b[:10] = 1.0
    found = paired_bootstrap(credits(a), credits(b), micro)["overall"]
    assert found.point == pytest.approx(b.mean() - a.mean())
    assert found.low is not None and found.high is not None
    single = bootstrap(credits(a), micro)["overall"]
    assert single.low is not None and single.high is not None
    assert found.high - found.low < (single.high - single.low) / 2


def test_kinds_count_every_cluster_once() -> None:
    kinds = kinds_of(credits([1, 1, 0, 1]))
    assert sorted(kinds.sizes) == [1, 3] and kinds.columns == (("all",),)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 12)), min_size=2, max_size=40
    )
)
def test_counted_kinds_give_the_ends_of_the_examples(rows):
    values, prompts = [v for v, _ in rows], [str(p) for _, p in rows]
    by_prompt = {p: [v for v, q in zip(values, prompts, strict=True) if q == p] for p in prompts}
    assume(all(len(set(found)) == 1 for found in by_prompt.values()))  # else kinds are coarser
    kinds = Counter((sum(found), len(found)) for found in by_prompt.values())
    counted = [(total, n, times) for (total, n), times in kinds.items()]
    assert mean_of_kinds(counted, resamples=200) == pytest.approx(
        mean_interval(values, prompts, resamples=200)
    )
