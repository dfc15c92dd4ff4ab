"""What counts as a verdict: where it stands, how it may be decorated, and where thoughts end."""

# ruff: noqa: E501 - cases stand one beside the other

import pytest

from spct.text.parse import BINARY, TEN, Reading, Scale, read_reply

FORM = "Specific Criteria:\n1. **Facts** (60%): true.\n2. Style (40%): clear.\n\nAnalysis:\n"
CRITIQUE = "The first is right. The second is wrong."


def scores(text, n=2, scale=TEN, **options):
    reading = read_reply(text, n, scale, **options)
    return reading.group.scores if isinstance(reading, Reading) else reading.reason


# --- where a group counts ---------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "\\boxed{8, 3}", "**\\boxed{8, 3}**", "$$\\boxed{8, 3}$$", "- \\boxed{8, 3}.", "[[8, 3]]",
        "Scores: \\boxed{8, 3}", "**Scores:** \\boxed{8, 3}", "### Scores: [[8, 3]]",
        "Scores：\\boxed{8, 3}", "Final rating: [[8, 3]]", "The scores are [[8, 3]].",
        "Thus the final scores are \\boxed{8, 3}, as argued.", "I give \\boxed{8, 3}.",
        "My verdict is \\boxed{8, 3}", "So \\boxed{8, 3}.", "Therefore, \\boxed{8, 3}",
        "Result: \\boxed{8, 3} (out of 10)", "评分：\\boxed{8, 3}", "Bewertung: [[8, 3]]",
        "On reflection: [[8, 3]]", "\\boxed{8, 3} (the first is better)", "> Scores: \\boxed{8, 3}",
        "| \\boxed{8, 3} |", "```\n\\boxed{8, 3}\n```", "Scores:\n\n\\boxed{8, 3}",
        "I would rate them [[8, 3]].", "The final answer is $\\boxed{8, 3}$.",
    ],
)  # fmt: skip
def test_a_group_alone_or_after_a_word_of_scoring_is_the_verdict(line):
    assert scores(f"{FORM}{CRITIQUE}\n\n{line}") == (8, 3)


@pytest.mark.parametrize(
    "sentence",
    [
        "The second asks for \\boxed{1, 10}, which is no argument.", "It says [[1, 10]].",
        "The interval is [[1, 10]] there.", "The second ends in \\boxed{1, 10}",
        "The second quotes a rating of [[1, 10]].", "It says: [[1, 10]]",
        'The second claims "[[1, 10]]" at its end.', "The list [[1, 10]] is sorted.",
        "The second says that its score is \\boxed{1, 10}.",
    ],
)  # fmt: skip
def test_a_group_inside_any_other_sentence_is_text(sentence):
    assert scores(f"{FORM}{sentence}") == "no_verdict"
    assert scores(f"{FORM}{sentence}\n\nScores: \\boxed{{8, 3}}") == (8, 3)
    assert scores(f"{FORM}{CRITIQUE}\n\nScores: [[8, 3]]\n\n{sentence}") == (8, 3)
    assert scores(f"{FORM}{sentence}", lenient=True) == (1, 10)


def test_of_those_that_count_two_that_differ_conflict_whatever_their_shape_and_place():
    for first in ("\\boxed{8, 3}", "[[8, 3]]"):
        for second in ("\\boxed{3, 8}", "[[3, 8]]"):
            for between in ("\n\nOn reflection: ", "\n\n## Analysis\nScores: ", "\nor rather\n"):
                assert scores(f"{FORM}Scores: {first}{between}{second}") == "conflict"
    assert scores(f"{FORM}\\boxed{{8, 3}}\nScores: [[8, 3]]") == (8, 3)


@pytest.mark.parametrize(
    "heading",
    ["## Analysis", "**Analysis**", "Analysis:", "Analysis：", "3. Analysis:", "### 2) **Analysis** ###",
     "Analysis\n========", "## Analysis of both responses", "Analysis (step by step):",
     "> ## Analysis", "Specific Criteria:"],
)  # fmt: skip
def test_a_late_heading_moves_nothing(heading):
    reply = f"{FORM}{CRITIQUE}\n\nScores: \\boxed{{8, 3}}\n\n{heading}\nThe second has no source."
    assert scores(reply) == (8, 3)
    assert scores(reply + " It asks for \\boxed{1, 10}.") == (8, 3)
    assert scores(reply + "\nScores: \\boxed{1, 10}") == "conflict"


@pytest.mark.parametrize(
    "heading",
    ["Analysis:", "## Analysis", "**Analysis:**", "2. **Analysis**:", "Analysis\n---", "analysis :",
     "### Analysis of the responses", "Analysis of both:", "ANALYSIS﹕"],
)  # fmt: skip
def test_one_definition_of_a_heading(heading):
    criteria = heading.replace("Analysis", "Specific Criteria").replace(
        "ANALYSIS", "Specific criteria"
    )
    criteria = criteria.replace("analysis", "specific criteria")
    reply = f"{criteria}\n1. **Facts** (60%): true.\n\n{heading}\n{CRITIQUE}\n\nScores: [[8, 3]]"
    reading = read_reply(reply, 2, TEN)
    assert isinstance(reading, Reading)
    assert [p.name for p in reading.principles] == ["Facts"] and reading.critique == CRITIQUE


def test_a_sentence_that_begins_like_a_heading_is_none():
    reply = "Specific Criteria:\n- true\nAnalysis shows much.\nScores: [[8, 3]]"
    reading = read_reply(reply, 2, TEN)
    assert isinstance(reading, Reading) and reading.critique == ""


# --- how a group may be written ------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [
        "\\boxed{**8**, **3**}", "\\boxed{{8, 3}}", "\\boxed{[8, 3]}", "\\boxed{(8), (3)}",
        "\\boxed{Response 1: 8, Response 2: 3}", "\\boxed{A: 8, B: 3}", "\\boxed{1: 8, 2: 3}",
        "\\boxed{\\text{Response 1: } 8, \\text{Response 2: } 3}", "\\boxed{\\textbf{\\text{8}}, 3}",
        "\\boxed{8, 3,}", "\\boxed{8, 3.}", "\\boxed{8,\\,3}", "\\boxed{8,\\quad 3}", "\\boxed{8; 3}",
        "\\boxed{$8$, $3$}", "\\boxed{8,\u200b3}", "\\fbox{8, 3}", "\x08oxed{8, 3}", "\\boxed{8、3}",
        "\\boxed{8分, 3分}", "\\boxed{8 points, 3 points}", "\\boxed{8 out of 10, 3 out of 10}",
        "\\boxed{8/10, 3/10}", "\\boxed{8.0/10.0, 3/10}", "\\boxed{8}, \\boxed{3}",
        "\\boxed{8} and \\boxed{3}", "Response 1: \\boxed{8}\nResponse 2: \\boxed{3}", "\\\\boxed{8,3}",
        "\\boxed{\n8,\n3\n}", "**Response 1**: \\boxed{8}\n**Response 2**: \\boxed{3}",
        "| Response 1 | \\boxed{8} |\n| Response 2 | \\boxed{3} |", "[[ 8 , 3 ]]", "[[\\text{8}, \\mathbf{3}]]", "[[8]], [[3]]",
    ],
)  # fmt: skip
def test_mark_up_that_cannot_change_a_number_is_stripped(box):
    assert scores(f"{FORM}{CRITIQUE}\n\nScores: {box}") == (8, 3)
    reading = read_reply(f"Scores: {box}", 2, TEN)
    text = f"Scores: {box}"
    assert isinstance(reading, Reading)
    assert [float(text[a:b]) for a, b in reading.group.spans] == [8, 3]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ("\\boxed{8/100, 3/100}", "not_a_number"), ("\\boxed{8-9, 3}", "not_a_number"),
        ("\\boxed{8,5, 3,0}", "wrong_count"), ("\\boxed{A, B}", "not_a_number"),
        ("\\boxed{Response 2: 8, Response 1: 3}", "not_a_number"), ("\\boxed{80%, 30%}", "not_a_number"),
        ("\\boxed{\\frac{8}{1}, 3}", "not_a_number"), ("\\boxed{8^{1}, 3}", "not_a_number"),
        ("\\boxed{\\sqrt{9}, 3}", "not_a_number"), ("\\boxed{8 3}", "wrong_count"),
        ("\\boxed{~8, ≈3}", "not_a_number"), ("\\boxed{>8, 3}", "not_a_number"),
        ("\\boxed{8, 3, 10}", "wrong_count"), ("\\boxed{1{0}, 3}", "not_a_number"),
        ("\\boxed{8} \\boxed{3} \\boxed{5}", "wrong_count"), ("\\boxed{eight, three}", "not_a_number"),
        ("Response 2: \\boxed{8}\nResponse 1: \\boxed{3}", "wrong_count"),
        ("\\boxed{-8, 3}", "out_of_range"), ("\\boxed{8\\%, 3\\%}", "not_a_number"),
        ("\\boxed{8 ± 1, 3}", "not_a_number"), ("\\boxed{8 or 9, 3}", "not_a_number"),
    ],
)  # fmt: skip
def test_what_could_mean_something_else_is_unscored(box, reason):
    assert scores(f"{FORM}{CRITIQUE}\n\nScores: {box}") == reason


def test_one_number_is_not_joined_from_two_boxes():
    assert scores("\\boxed{8}, \\boxed{3}", 1) == "conflict"
    assert scores("\\boxed{1}\n\\boxed{1}", 1, BINARY) == (1,)
    assert scores("The right value is \\boxed{7}.\n\nVerdict: [[0]]", 1, BINARY) == (0,)
    assert scores("Best: \\boxed{2}", 1, Scale(1, 2, whole=True)) == (2,)


# --- thoughts ----------------------------------------------------------------------------

CLOSED = [
    "<think>{}</think>", "<think>\n{}\n</think>\n\n", "<thinking>{}</thinking>\n", "<thought>{}</thought>",
    "[THINK]{}[/THINK]", "◁think▷{}◁/think▷", "<reasoning>{}</reasoning>", "<seed:think>{}</seed:think>",
    "<|START_THINKING|>{}<|END_THINKING|>", "<|channel>thought\n{}<channel|>", "{}\n</think>\n\n",
    "{}</think>", "<|begin_of_thought|>{}<|end_of_thought|>", "analysis{}assistantfinal",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|start|>assistant<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<think>a</think>\n<think>{}</think>", " \n<think>{}</think>",
]  # fmt: skip
OPEN = ["<think>{}", "<thinking>\n{}", "[THINK]{}", "<|channel|>analysis<|message|>{}<|end|>", "analysis{}",
        "<reasoning>{}", "Well.\n<think>\n{}", "◁think▷{}"]  # fmt: skip


@pytest.mark.parametrize("thought", CLOSED)
@pytest.mark.parametrize("draft", ["perhaps\n\\boxed{3, 8}\nbut", "Scores: \\boxed{3, 8}"])
def test_a_closed_thought_is_left_out(thought, draft):
    reading = read_reply(thought.format(draft) + FORM + CRITIQUE + "\n\nScores: [[8, 3]]", 2, TEN)
    assert isinstance(reading, Reading) and reading.group.scores == (8, 3)
    assert [p.name for p in reading.principles] == ["Facts", "Style"]
    assert reading.critique == CRITIQUE
    assert scores(thought.format(draft) + "The first.\n\nScores: \\boxed{8, 3}") == (8, 3)
    assert scores(thought.format(draft)) == "no_verdict"


@pytest.mark.parametrize("thought", OPEN)
def test_an_open_thought_is_all_thought(thought):
    assert scores(thought.format("perhaps\n\\boxed{3, 8}\nbut let me check")) == "no_verdict"


@pytest.mark.parametrize(
    "named",
    ["The first leaves a stray <think> tag open.", "It puts its steps in <think>...</think>.",
     "It writes [THINK] and never closes it.", "See </think>, <thinking> and ◁think▷ there.",
     "The second never closed </think>. Bad.", "It has <|channel|>final<|message|> inside, oddly.",
     "analysis of both is easy"],
)  # fmt: skip
def test_a_marker_that_is_named_is_no_thought(named):
    reply = f"{FORM}{CRITIQUE} {named}\n\nScores: [[8, 3]]"
    reading = read_reply(reply, 2, TEN)
    assert isinstance(reading, Reading) and reading.group.scores == (8, 3)
    assert reading.critique == f"{CRITIQUE} {named}" and len(reading.principles) == 2
    assert scores(f"{FORM}{CRITIQUE}\n\nScores: [[8, 3]]\n\n{named}") == (8, 3)


# --- what a reply says about its own numbers ---------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "The final scores are not \\boxed{9, 1}.", "Scores: not \\boxed{9, 1}", "It isn't \\boxed{9, 1}.",
        "Hence not the \\boxed{9, 1}", "The score is 8, rather than \\boxed{9, 1}", "最终评分不是\\boxed{9, 1}",
    ],
)  # fmt: skip
def test_a_verdict_that_is_denied_is_none(line):
    assert scores(line) == "no_verdict"
    assert scores(f"{line}\n\nScores: \\boxed{{8, 3}}") == (8, 3)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("Scores (Response 2, Response 1): \\boxed{8, 3}", 2),
        ("Scores for Responses 2 and 1: \\boxed{8, 3}", 2),
        ("Scores (B, A): \\boxed{8, 3}", 2),
        ("Scores for Response 3, Response 2 and Response 1, respectively: \\boxed{8, 3, 4}", 3),
        ("\\boxed{8, 3} (Response 2, Response 1)", 2),
        ("| Response 2 | Response 1 |\n|---|---|\n| \\boxed{8} | \\boxed{3} |", 2),
        ("| | Response 2 | Response 1 |\n|---|---|---|\n| Facts | 2 | 3 |\n| Score | \\boxed{8} | \\boxed{3} |", 2),
    ],
)  # fmt: skip
def test_numbers_whose_labels_stand_in_another_order_are_no_verdict(text, n):
    assert scores(text, n) == "conflict"


@pytest.mark.parametrize(
    "text",
    [
        "Scores (Response 1, Response 2): \\boxed{8, 3}", "Scores (A, B): \\boxed{8, 3}",
        "Scores (3, 8): \\boxed{8, 3}", "Ranking B > A: the scores are \\boxed{8, 3}",
        "Response 2 is weaker than Response 1, so the scores are \\boxed{8, 3}",
        "| Response 2 | weak |\n| Response 1 | good |\n\n\\boxed{8, 3}",
        "| | Response 1 | Response 2 |\n|---|---|---|\n| Score | \\boxed{8} | \\boxed{3} |",
    ],
)  # fmt: skip
def test_labels_in_order_and_other_words_change_nothing(text):
    assert scores(text) == (8, 3)


@pytest.mark.parametrize(
    "text",
    ["\\boxed{8, 3}/100", "\\boxed{8, 3} (out of 100)", "Scores (out of 100): \\boxed{8, 3}", "Out of 5: [[4, 3]]"],
)  # fmt: skip
def test_a_group_out_of_another_number_is_refused(text):
    assert scores(text) == "not_a_number"
    assert scores(text.replace("100", "10").replace("Out of 5", "Out of 10")) != "not_a_number"
