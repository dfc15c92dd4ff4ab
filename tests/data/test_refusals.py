"""Files and rows that cannot be read say what they are and what to do, in a few lines."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from spct.data.rows import convert_rows, read_examples, validate
from spct.errors import DataError

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8").split())
PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def refusal(path: Path) -> str:
    report = validate(path)
    assert not report.ok and report.examples == 0 and len(report.problems) <= 9
    return report.problems[0].replace(str(path), path.name)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("rows.json", json.dumps({"data": [PAIR, PAIR]}), "one JSON object.*jq -c"),
        ("rows.json", json.dumps({"version": 1, "data": [PAIR] * 5}, indent=1), "one JSON object"),
        ("rows.json", json.dumps({"a": [PAIR], "b": [PAIR]}), r"'\.\[\]\[\]'"),
        ("rows.json", json.dumps({"q": ["x", "y", "z"], "a": ["1", "2", "3"]}), "of columns"),
        ("rows.json", json.dumps({str(i): PAIR for i in range(4)}), "a row under each of 4 keys"),
        ("rows.json", json.dumps(PAIR, indent=2), "one JSON object with the keys.*jq -c"),
        ("rows.json", json.dumps(PAIR, indent=2) * 2, "objects that go over several lines"),
        ("rows.jsonl", "prompt,chosen,rejected\np,a,b\n", r"a CSV table.*ends in \.csv"),
        ("rows.jsonl", "prompt\tchosen\trejected\np\ta\tb\n", r"a CSV table.*ends in \.tsv"),
        ("rows.jsonl", json.dumps(PAIR).encode("utf-16"), "UTF-16.*iconv"),
        ("rows.jsonl", json.dumps(PAIR).encode("utf-16-le"), "UTF-16.*iconv"),
        ("rows.jsonl", b"PAR1\x15\x04", "a Parquet file under another name"),
        ("rows.jsonl", gzip.compress(b"{}", mtime=0), "a gzip file under another name"),
        ("rows.jsonl", b"PK\x03\x04\x14", "a zip file"),
        ("rows.jsonl", "version https://git-lfs.github.com/spec/v1\n", "Git LFS.*git lfs"),
        ("rows.jsonl", "<!DOCTYPE html>\n<html></html>", "a web page"),
        ("rows.jsonl", json.dumps({"prompt": "Please act as an impartial judge ..."}),
         "a finished judge prompt"),
        ("rows.jsonl", json.dumps({"question": "q?", "m1": {"solution": "x"}, "m2": {"s": "y"}}),
         "if they lie in m1, m2: --map query=question --map responses=m1.solution,m2.s"),
        ("rows.jsonl", json.dumps({"prompt": [{"role": "user", "content": "q"}], "ability": "m"}),
         "prompts without responses"),
        ("rows.jsonl", json.dumps({"messages": [{"role": "user", "content": "q"}]}),
         "prompts without responses"),
        ("rows.jsonl", json.dumps({"id": 1, "score": 0.5}), "a table of numbers.*scores alone"),
        ("rows.jsonl", json.dumps({"ask": "q?", "reply_x": "a", "reply_y": "b"}),
         "--map query=ask --map responses=reply_x,reply_y"),
    ],
)  # fmt: skip
def test_each_kind_of_file_has_its_own_sentence(
    tmp_path: Path, name: str, data: str | bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(DataError, match=f"(?s){words}"):
        list(read_examples(path))
    assert "schemas:" not in refusal(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.json", json.dumps({"data": [PAIR, PAIR]})),
        ("rows.jsonl", "prompt,chosen,rejected\n"),
        ("rows.jsonl", json.dumps(PAIR).encode("utf-16")),
        ("rows.jsonl", json.dumps({"prompt": "Please act as an impartial judge"})),
        ("rows.jsonl", json.dumps({"prompt": "q", "ability": "m"})),
        ("rows.jsonl", json.dumps({"id": 1, "score": 0.5})),
        ("rows.jsonl", json.dumps({"ask": "q?", "reply_x": "a", "reply_y": "b"})),
    ],
)
def test_the_page_quotes_each_message(tmp_path: Path, name: str, data: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    message = refusal(path).partition(": ")[2]
    assert " ".join(message.split()) in PAGE


def test_mixed_layouts_are_named_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    single = {"prompt": "p", "completion": "c", "label": True}
    path.write_text("\n".join(map(json.dumps, [PAIR, {**PAIR, "chosen": "c"}, single])))
    problems = validate(path).problems
    assert f"{path} mixes layouts: lines 1-2 preference, 3 single" in problems
    assert "rows.jsonl mixes layouts: lines 1-2 preference, 3 single" in PAGE


def test_a_fault_of_all_rows_is_one_line_with_the_columns_and_a_map(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"ask": f"q{i}?", "reply_x": "a", "reply_y": "b", "winner": "x"} for i in range(500)]
    path.write_text("\n".join(map(json.dumps, rows)))
    (problem,) = validate(path).problems
    assert "rows.jsonl:1-500 (500 rows)" in problem
    assert "--map query=ask --map responses=reply_x,reply_y --map gold=winner" in problem


def test_ten_thousand_columns_are_not_all_told() -> None:
    with pytest.raises(DataError) as caught:
        list(convert_rows([{f"c{i}": "some words" for i in range(10_000)}]))
    assert "9,980 more" in str(caught.value) and len(str(caught.value)) < 2000


# Columns that no reader needs


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "a\0b", "\ud800", [float("nan")], {"x": float("-inf")}, 10**4000,
     {"bytes": b"x"}, object(), {1: 2}, ("x",)],
)  # fmt: skip
@pytest.mark.parametrize("column", ["extra", "meta", "reference", "id", "subset", "score"])
def test_an_unrelated_column_never_refuses_a_row(column: str, value: Any) -> None:
    (example,) = convert_rows([{**PAIR, column: value}])
    assert (example.responses, example.gold) == (("a", "b"), (1.0, 0.0))
    assert json.dumps(dict(example.meta), allow_nan=False).encode()


@pytest.mark.parametrize("value", ["a\0b", "\ud800", b"x", float("inf"), 10**4000])
def test_a_column_that_is_needed_must_be_whole(value: Any) -> None:
    with pytest.raises(DataError, match="chosen"):
        list(convert_rows([{**PAIR, "chosen": value}]))


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", 1.5), ("id", {"a": 1}), ("id", True), ("subset", ["x"]), ("subset", 3), ("gold", "42"),
     ("gold", 7), ("meta", "text"), ("query", {"a": 1}), ("responses", 5), ("reference", [1])],
)  # fmt: skip
def test_columns_called_as_ours_but_of_other_types_are_only_columns(
    column: str, value: Any
) -> None:
    (example,) = convert_rows([{**PAIR, column: value}])
    assert example.gold == (1.0, 0.0) and example.meta[column] == value


def test_half_of_the_rows_with_a_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{**PAIR, "chosen": f"c{i}", **({"system": "S"} if i % 2 else {})} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [len(e.query) for e in read_examples(path)] == [1, 2, 1, 2]
    rows = [{"chosen": "The a b", "rejected": "The a c"}, {**PAIR, "chosen": "The a d"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = validate(path)
    assert any("the beginning that chosen and rejected share (1 row)" in n or "(1 row)" in n
               for n in report.notes)  # fmt: skip


def test_ids_that_occur_again_are_told_apart_in_foreign_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{**PAIR, "id": "same", "chosen": f"c{i}"} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [e.id for e in read_examples(path)] == ["same", "same-2", "same-3"]
    assert "(2 rows)" in validate(path).notes[0]


def test_a_judge_prompt_with_an_answer_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {
        "instruction": "###Task Description ... ###Response to evaluate: x",
        "output": "[RESULT] 3",
    }
    path.write_text(json.dumps(row))
    assert "it is the judge's answer that is judged" in validate(path).notes[0]


def test_a_context_is_the_query_only_where_no_other_column_may_be() -> None:
    row = {"context": "facts about the sea", "output": "r"}
    (example,) = convert_rows([row])
    assert example.query[0].content == "facts about the sea"
    with pytest.raises(DataError, match=r"context, source|source, context"):
        list(convert_rows([{**row, "source": "so what do you think of it ?"}]))


def test_a_null_in_a_published_column_does_not_change_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"pair_id": "a", "original_id": "1", "source": "math", "question": "q", "label": "A>B",
           "response_model": "m", "response_A": "x", "response_B": "y"}  # fmt: skip
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "original_id": None}))
    assert (validate(path).schema, validate(path).examples) == ("judgebench", 2)
