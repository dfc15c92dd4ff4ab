"""One reader of foreign JSON: what it takes, what it refuses, and in linear time."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.strict_json import NotStrictJSON, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), inner
    ),
    max_leaves=20,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_back(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert read_json(text) == value
    assert read_json(b"\xef\xbb\xbf" + text.encode()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1"),
        ("{", "line 1"),
        ('{"a": 1, "a": 1}', "'a' occurs twice"),
        ('[{"b": {"x": 1, "y": 2, "x": 3}}]', "'x' occurs twice"),
        ('{"a": 1, "\\u0061": 2}', "occurs twice"),
        ("NaN", "finite"),
        ("[-Infinity]", "finite"),
        ("1e999", "finite"),
        ("-1E+0400", "finite"),
        ("9" * 400 + ".5", "finite"),
        ("9" * 5000, "digits"),
        ('"\\ud800"', "surrogate"),
        ('"\udc00"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
        (b'"\xff"', "UTF-8"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
        ("[" * 65 + "]" * 65, "deeper"),
        ("[" * 100_000, "deeper"),
        ('{"a":' * 70 + "1" + "}" * 70, "deeper"),
        ("[1] [2]", "Extra data"),
        ("[1,]", "line 1"),
        ("'a'", "line 1"),
        ("// a\n1", "line 1"),
        ('"a\nb"', "control"),
    ],
)
def test_what_is_not_strict_is_refused_with_the_reason(text, why):
    with pytest.raises(NotStrictJSON, match=why):
        read_json(text)


def test_lists_and_objects_are_counted_where_that_is_asked_for():
    assert read_json("[[], {}, 1]", max_containers=3) == [[], {}, 1]
    with pytest.raises(NotStrictJSON, match="more than 2 lists"):
        read_json("[[], {}, 1]", max_containers=2)
    with pytest.raises(NotStrictJSON, match="more than 1 keys"):
        read_json('[{"a": 1, "b": 2}]', max_keys=1)


@pytest.mark.parametrize(
    "text",
    [
        "[" + "[]," * 300_000 + "[]]",
        '{"a": [' + '{"k": 0},' * 150_000 + "{}]}",
        "{" + ",".join(f'"{i}":0' for i in range(150_000)) + "}",
        '["' + '\\"[{:' * 300_000,  # a text without an end
        '["' + '\\"[{:' * 300_000 + "\\",
        '"' * 1_000_001 + "[" * 100_001,
    ],
    ids=["lists", "objects", "keys", "open", "open escape", "quotes"],
)
def test_too_much_is_refused_before_it_is_made(text):
    started = time.process_time()
    with pytest.raises(NotStrictJSON):
        read_json(text.encode(), max_containers=100_000)
    assert time.process_time() - started < 1


def test_brackets_in_texts_are_not_counted():
    text = '["' + "[{:" * 300_000 + '", "\\"[[", {"a": ":"}]'
    assert read_json(text, max_containers=2)[2] == {"a": ":"}


def test_pairs_of_surrogates_and_numbers_near_the_limit_are_fine():
    assert read_json('"\\ud83d\\ude00"') == "😀"
    assert read_json("[1.7e308, 1e-999, 123]") == [1.7e308, 0.0, 123]
    assert read_json("[" * 64 + "]" * 64)


def test_many_keys_with_one_repeated_are_refused_at_once():
    keys = ",".join(f'"{i}":0' for i in range(200_000))
    started = time.monotonic()
    with pytest.raises(NotStrictJSON, match="'199999' occurs twice"):
        read_json("{" + keys + ',"199999":1}')
    assert time.monotonic() - started < 5
