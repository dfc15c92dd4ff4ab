"""`spct data` as a person meets it: files in, files and counts out, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spct.data.rows import read_examples

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(name: str, *rows: dict[str, Any]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def pairs(name: str, count: int, **fields: Any) -> str:
    row = {"responses": ["a", "b"], "gold": [1, 0], **fields}
    return put(name, *({"id": f"{name}-{i}", "query": f"{name} {i}?", **row} for i in range(count)))


def ids(name: str | Path) -> list[str]:
    return [example.id for example in read_examples(name)]


def list_row(id: str, gold: list[float], **fields: Any) -> dict[str, Any]:
    responses = [f"answer {i}" for i in range(len(gold))]
    return {"id": id, "query": f"query {id}", "responses": responses, "gold": gold, **fields}


# --- local ------------------------------------------------------------------------


@pytest.fixture
def judgebench(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small set in its published layout: one good pair, one with equal responses."""
    row = {"pair_id": "1", "source": "s", "question": "q?", "response_A": "a", "label": "A>B"}
    Path("data/judgebench").mkdir(parents=True)
    good, equal = row | {"response_B": "b"}, row | {"pair_id": "2", "response_B": "a"}
    put("data/judgebench/gpt.jsonl", good, equal, good | {"pair_id": "3", "question": "r?"})
    monkeypatch.setenv("SPCT_DATA", "data")


@pytest.mark.usefixtures("judgebench")
def test_a_local_set_is_written_with_its_gold_and_what_was_left_out_is_told(run: Run) -> None:
    code, out, err = run("data", "local", "judgebench", "-o", "out.jsonl")
    assert (code, out) == (0, "")
    assert "2 examples" in err and "equal responses 1" in err
    first, second = read_examples("out.jsonl")
    assert (first.id, first.gold, first.subset) == ("judgebench-1", (1.0, 0.0), "s")
    assert second.query[0].content == "r?"


@pytest.mark.usefixtures("judgebench")
def test_standard_output_holds_the_rows_alone_and_can_be_piped(run: Run) -> None:
    code, out, err = run("data", "local", "judgebench", "--limit", 1)
    assert code == 0 and len(out.splitlines()) == 1 and json.loads(out)["id"] == "judgebench-1"
    assert "1 examples" in err


def test_an_unknown_set_and_a_missing_folder_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("data", "local", "judgbench")
    assert code == 2 and "'judgbench'" in err and "judgebench" in err
    monkeypatch.setenv("SPCT_DATA", "nowhere")
    code, _, err = run("data", "local", "judgebench", "-o", "out.jsonl")
    assert code == 2 and "SPCT_DATA" in err and not list(Path().iterdir())


# --- split ------------------------------------------------------------------------


def test_a_split_parts_the_queries_and_loses_none(run: Run) -> None:
    file = pairs("a.jsonl", 300)
    code, _, err = run("data", "split", file, "--out", "parts")
    assert code == 0
    found = {name: ids(f"parts/{name}.jsonl") for name in ("train", "dev", "test")}
    assert sorted(id for part in found.values() for id in part) == sorted(ids(file))
    assert len(found["train"]) > 200 and found["dev"] and found["test"]
    assert f"train {len(found['train'])}, dev {len(found['dev'])}" in err
    assert run("data", "overlap", "parts/train.jsonl", "parts/test.jsonl")[0] == 0


def test_the_salt_changes_a_split_and_the_same_command_repeats_it(run: Run) -> None:
    file = pairs("a.jsonl", 100)
    for out, salt in (("one", ""), ("again", ""), ("other", "x")):
        assert run("data", "split", file, "-o", out, "--salt", salt)[0] == 0
    one, again, other = (Path(f"{o}/train.jsonl").read_text() for o in ("one", "again", "other"))
    assert one == again != other


def test_a_share_of_zero_writes_no_file(run: Run) -> None:
    assert run("data", "split", pairs("a.jsonl", 9), "-o", "p", "--train", 0.9, "--dev", 0)[0] == 0
    assert sorted(path.name for path in Path("p").iterdir()) == ["test.jsonl", "train.jsonl"]


def test_shares_that_do_not_sum_to_one_and_bad_rows_leave_no_file(run: Run) -> None:
    code, _, err = run("data", "split", pairs("a.jsonl", 9), "-o", "p", "--train", 0.5)
    assert code == 2 and "sum of 1" in err
    Path("bad.jsonl").write_text(Path("a.jsonl").read_text() + '{"query": "q"}\n')
    code, _, err = run("data", "split", "bad.jsonl", "-o", "p")
    assert code == 2 and "bad.jsonl:10" in err
    assert not Path("p").exists()


# --- draw -------------------------------------------------------------------------


def test_drawn_sub_lists_are_of_one_size_with_one_best_and_ties_are_counted(run: Run) -> None:
    evidence = [{"i": 0}, {"i": 1}, {"i": 2}]
    rows = [
        list_row("x", [1, 0, 0], meta={"evidence": evidence}),
        list_row("t", [1, 1]),
        list_row("s", [1]),
    ]
    code, _, err = run(
        "data", "draw", put("l.jsonl", *rows), "-n", 2, "--count", 5, "-o", "d.jsonl"
    )
    assert code == 0 and "2 sub-lists of 2 from 3 examples; 2 examples gave none" in err
    for example in read_examples("d.jsonl"):
        assert example.id.startswith("x#") and sorted(example.gold or ()) == [0, 1]
        for response, known in zip(example.responses, example.meta["evidence"], strict=True):
            assert response == f"answer {known['i']}"


def test_the_seed_chooses_what_is_drawn(run: Run) -> None:
    file = put("l.jsonl", *(list_row(str(i), [1.0] + [0.0] * 9) for i in range(9)))
    drawn = [run("data", "draw", file, "-n", 3, "--seed", seed)[1] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0].splitlines()) == 9


def test_a_single_response_needs_gold_zero_or_one(run: Run) -> None:
    code, _, err = run(
        "data", "draw", put("l.jsonl", list_row("x", [3, 2])), "-n", 1, "-o", "d.jsonl"
    )
    assert code == 2 and "gold 0 or 1" in err and not Path("d.jsonl").exists()


# --- mix --------------------------------------------------------------------------


def test_a_mixture_has_the_ratios_and_tells_what_is_left(run: Run) -> None:
    a, b = pairs("a.jsonl", 30), pairs("b.jsonl", 30)
    code, _, err = run("data", "mix", f"{a}=2", b, "--total", 12, "-o", "m.jsonl")
    names = [id.partition("-")[0] for id in ids("m.jsonl")]
    assert code == 0 and (names.count(a), names.count(b)) == (8, 4)
    assert names[:6].count(a) == 4  # interleaved, not one after the other
    assert "taken: a.jsonl 8, b.jsonl 4; left: a.jsonl 22, b.jsonl 26" in err
    again = run("data", "mix", f"{a}=2", b, "--total", 12)[1]
    assert again == Path("m.jsonl").read_text()
    assert again != run("data", "mix", f"{a}=2", b, "--total", 12, "--seed", 1)[1]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a.jsonl=two"], "expected FILE=RATIO"),
        (["a.jsonl=0"], "all above 0"),
        (["a.jsonl=nan"], "all above 0"),
        (["a.jsonl", "a.jsonl=2"], "given twice"),
        (["a.jsonl", "copy.jsonl"], "more than one place"),
        (["a.jsonl", "--total", "99"], "expected 0 to 5"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(run: Run, sources: list[str], message: str) -> None:
    Path("copy.jsonl").write_bytes(Path(pairs("a.jsonl", 5)).read_bytes())
    code, out, err = run("data", "mix", *sources)
    assert code == 2 and message in err and not out


# --- overlap ----------------------------------------------------------------------


def test_test_queries_seen_in_training_are_named_and_exit_with_6(run: Run) -> None:
    words = " ".join(f"w{i}" for i in range(20))
    train = put(
        "a.jsonl", {"query": "Known?", "responses": ["a"]}, {"query": words, "responses": ["a"]}
    )
    row = {"responses": ["a"]}
    test = put(
        "b.jsonl",
        {"id": "same", "query": "known", **row},
        {"id": "long", "query": f"{words} and more", **row},
        {"id": "new", "query": "Another?", **row},
    )
    code, out, err = run("data", "overlap", train, test)
    assert code == 6 and out.splitlines() == ["exact\tsame", "0.80\tlong"]
    assert "of 3 test queries 1 are in" in err and "1 nearly so; 2 have fewer than 13" in err
    code, out, _ = run("data", "overlap", train, test, "--json")
    assert code == 6 and json.loads(out)["exact"] == ["same"]
    code, _, err = run("data", "overlap", train, test, "-o", "unseen.jsonl")
    assert code == 0 and "; 1 are left" in err and ids("unseen.jsonl") == ["new"]
    assert run("data", "overlap", train, "unseen.jsonl")[:2] == (0, "")
    _, out, err = run("data", "overlap", train, test, "-o", "-")
    assert out == Path("unseen.jsonl").read_text() and "exact\tsame" in err


# --- reference --------------------------------------------------------------------


def test_the_golden_answer_becomes_the_reference(run: Run) -> None:
    rows = list_row("x", [1, 0], meta={"golden": "42"}), list_row("y", [1, 0], reference="known")
    code, _, err = run("data", "reference", put("l.jsonl", *rows), "-o", "r.jsonl")
    assert code == 0 and "2 examples, 1 with a golden answer" in err
    assert [example.reference for example in read_examples("r.jsonl")] == ["42", "known"]


def test_a_golden_answer_that_is_no_text_is_refused(run: Run) -> None:
    file = put("l.jsonl", list_row("x", [1, 0], meta={"golden": 42}))
    code, out, err = run("data", "reference", file)
    assert code == 2 and "meta.golden" in err and not out


# --- all of them --------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["draw"], ["reference"], ["mix"]])
def test_a_name_that_would_not_be_read_as_json_lines_is_refused(run: Run, argv: list[str]) -> None:
    code, _, err = run("data", *argv, pairs("a.jsonl", 2), "-o", "out.parquet")
    assert code == 2 and "ends in .jsonl" in err and not Path("out.parquet").exists()


def test_what_is_written_is_what_was_read(run: Run) -> None:
    query = [{"role": "user", "content": "Hi \u2028 \u202e"}, {"role": "assistant", "content": ""}]
    query.append({"role": "user", "content": "So?"})
    row = {"id": "x", "query": query, "responses": ["", "é\x07"], "gold": [0.5, 2], "subset": "s"}
    file = put("l.jsonl", row | {"reference": "r", "meta": {"a": [1, None]}}, list_row("y", [1, 0]))
    assert run("data", "reference", file, "-o", "r.jsonl")[0] == 0
    assert list(read_examples("r.jsonl")) == list(read_examples(file))
    assert len(Path("r.jsonl").read_text().splitlines()) == 2


def test_a_folder_that_is_not_there_is_a_storage_error(run: Run) -> None:
    code, _, err = run("data", "reference", pairs("a.jsonl", 2), "-o", "no/such/r.jsonl")
    assert code == 5 and "no/such/r.jsonl" in err


# --- validate, convert, --drop-bad --------------------------------------------------

BAD = {"prompt": "Hi", "chosen": "same", "rejected": "same"}
GOOD = {"prompt": "Yo", "chosen": "a", "rejected": "b"}


def kept(name: str) -> list[Any]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def test_validate_shows_the_first_examples_as_they_are_read(run: Run) -> None:
    rows = [{**GOOD, "system": "Brief.", "source": "web", "chosen": f"c{i}\n"} for i in range(4)]
    code, out, _ = run("validate", put("rows.jsonl", *rows), "--show", "2")
    assert code == 0 and out.count(", as read:") == 2
    for line in (
        "  system: Brief.",
        "  user: Yo",
        "  response 1 (gold 1): c0\\n",
        "  columns: system <- system; query <- prompt; responses <- chosen, rejected; "
        "kept in meta, not shown: source",
        "responses: 2; gold: 4 of 4, 0 of them ties; turns: 2; script: Latin",
    ):
        assert line in out
    code, out, _ = run("validate", "rows.jsonl", "--json")
    report = json.loads(out)
    assert report["shown"][0]["used"]["system"] == "system" and report["ties"] == 0


def test_a_tie_is_a_list_without_a_better_one(run: Run) -> None:
    lists = [{"prompt": "Hi", "chosen": ["a", "b"], "rejected": ["c"]}]
    assert ", 0 of them ties" in run("validate", put("lists.jsonl", *lists))[1]
    equal = {"query": "Hi", "responses": ["a", "b"], "gold": [0.5, 0.5]}
    assert ", 1 of them ties" in run("validate", put("equal.jsonl", equal))[1]


def test_a_file_of_refusals_is_told_in_at_most_twenty_lines(run: Run) -> None:
    rows = [{"query": "q", "responses": ["a"], f"odd{i % 40}": i} for i in range(400)]
    code, out, err = run("validate", put("rows.jsonl", *rows, {"query": "q", "responses": ["a"]}))
    assert code == 2 and len((out + err).splitlines()) <= 20
    assert "rows.jsonl: 400 problems" in err


def test_convert_writes_our_own_rows_which_need_no_map(run: Run) -> None:
    row = {"ask": "Q", "x": "a", "y": "b", "who": "right", "note": "n"}
    maps = ["--map", "query=ask", "--map", "responses=x,y", "--map", "gold=who:left,right"]
    code, _, err = run("data", "convert", put("rows.jsonl", row), *maps, "--out", "ours.jsonl")
    assert code == 0 and "1 examples" in err
    (example,) = read_examples("ours.jsonl")
    assert (example.gold, example.meta) == ((0.0, 1.0), {"note": "n"})


@pytest.mark.parametrize(
    ("argv", "bad"),
    [
        (["data", "split", "rows.jsonl", "--out", "parts"], "parts/rows.bad.jsonl"),
        (["data", "convert", "rows.jsonl", "-o", "out.jsonl"], "rows.bad.jsonl"),
        (["data", "draw", "rows.jsonl", "-n", "2", "-o", "out.jsonl"], "rows.bad.jsonl"),
        (["data", "mix", "rows.jsonl", "-o", "out.jsonl"], "rows.bad.jsonl"),
        (["data", "reference", "rows.jsonl", "-o", "out.jsonl"], "rows.bad.jsonl"),
        (["judge", "rows.jsonl", "--engine", "scripted", "--json"], "rows.bad.jsonl"),
        (["sample", "rows.jsonl", "--engine", "scripted", "--out", "run"], "rows.bad.jsonl"),
        (["bench", "length", "-b", "rows.jsonl", "--out", "run"], "rows.bad.jsonl"),
    ],
)
def test_bad_rows_are_refused_or_left_out_with_counts_and_a_file(
    run: Run, argv: list[str], bad: str
) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (BAD, GOOD)) + "{\n")
    code, _, err = run(*argv)
    assert code == 2 and "rows.jsonl:1" in err
    code, _, err = run(*argv, "--drop-bad")
    assert code == 0, err
    assert f"bad rows left out: 2; see {bad}" in err
    assert "1: gold: expected equal gold for equal responses" in err and "1: JSON" in err
    first, second = kept(bad)
    assert (first["line"], first["row"], second["row"]) == (1, BAD, "{")


def test_a_file_of_bad_rows_alone_is_an_error_even_so(run: Run) -> None:
    argv = ["data", "convert", put("rows.jsonl", BAD), "--drop-bad", "-o", "out.jsonl"]
    code, _, err = run(*argv)
    assert code == 2 and "no row is left" in err


def test_judge_carries_what_it_judged(run: Run) -> None:
    _, out, _ = run("judge", put("rows.jsonl", GOOD), "--engine", "scripted", "--json")
    record = json.loads(out)
    assert record["query"] == [{"role": "user", "content": "Yo"}]
    assert (record["responses"], record["gold"]) == (["a", "b"], [1.0, 0.0])


def test_three_lines_say_how_a_file_is_read_before_it_is_paid_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from spct.cli.source import source_of

    name = put("rows.jsonl", {**GOOD, "context": "of the sea"}, {**GOOD, "chosen": "c"})
    source_of([name], "auto", None, None, None, None, None).read(told=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("rows.jsonl: 2 examples from 2 rows (schema preference)")
    assert lines[1:3] == ["first query: user: Yo", "first responses: a (gold 1) | b (gold 0)"]
    assert lines[3].startswith("note: the column 'context'") and len(lines) == 4
