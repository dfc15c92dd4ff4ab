"""Rows as public sets and tools write them, each with its reading worked by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from spct.data.mapping import parse_mapping
from spct.data.rows import convert_rows, read_examples, validate
from spct.errors import ConfigError, DataError
from spct.types import Example

ASK = "Why do rivers bend?"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def reply(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def google(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def one(row: dict[str, Any], *pairs: str) -> Example:
    (example,) = convert_rows([row], mapping=parse_mapping(pairs))
    return example


def said(example: Example) -> list[str]:
    return [f"{turn.role}: {turn.content}" for turn in example.query]


@pytest.mark.parametrize(
    ("row", "query", "responses", "gold"),
    [
        # HelpSteer 3, edits of one answer
        ({"context": [user(ASK)], "original_response": "o", "feedback": ["f"],
          "good_edited_response": "g", "bad_edited_response": "b"},
         [f"user: {ASK}"], ["g", "b"], [1, 0]),
        # Vezora's code pairs, CValues
        ({"input": ASK, "accepted": "g", "rejected": "b"}, [f"user: {ASK}"], ["g", "b"], [1, 0]),
        ({"prompt": ASK, "pos_resp": "g", "neg_resp": "b", "type": "x"},
         [f"user: {ASK}"], ["g", "b"], [1, 0]),
        # rlhf-reward-datasets: the mark begins the answers
        ({"prompt": f"\n\nHuman: {ASK}\n\n", "chosen": "Assistant: g", "rejected": "Assistant: b"},
         [f"user: {ASK}"], ["g", "b"], [1, 0]),
        # GPT-4-LLM
        ({"user_input": ASK, "responses_and_scores": [
            {"response": "x", "source": "m", "score": 2}, {"response": "y", "score": 9}]},
         [f"user: {ASK}"], ["x", "y"], [2, 9]),
        # PPE: more outputs than one digit counts, and whether each is right
        ({"prompt": ASK, "ground_truth": "C", "scores": [True, False] * 6,
          **{f"response_{i}": f"r{i}" for i in range(1, 13)}},
         [f"user: {ASK}"], [f"r{i}" for i in range(1, 13)], [1, 0] * 6),
        ({"prompt": ASK, **{f"response_{c}": c for c in "abcdef"}},
         [f"user: {ASK}"], list("abcdef"), None),
        # Google's preference tuning
        ({"systemInstruction": google("system", "Be brief."), "contents": [google("user", ASK)],
          "completions": [{"score": 1.0, "completion": google("model", "g")},
                          {"score": 0.0, "completion": google("model", "b")}]},
         ["system: Be brief.", f"user: {ASK}"], ["g", "b"], [1, 0]),
        # rollouts of a trainer, texts or messages
        ({"prompt": [user(ASK)], "completions": [[reply("x")], [reply("y")]], "rewards": [1.0, 0]},
         [f"user: {ASK}"], ["x", "y"], [1, 0]),
        ({"prompt": ASK, "responses": ["x", "y"], "correct": [False, True]},
         [f"user: {ASK}"], ["x", "y"], [0, 1]),
        ({"prompt": ASK, "generations": ["x", "y"], "ratings": ["5", "3.5"]},
         [f"user: {ASK}"], ["x", "y"], [5, 3.5]),
        ({"prompt": ASK, "generations": ["x", "y"], "ratings": [5, "N/A"]},
         [f"user: {ASK}"], ["x", "y"], None),
        ({"prompt": ASK, "response_a": "x", "response_b": "y", "score_a": "4", "score_b": "2"},
         [f"user: {ASK}"], ["x", "y"], [4, 2]),
        # a verdict that repeats the winner's text, or says its model
        ({"prompt": ASK, "response_1": "x z", "response_2": "y z", "preferred": "y z"},
         [f"user: {ASK}"], ["x z", "y z"], [0, 1]),
        ({"prompt": ASK, "model_a": "m", "model_b": "n", "output_a": "x", "output_b": "y",
          "winner": "n"}, [f"user: {ASK}"], ["x", "y"], [0, 1]),
        ({"model_a": "m", "model_b": "n", "winner": "m", "conversation_a": [user(ASK), reply("x")],
          "conversation_b": [user(ASK), reply("y")]}, [f"user: {ASK}"], ["x", "y"], [1, 0]),
        # Capybara: a question and its answer in one object
        ({"conversation": [{"input": "Hi", "output": "Yes?"}, {"input": ASK, "output": "x"}]},
         ["user: Hi", "assistant: Yes?", f"user: {ASK}"], ["x"], None),
        # objects with one known text
        ({"prompt": {"text": ASK}, "chosen": {"text": "g"}, "rejected": {"text": "b"}},
         [f"user: {ASK}"], ["g", "b"], [1, 0]),
        # a flag in words, as tables have it
        ({"prompt": ASK, "completion": "x", "label": "True"}, [f"user: {ASK}"], ["x"], [1]),
        ({"prompt": ASK, "completion": "x", "kto_tag": "false"}, [f"user: {ASK}"], ["x"], [0]),
    ],
)  # fmt: skip
def test_a_row_of_a_public_set_is_read_whole(
    row: dict[str, Any], query: list[str], responses: list[str], gold: list[float] | None
) -> None:
    example = one(row)
    assert (said(example), list(example.responses)) == (query, responses)
    assert (None if example.gold is None else list(example.gold)) == gold


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": ASK, "response_1": "a", "response_2": "b", "response_4": "d"},
         "--map responses=response_1,response_2,response_4"),
        ({"prompt": ASK, "response_1": "x", "response_2": "y", "chosen": 1}, "never guessed"),
        ({"prompt": ASK, "response_1": "B", "response_2": "A", "winner": "B"}, "not both"),
        ({"prompt": ASK, "model_a": "m", "model_b": "m", "output_a": "x", "output_b": "y",
          "winner": "m"}, "FIRST,SECOND,TIE"),
        ({"info": {"post": "A long post."}, "summaries": [{"text": "x"}, {"text": "y"}],
          "choice": 1}, "--map prompt=info.post"),
        ({"prompt": ASK, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 1},
         "never guessed.*--map gold=choice:0,1"),
        ({"instruction": ASK, "input": "", "output": ["x", "y"]},
         r"--map responses=output if none is, or --map chosen=output\.0 --map rejected=output\.1"),
        ({"prompt": ASK, "generations": ["x", None], "ratings": [5, 1]},
         r"generations\[1\]: got None, expected a response"),
        ({"prompt": {"instruction": "i", "language": "py"}, "chosen": "a", "rejected": "b"},
         r"with --map: prompt\.instruction, prompt\.language"),
        ({"prompt": ASK, "chosen": {"code": "1"}, "rejected": {"code": "2"}}, r"chosen\.code"),
        ({"message_id": "1", "parent_id": "0", "role": "prompter", "text": ASK},
         "one message per row"),
        ({"message_tree_id": "1", "prompt": {"text": ASK, "role": "prompter", "replies": []}},
         "a tree of messages"),
        ({"model_a": "m", "model_b": "n", "winner": "model_a", "language": "English"},
         "a table of numbers and names.*scores alone"),
        ({"id": "r", "fields": {"prompt": ASK, "response1": "x", "response2": "y"},
          "responses": {"best": [{"value": "1"}]}},
         r"--map query=fields\.prompt --map responses=fields\.response1,fields\.response2"),
        ({"request": {"messages": [user(ASK)]}, "response": {"choices": [{"message": reply("x")}]}},
         r"--map query=request\.messages --map response=response\.choices\.0\.message"),
        ({"prompt": ASK, "responses": {"gpt": "x", "claude": "y"}},
         r"--map responses=responses\.gpt,responses\.claude"),
        ({"Question": ASK, "Best Answer": "x", "Correct Answers": "one; another; a third one"},
         "--map query=Question --map 'response=Best Answer'$"),
        ({"query": ASK, "pos": ["x"], "neg": ["y"]},
         "if they lie in pos, neg: --map query=query --map responses=pos,neg"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_way(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=f"(?s){words}"):
        one(row)


def test_the_maps_of_the_refusals_read_the_rows() -> None:
    row: dict[str, Any] = {"instruction": ASK, "input": "Hm", "output": ["x", "y"]}
    assert one(row, "chosen=output.0", "rejected=output.1").gold == (1.0, 0.0)
    assert one(row, "responses=output").responses == ("x", "y")
    row = {"question_body": ASK, "answer1_body": "x", "answer2_body": "y", "score": [8, 5]}
    example = one(row, "prompt=question_body")  # JudgeLM
    assert (example.responses, example.gold) == (("x", "y"), (8.0, 5.0))
    row = {"request": {"messages": [user(ASK)]}, "response": {"choices": [{"message": reply("x")}]}}
    example = one(row, "query=request.messages", "response=response.choices.0.message")
    assert (said(example), example.responses) == ([f"user: {ASK}"], ("x",))


# Messages that are written as text

PAIR = [[user(ASK), reply("g")], [user(ASK), reply("b")]]


@pytest.mark.parametrize("write", [json.dumps, str])
@pytest.mark.parametrize("extra", [{}, {"prompt": ASK}, {"source": "some other text"}])
def test_messages_that_are_written_as_text_are_messages(write: Any, extra: Any) -> None:
    example = one({"chosen": write(PAIR[0]), "rejected": write(PAIR[1]), **extra})
    assert (said(example), example.responses) == ([f"user: {ASK}"], ("g", "b"))
    example = one({"messages": write([user(ASK), reply('it\'s "x"')]), "label": True})
    assert example.responses == ('it\'s "x"',)


def test_what_numpy_printed_is_refused_where_it_is_needed() -> None:
    printed = str(PAIR[0]).replace("}, {", "}\n {")
    with pytest.raises(DataError, match=r"chosen.*NumPy or pandas.*write it as JSON"):
        one({"prompt": ASK, "chosen": printed, "rejected": printed})
    assert one({"prompt": ASK, "completion": "x", "log": printed}).responses == ("x",)
    with pytest.raises(DataError, match="responses"):  # two texts, which Python reads as one
        one({"prompt": ASK, "responses": "['a' 'b']", "scores": [1, 2]})
    assert one({"prompt": ASK, "responses": "['a', 'b']", "scores": "[1, 2]"}).gold == (1.0, 2.0)


@pytest.mark.parametrize(
    "text",
    ['[{"name": "f", "arguments": {}}]', '{"role": "x", "y": 1}', "[1, 2]", "[REDACTED]",
     "{'role': 'user'}", '[{"from": "Paris", "to": "Rome"}]', "[{'from': 'a'"],
)  # fmt: skip
def test_an_answer_that_looks_like_data_stays_a_text(text: str) -> None:
    assert one({"prompt": ASK, "chosen": text, "rejected": "no"}).responses == (text, "no")


# Columns beside the query


@pytest.mark.parametrize(
    ("column", "value", "way", "query"),
    [
        ("choices", ["x", "y"], "query=prompt,choices", [f"user: {ASK}\n\nx\ny"]),
        ("passages", [["T", "one"], ["U", "two"]], "query=prompt,passages",
         [f"user: {ASK}\n\nT\none\n\nU\ntwo"]),
        ("tools", [{"name": "f"}], "system=tools", ['system: [{"name": "f"}]', f"user: {ASK}"]),
    ],
)  # fmt: skip
def test_the_way_that_a_note_names_shows_the_column(
    tmp_path: Path, column: str, value: Any, way: str, query: list[str]
) -> None:
    row = {"prompt": ASK, "chosen": "g", "rejected": "b", column: value}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    assert f"--map {way}" in validate(path).notes[0]
    assert said(one(row, way)) == query


def test_a_conversation_that_is_shown_already_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"chosen": PAIR[0], "rejected": PAIR[1], "conversation": [{"input": ASK, "output": "g"}]}
    path.write_text(json.dumps(row))
    assert validate(path).notes == ()
    row["conversation"] = [{"input": "Another one", "output": "g"}]
    path.write_text(json.dumps(row))
    assert "'conversation'" in validate(path).notes[0]


def test_a_second_response_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"instruction": ASK, "response": "g", "response_base": "the answer of the base model"}
    path.write_text(json.dumps(row))
    assert "--map responses=response,response_base" in validate(path).notes[0]


# Maps that would lose a column


def test_a_map_loses_no_column() -> None:
    row = {"q": ASK, "r": "x", "s": "Be kind.", "t": "Be brief.", "m": {"a": 1}}
    assert said(one(row, "query=q", "response=r", "system=s,t")) == [
        "system: Be kind.\n\nBe brief.",
        f"user: {ASK}",
    ]
    for pair in ("reference=s,t", "history=s,t", "id=s,t", "subset=s,t", "gold=s,t:1,2"):
        with pytest.raises(ConfigError, match=f"{pair}.*expected one column"):
            one(row, "query=q", "response=r", pair)
    with pytest.raises(DataError, match=r"history.*--map query=s,q"):
        one(row, "query=q", "response=r", "history=s")


# Files


def test_a_broken_first_line_does_not_decide_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{ASK} {i}", "chosen": "g", "rejected": "b"} for i in range(2)]
    path.write_text("{broken\n" + "\n".join(map(json.dumps, rows)))
    report = validate(path)
    assert (report.schema, report.examples, report.n_problems) == ("preference", 2, 1)


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_table_is_read_by_the_sign_that_separates_its_names(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt{sign}chosen{sign}rejected\n{ASK}{sign}g{sign}b\n")
    (example,) = read_examples(path)
    assert (said(example), example.responses) == ([f"user: {ASK}"], ("g", "b"))


def test_cells_are_texts_where_texts_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    table = [
        "prompt,chosen,rejected",
        'q,"[1, 2]","{""answer"": ""42""}"',
        "q,a\u2028b,c\x0bd",
    ]
    path.write_text("\n".join(table), encoding="utf-8", newline="")
    first, second = read_examples(path)
    assert first.responses == ("[1, 2]", '{"answer": "42"}')
    assert second.responses == ("a\u2028b", "c\x0bd")
    path.write_text('info,o\n"{""post"": ""Why?""}",x\n')
    (example,) = read_examples(path, mapping=parse_mapping(["query=info.post", "response=o"]))
    assert said(example) == ["user: Why?"]
