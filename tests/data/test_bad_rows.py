"""A corpus of bad rows, and fuzzing: a reader yields valid Examples or raises DataError."""

import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.data.layouts.table import SCHEMAS
from spct.data.rows import convert_rows, read_examples, validate
from spct.errors import DataError
from spct.types import Example

PLAIN: dict[str, Any] = {"query": "q", "responses": ["a", "b"], "gold": [1, 0]}
PAIR: dict[str, Any] = {"prompt": "p", "chosen": "a", "rejected": "b"}
TURN: dict[str, Any] = {"role": "user", "content": "hi"}
REPLY: dict[str, Any] = {"role": "assistant", "content": "yes"}
STEER: dict[str, Any] = {"prompt": "p", "response_1": "a", "response_2": "b"}

RATED_STEER = {**STEER, "preference_strength": 1}

NOT_TEXT: list[Any] = [5, 1.5, True, ["x"], {"x": 1}, []]
NOT_LIST: list[Any] = ["text", 5, True, {"x": 1}]
NOT_NUMBER: list[Any] = ["1", True, None, [1], {}, 10**400]

# (schema that the row is meant as, the field that the message must name, the row)
Bad = tuple[str, str, Any]


def plain(field: str, *values: Any) -> list[Bad]:
    return [("spct", field, {**PLAIN, field: value}) for value in values]


def pair(field: str, *values: Any) -> list[Bad]:
    return [("preference", field, {**PAIR, field: value}) for value in values]


def rate(*completions: Any) -> dict[str, Any]:
    return {"instruction": "q", "completions": list(completions)}


SPCT: list[Bad] = [
    *plain("query", *[v for v in NOT_TEXT if v != ["x"]], "", "  \n ", ["x"], [[]], [TURN, REPLY]),
    *plain("query", [REPLY], [{**TURN, "content": ""}], [{**TURN, "content": None}]),
    *plain("query", [{**TURN, "role": role} for role in ("narrator", "developer", "", None, 1)]),
    *[
        ("spct", "query[0].role", {**PLAIN, "query": [{**TURN, "role": role}]})
        for role in ("narrator", "", None, 1, ["user"], {})
    ],
    *[
        ("spct", "query[1]", {**PLAIN, "query": [TURN, {**TURN, "content": content}]})
        for content in [5, 1.5, True, {"x": 1}, [], None, [{"type": "image_url", "image_url": "x"}]]
    ],
    ("spct", "query[0]", {**PLAIN, "query": [{"role": "user"}]}),
    ("spct", "query[0].tool_calls", {**PLAIN, "query": [{**TURN, "tool_calls": [5]}]}),
    ("spct", "query", {"responses": ["a"]}),
    ("spct", "query", {**PLAIN, "query": None}),
    ("spct", "responses", {"query": "q"}),
    ("spct", "responses", {**PLAIN, "responses": None}),
    *plain("responses", *NOT_LIST, []),
    *[("spct", "responses[1]", {**PLAIN, "responses": ["a", v]}) for v in [*NOT_TEXT, None]],
    *plain("gold", *NOT_LIST, [], [1], [1, 0, 0]),
    *[("spct", "gold[1]", {**PLAIN, "gold": [1, v]}) for v in NOT_NUMBER],
    *[("spct", "gold", {**PLAIN, "responses": ["a"], "gold": [v]}) for v in (0.5, 2, -1, 10)],
    ("spct", "gold", {**PLAIN, "responses": ["a", "a"]}),
    ("spct", "gold", {**PLAIN, "responses": ["a", "b", "a"], "gold": [1, 0, 0.5]}),
    *plain("id", "", "  ", 1.5, True, ["x"], {}),
    *plain("reference", *NOT_TEXT),
    *plain("subset", *NOT_TEXT),
    *plain("meta", "x", 5, True, ["x"]),
    *[
        ("spct", key, {**PLAIN, key: "x"})
        for key in ("qurey", "golds", "label", "refrence", "prompt", "Query", "metadata", "n", "")
    ],
]
PREFERENCE: list[Bad] = [
    *pair("prompt", "", " ", 5, [], [REPLY], ["x"], {}),
    *pair("chosen", 5, True, {}, []),
    ("preference", "chosen", {**PAIR, "chosen": None}),
    *pair("rejected", 5, True, {}, []),
    ("preference", "gold", {**PAIR, "chosen": "b"}),
    ("preference", "prompt", {"chosen": "abc", "rejected": "xyz"}),
    ("preference", "prompt", {"chosen": "", "rejected": ""}),
    ("preference", "prompt", {"chosen": " a", "rejected": " b"}),
    ("preference", "chosen", {"chosen": [REPLY], "rejected": [{**REPLY, "content": "no"}]}),
    ("preference", "chosen", {**PAIR, "chosen": [TURN], "rejected": [REPLY]}),
    ("preference", "rejected", {**PAIR, "chosen": [REPLY], "rejected": [TURN]}),
    (
        "preference",
        "chosen, rejected",
        {"chosen": [TURN, REPLY], "rejected": [{**TURN, "content": "ho"}, REPLY]},
    ),
    ("preference", "prompt", {**PAIR, "chosen": [TURN, REPLY], "rejected": [TURN, REPLY]}),
    ("preference", "gold", {"chosen": [TURN, REPLY], "rejected": [TURN, REPLY]}),
    (
        "preference",
        "chosen, rejected",
        {"chosen": "\n\nHuman: a\n\nAssistant: x", "rejected": "\n\nHuman: b\n\nAssistant: y"},
    ),
    ("preference", "chosen", {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: b"}),
    ("rewardbench2", "rejected", {**PAIR, "chosen": ["a"], "rejected": []}),
    ("rewardbench2", "chosen", {**PAIR, "chosen": [], "rejected": ["b"]}),
    ("rewardbench2", "rejected[1]", {**PAIR, "chosen": ["a"], "rejected": ["b", None]}),
    ("rewardbench2", "gold", {**PAIR, "chosen": ["a"], "rejected": ["a"]}),
    ("rewardbench2", "prompt", {"chosen": ["a"], "rejected": ["b"]}),
]
RATED: list[Bad] = [
    *[("ultrafeedback", "completions", {"instruction": "q", "completions": v}) for v in NOT_LIST],
    ("ultrafeedback", "completions", {"instruction": "q", "completions": []}),
    ("ultrafeedback", "prompt", {"completions": [{"response": "a", "overall_score": 1}]}),
    *[("ultrafeedback", "completions[", rate(v)) for v in (5, None, [], {})],
    *[
        ("ultrafeedback", "overall_score", rate({"response": "a", "overall_score": v}))
        for v in NOT_NUMBER
        if v not in (None, True, "1")  # right and wrong are 1 and 0, and a text may be a number
    ],
    *[
        ("ultrafeedback", "annotations", rate({"response": "a", "annotations": v}))
        for v in ("x", {}, {"help": "N/A"}, {"help": {"Rating": "five"}}, {"help": {"Rating": []}})
    ],
    ("ultrafeedback", "annotations", rate({"response": "a", "annotations": {"h": "nan"}})),
    ("ultrafeedback", "completions[].response[0]", rate({"overall_score": 1})),
    *[
        ("helpsteer2-preference", "preference_strength", {**STEER, "preference_strength": v})
        for v in [*(v for v in NOT_NUMBER if v is not None), 4, -4, 0.5]
    ],
    *[
        (
            "helpsteer2-preference",
            "response_2",
            {**STEER, "preference_strength": 1, "response_2": v},
        )
        for v in (5, None, {"x": 1})
    ],
    ("helpsteer2-preference", "prompt", {**STEER, "prompt": "", "preference_strength": 1}),
    (
        "helpsteer2-preference",
        "prompt",
        {**STEER, "prompt": "a\n<extra_id_1>Assistant\nb", "preference_strength": 1},
    ),
    ("helpsteer2", "prompt", {"prompt": "p", "response": "a", "helpfulness": 3}),
    ("helpsteer2", "prompt", {"prompt": 5, "response": "a", "helpfulness": 3}),
]
UNKNOWN: list[Bad] = [
    ("none", field, value)
    for field, value in (
        ("keys", {}),
        ("columns", {"a": 1}),
        ("responses", {"prompt": "p"}),
        ("rejected", {"chosen": "a"}),
        ("keys", {"text": "x", "label": 1}),
    )
]
ROWS = SPCT + PREFERENCE + RATED + UNKNOWN

GOOD = json.dumps(PLAIN)
LINES: list[bytes] = [
    *[GOOD[:cut].encode() for cut in range(1, len(GOOD))],
    *[f"{GOOD}{junk}".encode() for junk in ("}", ",", "x", GOOD, "]", " null")],
    *[f"{junk}{GOOD}".encode() for junk in ("}", ",", "x", "\ufeff\ufeff", "// hi ")],
    *[b"null", b"5", b'"text"', b"true", b"NaN", b"Infinity", b"{}{}", b"nul", b"'a'", b"{'a': 1}"],
    *[b"\xff\xfe{\x00}\x00", b'{"query": "\xff"}', b'{"query": "\xed\xa0\x80"}', b"\x00", b"PAR1"],
    *[b'{"query": "a\x00b"}', b'{"query": "a\tb", "responses": ["a"]}', b"\x1f\x8b\x08\x00"],
    b'{"query": "a", "query": "b", "responses": ["a"]}',
    b'{"query": "a", "responses": ["a"], "meta": {"x": 1, "x": 2}}',
    b'{"query": "a\\u0000", "responses": ["a"]}',
    b'{"query": "a", "responses": ["\\ud800"]}',
    b'{"query": "a", "responses": ["\\udc00\\ud800"]}',
    b'{"query": "a", "responses": ["a"], "meta": {"\\ud800": 1}}',
    b'{"query": "a", "responses": ["a"], "meta": {"x": [{"y": "\\u0000"}]}}',
    b'{"query": "a", "responses": ["a", "b"], "gold": [NaN, 1]}',
    b'{"query": "a", "responses": ["a", "b"], "gold": [1e999, 1]}',
    b'{"query": "a", "responses": ["a", "b"], "gold": [-Infinity, 1]}',
    b'{"query": "a", "responses": ["a"], "meta": {"x": -1e999}}',
    b'{"query": "a", "responses": ["a"], "meta": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"query": "a", "responses": ["a"], "meta": {"x": ' + b"[" * 70 + b"]" * 70 + b"}}",
    b'{"query": "a", "responses": ["a"], "gold": [' + b"9" * 5000 + b"]}",
    b'{"query": "' + b"x" * 2**20,
]
ARRAYS = [
    *[b"[" + GOOD.encode() + end for end in (b"", b",", b",]", b"]]", b"] x", b";]", b"}")],
    *[b"[" + junk + GOOD.encode() + b"]" for junk in (b",", b"x", b"5,", b"null,", b"[],")],
]


def test_the_corpus_is_large() -> None:
    assert len(ROWS) + len(LINES) + len(ARRAYS) >= 250


@pytest.mark.parametrize(("schema", "field", "value"), ROWS)
def test_a_bad_row_names_line_field_and_what_was_expected(
    tmp_path: Path, schema: str, field: str, value: dict[str, Any]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n" + json.dumps(value) + "\n")
    for chosen in ("auto", schema) if schema in SCHEMAS else ("auto",):
        with pytest.raises(DataError) as caught:
            list(read_examples(path, schema=chosen))
        message = str(caught.value)
        assert "bad.jsonl:2: " in message and field in message
        assert "got" in message and "expected" in message
        assert len(message) < 2000


@pytest.mark.parametrize("line", LINES, ids=lambda line: ascii(line[:30]))
def test_a_bad_line_among_good_ones_is_named_and_nothing_is_loaded(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(GOOD.encode() + b"\r\n" + line + b"\n" + GOOD.encode())
    with pytest.raises(DataError, match=r"bad\.jsonl:2: .*got.*expected"):
        list(read_examples(path))
    report = validate(path)
    assert (report.n_problems, report.examples) == (1, 2)


@pytest.mark.parametrize("data", ARRAYS)
def test_a_bad_array_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.json:1: .*got.*expected"):
        list(read_examples(path))
    assert not validate(path).ok


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("qurey", "query"), ("golds", "gold"), ("refrence", "reference"), ("response", "responses")],
)
def test_an_unknown_key_of_our_schema_names_the_nearest(typo: str, meant: str) -> None:
    with pytest.raises(DataError, match=f"{typo}.*did you mean '{meant}'"):
        list(convert_rows([{**PLAIN, typo: "x"}]))


def test_a_message_shows_a_long_value_cut_short_and_control_characters_escaped() -> None:
    with pytest.raises(DataError) as caught:
        list(convert_rows([{**PLAIN, "subset": ["\x1b[31m" + "x" * 10_000]}]))
    assert len(str(caught.value)) < 500
    assert "\x1b" not in str(caught.value)


# Fuzzing

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "assistant", "\n\nHuman: a\n\nAssistant: b", "\ud800", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "response", "Rating", "x"]), inner)
    ),
    max_leaves=6,
)
KEYS = sorted(
    {*PLAIN, *PAIR, *STEER}
    | {"id", "meta", "subset", "reference", "completions", "instruction", "preference_strength"}
    | {"response", "helpfulness", "margin"}
)
LIKELY = st.sampled_from(
    ["q", "a", "b", ["a"], ["a", "b"], [1, 0], [TURN], [TURN, REPLY], [REPLY], {}, 1, 0.5, -3]
)
ROW = st.dictionaries(st.sampled_from(KEYS), LIKELY | JSON, max_size=7) | st.fixed_dictionaries(
    {"query": LIKELY, "responses": LIKELY}, optional={"gold": LIKELY, "id": JSON, "meta": JSON}
)


def is_valid(example: Example) -> bool:
    """The invariants that `spct.types.Example` promises."""
    texts = [*example.responses, *(m.content for m in example.query), example.id]
    gold = example.gold
    return (
        bool(example.id)
        and example.query[-1].role == "user"
        and bool(example.query[-1].content.strip())
        and example.n >= 1
        and all("\0" not in t and t == t.encode().decode() for t in texts)
        and (gold is None or (len(gold) == example.n and all(map(math.isfinite, gold))))
        and json.loads(json.dumps(dict(example.meta), allow_nan=False)) is not None
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=4), st.sampled_from(["auto", *SCHEMAS]))
def test_any_rows_give_valid_examples_or_a_data_error(rows: list[Any], schema: str) -> None:
    try:
        examples = list(convert_rows(rows, schema=schema))
    except DataError as err:
        assert re.search(r"reading rows", str(err))
    else:
        assert examples and all(map(is_valid, examples))
        assert len({example.id for example in examples}) == len(examples)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([*LINES[-40:-5], GOOD.encode()])).map(b"\n".join)
)
def test_any_bytes_give_valid_examples_or_a_data_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.jsonl"
        path.write_bytes(data)
        report = validate(path)
        try:
            examples = list(read_examples(path))
        except DataError:
            assert not report.ok
        else:
            assert report.ok and len(examples) == report.examples > 0
            assert all(map(is_valid, examples))
