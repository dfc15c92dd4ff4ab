"""The synthetic world: its checks by hand, its splits, and judgements that its own parser reads."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.synthetic.errors import faults
from recipes.synthetic.rows import cold_rows
from recipes.synthetic.teacher import (
    CAREFUL,
    FAVOUR,
    Teacher,
    judgement_text,
    lesson_text,
    score_of,
)
from recipes.synthetic.world import (
    Constraint,
    check,
    draw_examples,
    draw_lesson,
    meets,
    met_share,
    parse_query,
    query_text,
    split_of,
)
from spct.train.outcome import correct, gold_problem
from spct.train.sampling import Formats
from spct.types import Completion, Example, Judgement, Message, Trajectory


def constraint(text: str) -> Constraint:
    return parse_query(text)[0]


@pytest.mark.parametrize(
    ("response", "demand", "met"),
    [
        ("fox axe red", "must contain animal", True),
        ("axe red", "must contain animal", False),
        ("fox axe", "must start animal", True),
        ("axe fox", "must start animal", False),
        ("axe fox", "must end animal", True),
        ("axe fox red", "must length 3", True),
        ("axe fox", "must length 3", False),
        ("fox axe", "must order animal tool", True),
        ("axe fox", "must order animal tool", False),
        ("axe fox axe", "must order animal tool", False),  # the first axe stands before the fox
        ("fox red", "must order animal tool", False),
        ("", "must start animal", False),
    ],
)
def test_checks_by_hand(response: str, demand: str, met: bool) -> None:
    assert meets(response, constraint(demand)) is met


@pytest.mark.parametrize(
    ("response", "demand", "evidence"),
    [
        ("red fox owl", "must contain animal", "fox"),
        ("red axe", "must contain animal", "none"),
        ("axe fox", "must start animal", "axe"),
        ("axe fox", "must end animal", "fox"),
        ("axe fox red", "must length 5", "3"),
        ("red axe fox", "must order animal tool", "axe"),
        ("red axe saw", "must order animal tool", "none"),
    ],
)
def test_a_check_cites_the_word_that_decides(response: str, demand: str, evidence: str) -> None:
    assert check(response, constraint(demand)).evidence == evidence


def test_must_weighs_twice_as_much_as_should() -> None:
    constraints = parse_query("must start animal ; should length 2")
    assert met_share("fox axe", constraints) == 1.0
    assert met_share("fox axe red", constraints) == pytest.approx(2 / 3)
    assert met_share("axe fox", constraints) == pytest.approx(1 / 3)
    assert [score_of(met, constraints, 2) for met in ([1, 1], [1, 0], [0, 1], [0, 0])] == [
        4, 3, 2, 1,
    ]  # fmt: skip
    assert [score_of(met, constraints, 1) for met in ([1, 1], [1, 0])] == [1, 0]


def test_every_example_can_decide_and_splits_share_no_query() -> None:
    train, test = draw_examples(0, 300, "a"), draw_examples(0, 100, "b", "test")
    assert all(gold_problem(e.gold, e.n) is None for e in [*train, *test])
    assert {e.n for e in train} == {1, 2, 3, 4, 5}
    queries = {e.query[0].content for e in train}
    assert queries.isdisjoint(e.query[0].content for e in test)
    assert {split_of(q) for q in queries} == {"train"}
    assert draw_examples(0, 5, "a") == train[:5]
    assert all(query_text(parse_query(q)) == q for q in queries)


PAIR = Example("p", (Message("user", "should contain colour ; must order animal tool"),),
               ("red axe fox", "red fox axe"), (1 / 3, 1.0))  # fmt: skip


def judged(teacher: Teacher, order: tuple[int, ...] = (0, 1)) -> list[str]:
    return judgement_text(PAIR, order, random.Random(0), teacher).splitlines()


@given(st.integers(0, 200))
def test_a_careful_judgement_is_read_and_correct(seed: int) -> None:
    rng = random.Random(seed)
    (example,) = draw_examples(seed, 1, "x")
    order = tuple(rng.sample(range(example.n), example.n))
    text = judgement_text(example, order, rng)
    outcome = Formats().of(example).read(Completion(text), order)
    assert isinstance(outcome, Judgement)
    assert correct(outcome.scores, example.gold or ())
    assert len(outcome.principles) == len(parse_query(example.query[0].content))


def test_the_careful_teacher_by_hand() -> None:
    assert judged(CAREFUL) == [
        "Specific Criteria:",
        "1. **contain** (Weight: 33%): colour",
        "2. **order** (Weight: 67%): animal tool",
        "Analysis:",
        "Response 1: should contain colour red yes must order animal tool axe no => 2",
        "Response 2: should contain colour red yes must order animal tool fox yes => 4",
        "Scores: \\boxed{2, 4}",
    ]


def test_each_error_of_the_teacher_by_hand() -> None:
    assert judged(Teacher(hasty=1))[-1] == "Scores: \\boxed{2, 2}"
    assert judged(Teacher(favour=1))[-1] == f"Scores: \\boxed{{{2 + FAVOUR}, 4}}"
    assert judged(Teacher(favour=1), (1, 0))[-1] == f"Scores: \\boxed{{{4 + FAVOUR}, 2}}"
    blind = judged(Teacher(blind=1))
    assert "Response 1: should contain colour red yes must order animal tool fox yes => 4" in blind
    wrong = judged(Teacher(misread=1))
    assert "Response 2: should contain colour none no must order animal tool none no => 1" in wrong


def test_a_hinted_teacher_makes_no_mistakes() -> None:
    rows = cold_rows(200, Teacher(hasty=1))
    hinted = [r for r in rows if "The best response is" in r["prompt"][0]["content"]]
    assert 20 < len(hinted) < 60
    for row in rows:
        asked = row["prompt"][0]["content"].split("\n")[0].count(";") + 1
        written = row["completion"][0]["content"].count("(Weight: ")
        assert written == (asked if row in hinted else asked - 1)


@pytest.mark.parametrize("lengths", [False, True])
def test_a_lesson_tells_the_truth_and_holds_no_judgement(lengths: bool) -> None:
    example = draw_lesson(random.Random(0), 3)
    text = lesson_text(example, lengths=lengths)
    assert "Criteria" not in text
    assert "Scores" not in text
    counts = ", ".join(str(len(r.split())) for r in example.responses)
    assert text.endswith(f"\\boxed{{{counts}}}") is lengths
    for found in ("yes", "no"):
        assert f" {found}" in text


@pytest.mark.parametrize(
    ("teacher", "wanted"),
    [
        (CAREFUL, {"none"}),
        (Teacher(hasty=1), {"hasty"}),
        (Teacher(favour=1), {"favour"}),
        (Teacher(blind=1), {"blind"}),
        (Teacher(misread=1), {"other check"}),
    ],
)
def test_each_error_of_the_teacher_is_recognised(teacher: Teacher, wanted: set[str]) -> None:
    text = judgement_text(PAIR, (0, 1), random.Random(0), teacher)
    assert faults(PAIR, judged_as(text)) == wanted


def test_slips_of_the_model_are_recognised() -> None:
    text = judgement_text(PAIR, (0, 1), random.Random(0))
    assert faults(PAIR, judged_as(text.replace("{2, 4}", "{3, 4}"))) == {"copy"}
    assert faults(PAIR, judged_as(text.replace("4", "3"))) == {"sum"}
    assert faults(PAIR, judged_as("Response 1: nothing")) == {"unscored"}


def judged_as(text: str) -> Trajectory:
    fmt = Formats().of(PAIR)
    prompt, completion = fmt.render(PAIR, (0, 1)), Completion(text)
    outcome = fmt.read(completion, (0, 1))
    return Trajectory(PAIR.id, 0, 0, prompt, completion, outcome, "test")
