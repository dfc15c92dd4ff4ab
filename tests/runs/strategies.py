"""Hypothesis strategies for any noun, however odd its texts."""

from __future__ import annotations

from hypothesis import strategies as st

from spct.types import (
    REASONS,
    Completion,
    Example,
    Judgement,
    Message,
    Principle,
    Prompt,
    TokenLogprob,
    Trajectory,
    Unscored,
    Usage,
    Verdict,
)

texts = st.text(st.characters(), max_size=20)  # lone surrogates and NUL included
counts = st.integers(0, 2**53)
seeds = st.integers(0, 2**63 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
number_tuples = st.lists(numbers, max_size=3).map(tuple)
usages = st.builds(Usage, counts, counts, counts)
logprobs = numbers | st.just(float("-inf"))
messages = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=3
).map(tuple)
completions = st.builds(
    Completion,
    texts,
    st.sampled_from(["stop", "length", "content_filter", "error"]),
    st.none() | st.lists(counts, max_size=3).map(tuple),
    st.none()
    | st.lists(
        st.builds(TokenLogprob, texts, logprobs, st.dictionaries(texts, logprobs, max_size=2)),
        max_size=2,
    ).map(tuple),
    usages,
    st.none() | texts,
)
outcomes = st.builds(Unscored, st.sampled_from(REASONS), texts) | st.builds(
    Judgement,
    st.lists(st.builds(Principle, texts, st.none() | texts, texts), max_size=2).map(tuple),
    texts,
    number_tuples,
    st.none() | number_tuples,
)
json_values = st.recursive(
    st.none() | st.booleans() | counts | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
examples = st.builds(
    Example,
    texts,
    messages,
    st.lists(texts, max_size=3).map(tuple),
    st.none() | number_tuples,
    st.none() | texts,
    st.none() | texts,
    st.dictionaries(texts, json_values, max_size=2),
)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    example_id = draw(texts)
    orders = st.lists(counts, max_size=3).map(tuple)
    prompts = draw(
        st.lists(
            st.builds(Prompt, st.just(example_id), messages, orders, st.none() | counts),
            min_size=1,
            max_size=2,
        )
    )
    trajectories = st.builds(
        Trajectory,
        st.just(example_id),
        counts,
        seeds,
        st.sampled_from(prompts),
        completions,
        outcomes,
        texts,
        st.none() | numbers,
    )
    return Verdict(
        example_id,
        draw(st.none() | st.lists(numbers, min_size=1, max_size=3).map(tuple)),
        draw(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)),
        tuple(draw(st.lists(trajectories, max_size=3))),
        draw(counts),
        draw(counts),
        draw(counts),
        draw(st.none() | numbers),
        draw(usages),
    )
