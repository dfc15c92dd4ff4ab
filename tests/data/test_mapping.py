"""--map: what a layout cannot know, said in one line or in TOML."""

import json
from pathlib import Path
from typing import Any

import pytest

from spct.data.mapping import Mapped, as_mapping, parse_mapping
from spct.data.rows import convert_rows, validate
from spct.errors import ConfigError, DataError
from spct.types import Example, Message

USER = {"role": "user", "content": "hi"}


def one(row: dict[str, Any], *pairs: str) -> Example:
    (example,) = convert_rows([row], mapping=parse_mapping(pairs))
    return example


def said(example: Example) -> list[str]:
    return [f"{turn.role}: {turn.content}" for turn in example.query]


def test_columns_are_renamed_and_the_others_are_kept_in_meta() -> None:
    row = {"question": "q", "a": "x", "b": "y", "key": 1, "gold": [0, 1], "source": "web"}
    example = one(row | {"id": "old"}, "query=question", "responses=a,b", "id=key")
    assert (example.id, example.query[0].content) == ("1", "q")
    assert (example.responses, example.gold) == (("x", "y"), (0.0, 1.0))
    assert example.meta == {"source": "web", "id": "old"}


def test_columns_can_be_renamed_to_the_fields_of_another_layout() -> None:
    row = {"question": "q", "good": "x", "bad": "y", "margin": 1, "prompt": "other"}
    example = one(row, "prompt=question", "chosen=good", "rejected=bad")
    assert (said(example), example.responses, example.gold) == (["user: q"], ("x", "y"), (1.0, 0.0))
    assert example.meta == {"margin": 1, "prompt": "other"}
    with pytest.raises(DataError, match="rows:1: meta: got 'x'"):
        one(row | {"meta": "x"}, "prompt=question", "chosen=good", "rejected=bad")


@pytest.mark.parametrize(
    ("row", "pairs", "query", "responses", "gold"),
    [
        # several texts are one turn, empty ones leave no mark
        ({"i": "Do.", "x": "It.", "o": "r"}, ["query=i,x", "response=o"],
         ["user: Do.\n\nIt."], ("r",), None),
        ({"i": "Do.", "x": "", "o": "r"}, ["query=i,x", "response=o"], ["user: Do."], ("r",), None),
        # roles
        ({"q": "Q", "s": "S", "h": [["a", "b"]], "o": "r"},
         ["query=q", "system=s", "history=h", "response=o"],
         ["system: S", "user: a", "assistant: b", "user: Q"], ("r",), None),
        ({"q": "Q", "s": "", "o": "r"}, ["query=q", "system=s", "response=o"],
         ["user: Q"], ("r",), None),
        # nested fields, also inside a list of objects
        ({"req": {"input": "Q"}, "out": {"text": "r"}}, ["query=req.input", "response=out.text"],
         ["user: Q"], ("r",), None),
        ({"info": {"post": "Q"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 1},
         ["query=info.post", "responses=summaries.text", "gold=choice:0,1"],
         ["user: Q"], ("a", "b"), (0.0, 1.0)),
        ({"a.b": "Q", "turns": [{"v": "x"}, {"v": "r"}]}, ["query=a.b", "response=turns.1.v"],
         ["user: Q"], ("r",), None),
        # a list column, messages as responses
        ({"q": [USER], "o": [[{"role": "assistant", "content": "a"}], "b"]},
         ["query=q", "responses=o"], ["user: hi"], ("a", "b"), None),
        # words and numbers of a verdict
        ({"q": "Q", "a": "x", "b": "y", "w": "Left"},
         ["query=q", "responses=a,b", "gold=w:left,right,none"], ["user: Q"], ("x", "y"), (1, 0)),
        ({"q": "Q", "a": "x", "b": "y", "w": 2}, ["query=q", "responses=a,b", "gold=w:0,1,2"],
         ["user: Q"], ("x", "y"), (0.5, 0.5)),
        ({"q": "Q", "a": "x", "b": "y", "c": "z", "w": "C"},
         ["query=q", "responses=a,b,c", "gold=w:A,B,C,tie"],
         ["user: Q"], ("x", "y", "z"), (0, 0, 1)),
        ({"q": "Q", "a": "x", "b": "y", "w": "b"}, ["query=q", "responses=a,b", "gold=w"],
         ["user: Q"], ("x", "y"), (0, 1)),
        # flags
        ({"q": "Q", "o": "r", "ok": True}, ["query=q", "response=o", "gold=ok"],
         ["user: Q"], ("r",), (1,)),
        ({"q": "Q", "o": "r", "ok": "bad"}, ["query=q", "response=o", "gold=ok:good,bad"],
         ["user: Q"], ("r",), (0,)),
        # numbers and ranks
        ({"q": "Q", "a": "x", "b": "y", "sa": 3, "sb": 5},
         ["query=q", "responses=a,b", "gold=sa,sb"], ["user: Q"], ("x", "y"), (3, 5)),
        ({"q": "Q", "o": ["x", "y"], "r": [2, 1]}, ["query=q", "responses=o", "rank=r"],
         ["user: Q"], ("x", "y"), (-2, -1)),
        # the responses alone, or the verdict alone: the layout finds the rest
        ({"question": "Q", "x1": "x", "x2": "y"}, ["responses=x1,x2"],
         ["user: Q"], ("x", "y"), None),
        ({"prompt": "Q", "response_1": "x", "response_2": "y", "label": 2}, ["gold=label:1,2,0"],
         ["user: Q"], ("x", "y"), (0, 1)),
        ({"prompt": "Q", "context": "C", "chosen": "x", "rejected": "y"}, ["query=context,prompt"],
         ["user: C\n\nQ"], ("x", "y"), (1, 0)),
    ],
)  # fmt: skip
def test_what_a_map_says(
    row: dict[str, Any], pairs: list[str], query: list[str], responses: Any, gold: Any
) -> None:
    example = one(row, *pairs)
    assert (said(example), example.responses, example.gold) == (query, responses, gold)


def test_the_same_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "rows.toml"
    path.write_text(
        'query = ["instruction", "the, input"]\nresponses = ["a", "b"]\n'
        'gold = {column = "winner", words = ["model_a", "model_b", "tie"]}\n'
    )
    row = {"instruction": "Do.", "the, input": "It.", "a": "x", "b": "y", "winner": "model_b"}
    example = one(row, str(path))
    assert (said(example), example.gold) == (["user: Do.\n\nIt."], (0.0, 1.0))
    path.write_text("[map]\nquery = 'q'\nresponse = 'o'\n")
    assert parse_mapping([str(path)]) == as_mapping({"query": "q", "response": "o"})
    for bad in (
        "query = 5",
        "qurey = 'q'",
        "query = {words = ['a']}",
        "[[",
        "id = {column='x', words=['a']}",
    ):
        path.write_text(bad)
        with pytest.raises(ConfigError, match=r"--map|mapping"):
            parse_mapping([str(path)])


@pytest.mark.parametrize(
    "pairs",
    [["query"], ["=x"], ["query="], ["query=a,"], ["query=a", "query=b"], ["qurey=x"], [""],
     ["gold=a:"], ["gold=a:b"], ["gold=a:b,"], ["absent.toml"], ["response=a", "responses=b"],
     ["gold=a", "rank=b"]],
)  # fmt: skip
def test_a_mapping_that_cannot_work_is_refused(pairs: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"mapp|--map"):
        parse_mapping(pairs)


def test_a_colon_in_a_column_is_only_a_colon_outside_of_gold() -> None:
    assert parse_mapping(["query=a:b"]) == {"query": Mapped(("a:b",))}
    assert one({"a:b": "Q", "o": "r"}, "query=a:b", "response=o").query == (Message("user", "Q"),)


def test_a_mapped_column_that_a_row_lacks_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"rows:1: --map.*'answers'; did you mean 'answer'"):
        one({"query": "q", "answer": ["x"]}, "responses=answers")
    wide = {f"column_{i}": i for i in range(10_000)} | {"question": "q"}
    with pytest.raises(DataError, match=r"'qestion'; did you mean 'question'") as caught:
        one(wide, "query=qestion", "response=column_1")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", [None, float("nan"), ""])
def test_a_verdict_of_null_or_nan_is_no_gold_and_counted(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"q": "Q", "a": "x", "b": f"y{i}", "w": value if i else "a"} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    report = validate(path, mapping=parse_mapping(["query=q", "responses=a,b", "gold=w:a,b"]))
    assert (report.examples, report.with_gold) == (3, 1)
    assert report.notes == ("no verdict: the row has no gold (2 rows)",)


@pytest.mark.parametrize("value", ["c", 3, True, [1], 0.5])
def test_a_value_outside_the_words_is_refused_with_them(value: Any) -> None:
    row = {"q": "Q", "a": "x", "b": "y", "w": value}
    with pytest.raises(DataError, match=r"w: got .*expected one of the words a, b, tie"):
        one(row, "query=q", "responses=a,b", "gold=w:a,b,tie")


def test_what_cannot_be_gold_says_how_to_name_its_words() -> None:
    with pytest.raises(DataError, match=r"--map gold=w:GOOD,BAD"):
        one({"q": "Q", "o": "x", "w": "fine"}, "query=q", "response=o", "gold=w")
    with pytest.raises(DataError, match="0 or 1 for a single response"):
        one({"q": "Q", "o": "x", "w": 5}, "query=q", "response=o", "gold=w")


def test_an_object_that_a_path_goes_through_keeps_its_other_fields() -> None:
    row = {"extra": {"q": "Q", "source": "web"}, "o": "r"}
    assert one(row, "query=extra.q", "response=o").meta == {"extra": row["extra"]}
