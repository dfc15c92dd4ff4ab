"""Criteria as people have them: each family on rows of its layout, and what is refused."""

import json

import pytest

from spct.data.criteria import Polarity, dump_items, read_criteria
from spct.data.criteria_files import read_criteria_file
from spct.data.rows import read_examples, validate
from spct.errors import DataError
from spct.types import Criterion, Example, Message

POINTS = [
    {"criterion": "Says to call an ambulance", "points": 7, "tags": ["axis:accuracy"]},
    {"criterion": "Advises to wait", "points": -4, "tags": []},
]
TITLED = [
    {"title": "Drug", "description": "Essential Criteria: Names the drug", "weight": 5},
    {"title": "Dose", "description": "Optional Criteria: Gives a dose", "weight": 1},
]


def kinds(criteria):
    return [(c.kind, c.weight) for c in criteria.items]


def test_points_say_what_their_sign_means():
    bad = read_criteria("f:1", POINTS, Polarity("occurs-is-bad"))
    good = read_criteria("f:1", POINTS, Polarity("met-is-good"))
    assert kinds(bad) == [("met", 7), ("pitfall", 4)]
    assert kinds(good) == [("met", 7), ("met", 4)]
    assert bad.items[0] == Criterion("c1", "Says to call an ambulance", 7, tags=("axis:accuracy",))
    with pytest.raises(DataError, match="--negative occurs-is-bad"):
        read_criteria("f:1", POINTS)


def test_titles_lose_their_prefix_and_keep_it_as_a_tag():
    found = read_criteria("f:1", TITLED)
    assert found.items[0] == Criterion("Drug", "Names the drug", 5, tags=("essential",))
    assert kinds(found) == [("met", 5), ("met", 1)]


def test_tagged_text_and_a_judges_own_list_are_read():
    text = "1. The response lists two causes. [Hard Rule]\n2. It is kind: very.\n [Principle]"
    found = read_criteria("f:1", text)
    assert [(c.text, c.weight) for c in found.items] == [
        ("The response lists two causes.", 3), ("It is kind: very.", 1)
    ]  # fmt: skip
    own = (
        "1. **Cause** (Weight: 60%): Names it. [required]\n"
        "2. **Blame** (Weight: 40%): Blames. [pitfall]"
    )
    found = read_criteria("f:1", own)
    assert found.items == (
        Criterion("Cause", "Names it.", 60, "met", True),
        Criterion("Blame", "Blames.", 40, "pitfall"),
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "0 criteria"),
        ([{"text": f"t{i}"} for i in range(500)], "500 criteria"),
        ([{"text": "a", "weight": float("nan")}], "weight is nan"),
        ([{"text": "a", "weight": float("inf")}], "weight is inf"),
        ([{"text": "a", "weight": None}], "weight is null or NaN"),  # as tables spell NaN
        ([{"text": "a", "weight": 0}, {"text": "b", "weight": 0}], "all weights are 0"),
        ([{"text": " "}], "text is empty"),
        ([{"name": "x", "text": "a"}, {"name": "X", "text": "b"}], "has this name too"),
        ([{"text": "a", "kind": "pitfall", "required": True}], "cannot be required"),
        ([{"text": "a", "wieght": 2}], "did you mean 'weight'"),
        ([{"text": "a", "weight": "heavy"}], "expected a number"),
        ([{"text": "a", "weight": True}], "expected a number"),
        ([{"text": "a", "criterion": "b"}], "are both there"),
        ([7], "expected an object"),
        ({"a": 1}, "expected a list"),
        ("prose without a list", "no numbered items"),
    ],
)
def test_bad_lists_are_refused_before_anything_is_spent(value, said):
    with pytest.raises(DataError) as refused:
        read_criteria("f:3", value)
    assert said in str(refused.value) and "f:3" in str(refused.value)


def test_all_faults_of_a_list_come_in_one_message():
    with pytest.raises(DataError) as refused:
        read_criteria("f:1", [{"text": ""}, {"txt": "a"}, {"text": "b", "weight": -1}])
    for part in ("text is empty", "unknown key 'txt'", "--negative"):
        assert part in str(refused.value)


def test_negative_items_worded_both_ways_are_refused():
    both = [
        {"criterion": "Avoids jargon", "points": -1},
        {"criterion": "Fails to name a source", "points": -1},
    ]
    for negative in ("occurs-is-bad", "met-is-good"):
        with pytest.raises(DataError, match="worded both ways"):
            read_criteria("f:1", both, Polarity(negative))
    with pytest.raises(DataError, match="against --negative"):
        read_criteria("f:1", both[:1], Polarity("occurs-is-bad"))


def test_rows_bring_their_lists_and_validate_knows_them(tmp_path):
    own = {"query": "Hi", "responses": ["a", "b"], "criteria": [{"text": "Greets"}]}
    foreign = {"prompt": "Hi", "chosen": "a", "rejected": "b", "rubric": TITLED}
    for name, row, m in (("own", own, 1), ("foreign", foreign, 2)):
        file = tmp_path / f"{name}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        (example,) = read_examples(file)
        assert len(example.criteria.items) == m and "rubric" not in example.meta
    bad = tmp_path / "bad.jsonl"
    rows = [{**own, "criteria": POINTS}, {**own, "id": "2", "criteria": []}, own]
    bad.write_text("\n".join(map(json.dumps, rows)))
    report = validate(bad)
    assert report.n_problems == 2 and report.examples == 1
    assert validate(bad, negative="occurs-is-bad").n_problems == 1


def test_files_hold_one_list_or_one_per_query(tmp_path):
    toml = tmp_path / "mine.toml"
    toml.write_text('[[criteria]]\nname = "short"\ntext = "Is short"\nrequired = true\n')
    asked = Example("e", (Message("user", "Q?"),), ("a",))
    assert read_criteria_file(toml).of(asked).items[0].required
    items = tmp_path / "items.jsonl"
    items.write_text("\n".join(map(json.dumps, POINTS)))
    assert len(read_criteria_file(items, "occurs-is-bad").common.items) == 2
    published = tmp_path / "rar.jsonl"
    row = {"question": "Q?", "reference_answer": "R", "rubric": TITLED}
    published.write_text(json.dumps(row) + "\n")
    file = read_criteria_file(published)
    assert file.of(asked) == file.lists[0].criteria
    assert file.of(Example("e", (Message("user", "Other?"),), ("a",))) is None
    published.write_text(json.dumps(row) + "\n" + json.dumps({**row, "rubric": TITLED[:1]}) + "\n")
    with pytest.raises(DataError, match="another list"):
        read_criteria_file(published)


def test_a_locked_list_that_was_edited_is_refused(tmp_path):
    file = tmp_path / "locked.jsonl"
    criteria = read_criteria("f", TITLED)
    row = {"query": "Q?", "criteria": dump_items(criteria), "locked": criteria.fingerprint}
    file.write_text(json.dumps(row) + "\n")
    assert read_criteria_file(file).lists[0].criteria == criteria
    row["criteria"][0]["weight"] = 4
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="locked"):
        read_criteria_file(file)
