"""Every layout gives the Example that docs/data.md promises, and no reader cuts a text."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spct.data.columns import Columns
from spct.data.layouts.queries import MAIN
from spct.data.layouts.singles import FLAGS, RESPONSES
from spct.data.layouts.table import BY_NAME, SCHEMAS, detect
from spct.data.rows import convert_rows, validate
from spct.errors import DataError
from spct.types import Example, Message

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "be brief"}
PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")


def reply(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def one(row: dict[str, Any], **options: Any) -> Example:
    (example,) = convert_rows([row], **options)
    return example


def said(example: Example) -> list[str]:
    return [f"{turn.role}: {turn.content}" for turn in example.query]


def values(text: str) -> Iterator[Any]:
    """The JSON values of a text that holds several."""
    at = 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = json.JSONDecoder().raw_decode(text, at)
        yield value


def blocks() -> Iterator[tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    """The rows of the page with the layout under whose name they stand, and their reading."""
    layouts = PAGE[PAGE.index("## Layouts") : PAGE.index("## What a layout cannot know")]
    names: list[str] = []
    for name, block in re.findall(
        r"^((?:\*\*`\w+`\*\*,? ?)+)|^```json\n(.+?)\n```", layouts, re.MULTILINE | re.DOTALL
    ):
        if name:
            names = re.findall(r"`(\w+)`", name)
        else:
            *rows, reading = values(block)
            yield ",".join(names), rows, reading


BLOCKS = list(blocks())


def test_the_page_shows_every_layout() -> None:
    assert {name for names, *_ in BLOCKS for name in names.split(",")} == set(SCHEMAS)
    assert len(BLOCKS) >= 30


@pytest.mark.parametrize(("names", "rows", "reading"), BLOCKS)
def test_a_row_of_the_page_is_read_as_the_page_says(
    names: str, rows: list[dict[str, Any]], reading: dict[str, Any]
) -> None:
    layout = detect(Columns("docs", rows[0])).name
    assert layout in names.split(",")
    for schema in ("auto", layout):
        (example,) = convert_rows(rows, schema=schema)
        gold = None if example.gold is None else list(example.gold)
        got = {"query": said(example), "responses": list(example.responses), "gold": gold}
        assert got == reading


# Our own rows


def test_our_own_schema_keeps_every_field() -> None:
    assert one(
        {
            "id": 7,
            "query": [SYSTEM, USER, reply("hello"), {"role": "user", "content": "more"}],
            "responses": ["a", "b"],
            "gold": [1, 0.5],
            "reference": "r",
            "subset": "s",
            "meta": {"x": [1]},
        }
    ) == Example(
        "7",
        (
            Message("system", "be brief"),
            Message("user", "hi"),
            Message("assistant", "hello"),
            Message("user", "more"),
        ),
        ("a", "b"),
        (1.0, 0.5),
        "r",
        "s",
        {"x": [1]},
    )


# Pairs


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "chosen": "yes", "rejected": "no"},
        {"prompt": [USER], "chosen": [reply("yes")], "rejected": [reply("no")]},
        {"prompt": [USER], "chosen": "yes", "rejected": "no"},
        {"prompt": "hi", "chosen": [USER, reply("yes")], "rejected": [USER, reply("no")]},
        {"chosen": [USER, reply("yes")], "rejected": [USER, reply("no")]},
        {"chosen": [USER, reply("yes")], "rejected": [USER, reply("no")], "source": "web"},
        {
            "chosen": "\n\nHuman: hi\n\nAssistant: yes",
            "rejected": "\n\nHuman: hi\n\nAssistant: no",
        },
        {"chosen": "hi yes", "rejected": "hi no"},
        {"prompt": None, "chosen": "hi\nyes", "rejected": "hi\nno"},
        {"prompt": "Human: hi\n\nAssistant:", "chosen": "yes", "rejected": "no"},
        {"prompt": "### Human: hi\n### Assistant:", "chosen": "yes", "rejected": "no"},
        {"prompt": "USER: hi\nASSISTANT:", "chosen": "yes", "rejected": "no"},
        {"prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "chosen": "yes",
         "rejected": "no"},
        {"problem": "hi", "chosen": "yes", "rejected": "no"},
        {"instruction": "hi", "input": "", "chosen_response": "yes", "rejected_response": "no"},
        {"messages": [USER], "chosen": reply("yes"), "rejected": reply("no")},
        {"conversations": [{"from": "human", "value": "hi"}], "chosen": "yes", "rejected": "no"},
        {"question": "hi", "response_j": "yes", "response_k": "no"},
        {"prompt": "hi", "chosen": "yes", "reject": "no", "response_0": "yes", "response_1": "x"},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
         "chosen": [reply("yes")], "rejected": [reply("no")]},
    ],
)  # fmt: skip
def test_every_form_of_a_preference_row_gives_the_same_pair(row: dict[str, Any]) -> None:
    example = one(row | {"margin": 2})
    assert said(example) == ["user: hi"]
    assert example.responses == ("yes", "no")
    assert example.gold == (1.0, 0.0)
    assert example.meta["margin"] == 2


def test_a_user_who_quotes_a_dialogue_is_not_cut_into_turns() -> None:
    for text in (
        "Rate this:\n\nHuman: a\n\nAssistant: b\n\nIs it good?",
        "Human: is a word. Why?",
        "Assistant: what does this say?",
        "What does <|im_start|>user mean?",
        "User: a\nAssistant: b\nWhat follows?",
    ):
        assert said(one({"prompt": text, "chosen": "a", "rejected": "b"})) == [f"user: {text}"]


def test_what_both_answers_begin_with_is_never_the_query_beside_another_text() -> None:
    row = {"chosen": "To find x, add.", "rejected": "To find x, guess.", "task_text": "Find x now."}
    with pytest.raises(DataError, match=r"task_text.*--map prompt=task_text"):
        one(row)
    assert said(one(row, mapping={"prompt": "task_text"})) == ["user: Find x now."]


def test_the_implicit_prompt_of_trl_is_named_each_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"chosen": "The sky is blue.", "rejected": "The sky is black."}))
    report = validate(path)
    assert report.shown[0].example.responses == ("blue.", "black.")
    assert "the beginning that chosen and rejected share" in report.notes[0]


def test_a_conversation_that_restates_a_text_prompt_keeps_its_system_turn() -> None:
    example = one(
        {
            "prompt": "hi",
            "chosen": [SYSTEM, USER, reply("yes")],
            "rejected": [SYSTEM, USER, reply("no")],
        }
    )
    assert [message.role for message in example.query] == ["system", "user"]


@pytest.mark.parametrize(
    ("extra", "gold"),
    [
        ({"status": "tie"}, (0.5, 0.5)),
        ({"score_chosen": 7, "score_rejected": 7}, (0.5, 0.5)),
        ({"chosen-rating": 4.0, "rejected-rating": 4.0}, (0.5, 0.5)),
        ({"rating": [8, 8]}, (0.5, 0.5)),
        ({"status": "swapped", "chosen_score": 8, "rejected_score": 2}, (1.0, 0.0)),
        ({"chosen_logps": -3.0, "rejected_logps": -3.0}, (1.0, 0.0)),
    ],
)
def test_a_pair_whose_row_says_tie_is_no_clear_win(
    extra: dict[str, Any], gold: tuple[float, float]
) -> None:
    assert one({"prompt": "p", "chosen": "a", "rejected": "b", **extra}).gold == gold


def test_steps_of_an_agent_are_shared_as_far_as_they_agree() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "w", "arguments": "{}"}}]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": "1", "content": "sunny"}
    example = one(
        {"chosen": [USER, call, result, reply("a")], "rejected": [USER, call, result, reply("b")]}
    )
    assert example.responses == ("a", "b") and "sunny" in example.query[-1].content
    example = one({"prompt": [USER], "chosen": [call, result, reply("a")], "rejected": "b"})
    assert "sunny" in example.responses[0] and example.responses[0].endswith("a")


def test_answers_of_different_conversations_are_never_judged_as_one() -> None:
    chosen = [USER, reply("x"), {"role": "user", "content": "A?"}, reply("y")]
    rejected = [USER, reply("x"), {"role": "user", "content": "B?"}, reply("z")]
    with pytest.raises(DataError, match=r"A\?.*B\?.*different conversations"):
        one({"chosen": chosen, "rejected": rejected})


# Columns that look like a part of the query


@pytest.mark.parametrize("column", ["context", "history", "input", "question", "passage"])
def test_a_column_that_looks_like_a_part_of_the_query_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "Say more.", "chosen": "a", "rejected": "b", column: "of the sea"}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "chosen": "c"}))
    (note,) = validate(path).notes
    assert f"{column!r}" in note and f"--map query=prompt,{column}" in note and "2 rows" in note
    report = validate(path, mapping={"query": f"prompt,{column}"})
    assert report.notes == ()
    assert said(report.shown[0].example) == ["user: Say more.\n\nof the sea"]


def test_a_column_whose_text_the_query_already_holds_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "Translate: sea", "input": "sea", "chosen": "a", "rejected": "b"}
    path.write_text(json.dumps(row))
    assert validate(path).notes == ()


# Verdicts


@pytest.mark.parametrize(
    ("word", "gold"),
    [
        ("model_a", (1, 0)), ("model_b", (0, 1)), ("Model A", (1, 0)), ("model1", (1, 0)),
        ("A", (1, 0)), ("b", (0, 1)), ("A>B", (1, 0)), ("A<B", (0, 1)), ("B>A", (0, 1)),
        ("A>>B", (1, 0)), ("[[A>B]]", (1, 0)), ("A=B", (0.5, 0.5)), ("tie", (0.5, 0.5)),
        ("Tie (bothbad)", (0.5, 0.5)), ("both_bad", (0.5, 0.5)), ("response_2", (0, 1)),
        ("first", (1, 0)), ("A wins", (1, 0)), ("TIE", (0.5, 0.5)),
        (None, None), ("", None), ("N/A", None), (float("nan"), None),
    ],
)  # fmt: skip
def test_a_verdict_in_words(word: Any, gold: tuple[float, float] | None) -> None:
    row = {"prompt": "p", "response_1": "x", "response_2": "y", "winner": word}
    assert one(row).gold == gold


@pytest.mark.parametrize("value", [1, 0, 2, 1.0, True, "1", "2"])
@pytest.mark.parametrize("column", ["winner", "label", "preference"])
def test_a_verdict_in_numbers_is_never_guessed(column: str, value: Any) -> None:
    row = {"prompt": "p", "response_1": "x", "response_2": "y", column: value}
    with pytest.raises(DataError, match=rf"never guessed.*--map gold={column}:"):
        one(row)
    mapping = {
        "query": "prompt",
        "responses": "response_1,response_2",
        "gold": f"{column}:9,{value}",
    }
    assert one(row, mapping=mapping).gold == (0.0, 1.0)
    assert one(row, mapping={"gold": f"{column}:{value},9"}).gold == (1.0, 0.0)


@pytest.mark.parametrize("word", ["model_c", "A>C", "yes"])
def test_a_word_that_is_no_verdict_is_refused_with_the_way_to_say_it(word: str) -> None:
    with pytest.raises(DataError, match="--map gold=winner:FIRST,SECOND,TIE"):
        one({"prompt": "p", "response_1": "x", "response_2": "y", "winner": word})


def test_several_verdict_columns_are_refused_by_name() -> None:
    row = {"prompt": "p", "output_1": "x", "output_2": "y"}
    with pytest.raises(DataError, match=r"winner, verdict, label.*say which of them is gold"):
        one({**row, "winner": "A", "verdict": "B", "label": "A"})
    with pytest.raises(DataError, match="better_response_id, safer_response_id"):
        one({"prompt": "p", "response_0": "x", "response_1": "y", "better_response_id": 0,
             "safer_response_id": 1})  # fmt: skip
    assert one({**row, "winner": "A", "label": "maths"}).gold == (1.0, 0.0)


@pytest.mark.parametrize(
    ("preference", "gold"), [(1, (1, 0)), (2, (0, 1)), (1.5, (0.5, 0.5)), (1.75, (0.25, 0.75))]
)
def test_alpaca_eval_counts_from_one_to_two(preference: float, gold: tuple[float, float]) -> None:
    row = {"instruction": "i", "output_1": "x", "output_2": "y"}
    assert one({**row, "preference": preference}).gold == gold
    with pytest.raises(DataError, match=r"from 1 .* to 2"):
        one({**row, "preference": 0})


def test_a_column_that_names_a_response_is_followed() -> None:
    row = {"question": "q", "response_a": "x", "response_b": "y", "chosen": "response_b"}
    assert one(row).gold == (0.0, 1.0)
    assert one({**row, "rejected": "response_a"}).responses == ("x", "y")


# Arena


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]


def test_mt_bench_judges_the_turn_that_it_names() -> None:
    row = {"conversation_a": turns("q", "x", "r", "z"), "conversation_b": turns("q", "y", "r", "w")}
    example = one({**row, "winner": "model_a", "turn": 1})
    assert (said(example), example.responses) == (["user: q"], ("x", "y"))
    with pytest.raises(DataError, match="different conversations"):
        one({**row, "winner": "model_a", "turn": 2})


def test_names_of_models_stay_in_meta() -> None:
    row = {"conversation_a": turns("q", "x"), "conversation_b": turns("q", "y")}
    example = one({**row, "winner": "tie (bothbad)", "model_a": "m", "model_b": "n"})
    assert example.meta == {"winner": "tie (bothbad)", "model_a": "m", "model_b": "n"}


# Singles


@pytest.mark.parametrize("value", [1, 0, 0.5, 7])
def test_a_number_is_no_flag(value: float) -> None:
    with pytest.raises(DataError, match=r"never guessed.*--map gold=label:1,0"):
        one({"prompt": "p", "completion": "c", "label": value})
    mapping = {"query": "prompt", "response": "completion", "gold": f"label:9,{value:g}"}
    assert one({"prompt": "p", "completion": "c", "label": value}, mapping=mapping).gold == (0.0,)


def test_a_score_beside_a_single_response_is_named_and_no_gold(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "p", "response": "r", "score": 1}))
    report = validate(path)
    assert report.with_gold == 0 and "--map gold=score:1,0" in report.notes[0]
    assert report.shown[0].example.meta == {"score": 1}


def test_consecutive_helpsteer2_rows_of_one_prompt_are_one_example() -> None:
    rows = [
        {"prompt": prompt, "response": response, "helpfulness": score, "verbosity": 2}
        for prompt, response, score in [
            ("p", "a", 4), ("p", "b", 1), ("q", "c", 3), ("q", "d", 3), ("q", "e", 0),
        ]
    ]  # fmt: skip
    first, second = convert_rows(rows)
    assert (first.responses, first.gold) == (("a", "b"), (4.0, 1.0))
    assert (second.responses, second.gold) == (("c", "d", "e"), (3.0, 3.0, 0.0))
    assert first.meta == {"ratings": [{"verbosity": 2}, {"verbosity": 2}]}


def test_a_helpsteer2_row_alone_between_others_is_named() -> None:
    rows = [
        {"prompt": prompt, "response": f"r{i}", "helpfulness": i}
        for i, prompt in enumerate(["p", "p", "q", "p", "p"])
    ]
    with pytest.raises(DataError, match="rows:3: prompt: got 'q'"):
        list(convert_rows(rows))


# Lists


def test_without_all_overall_scores_ultrafeedback_gold_is_the_mean_rating() -> None:
    def rated(*ratings: object) -> dict[str, Any]:
        return {aspect: {"Rating": r} for aspect, r in zip("abcd", ratings, strict=False)}

    example = one(
        {
            "instruction": "q",
            "completions": [
                {"response": "a", "annotations": rated("5", "4", "N/A", None), "overall_score": 9},
                {"response": "b", "annotations": rated(1, 2)},
            ],
        }
    )
    assert example.gold == (4.5, 1.5)
    assert example.meta["completions"][0]["overall_score"] == 9


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"responses": ["a", "b"], "rewards": [0.1, 0.9]}, (0.1, 0.9)),
        ({"completions": ["a", "b"], "ranks": [2, 1]}, (-2.0, -1.0)),
        ({"answers": [{"text": "a", "pm_score": 3}, {"text": "b", "pm_score": 5}]}, (3.0, 5.0)),
        ({"responses": [{"content": "a"}, {"content": "b"}], "scores": [1, 2]}, (1.0, 2.0)),
        ({"outputs": ["a", "b"]}, None),
    ],
)
def test_lists_with_numbers_in_or_beside_them(row: dict[str, Any], gold: Any) -> None:
    example = one({"prompt": "p", **row})
    assert (example.responses, example.gold) == (("a", "b"), gold)


@pytest.mark.parametrize(
    ("extra", "gold"),
    [({"chosen": "b"}, (0.0, 1.0)), ({"best": "a"}, (1.0, 0.0)), ({"best": "c"}, None),
     ({"scores": [1, None]}, None)],
)  # fmt: skip
def test_a_list_whose_best_is_named_by_its_text(extra: dict[str, Any], gold: Any) -> None:
    assert one({"prompt": "p", "responses": ["a", "b"], **extra}).gold == gold


def test_a_list_whose_best_is_a_number_is_refused_with_the_map() -> None:
    row = {"prompt": "p", "responses": ["a", "b"], "chosen": 1}
    with pytest.raises(DataError, match=r"never guessed.*--map gold=chosen:0,1"):
        one(row)
    assert one(row, mapping={"gold": "chosen:0,1"}).gold == (0.0, 1.0)


def test_steps_of_one_answer_are_no_responses() -> None:
    with pytest.raises(DataError, match="steps of one answer"):
        one({"prompt": "p", "completions": ["step 1", "step 2"], "labels": [True, False]})


def test_turn_lists_of_the_arena_are_whole_conversations() -> None:
    row = {"prompt": '["q"]', "response_a": '["x"]', "response_b": '["y"]', "winner_model_a": 0,
           "winner_model_b": 0, "winner_tie": 1}  # fmt: skip
    example = one(row)
    assert (said(example), example.responses, example.gold) == (["user: q"], ("x", "y"), (0.5, 0.5))
    two = {"prompt": ["q", "r"], "response_a": ["s", "x"], "response_b": ["s", "y"]}
    assert said(one({**row, **two})) == ["user: q", "assistant: s", "user: r"]
    with pytest.raises(DataError, match="different conversations"):
        one({**row, **two, "response_b": ["t", "y"]})
    plain = {"prompt": '["q"]', "response_a": "x", "response_b": "y", "winner": "A"}
    assert said(one(plain)) == ['user: ["q"]']


CHATML = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": CHATML, "chosen": "yes<|im_end|>", "rejected": "no<|im_end|>"},
        {"chosen": CHATML + "yes<|im_end|>", "rejected": CHATML + "no<|im_end|>"},
        {"prompt": "<s>[INST] hi [/INST]", "chosen": " yes</s>", "rejected": " no</s>"},
    ],
)
def test_templated_texts_become_turns_without_control_tokens(row: dict[str, Any]) -> None:
    example = one(row)
    assert (said(example), example.responses) == (["user: hi"], ("yes", "no"))


# No reader cuts a text

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
WORDS = st.sampled_from(["To find x", "The answer is", "Step 1: add", "yes", "no", "maybe so"])
SAID = st.tuples(WORDS, TEXT).map(" ".join)


def wrapped(role: str, text: str, form: int) -> Any:
    """One message in one of the forms that sets use."""
    if form == 0:
        return {"role": role, "content": text}
    if form == 1:
        return {"from": {"user": "human", "assistant": "gpt"}[role], "value": text}
    return {"role": role, "content": [{"type": "text", "text": text}]}


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict[str, Any], list[str], list[str]]:
    """A row of some layout, and the texts of its query and of its responses."""
    q, a, b = draw(SAID), draw(SAID), draw(SAID)
    form = draw(st.integers(0, 2))
    u, x, y = wrapped("user", q, form), wrapped("assistant", a, form), wrapped("assistant", b, form)
    name = draw(st.sampled_from(["prompt", "problem", "question", "instruction", "trajectory"]))
    query = draw(st.sampled_from([{name: q}, {"messages": [u]}, {"conversations": [u]}]))
    made = draw(
        st.sampled_from(
            [
                {**query, "chosen": a, "rejected": b},
                {**query, "chosen": x, "rejected": y},
                {**query, "chosen": [x], "rejected": [y]},
                {"chosen": [u, x], "rejected": [u, y], "source": "web"},
                {**query, "chosen": [a], "rejected": [b]},
                {"messages": [u, x], "rejected_response": b},
                {"conversation_a": [u, x], "conversation_b": [u, y], "winner": "tie"},
                {**query, "output_1": a, "output_2": b, "winner": "model_a"},
                {**query, "responses": [a, b], "scores": [1, 2]},
                {**query, "completions": [{"response": a, "rank": 1}, {"response": b, "rank": 2}]},
                {name: q, "completion": a, "label": True},
                {"conversations": [u, x], "kto_tag": False},
            ]
        )
    )
    extra = draw(st.dictionaries(st.sampled_from(["source", "score", "id2"]), WORDS, max_size=2))
    return {**made, **extra}, [q], [a, b]


@settings(max_examples=400, deadline=None)
@given(rows())
def test_a_query_and_a_response_are_always_whole_texts_of_the_row(
    made: tuple[dict[str, Any], list[str], list[str]],
) -> None:
    row, queries, responses = made
    try:
        example = one(row)
    except DataError as error:
        assert "equal gold" in str(error)
        return
    assert [turn.content for turn in example.query] == queries
    assert set(example.responses) <= set(responses)


NAMES = "response_1 response_2 output_1 output_2 winner preference completions answers scores ranks"
OTHERS = "system history chosen rejected reject conversation_a conversation_b turn source"
COLUMNS = st.sampled_from([*MAIN, *RESPONSES, *FLAGS, *NAMES.split(), *OTHERS.split()])
CELL = st.one_of(
    SAID,
    st.sampled_from([1, 0, None, True, "tie", "model_a", [1, 2]]),
    st.lists(SAID.map(reply), min_size=1, max_size=2),
    st.tuples(SAID, SAID).map(lambda t: [{"role": "user", "content": t[0]}, reply(t[1])]),
    st.lists(SAID, min_size=1, max_size=3),
)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from texts_in(inner)


@settings(max_examples=600, deadline=None)
@given(st.dictionaries(COLUMNS, CELL, max_size=7))
def test_any_columns_give_whole_texts_or_a_data_error(row: dict[str, Any]) -> None:
    try:
        example = one(row)
    except DataError:
        return
    whole = set(texts_in(row))
    text_columns = {c for c, v in row.items() if isinstance(v, str) and v}
    if text_columns == {"chosen", "rejected"} and not any(
        isinstance(v, list) for c, v in row.items() if c in ("chosen", "rejected")
    ):
        return  # TRL's implicit prompt, the one exception
    for text in [*(turn.content for turn in example.query), *example.responses]:
        assert text in whole or all(
            part in whole or any(w in text for w in whole) for part in text.split("\n\n")
        )


def test_each_layout_has_one_name() -> None:
    assert len(BY_NAME) == len(SCHEMAS) >= 14
