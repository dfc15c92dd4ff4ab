from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spct.text.parse import BINARY, TEN, Reading, Scale, find_verdict, read_reply
from spct.text.reasoning import read_principles
from spct.types import REASONS, Principle, Unscored

GOLDEN = Path(__file__).parent / "golden"


def scores(text, n=2, scale=TEN, **options):
    reading = read_reply(text, n, scale, **options)
    return reading.group.scores if isinstance(reading, Reading) else reading.reason


# --- garbage in -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("I prefer the first one.", "no_verdict"),
        ("Scores: 8, 9", "no_verdict"),
        ("Scores: [8, 9]", "no_verdict"),
        (r"\boxed{", "no_verdict"),
        (r"\boxed{8, 9", "no_verdict"),
        (r"boxed{8, 9}", "no_verdict"),
        (r"\boxed(8, 9)", "no_verdict"),
        ("<think>\\boxed{8, 9}", "no_verdict"),
        (r"\boxed{}", "wrong_count"),
        (r"\boxed{8}", "wrong_count"),
        (r"\boxed{8, 9, 10}", "wrong_count"),
        (r"\boxed{8,,9}", "wrong_count"),
        (r"\boxed{8 9}", "wrong_count"),
        (r"\boxed{,}", "wrong_count"),
        (r"\boxed{x, x}", "not_a_number"),
        (r"\boxed{8, nan}", "not_a_number"),
        (r"\boxed{8, inf}", "not_a_number"),
        (r"\boxed{8, 1e1}", "not_a_number"),
        (r"\boxed{8, 9%}", "not_a_number"),
        (r"\boxed{8, nine}", "not_a_number"),
        (r"\boxed{8/100, 9/100}", "not_a_number"),
        (r"\boxed{8, ９}", "not_a_number"),
        (r"\boxed{8, ٩}", "not_a_number"),
        (r"\boxed{8, ²}", "not_a_number"),
        (r"\boxed{8, 0x9}", "not_a_number"),
        (r"\boxed{8, " + "9" * 400 + "}", "not_a_number"),
        (r"\boxed{0, 9}", "out_of_range"),
        (r"\boxed{8, 11}", "out_of_range"),
        (r"\boxed{-8, 9}", "out_of_range"),
        ("\\boxed{8, 9} then \\boxed{9, 8}", "conflict"),
        ("[[8, 9]] or [[9, 8]]", "conflict"),
    ],
)
def test_what_is_not_one_valid_verdict_is_unscored_with_its_reason(text, reason):
    assert scores(text) == reason


@given(st.text())
def test_the_parser_never_raises_and_never_leaves_the_scale(text):
    for n, scale in ((1, BINARY), (2, TEN), (3, TEN)):
        for lenient in (False, True):
            result = read_reply(text, n, scale, lenient=lenient)
            if isinstance(result, Unscored):
                assert result.reason in REASONS
            else:
                assert len(result.group.scores) == n
                assert all(score in scale for score in result.group.scores)


_PIECES = [
    *(
        "\\boxed{",
        "\\\\boxed{",
        "}",
        "[[",
        "]]",
        ",",
        "，",
        "8",
        "10",
        "/10",
        "\\text{",
        " ",
        "\n",
        "-",
    ),
    *("Analysis:", "Specific Criteria:", "1. **A** (Weight: 3%): b", "<think>", "</think>"),
]
_SOUP = st.lists(st.sampled_from(_PIECES)).map("".join)


@given(_SOUP)
def test_a_reading_points_at_the_numbers_that_it_read(text):
    result = read_reply(text, 2, TEN)
    if isinstance(result, Reading):
        shown = [text[a:b] for a, b in result.group.spans]
        assert [float(s) for s in shown] == list(result.group.scores)
        assert text[result.group.start :].startswith(("\\boxed", "\\\\boxed", "[["))
        assert find_verdict(text, 2, TEN, begin=result.group.start) == result.group


def test_a_huge_reply_is_read_in_a_moment():
    noise = "(" * 20_000 + " " * 200_000 + "[[" * 10_000 + "\\boxed{" * 2_000 + "**a**" * 10_000
    assert scores(f"Specific Criteria:\n- {noise}\nAnalysis: {noise}\nScores: \\boxed{{8, 9}}") == (
        8,
        9,
    )


# --- what real models write --------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", (8, 3)),
        ("bold", (8, 8)),
        ("headings", (10, 7)),
        ("double_brackets", (8, 1)),
        ("footnote_after", (8, 9)),
        ("out_of_ten", (8, 9)),
        ("text_macro", (8, 9)),
        ("full_width_comma", (8, 9)),
        ("thinking", (7, 4)),
        ("two_backslashes", (8.5, 9)),
    ],
)
def test_golden_replies(name, expected):
    assert scores((GOLDEN / f"{name}.txt").read_text("utf-8")) == expected


def test_the_parts_of_a_plain_reply():
    reading = read_reply((GOLDEN / "plain.txt").read_text(), 2, TEN)
    assert isinstance(reading, Reading)
    assert reading.principles == (
        Principle("Factual Accuracy", "50%", "the causes named are the real ones."),
        Principle("Completeness", "30%", "both bulges are explained."),
        Principle("Clarity", "20%", "a lay reader can follow it, without formulas."),
    )
    assert reading.critique == (
        "Response 1 explains both bulges. Response 2 names the wind, which is wrong."
    )


def test_bold_replies_lose_their_markup():
    reading = read_reply((GOLDEN / "bold.txt").read_text(), 2, TEN)
    assert isinstance(reading, Reading)
    assert [(p.name, p.weight) for p in reading.principles] == [("Safety", "3"), ("Tone", None)]
    assert reading.critique == "Both are safe; the second is kinder."


def test_a_reply_without_an_analysis_still_has_its_principles():
    reading = read_reply("Specific Criteria:\n1. Tact: be kind\nScores: \\boxed{4}", 1, TEN)
    assert isinstance(reading, Reading)
    assert reading.principles == (Principle("Tact", None, "be kind"),)
    assert reading.critique == ""


@pytest.mark.parametrize(
    "heading", ["SPECIFIC CRITERIA:", "\u017fpecific criteria:", "SpecIfic crIterIa"]
)
def test_headings_are_found_in_any_case_and_in_letters_that_fold(heading):
    for text in (heading, heading.replace("I", "\u0130")):
        found = read_reply(
            f"{text}\n1. **Depth**: deep\n\nAnalysis:\nboth\n\n\\boxed{{8, 3}}", 2, TEN
        )
        assert isinstance(found, Reading) and [p.name for p in found.principles] == ["Depth"]


def test_principles_written_as_prose_are_one_principle():
    assert read_principles(" whatever helps the reader ") == (
        Principle("", None, "whatever helps the reader"),
    )
    assert read_principles("  \n ") == ()


# --- one verdict ---------------------------------------------------------------


def test_equal_groups_agree():
    assert scores("I lean to \\boxed{8, 9}.\nScores: \\boxed{8, 9}") == (8, 9)


def test_lenient_takes_the_last_of_groups_that_differ():
    assert scores("\\boxed{8, 9} no, \\boxed{9, 8}", lenient=True) == (9, 8)


def test_a_group_of_another_size_beside_the_verdict_does_not_disturb_it():
    assert scores("the answer is \\boxed{42}.\nScores: \\boxed{8, 9}") == (8, 9)


def test_the_format_line_quoted_from_the_prompt_does_not_disturb_the_verdict():
    assert scores("I must end with \\boxed{x, x}.\nScores: \\boxed{8, 9}") == (8, 9)


def test_boxed_groups_go_before_double_brackets():
    assert scores("the list [[1, 2]]\nScores: \\boxed{8, 9}") == (8, 9)


def test_a_verdict_counts_only_after_the_first_analysis_heading():
    text = "Specific Criteria: \\boxed{1, 1}\nAnalysis: x\nScores: \\boxed{8, 9}"
    assert scores(text) == (8, 9)


def test_a_whole_scale_refuses_fractions():
    assert scores(r"\boxed{0.5}", 1, BINARY) == "out_of_range"
    assert scores(r"\boxed{1}", 1, BINARY) == (1,)
    assert scores(r"\boxed{3}", 1, Scale(1, 2, whole=True)) == "out_of_range"
