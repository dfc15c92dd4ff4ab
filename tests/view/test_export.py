import csv
import json
import re

import pytest

from spct.view.export import Pieces
from spct.view.marks import Marks
from tests.view.runs import HOSTILE, a_run, judged, write_run


def exported(run, tmp_path, *flags):
    code, _, err = run("view", tmp_path / "run", "--export", tmp_path / "page.html", *flags)
    assert code == 0, err
    page = (tmp_path / "page.html").read_text("utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return page, json.loads(data[1])


def test_the_file_holds_what_the_server_would_answer(run, tmp_path):
    a_run(tmp_path / "run")
    page, data = exported(run, tmp_path)
    assert [row["id"] for row in data["rows"][0]] == [
        "right",
        "wrong",
        "tied",
        "lost",
        "flips",
        "three",
    ]
    assert "script-src 'sha256-" in page and "unsafe" not in page.split("<style>")[0]
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_prompts_are_kept_as_pieces_and_come_back_whole(run, tmp_path):
    responses = ("a long answer that is worth a reference, surely so", "b" * 60)
    folder = write_run(tmp_path / "run", [judged("e", [(9.0, 1.0)] * 4, responses=responses)])
    _, data = exported(run, tmp_path)
    found = data["examples"][0]["e"]
    example = found["example"]
    for prompt in found["prompts"]:
        text = "".join(
            data["pieces"][p] if isinstance(p, int) else example["responses"][p[1]]
            for p in prompt["messages"][0]["pieces"]
        )
        shown = [responses[i] for i in prompt["order"]]
        assert text == f"Judge Why?\n[1] {shown[0]}\n[2] {shown[1]}\nNow write."
    assert folder.is_dir()


def test_pieces_are_shared():
    pieces = Pieces()
    example = {"responses": ["x" * 50, "y" * 50], "query": [{"content": "short"}]}
    first = pieces.taken_apart(f"head {'x' * 50} mid {'y' * 50} tail", example)
    second = pieces.taken_apart(f"head {'y' * 50} mid {'x' * 50} tail", example)
    assert first == [0, ["response", 0], 1, ["response", 1], 2]
    assert second == [0, ["response", 1], 1, ["response", 0], 2]


def test_only_wrong_and_the_first_few(run, tmp_path):
    a_run(tmp_path / "run")
    _, data = exported(run, tmp_path, "--wrong", "--limit", "1")
    assert list(data["examples"][0]) == ["wrong"]
    assert (
        data["boot"]["runs"][0]["note"]
        == "This page holds the first 1 examples, only those judged wrong."
    )


def test_redacted_pages_hold_no_word_of_a_text(run, tmp_path):
    folder = tmp_path / "run"
    write_run(
        folder, [judged("e1", [(9.0, 1.0)] * 2, query="a secret question", text="a secret thought")]
    )
    _, data = exported(run, tmp_path, "--redact")
    held = json.dumps(data)
    assert "secret" not in held and "never said" not in held
    found = data["examples"][0]["e1"]
    assert found["rewards"] == [9.0, 1.0] and found["trajectories"][0]["scores"] == [9.0, 1.0]
    assert found["example"]["query"][0] == {"role": "user", "content": "[17 characters]"}


def test_a_hostile_run_closes_no_script(run, tmp_path):
    write_run(tmp_path / "run", [judged("h", [(9.0, 1.0)], query=HOSTILE, text=HOSTILE)])
    page, data = exported(run, tmp_path)
    assert page.lower().count("</script") == 2  # the data's end and the code's
    assert data["examples"][0]["h"]["example"]["query"][0]["content"] == HOSTILE


def test_a_thousand_examples_take_at_most_three_times_their_texts(run, tmp_path):
    long = "The moon pulls on the water, and the earth turns below it. " * 8
    pairs = [
        judged(
            f"e{i}",
            [(9.0, 1.0)] * 8,
            query=f"Why is it {i}?",
            responses=(long + str(i), long[:300] + str(i)),
            text=long,
        )
        for i in range(100)
    ]
    write_run(tmp_path / "run", pairs)
    page, _ = exported(run, tmp_path)
    texts = sum(
        len(e.query[0].content)
        + sum(map(len, e.responses))
        + sum(len(t.completion.text) for t in v.trajectories)
        for e, v in pairs
    )
    assert len(page) - 150_000 <= 3 * texts


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["view", "{}", "--export", "page.txt"], "ends in .html"),
        (["view", "{}", "--redact"], "--export"),
        (["view", "nothing-here", "--export", "p.html"], "no run in"),
        (["show", "{}", "nobody"], "no verdict on example 'nobody'"),
    ],
)
def test_bad_commands_say_what_to_do(run, tmp_path, argv, says):
    a_run(tmp_path / "run")
    code, _, err = run(*(str(tmp_path / "run") if a == "{}" else a for a in argv))
    assert code == 2 and says in err and "Traceback" not in err


def test_show_prints_a_stored_judgement(run, tmp_path):
    a_run(tmp_path / "run")
    code, out, _ = run("show", tmp_path / "run", "wrong")
    assert code == 0 and "Which lake?" in out and "never said this" in out
    code, out, _ = run("show", tmp_path / "run", "wrong", "--json")
    assert json.loads(out)["rewards"] == [2.0, 7.0]


def test_verdicts_of_people_are_exported_with_how_often_they_agree(run, tmp_path):
    folder = a_run(tmp_path / "run")
    for id, mark, note in (
        ("right", 0, "sure"),
        ("wrong", 0, ""),
        ("tied", "tie", ""),
        ("lost", 1, ""),
    ):
        Marks(folder).add(id, mark, note, 2)
    Marks(folder).add("three", "skip", "", 3)
    code, _, err = run("export", folder, "--to", tmp_path / "flat.csv")
    # of right, wrong and tied two agree; "lost" has no verdict to agree with, "three" was skipped
    assert code == 0 and "people agree in 67% of 3, kappa 0.50" in err
    text = (tmp_path / "flat.csv").read_text("utf-8")
    rows = {row["id"]: row for row in csv.DictReader(text.splitlines())}
    assert (rows["right"]["human"], rows["right"]["note"]) == ("0", "sure")
    assert [rows[id]["human"] for id in ("tied", "three", "flips")] == ["tie", "skip", ""]
    assert run("export", folder, "--to", tmp_path / "all.jsonl")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    human = {line["id"]: line.get("human") for line in lines}
    assert human["wrong"] == {"mark": 0, "note": ""} and human["flips"] is None


def test_without_verdicts_of_people_an_export_has_no_column_for_them(run, tmp_path):
    code, _, err = run("export", a_run(tmp_path / "run"), "--to", tmp_path / "flat.csv")
    assert code == 0 and "people" not in err
    assert "human" not in (tmp_path / "flat.csv").read_text().splitlines()[0]
