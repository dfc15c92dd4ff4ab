"""The command line as a person meets it: real processes where it matters, exit codes, messages."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from spct.cli.main import COMMANDS, load

EXAMPLES = Path(__file__).parents[2] / "examples" / "comparisons.jsonl"
COUNT = len(EXAMPLES.read_text("utf-8").splitlines())
FAKE = ("--engine", "scripted")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows(out):
    return [json.loads(line) for line in out.splitlines()]


def spct(*argv, **options):
    """Start a real process."""
    return subprocess.Popen(
        [sys.executable, "-c", "from spct.cli.main import main; main()", *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# --- judge --------------------------------------------------------------------


def test_judging_a_query_prints_one_object(run):
    code, out, _ = run(
        "judge", *FAKE, "--query", "the capital?", "--response", "the capital", "--response", "?",
        "--json", "-k", 3,
    )  # fmt: skip
    (row,) = rows(out)
    assert code == 0 and row["winner"] == 0 and row["k_drawn"] == 3
    trajectory = row["trajectories"][0]
    assert [p["name"] for p in trajectory["principles"]] == ["Topic", "Wording"]
    assert trajectory["critique"].startswith("Response 1 shares")
    assert len(trajectory["scores"]) == 2 and trajectory["unscored"] is None


def test_judging_the_example_file_keeps_the_order_of_the_input(run):
    code, out, err = run("judge", EXAMPLES, *FAKE, "--json")
    ids = [json.loads(line)["id"] for line in EXAMPLES.read_text().splitlines()]
    assert code == 0 and [row["id"] for row in rows(out)] == ids
    assert f"{len(ids)} examples" in err


def test_the_human_view_shows_principles_critique_scores_and_verdict(run):
    code, out, _ = run("judge", EXAMPLES, *FAKE, "--limit", 1, "--full")
    assert code == 0
    for text in ("fact-tides", "judgement 8", "Topic (70%)", "scores by response", "wins"):
        assert text in out


def test_standard_input_is_read(tmp_path):
    with EXAMPLES.open() as file:
        done = spct("judge", "-", *FAKE, "--json", "--limit", 1, stdin=file)
        out, _ = done.communicate(timeout=60)
    assert done.returncode == 0 and len(rows(out)) == 1


def test_a_dry_run_shows_the_prompt_and_calls_nothing(run):
    code, out, err = run("judge", EXAMPLES, "--dry-run", "--model", "/nowhere.gguf")
    assert code == 0 and "#### Responses to be Scored ####" in out
    assert f"{COUNT} examples" in err and "tokens" in err


def test_hostile_text_does_not_reach_the_terminal(run, tmp_path):
    example = {"query": "\x1b[2Jhi\u202e", "responses": ["a\x1b]0;owned\x07", "[red]b[/red]"]}
    Path("evil.jsonl").write_text(json.dumps(example))
    code, out, _ = run("judge", "evil.jsonl", *FAKE)
    assert code == 0 and "\x1b]" not in out and "\u202e" not in out and "\x1b[2J" not in out
    assert "[red]b[/red]" in out


def test_a_run_that_scored_nothing_exits_with_3_and_says_why(run):
    template = Path("odd.txt")
    template.write_text("{{conversation}}{{responses}}\\boxed{x} no scores here")
    argv = ("judge", EXAMPLES, *FAKE, "--limit", 1, "--template", template)
    for command in (argv, ("sample", *argv[1:])):
        code, _, err = run(*command, "-k", 2)
        assert code == 3 and "nothing was scored: none of 1 examples has rewards" in err
        assert "unscored, 2 of 2: wrong_count: " in err


# --- over an endpoint, with two variables ------------------------------------------


@pytest.fixture
def endpoint():
    """A real server process that judges; /faults/NAME/v1 misbehaves."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.engines.fault_server", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=EXAMPLES.parents[2],
    )
    assert server.stdout is not None
    port = server.stdout.readline().split()[1]
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.communicate()


def test_two_variables_are_enough(run, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{endpoint}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "anything")
    code, out, _ = run("judge", EXAMPLES, "--json", "-k", 4)
    assert code == 0 and len(rows(out)) == COUNT
    assert all(row["k_counted"] == 4 for row in rows(out))
    assert rows(out)[0]["trajectories"][0]["fingerprint"].startswith("openai:mock-judge@")
    code, out, _ = run("doctor")
    assert code == 0 and "mock-judge" in out and "2 of 2 judgements counted" in out
    code, folder, err = run("sample", EXAMPLES, "-k", 2, "--progress", "none")
    assert code == 0 and f"{2 * COUNT} replies drawn" in err
    assert "anything" not in (Path(folder.strip()) / "config.json").read_text()


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [("401", 4, "OPENAI_API_KEY"), ("404", 4, "nope"), ("overflow", 3, "unscored: failed")],
)
def test_an_endpoint_that_refuses_is_named_with_the_cure(
    run, endpoint, monkeypatch, fault, code, message
):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{endpoint}/faults/{fault}/v1")
    got, out, err = run(
        "judge", "--query", "q", "--response", "a", "--response", "b", "--model", "m", "--full"
    )
    assert got == code and message in out + err


def test_an_endpoint_that_is_not_there_exits_with_4_and_its_address(run, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    code, out, _ = run("doctor", "--model", "m")
    assert code == 4 and "127.0.0.1:9" in out


# --- what is wrong is said, with its exit code ------------------------------------


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["judge"], 2, "no examples"),
        (["judge", "nowhere.jsonl"], 2, "'nowhere.jsonl' does not exist"),
        (["judge", "--query", "q"], 2, "at least one --response"),
        (["judge", "--query", " ", "--response", "a"], 2, "--query is empty"),
        (["judge", str(EXAMPLES), "--query", "q"], 2, "not both"),
        (["judge", "--response", "a"], 2, "go with --query"),
        (["judge", str(EXAMPLES), "--range", "a:b"], 2, "--range is 'a:b'"),
        (["judge", str(EXAMPLES), "--map", "x"], 2, "x"),
        (["judge", str(EXAMPLES), "--schema", "trl"], 2, "trl"),
        (["judge", str(EXAMPLES), "--template", "no.txt"], 2, "no.txt"),
        (["judge", str(EXAMPLES), "--config", "no.toml"], 2, "no.toml"),
        (["judge", str(EXAMPLES), "--vote", "meta_top"], 2, "needs a meta RM"),
        (["judge", str(EXAMPLES), "--vote", "expected"], 4, "token probabilities"),
        (["judge", str(EXAMPLES), "--vote", "mean", "--k-meta", "2"], 2, "k_meta"),
        (["judge", str(EXAMPLES), "-k", "0"], 2, "judge.k = 0"),
        (["judge", str(EXAMPLES), "--sample-id", "zzz"], 2, "zzz"),
        (["export", "nowhere"], 5, "no run in nowhere"),
        (["rescore", "nowhere"], 5, "no run in nowhere"),
        (["sample", str(EXAMPLES), "--resume", "x"], 2, "is now: --out (-o)"),
    ],
)
def test_a_mistake_is_named(run, argv, code, message):
    got, out, err = run(*argv, *(() if argv[0] == "export" else FAKE))
    assert got == code and message in err and out == ""


@pytest.mark.parametrize("argv", [["jugde"], ["judge", "--nonsense"], ["judge", "--vote", "men"]])
def test_an_unknown_command_flag_or_choice_exits_with_2(run, argv):
    assert run(*argv)[0] == 2


def test_a_bad_row_is_named_by_file_and_line_before_anything_is_judged(run):
    good = EXAMPLES.read_text().splitlines()[0]
    Path("bad.jsonl").write_text(f'{good}\n{{"query": "q", "responses": []}}\n')
    code, out, err = run("judge", "bad.jsonl", *FAKE, "--json")
    assert code == 2 and out == "" and "bad.jsonl:2" in err and "responses" in err
    code, out, err = run("validate", "bad.jsonl")
    assert code == 2 and "bad.jsonl:2" in err


def test_a_missing_extra_is_named_with_its_cure():
    from spct.errors import ExtraMissing

    error = ExtraMissing("torch", "hf")
    assert "pip install 'spct[hf]'" in str(error) and error.exit_code == 2


# --- runs ---------------------------------------------------------------------------


def test_the_same_command_continues_and_repeats_nothing(run):
    code, folder, err = run("sample", EXAMPLES, *FAKE, "-k", 2)
    assert code == 0 and f"{2 * COUNT} replies drawn" in err
    code, again, err = run("sample", EXAMPLES, *FAKE, "-k", 2)
    assert code == 0 and again == folder and "0 replies drawn" in err
    _, other, _ = run("sample", EXAMPLES, *FAKE, "-k", 3)
    assert other != folder
    _, fresh, err = run("sample", EXAMPLES, *FAKE, "-k", 2, "--fresh")
    assert fresh != folder and f"{2 * COUNT} replies drawn" in err


def test_a_changed_setting_is_refused_with_its_name_and_both_values(run):
    folder = run("sample", EXAMPLES, *FAKE, "-k", 2)[1].strip()
    code, _, err = run("sample", EXAMPLES, *FAKE, "-k", 3, "--out", folder)
    assert code == 5 and "k: was 2, now 3" in err
    assert run("sample", EXAMPLES, *FAKE, "-k", 2)[1].strip() == folder  # it is still that run
    code, _, _ = run("sample", EXAMPLES, *FAKE, "-k", 3, "--out", folder, "--accept-drift")
    assert code == 0


def test_rescoring_votes_again_without_a_call(run):
    folder = run("sample", EXAMPLES, *FAKE, "-k", 4)[1].strip()
    code, out, _ = run("rescore", folder, "--vote", "majority", "-k", 2, "--to", "-")
    assert code == 0
    assert {row["k_drawn"] for row in rows(out)} == {2}
    assert all(max(row["rewards"]) <= 1 for row in rows(out))
    code, _, err = run("rescore", folder, "--seed", 1)
    assert code == 2 and "other replies would be needed" in err


def test_another_vote_is_taken_on_what_an_early_stop_has_drawn(run):
    how = ("sample", EXAMPLES, *FAKE, "-k", 32, "--stop", "sign_flip")
    code, folder, _ = run(*how)
    assert code == 0
    before = {row["id"]: row["k_drawn"] for row in rows(run("export", folder.strip())[1])}
    assert min(before.values()) < 32
    code, out, _ = run("rescore", folder.strip(), "--vote", "majority", "--to", "-")
    assert code == 0
    assert {row["id"]: row["k_drawn"] for row in rows(out)} == before


def test_export_writes_lines_and_parquet(run):
    folder = run("sample", EXAMPLES, *FAKE, "-k", 2)[1].strip()
    assert len(rows(run("export", folder)[1])) == COUNT
    assert run("export", folder, "--to", "verdicts.parquet")[0] == 0
    import pyarrow.parquet as pq

    assert pq.read_table("verdicts.parquet").num_rows == COUNT
    code, _, err = run("export", folder, "--to", "verdicts.xls")
    assert code == 2 and ".jsonl" in err


def test_a_csv_has_one_flat_row_per_verdict(run):
    folder = run("sample", EXAMPLES, *FAKE, "-k", 2)[1].strip()
    assert run("export", folder, "--to", "verdicts.csv")[0] == 0
    with Path("verdicts.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    verdicts = {row["id"]: row for row in rows(run("export", folder)[1])}
    assert len(table) == COUNT
    for row in table:
        verdict = verdicts[row["id"]]
        assert row["winner"] == ("" if verdict["winner"] is None else str(verdict["winner"]))
        assert [float(cell) for cell in row["rewards"].split()] == verdict["rewards"]
        gold = verdict["example"]["gold"]
        if gold is None or len(gold) < 2:
            assert row["correct"] == ""
        elif verdict["winner"] is not None:
            right = gold[verdict["winner"]] == max(gold)
            assert float(row["correct"]) == right
    assert {row["correct"] for row in table} - {""}


def test_the_verdicts_of_a_benchmark_run_are_exported_with_their_parts(run, tmp_path):
    lines = [{"id": str(i), "query": "q", "responses": ["a", "bb"], "gold": [0, 1]} for i in (1, 2)]
    Path("pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    where = ("--out", tmp_path / "bench")
    code, _, err = run("bench", "length", "scripted", "-b", "pairs.jsonl", "-k", "2", *where)
    assert code == 0, err
    for name in ("all.jsonl", "all.parquet", "all.csv"):
        assert run("export", tmp_path / "bench", "--to", name)[0] == 0
    found = rows(Path("all.jsonl").read_text())
    assert {row["model"] for row in found} == {"length", "scripted"}
    assert {row["mode"] for row in found} == {"reward", "sampled", "greedy"}
    with Path("all.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["model"] for row in table] == [row["model"] for row in found]


def test_a_rescore_says_what_changed_and_writes_only_where_it_is_asked_to(run):
    folder = run("sample", EXAMPLES, *FAKE, "-k", 4)[1].strip()
    code, out, err = run("rescore", folder)
    assert code == 0 and out.startswith(f"{COUNT} verdicts: 0 with another best response, 0 with")
    assert f"{COUNT} examples" in err
    code, out, _ = run("rescore", folder, "-k", 1, "--to", "one.jsonl")
    assert code == 0 and " with other rewards" in out and "verdicts: 0 " not in out
    assert len(rows(Path("one.jsonl").read_text())) == COUNT


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_job_exits_with_its_signal_and_can_be_continued(number, code):
    many = "\n".join(
        json.dumps({"id": str(i), "query": "q", "responses": ["a", "b"]}) for i in range(1500)
    )
    Path("many.jsonl").write_text(many)
    job = spct("sample", "many.jsonl", *FAKE, "-k", 2, "--examples-in-flight", 1)
    while not any(Path("runs").glob("*/run.db")) and job.poll() is None:
        time.sleep(0.05)
    time.sleep(1.0)
    job.send_signal(number)
    _, err = job.communicate(timeout=60)
    assert job.returncode == code, err
    assert "the same command continues" in err and "Traceback" not in err
    done = spct("sample", "many.jsonl", *FAKE, "-k", 2, "--progress", "none")
    _, err = done.communicate(timeout=100)
    assert done.returncode == 0 and "1500 verdicts are stored now" in err
    assert not re.search(r"\b0 examples were finished before", err)


# --- help ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help(run, name):
    assert load(name)
    code, out, _ = run(name, "--help")
    assert code == 0 and "Usage" in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['spct', '--help']\n"
        "from spct.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'aiohttp', 'pydantic', 'numpy', 'fastapi', 'openvino_genai'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_version_is_printed(run):
    from spct import __version__

    assert run("--version")[:2] == (0, f"{__version__}\n")


def test_drift_is_accepted_only_of_a_run_that_is_named_and_there(run, tmp_path):
    code, _, err = run("sample", EXAMPLES, *FAKE, "--accept-drift", "--out", tmp_path / "typo")
    assert code == 2 and "name it with --out" in err
    assert not (tmp_path / "typo").exists()
    code, _, err = run("sample", EXAMPLES, *FAKE, "--accept-drift")
    assert code == 2 and "--out" in err


def test_a_run_folder_can_be_named_and_continues_where_it_is(run, tmp_path):
    where = ("sample", EXAMPLES, *FAKE, "-k", 2, "--out", tmp_path / "deep" / "run")
    code, folder, err = run(*where)
    assert code == 0 and folder.strip() == str(tmp_path / "deep" / "run")
    code, _, err = run(*where)
    assert code == 0 and "0 replies drawn" in err


def test_a_stopping_file_is_measured_on_a_run_and_read_by_the_rule(run, tmp_path):
    rows = [{"id": str(i), "query": f"q {i}", "responses": ["a", f"b {i}"]} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    folder = run("sample", tmp_path / "pairs.jsonl", *FAKE, "-k", 4)[1].strip()
    file = tmp_path / "stopping.json"
    code, out, _ = run("fit-stopping", folder, "--to", file)
    assert code == 0 and "40 items" in out and json.loads(file.read_text())["vote"] == "mean"
    how = ("judge", tmp_path / "pairs.jsonl", *FAKE, "-k", 16, "--stop", "predictive")
    code, out, _ = run(*how, "--stop-file", file, "--json")
    assert code == 0
    drawn = [json.loads(line)["k_drawn"] for line in out.splitlines()]
    assert len(drawn) == 40 and sum(drawn) < 40 * 16
    code, _, err = run(*how, "--stop-file", file, "--vote", "majority")
    assert code == 2 and "measured for the vote 'mean'" in err
    code, _, err = run("judge", EXAMPLES, *FAKE, "--stop-file", file)
    assert code == 2 and "--stop predictive" in err


@pytest.fixture
def two_ways(run, tmp_path):
    """Sample two pairs under one template file, read as the format of a name."""
    (tmp_path / "t.txt").write_text("{{conversation}} {{responses}}", encoding="utf-8")
    pairs = [{"id": str(i), "query": "q", "responses": ["a", str(i)]} for i in range(2)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")

    def sample(name, *more):
        return run(
            "sample", tmp_path / "pairs.jsonl", *FAKE, "-k", 1, "--template", tmp_path / "t.txt",
            "--format", name, *more,
        )  # fmt: skip

    return sample


def test_one_template_read_in_another_way_is_another_run(two_ways):
    first, second = (two_ways(name)[1].strip() for name in ("pointwise", "pairwise"))
    assert first and second and first != second


def test_a_second_session_does_not_forgive_the_unscored_of_the_first(two_ways):
    """The scripted judge writes two scores, which is no choice between two."""
    codes = [two_ways("pairwise", "--max-unscored", 0.1)[0] for _ in range(2)]
    assert codes == [3, 3]


def test_the_same_command_started_twice_at_once_pays_once(endpoint, tmp_path):
    flags = ("--base-url", f"{endpoint}/v1", "--model", "mock-judge", "-k", 4)
    jobs = [spct("sample", EXAMPLES, *flags, "--output-dir", tmp_path / "runs") for _ in range(2)]
    ends = [(*job.communicate(timeout=60), job.returncode) for job in jobs]
    with urllib.request.urlopen(f"{endpoint}/stats") as reply:
        assert json.load(reply)["repeated_calls"] == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1
    for _, err, code in ends:
        assert code == 0 or (code == 5 and "is in use by process" in err)


def test_a_cascade_is_fitted_on_two_runs_and_judges(run, tmp_path):
    rows = [
        {
            "query": f"Question {i}?",
            "responses": ["yes " * (i % 5 + 1), "no"],
            "gold": [1 if i % 3 else 0, 0 if i % 3 else 1],
        }
        for i in range(60)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    runs = [tmp_path / "first", tmp_path / "second"]
    for name, folder in zip(("length", "scripted"), runs, strict=True):
        run("sample", file, "--reward-model", name, "-k", "2", "--out", folder)
    made = tmp_path / "cascade.toml"
    code, out, err = run(
        "fit-cascade", *runs, "--first", "length", "--second", "scripted", "--to", made
    )
    assert code == 0, err
    assert "| escalated |" in out and "plain votes" in out and "slope_first" in made.read_text()
    code, out, _ = run("judge", file, "--cascade", made, "--json", "--limit", "3")
    assert code == 0 and len(out.splitlines()) == 3
