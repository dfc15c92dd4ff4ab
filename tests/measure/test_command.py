"""`spct bench` and `spct compare-runs` end to end, through the scripted engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from spct.cli.bench import bench, compare_runs
from spct.core.generative import GenerativeRM
from spct.engines.scripted import ScriptedEngine
from spct.errors import ConfigError, ContextOverflow, DataError, GateFailed, OverBudget, StoreError
from spct.measure.benchmarks import ours
from spct.measure.command import check, run_bench
from spct.measure.config import BenchConfig
from spct.measure.gates import check_scored
from spct.measure.loading import load_benchmark
from spct.measure.markdown import markdown
from spct.measure.paired import Choice, compare, comparison_markdown, config_difference, read_run
from spct.measure.report import Settings, benchmark_report
from spct.measure.rows import rows_of
from spct.measure.runner import Job, run_job
from spct.models.critique import CritiqueScalarRM
from spct.models.scalar import PointwiseScalarRM
from spct.settings import validated
from spct.text.format import POINTWISE
from spct.text.parse import Scale
from spct.types import Prompt, SamplingParams, Usage
from tests.measure.makers import pairs_file, write

COMPARED = ("report.json", "report.md", "items.jsonl")


def benched(path: Path, out: Path | None, **changes: Any) -> dict[str, Any]:
    """Run the command's work and its checks; settings by their names."""
    models = changes.pop("models", ("length", "scripted"))
    settings: dict[str, Any] = {"benchmarks": (str(path),), "samples": "1,2,4", "resamples": 200}
    config = validated(BenchConfig, settings | changes, "test")
    _, report = run_bench(models, config, out)
    check(report, config)
    return report


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return pairs_file(tmp_path / "pairs.jsonl", 12)


def test_a_run_writes_one_report_with_every_row(pairs: Path, tmp_path: Path) -> None:
    report = benched(pairs, tmp_path / "run", samples="1,2,8")
    (found,) = report["benchmarks"]
    names = [(row["model"], row["row"]) for row in found["rows"]]
    assert names == [
        ("length", "reward"),
        ("scripted", "greedy"),
        ("scripted", "one sample, all groups"),
        ("scripted", "Voting@2, all groups"),
        ("scripted", "Voting@8, all groups"),
    ]
    assert found["complete"] and all(row["official"] for row in found["rows"])
    figures = {p.name for p in (tmp_path / "run" / "figures").iterdir()}
    stem = "pairs.jsonl_score_vs_"
    assert figures == {f"{stem}{x}.{y}" for x in ("k", "tokens") for y in ("png", "svg")}
    text = (tmp_path / "run" / "report.md").read_text()
    assert "Voting@8" in text and "Adaptive voting" in text and "Calibration" in text


def test_equal_seeds_give_byte_identical_reports_and_figures(pairs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        benched(pairs, tmp_path / name, probes=3)
    for file in (*COMPARED, *(f"figures/{p.name}" for p in (tmp_path / "a/figures").iterdir())):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_running_again_changes_no_byte(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    benched(pairs, out, samples="1")
    before = {name: (out / name).read_bytes() for name in (*COMPARED, "timing.json")}
    benched(pairs, out, samples="1")
    assert before == {name: (out / name).read_bytes() for name in before}


def test_a_run_that_stopped_half_way_is_found_again_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "one.jsonl", [{"id": "a", "query": "q", "responses": ["x"], "gold": [1]}])
    chooser = tmp_path / "chooser.toml"
    chooser.write_text('[engine]\nkind = "scripted"\n[judge]\nformat = "pairwise"\n')
    for _ in range(2):
        with pytest.raises(ConfigError, match="takes 2 or more responses, the items have 1"):
            benched(Path("one.jsonl"), None, models=("length", str(chooser)))
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "config.json").is_file() and not (folder / "report.md").exists()


def test_another_seed_is_drift_in_the_same_folder(pairs: Path, tmp_path: Path) -> None:
    benched(pairs, tmp_path / "run", samples="1")
    with pytest.raises((StoreError, ConfigError), match="seed"):
        benched(pairs, tmp_path / "run", samples="1", seed=(1,))


def test_several_seeds_give_a_row_each(pairs: Path, tmp_path: Path) -> None:
    report = benched(pairs, tmp_path / "run", models=("random",), seed=(0, 1))
    assert [row["model"] for row in report["benchmarks"][0]["rows"]] == [
        "random, seed 0",
        "random, seed 1",
    ]


def test_a_partial_benchmark_has_no_official_score(pairs: Path, tmp_path: Path) -> None:
    report = benched(pairs, tmp_path / "run", limit=("5",), models=("length",))
    (row,) = report["benchmarks"][0]["rows"]
    assert row["official"] is None and row["score"]["units"] == 5
    assert "not the official score" in (tmp_path / "run" / "report.md").read_text()


def test_probes_are_reported_for_every_model(pairs: Path, tmp_path: Path) -> None:
    report = benched(pairs, tmp_path / "run", probes=4, samples="1")
    found = {entry["model"]: entry for entry in report["benchmarks"][0]["probes"]}
    assert set(found) == {"length", "scripted"}
    assert len(found["scripted"]["families"]) == 13
    assert "Attack and bias probes" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": "1,x"}, "samples"),
        ({"samples": "0"}, "from 1 up"),
        ({"limit": ("many",)}, "--limit"),
        ({"limit": ("other=3",)}, "not among the benchmarks"),
        ({"limit": ("0",)}, "at least 1"),
        ({"benchmarks": ("nothing",)}, "no benchmark and no file"),
        ({"models": ("lenght",)}, "did you mean 'length'"),
        ({"fail_under": ("other=0.5",)}, "not among the benchmarks"),
    ],
)
def test_bad_usage_is_named(
    change: dict[str, Any], message: str, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        benched(pairs, tmp_path / "run", **({"models": ("length",)} | change))


def test_a_gate_fails_with_exit_code_6(pairs: Path, tmp_path: Path) -> None:
    gate = (f"{pairs.name}=1.01",)
    assert GateFailed.exit_code == 6
    with pytest.raises(GateFailed, match="length, reward"):
        benched(pairs, tmp_path / "run", models=("length",), fail_under=gate)


def test_too_many_judgements_without_a_verdict_exit_with_3(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "mute.txt"
    template.write_text("{{conversation}} {{response_list}}".replace("response_list", "responses"))
    config = tmp_path / "mute.toml"
    config.write_text(
        f'[engine]\nkind = "scripted"\n[judge]\nformat = "pairwise"\ntemplate = "{template}"\n'
    )
    # without the words that the fake engine looks for, it writes two scores where one is wanted
    with pytest.raises(OverBudget, match=r"100\.0% of the judgements"):
        benched(pairs, tmp_path / "run", models=(str(config),), max_unscored=0.5)
    assert OverBudget.exit_code == 3 and (tmp_path / "run" / "report.md").is_file()


def test_a_judge_of_which_nothing_is_scored_always_ends_with_3(pairs: Path, tmp_path: Path) -> None:
    report = benched(pairs, tmp_path / "run", models=("length",))
    row = report["benchmarks"][0]["rows"][0]
    row["abstention"] = row["abstention"] | {"unscored_rate": 1.0}
    with pytest.raises(OverBudget, match="nothing was scored"):
        check_scored(report, 1.0)


def test_nothing_from_the_data_reaches_the_terminal_or_html_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.jsonl"
    row = {"query": "q", "responses": ["same", "same"], "gold": [0.5, 0.5]}
    evil = "\x1b[31m<script>\u202e"
    write(
        path,
        [
            row | {"id": evil, "subset": evil},
            row | {"id": "b", "responses": ["x", "yy"], "gold": [0, 1]},
        ],
    )
    print(markdown(benched(path, tmp_path / "run", models=("length",))))
    for text in (capsys.readouterr().out, (tmp_path / "run" / "report.md").read_text()):
        assert "\\u001b[31m&lt;script>\\u202e" in text
        assert not any(c in text for c in "\x1b\u202e") and "<script" not in text


# --- the runner ---------------------------------------------------------------------------------


class Flaky(ScriptedEngine):
    """Dies after some calls, as a process would."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> Any:
        if self.left == 0:
            raise ConnectionError("the lights went out")
        self.left -= 1
        return await super().sample(prompt, n, params)


async def run(engine: ScriptedEngine, path: Path, folder: Path, k: int = 4) -> Any:
    rm = GenerativeRM(engine, k=k, concurrency=1)
    loaded = load_benchmark(ours(path))
    parts = await run_job(Job({"m": rm}, k, greedy=False), [loaded], folder)
    return parts[path.name][0]


async def test_everything_stored_means_no_engine_call(pairs: Path, tmp_path: Path) -> None:
    first, again = ScriptedEngine(), ScriptedEngine()
    one = await run(first, pairs, tmp_path / "run")
    two = await run(again, pairs, tmp_path / "run")
    assert first.n_samples == 48 and again.n_calls == 0
    assert one.verdicts == two.verdicts


async def test_a_larger_k_draws_only_what_is_missing(pairs: Path, tmp_path: Path) -> None:
    await run(ScriptedEngine(), pairs, tmp_path / "run", k=2)
    more = ScriptedEngine()
    part = await run(more, pairs, tmp_path / "run", k=8)
    assert more.n_samples == 12 * 6
    fresh = await run(ScriptedEngine(), pairs, tmp_path / "other", k=8)
    # only the cost differs: the prompts were sent twice
    assert [replace(v, usage=Usage(), trajectories=()) for v in part.verdicts.values()] == [
        replace(v, usage=Usage(), trajectories=()) for v in fresh.verdicts.values()
    ]


async def test_a_smaller_k_later_uses_what_is_there(pairs: Path, tmp_path: Path) -> None:
    await run(ScriptedEngine(), pairs, tmp_path / "run", k=4)
    less = ScriptedEngine()
    part = await run(less, pairs, tmp_path / "run", k=2)
    assert less.n_calls == 0 and {v.k_asked for v in part.verdicts.values()} == {4}


async def test_a_run_that_died_continues_and_ends_like_one_that_did_not(
    pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError):
        await run(Flaky(5), pairs, tmp_path / "run")
    rest = ScriptedEngine()
    part = await run(rest, pairs, tmp_path / "run")
    whole = await run(ScriptedEngine(), pairs, tmp_path / "other")
    assert part.verdicts == whole.verdicts and 0 < rest.n_samples < 48


async def test_an_item_that_the_model_cannot_read_is_unscored_and_the_others_are_judged(
    tmp_path: Path,
) -> None:
    """Its own fault stays its own: no verdict at any k, and it is in the count."""
    path = pairs_file(tmp_path / "p.jsonl", 6)
    loaded = load_benchmark(ours(path))
    odd = loaded.examples[2].id

    class Choosy(ScriptedEngine):
        async def sample(self, prompt: Prompt, n: int, params: SamplingParams) -> Any:
            if prompt.example_id == odd:
                raise ContextOverflow("too long by a word")
            return await super().sample(prompt, n, params)

    for engine in (Choosy(), ScriptedEngine(refuses(odd))):
        rm = GenerativeRM(engine, k=4)
        folder = tmp_path / type(engine).__name__
        parts = await run_job(Job({"m": rm}, 4, greedy=False), [loaded], folder)
        report = benchmark_report(loaded, parts[path.name], Settings((1, 4), 200))
        for row in report["rows"]:
            assert row["n"] == 6 and row["abstention"]["unscored_rate"] == pytest.approx(1 / 6)


def refuses(id: str) -> Any:
    """A template that breaks on one example."""

    def reply(prompt: Prompt, seed: int) -> str:
        if prompt.example_id == id:
            raise DataError("no such role")
        return "Scores: \\boxed{3, 5}"

    return reply


async def test_failed_calls_are_unscored_and_tried_again(pairs: Path, tmp_path: Path) -> None:
    from spct.types import Completion

    broken = ScriptedEngine(lambda p, s: Completion("", "error", error="503"))
    part = await run(broken, pairs, tmp_path / "run")
    assert all(v.rewards is None and v.unscored == {"failed": 4} for v in part.verdicts.values())
    healed = await run(ScriptedEngine(), pairs, tmp_path / "run")
    assert all(v.rewards is not None for v in healed.verdicts.values())


async def test_a_judge_that_never_answers_earns_nothing_and_the_report_says_that_nothing_was_scored(
    pairs: Path, tmp_path: Path
) -> None:

    part = await run(ScriptedEngine(lambda p, s: "I would rather not."), pairs, tmp_path / "run")
    found = benchmark_report(load_benchmark(ours(pairs)), [part], Settings((1, 4), 200))
    row = found["rows"][-1]
    # both rules say what no verdict earns, and the share without one stands beside:
    assert row["shared"]["overall"]["point"] == row["score"]["overall"]["point"] == 0.0
    assert row["abstention"]["unscored_rate"] == row["abstention"]["parse_failure_rate"] == 1.0


# --- comparing ----------------------------------------------------------------------------------


def test_comparing_a_run_with_itself_finds_nothing(pairs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        benched(pairs, tmp_path / name, models=("length",))
    found = compare(read_run(tmp_path / "a"), read_run(tmp_path / "b"), resamples=200)
    (row,) = found["rows"]
    assert found["config"] == [] and row["mcnemar_p"] == 1.0
    assert row["difference"]["overall"] == {"point": 0.0, "low": None, "high": None}


def test_flips_are_named_both_ways(pairs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for model in ("length", "first"):
        benched(Path(pairs.name), tmp_path / model, models=(model,))
    found = compare(read_run(tmp_path / "length"), read_run(tmp_path / "first"), resamples=200)
    (row,) = found["rows"]
    assert row["right_in_a_only"] or row["right_in_b_only"]
    net = len(row["right_in_b_only"]) - len(row["right_in_a_only"])
    assert row["difference"]["overall"]["point"] == pytest.approx(net / row["n"])
    assert any(change["key"].startswith("parts.") for change in found["config"])


def test_two_models_or_rows_of_one_run_can_be_compared(pairs: Path, tmp_path: Path) -> None:
    benched(pairs, tmp_path / "run", models=("length", "scripted"), greedy=False)
    run = read_run(tmp_path / "run")
    voted = Choice("scripted", "Voting@4")
    (row,) = compare(run, run, Choice("length", "reward"), voted, resamples=200)["rows"]
    assert (row["model_a"], row["row_b"], row["n"]) == ("length", "Voting@4, all groups", 12)
    (row,) = compare(run, run, Choice("scripted", "one sample"), voted, resamples=200)["rows"]
    assert (row["row_a"], row["row_b"]) == ("one sample, all groups", "Voting@4, all groups")
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare(run, run, Choice("nobody"), voted)


def test_config_differences_have_dotted_names() -> None:
    a, b = {"s": {"k": 1, "same": 2}}, {"s": {"k": 8, "same": 2, "new": True}}
    assert config_difference(a, b) == [
        {"key": "s.k", "a": 1, "b": 8},
        {"key": "s.new", "a": None, "b": True},
    ]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"items\.jsonl"):
        read_run(tmp_path)


def test_several_seeds_may_stand_in_one_word_or_in_several_flags(
    pairs: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command("bench")(bench)
    shown = []
    for i, seeds in enumerate((["--seed", "0,1"], ["--seed", "0", "--seed", "1"])):
        out = ["--out", str(tmp_path / str(i)), "--json", "--progress", "none", "-k", "1"]
        result = CliRunner().invoke(app, ["random", "-b", str(pairs), *seeds, *out])
        assert result.exit_code == 0, result.output
        shown.append([row["model"] for row in json.loads(result.stdout)["benchmarks"][0]["rows"]])
    assert shown == [["random, seed 0", "random, seed 1"]] * 2


def test_the_commands_print_results_on_standard_output(pairs: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("bench")(bench)
    app.command("compare-runs")(compare_runs)
    runner = CliRunner()
    common = ["-b", str(pairs), "-k", "1", "--resamples", "100", "--progress", "none"]
    for name in ("a", "b"):
        out = ["--out", str(tmp_path / name), "--json"]
        result = runner.invoke(app, ["bench", "length", *common, *out])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["benchmarks"][0]["units"] == 12
    result = runner.invoke(app, ["compare-runs", str(tmp_path / "a"), str(tmp_path / "b")])
    assert result.exit_code == 0 and "McNemar" in result.stdout


class CountingScorer:
    """A head: the length of what it reads."""

    fingerprint = "counting"
    usage = Usage()

    async def score(self, conversations: Any) -> list[float]:
        return [float(sum(len(m.content) for m in c)) for c in conversations]

    async def aclose(self) -> None:
        pass


async def test_a_semi_scalar_model_is_sampled_recorded_and_scored_as_scalar(
    pairs: Path, tmp_path: Path
) -> None:
    first, again = ScriptedEngine(), ScriptedEngine()
    loaded = load_benchmark(ours(pairs))
    for engine in (first, again):
        model = CritiqueScalarRM(engine, CountingScorer())
        parts = await run_job(Job({"m": model}, 2), [loaded], tmp_path / "run")
    assert first.n_samples == 12 * 2 * 3 and again.n_calls == 0
    rows = rows_of(parts[pairs.name], [1, 2])
    assert [(row.name, row.policy) for row in rows] == [
        ("greedy", "scalar"),
        ("one sample, all groups", "scalar"),
        ("Voting@2, all groups", "scalar"),
    ]


async def test_a_scalar_model_has_one_row_under_the_scalar_rule(
    pairs: Path, tmp_path: Path
) -> None:
    loaded = load_benchmark(ours(pairs))
    parts = await run_job(
        Job({"m": PointwiseScalarRM(CountingScorer())}, 8), [loaded], tmp_path / "run"
    )
    (row,) = rows_of(parts[pairs.name], [1, 8])
    assert (row.name, row.policy) == ("reward", "scalar")
    report = benchmark_report(loaded, parts[pairs.name], Settings((1, 8), 200))
    assert report["rows"][0]["cost"]["calls"] == 24 and report["adaptive"] == []


def test_a_score_that_is_no_number_passes_no_gate(tmp_path: Path) -> None:
    """Singles that are all good have no area under the curve."""
    rows = [{"query": "q", "responses": [f"answer {i}"], "gold": [1]} for i in range(6)]
    write(tmp_path / "single.jsonl", rows)
    with pytest.raises(GateFailed):
        benched(
            tmp_path / "single.jsonl", tmp_path / "run", models=("length",),
            fail_under=("single.jsonl=0.5",),
        )  # fmt: skip


def test_rankings_have_a_difference_and_no_flips(tmp_path: Path) -> None:
    for name, good in (("a", "x"), ("b", "xxx")):  # longer is better, or worse
        rows = [
            {
                "id": str(i),
                "query": f"q{i}",
                "responses": [good if i % 2 else "xx"],
                "gold": [i % 2],
            }
            for i in range(8)
        ]
        write(tmp_path / "single.jsonl", rows)
        benched(tmp_path / "single.jsonl", tmp_path / name, models=("length",))
    found = compare(read_run(tmp_path / "a"), read_run(tmp_path / "b"), resamples=200)
    (row,) = found["rows"]
    assert row["n"] == 8
    assert row["difference"]["overall"]["point"] == 1.0
    assert row["mcnemar_p"] is row["right_in_a_only"] is row["right_in_b_only"] is None
    assert "| - | - | - |" in comparison_markdown(found)


async def test_the_same_template_read_in_another_way_is_another_part(
    pairs: Path, tmp_path: Path
) -> None:
    await run(ScriptedEngine(), pairs, tmp_path / "run")
    other = replace(POINTWISE, scale=Scale(0, 100))
    job = Job({"m": GenerativeRM(ScriptedEngine(), other, k=4)}, 4, greedy=False)
    with pytest.raises(StoreError, match="scale"):
        await run_job(job, [load_benchmark(ours(pairs))], tmp_path / "run")
